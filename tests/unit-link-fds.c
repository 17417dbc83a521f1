/* SPDX-License-Identifier: MIT */
/* src/futexwatch/link: fds that come along with messages. */
#include "futexwatch/link.h"

#include "count-fds.h"
#include "fds.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* A link that sends, which may be left out, and one that takes. */
static struct ff_link from, to;
static int bare;

static void open_links(bool takes_fds)
{
	int fds[2];

	cr_assert_eq(socketpair(AF_UNIX,
		SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
	bare = fds[0];
	ff_link_init(&from, fds[0], false);
	ff_link_init(&to, fds[1], false);
	to.takes_fds = takes_fds;
}

/* A file that is known by its size. */
static int make_file(uint64_t size)
{
	int fd = memfd_create("file", MFD_CLOEXEC);

	cr_assert(fd >= 0 && ftruncate(fd, (off_t)size) == 0);
	return fd;
}

static struct ff_wire nameless(uint64_t id)
{
	return (struct ff_wire){ .type = FF_WIRE_NEW, .id = id };
}

static struct ff_wire ping(uint64_t id)
{
	return (struct ff_wire){ .type = FF_WIRE_PING, .id = id };
}

/* By hand: so many fds with these bytes. */
static void send_raw(const void *bytes, size_t size, int fd, size_t count)
{
	int fds[8];
	ssize_t sent;

	for (size_t i = 0; i < count; i++)
		fds[i] = fd;
	sent = ff_fds_send(bare, bytes, size, fds, count, 0);
	cr_assert_eq(sent, (ssize_t)size, "%s", strerror((int)-sent));
}

static void send_message(struct ff_wire message, int fd, size_t count)
{
	unsigned char bytes[FF_WIRE_SIZE];

	ff_wire_encode(&message, bytes);
	send_raw(bytes, sizeof(bytes), fd, count);
}

static int take(struct ff_wire *message)
{
	int taken;

	while (!(taken = ff_link_take(&to, message))) {
		size_t before = to.in_size;

		cr_assert_eq(ff_link_fill(&to), 0);
		if (to.in_size == before)
			return 0;
	}
	return taken;
}

/* The next message is this, with a file of this size, or without if 0. */
static void expect(enum ff_wire_type type, uint64_t id, off_t size)
{
	struct ff_wire message;
	struct stat st;
	int fd;

	cr_assert_eq(take(&message), 1, "no message %d", (int)id);
	cr_assert(message.type == type && message.id == id,
		"type %d of %d instead of %d of %d", message.type,
		(int)message.id, type, (int)id);
	fd = ff_link_take_fd(&to);
	if (!size) {
		cr_assert_eq(fd, -1, "%d came with %d", fd, (int)id);
		return;
	}
	cr_assert(fd >= 0, "none came with %d", (int)id);
	cr_assert(fstat(fd, &st) == 0 && st.st_size == size, "another's file");
	cr_assert_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
	close(fd);
	cr_assert_eq(ff_link_take_fd(&to), -1, "it is taken once");
}

static void expect_bad(void)
{
	struct ff_wire message;

	cr_assert_eq(take(&message), -EBADMSG);
	cr_assert_eq(ff_link_take(&to, &message), -EBADMSG, "for good");
}

static void close_links(void)
{
	ff_link_close(&from);
	ff_link_close(&to);
}

static void put(struct ff_wire message)
{
	cr_assert(ff_link_put(&from, &message));
}

static void put_fd(struct ff_wire message, uint64_t size)
{
	cr_assert(ff_link_put_fd(&from, &message, make_file(size)));
}

Test(link_fds, come_with_their_messages, .timeout = 10)
{
	int before = count_fds(getpid());

	open_links(true);
	put_fd(nameless(1), 1);
	put(ping(2));
	cr_assert_eq(ff_link_flush(&from), 0);
	put(ping(3));
	put_fd(nameless(4), 4);
	put(ping(5));
	cr_assert_eq(ff_link_flush(&from), 0);
	put_fd(nameless(6), 6);
	cr_assert_eq(ff_link_flush(&from), 0);
	put_fd(nameless(7), 7);
	cr_assert_eq(ff_link_flush(&from), 0);
	expect(FF_WIRE_NEW, 1, 1);
	expect(FF_WIRE_PING, 2, 0);
	expect(FF_WIRE_PING, 3, 0);
	expect(FF_WIRE_NEW, 4, 4);
	expect(FF_WIRE_PING, 5, 0);
	expect(FF_WIRE_NEW, 6, 6);
	expect(FF_WIRE_NEW, 7, 7);
	close_links();
	cr_expect_eq(count_fds(getpid()), before);
}

enum { COUNT = 20000, PERIOD = 61 };

/* Of a long row, each of which is a ping but for some. */
static bool put_nth(uint64_t n)
{
	struct ff_wire message = n % PERIOD ? ping(n) : nameless(n + 1);
	int fd;

	if (n % PERIOD)
		return ff_link_put(&from, &message);
	fd = make_file(n + 1);
	if (ff_link_put_fd(&from, &message, fd))
		return true;
	close(fd);
	return false;
}

static void expect_nth(uint64_t n)
{
	if (n % PERIOD)
		expect(FF_WIRE_PING, n, 0);
	else
		expect(FF_WIRE_NEW, n + 1, (off_t)n + 1);
}

/* Whatever is split where, and however much waits. */
Test(link_fds, come_through_a_line_that_is_full, .timeout = 60)
{
	int before = count_fds(getpid()), size = 2501;
	uint64_t sent = 0, taken = 0;
	unsigned int state = 1, full = 0, split = 0;

	open_links(true);
	setsockopt(from.fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	while (taken < COUNT) {
		uint64_t there;

		while (sent < COUNT && put_nth(sent))
			sent++;
		cr_assert_eq(ff_link_flush(&from), 0);
		full += ff_link_pending(&from);
		split += from.out_size % FF_WIRE_SIZE != 0;
		there = sent - (from.out_size + FF_WIRE_SIZE - 1) /
			FF_WIRE_SIZE;
		state = state * 1664525 + 1013904223;
		for (uint64_t i = state >> 26; i && taken < there; i--)
			expect_nth(taken++);
	}
	cr_expect(full > 10 && split > 10, "%u, %u", full, split);
	close_links();
	cr_expect_eq(count_fds(getpid()), before);
}

Test(link_fds, are_one_at_a_time, .timeout = 10)
{
	struct ff_wire message = nameless(3);
	int fd = make_file(1), before;

	open_links(true);
	before = count_fds(getpid());
	put_fd(nameless(1), 1);
	cr_expect_not(ff_link_put_fd(&from, &message, fd), "one waits");
	cr_expect_eq(ff_link_flush(&from), 0);
	cr_expect_eq(count_fds(getpid()), before, "what is sent is closed");
	for (uint64_t i = 2; i <= 100; i++)
		send_message(nameless(i), fd, 1);
	for (int i = 0; i < 200; i++)
		cr_assert_eq(ff_link_fill(&to), 0);
	cr_expect_eq(count_fds(getpid()), before + 1);
	for (uint64_t i = 1; i <= 100; i++) {
		expect(FF_WIRE_NEW, i, 1);
		cr_assert_eq(count_fds(getpid()), before);
	}
}

/* The first of two parts brings it, or the second. */
Test(link_fds, come_whole_however_a_message_was_split, .timeout = 60)
{
	unsigned char bytes[2 * FF_WIRE_SIZE];
	struct ff_wire message = nameless(1), next = ping(2);
	int fd = make_file(1), before;

	open_links(true);
	before = count_fds(getpid());
	ff_wire_encode(&message, bytes);
	ff_wire_encode(&next, bytes + FF_WIRE_SIZE);
	for (size_t size = 1; size < FF_WIRE_SIZE; size++) {
		send_raw(bytes, size, fd, 1);
		cr_assert_eq(take(&message), 0);
		send_raw(bytes + size, sizeof(bytes) - size, -1, 0);
		expect(FF_WIRE_NEW, 1, 1);
		expect(FF_WIRE_PING, 2, 0);

		send_raw(bytes, size, fd, 1);
		send_raw(bytes + size, FF_WIRE_SIZE - size, -1, 0);
		send_message(nameless(3), fd, 1);
		expect(FF_WIRE_NEW, 1, 1);
		expect(FF_WIRE_NEW, 3, 1);

		send_raw(bytes, size, -1, 0);
		send_raw(bytes + size, FF_WIRE_SIZE - size, fd, 1);
		send_raw(bytes + FF_WIRE_SIZE, FF_WIRE_SIZE, -1, 0);
		expect(FF_WIRE_NEW, 1, 1);
		expect(FF_WIRE_PING, 2, 0);
	}
	cr_expect_eq(count_fds(getpid()), before);
}

Test(link_fds, out_of_place_are_an_error, .timeout = 10)
{
	struct ff_wire named = nameless(1), hello = { .type = FF_WIRE_HELLO,
		.version = FF_WIRE_VERSION };
	int fd = make_file(1), before = count_fds(getpid());
	unsigned char bytes[FF_WIRE_SIZE];

	strcpy(named.name, "name");
	for (int i = 0; i < 7; i++) {
		open_links(true);
		send_message(ping(1), -1, 0);
		if (i == 0)
			send_message(ping(2), fd, 1);
		else if (i == 1)
			send_message(named, fd, 1);
		else if (i == 2)
			send_message(hello, fd, 1);
		else if (i == 3)
			send_message(nameless(1), -1, 0);
		else if (i <= 5)
			send_message(nameless(1), fd, i == 4 ? 2 : 8);
		ff_wire_encode(&(struct ff_wire){ .type = FF_WIRE_NEW,
			.id = 1 }, bytes);
		if (i == 6) {
			send_raw(bytes, 10, fd, 1);
			send_raw(bytes + 10, FF_WIRE_SIZE - 10, fd, 1);
		}
		expect(FF_WIRE_PING, 1, 0);
		expect_bad();
		cr_expect(count_fds(getpid()) <= before + 3, "case %d", i);
		close_links();
		cr_expect_eq(count_fds(getpid()), before, "case %d", i);
	}
}

Test(link_fds, where_none_are_taken_are_an_error, .timeout = 10)
{
	int fd = make_file(1), before = count_fds(getpid());

	open_links(false);
	send_message(nameless(1), -1, 0);
	send_message(ping(2), -1, 0);
	send_message(nameless(3), fd, 1);
	expect(FF_WIRE_NEW, 1, 0);
	expect(FF_WIRE_PING, 2, 0);
	expect_bad();
	cr_expect_eq(count_fds(getpid()), before + 2, "it did not get in");
	close_links();
	/* Of a device's messages nothing is an error. */
	open_links(false);
	to.is_device = true;
	send_message(ping(1), fd, 1);
	expect(FF_WIRE_PING, 1, 0);
	cr_expect_eq(count_fds(getpid()), before + 2);
}

Test(link_fds, that_nobody_wants_are_closed, .timeout = 10)
{
	int fd = make_file(1), before = count_fds(getpid());
	struct ff_wire message;

	open_links(true);
	for (int i = 0; i < 10; i++) {
		send_message(nameless(1), fd, 1);
		cr_assert_eq(take(&message), 1);
		cr_assert_eq(count_fds(getpid()), before + 3);
	}
	close_links();
	cr_expect_eq(count_fds(getpid()), before, "the one that was taken last");
	open_links(true);
	send_message(nameless(1), fd, 1);
	cr_assert_eq(ff_link_fill(&to), 0);
	cr_assert_eq(count_fds(getpid()), before + 3);
	ff_link_skip(&to);
	cr_assert_eq(count_fds(getpid()), before + 2);
	send_message(nameless(1), fd, 1);
	cr_assert_eq(ff_link_fill(&to), 0);
	close_links();
	cr_expect_eq(count_fds(getpid()), before, "one that was read");
	open_links(true);
	put_fd(nameless(1), 1);
	close_links();
	cr_expect_eq(count_fds(getpid()), before, "one that was not written");
}

Test(link_fds, that_find_no_room_are_missed, .timeout = 10)
{
	struct ff_wire message;
	struct rlimit limit;
	int fd = make_file(1);

	open_links(true);
	send_message(nameless(1), fd, 1);
	send_message(ping(2), -1, 0);
	send_message(nameless(3), fd, 1);
	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = 3;
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	cr_assert_eq(take(&message), 1);
	cr_expect_eq(ff_link_take_fd(&to), -EMFILE);
	limit.rlim_cur = limit.rlim_max;
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	expect(FF_WIRE_PING, 2, 0);
	expect(FF_WIRE_NEW, 3, 1);
}
