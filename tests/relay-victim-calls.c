/* SPDX-License-Identifier: MIT */
#include "relay-victim.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "compat.h"

enum { PATIENCE_S = 30, WHILE_US = 20000, TICK_US = 200 };

#define SECOND_NS 1000000000

#ifdef SYS_futex_time64
enum { NR_TIME64 = SYS_futex_time64 };
#else
enum { NR_TIME64 = SYS_futex };
#endif

enum flavour flavour;

/* As the kernel wants it from each call. */
struct time_long {
	long s, ns;
};

struct time_64 {
	int64_t s, ns;
};

union time {
	struct time_long narrow;
	struct time_64 wide;
};

int64_t now_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (int64_t)now.tv_sec * SECOND_NS + now.tv_nsec;
}

/* NULL for no time. A bad one stays so. */
static union time *time_of(int64_t ns, bool wide, union time *time)
{
	const int64_t s = ns < 0 ? 0 : ns / SECOND_NS;
	const int64_t rest = ns < 0 ? ns : ns % SECOND_NS;

	if (ns == NO_TIMEOUT)
		return NULL;
	if (wide)
		time->wide = (struct time_64){s, rest};
	else
		time->narrow = (struct time_long){(long)s, (long)rest};
	return time;
}

static int result_of(long rc)
{
	return rc < 0 ? -errno : (int)rc;
}

/* argument4 is the timeout, or the second count. */
static int call_futex(volatile int32_t *word, int op, uint32_t value,
	void *argument4, volatile int32_t *other, uint32_t value3)
{
	return result_of(syscall(flavour == TIME64 ? NR_TIME64 : SYS_futex,
		word, op, value, argument4, other, value3));
}

int futex_wait(volatile int32_t *word, int op_flags, int32_t expected,
	int64_t timeout_ns)
{
	union time time;

	if (flavour != FUTEX2 || op_flags)
		return call_futex(word, FUTEX_WAIT | op_flags,
			(uint32_t)expected,
			time_of(timeout_ns, flavour == TIME64, &time), NULL, 0);
	if (timeout_ns >= 0)
		timeout_ns += now_ns(CLOCK_MONOTONIC);
	return futex_wait_bitset(word, CLOCK_MONOTONIC, expected, UINT32_MAX,
		timeout_ns);
}

int futex_wait_bitset(volatile int32_t *word, clockid_t clock,
	int32_t expected, uint32_t mask, int64_t when_ns)
{
	union time time;
	int op = FUTEX_WAIT_BITSET;

	if (flavour == FUTEX2)
		return result_of(syscall(SYS_futex_wait, word,
			(unsigned long)(uint32_t)expected, (unsigned long)mask,
			FUTEX2_SIZE_U32, time_of(when_ns, true, &time), clock));
	if (clock == CLOCK_REALTIME)
		op |= FUTEX_CLOCK_REALTIME;
	return call_futex(word, op, (uint32_t)expected,
		time_of(when_ns, flavour == TIME64, &time), NULL, mask);
}

int futex_wake(volatile int32_t *word, int op_flags, int count)
{
	if (flavour == FUTEX2 && !op_flags)
		return futex_wake_bitset(word, count, UINT32_MAX);
	return call_futex(word, FUTEX_WAKE | op_flags, (uint32_t)count, NULL,
		NULL, 0);
}

int futex_wake_bitset(volatile int32_t *word, int count, uint32_t mask)
{
	if (flavour == FUTEX2)
		return result_of(syscall(SYS_futex_wake, word, (unsigned long)mask,
			count, FUTEX2_SIZE_U32));
	return call_futex(word, FUTEX_WAKE_BITSET, (uint32_t)count, NULL, NULL,
		mask);
}

int futex_requeue(volatile int32_t *from, int wake_count, int move_count,
	volatile int32_t *to, bool has_expected, int32_t expected)
{
	return call_futex(from,
		has_expected ? FUTEX_CMP_REQUEUE : FUTEX_REQUEUE,
		(uint32_t)wake_count, (void *)(intptr_t)move_count, to,
		(uint32_t)expected);
}

int futex_wake_op(volatile int32_t *first, int first_count,
	volatile int32_t *second, int second_count)
{
	return call_futex(first, FUTEX_WAKE_OP, (uint32_t)first_count,
		(void *)(intptr_t)second_count, second,
		FUTEX_OP(FUTEX_OP_ADD, 1, FUTEX_OP_CMP_EQ, 0));
}

int futex_waitv(volatile int32_t *const *words, const int32_t *expected,
	unsigned int count)
{
	struct {
		uint64_t value, address;
		uint32_t flags, reserved;
	} vector[8] = {0};

	for (unsigned int i = 0; i < count; i++) {
		vector[i].value = (uint32_t)expected[i];
		vector[i].address = (uintptr_t)words[i];
		vector[i].flags = FUTEX2_SIZE_U32;
	}
	return result_of(syscall(SYS_futex_waitv, vector, count, 0, NULL, 0));
}

/* Whether the thread is inside a futex call, and not running. */
static bool sleeps(pid_t pid, pid_t tid)
{
	static const int numbers[] = {SYS_futex, NR_TIME64, SYS_futex_wait, SYS_futex_waitv};
	char path[64], text[64] = "";
	FILE *file;
	int number;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/syscall", pid, tid);
	file = fopen(path, "re");
	check(file && fgets(text, sizeof(text), file), "%s: %s", path,
		strerror(errno));
	fclose(file);
	if (sscanf(text, "%d ", &number) != 1)
		return false;
	for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++)
		if (number == numbers[i])
			return true;
	return false;
}

/*
 * Trapped calls are received in order: when this has returned, its wait has
 * been. One that a signal ends before could be any call, a wake too; the
 * supervisor then makes sure and wakes everybody.
 */
static void await_receipt(void)
{
	static volatile int32_t nobodys;

	futex_wake(&nobodys, 0, 1);
}

void await_sleep(pid_t pid, pid_t tid)
{
	int64_t end = now_ns(CLOCK_MONOTONIC) + PATIENCE_S * (int64_t)SECOND_NS;

	while (!sleeps(pid, tid)) {
		check(now_ns(CLOCK_MONOTONIC) < end, "nobody goes to sleep");
		usleep(TICK_US);
	}
	await_receipt();
}

static void *wait_here(void *argument)
{
	struct waiter *waiter = argument;
	const int32_t expected = *waiter->word;

	atomic_store(&waiter->tid, gettid());
	if (!waiter->mask)
		atomic_store(&waiter->result, futex_wait(waiter->word, 0,
			expected, waiter->timeout_ns));
	else
		atomic_store(&waiter->result, futex_wait_bitset(waiter->word,
			CLOCK_MONOTONIC, expected, waiter->mask,
			waiter->timeout_ns < 0 ? waiter->timeout_ns :
				waiter->timeout_ns + now_ns(CLOCK_MONOTONIC)));
	atomic_store(&waiter->done, true);
	return NULL;
}

void waiter_start(struct waiter *waiter, volatile int32_t *word, uint32_t mask,
	int64_t timeout_ns)
{
	int rc;

	memset(waiter, 0, sizeof(*waiter));
	waiter->word = word;
	waiter->mask = mask;
	waiter->timeout_ns = timeout_ns;
	rc = pthread_create(&waiter->thread, NULL, wait_here, waiter);
	check(!rc, "pthread_create: %s", strerror(rc));
	while (!atomic_load(&waiter->tid))
		usleep(TICK_US);
	if (timeout_ns == NO_TIMEOUT)
		await_sleep(getpid(), atomic_load(&waiter->tid));
}

int waiter_end(struct waiter *waiter)
{
	pthread_join(waiter->thread, NULL);
	return atomic_load(&waiter->result);
}

unsigned int waiters_done(struct waiter *waiters, unsigned int count)
{
	unsigned int done = 0;

	for (unsigned int i = 0; i < count; i++)
		done += atomic_load(&waiters[i].done);
	return done;
}

void waiters_settle(struct waiter *waiters, unsigned int count,
	unsigned int wanted)
{
	int64_t end = now_ns(CLOCK_MONOTONIC) + PATIENCE_S * (int64_t)SECOND_NS;

	while (waiters_done(waiters, count) < wanted) {
		check(now_ns(CLOCK_MONOTONIC) < end,
			"%u of %u waiters are awake, not %u",
			waiters_done(waiters, count), count, wanted);
		usleep(TICK_US);
	}
	take_a_while();
}

void take_a_while(void)
{
	usleep(WHILE_US);
}
