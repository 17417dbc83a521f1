/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench.h"
#include "crossing.h"
#include "swap-client.h"

static atomic_uint parked_count;
static atomic_uint parked_failed; /* waits that ended with an error */
static atomic_uint turn;
static bool spreading;
static cpu_set_t processors; /* on which this process may run */

static atomic_bool watch_running, watch_end;
static uint64_t watch_gap_ns;

static long futex(atomic_uint *word, int op, unsigned value)
{
	return syscall(SYS_futex, word, op, value, NULL, NULL, 0);
}

/* Go to a processor, and then be free to leave it again. */
static void visit_processor(unsigned number)
{
	cpu_set_t here;
	unsigned at = 0, count = (unsigned)CPU_COUNT(&processors);

	CPU_ZERO(&here);
	for (unsigned seen = 0; seen <= number % count; at++)
		seen += CPU_ISSET(at, &processors) != 0;
	CPU_SET(at - 1, &here);
	sched_setaffinity(0, sizeof(here), &here);
	sched_setaffinity(0, sizeof(processors), &processors);
}

/* A thread that has nothing to do and must not notice a swap. */
static void *park(void *number)
{
	for (;;) {
		unsigned seen = turn;

		if (spreading)
			visit_processor((unsigned)(uintptr_t)number);
		parked_count++;
		/* stir() may wake a thread that has been round already */
		while (turn == seen)
			if (futex(&turn, FUTEX_WAIT_PRIVATE, seen) &&
				errno != EAGAIN)
				parked_failed++;
	}
	return NULL;
}

/*
 * Wake every parked thread once and wait until it is back. A swap leaves most
 * threads on the tracer's processor, where the next one finds them, and there
 * stopping them costs least: the threads of a real client have been about
 * their work meanwhile, on every processor.
 */
static void stir(unsigned count)
{
	parked_count = 0;
	turn++;
	futex(&turn, FUTEX_WAKE_PRIVATE, INT_MAX);
	while (parked_count < count)
		sched_yield();
}

/* Read the clock without pause; the longest step is how long it stood. */
static void *watch(void *unused)
{
	uint64_t last = ff_now_ns(), gap = 0;
	bool end;

	(void)unused;
	watch_running = true;
	do {
		uint64_t now;

		/* before the clock: the end may come while this one stands */
		end = watch_end;
		now = ff_now_ns();
		if (now - last > gap)
			gap = now - last;
		last = now;
	} while (!end);
	watch_gap_ns = gap;
	return NULL;
}

/* Start a thread with a stack that 256 of them can afford. */
static int start_thread(
	pthread_t *thread, void *(*body)(void *), unsigned number)
{
	pthread_attr_t attr;
	int err;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, PTHREAD_STACK_MIN + 65536);
	err = pthread_create(thread, &attr, body, (void *)(uintptr_t)number);
	pthread_attr_destroy(&attr);
	return err;
}

static int fail(struct ff_round *round, const char *what)
{
	snprintf(round->error, sizeof(round->error), "%s", what);
	return -1;
}

/*
 * What crossed, what was sent and what is mapped are one file: nothing of a
 * swap is taken on trust.
 */
static int check_crossing(struct ff_round *round, int sent, int crossed,
	volatile uint32_t *word, uint32_t value)
{
	char link[32], name[32];
	struct stat a, b;
	uint32_t seen;

	if (fstat(sent, &a) || fstat(crossed, &b))
		return fail(round, "fstat failed");
	if (a.st_dev != b.st_dev || a.st_ino != b.st_ino)
		return fail(round, "the fd sent is not the file that crossed");
	if (b.st_size != sizeof(*word) || *word != value)
		return fail(round, "size or content changed");
	*word = ~value;
	if (pread(crossed, &seen, sizeof(seen), 0) != sizeof(seen) ||
		seen != ~value)
		return fail(round, "the mapping is not the file that crossed");
	snprintf(link, sizeof(link), "/proc/self/fd/%d", crossed);
	if (readlink(link, name, sizeof(name)) < 8)
		return fail(round, "readlink failed");
	round->swapped = strncmp(name, "/memfd:", 7) != 0;
	return 0;
}

/* Send one fd and take the time. */
static int send_fd(struct ff_round *round, int socket, int fd, bool observed)
{
	struct ff_parcel p;
	pthread_t watcher;
	uint64_t start;
	ssize_t sent;

	ff_parcel_init(&p, fd);
	watch_running = watch_end = false;
	if (observed) {
		if (start_thread(&watcher, watch, 0))
			return fail(round, "cannot start the watcher");
		while (!watch_running)
			sched_yield();
	}
	start = ff_now_ns();
	sent = sendmsg(socket, &p.header, 0);
	round->ns = ff_now_ns() - start;
	if (observed) {
		watch_end = true;
		pthread_join(watcher, NULL);
		round->gap_ns = watch_gap_ns;
	}
	if (sent != sizeof(p.request))
		return fail(round, "sendmsg failed");
	return 0;
}

/* One fence's life: made, mapped, sent, checked, gone. */
static void play_round(struct ff_round *round, const int end[2], bool observed)
{
	static uint32_t value;
	int fd = memfd_create("xshmfence", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	volatile uint32_t *word = MAP_FAILED;
	int crossed;

	if (fd >= 0 && !ftruncate(fd, sizeof(*word)))
		word = mmap(NULL, sizeof(*word), PROT_READ | PROT_WRITE,
			MAP_SHARED, fd, 0);
	if (word == MAP_FAILED) {
		fail(round, "cannot make a memfd");
		close(fd);
		return;
	}
	*word = ++value;
	if (!send_fd(round, end[0], fd, observed)) {
		crossed = ff_receive_fd(end[1]);
		check_crossing(round, fd, crossed, word, value);
		close(crossed);
	}
	munmap((void *)word, sizeof(*word));
	close(fd);
	if (parked_failed)
		fail(round, "a thread's futex wait failed");
}

/* Start the threads and wait until each has reached its futex. */
static int start_parked(unsigned count)
{
	pthread_t thread;

	for (unsigned i = 0; i < count; i++)
		if (start_thread(&thread, park, i))
			return -1;
	while (parked_count < count)
		sched_yield();
	return 0;
}

int ff_swap_client(unsigned threads, const char *path, bool spread)
{
	struct ff_round round = {.pid = getpid()};
	char ask;
	int end[2];

	spreading = spread;
	if (sched_getaffinity(0, sizeof(processors), &processors) ||
		ff_connect_pair(path, end) || start_parked(threads - 1)) {
		perror("bench/swap: client");
		return 1;
	}
	for (;;) {
		if (write(STDOUT_FILENO, &round, sizeof(round)) !=
			sizeof(round))
			return 1;
		if (read(STDIN_FILENO, &ask, 1) != 1)
			return 0;
		round = (struct ff_round){.pid = getpid()};
		play_round(&round, end, ask == FF_ROUND_OBSERVED);
		stir(threads - 1);
	}
}
