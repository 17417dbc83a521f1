/* SPDX-License-Identifier: MIT */
#ifndef FF_INJECT_INSTALL_H
#define FF_INJECT_INSTALL_H

#include "error.h"
#include "inject/swap.h"
#include "process.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct sock_filter;

/*
 * Put a running process under a seccomp filter, all of its threads at once, and
 * take the filter's listener. A carrier makes the calls, by a program in our
 * stub. The filter must trap sendmsg(-1, ..., 0), for by that the carrier waits
 * until the listener was taken. It closes its own, and is let go as it was.
 *
 * Should we die meanwhile, the carrier ends its program and goes back by itself;
 * but somebody must then take the listener, if there is one, and answer
 * (keeper.h).
 */

/* What is needed of the caller, all with context as first argument. */
struct ff_install_ops {
	void *context;
	/* As in ff_swap_ops: who may run in its memory, being in vfork. */
	int (*processes)(void *context, const struct ff_ids **pids);
	/* Called now and then while the process is waited for. */
	void (*idle)(void *context);
	/* It is under this program (length in instructions) already. Does that
	 * let it live through our calls? */
	bool (*may_live)(void *context, const struct sock_filter *code,
		size_t length);
	/* A listener is about to appear in pid, by a call of its thread tid; for
	 * its number ask ff_install_result(pid, result). Or (pid 0) no more. */
	void (*announce)(void *context, pid_t pid, pid_t tid, uint64_t result);
	/* Here it is, a duplicate that the callee now owns. The carrier waits in
	 * a call, and goes on when this returns. The id of each call received
	 * is to be noted where it says, for who may have to answer it. */
	_Atomic uint64_t *(*keep)(void *context, pid_t pid, int listener);
};

struct ff_install {
	pid_t pid;
	const struct sock_filter *code; /* of length instructions; 256 at most */
	size_t length;
	/* How many filters any process here is under that nobody chose for it:
	 * as many as we are. */
	unsigned int filters;
	const struct ff_install_ops *ops;
	struct ff_stubs *stubs;
	/* Filled in. */
	size_t threads;
	uint64_t stopped_ns; /* from the first stop to the last release */
	bool set_no_new_privs; /* which the kernel wanted */
	bool has_listener;     /* refused for that: -EBUSY */
	/* Failed, and it is or will be under a filter whose listener we do not
	 * have: the announcement stands, and who heard it must help. */
	bool is_left_alone;
};

/*
 * 0, or -errno with *error filled: then it is not under the filter, unless keep
 * was called, or is_left_alone. -EPERM: ptrace is refused; -EOPNOTSUPP: it has
 * filters of its own, or a kernel, that forbid it; -EBUSY: traced by another, or
 * has_listener.
 */
int ff_install(struct ff_install *install, struct ff_error *error);

/*
 * What the announced call returned, as the program has it at this address of the
 * process: the listener's number there, which the carrier leaves open until it is
 * answered, or -errno. False: it was not made, as far as can be read.
 */
bool ff_install_result(pid_t pid, uint64_t at, int *result);

#endif
