/* SPDX-License-Identifier: MIT */
#include "host-run.h"

#include "fds.h"
#include "standin.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

int hr_connect(const struct hr_daemon *daemon)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(address.sun_path, daemon->socket);
	cr_assert(fd >= 0);
	cr_assert(connect(fd, (struct sockaddr *)&address, sizeof(address)) ==
		0, "connect: %s", strerror(errno));
	return fd;
}

bool hr_try_send(int fd, const void *bytes, size_t size)
{
	const char *from = bytes;

	while (size) {
		ssize_t sent = send(fd, from, size, MSG_NOSIGNAL);

		if (sent < 0 && errno == ENOTSOCK)
			sent = write(fd, from, size);
		if (sent <= 0)
			return false;
		from += sent;
		size -= (size_t)sent;
	}
	return true;
}

void hr_send(int fd, const struct ff_wire *message)
{
	unsigned char bytes[FF_WIRE_SIZE];

	ff_wire_encode(message, bytes);
	cr_assert(hr_try_send(fd, bytes, sizeof(bytes)), "the daemon closed");
}

int hr_send_fds(int fd, const struct ff_wire *message, const int fds[],
	size_t count)
{
	unsigned char bytes[FF_WIRE_SIZE];
	ssize_t sent;

	ff_wire_encode(message, bytes);
	sent = ff_fds_send(fd, bytes, sizeof(bytes), fds, count, 0);
	return sent < 0 ? (int)-sent : 0;
}

void hr_send_new_fd(int fd, uint64_t id, int file)
{
	struct ff_wire message = { .type = FF_WIRE_NEW, .id = id };

	cr_assert_eq(hr_send_fds(fd, &message, &file, 1), 0, "%s",
		strerror(errno));
}

/* All size bytes, or false at the end. */
static bool receive_bytes(int fd, unsigned char *bytes, size_t size)
{
	uint64_t end = hr_now_ms() + HR_DEADLINE_MS;

	while (size) {
		struct pollfd poller = { .fd = fd, .events = POLLIN };
		uint64_t now = hr_now_ms();
		ssize_t got;

		cr_assert(now < end, "no message came in time");
		if (poll(&poller, 1, (int)(end - now)) <= 0)
			continue;
		got = read(fd, bytes, size);
		if (got <= 0)
			return false;
		bytes += got;
		size -= (size_t)got;
	}
	return true;
}

bool hr_receive(int fd, struct ff_wire *message)
{
	unsigned char bytes[FF_WIRE_SIZE];

	if (!receive_bytes(fd, bytes, sizeof(bytes)))
		return false;
	cr_assert_eq(ff_wire_decode(bytes, message), 0, "it sends garbage");
	return true;
}

void hr_expect(int fd, enum ff_wire_type type, uint64_t id,
	enum ff_wire_reason reason)
{
	struct ff_wire message;

	/* One wake may be told twice, or late, and come in between. */
	do
		cr_assert(hr_receive(fd, &message),
			"an end instead of type %d", type);
	while (message.type == FF_WIRE_WAKE &&
		(type != FF_WIRE_WAKE || message.id != id));
	cr_assert_eq(message.type, type, "type %d id %llu: %s", message.type,
		(unsigned long long)message.id,
		ff_wire_reason_text(message.reason));
	cr_assert_eq(message.id, id);
	if (type == FF_WIRE_REFUSED)
		cr_assert_eq(message.reason, reason, "%s, not %s",
			ff_wire_reason_text(message.reason),
			ff_wire_reason_text(reason));
}

void hr_expect_end(int fd)
{
	unsigned char bytes[FF_WIRE_SIZE];

	while (receive_bytes(fd, bytes, 1))
		;
}

void hr_say_hello(const struct hr_guest *guest, uint32_t version)
{
	struct ff_wire hello = { .type = FF_WIRE_HELLO, .version = version,
		.kernel = "another kernel" };

	memcpy(hello.guest, guest->id, FF_WIRE_ID);
	hr_send(guest->fd, &hello);
}

uint32_t hr_agree(const struct hr_guest *guest, uint32_t features)
{
	struct ff_wire hello = { .type = FF_WIRE_HELLO,
		.version = FF_WIRE_VERSION, .features = features };

	memcpy(hello.guest, guest->id, FF_WIRE_ID);
	cr_assert_eq(ff_boot_id(hello.kernel), 0);
	hr_send(guest->fd, &hello);
	cr_assert(hr_receive(guest->fd, &hello));
	cr_assert_eq(hello.type, FF_WIRE_HELLO);
	return hello.features;
}

struct hr_guest hr_fds_guest(const struct hr_daemon *daemon)
{
	struct hr_guest guest = { .fd = hr_connect(daemon) };

	cr_assert(getrandom(guest.id, sizeof(guest.id), 0) ==
		sizeof(guest.id));
	cr_assert_eq(hr_agree(&guest, FF_WIRE_ISOLATED | FF_WIRE_FDS),
		FF_WIRE_FDS);
	return guest;
}

struct hr_guest hr_guest(const struct hr_daemon *daemon)
{
	struct hr_guest guest = { .fd = hr_connect(daemon) };

	cr_assert(getrandom(guest.id, sizeof(guest.id), 0) ==
		sizeof(guest.id));
	hr_say_hello(&guest, FF_WIRE_VERSION);
	hr_expect(guest.fd, FF_WIRE_HELLO, 0, 0);
	return guest;
}

struct hr_fence hr_make_file(const struct hr_daemon *daemon)
{
	static uint64_t number;
	struct hr_fence fence;
	int fd;

	snprintf(fence.name, sizeof(fence.name), "fenceferry-%08x-%016llx",
		(unsigned int)getpid(), (unsigned long long)++number);
	snprintf(fence.path, sizeof(fence.path), "%s/%s", daemon->dir,
		fence.name);
	fd = open(fence.path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	cr_assert(fd >= 0 && ftruncate(fd, 4) == 0);
	fence.word = mmap(NULL, 4, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	cr_assert(fence.word != MAP_FAILED);
	close(fd);
	return fence;
}

void hr_remove_file(struct hr_fence *fence)
{
	munmap(fence->word, 4);
	unlink(fence->path);
}

void hr_send_new(int fd, uint64_t id, const char *name)
{
	struct ff_wire message = { .type = FF_WIRE_NEW, .id = id };

	snprintf(message.name, sizeof(message.name), "%s", name);
	hr_send(fd, &message);
}

struct hr_fence hr_fence(const struct hr_daemon *daemon,
	const struct hr_guest *guest, uint64_t id)
{
	struct hr_fence fence = hr_make_file(daemon);

	fence.id = id;
	hr_send_new(guest->fd, id, fence.name);
	hr_expect(guest->fd, FF_WIRE_ACCEPTED, id, 0);
	return fence;
}

long hr_wake(const uint32_t *word, int count)
{
	return syscall(SYS_futex, word, FUTEX_WAKE, count, NULL, NULL, 0);
}

static void *sleep_on(void *argument)
{
	struct hr_sleeper *sleeper = argument;

	sleeper->tid = gettid();
	while (syscall(SYS_futex, sleeper->word, FUTEX_WAIT, *sleeper->word,
		NULL, NULL, 0) < 0 && errno == EINTR)
		;
	sleeper->is_awake = true;
	return NULL;
}

/* Only its first word, the number of the call, is of interest. */
static bool is_in_futex(pid_t tid)
{
	char path[64], *text;
	bool is_in;

	snprintf(path, sizeof(path), "/proc/self/task/%d/syscall", (int)tid);
	text = hr_read_file(path);
	is_in = *text >= '0' && *text <= '9' && atol(text) == SYS_futex;
	free(text);
	return is_in;
}

/* A wake of before, which a waiter took and passes on, may come late. */
void hr_sleep_on(struct hr_sleeper *sleeper, uint32_t *word)
{
	uint64_t end = hr_now_ms() + HR_DEADLINE_MS;

	do {
		*sleeper = (struct hr_sleeper){ .word = word };
		cr_assert(pthread_create(&sleeper->thread, NULL, sleep_on,
			sleeper) == 0);
		while (!sleeper->is_awake &&
			(!sleeper->tid || !is_in_futex(sleeper->tid)))
			cr_assert(hr_now_ms() < end,
				"a thread does not get to sleep");
		if (sleeper->is_awake)
			pthread_join(sleeper->thread, NULL);
	} while (sleeper->is_awake);
}

void hr_expect_awake(struct hr_sleeper *sleeper)
{
	struct timespec end;

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += HR_DEADLINE_MS / 1000;
	cr_assert_eq(pthread_timedjoin_np(sleeper->thread, NULL, &end), 0,
		"a sleeper was not woken");
}

void hr_expect_round(int fd, const struct hr_fence *fence)
{
	struct ff_wire wake = { .type = FF_WIRE_WAKE, .id = fence->id,
		.count = INT_MAX };
	static uint64_t pings;
	struct ff_wire ping = { .type = FF_WIRE_PING, .id = ++pings };
	struct hr_sleeper sleeper;

	hr_send(fd, &ping);
	hr_expect(fd, FF_WIRE_PONG, ping.id, 0);
	__atomic_add_fetch(fence->word, 1, __ATOMIC_SEQ_CST);
	hr_wake(fence->word, INT_MAX);
	hr_expect(fd, FF_WIRE_WAKE, fence->id, 0);
	hr_sleep_on(&sleeper, fence->word);
	hr_send(fd, &wake);
	hr_expect_awake(&sleeper);
}

struct hr_honest hr_honest(const struct hr_daemon *daemon)
{
	struct hr_honest honest = { .guest = hr_guest(daemon),
		.daemon = daemon->pid };

	honest.fence = hr_fence(daemon, &honest.guest, 77);
	return honest;
}

void hr_expect_works(struct hr_honest *honest)
{
	uint64_t start = hr_now_ms(), took_ms;

	hr_expect_round(honest->guest.fd, &honest->fence);
	took_ms = hr_now_ms() - start;
	cr_expect(took_ms < HR_DELAY_MS || (took_ms < HR_DELAY_SANITIZED_MS &&
		hr_is_sanitized(honest->daemon)), "held up for %llu ms",
		(unsigned long long)took_ms);
}

void hr_leave(struct hr_honest *honest)
{
	close(honest->guest.fd);
	hr_remove_file(&honest->fence);
}
