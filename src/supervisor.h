/* SPDX-License-Identifier: MIT */
#ifndef FF_SUPERVISOR_H
#define FF_SUPERVISOR_H

#include "attachment.h"
#include "creation.h"
#include "crossing.h"
#include "deferred.h"
#include "family.h"
#include "listeners.h"
#include "policy.h"
#include "replies.h"

#include <sys/types.h>

/*
 * The supervisor's event loop: the one place where notifications, children and
 * the front come together. One process with one thread, for ptrace(2) binds
 * tracees to a thread, and for a process can be given up whole.
 */
struct ff_supervisor {
	struct ff_attachment *attachment; /* NULL: to a command of ours */
	struct ff_listeners listeners; /* at least one */
	int front;	/* socket to the front (launch.h); -1: there is none */
	pid_t command;	/* our child, 0: there is none */
	bool tells_waits; /* SIGUSR1 is for us, not the command (live.h) */
	struct ff_family family;
	struct ff_policy policy;
	struct ff_creations creations;
	struct ff_crossings crossings;
	struct ff_futexes futexes;
	struct ff_replies replies;
	struct ff_deferred deferred;
	struct pollfd *fds;
	uint64_t tell_ns; /* when to print who waits; 0: nobody asked */
	uint64_t lost_ns; /* when to look for calls that were lost */
};

/*
 * Serve until no process is left under the filter. SIGCHLD must be blocked.
 * Returns when all listeners have hung up, or a signal asked for that
 * (attachment); or -errno.
 */
int ff_supervise(struct ff_supervisor *supervisor);

#endif
