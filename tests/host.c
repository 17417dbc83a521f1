/* SPDX-License-Identifier: MIT */
/* fenceferry host with guests that mean well. */
#include "host-run.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

static struct hr_daemon daemon_;

static void begin(void)
{
	hr_make_dir(&daemon_);
	hr_start(&daemon_, NULL);
}

static void clean(void)
{
	hr_clean(&daemon_);
}

#define DAEMON .init = begin, .fini = clean, .timeout = 120

static void end(void)
{
	hr_expect_no_leak(&daemon_);
	hr_stop(&daemon_);
}

static void ping(int fd, uint64_t id)
{
	hr_send(fd, &(struct ff_wire){ .type = FF_WIRE_PING, .id = id });
	hr_expect(fd, FF_WIRE_PONG, id, 0);
}

static void carry_wakes(const char *waiters, const char *name)
{
	struct hr_fence fences[100];
	struct hr_honest honest;
	char option[32];

	hr_make_dir(&daemon_);
	snprintf(option, sizeof(option), "--waiters=%s", waiters);
	hr_start(&daemon_, (const char *const[]){ option, NULL });
	if (name)
		hr_expect_said(&daemon_, name);
	honest = hr_honest(&daemon_);
	for (int i = 0; i < 100; i++) {
		fences[i] = hr_fence(&daemon_, &honest.guest,
			(uint64_t)i + 100);
		hr_expect_works(&honest);
	}
	for (int i = 0; i < 300; i++)
		hr_expect_round(honest.guest.fd, &fences[i % 100]);
	/* Its other fences are of no use to it now, but that is no error. */
	for (int i = 0; i < 100; i++)
		hr_remove_file(&fences[i]);
	hr_leave(&honest);
	end();
}

Test(host, carries_wakes_both_ways, .fini = clean, .timeout = 120)
{
	carry_wakes("auto", NULL);
}

Test(host, carries_wakes_by_io_uring, .fini = clean, .timeout = 120)
{
	carry_wakes("io_uring", "io_uring");
}

Test(host, carries_wakes_by_waitv, .fini = clean, .timeout = 120)
{
	carry_wakes("waitv", "futex_waitv");
}

Test(host, carries_wakes_by_threads, .fini = clean, .timeout = 120)
{
	carry_wakes("threads", "threads");
}

/* More at once than there is room for answers. */
Test(host, answers_all_of_a_burst, DAEMON)
{
	enum { COUNT = 1000 };
	static unsigned char bytes[COUNT * FF_WIRE_SIZE];
	struct hr_guest guest = hr_guest(&daemon_);

	for (uint64_t i = 0; i < COUNT; i++)
		ff_wire_encode(&(struct ff_wire){ .type = FF_WIRE_PING,
			.id = i }, bytes + i * FF_WIRE_SIZE);
	for (size_t size = 1; size <= COUNT; size += size < 70 ? 1 : 93) {
		cr_assert(hr_try_send(guest.fd, bytes, size * FF_WIRE_SIZE));
		for (uint64_t i = 0; i < size; i++)
			hr_expect(guest.fd, FF_WIRE_PONG, i, 0);
	}
	close(guest.fd);
	end();
}

/* More wakes than all buffers hold, while it does not read: then it is told of
 * each fence, and not of each wake. */
Test(host, a_slow_reader_is_told_of_every_fence, DAEMON)
{
	enum { COUNT = 2000, ROUNDS = 20 };
	static struct hr_fence fences[COUNT];
	static bool is_told[COUNT + 1];
	struct hr_guest guest = hr_guest(&daemon_);
	struct hr_honest honest = hr_honest(&daemon_);
	int left = COUNT, messages = 0;

	for (uint64_t i = 0; i < COUNT; i++)
		fences[i] = hr_fence(&daemon_, &guest, i + 1);
	for (int round = 0; round < ROUNDS; round++) {
		for (int i = 0; i < COUNT; i++)
			hr_wake(fences[i].word, INT_MAX);
		hr_expect_works(&honest);
	}
	/* All that was woken is known by now. */
	hr_send(guest.fd, &(struct ff_wire){ .type = FF_WIRE_PING, .id = 1 });
	for (bool is_over = false; left || !is_over; messages++) {
		struct ff_wire message;

		cr_assert(hr_receive(guest.fd, &message));
		is_over |= message.type == FF_WIRE_PONG;
		if (message.type == FF_WIRE_PONG || is_told[message.id])
			continue;
		cr_assert_eq(message.type, FF_WIRE_WAKE);
		is_told[message.id] = true;
		left--;
	}
	cr_expect(messages < COUNT * ROUNDS, "%d messages", messages);
	hr_expect_round(guest.fd, &fences[0]);
	for (int i = 0; i < COUNT; i++)
		hr_remove_file(&fences[i]);
	close(guest.fd);
	hr_leave(&honest);
	end();
}

/* Those who slept before the fence was watched may have missed a wake. */
Test(host, accepting_wakes_sleepers_once, DAEMON)
{
	struct hr_guest guest = hr_guest(&daemon_);
	struct hr_fence fence = hr_make_file(&daemon_);
	struct hr_sleeper sleepers[3];

	for (int i = 0; i < 3; i++)
		hr_sleep_on(&sleepers[i], fence.word);
	hr_send_new(guest.fd, 1, fence.name);
	hr_expect(guest.fd, FF_WIRE_ACCEPTED, 1, 0);
	for (int i = 0; i < 3; i++)
		hr_expect_awake(&sleepers[i]);
	hr_remove_file(&fence);
	close(guest.fd);
	end();
}

Test(host, a_wake_of_one_wakes_one, DAEMON)
{
	struct hr_honest honest = hr_honest(&daemon_);
	struct hr_sleeper sleepers[4];
	int awake;

	for (int i = 0; i < 4; i++)
		hr_sleep_on(&sleepers[i], honest.fence.word);
	for (int n = 1; n <= 3; n++) {
		uint64_t stop = hr_now_ms() + HR_DEADLINE_MS;

		hr_send(honest.guest.fd, &(struct ff_wire){
			.type = FF_WIRE_WAKE, .id = 77, .count = 1 });
		ping(honest.guest.fd, (uint64_t)n);
		do {
			awake = 0;
			for (int i = 0; i < 4; i++)
				awake += sleepers[i].is_awake;
		} while (awake < n && hr_now_ms() < stop);
		cr_assert_eq(awake, n);
	}
	hr_wake(honest.fence.word, INT_MAX);
	for (int i = 0; i < 4; i++)
		hr_expect_awake(&sleepers[i]);
	hr_leave(&honest);
	end();
}

/* In one kernel native wakes reach everybody already. */
Test(host, relays_nothing_within_one_kernel, DAEMON)
{
	struct hr_guest guest = { .fd = hr_connect(&daemon_) };
	struct ff_wire hello, ours = { .type = FF_WIRE_HELLO,
		.version = FF_WIRE_VERSION };
	struct hr_guest other = { .fd = hr_connect(&daemon_), .id = "other" };
	struct hr_sleeper sleeper;
	struct hr_fence fence;
	int fd;

	hr_say_hello(&other, FF_WIRE_VERSION);
	cr_assert(hr_receive(other.fd, &hello));
	cr_expect(!memcmp(hello.guest, other.id, FF_WIRE_ID),
		"a hello names whom it answers");
	close(other.fd);
	/* And its kernel, which is ours, too. */
	memcpy(ours.kernel, hello.kernel, FF_WIRE_ID);
	memset(ours.guest, 8, FF_WIRE_ID);
	hr_send(guest.fd, &ours);
	hr_expect(guest.fd, FF_WIRE_HELLO, 0, 0);

	fence = hr_fence(&daemon_, &guest, 1);
	fd = open(fence.path, O_RDWR | O_CLOEXEC);
	cr_assert_eq(hr_wake(fence.word, INT_MAX), 0, "nobody waits");
	hr_sleep_on(&sleeper, fence.word);
	hr_send(guest.fd, &(struct ff_wire){ .type = FF_WIRE_WAKE, .id = 1,
		.count = INT_MAX });
	ping(guest.fd, 9);
	cr_expect_not(sleeper.is_awake);
	hr_wake(fence.word, INT_MAX);
	hr_expect_awake(&sleeper);
	/* Nobody but us has the file: the guest's end can tell that. */
	munmap(fence.word, 4);
	cr_expect(fcntl(fd, F_SETLEASE, F_WRLCK) == 0, "%s", strerror(errno));
	close(fd);
	unlink(fence.path);
	close(guest.fd);

	/* Unless its futexes are a domain of their own. */
	guest.fd = hr_connect(&daemon_);
	ours.features = FF_WIRE_ISOLATED;
	hr_send(guest.fd, &ours);
	hr_expect(guest.fd, FF_WIRE_HELLO, 0, 0);
	fence = hr_fence(&daemon_, &guest, 1);
	hr_expect_round(guest.fd, &fence);
	hr_remove_file(&fence);
	close(guest.fd);
	end();
}

/* It has noticed the end of its connection before we have. */
Test(host, who_connects_again_replaces_itself, DAEMON)
{
	struct hr_guest old = hr_guest(&daemon_), new = old;
	struct hr_fence fence = hr_fence(&daemon_, &old, 1);

	for (uint64_t i = 2; i < 20; i++) {
		new.fd = hr_connect(&daemon_);
		hr_say_hello(&new, FF_WIRE_VERSION);
		hr_expect(new.fd, FF_WIRE_HELLO, 0, 0);
		hr_send_new(new.fd, i, fence.name);
		hr_expect(new.fd, FF_WIRE_ACCEPTED, i, 0);
		hr_expect_end(old.fd);
		close(old.fd);
		old = new;
		fence.id = i;
		hr_expect_round(new.fd, &fence);
	}
	close(new.fd);
	hr_remove_file(&fence);
	end();
}

static size_t count_maps(void)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)daemon_.pid);
	return hr_count_lines(path);
}

/* The waits of the last ones may still be ending. */
static void expect_maps(size_t max)
{
	uint64_t end_ms = hr_now_ms() + HR_DEADLINE_MS;

	while (count_maps() > max && hr_now_ms() < end_ms)
		hr_sleep_ms(10);
	cr_expect_leq(count_maps(), max);
}

/* Make and drop count fences, 100 at a time. */
static void make_and_drop(const struct hr_guest *guest, uint64_t *id,
	int count)
{
	struct hr_fence fences[100];

	for (int done = 0; done < count; done += 100) {
		for (int i = 0; i < 100; i++) {
			fences[i] = hr_make_file(&daemon_);
			hr_send_new(guest->fd, ++*id, fences[i].name);
		}
		for (uint64_t i = *id - 99; i <= *id; i++)
			hr_expect(guest->fd, FF_WIRE_ACCEPTED, i, 0);
		hr_wake(fences[7].word, 1);
		for (uint64_t i = *id - 99; i <= *id; i++)
			hr_send(guest->fd, &(struct ff_wire){
				.type = FF_WIRE_GONE, .id = i });
		for (int i = 0; i < 100; i++)
			hr_remove_file(&fences[i]);
	}
	ping(guest->fd, *id);
}

Test(host, a_hundred_thousand_fences_leave_nothing, DAEMON)
{
	struct hr_guest guest = hr_guest(&daemon_);
	uint64_t id = 0;
	size_t maps;
	long size;

	make_and_drop(&guest, &id, 10000);
	hr_expect_no_leak(&(struct hr_daemon){ .pid = daemon_.pid,
		.fds = daemon_.fds + 1 });
	size = hr_status_number(daemon_.pid, "VmRSS:");
	maps = count_maps();
	/* That is slow with the sanitizers. */
	make_and_drop(&guest, &id,
		hr_is_sanitized(daemon_.pid) ? 20000 : 90000);
	hr_expect_no_leak(&(struct hr_daemon){ .pid = daemon_.pid,
		.fds = daemon_.fds + 1 });
	expect_maps(maps + 20);
	if (!hr_is_sanitized(daemon_.pid))
		cr_expect(hr_status_number(daemon_.pid, "VmRSS:") <
			size + 2048, "kB: %ld, then %ld", size,
			hr_status_number(daemon_.pid, "VmRSS:"));
	close(guest.fd);
	end();
}

/* A VMM's socket for its guest's port: we connect, and guests come and go
 * without our seeing it. */
Test(host, char_is_a_vmms_socket, .fini = clean, .timeout = 120)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct hr_guest guest = { 0 };
	struct hr_fence fence, next;
	char option[128];
	int listener, i;

	hr_make_dir(&daemon_);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/vmm",
		daemon_.dir);
	snprintf(option, sizeof(option), "-lchar:%s", address.sun_path);
	hr_start(&daemon_, (const char *const[]){ option, NULL });
	hr_expect_said(&daemon_, "will try again");
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	cr_assert(bind(listener, (struct sockaddr *)&address,
		sizeof(address)) == 0 && listen(listener, 4) == 0);
	for (i = 0; i < 3; i++) {
		guest.fd = accept(listener, NULL, NULL);
		cr_assert(guest.fd >= 0);
		/* Something that another one has left unsaid. */
		cr_assert(hr_try_send(guest.fd, "FFRYFFRY", 7));
		memset(guest.id, 10 + i, FF_WIRE_ID);
		hr_say_hello(&guest, FF_WIRE_VERSION);
		hr_expect(guest.fd, FF_WIRE_HELLO, 0, 0);
		fence = hr_fence(&daemon_, &guest, 1);
		hr_expect_round(guest.fd, &fence);
		/* Another process takes the port: the same ids and files are
		 * free again. */
		memset(guest.id, 20 + i, FF_WIRE_ID);
		hr_say_hello(&guest, FF_WIRE_VERSION);
		hr_expect(guest.fd, FF_WIRE_HELLO, 0, 0);
		hr_send_new(guest.fd, 1, fence.name);
		hr_expect(guest.fd, FF_WIRE_ACCEPTED, 1, 0);
		next = hr_fence(&daemon_, &guest, 2);
		hr_expect_round(guest.fd, &fence);
		hr_expect_round(guest.fd, &next);
		hr_remove_file(&fence);
		hr_remove_file(&next);
		/* The VMM ends, and begins again. */
		close(guest.fd);
	}
	close(listener);
	unlink(address.sun_path);
	end();
}

Test(host, char_is_a_device, .fini = clean, .timeout = 120)
{
	struct hr_guest guest = { 0 };
	struct hr_fence fence;
	char option[64], name[48];
	int other;

	hr_make_dir(&daemon_);
	cr_assert(openpty(&guest.fd, &other, name, NULL, NULL) == 0);
	fcntl(guest.fd, F_SETFD, FD_CLOEXEC);
	fcntl(other, F_SETFD, FD_CLOEXEC);
	snprintf(option, sizeof(option), "-lchar:%s", name);
	hr_start(&daemon_, (const char *const[]){ option, NULL });
	for (int i = 0; i < 3; i++) {
		memset(guest.id, 10 + i, FF_WIRE_ID);
		hr_say_hello(&guest, FF_WIRE_VERSION);
		hr_expect(guest.fd, FF_WIRE_HELLO, 0, 0);
		fence = hr_fence(&daemon_, &guest, 1);
		hr_expect_round(guest.fd, &fence);
		hr_remove_file(&fence);
	}
	hr_stop(&daemon_);
	close(other);
	close(guest.fd);
}

Test(host, logs_what_happens, DAEMON)
{
	static const char *const expected[] = { "\"state\":\"started\"",
		"\"action\":\"connected\"", "\"action\":\"accepted\"",
		"\"direction\":\"from_host\"", "\"direction\":\"to_host\"",
		"\"action\":\"gone\"", "\"action\":\"left\"",
		"\"state\":\"stopped\"" };
	struct hr_honest honest = hr_honest(&daemon_);
	char *log, *line;

	hr_expect_works(&honest);
	hr_send(honest.guest.fd, &(struct ff_wire){ .type = FF_WIRE_GONE,
		.id = 77 });
	hr_leave(&honest);
	end();
	for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++)
		hr_expect_logged(&daemon_, expected[i]);
	log = hr_read_file(daemon_.log);
	for (line = strtok(log, "\n"); line; line = strtok(NULL, "\n")) {
		json_t *event = json_loads(line, 0, NULL);

		cr_assert_not_null(event, "%s", line);
		cr_expect(json_is_real(json_object_get(event, "time")));
		cr_expect(json_is_string(json_object_get(event, "event")));
		json_decref(event);
	}
	free(log);
}
