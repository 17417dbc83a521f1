/* SPDX-License-Identifier: MIT */
#ifndef FF_FUTEXWATCH_DECODE_H
#define FF_FUTEXWATCH_DECODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

/* What a trapped futex call of another process is about. */

enum ff_futex_kind {
	FF_FUTEX_WAKE,	/* FUTEX_WAKE, WAKE_BITSET, futex_wake */
	FF_FUTEX_MOVE,	/* WAKE_OP, REQUEUE, CMP_REQUEUE, futex_requeue: wakes
			   on both words, or sleepers move to the second */
	FF_FUTEX_WAIT,	/* FUTEX_WAIT, WAIT_BITSET, futex_wait */
	FF_FUTEX_WAITV, /* futex_waitv: on any of words */
};

#define FF_FUTEX_MAX_WORDS 128 /* FUTEX_WAITV_MAX */

struct ff_futex_word {
	uint64_t address;
	/* How many sleepers the call may wake or move here: 0 to INT_MAX. */
	uint32_t count;
};

struct ff_futex_call {
	enum ff_futex_kind kind;
	struct ff_futex_word words[FF_FUTEX_MAX_WORDS];
	size_t word_count;
	uint32_t mask; /* bitset of WAKE and WAIT; all bits where it has none */
	/* FF_FUTEX_MOVE: sleepers are moved, if with compares the first word is
	 * as expected. Else it is WAKE_OP. */
	bool moves, compares;
	uint32_t expected; /* and of FF_FUTEX_WAIT */
	/* FF_FUTEX_WAIT */
	bool has_timeout, absolute;
	clockid_t clock; /* CLOCK_MONOTONIC or CLOCK_REALTIME */
	struct timespec timeout;
};

/*
 * Understand the call nr with args of the ABI audit_arch, made by tid; its
 * memory is read for timeouts and vectors only. 0; -ENOSYS: no such call, or on
 * private futexes; -EINVAL: one that the kernel will refuse (as it is, let it
 * do so); or -errno of reading.
 */
int ff_futex_decode(pid_t tid, uint32_t audit_arch, int nr,
	const uint64_t args[6], struct ff_futex_call *call);

/* When its timeout is over, in nanoseconds of CLOCK_MONOTONIC, of a clock that
 * may be set meanwhile as it stands now; UINT64_MAX if it has none. */
uint64_t ff_futex_deadline_ns(const struct ff_futex_call *call);

#endif
