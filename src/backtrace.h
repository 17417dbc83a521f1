/* SPDX-License-Identifier: MIT */
#ifndef FF_BACKTRACE_H
#define FF_BACKTRACE_H

#include "inject/snapshot.h"
#include "inject/swap.h"
#include "notify.h"
#include "policy.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * --backtrace: who stands where, taken once for a trapped call. If the thread is
 * stopped for it the call is made again, and what was taken is kept for then.
 * Events get it by ff_eventlog_add_traced (eventlog.h).
 */

/* For how many calls something is kept; of more at once no thread is stopped. */
#define FF_BACKTRACE_MAX 32

struct ff_backtraces {
	bool wanted; /* --backtrace */
	const struct ff_policy *policy; /* not ours */
	const struct ff_swap_ops *ops;	/* not ours: idle and may_hold */
	struct ff_backtrace {
		pid_t tid; /* 0: unused */
		uint64_t call;	 /* tells one from another */
		int listener;	 /* and each notification of it */
		uint64_t id;
		bool was_stopped; /* for its registers: once for a call */
		uint64_t again_ns; /* until then it may be made again */
		struct ff_snapshot *snapshot; /* NULL: none can be had */
	} kept[FF_BACKTRACE_MAX];
	size_t next;
};

/* What came of it. */
enum ff_taking {
	FF_TAKEN, /* what there is to be had */
	FF_TAKEN_AGAIN, /* the thread was stopped: the call is made again */
};

/*
 * The snapshot for the call that the notification tells of, made by a thread of
 * pid. may_stop: the thread may be stopped now, for no others are held. On
 * FF_TAKEN *snapshot is it, with a reference for the caller, or NULL if none is
 * wanted or can be had. On FF_TAKEN_AGAIN it is NULL, and the call must neither
 * be answered nor let go on, unless its notification is alive: then ask again.
 */
enum ff_taking ff_backtrace_take(struct ff_backtraces *backtraces,
	const struct ff_notification *call, pid_t pid, bool may_stop,
	struct ff_snapshot **snapshot);

/* The call is about to be interrupted by a swap, for which its thread will be
 * held: prepare for that; and, held, take its registers. It is to be asked for
 * after the swap. */
void ff_backtrace_prepare(struct ff_backtraces *backtraces,
	const struct ff_notification *call, pid_t pid);
void ff_backtrace_held(struct ff_backtraces *backtraces,
	const struct ff_notification *call, const struct ff_thread *thread);

/*
 * Of a thread of pid that waits in the kernel, and in no trapped call that we
 * have: stopped for a moment if it may be and
 * ptrace may be used, else only looked at. NULL
 * if none is wanted or can be had; else with a reference for the caller. Not
 * while others are held.
 */
struct ff_snapshot *ff_backtrace_now(const struct ff_backtraces *backtraces,
	pid_t pid, pid_t tid, bool may_stop);

/* The call of tid was answered or let go on, or the thread ended. */
void ff_backtrace_end(struct ff_backtraces *backtraces, pid_t tid);

void ff_backtraces_free(struct ff_backtraces *backtraces);

#endif
