/* SPDX-License-Identifier: MIT */
/* fenceferry host against guests that pass what they should not. */
#include "host-run.h"

#include "count-fds.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { NOBODY = 65534 };

static struct hr_daemon daemon_;
static struct hr_honest honest;
static struct hr_guest guest;

static void begin_with(const char *const options[])
{
	hr_make_dir(&daemon_);
	hr_start(&daemon_, options);
	honest = hr_honest(&daemon_);
	guest = hr_fds_guest(&daemon_);
}

static void begin(void)
{
	begin_with(NULL);
}

static void clean(void)
{
	hr_clean(&daemon_);
}

#define DAEMON .init = begin, .fini = clean, .timeout = 120

static void end(void)
{
	hr_expect_works(&honest);
	close(guest.fd);
	hr_leave(&honest);
	hr_expect_no_leak(&daemon_);
	hr_stop(&daemon_);
}

/* Only the honest one and its fence are left. */
static void expect_left_alone(void)
{
	hr_expect_no_leak(&(struct hr_daemon){ .pid = daemon_.pid,
		.fds = daemon_.fds + 2 });
}

static int make_file(off_t size)
{
	int fd = open(daemon_.dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	cr_assert(fd >= 0 && ftruncate(fd, size) == 0, "%s", strerror(errno));
	return fd;
}

static const struct ff_wire nameless = { .type = FF_WIRE_NEW, .id = 1 };

/* It is dropped for that, and comes again. */
static void expect_dropped(void)
{
	hr_expect_end(guest.fd);
	close(guest.fd);
	hr_expect_said(&daemon_, "protocol error: an fd out of place");
	hr_expect_works(&honest);
	expect_left_alone();
	guest = hr_fds_guest(&daemon_);
}

Test(hostile_fds, with_other_messages_are_dropped, DAEMON)
{
	struct ff_wire messages[] = {
		{ .type = FF_WIRE_PING, .id = 1 },
		{ .type = FF_WIRE_WAKE, .id = 1, .count = 1 },
		{ .type = FF_WIRE_GONE, .id = 1 },
		{ .type = FF_WIRE_NEW, .id = 1, .name = "fenceferry-" },
	};
	int fd = make_file(4);

	for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++) {
		cr_assert_eq(hr_send_fds(guest.fd, &messages[i], &fd, 1), 0);
		expect_dropped();
	}
	end();
}

Test(hostile_fds, with_hello_are_dropped, DAEMON)
{
	struct ff_wire hello = { .type = FF_WIRE_HELLO,
		.version = FF_WIRE_VERSION };
	int fd = make_file(4);

	close(guest.fd);
	guest.fd = hr_connect(&daemon_);
	cr_assert_eq(hr_send_fds(guest.fd, &hello, &fd, 1), 0);
	expect_dropped();
	/* Nor before the answer. */
	close(guest.fd);
	guest.fd = hr_connect(&daemon_);
	cr_assert_eq(hr_send_fds(guest.fd, &nameless, &fd, 1), 0);
	expect_dropped();
	/* Nor where it was not agreed on. */
	close(guest.fd);
	guest = hr_guest(&daemon_);
	cr_assert_eq(hr_send_fds(guest.fd, &nameless, &fd, 1), 0);
	expect_dropped();
	end();
}

Test(hostile_fds, none_and_too_many_are_dropped, DAEMON)
{
	int fds[8];

	for (int i = 0; i < 8; i++)
		fds[i] = make_file(4);
	for (size_t count = 2; count <= 8; count++) {
		cr_assert_eq(hr_send_fds(guest.fd, &nameless, fds, count), 0);
		expect_dropped();
	}
	hr_send(guest.fd, &nameless);
	expect_dropped();
	end();
}

/* Two in one message, and half a message. */
Test(hostile_fds, in_halves_of_messages_are_dropped, DAEMON)
{
	struct ff_wire message = nameless;
	unsigned char bytes[FF_WIRE_SIZE];
	int fd = make_file(4);

	ff_wire_encode(&message, bytes);
	cr_assert(hr_try_send(guest.fd, bytes, 10));
	/* 64 bytes more: the fd comes with the beginning of the next. */
	cr_assert_eq(hr_send_fds(guest.fd, &message, &fd, 1), 0);
	hr_expect_end(guest.fd);
	close(guest.fd);
	expect_left_alone();
	guest = hr_fds_guest(&daemon_);
	end();
}

static void expect_refused(int fd)
{
	static uint64_t id = 100;

	cr_assert(fd >= 0, "%s", strerror(errno));
	hr_send_new_fd(guest.fd, ++id, fd);
	hr_expect(guest.fd, FF_WIRE_REFUSED, id, FF_WIRE_BAD_FILE);
	close(fd);
}

Test(hostile_fds, of_what_is_no_file_are_refused, DAEMON)
{
	int pipes[2], sockets[2];

	cr_assert(pipe2(pipes, O_CLOEXEC) == 0);
	cr_assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0,
		sockets) == 0);
	expect_refused(pipes[0]);
	expect_refused(sockets[0]);
	expect_refused(eventfd(0, EFD_CLOEXEC));
	expect_refused(open(daemon_.dir, O_RDONLY | O_CLOEXEC));
	expect_refused(open(daemon_.dir, O_PATH | O_CLOEXEC));
	expect_refused(open("/dev/zero", O_RDWR | O_CLOEXEC));
	expect_refused(fcntl(guest.fd, F_DUPFD_CLOEXEC, 0));
	close(pipes[1]);
	close(sockets[1]);
	end();
}

Test(hostile_fds, that_cannot_be_read_are_refused, DAEMON)
{
	struct hr_fence file = hr_make_file(&daemon_);

	expect_refused(open(file.path, O_WRONLY | O_CLOEXEC));
	expect_refused(open(file.path, O_PATH | O_CLOEXEC));
	hr_send_new_fd(guest.fd, 1, open(file.path, O_RDONLY | O_CLOEXEC));
	hr_expect(guest.fd, FF_WIRE_ACCEPTED, 1, 0);
	hr_remove_file(&file);
	end();
}

/* What is done to these may be up to a process that never answers. */
Test(hostile_fds, of_other_file_systems_are_refused, DAEMON)
{
	char here[] = "./ff-hostile-XXXXXX", there[] = "/var/tmp/ff-hXXXXXX";
	int fd = mkostemp(here, O_CLOEXEC);

	if (fd >= 0)
		unlink(here);
	else if ((fd = mkostemp(there, O_CLOEXEC)) >= 0)
		unlink(there);
	cr_assert(fd >= 0, "%s", strerror(errno));
	cr_assert(ftruncate(fd, 4) == 0);
	if (fcntl(fd, F_GET_SEALS) >= 0)
		fprintf(stderr, "hostile_fds: all is in memory here\n");
	else
		expect_refused(fd);
	expect_refused(open("/proc/self/status", O_RDONLY | O_CLOEXEC));
	end();
}

Test(hostile_fds, of_wrong_sizes_are_refused, DAEMON)
{
	struct ff_wire beyond = { .type = FF_WIRE_NEW, .id = 1, .offset = 8 };
	int fd = make_file(8);

	expect_refused(make_file(0));
	expect_refused(make_file(3));
	expect_refused(make_file((64 << 10) + 1));
	cr_assert_eq(hr_send_fds(guest.fd, &beyond, &fd, 1), 0);
	hr_expect(guest.fd, FF_WIRE_REFUSED, 1, FF_WIRE_BAD_FILE);
	end();
}

Test(hostile_fds, of_other_users_are_refused, DAEMON)
{
	int fd = make_file(4);

	if (geteuid())
		cr_skip("to be run by root: it takes another user's file");
	cr_assert(fchown(fd, NOBODY, NOBODY) == 0);
	expect_refused(fd);
	end();
}

static void truncate_while_watched(const char *waiters)
{
	char option[32];
	int fd;

	snprintf(option, sizeof(option), "--waiters=%s", waiters);
	begin_with((const char *const[]){ option, NULL });
	fd = make_file(4);
	hr_send_new_fd(guest.fd, 1, fd);
	hr_expect(guest.fd, FF_WIRE_ACCEPTED, 1, 0);
	cr_assert(ftruncate(fd, 0) == 0);
	hr_send(guest.fd, &(struct ff_wire){ .type = FF_WIRE_WAKE, .id = 1,
		.count = INT_MAX });
	hr_expect(guest.fd, FF_WIRE_REFUSED, 1, FF_WIRE_LOST);
	hr_expect_works(&honest);
	end();
}

Test(hostile_fds, truncated_later_are_lost, .fini = clean, .timeout = 120)
{
	truncate_while_watched("auto");
}

Test(hostile_fds, truncated_later_are_lost_by_waitv, .fini = clean,
	.timeout = 120)
{
	truncate_while_watched("waitv");
}

/* How many of these get onto the line; they may all be of one word. Not too
 * many at once: the kernel bounds all that a user has in flight. */
static uint64_t flood(int to, int fd, uint64_t words, uint64_t count)
{
	struct ff_wire message = nameless;
	uint64_t sent = 0;

	cr_assert(fcntl(to, F_SETFL, O_NONBLOCK) == 0);
	for (int tries = 0; sent < count && tries < 20; tries++) {
		message.id = sent + 1;
		message.offset = sent % words * 4;
		if (!hr_send_fds(to, &message, &fd, 1)) {
			sent++;
			tries = 0;
		} else {
			hr_sleep_ms(1);
		}
	}
	return sent;
}

Test(hostile_fds, in_flight_at_the_end_leave_nothing, DAEMON)
{
	int fd = make_file(4096);

	for (int i = 0; i < 20; i++) {
		cr_expect(flood(guest.fd, fd, 1024, 1000) > 50);
		close(guest.fd);
		hr_expect_works(&honest);
		expect_left_alone();
		guest = hr_fds_guest(&daemon_);
	}
	end();
}

static void begin_at_low_rate(void)
{
	begin_with((const char *const[]){ "--max-rate=1000", NULL });
}

/* However many are sent, the daemon has at most one of each that waits. */
Test(hostile_fds, in_flight_fill_no_table, .init = begin_at_low_rate,
	.fini = clean, .timeout = 120)
{
	enum { GUESTS = 8, EACH = 40 };
	struct hr_guest guests[GUESTS];
	int fd = make_file(4), bound;

	for (int i = 0; i < GUESTS; i++)
		guests[i] = hr_fds_guest(&daemon_);
	hr_expect_works(&honest);
	/* One of them gets the fence; and one is just being opened again. */
	bound = count_fds(daemon_.pid) + GUESTS + 2;
	for (int i = 0; i < GUESTS; i++)
		cr_expect_eq(flood(guests[i].fd, fd, 1, EACH), EACH);
	for (int i = 0; i < 100; i++) {
		cr_assert(count_fds(daemon_.pid) <= bound, "%d, not %d",
			count_fds(daemon_.pid), bound);
		hr_sleep_ms(5);
	}
	for (int i = 0; i < GUESTS; i++)
		close(guests[i].fd);
	end();
}

/* What it has no room for is refused for now. */
Test(hostile_fds, without_room_are_refused, DAEMON)
{
	struct rlimit limit, none;
	int fd = make_file(4);

	cr_assert(prlimit(daemon_.pid, RLIMIT_NOFILE, NULL, &limit) == 0);
	none = limit;
	none.rlim_cur = 3;
	cr_assert(prlimit(daemon_.pid, RLIMIT_NOFILE, &none, NULL) == 0);
	hr_send_new_fd(guest.fd, 1, fd);
	hr_expect(guest.fd, FF_WIRE_REFUSED, 1, FF_WIRE_FAILED);
	cr_assert(prlimit(daemon_.pid, RLIMIT_NOFILE, &limit, NULL) == 0);
	hr_send_new_fd(guest.fd, 1, fd);
	hr_expect(guest.fd, FF_WIRE_ACCEPTED, 1, 0);
	end();
}
