/* SPDX-License-Identifier: MIT */
#ifndef RELAY_VICTIM_H
#define RELAY_VICTIM_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* What makes the futex calls of relay-victim, and those who wait in them. */

/* The system calls to use, as far as they can do what is wanted. */
enum flavour {
	PLAIN,	/* futex(2) as the C library calls it */
	TIME64, /* the one of 32-bit ABIs with 64-bit times */
	FUTEX2, /* futex_wait and futex_wake (Linux 6.7) */
};

extern enum flavour flavour;

/* Say what is wrong in the case that runs, and end. */
_Noreturn void give_up(const char *format, ...)
	__attribute__((format(printf, 1, 2)));

#define check(condition, ...) \
	do { \
		if (!(condition)) \
			give_up(__VA_ARGS__); \
	} while (0)

int64_t now_ns(clockid_t clock);

/* Calls: their result, or -errno. Shared futexes unless op says private. */

#define NO_TIMEOUT INT64_MIN

/* FUTEX_WAIT, with a relative timeout. */
int futex_wait(volatile int32_t *word, int op_flags, int32_t expected,
	int64_t timeout_ns);

/* FUTEX_WAIT_BITSET, with an absolute one. */
int futex_wait_bitset(volatile int32_t *word, clockid_t clock,
	int32_t expected, uint32_t mask, int64_t when_ns);

int futex_wake(volatile int32_t *word, int op_flags, int count);
int futex_wake_bitset(volatile int32_t *word, int count, uint32_t mask);

/* FUTEX_REQUEUE, or with has_expected FUTEX_CMP_REQUEUE. */
int futex_requeue(volatile int32_t *from, int wake_count, int move_count,
	volatile int32_t *to, bool has_expected, int32_t expected);

/* Adds one to second; wakes there if it was 0 before. */
int futex_wake_op(volatile int32_t *first, int first_count,
	volatile int32_t *second, int second_count);

int futex_waitv(volatile int32_t *const *words, const int32_t *expected,
	unsigned int count);

/* A thread that waits. */
struct waiter {
	volatile int32_t *word;
	uint32_t mask; /* 0: FUTEX_WAIT; else FUTEX_WAIT_BITSET with it */
	int64_t timeout_ns;
	pthread_t thread;
	atomic_int tid, result;
	atomic_bool done;
};

/* Start one that waits on *word being as it is; it sleeps on return. */
void waiter_start(struct waiter *waiter, volatile int32_t *word, uint32_t mask,
	int64_t timeout_ns);

/* Wait for its end; the result of its call. */
int waiter_end(struct waiter *waiter);

/* How many of them are done; and wait until at least wanted are, and then for
 * such as should not be. */
unsigned int waiters_done(struct waiter *waiters, unsigned int count);
void waiters_settle(struct waiter *waiters, unsigned int count,
	unsigned int wanted);

/* Wait until a thread sleeps in a futex call. */
void await_sleep(pid_t pid, pid_t tid);

/* For what cannot be waited for: what happens against all rules. */
void take_a_while(void);

#endif
