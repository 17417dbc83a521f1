/* SPDX-License-Identifier: MIT */
#ifndef FF_CREATION_H
#define FF_CREATION_H

#include "backtrace.h"
#include "futexes.h"
#include "launch.h"
#include "notify.h"
#include "policy.h"
#include "pool.h"

/*
 * The notify engine. One memfd_create at a time: is it libxshmfence's, then a
 * stand-in is the answer; every other one is the kernel's to answer. No ptrace
 * here: what it takes is to read the client's memory (process_vm_readv(2)).
 */

/* One that a caller has, whose call was interrupted before it was answered: it
 * will be made again. */
struct ff_early {
	pid_t tid;
	int number;
	struct ff_ready ready;
};

#define FF_EARLY_MAX 16

struct ff_creations {
	struct ff_pool pool;
	struct ff_early early[FF_EARLY_MAX];
	size_t early_count;
	struct ff_gift *gift; /* of the listener that is served; not ours, and
				 so are these */
	struct ff_policy *policy;
	struct ff_futexes *futexes;
	struct ff_backtraces *backtraces;
	struct ff_snapshot *snapshot; /* of the call that is served, or NULL */
};

/* If this is a memfd_create, answer it or leave it to the kernel. may_sweep as
 * in ff_futexes_serve. */
enum ff_call_state ff_creations_handle(struct ff_creations *creations,
	const struct ff_notification *notification, bool may_sweep);

/* Is there something to do while nobody waits? Then do a little of it. */
bool ff_creations_wants(const struct ff_creations *creations);
void ff_creations_prepare(struct ff_creations *creations);

void ff_creations_free(struct ff_creations *creations);

#endif
