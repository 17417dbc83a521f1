/* SPDX-License-Identifier: MIT */
/*
 * Waiters by futex_waitv (Linux 5.16): a thread for a group of words.
 *
 * It knows no mask, so what wakes others must find the group's thread outside
 * of its wait: it is parked. And when one word is woken the wait on all ends.
 * Until it begins again, wakes of the others are not seen, nor changes if the
 * word is then as it was before; and of several words woken at once the kernel
 * names the last. So after each such gap all of the group are told, but for one
 * whose wake was ours: that one if it has another value than when it was last
 * waited on. A wake of it within the gap is missed if it has not. Groups are
 * small for that reason.
 */
#include "compat.h"
#include "waiters-kinds.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
	WORDS = 16, /* and one to end the wait */
	GROUPS = 500,
};

struct ff_group {
	struct ff_group *next;
	struct ff_waiters *waiters;
	pthread_t thread;
	atomic_int tid;
	atomic_ullong gaps; /* how often the thread was out of its wait */
	unsigned long long waits_since; /* seen to: after that many */
	pthread_mutex_t lock; /* held by the thread but when it waits */
	pthread_cond_t changed;
	bool is_wanted, is_parked, is_over;
	_Atomic uint32_t control; /* a change of it ends the wait */
	struct ff_slot *slots[WORDS];
	size_t count; /* waited on: not those in error */
	size_t members;
};

struct groups {
	struct ff_group *first;
	size_t count;
};

static void fill(struct futex_waitv *wait, const void *word, uint32_t value,
	uint32_t flags)
{
	*wait = (struct futex_waitv){ .val = value,
		.uaddr = (uintptr_t)word,
		.flags = FUTEX_32 | flags };
}

/* Which one was woken, 0 being the control word, or -errno. */
static int wait_once(struct ff_group *group)
{
	struct futex_waitv waits[WORDS + 1];
	unsigned int count = 1;
	long result;

	fill(&waits[0], (void *)&group->control, group->control,
		FUTEX_PRIVATE_FLAG);
	for (size_t i = 0; i < group->count; i++, count++) {
		struct ff_slot *slot = group->slots[i];

		fill(&waits[count], slot->word, slot->expected, 0);
	}
	pthread_mutex_unlock(&group->lock);
	result = syscall(SYS_futex_waitv, waits, count, 0, NULL, 0);
	if (result < 0)
		result = -errno;
	pthread_mutex_lock(&group->lock);
	group->gaps++;
	return (int)result;
}

/* Whatever may have happened to them. */
static void tell_all(struct ff_group *group, const struct ff_slot *but)
{
	for (size_t i = 0; i < group->count; i++)
		if (group->slots[i] != but)
			ff_bell_tell(group->waiters, group->slots[i]);
}

static void leave(struct ff_group *group, struct ff_slot *slot)
{
	struct ff_slot *last = group->slots[--group->count];

	group->slots[slot->index] = last;
	last->index = slot->index;
	slot->index = WORDS;
}

/* Find what has changed, and what can be waited on no more. */
static bool look_at_all(struct ff_group *group)
{
	bool is_any = false;

	for (size_t i = group->count; i-- > 0;) {
		struct ff_slot *slot = group->slots[i];

		if (!ff_slot_load(slot))
			continue;
		is_any = true;
		if (slot->err)
			leave(group, slot);
		ff_bell_tell(group->waiters, slot);
	}
	return is_any;
}

static void woken(struct ff_group *group, size_t index)
{
	struct ff_slot *slot = group->slots[index];

	ff_slot_load(slot);
	ff_bell_tell(group->waiters, slot);
	tell_all(group, slot);
	/* Those before it may have been woken, too. */
	for (size_t i = 0; i <= index; i++)
		ff_slot_wake(group->slots[i], 1);
	if (slot->err)
		leave(group, slot);
}

static void *run(void *argument)
{
	static const struct timespec nap = { .tv_nsec = 1000000 };
	struct ff_group *group = argument;

	atomic_store(&group->tid, gettid());
	pthread_mutex_lock(&group->lock);
	while (!group->is_over) {
		int result;

		if (group->is_wanted) {
			group->is_parked = true;
			pthread_cond_broadcast(&group->changed);
			pthread_cond_wait(&group->changed, &group->lock);
			continue;
		}
		group->is_parked = false;
		result = wait_once(group);
		if (group->is_wanted && result <= 0)
			continue;
		if (result > 0)
			woken(group, (size_t)result - 1);
		else if (!look_at_all(group) && result != -EAGAIN &&
			result < 0 && result != -EINTR)
			nanosleep(&nap, NULL); /* short of memory */
	}
	pthread_mutex_unlock(&group->lock);
	return NULL;
}

static bool is_waiting(const struct ff_slot *slot)
{
	struct ff_group *group = slot->group;
	unsigned long long gaps = group->gaps;

	/* It tells after it has counted: until then it is all the same. */
	if (group->waits_since == gaps)
		return true;
	if (!ff_bell_is_in(group->tid, SYS_futex_waitv, NULL))
		return false;
	group->waits_since = gaps;
	return true;
}

/* Get the thread out of its wait. Until it is let go on nobody is woken by
 * mistake, and the group is ours. */
static void park(struct ff_group *group)
{
	pthread_mutex_lock(&group->lock);
	group->is_wanted = true;
	group->control++;
	syscall(SYS_futex, &group->control, FUTEX_WAKE_PRIVATE, 1, NULL, NULL,
		0);
	while (!group->is_parked)
		pthread_cond_wait(&group->changed, &group->lock);
}

/* All are told, for the gap, but perhaps one. */
static void go_on(struct ff_group *group, const struct ff_slot *but)
{
	tell_all(group, but);
	group->is_wanted = false;
	group->is_parked = false;
	pthread_cond_broadcast(&group->changed);
	pthread_mutex_unlock(&group->lock);
}

static struct ff_group *new_group(struct ff_waiters *waiters)
{
	struct groups *groups = waiters->state;
	struct ff_group *group = calloc(1, sizeof(*group));

	if (!group)
		return NULL;
	group->waiters = waiters;
	group->gaps = 1;
	pthread_mutex_init(&group->lock, NULL);
	pthread_cond_init(&group->changed, NULL);
	if (ff_bell_thread(&group->thread, run, group) < 0) {
		free(group);
		return NULL;
	}
	group->next = groups->first;
	groups->first = group;
	groups->count++;
	return group;
}

static void end_group(struct ff_waiters *waiters, struct ff_group *group)
{
	struct groups *groups = waiters->state;
	struct ff_group **place = &groups->first;

	while (*place != group)
		place = &(*place)->next;
	*place = group->next;
	groups->count--;
	park(group);
	group->is_over = true;
	go_on(group, NULL);
	pthread_join(group->thread, NULL);
	pthread_cond_destroy(&group->changed);
	pthread_mutex_destroy(&group->lock);
	free(group);
}

static int open_groups(struct ff_waiters *waiters)
{
	int err;

	/* No words: EINVAL, where the call is known. */
	if (syscall(SYS_futex_waitv, NULL, 0, 0, NULL, 0) < 0 &&
		errno != EINVAL)
		return -errno;
	waiters->state = calloc(1, sizeof(struct groups));
	if (!waiters->state)
		return -ENOMEM;
	err = ff_bell_open(waiters);
	if (err)
		free(waiters->state);
	return err;
}

static void close_groups(struct ff_waiters *waiters)
{
	struct groups *groups = waiters->state;

	while (groups->first)
		end_group(waiters, groups->first);
	close(waiters->fd);
	free(groups);
}

static int add(struct ff_waiters *waiters, struct ff_slot *slot)
{
	struct groups *groups = waiters->state;
	struct ff_group *group = groups->first;

	while (group && group->members == WORDS)
		group = group->next;
	if (!group)
		group = new_group(waiters);
	if (!group)
		return -EAGAIN;
	group->members++;
	park(group);
	slot->group = group;
	slot->index = group->count;
	group->slots[group->count++] = slot;
	go_on(group, slot);
	return 0;
}

static void remove_slot(struct ff_waiters *waiters, struct ff_slot *slot)
{
	struct groups *groups = waiters->state;
	struct ff_group *group = slot->group;

	park(group);
	if (slot->index < WORDS)
		leave(group, slot);
	go_on(group, NULL);
	ff_slot_untell(waiters, slot);
	ff_slot_free(waiters, slot);
	/* One is kept for the next word. */
	if (--group->members == 0 && groups->count > 1)
		end_group(waiters, group);
}

static int wake(struct ff_waiters *waiters, struct ff_slot *slot,
	uint32_t count)
{
	int result;

	(void)waiters;
	/* What it is now, before the gap: what comes then is seen to differ. A
	 * change whose wake is still to come may have that in the gap. */
	pthread_mutex_lock(&slot->group->lock);
	if (is_waiting(slot) && ff_slot_load(slot))
		ff_bell_tell(slot->waiters, slot);
	pthread_mutex_unlock(&slot->group->lock);
	park(slot->group);
	result = ff_slot_wake(slot, count);
	go_on(slot->group, slot);
	return result;
}

const struct ff_waiters_kind_ops ff_waiters_waitv = {
	.name = "futex_waitv",
	.limit = (size_t)GROUPS * WORDS,
	.needs = "Linux 5.16 or newer, and no seccomp filter against it",
	.open = open_groups,
	.close = close_groups,
	.add = add,
	.remove = remove_slot,
	.take = ff_bell_take,
	.wake = wake,
	.is_waiting = is_waiting,
};
