/* SPDX-License-Identifier: MIT */
#ifndef FF_INJECT_VFORK_H
#define FF_INJECT_VFORK_H

#include "error.h"
#include "process.h"

#include <stdint.h>
#include <sys/types.h>

/*
 * A child in vfork borrows its parent's memory, and the parent's thread cannot
 * be stopped before it gives it back: wait for that while all run on.
 * processes points *pids to all that may be such a child, valid until its next
 * call; idle is called about every millisecond, both with context.
 * 0, or -EAGAIN by deadline_ns (CLOCK_MONOTONIC) with *error filled.
 */
int ff_vfork_await(pid_t pid,
	int (*processes)(void *context, const struct ff_ids **pids),
	void (*idle)(void *context), void *context, uint64_t deadline_ns,
	struct ff_error *error);

#endif
