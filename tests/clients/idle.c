/* SPDX-License-Identifier: MIT */
#include "idle.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "client.h"

/* How many idle threads are where they belong, and how many came back. */
static atomic_long idle_count, woken_count;
static int idle_pipe[2];

static void *idle(void *number)
{
	struct timespec day = {.tv_sec = 86400};
	uint32_t word = 0;
	char byte;

	atomic_fetch_add(&idle_count, 1);
	switch ((uintptr_t)number % 3) {
	case 0:
		syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
		break;
	case 1:
		nanosleep(&day, NULL);
		break;
	default:
		if (read(idle_pipe[0], &byte, 1) < 0)
			break;
	}
	/* None of these calls ends by itself: somebody has interrupted it. */
	atomic_fetch_add(&woken_count, 1);
	return NULL;
}

void ff_idle_start(long count)
{
	pthread_attr_t attributes;
	pthread_t thread;
	long i;
	int rc;

	if (!count)
		return;
	if (pipe2(idle_pipe, O_CLOEXEC))
		ff_client_die("pipe: %s", strerror(errno));
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, 65536);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	for (i = 0; i < count; i++) {
		rc = pthread_create(
			&thread, &attributes, idle, (void *)(uintptr_t)i);
		if (rc)
			ff_client_die("pthread_create: %s", strerror(rc));
	}
	pthread_attr_destroy(&attributes);
	while (atomic_load(&idle_count) < count)
		usleep(100);
}

void ff_idle_check(long count)
{
	if (!count)
		return;
	if (atomic_load(&woken_count))
		ff_client_die("the calls of %ld idle threads were interrupted",
			atomic_load(&woken_count));
	printf("threads: %ld, none disturbed\n", count);
}
