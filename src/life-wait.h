/* SPDX-License-Identifier: MIT */
#ifndef FF_LIFE_WAIT_H
#define FF_LIFE_WAIT_H

#include "eventlog.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The waits of clients on fences, while they last. That one has ended is seen by
 * looking at /proc/TID/syscall now and then, or by the thread's next trapped
 * call. (To wait on the word ourselves would steal wakes.)
 */

/* More are not followed, which is said once. */
#define FF_LIFE_WAITS_MAX 1024

struct ff_life_wait {
	struct ff_actor actor;
	uint64_t fence; /* its id in the registry */
	char name[96];	/* and in the log */
	uint32_t abi;
	int nr;		/* the call, */
	uint64_t arg;	/* its first argument, */
	uint64_t address; /* and the fence's word */
	uint32_t expected;
	double begin; /* seconds since the epoch */
	/* CLOCK_MONOTONIC: its begin; when it was last known to wait; when to
	 * look again; and when its timeout is over, or UINT64_MAX. */
	uint64_t begin_ns, seen_ns, next_ns, timeout_ns;
	uint64_t away_ns; /* first seen elsewhere, with the word as it was; or 0 */
	uint64_t interval_ns;
	bool has_changed; /* the word, while it went on waiting */
	bool is_lost;	 /* ... for so long that it was not woken */
	bool is_told;	 /* after a second */
	bool is_doomed;	 /* it waited when its process was about to end */
	/* It is stopped by us, or woken for nothing: the call will be made again,
	 * until then. 0: it is not. */
	uint64_t stopped_ns;
	/* Who has woken it: "client", "host", or NULL. */
	const char *by;
};

struct ff_life_waits {
	struct ff_life_wait *list;
	size_t count, room;
	bool was_full;
};

#endif
