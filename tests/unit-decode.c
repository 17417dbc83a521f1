/* SPDX-License-Identifier: MIT */
/*
 * src/futexwatch/decode: what a futex call is about. The caller is this
 * process; what a 32-bit one has in memory is laid out by hand.
 */
#include "futexwatch/decode.h"

#include "compat.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <limits.h>
#include <linux/audit.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

#define TIMEOUT .timeout = 60
#define GARBAGE 0xdeadbeef00000000u
#define NOWHERE 0x1000u

/* futex of each ABI. */
static const struct abi {
	uint32_t audit_arch;
	int futex;
	unsigned int size; /* of a number in a timespec */
} abis[] = {
	{ AUDIT_ARCH_X86_64, 202, 8 },
	{ AUDIT_ARCH_I386, 240, 4 },
	{ AUDIT_ARCH_I386, 422, 8 },
	{ AUDIT_ARCH_AARCH64, 98, 8 },
};

#define FOR_EACH_ABI(abi) \
	for (const struct abi *abi = abis; \
		abi < abis + sizeof(abis) / sizeof(abis[0]); abi++)

static struct ff_futex_call call;

static uint64_t address(const void *at)
{
	return (uint64_t)(uintptr_t)at;
}

static int decode(uint32_t audit_arch, int nr, uint64_t a, uint64_t b,
	uint64_t c, uint64_t d, uint64_t e, uint64_t f)
{
	const uint64_t args[6] = { a, b, c, d, e, f };

	memset(&call, 0x55, sizeof(call)); /* nothing is taken for granted */
	return ff_futex_decode(getpid(), audit_arch, nr, args, &call);
}

#define FUTEX(abi, ...) decode((abi)->audit_arch, (abi)->futex, __VA_ARGS__)

static void check_word(size_t index, uint64_t word, uint32_t count)
{
	cr_assert(index < call.word_count);
	cr_expect_eq(call.words[index].address, word);
	cr_expect_eq(call.words[index].count, count, "%u is not %u",
		call.words[index].count, count);
}

Test(decode, wake, TIMEOUT)
{
	FOR_EACH_ABI(abi) {
		cr_assert_eq(FUTEX(abi, 0x4000, FUTEX_WAKE, 3, NOWHERE, 5, 6),
			0);
		cr_expect_eq(call.kind, FF_FUTEX_WAKE);
		cr_expect_eq(call.word_count, 1);
		check_word(0, 0x4000, 3);
		cr_expect_eq(call.mask, UINT32_MAX);
		cr_expect_not(call.has_timeout);
	}
}

Test(decode, wake_bitset, TIMEOUT)
{
	FOR_EACH_ABI(abi) {
		cr_assert_eq(FUTEX(abi, 0x4000, FUTEX_WAKE_BITSET, 3, NOWHERE,
			5, GARBAGE | 6), 0);
		cr_expect_eq(call.kind, FF_FUTEX_WAKE);
		cr_expect_eq(call.word_count, 1);
		check_word(0, 0x4000, 3);
		cr_expect_eq(call.mask, 6);
		cr_expect_eq(FUTEX(abi, 0x4000, FUTEX_WAKE_BITSET, 3, 0, 0,
			GARBAGE), -EINVAL);
	}
}

Test(decode, wake_op, TIMEOUT)
{
	FOR_EACH_ABI(abi) {
		cr_assert_eq(FUTEX(abi, 0x4000, FUTEX_WAKE_OP, 3, 4, 0x5000,
			0), 0);
		cr_expect_eq(call.kind, FF_FUTEX_MOVE);
		cr_expect_eq(call.word_count, 2);
		check_word(0, 0x4000, 3);
		check_word(1, 0x5000, 4);
		cr_expect_eq(call.mask, UINT32_MAX);
	}
}

Test(decode, requeue, TIMEOUT)
{
	static const int ops[] = { FUTEX_REQUEUE, FUTEX_CMP_REQUEUE };

	FOR_EACH_ABI(abi) for (int i = 0; i < 2; i++) {
		cr_assert_eq(FUTEX(abi, 0x4000, ops[i], 3, 4, 0x5000, 0), 0);
		cr_expect_eq(call.kind, FF_FUTEX_MOVE);
		cr_expect_eq(call.word_count, 2);
		check_word(0, 0x4000, 7);
		check_word(1, 0x5000, 4);
		cr_expect_eq(call.mask, UINT32_MAX);
		cr_assert_eq(FUTEX(abi, 0x4000, ops[i], 1, INT_MAX, 0x5000,
			0), 0);
		check_word(0, 0x4000, INT_MAX);
		check_word(1, 0x5000, INT_MAX);
		cr_assert_eq(FUTEX(abi, 0x4000, ops[i], 0, 0, 0x5000, 0), 0);
		check_word(0, 0x4000, 0);
		check_word(1, 0x5000, 0);
	}
}

/* Both are ints, as the operation is; the registers may hold more. */
Test(decode, takes_no_more_than_the_kernel_does, TIMEOUT)
{
	FOR_EACH_ABI(abi) {
		cr_assert_eq(FUTEX(abi, 0x4000, GARBAGE | FUTEX_WAKE,
			GARBAGE | 3, 0, 0, 0), 0);
		check_word(0, 0x4000, 3);
		cr_assert_eq(FUTEX(abi, 0x4000, GARBAGE | FUTEX_REQUEUE,
			GARBAGE | 3, GARBAGE | 4, 0x5000, 0), 0);
		check_word(0, 0x4000, 7);
		check_word(1, 0x5000, 4);
		cr_assert_eq(FUTEX(abi, 0x4000, FUTEX_WAIT, GARBAGE | 9, 0, 0,
			0), 0);
		cr_expect_eq(call.expected, 9);
	}
}

Test(decode, wait_is_relative_and_without_a_mask, TIMEOUT)
{
	FOR_EACH_ABI(abi) {
		cr_assert_eq(FUTEX(abi, 0x4000, FUTEX_WAIT, 9, 0, 0, 0), 0);
		cr_expect_eq(call.kind, FF_FUTEX_WAIT);
		cr_expect_eq(call.word_count, 1);
		check_word(0, 0x4000, 0);
		cr_expect_eq(call.expected, 9);
		cr_expect_eq(call.mask, UINT32_MAX);
		cr_expect_not(call.has_timeout);
		cr_expect_not(call.absolute);
	}
}

/* A timespec as the ABI has it. */
static const void *timeout_of(const struct abi *abi, int64_t sec,
	int64_t nsec)
{
	static int32_t narrow[2];
	static int64_t wide[2];

	narrow[0] = (int32_t)sec;
	narrow[1] = (int32_t)nsec;
	wide[0] = sec;
	wide[1] = nsec;
	return abi->size == 4 ? (const void *)narrow : wide;
}

static void check_timeout(clockid_t clock, bool absolute, time_t sec,
	long nsec)
{
	cr_expect_eq(call.kind, FF_FUTEX_WAIT);
	cr_expect(call.has_timeout);
	cr_expect_eq(call.absolute, absolute);
	cr_expect_eq(call.clock, clock);
	cr_expect_eq(call.timeout.tv_sec, sec);
	cr_expect_eq(call.timeout.tv_nsec, nsec);
}

Test(decode, timeout_is_read_as_the_abi_has_it, TIMEOUT)
{
	FOR_EACH_ABI(abi) {
		uint64_t at = address(timeout_of(abi, 70000, 999999999));

		cr_assert_eq(FUTEX(abi, 0x4000, FUTEX_WAIT, 9, at, 0, 0), 0);
		check_timeout(CLOCK_MONOTONIC, false, 70000, 999999999);
		cr_assert_eq(FUTEX(abi, 0x4000, FUTEX_WAIT_BITSET, 9, at, 0,
			5), 0);
		check_timeout(CLOCK_MONOTONIC, true, 70000, 999999999);
		cr_expect_eq(call.mask, 5);
		cr_assert_eq(FUTEX(abi, 0x4000, FUTEX_WAIT_BITSET |
			FUTEX_CLOCK_REALTIME, 9, at, 0, 5), 0);
		check_timeout(CLOCK_REALTIME, true, 70000, 999999999);
	}
}

Test(decode, timeout_that_no_clock_has_is_refused, TIMEOUT)
{
	FOR_EACH_ABI(abi) {
		cr_expect_eq(FUTEX(abi, 0x4000, FUTEX_WAIT, 9,
			address(timeout_of(abi, -1, 0)), 0, 0), -EINVAL);
		cr_expect_eq(FUTEX(abi, 0x4000, FUTEX_WAIT, 9,
			address(timeout_of(abi, 1, 1000000000)), 0, 0),
			-EINVAL);
		cr_expect_eq(FUTEX(abi, 0x4000, FUTEX_WAIT, 9, NOWHERE, 0, 0),
			-EFAULT);
		cr_expect_eq(FUTEX(abi, 0x4000, FUTEX_WAIT_BITSET, 9, 0, 0,
			0), -EINVAL);
	}
}

/* i386's 64-bit timespec has 32 bits of padding after the nanoseconds. */
Test(decode, padding_in_a_timeout_of_i386_is_ignored, TIMEOUT)
{
	static const int64_t timeout[2] = { 1, (int64_t)GARBAGE | 2 };

	cr_assert_eq(decode(AUDIT_ARCH_I386, 422, 0x4000, FUTEX_WAIT, 9,
		address(timeout), 0, 0), 0);
	check_timeout(CLOCK_MONOTONIC, false, 1, 2);
	cr_expect_eq(decode(AUDIT_ARCH_X86_64, 202, 0x4000, FUTEX_WAIT, 9,
		address(timeout), 0, 0), -EINVAL);
}

Test(decode, private_ones_are_nothing, TIMEOUT)
{
	static const int ops[] = {
		FUTEX_WAKE, FUTEX_WAKE_BITSET, FUTEX_WAKE_OP, FUTEX_REQUEUE,
		FUTEX_CMP_REQUEUE, FUTEX_WAIT, FUTEX_WAIT_BITSET,
	};

	FOR_EACH_ABI(abi)
		for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++)
			cr_expect_eq(FUTEX(abi, 0x4000,
				(uint32_t)ops[i] | FUTEX_PRIVATE_FLAG, 1, 0,
				0x5000, 1), -ENOSYS);
}

Test(decode, other_calls_are_nothing, TIMEOUT)
{
	FOR_EACH_ABI(abi) {
		cr_expect_eq(FUTEX(abi, 0x4000, FUTEX_LOCK_PI, 1, 0, 0, 0),
			-ENOSYS);
		cr_expect_eq(FUTEX(abi, 0x4000, 0x200 | FUTEX_WAKE, 1, 0, 0,
			0), -ENOSYS);
		cr_expect_eq(FUTEX(abi, 0x4000, FUTEX_WAKE |
			FUTEX_CLOCK_REALTIME, 1, 0, 0, 0), -ENOSYS);
		for (int nr = -1; nr < 98; nr++)
			cr_expect_eq(decode(abi->audit_arch, nr, 0x4000,
				FUTEX_WAKE, 1, 0, 0, 0), -ENOSYS);
	}
	cr_expect_eq(decode(AUDIT_ARCH_ARM, 240, 0, FUTEX_WAKE, 1, 0, 0, 0),
		-ENOSYS);
	cr_expect_eq(decode(AUDIT_ARCH_X86_64, 422, 0, FUTEX_WAKE, 1, 0, 0, 0),
		-ENOSYS);
}

Test(decode, words_that_are_not_aligned_are_refused, TIMEOUT)
{
	FOR_EACH_ABI(abi) for (uint64_t at = 0x4001; at < 0x4004; at++) {
		cr_expect_eq(FUTEX(abi, at, FUTEX_WAKE, 1, 0, 0, 0), -EINVAL);
		cr_expect_eq(FUTEX(abi, at, FUTEX_WAIT, 1, 0, 0, 0), -EINVAL);
		cr_expect_eq(FUTEX(abi, 0x4000, FUTEX_REQUEUE, 1, 0, at, 0),
			-EINVAL);
	}
}

Test(decode, futex_wake, TIMEOUT)
{
	FOR_EACH_ABI(abi) {
		cr_assert_eq(decode(abi->audit_arch, SYS_futex_wake, 0x4000,
			6, GARBAGE | 3, GARBAGE | FUTEX2_SIZE_U32, 0, 0), 0);
		cr_expect_eq(call.kind, FF_FUTEX_WAKE);
		cr_expect_eq(call.word_count, 1);
		check_word(0, 0x4000, 3);
		cr_expect_eq(call.mask, 6);
		cr_expect_eq(decode(abi->audit_arch, SYS_futex_wake, 0x4000,
			6, 3, FUTEX2_SIZE_U32 | FUTEX2_PRIVATE, 0, 0),
			-ENOSYS);
		cr_expect_eq(decode(abi->audit_arch, SYS_futex_wake, 0x4000,
			6, 3, 0, 0, 0), -EINVAL, "a byte");
		cr_expect_eq(decode(abi->audit_arch, SYS_futex_wake, 0x4000,
			GARBAGE | 6, 3, FUTEX2_SIZE_U32, 0, 0), -EINVAL);
		cr_expect_eq(decode(abi->audit_arch, SYS_futex_wake, 0x4000,
			0, 3, FUTEX2_SIZE_U32, 0, 0), -EINVAL);
	}
}

Test(decode, futex_wait, TIMEOUT)
{
	static const int64_t timeout[2] = { 70000, 2 };
	uint64_t at = address(timeout);

	FOR_EACH_ABI(abi) {
		cr_assert_eq(decode(abi->audit_arch, SYS_futex_wait, 0x4000,
			9, 6, FUTEX2_SIZE_U32, at, CLOCK_REALTIME), 0);
		cr_expect_eq(call.word_count, 1);
		check_word(0, 0x4000, 0);
		cr_expect_eq(call.expected, 9);
		cr_expect_eq(call.mask, 6);
		check_timeout(CLOCK_REALTIME, true, 70000, 2);
		cr_assert_eq(decode(abi->audit_arch, SYS_futex_wait, 0x4000,
			9, 6, FUTEX2_SIZE_U32, at, CLOCK_MONOTONIC), 0);
		check_timeout(CLOCK_MONOTONIC, true, 70000, 2);
		cr_assert_eq(decode(abi->audit_arch, SYS_futex_wait, 0x4000,
			9, 6, FUTEX2_SIZE_U32, 0, 7), 0);
		cr_expect_not(call.has_timeout);
		cr_expect_eq(decode(abi->audit_arch, SYS_futex_wait, 0x4000,
			9, 6, FUTEX2_SIZE_U32, at, 7), -EINVAL);
		cr_expect_eq(decode(abi->audit_arch, SYS_futex_wait, 0x4000,
			9, 6, FUTEX2_SIZE_U32 | FUTEX2_PRIVATE, at, 0),
			-ENOSYS);
		cr_expect_eq(decode(abi->audit_arch, SYS_futex_wait, 0x4000,
			9, 0, FUTEX2_SIZE_U32, at, 0), -EINVAL);
	}
}

static struct futex_waitv entries[FUTEX_WAITV_MAX + 1];

static void fill_entries(uint32_t flags)
{
	for (size_t i = 0; i < FUTEX_WAITV_MAX + 1; i++)
		entries[i] = (struct futex_waitv){
			.val = i,
			.uaddr = 0x4000 + 4 * i,
			.flags = flags,
		};
}

static int waitv(uint64_t at, uint64_t count, uint64_t flags)
{
	return decode(AUDIT_ARCH_I386, SYS_futex_waitv, at, count, flags,
		NOWHERE, 7, 0);
}

Test(decode, futex_waitv_has_many_words, TIMEOUT)
{
	fill_entries(FUTEX2_SIZE_U32);
	cr_assert_eq(waitv(address(entries), GARBAGE | FUTEX_WAITV_MAX, 0), 0);
	cr_expect_eq(call.kind, FF_FUTEX_WAITV);
	cr_expect_eq(call.word_count, FUTEX_WAITV_MAX);
	for (size_t i = 0; i < FUTEX_WAITV_MAX; i++)
		check_word(i, 0x4000 + 4 * i, 0);
	/* not a byte beyond what it was told of is read */
	cr_expect_eq(waitv(address(entries + FUTEX_WAITV_MAX), 1, 0), 0);
}

Test(decode, futex_waitv_leaves_private_ones_out, TIMEOUT)
{
	fill_entries(FUTEX2_SIZE_U32 | FUTEX2_PRIVATE);
	cr_expect_eq(waitv(address(entries), 5, 0), -ENOSYS);
	entries[1].flags = entries[3].flags = FUTEX2_SIZE_U32;
	cr_assert_eq(waitv(address(entries), 5, 0), 0);
	cr_expect_eq(call.word_count, 2);
	check_word(0, 0x4004, 0);
	check_word(1, 0x400c, 0);
}

Test(decode, futex_waitv_that_the_kernel_refuses, TIMEOUT)
{
	fill_entries(FUTEX2_SIZE_U32);
	cr_expect_eq(waitv(address(entries), 0, 0), -EINVAL);
	cr_expect_eq(waitv(address(entries), FUTEX_WAITV_MAX + 1, 0), -EINVAL);
	cr_expect_eq(waitv(address(entries), UINT32_MAX, 0), -EINVAL);
	cr_expect_eq(waitv(address(entries), 2, 1), -EINVAL);
	cr_expect_eq(waitv(0, 2, 0), -EINVAL);
	cr_expect_eq(waitv(NOWHERE, 2, 0), -EFAULT);
	entries[1].flags = 0;
	cr_expect_eq(waitv(address(entries), 2, 0), -EINVAL);
	fill_entries(FUTEX2_SIZE_U32);
	entries[1].__reserved = 1;
	cr_expect_eq(waitv(address(entries), 2, 0), -EINVAL);
	fill_entries(FUTEX2_SIZE_U32);
	entries[1].uaddr = 0x4001;
	cr_expect_eq(waitv(address(entries), 2, 0), -EINVAL);
}

static int requeue(uint64_t flags, uint64_t wake, uint64_t move)
{
	return decode(AUDIT_ARCH_X86_64, SYS_futex_requeue, address(entries),
		flags, wake, move, 0, 0);
}

Test(decode, futex_requeue, TIMEOUT)
{
	fill_entries(FUTEX2_SIZE_U32);
	cr_assert_eq(requeue(0, GARBAGE | 3, GARBAGE | 4), 0);
	cr_expect_eq(call.kind, FF_FUTEX_MOVE);
	cr_expect_eq(call.word_count, 2);
	check_word(0, 0x4000, 7);
	check_word(1, 0x4004, 4);
	cr_expect_eq(call.mask, UINT32_MAX);
	cr_expect_eq(requeue(1, 3, 4), -EINVAL);
	cr_expect_eq(requeue(0, UINT32_MAX, 4), -EINVAL);
	cr_expect_eq(requeue(0, 3, UINT32_MAX), -EINVAL);
	entries[0].flags |= FUTEX2_PRIVATE;
	cr_assert_eq(requeue(0, 3, 4), 0);
	cr_expect_eq(call.word_count, 1);
	check_word(0, 0x4004, 4);
	entries[1].flags |= FUTEX2_PRIVATE;
	cr_expect_eq(requeue(0, 3, 4), -ENOSYS);
}

/* --- beside the kernel --- */

#if defined(__x86_64__)
#define NATIVE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define NATIVE AUDIT_ARCH_AARCH64
#endif

enum { SLEEPERS = 4 };

static uint32_t words[2];

static void *fall_asleep(void *argument)
{
	syscall(SYS_futex, argument, FUTEX_WAIT, 0, NULL, NULL, 0);
	return NULL;
}

/* Wait until all sleep at words[1], who started at words[0]. */
static void gather(void)
{
	long moved = 0;

	while (moved < SLEEPERS) {
		long more = syscall(SYS_futex, &words[0], FUTEX_REQUEUE, 0,
			INT_MAX, &words[1], 0);

		cr_assert(more >= 0);
		moved += more;
		sched_yield();
	}
}

/* How many of the sleepers at words[1] the kernel wakes, or moves to words[0],
 * by this call. */
static long ask_kernel(int nr, const uint64_t args[6])
{
	pthread_t threads[SLEEPERS];
	long woken;

	for (int i = 0; i < SLEEPERS; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, fall_asleep,
			&words[0]), 0);
	gather();
	woken = syscall(nr, args[0], args[1], args[2], args[3], args[4],
		args[5]);
	if (woken < 0)
		woken = -errno;
	for (int i = 0; i < SLEEPERS; i++)
		while (pthread_tryjoin_np(threads[i], NULL))
			for (int j = 0; j < 2; j++)
				syscall(SYS_futex, &words[j], FUTEX_WAKE,
					INT_MAX, 0, 0, 0);
	return woken;
}

/* So many, as far as there are; or it refuses. */
static void check_beside_kernel(int nr, uint64_t b, uint64_t c, uint64_t d,
	uint64_t e, uint64_t f, size_t word)
{
	const uint64_t args[6] = {
		address(&words[word ? 0 : 1]), b, c, d, e, f
	};
	int err = decode(NATIVE, nr, args[0], b, c, d, e, f);
	long expected = err ? err : (long)call.words[word].count;
	long woken = ask_kernel(nr, args);

	if (woken == -ENOSYS && nr == SYS_futex_wake)
		return; /* a kernel before 6.7 */
	if (expected > SLEEPERS)
		expected = SLEEPERS;
	cr_expect_eq(expected, woken, "call %d, %#lx %#lx %#lx: %ld, not %ld",
		nr, (long)b, (long)c, (long)d, expected, woken);
}

Test(decode, counts_are_the_kernels, TIMEOUT)
{
	static const int counts[] = { 0, 1, 2, 3, INT_MAX, -1, INT_MIN };
	/* words[1] += 0, and is it 0? */
	uint32_t add = FUTEX_OP(FUTEX_OP_ADD, 0, FUTEX_OP_CMP_EQ, 0);

	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		uint64_t count = (uint64_t)counts[i], e = address(&words[1]);

		check_beside_kernel(SYS_futex, FUTEX_WAKE, count, 0, 0, 0, 0);
		check_beside_kernel(SYS_futex, FUTEX_WAKE_BITSET, count, 0, 0,
			4, 0);
		check_beside_kernel(SYS_futex, FUTEX_WAKE_OP, 1, count, e,
			add, 1);
		check_beside_kernel(SYS_futex, FUTEX_REQUEUE, count, 0,
			address(&words[0]), 0, 0);
		check_beside_kernel(SYS_futex, FUTEX_REQUEUE, 0, count,
			address(&words[0]), 0, 0);
		check_beside_kernel(SYS_futex_wake, UINT32_MAX, count,
			FUTEX2_SIZE_U32, 0, 0, 0);
	}
}
