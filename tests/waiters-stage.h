/* SPDX-License-Identifier: MIT */
#ifndef FF_TESTS_WAITERS_STAGE_H
#define FF_TESTS_WAITERS_STAGE_H

#include "futexwatch/waiters.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* A file of words, waiters of a kind, and processes that use the words. */

struct stage {
	struct ff_waiters *waiters;
	int fd;
	_Atomic int32_t *words; /* the file mapped, to read and write */
	size_t size;
};

/* Skips the test if the kernel has not got the kind. */
void stage_open(struct stage *stage, enum ff_waiters_kind kind, size_t size);
void stage_close(struct stage *stage);

/* A test for each kind. */
#define FOR_EACH_KIND(behaviour, seconds)                                     \
	static void behaviour(struct stage *stage);                           \
	FOR_KIND(behaviour, seconds, uring, FF_WAITERS_URING)                 \
	FOR_KIND(behaviour, seconds, waitv, FF_WAITERS_WAITV)                 \
	FOR_KIND(behaviour, seconds, threads, FF_WAITERS_THREADS)             \
	static void behaviour(struct stage *stage)

#define FOR_KIND(behaviour, seconds, suite, kind)                             \
	Test(suite, behaviour, .timeout = (seconds))                          \
	{                                                                     \
		struct stage stage;                                           \
                                                                              \
		stage_open(&stage, kind, STAGE_SIZE);                         \
		behaviour(&stage);                                            \
		stage_close(&stage);                                          \
	}

#define STAGE_SIZE 4096

/* Begin to wait on the word of that number, told with token. Its slot. */
uint32_t stage_add(struct stage *stage, size_t word, uint64_t token);

/* As the X server's side does it, with no mask. How many were woken. */
int native_wake(_Atomic int32_t *word, int count);

/* A process that runs that, and dies with the test. */
pid_t start(void (*run)(struct stage *stage), struct stage *stage);
void stop(pid_t pid);

/* One that waits once for the word to be woken, without a mask, and ends. It
 * sleeps in the kernel when this returns. */
pid_t start_sleeper(struct stage *stage, size_t word);

/* Does it sleep in a futex call? */
bool is_asleep(pid_t pid);

/* It ends, and was woken. */
void expect_woken(pid_t pid);

/* Poll for a while, take and pass on: how many, 0 if nothing came. */
size_t take(struct stage *stage, struct ff_woken *woken, size_t max,
	int timeout_ms);

/* Poll until something is told. */
struct ff_woken take_one(struct stage *stage);

/* Nothing is told, as far as can be seen; but futex_waitv tells of words that
 * stay more often than needs be. */
void expect_silence(struct stage *stage, uint64_t stays);

bool is_kind(const struct stage *stage, const char *name);

#endif
