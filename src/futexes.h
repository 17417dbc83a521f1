/* SPDX-License-Identifier: MIT */
#ifndef FF_FUTEXES_H
#define FF_FUTEXES_H

#include "eventlog.h"
#include "fence.h"
#include "futexwatch/sleepers.h"
#include "futexwatch/place.h"
#include "futexwatch/relay.h"
#include "life.h"
#include "notify.h"

#include <stdbool.h>

/*
 * One futex call at a time: which fence it is about, and whom to tell. The way
 * from futexwatch to fence.
 */

struct ff_futexes {
	bool has_relay, isolate;
	int listener; /* of the sleepers: there is but one with isolate */
	const char *dir; /* the shm dir; not ours */
	struct ff_fences fences;
	struct ff_relay relay;
	struct ff_places places;
	struct ff_sleepers sleepers; /* of --isolate */
	struct ff_life life;
	struct ff_eventlog *log;
	unsigned int sweeps_due; /* of fences, for those that were added */
	uint64_t sweep_ns; /* when to look for fences that nobody holds */
	uint64_t mend_ns;  /* when to wake all that wakes may have been lost of;
			      0: none */
	unsigned int refused; /* fences */
};

/* How long the host may take to answer at the start. */
#define FF_FUTEXES_START_MS 5000

/*
 * Fill in all but listener, and connect to the relay at address, if it is not
 * NULL. *futexes must stay where it is. dir is the shm dir's path, dir_fd an fd
 * of it; both stay the caller's. 0, or -errno with *error filled.
 */
int ff_futexes_open(struct ff_futexes *futexes,
	const struct ff_address *address, bool isolate, const char *dir,
	int dir_fd, struct ff_eventlog *log, struct ff_error *error);

/* Follow waits and wakes for the log (--trace-fences): before there are fences. */
void ff_futexes_trace(struct ff_futexes *futexes);

/* Forget all fences: their names are removed. */
void ff_futexes_close(struct ff_futexes *futexes);

/* Are wakes of fences relayed, or kept from the kernel? */
bool ff_futexes_watch(const struct ff_futexes *futexes);

/* Are they trapped, be it only to be told of? Then fences are registered. */
bool ff_futexes_trap(const struct ff_futexes *futexes);

/* Can a file without a name be a fence? With a relay between two kernels its
 * other end could not open it. */
bool ff_futexes_takes_unnamed(const struct ff_futexes *futexes);

/*
 * A stand-in that has become a fence, or is about to: it moves into the
 * registry; without an fd (-1) as ff_fences_add_bare has it. may_sweep as in
 * ff_futexes_serve. NULL with *error filled.
 */
struct ff_fence *ff_futexes_add(struct ff_futexes *futexes,
	struct ff_standin *standin, bool may_sweep, struct ff_error *error);

/* The fence that is this file, or NULL. */
struct ff_fence *ff_futexes_find(const struct ff_futexes *futexes, dev_t dev,
	ino_t ino);

/* It crosses, or is about to be swapped: the relay is told, before the client
 * can wait on what the other side is to wake. */
void ff_futexes_announce(struct ff_futexes *futexes, struct ff_fence *fence);

/* Forget it, for it was not swapped after all; unless somebody holds it. */
void ff_futexes_remove(struct ff_futexes *futexes, struct ff_fence *fence);

/* If this is a futex call: relay what it wakes; and with isolate, answer it, or
 * hold it. */
enum ff_call_state ff_futexes_handle(struct ff_futexes *futexes,
	const struct ff_notification *notification);

/*
 * Calls may have been lost: a signal whose handler lacks SA_RESTART ends a
 * trapped call, also before we receive it, and the caller of a wake does not
 * expect that. In a moment all fences are woken once, here and there.
 */
void ff_futexes_mend(struct ff_futexes *futexes);

/* A process or thread ended. */
void ff_futexes_forget(struct ff_futexes *futexes, pid_t tid);

/* Fences are closed one by one: so many may be open. To be called in a process
 * that executes nothing later on, for it raises the soft limit. */
void ff_futexes_raise_limit(void);

/* What to poll, -1 if nothing, and until when, CLOCK_MONOTONIC. */
int ff_futexes_fd(const struct ff_futexes *futexes);
short ff_futexes_events(const struct ff_futexes *futexes);
uint64_t ff_futexes_deadline_ns(const struct ff_futexes *futexes);

/* To be called after poll, with revents of the fd, and at the deadline. In the
 * middle of a swap may_sweep must be false: nobody holds its fence yet. */
void ff_futexes_serve(struct ff_futexes *futexes, short revents,
	bool may_sweep);

/* Is it time to look at a few fences that nobody may hold any more, for those
 * that were added? Then do so; not in the middle of a swap. */
bool ff_futexes_wants_sweep(const struct ff_futexes *futexes);
void ff_futexes_sweep(struct ff_futexes *futexes);

#endif
