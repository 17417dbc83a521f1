/* SPDX-License-Identifier: MIT */
#ifndef FF_FUTEXWATCH_SLEEPERS_H
#define FF_FUTEXWATCH_SLEEPERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * The futex queues of --isolate: waits on fences that are trapped calls, held
 * until somebody of the client's side, or the relay, wakes them. Times are in
 * nanoseconds of CLOCK_MONOTONIC.
 */

#define FF_SLEEPERS_FOREVER UINT64_MAX

struct ff_fence;

/* One wait. */
struct ff_sleeper {
	uint64_t call; /* the notification's id */
	pid_t tid;
	const struct ff_fence *fence;
	uint32_t mask;
	uint64_t deadline_ns; /* or FF_SLEEPERS_FOREVER */
};

struct ff_sleepers {
	struct ff_sleeper *list; /* in the order they came, as the kernel has */
	size_t count, room;
	/* Answer a call with 0, or -error if that is not 0. 0, or -errno if it
	 * waits no longer, for a signal has ended it. */
	int (*answer)(void *context, uint64_t call, int error);
	bool (*is_alive)(void *context, uint64_t call);
	void *context;
};

/* 0 or -ENOMEM. */
int ff_sleepers_add(struct ff_sleepers *sleepers,
	const struct ff_sleeper *sleeper);

/* End up to count waits on the fence that share a bit with mask. How many. */
uint32_t ff_sleepers_wake(struct ff_sleepers *sleepers,
	const struct ff_fence *fence, uint32_t count, uint32_t mask);

/* End with ETIMEDOUT those whose time is over. */
void ff_sleepers_expire(struct ff_sleepers *sleepers, uint64_t now_ns);

/* Forget those that signals have ended. */
void ff_sleepers_prune(struct ff_sleepers *sleepers);

/* When the next one's time is over, or FF_SLEEPERS_FOREVER. */
uint64_t ff_sleepers_deadline_ns(const struct ff_sleepers *sleepers);

/* The least id of a call that is held, UINT64_MAX if none is. */
uint64_t ff_sleepers_oldest(const struct ff_sleepers *sleepers);

/* A thread has ended. */
void ff_sleepers_forget(struct ff_sleepers *sleepers, pid_t tid);

void ff_sleepers_free(struct ff_sleepers *sleepers);

#endif
