/* SPDX-License-Identifier: MIT */
#include "decode.h"

#include "clock.h"
#include "compat.h"
#include "process.h"

#include <errno.h>
#include <limits.h>
#include <linux/audit.h>
#include <linux/futex.h>

/* futex of each ABI, and where that has 32-bit times its twin; else -1. The
 * younger calls have the same numbers everywhere. */
static const struct abi {
	uint32_t audit_arch;
	unsigned int word;
	int futex, futex_time64;
} abis[] = {
	{ AUDIT_ARCH_X86_64, 8, 202, -1 },
	{ AUDIT_ARCH_I386, 4, 240, 422 },
	{ AUDIT_ARCH_AARCH64, 8, 98, -1 },
};

/* One word of a call: the kernel takes none that is not aligned. */
static int add_word(struct ff_futex_call *call, uint64_t address,
	uint32_t count)
{
	if (address % sizeof(uint32_t))
		return -EINVAL;
	call->words[call->word_count++] = (struct ff_futex_word){
		.address = address,
		.count = count,
	};
	return 0;
}

/* FUTEX_WAKE and WAKE_OP count after they have woken one: so at least one. */
static uint32_t woken_at_least(uint64_t arg)
{
	int32_t count = (int32_t)arg;

	return count < 1 ? 1 : (uint32_t)count;
}

static int decode_wake(struct ff_futex_call *call, uint64_t address,
	uint32_t count, uint32_t mask)
{
	call->kind = FF_FUTEX_WAKE;
	call->mask = mask;
	return mask ? add_word(call, address, count) : -EINVAL;
}

/* WAKE_OP. The second word's sleepers are woken only if a comparison holds,
 * which the kernel makes later on: it may be said of too many. */
static int decode_wake_op(struct ff_futex_call *call, const uint64_t args[6])
{
	int err = add_word(call, args[0], woken_at_least(args[2]));

	call->kind = FF_FUTEX_MOVE;
	if (!err)
		err = add_word(call, args[4], woken_at_least(args[3]));
	return err;
}

static uint32_t requeued_of_first(int32_t wake, int32_t move)
{
	return wake > INT_MAX - move ? INT_MAX : (uint32_t)(wake + move);
}

static int decode_requeue(struct ff_futex_call *call, const uint64_t args[6])
{
	int32_t wake = (int32_t)args[2], move = (int32_t)args[3];
	int err;

	call->kind = FF_FUTEX_MOVE;
	call->moves = true;
	call->compares = (int)args[1] == FUTEX_CMP_REQUEUE;
	call->expected = call->compares ? (uint32_t)args[5] : 0;
	if (wake < 0 || move < 0)
		return -EINVAL;
	err = add_word(call, args[0], requeued_of_first(wake, move));
	if (!err)
		err = add_word(call, args[4], (uint32_t)move);
	return err;
}

/* A timespec of two numbers of size bytes each. */
static int read_timeout(pid_t tid, const struct abi *abi, unsigned int size,
	uint64_t address, struct ff_futex_call *call)
{
	union {
		int32_t narrow[2];
		int64_t wide[2];
	} time;
	int64_t sec, nsec;
	int err;

	call->has_timeout = address != 0;
	if (!address)
		return 0;
	err = ff_process_read(tid, address, &time, 2 * size);
	if (err)
		return err;
	sec = size == 4 ? time.narrow[0] : time.wide[0];
	nsec = size == 4 ? time.narrow[1] : time.wide[1];
	if (size == 8 && abi->word == 4)
		nsec &= 0xffffffff; /* the rest is padding there */
	if (sec < 0 || nsec < 0 || nsec >= 1000000000)
		return -EINVAL;
	call->timeout = (struct timespec){ .tv_sec = sec, .tv_nsec = nsec };
	return 0;
}

static int decode_wait(struct ff_futex_call *call, uint64_t address,
	uint32_t expected, uint32_t mask)
{
	call->kind = FF_FUTEX_WAIT;
	call->expected = expected;
	call->mask = mask;
	return mask ? add_word(call, address, 0) : -EINVAL;
}

/* FUTEX_WAIT and WAIT_BITSET. */
static int decode_old_wait(pid_t tid, const struct abi *abi, int nr,
	const uint64_t args[6], struct ff_futex_call *call)
{
	int op = (int)args[1];
	bool has_mask = op != FUTEX_WAIT;
	unsigned int size = nr == abi->futex ? abi->word : 8;
	int err = decode_wait(call, args[0], (uint32_t)args[2],
		has_mask ? (uint32_t)args[5] : FUTEX_BITSET_MATCH_ANY);

	call->absolute = has_mask;
	if (op & FUTEX_CLOCK_REALTIME)
		call->clock = CLOCK_REALTIME;
	return err ? err : read_timeout(tid, abi, size, args[3], call);
}

static int decode_futex(pid_t tid, const struct abi *abi, int nr,
	const uint64_t args[6], struct ff_futex_call *call)
{
	switch ((int)args[1]) {
	case FUTEX_WAKE:
		return decode_wake(call, args[0], woken_at_least(args[2]),
			FUTEX_BITSET_MATCH_ANY);
	case FUTEX_WAKE_BITSET:
		return decode_wake(call, args[0], woken_at_least(args[2]),
			(uint32_t)args[5]);
	case FUTEX_WAKE_OP:
		return decode_wake_op(call, args);
	case FUTEX_REQUEUE: case FUTEX_CMP_REQUEUE:
		return decode_requeue(call, args);
	case FUTEX_WAIT: case FUTEX_WAIT_BITSET:
	case FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME:
		return decode_old_wait(tid, abi, nr, args, call);
	default: /* private; or FUTEX_WAIT and a clock, until Linux 5.12 */
		return -ENOSYS;
	}
}

/*
 * Flags of the younger calls: 0, -ENOSYS if private. There are others, of NUMA
 * (Linux 6.16), that change nothing here.
 */
static int check_flags(uint32_t flags)
{
	if ((flags & FUTEX2_SIZE_MASK) != FUTEX2_SIZE_U32)
		return -EINVAL;
	return flags & FUTEX2_PRIVATE ? -ENOSYS : 0;
}

static int decode_futex_wake(const uint64_t args[6],
	struct ff_futex_call *call)
{
	int err = check_flags((uint32_t)args[3]);

	if (!err && args[1] > UINT32_MAX)
		err = -EINVAL;
	/* This one takes 0 for what it is. */
	return err ? err : decode_wake(call, args[0],
		(uint32_t)args[2] ? woken_at_least(args[2]) : 0,
		(uint32_t)args[1]);
}

static int decode_futex_wait(pid_t tid, const struct abi *abi,
	const uint64_t args[6], struct ff_futex_call *call)
{
	clockid_t clock = (clockid_t)args[5];
	int err = check_flags((uint32_t)args[3]);

	if (!err && (args[1] > UINT32_MAX || args[2] > UINT32_MAX))
		err = -EINVAL;
	if (!err && args[4] && clock != CLOCK_MONOTONIC &&
		clock != CLOCK_REALTIME)
		err = -EINVAL;
	if (!err)
		err = decode_wait(call, args[0], (uint32_t)args[1],
			(uint32_t)args[2]);
	call->absolute = true;
	call->clock = clock == CLOCK_REALTIME ? clock : CLOCK_MONOTONIC;
	return err ? err : read_timeout(tid, abi, 8, args[4], call);
}

/* An array of count words, of which private ones are left out; how many
 * sleepers the call is about at each, counts says, if it is not NULL. */
static int decode_vector(pid_t tid, uint64_t address, uint32_t count,
	const uint32_t *counts, struct ff_futex_call *call)
{
	struct futex_waitv entries[FF_FUTEX_MAX_WORDS];
	int err;

	if (!count || count > FF_FUTEX_MAX_WORDS || !address)
		return -EINVAL;
	err = ff_process_read(tid, address, entries,
		count * sizeof(entries[0]));
	if (err)
		return err;
	for (uint32_t i = 0; i < count; i++) {
		err = check_flags(entries[i].flags);
		if (entries[i].__reserved || entries[i].val > UINT32_MAX)
			err = -EINVAL;
		if (!err)
			err = add_word(call, entries[i].uaddr,
				counts ? counts[i] : 0);
		if (!err && !i && counts) {
			call->compares = true;
			call->expected = (uint32_t)entries[0].val;
		}
		if (err && err != -ENOSYS)
			return err;
	}
	return call->word_count ? 0 : -ENOSYS;
}

static int decode_futex_requeue(pid_t tid, const uint64_t args[6],
	struct ff_futex_call *call)
{
	int32_t wake = (int32_t)args[2], move = (int32_t)args[3];
	uint32_t counts[2];

	call->kind = FF_FUTEX_MOVE;
	call->moves = true;
	if ((uint32_t)args[1] || wake < 0 || move < 0)
		return -EINVAL;
	counts[0] = requeued_of_first(wake, move);
	counts[1] = (uint32_t)move;
	return decode_vector(tid, args[0], 2, counts, call);
}

int ff_futex_decode(pid_t tid, uint32_t audit_arch, int nr,
	const uint64_t args[6], struct ff_futex_call *call)
{
	const struct abi *abi = abis;

	while (abi < abis + sizeof(abis) / sizeof(abis[0]) &&
		abi->audit_arch != audit_arch)
		abi++;
	if (abi == abis + sizeof(abis) / sizeof(abis[0]))
		return -ENOSYS;
	/* The words are many, and left as they are. */
	call->word_count = 0;
	call->mask = FUTEX_BITSET_MATCH_ANY;
	call->expected = 0;
	call->has_timeout = call->absolute = false;
	call->moves = call->compares = false;
	call->clock = CLOCK_MONOTONIC;
	call->timeout = (struct timespec){ 0 };
	if (nr == abi->futex || (nr == abi->futex_time64 && nr >= 0))
		return decode_futex(tid, abi, nr, args, call);
	switch (nr) {
	case SYS_futex_wake:
		return decode_futex_wake(args, call);
	case SYS_futex_wait:
		return decode_futex_wait(tid, abi, args, call);
	case SYS_futex_requeue:
		return decode_futex_requeue(tid, args, call);
	case SYS_futex_waitv:
		call->kind = FF_FUTEX_WAITV;
		return (uint32_t)args[2] ? -EINVAL : decode_vector(tid,
			args[0], (uint32_t)args[1], NULL, call);
	default:
		return -ENOSYS;
	}
}

static uint64_t timespec_ns(const struct timespec *time)
{
	if (time->tv_sec >= (time_t)(UINT64_MAX / 1000000000u / 2))
		return UINT64_MAX / 2;
	return (uint64_t)time->tv_sec * 1000000000u + (uint64_t)time->tv_nsec;
}

uint64_t ff_futex_deadline_ns(const struct ff_futex_call *call)
{
	uint64_t now_ns = ff_now_ns(), ns = timespec_ns(&call->timeout);
	uint64_t clock_ns = now_ns;
	struct timespec clock;

	if (!call->has_timeout)
		return UINT64_MAX;
	if (!call->absolute)
		return now_ns + ns;
	if (call->clock != CLOCK_MONOTONIC &&
		clock_gettime(call->clock, &clock) == 0)
		clock_ns = timespec_ns(&clock);
	return ns > clock_ns ? now_ns + (ns - clock_ns) : now_ns;
}
