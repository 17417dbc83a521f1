/* SPDX-License-Identifier: MIT */
#ifndef FF_FUTEXWATCH_WAITERS_KINDS_H
#define FF_FUTEXWATCH_WAITERS_KINDS_H

#include "waiters.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/queue.h>

/* What the kinds of waiters have in common; for them only. */

/* A word that is waited on. */
struct ff_slot {
	struct ff_waiters *waiters;
	uint32_t number;
	bool is_used;
	int fd; /* the caller's, not to be touched after the removal */
	uint64_t offset, token;
	void *page;
	uint32_t *word; /* an address for futex calls, never dereferenced */
	uint32_t expected; /* what the word was when last looked at */
	atomic_int err;	   /* to be told: it can be waited on no more */
	bool is_told;
	TAILQ_ENTRY(ff_slot) link; /* of those told, leaving or free */
	/* io_uring's. */
	bool in_ring; /* the wait's completion is still to come */
	bool is_leaving, is_cancelled, has_taken, has_changed, is_owing;
	TAILQ_ENTRY(ff_slot) owing;
	/* Of kinds with threads. */
	unsigned int looks; /* how often its thread was not in its wait */
	struct ff_group *group;
	size_t index; /* in the group */
	pthread_t thread;
	atomic_int tid;
	atomic_bool stops;
};

TAILQ_HEAD(ff_slots, ff_slot);

struct ff_waiters {
	const struct ff_waiters_kind_ops *ops;
	void *state; /* of the kind */
	int fd;
	struct ff_slot **slots; /* by number */
	size_t count, room, used;
	struct ff_slots free;
	/* What is shared with threads. */
	pthread_mutex_t lock;
	struct ff_slots told;
	size_t told_count;
};

struct ff_waiters_kind_ops {
	const char *name;
	size_t limit;
	const char *needs; /* for messages */
	/* Fill fd and state. */
	int (*open)(struct ff_waiters *waiters);
	/* All slots were removed before. */
	void (*close)(struct ff_waiters *waiters);
	/* Begin to wait; expected is filled. */
	int (*add)(struct ff_waiters *waiters, struct ff_slot *slot);
	/* End the wait, and call ff_slot_free now or later. */
	void (*remove)(struct ff_waiters *waiters, struct ff_slot *slot);
	size_t (*take)(struct ff_waiters *waiters, struct ff_woken *woken,
		size_t max);
	/* NULL: take owes nothing. */
	void (*pass_on)(struct ff_waiters *waiters);
	int (*wake)(struct ff_waiters *waiters, struct ff_slot *slot,
		uint32_t count);
	/* For ff_bell_take: is its thread in its wait? */
	bool (*is_waiting)(const struct ff_slot *slot);
};

extern const struct ff_waiters_kind_ops ff_waiters_uring, ff_waiters_waitv,
	ff_waiters_threads;

/* Look at the word: true if it has changed or cannot be read (slot->err). */
bool ff_slot_load(struct ff_slot *slot);

/* Wake up to count others. How many, or -errno. */
int ff_slot_wake(const struct ff_slot *slot, uint32_t count);

/* Put it at the end of what is to be told, once. True if there was nothing. */
bool ff_slot_tell(struct ff_waiters *waiters, struct ff_slot *slot);

/* Take it, or the first (NULL if there is none), from what is to be told. */
void ff_slot_untell(struct ff_waiters *waiters, struct ff_slot *slot);
struct ff_slot *ff_slot_told(struct ff_waiters *waiters);

/* The wait has ended for good. */
void ff_slot_free(struct ff_waiters *waiters, struct ff_slot *slot);

/*
 * For kinds with threads. They look at the word, tell, and wait again. It comes
 * out of ff_bell_take when that wait has been seen to have begun; else whoever
 * is told could change the word, and change it back and wake, in between. The
 * fd is an eventfd.
 */
int ff_bell_open(struct ff_waiters *waiters);
void ff_bell_tell(struct ff_waiters *waiters, struct ff_slot *slot);
size_t ff_bell_take(struct ff_waiters *waiters, struct ff_woken *woken,
	size_t max);

/* A thread with a small stack and all signals blocked. 0 or -errno. */
int ff_bell_thread(pthread_t *thread, void *(*run)(void *), void *argument);

/* Does our thread sleep in that system call, with that first argument (NULL:
 * any)? Where the kernel does not say: true. */
bool ff_bell_is_in(int tid, long number, const void *argument);

#endif
