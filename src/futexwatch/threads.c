/* SPDX-License-Identifier: MIT */
/*
 * Waiters in threads, one for each word: for kernels without all else.
 *
 * The word is looked at before it is told, and the next wait is for a change of
 * that value.
 */
#include "waiters-kinds.h"

#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { LIMIT = 4096, AGAIN_NS = 1000000 };

/* Ends a thread's wait. Its default action is none, so nobody minds a handler
 * that is left behind. */
#define ENOUGH SIGURG

static void enough(int signal)
{
	(void)signal;
}

static int wait_once(const struct ff_slot *slot)
{
	long result = syscall(SYS_futex, slot->word, FUTEX_WAIT_BITSET,
		slot->expected, NULL, NULL, FF_WAITERS_MASK);

	return result < 0 ? -errno : 0;
}

static void *run(void *argument)
{
	struct ff_slot *slot = argument;
	sigset_t signals;

	atomic_store(&slot->tid, gettid());
	sigemptyset(&signals);
	sigaddset(&signals, ENOUGH);
	pthread_sigmask(SIG_UNBLOCK, &signals, NULL);
	while (!atomic_load(&slot->stops)) {
		int result = wait_once(slot);

		if (result == -EINTR)
			continue;
		if (result < 0 && result != -EAGAIN)
			slot->err = result;
		else
			ff_slot_load(slot);
		ff_bell_tell(slot->waiters, slot);
		if (result == 0)
			ff_slot_wake(slot, 1);
		if (slot->err)
			break;
	}
	return NULL;
}

static int open_threads(struct ff_waiters *waiters)
{
	struct sigaction action = { .sa_handler = enough };

	if (sigaction(ENOUGH, &action, NULL) < 0)
		return -errno;
	return ff_bell_open(waiters);
}

static void close_threads(struct ff_waiters *waiters)
{
	close(waiters->fd);
}

static int add(struct ff_waiters *waiters, struct ff_slot *slot)
{
	(void)waiters;
	return ff_bell_thread(&slot->thread, run, slot);
}

/* When the next try is due: a signal may come just before the wait begins. */
static struct timespec soon(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	time.tv_nsec += AGAIN_NS;
	if (time.tv_nsec >= 1000000000) {
		time.tv_nsec -= 1000000000;
		time.tv_sec++;
	}
	return time;
}

static void remove_slot(struct ff_waiters *waiters, struct ff_slot *slot)
{
	struct timespec again;

	atomic_store(&slot->stops, true);
	do {
		pthread_kill(slot->thread, ENOUGH);
		again = soon();
	} while (pthread_clockjoin_np(slot->thread, NULL, CLOCK_MONOTONIC,
			 &again) != 0);
	ff_slot_untell(waiters, slot);
	ff_slot_free(waiters, slot);
}

static int wake(struct ff_waiters *waiters, struct ff_slot *slot,
	uint32_t count)
{
	(void)waiters;
	return ff_slot_wake(slot, count);
}

/* Nothing but its wait has the word for its first argument, and sleeps. */
static bool is_waiting(const struct ff_slot *slot)
{
	return ff_bell_is_in(slot->tid, SYS_futex, slot->word);
}

const struct ff_waiters_kind_ops ff_waiters_threads = {
	.name = "threads",
	.limit = LIMIT,
	.needs = "the limits of threads, of memory or of open files are low",
	.open = open_threads,
	.close = close_threads,
	.add = add,
	.remove = remove_slot,
	.take = ff_bell_take,
	.wake = wake,
	.is_waiting = is_waiting,
};
