/* SPDX-License-Identifier: MIT */
#ifndef FF_SUPERVISOR_H
#define FF_SUPERVISOR_H

#include "creation.h"
#include "crossing.h"
#include "policy.h"
#include "process.h"

#include <sys/types.h>

/*
 * The supervisor's event loop: the one place where notifications, children and
 * the front come together. One process with one thread, for ptrace(2) binds
 * tracees to a thread, and for a process can be given up whole.
 */
struct ff_supervisor {
	int listener;
	int front;	/* socket to the front (launch.h); -1 when it is gone */
	pid_t command;	/* our child */
	struct ff_legacy *legacy; /* for the front, should we die */
	struct ff_policy policy;
	struct ff_creations creations;
	struct ff_crossings crossings;
	struct ff_futexes futexes;
	/* What must not be done in the middle of a swap is done after it. */
	struct ff_notification *deferred;
	size_t deferred_count, deferred_room;
	/* All processes of the client, and how to tell that they still are. */
	struct ff_ids processes;
	uint64_t lost_ns; /* when to look for calls that were lost */
	int loadavg; /* fd of /proc/loadavg, -1: not open yet */
	pid_t last_pid;
	unsigned short process_count;
};

/*
 * Serve until no process is left under the filter. SIGCHLD must be blocked.
 * Returns when the listener has hung up; or -errno.
 */
int ff_supervise(struct ff_supervisor *supervisor);

#endif
