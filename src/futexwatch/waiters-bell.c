/* SPDX-License-Identifier: MIT */
/* What kinds of waiters with threads have in common. */
#include "waiters-kinds.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* Before a word is told whose thread has not begun to wait again. */
#define LOOKS 64

int ff_bell_open(struct ff_waiters *waiters)
{
	waiters->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return waiters->fd < 0 ? -errno : 0;
}

void ff_bell_tell(struct ff_waiters *waiters, struct ff_slot *slot)
{
	if (ff_slot_tell(waiters, slot))
		eventfd_write(waiters->fd, 1);
}

static size_t count_told(struct ff_waiters *waiters)
{
	size_t count;

	pthread_mutex_lock(&waiters->lock);
	count = waiters->told_count;
	pthread_mutex_unlock(&waiters->lock);
	return count;
}

size_t ff_bell_take(struct ff_waiters *waiters, struct ff_woken *woken,
	size_t max)
{
	size_t count = 0, left;
	eventfd_t rings;

	/* First: what is told from here on rings again, if nothing is left. */
	eventfd_read(waiters->fd, &rings);
	for (left = count_told(waiters); left > 0 && count < max; left--) {
		struct ff_slot *slot = ff_slot_told(waiters);

		if (!slot)
			break;
		if (!slot->err && !waiters->ops->is_waiting(slot)) {
			ff_slot_tell(waiters, slot);
			if (++slot->looks < LOOKS)
				continue;
			/* The word changes all the time: now, and later. */
		}
		slot->looks = 0;
		woken[count++] = (struct ff_woken){ slot->token, slot->err };
	}
	if (count_told(waiters) == 0)
		return count;
	eventfd_write(waiters->fd, 1);
	if (count == 0)
		sched_yield();
	return count;
}

bool ff_bell_is_in(int tid, long number, const void *argument)
{
	char path[64], line[64];
	unsigned long first;
	long current;
	ssize_t size;
	int fd;

	if (tid == 0) /* not even started */
		return false;
	snprintf(path, sizeof(path), "/proc/self/task/%d/syscall", tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return true;
	size = read(fd, line, sizeof(line) - 1);
	close(fd);
	if (size <= 0)
		return true;
	line[size] = '\0';
	return sscanf(line, "%ld %lx", &current, &first) == 2 &&
		current == number &&
		(!argument || first == (uintptr_t)argument);
}

int ff_bell_thread(pthread_t *thread, void *(*run)(void *), void *argument)
{
	size_t stack_size = (size_t)sysconf(_SC_THREAD_STACK_MIN) + 64 * 1024;
	pthread_attr_t attributes;
	sigset_t all, old;
	int err;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, stack_size);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(thread, &attributes, run, argument);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attributes);
	return -err;
}
