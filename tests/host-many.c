/* SPDX-License-Identifier: MIT */
/* fenceferry host with very many fences: what they cost is printed. */
#include "host-run.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

enum { FEW = 10, MANY = 10000, WAKES = 2000, GROWTH_KB = 128 * 1024 };

static struct hr_daemon daemon_;

static void clean(void)
{
	hr_clean(&daemon_);
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int compare(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* The next message about a wake is of this fence. */
static void expect_wake(int fd, uint64_t id)
{
	struct ff_wire message;

	cr_assert(hr_receive(fd, &message));
	cr_assert_eq(message.type, FF_WIRE_WAKE);
	cr_assert_eq(message.id, id);
}

/* From a wake here to the message at the guest, over all fences in turn. */
static void measure(const struct hr_guest *guest, const struct hr_fence *fences,
	int count)
{
	static uint64_t took_ns[WAKES];

	for (int i = 0; i < WAKES; i++) {
		const struct hr_fence *fence =
			&fences[(long)i * 7919 % count];
		uint64_t begin_ns = now_ns();

		cr_assert_eq(hr_wake(fence->word, 1), 1, "it is waited for");
		expect_wake(guest->fd, fence->id);
		took_ns[i] = now_ns() - begin_ns;
	}
	qsort(took_ns, WAKES, sizeof(*took_ns), compare);
	printf("%d fences: from a wake to its message %" PRIu64 " us (median), "
	       "%" PRIu64 " us (p99); %ld kB, threads: %ld\n", count,
		took_ns[WAKES / 2] / 1000, took_ns[WAKES / 100 * 99] / 1000,
		hr_status_number(daemon_.pid, "VmRSS:"),
		hr_status_number(daemon_.pid, "Threads:"));
}

static void add(const struct hr_guest *guest, struct hr_fence *fences, int from,
	int to)
{
	for (int i = from; i < to; i++)
		fences[i] = hr_fence(&daemon_, guest, (uint64_t)i + 1);
}

Test(host_many, ten_thousand_fences_take_one_thread, .fini = clean,
	.timeout = 300)
{
	static struct hr_fence fences[MANY];
	struct hr_guest guest;
	struct rlimit files;
	long kb;

	getrlimit(RLIMIT_NOFILE, &files);
	if (files.rlim_max < 2 * MANY)
		cr_skip_test("too few files may be open (ulimit -Hn)");
	hr_make_dir(&daemon_);
	hr_start(&daemon_, (const char *const[]){ "--waiters=io_uring",
		"--max-rate=1000000", NULL });
	guest = hr_guest(&daemon_);
	add(&guest, fences, 0, FEW);
	measure(&guest, fences, FEW);
	kb = hr_status_number(daemon_.pid, "VmRSS:");
	add(&guest, fences, FEW, MANY);
	measure(&guest, fences, MANY);
	cr_expect_eq(hr_status_number(daemon_.pid, "Threads:"), 1);
	if (!hr_is_sanitized(daemon_.pid))
		cr_expect_lt(hr_status_number(daemon_.pid, "VmRSS:"),
			kb + GROWTH_KB);
	/* Each and every one is watched. */
	for (int i = 0; i < MANY; i++) {
		cr_assert_eq(hr_wake(fences[i].word, 1), 1);
		expect_wake(guest.fd, fences[i].id);
	}
	for (int i = 0; i < MANY; i++)
		hr_remove_file(&fences[i]);
	hr_stop(&daemon_);
}
