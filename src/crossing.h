/* SPDX-License-Identifier: MIT */
#ifndef FF_CROSSING_H
#define FF_CROSSING_H

#include "backtrace.h"
#include "cargo.h"
#include "eventlog.h"
#include "futexes.h"
#include "inject/swap.h"
#include "message.h"
#include "policy.h"
#include "servers.h"
#include "settled.h"
#include "standin.h"

/*
 * One sendmsg at a time: what crosses with it, and what to do about it. The way
 * from x11 to inject.
 */

enum ff_select { FF_SELECT_MEMFD, FF_SELECT_FENCE };

struct ff_crossings {
	enum ff_select select;
	const char *shm_dir;
	int shm_dir_fd; /* -1: nothing is swapped */
	dev_t shm_dev;
	dev_t memfd_dev; /* where memfds live that are not hugetlb */
	struct ff_servers servers;
	struct ff_policy *policy; /* not ours, and so are these */
	struct ff_futexes *futexes;
	struct ff_eventlog *log;
	struct ff_swap_ops ops;
	struct ff_stubs stubs;
	struct ff_settled settled;
	struct ff_backtraces backtraces;
	const struct ff_notification *call; /* that is looked at */
};

enum ff_verdict {
	FF_GO_ON,  /* let the call go on */
	FF_WAS_SWAPPED, /* by ptrace: the call is made, and trapped, again */
	FF_NEEDS_SWAP, /* nothing done, for may_swap was false */
};

/* Fill what depends on this kernel and the shm dir. 0 or -errno with *error. */
int ff_crossings_init(struct ff_crossings *crossings, struct ff_error *error);

/* Look at the call of tid, and swap at most one memfd of it if may_swap. */
enum ff_verdict ff_crossings_handle(struct ff_crossings *crossings, pid_t tid,
	const struct ff_send *send, bool may_swap);

/* How events name the fence in this file: by the stand-in's name, or by its memfd
 * if that is what it still is. */
void ff_crossings_name_fence(const struct ff_futexes *futexes,
	const struct ff_cargo *cargo, char id[256]);

/* Forget a process or thread that ended. */
void ff_crossings_forget(struct ff_crossings *crossings, pid_t tid);

void ff_crossings_free(struct ff_crossings *crossings);

#endif
