/* SPDX-License-Identifier: MIT */
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "wake-threads.h"

#define MASK 1u

static struct ff_stage *the_stage;
static enum ff_side the_side;
static struct ff_lines the_lines;

/*
 * The value is read before the message goes: what happens from there on ends
 * the next wait.
 */
static void *watch(void *number)
{
	const uint32_t n = (uint32_t)(uintptr_t)number;
	_Atomic uint32_t *word =
		ff_stage_word(the_stage, n, FF_WAY_THREADS, the_side).own;
	char message[FF_WAKE_MESSAGE] = {0};
	uint32_t value = *word;

	memcpy(message, &n, sizeof(n));
	for (;;) {
		ff_futex(word, FUTEX_WAIT_BITSET, value, MASK);
		value = *word;
		if (send(the_lines.out, message, sizeof(message),
			    MSG_NOSIGNAL) != sizeof(message))
			return NULL;
	}
}

static int start_watchers(void)
{
	pthread_attr_t attr;
	pthread_t thread;
	int err = 0;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, PTHREAD_STACK_MIN + 16384);
	for (uintptr_t n = 0; !err && n < the_stage->fences; n++)
		err = pthread_create(&thread, &attr, watch, (void *)n);
	pthread_attr_destroy(&attr);
	return err;
}

int ff_threads_relay(
	struct ff_stage *stage, enum ff_side side, struct ff_lines lines)
{
	char message[FF_WAKE_MESSAGE];
	uint32_t n;

	the_stage = stage;
	the_side = side;
	the_lines = lines;
	if (start_watchers()) {
		fprintf(stderr, "bench/wake: cannot start a thread for each "
				"fence\n");
		return -1;
	}
	while (recv(lines.in, message, sizeof(message), MSG_WAITALL) ==
		sizeof(message)) {
		memcpy(&n, message, sizeof(n));
		ff_futex(ff_stage_word(stage, n, FF_WAY_THREADS, side).own,
			FUTEX_WAKE_BITSET, INT_MAX, ~MASK);
	}
	return -1;
}
