/* SPDX-License-Identifier: MIT */
#ifndef FF_INJECT_STOP_H
#define FF_INJECT_STOP_H

#include "arch/arch.h"
#include "error.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * Seize, hold and release all threads of a process. One supervisor thread does
 * it all, for ptrace(2) binds a tracee to the thread that seized it.
 */

enum ff_thread_state {
	FF_THREAD_SEIZED, /* running, or on its way to a stop */
	FF_THREAD_HELD,	  /* in PTRACE_EVENT_STOP */
	FF_THREAD_GONE,
};

struct ff_thread {
	pid_t tid;
	enum ff_thread_state state;
	bool group_stop; /* held, and stopped by a job control signal before */
	const struct ff_arch *arch; /* known once held */
	struct ff_regs regs;	    /* as found when held; what a release keeps */
	struct ff_blocked_call blocked; /* before it was interrupted */
};

struct ff_hold {
	pid_t pid;
	struct ff_thread *threads;
	size_t count, room;
	void (*idle)(void *context); /* called about every FF_TICK_MS of waiting */
	/* Asked before a thread is touched (inject/swap.h); NULL: any may. */
	int (*may_hold)(void *context, pid_t tid, struct ff_error *error);
	void *context;
};

/* How often a long wait looks up: who calls anything here that waits must have
 * a tick (tick.h) of that. */
#define FF_TICK_MS 5

/*
 * Seize every thread of pid, which goes on running. hold->idle may be set by
 * the caller; the rest starts zeroed. On failure nothing stays seized but
 * what is left to ff_release_straggler.
 * Returns 0, or -errno with an error that names the cause: -ESRCH gone, -EBUSY
 * traced by another, -EPERM not allowed.
 */
int ff_hold_seize(struct ff_hold *hold, pid_t pid, struct ff_error *error);

/* The same for a single thread of pid, which is then hold->threads[0]. */
int ff_hold_seize_thread(struct ff_hold *hold, pid_t pid, pid_t tid,
	struct ff_error *error);

/*
 * Interrupt all and wait until each is in PTRACE_EVENT_STOP or gone; threads
 * that appear meanwhile are seized too. A signal that comes first is delivered.
 * A call that a stop alone would end with EINTR (signal(7)) is set to be made
 * again. Returns 0, -ETIMEDOUT by deadline_ns (CLOCK_MONOTONIC; later if it
 * merely lacks a processor), -ESRCH when no thread is left.
 */
int ff_hold_stop(struct ff_hold *hold, uint64_t deadline_ns,
	struct ff_error *error);

/* The same for a single thread that runs again since ff_hold_stop. */
int ff_hold_stop_thread(struct ff_hold *hold, struct ff_thread *thread,
	uint64_t deadline_ns, struct ff_error *error);

/*
 * A held thread gets a signal, and is held again before it runs an instruction of
 * its own: at the handler's start, if there is one. sig 0: where it is. Returns
 * as ff_hold_stop_thread does.
 */
int ff_hold_deliver(struct ff_hold *hold, struct ff_thread *thread, int sig,
	uint64_t deadline_ns, struct ff_error *error);

/* Has this tracee ended? It stays to be reaped. */
bool ff_thread_ended(pid_t tid);

/* Let all held threads go, each with thread->regs as they are set by now. */
void ff_hold_release(struct ff_hold *hold);

void ff_hold_free(struct ff_hold *hold);

/*
 * The caller's wait found that tid stopped with wait status status: if it is
 * a tracee that outlived the deadline of its hold, it is let go. False if it
 * is none of ours: then the stop is job control of a child.
 */
bool ff_release_straggler(pid_t tid, int status);

#endif
