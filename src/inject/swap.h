/* SPDX-License-Identifier: MIT */
#ifndef FF_INJECT_SWAP_H
#define FF_INJECT_SWAP_H

#include "error.h"
#include "inject/stop.h"
#include "process.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * The swap: every fd and mapping of one memfd, in all processes that have it,
 * becomes one of a stand-in; or nothing changes at all.
 *
 * All threads of these processes are held. In each process one of them, the
 * carrier, executes a program in our stub (program.h) and waits for us in
 * bells, that is in calls which the seccomp filter hands to the supervisor.
 * So no step depends on our life: where nobody answers, the program undoes
 * what it did, and the stub brings the carrier back to where it was.
 */

/* A carrier that waits in a bell. */
struct ff_bell_call {
	pid_t tid;
	int listener;
	uint64_t id; /* of the notification */
	uint64_t bell; /* enum ff_bell */
	uint64_t index; /* its fourth argument */
};

/* What the swap needs of the supervisor, all with context as first argument. */
struct ff_swap_ops {
	void *context;
	/* Wait for any bell, and serve other clients meanwhile. 1 if *call was
	 * filled, 0 after timeout_ms, or -errno. */
	int (*wait_bell)(void *context, int timeout_ms,
		struct ff_bell_call *call);
	/* Give the waiting carrier our fd source as its fd number, and answer
	 * the bell with that number, in one step. 0 or -errno. */
	int (*answer_fd)(void *context, const struct ff_bell_call *call,
		int source, int number);
	/* Answer 0, or -error if that is not 0. 0 or -errno. */
	int (*answer)(void *context, const struct ff_bell_call *call,
		int error);
	/* Point *pids to all processes of the client: any may be a sharer. It
	 * stays valid until the next call. */
	int (*processes)(void *context, const struct ff_ids **pids);
	/* Called now and then while threads are waited for: must not block. */
	void (*idle)(void *context);
	/* May this thread be stopped, and made to call? 0, or -errno with
	 * *error filled. NULL: any may. */
	int (*may_hold)(void *context, pid_t tid, struct ff_error *error);
	/* All are held, the caller as it was found, and everybody waits for
	 * this. NULL: nobody wants to know. */
	void (*held)(void *context, const struct ff_thread *caller);
};

/* What to swap. */
struct ff_swap_target {
	pid_t caller;	/* thread whose trapped call shows the fd */
	pid_t pid;	/* its process */
	dev_t dev;	/* of the memfd */
	ino_t ino;
	int memfd;	/* an fd of ours of it, for its contents */
	uint64_t size;	/* bytes */
	/* An fd of ours of the stand-in, of the same size, on whose open file
	 * description we hold flock(LOCK_EX). */
	int standin;
};

/* What was done, for the log. */
struct ff_swap_result {
	unsigned int fds, mappings, processes, threads;
	uint64_t stopped_ns; /* from the first stop to the last release */
};

/*
 * Remembers where the stub lies, in the processes that were swapped in last: one
 * that is forgotten is brought again. Zero is none.
 */
#define FF_STUBS_MAX 64

struct ff_stubs {
	struct ff_stub_place {
		pid_t pid; /* 0: unused */
		uint64_t base;
	} places[FF_STUBS_MAX];
	size_t next;
};

/*
 * Swap. On success the caller's notification is dead: the call is made again,
 * and is trapped again. On failure it may be dead or alive.
 * Returns 0 with *result filled, or -errno with the reason in *error: then
 * nothing has changed.
 */
int ff_swap(const struct ff_swap_target *target, const struct ff_swap_ops *ops,
	struct ff_stubs *stubs, struct ff_swap_result *result,
	struct ff_error *error);

/* Forget a process that ended. */
void ff_stubs_forget(struct ff_stubs *stubs, pid_t pid);

#endif
