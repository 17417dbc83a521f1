/* SPDX-License-Identifier: MIT */
/*
 * src/replies: what is told of fds that a server sends. The client is this
 * process, and so is the server; nobody is under a filter: the calls are shown
 * to the room, and made or not.
 */
#include "replies.h"

#include "arch/arch.h"
#include "count-fds.h"
#include "fds.h"
#include "process.h"
#include "unit-dir.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

enum { PACKET = 32 };

static struct {
	int client, server; /* ends of a connection */
	FILE *log;
	struct ff_servers servers;
	struct ff_futexes futexes;
	struct ff_backtraces backtraces;
	struct ff_eventlog events;
	struct ff_replies replies;
} test;

static void begin(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	make_test_dir();
	snprintf(address.sun_path, sizeof(address.sun_path),
		"%s/.X11-unix", unit_dir);
	cr_assert_eq(mkdir(address.sun_path, 0700), 0);
	strcat(address.sun_path, "/X7");
	cr_assert_eq(bind(listener, (struct sockaddr *)&address,
		sizeof(address)), 0);
	cr_assert_eq(listen(listener, 1), 0);
	test.client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	cr_assert_eq(connect(test.client, (struct sockaddr *)&address,
		sizeof(address)), 0);
	test.server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	cr_assert(test.server >= 0);
	close(listener);
	test.log = tmpfile();
	cr_assert(test.log != NULL);
	test.events = (struct ff_eventlog){ .fd = fileno(test.log),
		.verbosity = -1 };
	test.replies = (struct ff_replies){ .wanted = true, .shm_dir = "/dev/shm",
		.servers = &test.servers, .futexes = &test.futexes,
		.backtraces = &test.backtraces, .log = &test.events };
}

static void end(void)
{
	ff_servers_free(&test.servers);
	remove_test_dir();
}

#define REPLY_TEST(name) \
	Test(replies, name, .init = begin, .fini = end, .timeout = 60)

/* A reply with nothing but fds. */
static void make_reply(unsigned char packet[PACKET], unsigned char fds,
	uint16_t sequence)
{
	memset(packet, 0, PACKET);
	packet[0] = 1;
	packet[1] = fds;
	memcpy(packet + 2, &sequence, sizeof(sequence));
}

static void send_bytes(const void *bytes, size_t size, const int *fds,
	size_t count)
{
	cr_assert_eq(ff_fds_send(test.server, bytes, size, fds, count, 0),
		(ssize_t)size);
}

static int make_memfd(const char *name, off_t size)
{
	int fd = memfd_create(name, MFD_CLOEXEC);

	cr_assert_eq(ftruncate(fd, size), 0);
	return fd;
}

static void send_reply(uint16_t sequence, int fd)
{
	unsigned char packet[PACKET];

	make_reply(packet, 1, sequence);
	send_bytes(packet, PACKET, &fd, 1);
}

/* A call that reads so much. */
struct reading {
	unsigned char bytes[4096];
	union {
		char room[CMSG_SPACE(FF_FDS_MAX * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec part;
	struct msghdr head;
};

static void make_reading(struct reading *reading, size_t bytes, size_t fds)
{
	memset(reading, 0, sizeof(*reading));
	reading->part = (struct iovec){ reading->bytes, bytes };
	reading->head = (struct msghdr){
		.msg_iov = &reading->part,
		.msg_iovlen = 1,
		.msg_control = fds ? reading->control.room : NULL,
		.msg_controllen = fds ? CMSG_LEN(fds * sizeof(int)) : 0,
	};
}

static void show_as(pid_t tid, int socket, const struct reading *reading)
{
	const struct ff_notification n = {
		.tid = tid,
		.data = {
			.nr = SYS_recvmsg,
			.arch = ff_arch_native()->audit_arch,
			.args = { (uint64_t)socket,
				(uintptr_t)&reading->head },
		},
	};

	cr_assert_eq(ff_replies_handle(&test.replies, &n, true), FF_CALL_GOES_ON);
}

static void show(const struct reading *reading)
{
	show_as(getpid(), test.client, reading);
}

/* Make the call: how many fds came, which are closed. */
static size_t make_call(struct reading *reading, ssize_t bytes)
{
	struct cmsghdr *cmsg;
	size_t count = 0;

	cr_assert_eq(recvmsg(test.client, &reading->head, MSG_CMSG_CLOEXEC),
		bytes);
	cmsg = CMSG_FIRSTHDR(&reading->head);
	if (cmsg)
		count = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	for (size_t i = 0; i < count; i++) {
		int fd;

		memcpy(&fd, CMSG_DATA(cmsg) + i * sizeof(fd), sizeof(fd));
		cr_assert_eq(close(fd), 0);
	}
	return count;
}

/* The events so far, until the next call. */
static json_t *events(void)
{
	static json_t *array;
	char *line = NULL;
	size_t room = 0;

	ff_eventlog_flush(&test.events);
	json_decref(array);
	array = json_array();
	rewind(test.log);
	while (getline(&line, &room, test.log) > 0)
		json_array_append_new(array, json_loads(line, 0, NULL));
	free(line);
	return array;
}

static size_t count(void)
{
	return json_array_size(events());
}

static const char *text(size_t i, const char *key)
{
	const char *value = json_string_value(
		json_object_get(json_array_get(events(), i), key));

	return value ? value : "(none)";
}

REPLY_TEST(an_fd_is_told_and_stays)
{
	int fd = make_memfd("xshmfence", 4);
	struct reading reading;
	struct stat st;
	json_t *event;
	int before;

	make_reading(&reading, 4096, 16);
	send_reply(0x1234, fd);
	before = count_fds(getpid());
	show(&reading);
	cr_assert_eq(count_fds(getpid()), before, "all copies are closed");
	cr_assert_eq(count(), 1);
	cr_expect_str_eq(text(0, "event"), "crossing");
	cr_expect_str_eq(text(0, "direction"), "from_server");
	cr_expect_str_eq(text(0, "kind"), "memfd");
	cr_expect_str_eq(text(0, "name"), "xshmfence");
	cr_expect_str_eq(text(0, "request"), "DRI3.FDFromFence");
	cr_expect_str_eq(text(0, "request_by"), "shape");
	cr_expect_str_eq(text(0, "action"), "left");
	event = json_array_get(events(), 0);
	cr_expect(json_is_null(json_object_get(event, "fd")));
	cr_expect(json_is_null(json_object_get(event, "xid")));
	cr_expect_eq(json_integer_value(json_object_get(event, "size")), 4);
	cr_assert_eq(fstat(fd, &st), 0);
	cr_expect_eq((ino_t)json_integer_value(json_object_get(event, "ino")),
		st.st_ino);
	/* and the client gets all of it */
	cr_expect_eq(make_call(&reading, PACKET), 1);
	cr_expect(reading.bytes[0] == 1 && reading.bytes[2] == 0x34);
}

REPLY_TEST(what_it_is_tells_the_request)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	int pipes[2], fds[3] = { make_memfd("xorg", 8192), null };
	unsigned char packets[3 * PACKET];
	struct reading reading;

	cr_assert_eq(pipe2(pipes, O_CLOEXEC), 0);
	fds[2] = pipes[0];
	make_reply(packets, 1, 5);
	make_reply(packets + PACKET, 1, 6);
	make_reading(&reading, 4096, 16);
	send_bytes(packets, 2 * PACKET, fds, 2);
	show(&reading);
	cr_assert_eq(count(), 2);
	cr_expect_str_eq(text(0, "request"), "MIT-SHM.CreateSegment");
	cr_expect_str_eq(text(0, "name"), "xorg");
	cr_expect_str_eq(text(1, "request"), "DRI3.Open");
	cr_expect_str_eq(text(1, "name"), "/dev/null");
	cr_expect_str_eq(text(1, "kind"), "other");
	cr_assert_eq(make_call(&reading, 2 * PACKET), 2);
	/* what no request is known to bring */
	send_bytes(packets, PACKET, fds + 2, 1);
	make_reading(&reading, 4096, 16);
	show(&reading);
	cr_assert_eq(count(), 3);
	cr_expect(json_is_null(json_object_get(json_array_get(events(), 2),
		"request")));
}

REPLY_TEST(a_call_made_again_is_told_once)
{
	int fd = make_memfd("xshmfence", 4);
	struct reading reading, first;

	make_reading(&reading, 4096, 16);
	make_reading(&first, 1, 16);
	send_reply(1, fd);
	show(&reading);
	show(&reading);
	/* or by one who has peeked before */
	show(&first);
	show(&reading);
	cr_assert_eq(count(), 1);
	/* but not what came with another reply */
	cr_assert_eq(make_call(&reading, PACKET), 1);
	send_reply(2, fd);
	make_reading(&reading, 4096, 16);
	show(&reading);
	cr_assert_eq(count(), 2);
}

/* Read two packets byte by byte, fds with the second one. */
static void read_slowly(void)
{
	struct reading reading;

	for (int i = 0; i < 2 * PACKET; i++) {
		make_reading(&reading, 1, 16);
		show(&reading);
		cr_assert_eq(make_call(&reading, 1), i == PACKET);
		cr_assert(i < PACKET || count() > 0);
	}
}

REPLY_TEST(bytes_are_read_one_by_one)
{
	unsigned char other[PACKET] = { 12 };

	send_bytes(other, PACKET, NULL, 0);
	send_reply(1, make_memfd("xshmfence", 4));
	read_slowly();
	cr_assert_eq(count(), 1);
	cr_expect_str_eq(text(0, "request"), "DRI3.FDFromFence");
}

REPLY_TEST(what_is_not_known_is_told_once_too)
{
	unsigned char other[PACKET] = { 12 };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	for (uint16_t i = 1; i < 4; i++) {
		send_bytes(other, PACKET, NULL, 0);
		send_reply(i, fd);
		read_slowly();
		cr_assert_eq(count(), i);
	}
}

REPLY_TEST(only_what_there_is_room_for_comes)
{
	unsigned char packets[4 * PACKET];
	struct reading reading;
	int fds[4];

	for (int i = 0; i < 4; i++) {
		fds[i] = make_memfd("xshmfence", 4);
		make_reply(packets + i * PACKET, 1, (uint16_t)i);
	}
	send_bytes(packets, 4 * PACKET, fds, 4);
	make_reading(&reading, 4096, 0);
	show(&reading);
	cr_assert_eq(count(), 0);
	make_reading(&reading, 4096, 3);
	show(&reading);
	cr_assert_eq(count(), 3);
	cr_assert_eq(make_call(&reading, 4 * PACKET), 3);
}

REPLY_TEST(as_many_as_a_message_can_carry)
{
	unsigned char *packets = calloc(FF_FDS_MAX, PACKET);
	struct reading reading;
	int fds[FF_FDS_MAX];
	int before;

	for (int i = 0; i < FF_FDS_MAX; i++) {
		fds[i] = make_memfd("xshmfence", 4);
		make_reply(packets + i * PACKET, 1, (uint16_t)i);
	}
	send_bytes(packets, FF_FDS_MAX * PACKET, fds, FF_FDS_MAX);
	make_reading(&reading, 4096, FF_FDS_MAX);
	before = count_fds(getpid());
	show(&reading);
	cr_assert_eq(count_fds(getpid()), before);
	cr_assert_eq(count(), FF_FDS_MAX);
	cr_expect_str_eq(text(FF_FDS_MAX - 1, "request"), "DRI3.FDFromFence");
	free(packets);
}

REPLY_TEST(nothing_to_read_is_no_wait)
{
	struct reading reading;

	make_reading(&reading, 4096, 16);
	show(&reading);
	make_reading(&reading, 0, 16);
	show(&reading);
	close(test.server);
	make_reading(&reading, 4096, 16);
	show(&reading);
	cr_assert_eq(count(), 0);
}

REPLY_TEST(other_sockets_and_what_is_not_wanted_are_left_alone)
{
	int pair[2], udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct reading reading;
	int before;

	cr_assert(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	send_reply(1, make_memfd("xshmfence", 4));
	test.server = pair[1];
	send_reply(1, make_memfd("xshmfence", 4));
	before = count_fds(getpid());
	make_reading(&reading, 4096, 16);
	show_as(getpid(), pair[0], &reading);
	show_as(getpid(), udp, &reading);
	show_as(getpid(), STDIN_FILENO, &reading);
	show_as(getpid(), -1, &reading);
	show_as(getpid(), 0x7ffffff, &reading);
	show_as(INT32_MAX, pair[0], &reading);
	test.replies.wanted = false;
	show(&reading);
	cr_assert_eq(count_fds(getpid()), before);
	cr_assert_eq(count(), 0);
}

REPLY_TEST(memory_that_cannot_be_read_is_left_to_the_kernel)
{
	struct reading *nowhere = (void *)0x1000;

	send_reply(1, make_memfd("xshmfence", 4));
	show(nowhere);
	cr_assert_eq(count(), 0);
}

static void *show_from_thread(void *argument)
{
	show_as(gettid(), test.client, argument);
	return NULL;
}

REPLY_TEST(threads_are_known_by_their_process)
{
	struct reading reading;
	pthread_t thread;
	json_t *event;

	make_reading(&reading, 4096, 16);
	send_reply(1, make_memfd("xshmfence", 4));
	cr_assert_eq(pthread_create(&thread, NULL, show_from_thread, &reading),
		0);
	pthread_join(thread, NULL);
	cr_assert_eq(count(), 1);
	event = json_array_get(events(), 0);
	cr_expect_eq(json_integer_value(json_object_get(event, "pid")),
		getpid());
	cr_expect_neq(json_integer_value(json_object_get(event, "tid")),
		getpid());
}

REPLY_TEST(a_client_that_peeks_from_an_offset_is_not_disturbed)
{
	unsigned char byte;
	struct reading reading;
	int offset = 2;

	make_reading(&reading, 4096, 16);
	send_reply(0x1234, make_memfd("xshmfence", 4));
	cr_assert_eq(setsockopt(test.client, SOL_SOCKET, SO_PEEK_OFF, &offset,
		sizeof(offset)), 0);
	show(&reading);
	cr_assert_eq(recv(test.client, &byte, 1, MSG_PEEK), 1);
	cr_assert_eq(byte, 0x34);
	cr_assert_eq(count(), 0);
}

/* It asked for a pidfd with every message, and for credentials. */
REPLY_TEST(what_else_comes_along_is_closed)
{
#ifndef SO_PASSPIDFD
#define SO_PASSPIDFD 76
#endif
	struct reading reading;
	const int one = 1;
	int before;

	if (setsockopt(test.client, SOL_SOCKET, SO_PASSPIDFD, &one,
		    sizeof(one)))
		cr_skip("this kernel sends no pidfds");
	cr_assert_eq(setsockopt(test.client, SOL_SOCKET, SO_PASSCRED, &one,
		sizeof(one)), 0);
	send_reply(1, make_memfd("xshmfence", 4));
	make_reading(&reading, 4096, 200);
	before = count_fds(getpid());
	show(&reading);
	cr_assert_eq(count_fds(getpid()), before);
	cr_assert_eq(count(), 1);
}
