/* SPDX-License-Identifier: MIT */
#ifndef FF_LIFE_H
#define FF_LIFE_H

#include "eventlog.h"
#include "fence.h"
#include "futexwatch/decode.h"
#include "futexwatch/place.h"
#include "life-wait.h"
#include "notify.h"

#include <stdbool.h>

/*
 * What becomes of each fence, for the log: events fence and wait. Without
 * --trace-fences only what is seen anyway: fences that are made, and are gone.
 * With it the client's waits and wakes are trapped, and let go on.
 *
 * Nobody else's word is taken: who triggers a fence without a futex call of the
 * client, is not seen, but only that it happened, when a wait ends. And a reset
 * is seen at the next wait.
 */

/* How many memfds of libxshmfence are remembered that did not cross yet. */
#define FF_LIFE_BORN 32

struct ff_life {
	bool traces;
	bool is_stopping; /* between ff_life_stop and ff_life_go_on */
	struct ff_eventlog *log; /* not ours, and so are these */
	struct ff_fences *fences;
	struct ff_places *places;
	/* Fences get another name when they cross (for a relay): until then
	 * nothing is told of them. */
	bool renames;
	struct ff_life_waits waits;
	struct ff_life_born {
		struct ff_actor actor;
		double time;
		struct ff_snapshot *snapshot; /* or NULL */
	} born[FF_LIFE_BORN];
	size_t born_count;
	/* Instead of ff_eventlog_add, with the call stack of tid, which may be
	 * stopped for that if so said (its call is then trapped again), and
	 * others be served meanwhile. NULL: there are no call stacks. */
	void (*add_traced)(void *context, struct json_t *event, pid_t pid,
		pid_t tid, bool may_stop);
	void *context;
};

void ff_life_free(struct ff_life *life);

/* It was made for this thread: by an engine ("notify", "ptrace"), or found to
 * be the client's own ("client") when it crossed. What snapshot tells (may be
 * NULL; it takes a reference of its own) is where. */
void ff_life_created(struct ff_life *life, struct ff_fence *fence, pid_t tid,
	const char *made_by, struct ff_snapshot *snapshot);

/* It has the name now that it keeps. */
void ff_life_named(struct ff_life *life, struct ff_fence *fence);

/* Nobody has it any more; call it before it is forgotten. */
void ff_life_destroyed(struct ff_life *life, struct ff_fence *fence);

/* A memfd of libxshmfence is about to be made, by the kernel; snapshot as
 * above. */
void ff_life_expect(struct ff_life *life, pid_t tid,
	struct ff_snapshot *snapshot);

/* A trapped wait on this fence has been let go on, or is held. */
void ff_life_begin_wait(struct ff_life *life, const struct ff_notification *n,
	const struct ff_futex_call *call, const struct ff_fence *fence);

/* Another call is trapped: its thread waits no longer; and if its process is to
 * end, the others neither. */
void ff_life_see(struct ff_life *life, const struct ff_notification *n);

/* A wake was let go on; without actor it came from the host. */
void ff_life_woken(struct ff_life *life, struct ff_fence *fence,
	const struct ff_actor *actor);

/* This thread is about to be stopped by us, for a moment. If it waits, it makes
 * its call again, which is no new wait. */
void ff_life_stop_one(struct ff_life *life, pid_t tid);

/* All that wait on this fence are about to be woken by us, be it triggered or
 * not: who finds that it is not makes its call again, which is no new wait. */
void ff_life_woken_in_vain(struct ff_life *life, const struct ff_fence *fence);

/* Threads that are stopped from now on, of whatever process, stay so; and were
 * let go. */
void ff_life_stop(struct ff_life *life);
void ff_life_go_on(struct ff_life *life);

/* For life.c: those that wait on it no longer are told before it is gone. */
void ff_life_end_waits(struct ff_life *life, const struct ff_fence *fence);

/* Tell of all that wait, as not ended. */
void ff_life_tell_waits(struct ff_life *life);

/* The same at the end of it all, and of those that wait no longer. */
void ff_life_end(struct ff_life *life);

/* When to call ff_life_serve, CLOCK_MONOTONIC; UINT64_MAX: no need. */
uint64_t ff_life_deadline_ns(const struct ff_life *life);
/* may_stop: not in the middle of a swap. */
void ff_life_serve(struct ff_life *life, bool may_stop);

/* For life-wait.c: is it triggered now? Told if that is news. by: as in the
 * log. */
void ff_life_set_triggered(struct ff_life *life, struct ff_fence *fence,
	const char *by, const struct ff_actor *actor);
void ff_life_set_reset(struct ff_life *life, struct ff_fence *fence);
/* A thread that ends has given up its memory before it is gone. */
bool ff_life_is_ending(pid_t tid);
/* Why a wait has ended: a value of the field. same_call: it is about to wait
 * there anew. *value is the word's, or as it was. */
const char *ff_life_find_reason(struct ff_life *life,
	const struct ff_life_wait *wait, const struct ff_fence *fence,
	bool same_call, uint32_t *value);

#endif
