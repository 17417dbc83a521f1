/* SPDX-License-Identifier: MIT */
/*
 * fenceferry host against guests that are broken or mean. In each test an
 * honest guest goes on working beside, and nothing is left of the other.
 */
#include "host-run.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static struct hr_daemon daemon_;
static struct hr_honest honest;

static void begin_with(const char *const options[])
{
	hr_make_dir(&daemon_);
	hr_start(&daemon_, options);
	honest = hr_honest(&daemon_);
	hr_expect_works(&honest);
}

static void begin(void)
{
	begin_with(NULL);
}

/* The hostile one has closed its connection. */
static void end(void)
{
	hr_expect_works(&honest);
	hr_leave(&honest);
	hr_expect_no_leak(&daemon_);
	hr_stop(&daemon_);
}

static void clean(void)
{
	hr_clean(&daemon_);
}

#define DAEMON .init = begin, .fini = clean, .timeout = 120

/* It is dropped, and the log says why. */
static void expect_dropped(int fd, const char *why)
{
	hr_expect_end(fd);
	close(fd);
	hr_expect_said(&daemon_, why);
	hr_expect_logged(&daemon_, why);
	hr_expect_works(&honest);
}

Test(hostile, wrong_version_is_told_ours_and_refused, DAEMON)
{
	struct hr_guest guest = { .fd = hr_connect(&daemon_) };
	struct ff_wire hello;

	hr_say_hello(&guest, FF_WIRE_VERSION + 1);
	cr_assert(hr_receive(guest.fd, &hello));
	cr_expect_eq(hello.type, FF_WIRE_HELLO);
	cr_expect_eq(hello.version, FF_WIRE_VERSION);
	hr_expect(guest.fd, FF_WIRE_REFUSED, 0, FF_WIRE_BAD_VERSION);
	expect_dropped(guest.fd, "refused");
	end();
}

Test(hostile, garbage_is_dropped, DAEMON)
{
	unsigned char bytes[4096];
	int fd = hr_connect(&daemon_);

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (unsigned char)(i * 37 + 11);
	hr_try_send(fd, bytes, sizeof(bytes));
	expect_dropped(fd, "garbage");
	end();
}

Test(hostile, garbage_after_hello_is_dropped, DAEMON)
{
	struct hr_guest guest = hr_guest(&daemon_);
	struct hr_fence fence = hr_fence(&daemon_, &guest, 1);
	unsigned char bytes[FF_WIRE_SIZE] = "FFRY and the rest is not";

	hr_try_send(guest.fd, bytes, sizeof(bytes));
	expect_dropped(guest.fd, "garbage");
	hr_remove_file(&fence);
	end();
}

Test(hostile, half_a_message_bothers_nobody, DAEMON)
{
	struct hr_guest guest = hr_guest(&daemon_);
	unsigned char bytes[FF_WIRE_SIZE];
	int silent = hr_connect(&daemon_);

	ff_wire_encode(&(struct ff_wire){ .type = FF_WIRE_PING, .id = 5 },
		bytes);
	cr_assert(hr_try_send(guest.fd, bytes, 30));
	cr_assert(hr_try_send(silent, bytes, 1));
	for (int i = 0; i < 20; i++)
		hr_expect_works(&honest);
	/* It was no error yet. */
	cr_assert(hr_try_send(guest.fd, bytes + 30, sizeof(bytes) - 30));
	hr_expect(guest.fd, FF_WIRE_PONG, 5, 0);
	cr_assert(hr_try_send(guest.fd, bytes, 63));
	close(guest.fd);
	close(silent);
	end();
}

Test(hostile, huge_counts_are_dropped, DAEMON)
{
	static const uint32_t counts[] = { 0, (uint32_t)INT_MAX + 1,
		UINT32_MAX };

	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		struct hr_guest guest = hr_guest(&daemon_);
		struct hr_fence fence = hr_fence(&daemon_, &guest, 1);
		unsigned char bytes[FF_WIRE_SIZE];

		hr_expect_round(guest.fd, &fence); /* INT_MAX is none */
		ff_wire_encode(&(struct ff_wire){ .type = FF_WIRE_WAKE,
			.id = 1, .count = 1 }, bytes);
		memcpy(bytes + 16, &counts[i], 4);
		cr_assert(hr_try_send(guest.fd, bytes, sizeof(bytes)));
		expect_dropped(guest.fd, "garbage");
		hr_remove_file(&fence);
	}
	end();
}

Test(hostile, what_only_a_host_says_is_dropped, DAEMON)
{
	static const enum ff_wire_type types[] = { FF_WIRE_ACCEPTED,
		FF_WIRE_REFUSED, FF_WIRE_PONG, FF_WIRE_HELLO };

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		struct hr_guest guest = hr_guest(&daemon_);

		if (types[i] == FF_WIRE_HELLO)
			hr_say_hello(&guest, FF_WIRE_VERSION);
		else
			hr_send(guest.fd, &(struct ff_wire){ .type = types[i],
				.id = 1, .reason = FF_WIRE_BUSY });
		expect_dropped(guest.fd, "protocol error");
	}
	end();
}

Test(hostile, fence_before_hello_is_dropped, DAEMON)
{
	struct hr_fence fence = hr_make_file(&daemon_);
	int fd = hr_connect(&daemon_);

	hr_send_new(fd, 1, fence.name);
	expect_dropped(fd, "no hello");
	hr_remove_file(&fence);
	end();
}

Test(hostile, hanging_in_hello_is_dropped, DAEMON)
{
	uint64_t start = hr_now_ms();
	int fd = hr_connect(&daemon_), half = hr_connect(&daemon_);

	cr_assert(hr_try_send(half, "FFRY", 4));
	while (hr_now_ms() < start + 3000)
		hr_expect_works(&honest);
	expect_dropped(fd, "no hello");
	cr_expect(hr_now_ms() >= start + 4500, "it got the time it has");
	expect_dropped(half, "no hello");
	end();
}

Test(hostile, unknown_fences_are_ignored, DAEMON)
{
	struct hr_guest guest = hr_guest(&daemon_);

	for (uint64_t id = 1; id < 1000; id++) {
		/* The honest one's id among them. */
		hr_send(guest.fd, &(struct ff_wire){ .type = FF_WIRE_GONE,
			.id = id });
		hr_send(guest.fd, &(struct ff_wire){ .type = FF_WIRE_WAKE,
			.id = id, .count = 1 });
	}
	hr_send(guest.fd, &(struct ff_wire){ .type = FF_WIRE_PING, .id = 3 });
	hr_expect(guest.fd, FF_WIRE_PONG, 3, 0);
	hr_expect_works(&honest);
	close(guest.fd);
	end();
}

Test(hostile, another_guests_fence_is_out_of_reach, DAEMON)
{
	struct hr_guest guest = hr_guest(&daemon_);
	struct hr_sleeper sleeper;

	hr_send_new(guest.fd, 77, honest.fence.name);
	hr_expect(guest.fd, FF_WIRE_REFUSED, 77, FF_WIRE_TAKEN);
	hr_sleep_on(&sleeper, honest.fence.word);
	hr_send(guest.fd, &(struct ff_wire){ .type = FF_WIRE_WAKE, .id = 77,
		.count = INT_MAX });
	hr_send(guest.fd, &(struct ff_wire){ .type = FF_WIRE_GONE, .id = 77 });
	hr_send(guest.fd, &(struct ff_wire){ .type = FF_WIRE_PING, .id = 3 });
	hr_expect(guest.fd, FF_WIRE_PONG, 3, 0);
	cr_expect_not(sleeper.is_awake, "it was not woken");
	hr_wake(honest.fence.word, INT_MAX);
	hr_expect_awake(&sleeper);
	hr_expect(honest.guest.fd, FF_WIRE_WAKE, 77, 0);
	/* When its owner has left, it may be another's. */
	hr_send(honest.guest.fd, &(struct ff_wire){ .type = FF_WIRE_GONE,
		.id = 77 });
	hr_send(honest.guest.fd, &(struct ff_wire){ .type = FF_WIRE_PING,
		.id = 4 });
	hr_expect(honest.guest.fd, FF_WIRE_PONG, 4, 0);
	hr_send_new(guest.fd, 78, honest.fence.name);
	hr_expect(guest.fd, FF_WIRE_ACCEPTED, 78, 0);
	hr_send(guest.fd, &(struct ff_wire){ .type = FF_WIRE_GONE, .id = 78 });
	hr_send(guest.fd, &(struct ff_wire){ .type = FF_WIRE_PING, .id = 5 });
	hr_expect(guest.fd, FF_WIRE_PONG, 5, 0);
	close(guest.fd);
	hr_send_new(honest.guest.fd, 77, honest.fence.name);
	hr_expect(honest.guest.fd, FF_WIRE_ACCEPTED, 77, 0);
	end();
}

Test(hostile, same_file_twice_is_refused_and_same_id_dropped, DAEMON)
{
	struct hr_guest guest = hr_guest(&daemon_);
	struct hr_fence fence = hr_fence(&daemon_, &guest, 1),
			other = hr_make_file(&daemon_);

	hr_send_new(guest.fd, 2, fence.name);
	hr_expect(guest.fd, FF_WIRE_REFUSED, 2, FF_WIRE_TAKEN);
	hr_expect_round(guest.fd, &fence);
	hr_send_new(guest.fd, 1, other.name);
	expect_dropped(guest.fd, "used twice");
	hr_remove_file(&fence);
	hr_remove_file(&other);
	end();
}

Test(hostile, a_flood_of_connections_is_refused, DAEMON)
{
	int fds[200], busy = 0;
	struct ff_wire message;
	struct hr_guest guest;

	for (int i = 0; i < 200; i++)
		fds[i] = hr_connect(&daemon_);
	hr_expect_works(&honest);
	/* Those beyond the limit are told and closed; the rest hang. */
	for (int i = 63; i < 200; i++)
		busy += hr_receive(fds[i], &message) &&
			message.type == FF_WIRE_REFUSED && message.id == 0 &&
			message.reason == FF_WIRE_BUSY;
	cr_expect_eq(busy, 200 - 63);
	for (int i = 0; i < 200; i++)
		close(fds[i]);
	hr_expect_no_leak(&(struct hr_daemon){ .pid = daemon_.pid,
		.fds = daemon_.fds + 2 /* the honest one and its fence */ });
	guest = hr_guest(&daemon_);
	close(guest.fd);
	end();
}

static void begin_at_full_rate(void)
{
	begin_with((const char *const[]){ "--max-rate=1000000", NULL });
}

/* Messages as fast as they go, from a process of its own. */
static pid_t flood(int count, const struct ff_wire *message)
{
	unsigned char bytes[FF_WIRE_SIZE * 64];
	struct hr_guest guest;
	pid_t pid = fork();

	cr_assert(pid >= 0);
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	guest = hr_guest(&daemon_);
	for (int i = 0; i < 64; i++)
		ff_wire_encode(message, bytes + i * FF_WIRE_SIZE);
	for (int i = 0; i < count; i += 64)
		if (!hr_try_send(guest.fd, bytes, sizeof(bytes)))
			_exit(1);
	_exit(0);
}

static void expect_works_beside(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, WNOHANG) == 0)
		hr_expect_works(&honest);
	cr_expect_eq(status, 0, "the flood was let through");
}

Test(hostile, a_million_messages_at_once, .init = begin_at_full_rate,
	.fini = clean, .timeout = 120)
{
	expect_works_beside(flood(1000000, &(struct ff_wire){
		.type = FF_WIRE_WAKE, .id = 9, .count = INT_MAX }));
	end();
}

static void begin_at_low_rate(void)
{
	begin_with((const char *const[]){ "--max-rate=10000", NULL });
}

/* 30,000 messages at 10,000 a second: not dropped, but slowed down. */
Test(hostile, too_many_messages_are_throttled, .init = begin_at_low_rate,
	.fini = clean, .timeout = 120)
{
	uint64_t start = hr_now_ms();

	expect_works_beside(flood(30000, &(struct ff_wire){
		.type = FF_WIRE_GONE, .id = 9 }));
	cr_expect(hr_now_ms() > start + 1000, "it took %llu ms",
		(unsigned long long)(hr_now_ms() - start));
	end();
}

/* Who asks and does not listen gets no more to say. */
Test(hostile, pings_without_reading_are_dropped, DAEMON)
{
	struct hr_guest guest = hr_guest(&daemon_);
	unsigned char bytes[FF_WIRE_SIZE];
	int sent = 0;

	ff_wire_encode(&(struct ff_wire){ .type = FF_WIRE_PING, .id = 5 },
		bytes);
	cr_assert(fcntl(guest.fd, F_SETFL, O_NONBLOCK) == 0);
	for (uint64_t stop = hr_now_ms() + 2000; hr_now_ms() < stop;)
		sent += hr_try_send(guest.fd, bytes, sizeof(bytes));
	cr_expect(sent < 50000, "its messages are not read for ever");
	hr_expect_works(&honest);
	hr_expect_said(&daemon_, "does not read");
	close(guest.fd);
	end();
}

enum { UNREAD_FENCES = 2000 };

/* It never reads while its fences are woken, again and again. */
Test(hostile, never_reading_while_fences_are_woken, DAEMON)
{
	static struct hr_fence fences[UNREAD_FENCES];
	struct hr_guest guest = hr_guest(&daemon_);
	char *said;
	bool is_dropped = false;
	long size;

	for (uint64_t i = 0; i < UNREAD_FENCES; i++)
		fences[i] = hr_fence(&daemon_, &guest, i + 1);
	size = hr_status_number(daemon_.pid, "VmRSS:");
	while (!is_dropped) {
		for (int i = 0; i < UNREAD_FENCES; i++)
			hr_wake(fences[i].word, INT_MAX);
		hr_expect_works(&honest);
		said = hr_read_file(daemon_.err);
		is_dropped = strstr(said, "does not read");
		free(said);
	}
	size = hr_status_number(daemon_.pid, "VmRSS:") - size;
	cr_expect(size < 4096 || hr_is_sanitized(daemon_.pid),
		"nothing is piled up: %ld kB", size);
	close(guest.fd);
	for (int i = 0; i < UNREAD_FENCES; i++)
		hr_remove_file(&fences[i]);
	end();
}

Test(hostile, one_fence_too_many_is_refused, DAEMON)
{
	enum { COUNT = 20000 };
	static struct hr_fence fences[COUNT];
	struct hr_guest guest = hr_guest(&daemon_);
	uint64_t accepted = 0, refused = 0;

	for (uint64_t i = 0; i < COUNT; i++) {
		struct ff_wire answer;

		fences[i] = hr_make_file(&daemon_);
		hr_send_new(guest.fd, i + 1, fences[i].name);
		cr_assert(hr_receive(guest.fd, &answer) && answer.id == i + 1);
		if (answer.type == FF_WIRE_ACCEPTED) {
			accepted++;
			cr_expect_eq(refused, 0);
			continue;
		}
		refused++;
		cr_assert(answer.type == FF_WIRE_REFUSED &&
			answer.reason == FF_WIRE_LIMIT, "%s",
			ff_wire_reason_text(answer.reason));
		if (i % 1000 == 0)
			hr_expect_works(&honest);
	}
	cr_expect(accepted > 0 && accepted <= 16384 && refused > 0,
		"accepted %llu", (unsigned long long)accepted);
	/* The place of one that has gone is free again. */
	hr_send(guest.fd, &(struct ff_wire){ .type = FF_WIRE_GONE, .id = 1 });
	hr_send_new(guest.fd, COUNT, fences[COUNT - 1].name);
	hr_expect(guest.fd, FF_WIRE_ACCEPTED, COUNT, 0);
	close(guest.fd);
	for (int i = 0; i < COUNT; i++)
		hr_remove_file(&fences[i]);
	end();
}

/* What one does to be left out of what is said does not hide another. */
Test(hostile, a_flood_of_bad_fences_hides_no_drop, DAEMON)
{
	unsigned char bytes[FF_WIRE_SIZE] = "FFRY and the rest is not";
	struct hr_guest guest = hr_guest(&daemon_), other = hr_guest(&daemon_);

	for (uint64_t id = 1; id <= 300; id++)
		hr_send_new(guest.fd, id, "bad");
	for (uint64_t id = 1; id <= 300; id++)
		hr_expect(guest.fd, FF_WIRE_REFUSED, id, FF_WIRE_BAD_NAME);
	hr_try_send(other.fd, bytes, sizeof(bytes));
	expect_dropped(other.fd, "garbage");
	close(guest.fd);
	end();
}

static void begin_with_full_log(void)
{
	begin_with((const char *const[]){ "--log=/dev/full", NULL });
}

static int count_said(const char *text)
{
	char *said = hr_read_file(daemon_.err);
	int count = 0;

	for (const char *at = said; (at = strstr(at, text)); at++)
		count++;
	free(said);
	return count;
}

Test(hostile, a_log_that_cannot_be_written_is_told_once,
	.init = begin_with_full_log, .fini = clean, .timeout = 120)
{
	for (int i = 0; i < 100; i++)
		hr_expect_works(&honest);
	end();
	cr_expect_eq(count_said("cannot write to the log"), 1);
}
