/* SPDX-License-Identifier: MIT */
#include "fake-host.h"

#include "clock.h"
#include "unit-dir.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#define DEADLINE_NS UINT64_C(30000000000)

const struct welcome friendly = { .version = FF_WIRE_VERSION };

struct ff_relay relay;
struct ff_fences fences;
struct ff_wire hello;
struct told told;
int host = -1;

static int listener = -1;
static struct ff_address address;
static bool is_open;

static void on_wake(void *context, struct ff_fence *fence, uint32_t count)
{
	cr_assert_eq(context, &told);
	told.woken = fence;
	told.count = count;
	told.wakes++;
}

static void on_refused(void *context, const struct ff_fence *fence,
	const char *text)
{
	cr_assert_eq(context, &told);
	cr_assert_eq(ff_fences_by_id(&fences, fence->id), fence);
	snprintf(told.refused, sizeof(told.refused), "%s", text);
	told.refusals++;
}

static void on_changed(void *context, const char *text)
{
	cr_assert_eq(context, &told);
	if (text) {
		snprintf(told.lost, sizeof(told.lost), "%s", text);
		told.losses++;
	} else {
		told.returns++;
	}
}

static const struct ff_relay_ops ops = {
	.context = &told,
	.wake = on_wake,
	.refused = on_refused,
	.changed = on_changed,
};

void start_host(void)
{
	struct ff_error error;

	listener = ff_link_listen(&address, &error);
	cr_assert(listener >= 0, "%s", error.text);
}

void stop_host(void)
{
	close(listener);
	unlink(address.path);
}

void make_host(void)
{
	make_test_dir();
	/* As root it is a file system that has no room for many. */
	if (geteuid() == 0)
		cr_assert(mount(NULL, unit_dir, NULL, MS_REMOUNT, "size=128m")
			== 0);
	address.transport = FF_UNIX;
	snprintf(address.path, sizeof(address.path), "%.80s/socket", unit_dir);
	start_host();
	ff_fences_init(&fences, unit_dir_fd, true);
}

void remove_host(void)
{
	if (is_open)
		ff_relay_close(&relay);
	ff_fences_free(&fences);
	remove_test_dir();
}

void put_bytes(const void *bytes, size_t size)
{
	cr_assert_eq(send(host, bytes, size, MSG_NOSIGNAL), (ssize_t)size);
}

void put_garbage(const char *text)
{
	char bytes[FF_WIRE_SIZE] = { 0 };

	memcpy(bytes, text, strnlen(text, sizeof(bytes)));
	put_bytes(bytes, sizeof(bytes));
}

void put(struct ff_wire message)
{
	unsigned char bytes[FF_WIRE_SIZE];

	ff_wire_encode(&message, bytes);
	put_bytes(bytes, sizeof(bytes));
}

/* The guest may have left by now. */
static void say(struct ff_wire message)
{
	unsigned char bytes[FF_WIRE_SIZE];

	ff_wire_encode(&message, bytes);
	send(host, bytes, sizeof(bytes), MSG_NOSIGNAL);
}

static void greet(const struct welcome *welcome)
{
	struct ff_wire answer = { .type = FF_WIRE_HELLO,
		.version = welcome->version,
		.features = welcome->features };
	unsigned char bytes[FF_WIRE_SIZE];

	cr_assert_eq(recv(host, bytes, sizeof(bytes), MSG_WAITALL),
		FF_WIRE_SIZE);
	cr_assert_eq(ff_wire_decode(bytes, &hello), 0);
	if (welcome->garbage)
		put_garbage(welcome->garbage);
	memcpy(answer.guest, hello.guest, FF_WIRE_ID);
	answer.guest[0] ^= welcome->other_guest;
	memcpy(answer.kernel, hello.kernel, FF_WIRE_ID);
	answer.kernel[0] ^= !welcome->same_kernel;
	if (!welcome->no_hello)
		say(answer);
	if (welcome->reason)
		say((struct ff_wire){ .type = FF_WIRE_REFUSED,
			.reason = welcome->reason });
	if (welcome->end)
		close(host);
}

static void *welcome_one(void *welcome)
{
	struct pollfd fd = { listener, POLLIN, 0 };

	poll(&fd, 1, -1);
	host = accept(listener, NULL, NULL);
	cr_assert(host >= 0);
	greet(welcome);
	return NULL;
}

int open_relay(const struct welcome *welcome, enum ff_transport transport,
	int timeout_ms, struct ff_error *error)
{
	struct ff_address to = address;
	struct welcome copy = *welcome;
	pthread_t thread;
	int err;

	to.transport = transport;
	cr_assert_eq(pthread_create(&thread, NULL, welcome_one, &copy), 0);
	err = ff_relay_open(&relay, &to, FF_WIRE_ISOLATED, &fences, &ops,
		timeout_ms, error);
	pthread_join(thread, NULL);
	is_open = !err;
	return err;
}

void open_friendly(void)
{
	struct ff_error error = { 0 };

	cr_assert_eq(open_relay(&friendly, FF_UNIX, 30000, &error), 0, "%s",
		error.text);
}

void serve(int ms)
{
	struct pollfd fd = { ff_relay_fd(&relay), ff_relay_events(&relay), 0 };
	uint64_t now_ns = ff_now_ns();
	uint64_t deadline_ns = ff_relay_deadline_ns(&relay);

	if (deadline_ns <= now_ns)
		ms = 0;
	else if ((deadline_ns - now_ns) / 1000000 < (uint64_t)ms)
		ms = (int)((deadline_ns - now_ns) / 1000000) + 1;
	if (poll(&fd, 1, ms) > 0 || ff_relay_deadline_ns(&relay) <= ff_now_ns())
		ff_relay_serve(&relay, fd.revents);
}

static bool is_readable(int fd)
{
	struct pollfd pollfd = { fd, POLLIN, 0 };

	return poll(&pollfd, 1, 0) > 0;
}

static void serve_until_readable(int fd)
{
	uint64_t end_ns = ff_now_ns() + DEADLINE_NS;

	while (!is_readable(fd)) {
		cr_assert(ff_now_ns() < end_ns, "the host hears nothing");
		serve(10);
	}
}

void accept_again(const struct welcome *welcome)
{
	serve_until_readable(listener);
	host = accept(listener, NULL, NULL);
	cr_assert(host >= 0);
	serve_until_readable(host);
	greet(welcome);
}

/* All of a message, and the fd that comes with it. */
static int receive(unsigned char bytes[FF_WIRE_SIZE])
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = { bytes, FF_WIRE_SIZE };
	struct msghdr header = { .msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = &control, .msg_controllen = sizeof(control) };
	struct cmsghdr *rights;
	int fd = -1;

	cr_assert_eq(recvmsg(host, &header, MSG_WAITALL | MSG_CMSG_CLOEXEC),
		FF_WIRE_SIZE);
	rights = CMSG_FIRSTHDR(&header);
	cr_assert_not(header.msg_flags & MSG_CTRUNC);
	if (rights)
		memcpy(&fd, CMSG_DATA(rights), sizeof(fd));
	return fd;
}

struct ff_wire get_with_fd(enum ff_wire_type type, uint64_t id, int *fd)
{
	unsigned char bytes[FF_WIRE_SIZE];
	struct ff_wire message;

	serve_until_readable(host);
	*fd = receive(bytes);
	cr_assert_eq(ff_wire_decode(bytes, &message), 0);
	cr_assert(message.type == type && message.id == id,
		"type %d of %llu instead of %d of %llu", message.type,
		(unsigned long long)message.id, type, (unsigned long long)id);
	return message;
}

struct ff_wire get(enum ff_wire_type type, uint64_t id)
{
	int fd;
	struct ff_wire message = get_with_fd(type, id, &fd);

	cr_assert_eq(fd, -1, "an fd with type %d", type);
	return message;
}

void get_nothing(void)
{
	for (int i = 0; i < 10; i++)
		serve(0);
	cr_assert_not(is_readable(host));
}

void settle(void)
{
	struct ff_wire ping;

	relay.deadline_ns = 0;
	ping = get(FF_WIRE_PING, relay.pings + 1);
	ping.type = FF_WIRE_PONG;
	put(ping);
	while (relay.pong_ns)
		serve(10);
}

struct ff_fence *make_fence(bool named)
{
	struct ff_standin standin;
	struct ff_error error = { 0 };
	struct ff_fence *fence;

	cr_assert_eq(ff_standin_create(unit_dir, unit_dir_fd, 4, geteuid(),
		getegid(), named, &standin, &error), 0, "%s", error.text);
	fence = ff_fences_add(&fences, &standin, &error);
	cr_assert_not_null(fence, "%s", error.text);
	return fence;
}

struct ff_fence *add_fence(void)
{
	struct ff_fence *fence = make_fence(true);

	ff_relay_announce(&relay, fence);
	return fence;
}

struct ff_fence *add_accepted(void)
{
	struct ff_fence *fence = add_fence();
	unsigned int before = told.wakes;

	get(FF_WIRE_NEW, fence->id);
	put((struct ff_wire){ .type = FF_WIRE_ACCEPTED, .id = fence->id });
	wait_for(&told.wakes, before + 1);
	cr_assert_eq(fence->state, FF_FENCE_ACCEPTED);
	return fence;
}

void drop_fence(struct ff_fence *fence)
{
	ff_relay_gone(&relay, fence);
	ff_fences_remove(&fences, fence);
}

void wait_for(const unsigned int *number, unsigned int least)
{
	uint64_t end_ns = ff_now_ns() + DEADLINE_NS;

	while (*number < least) {
		cr_assert(ff_now_ns() < end_ns, "%u instead of %u", *number,
			least);
		serve(10);
	}
}
