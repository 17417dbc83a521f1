/* SPDX-License-Identifier: MIT */
/*
 * wait-victim: waits on fences as libxshmfence makes them, in each of the ways
 * in which a wait can begin and end. No X server is needed, nor a library.
 */
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif

/* How long each wait lasts, and how long is then not waited. */
#define LASTS_US 60000
#define AFTER_US 80000

#define ROUNDS 1000

typedef volatile int32_t word;

struct step {
	const char *name;
	void (*run)(word *fence);
};

static void die(const char *what)
{
	fprintf(stderr, "wait-victim: %s: %s\n", what, strerror(errno));
	exit(1);
}

static word *make_fence(const char *name)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	word *fence;

	if (fd < 0 || ftruncate(fd, sizeof(*fence)) < 0)
		die("memfd_create");
	fence = mmap(NULL, sizeof(*fence), PROT_READ | PROT_WRITE, MAP_SHARED,
		fd, 0);
	if (fence == MAP_FAILED)
		die("mmap");
	close(fd);
	*fence = -1;
	return fence;
}

static long wait_on(word *fence, int op, const struct timespec *timeout)
{
	return syscall(SYS_futex, fence, op, -1, timeout, NULL,
		FUTEX_BITSET_MATCH_ANY);
}

/* As xshmfence_trigger does. */
static void trigger(word *fence)
{
	*fence = 1;
	syscall(SYS_futex, fence, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

static void *trigger_later(void *context)
{
	usleep(LASTS_US);
	trigger(context);
	return NULL;
}

static pthread_t start(void *(*run)(void *), word *fence)
{
	pthread_t thread;

	errno = pthread_create(&thread, NULL, run, (void *)(uintptr_t)fence);
	if (errno)
		die("pthread_create");
	return thread;
}

static void step_client(word *fence)
{
	pthread_t thread = start(trigger_later, fence);

	while (*fence != 1)
		wait_on(fence, FUTEX_WAIT, NULL);
	pthread_join(thread, NULL);
}

static void step_waitv(word *fence)
{
	static word other = 7;
	struct futex_waitv words[2] = {
		{.val = 7, .uaddr = (uintptr_t)&other, .flags = FUTEX_32},
		{.val = UINT32_MAX, .uaddr = (uintptr_t)fence,
			.flags = FUTEX_32},
	};
	pthread_t thread = start(trigger_later, fence);

	while (*fence != 1)
		if (syscall(SYS_futex_waitv, words, 2, 0, NULL, 0) < 0 &&
			errno != EAGAIN)
			die("futex_waitv");
	pthread_join(thread, NULL);
}

static long wakes;

static void *trigger_often(void *context)
{
	word *fence = context;

	for (long i = 0; i < ROUNDS; i++) {
		while (*fence != -1)
			sched_yield();
		trigger(fence);
		wakes++;
	}
	return NULL;
}

/* As xshmfence_await and xshmfence_reset do; and the calls are counted. */
static void step_rounds(word *fence)
{
	pthread_t thread;
	long waits = 0;

	*fence = 0;
	thread = start(trigger_often, fence);
	for (long i = 0; i < ROUNDS; i++) {
		while (__sync_val_compare_and_swap(fence, 0, -1) != 1) {
			waits++;
			wait_on(fence, FUTEX_WAIT, NULL);
		}
		*fence = 0;
	}
	pthread_join(thread, NULL);
	printf("waits %ld, wakes %ld\n", waits, wakes);
}

static void step_timeout(word *fence)
{
	const struct timespec timeout = {.tv_nsec = LASTS_US * 1000};

	if (wait_on(fence, FUTEX_WAIT, &timeout) == 0 || errno != ETIMEDOUT)
		die("FUTEX_WAIT");
}

static void step_deadline(word *fence)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += LASTS_US * 1000;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	if (wait_on(fence, FUTEX_WAIT_BITSET, &until) == 0 ||
		errno != ETIMEDOUT)
		die("FUTEX_WAIT_BITSET");
}

static void on_alarm(int sig)
{
	(void)sig;
}

/* The signal comes in the midst of the wait, and ends it. */
static void step_signal(word *fence)
{
	const struct itimerval when = {.it_value.tv_usec = LASTS_US};
	struct sigaction action = {.sa_handler = on_alarm};

	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &when, NULL);
	if (wait_on(fence, FUTEX_WAIT, NULL) == 0 || errno != EINTR)
		die("FUTEX_WAIT");
}

static void leave_thread(int sig)
{
	(void)sig;
	syscall(SYS_exit, 0);
}

static void *wait_for_ever(void *fence)
{
	printf("waits: %ld\n", syscall(SYS_gettid));
	fflush(stdout);
	while (*(word *)fence != 1)
		wait_on(fence, FUTEX_WAIT, NULL);
	return NULL;
}

/* A thread ends while it waits. */
static void step_death(word *fence)
{
	struct sigaction action = {.sa_handler = leave_thread};
	pthread_t thread;

	sigaction(SIGUSR2, &action, NULL);
	thread = start(wait_for_ever, fence);
	usleep(LASTS_US);
	pthread_kill(thread, SIGUSR2);
}

/* Neither is a fence. */
static void step_others(word *fence)
{
	const struct timespec timeout = {.tv_nsec = LASTS_US * 1000};

	(void)fence;
	wait_on(make_fence("other"), FUTEX_WAIT, &timeout);
	wait_on(make_fence("xshmfence"), FUTEX_WAIT_PRIVATE, &timeout);
}

static void step_exec(word *fence)
{
	start(wait_for_ever, fence);
	usleep(LASTS_US);
	execlp("sleep", "sleep", "0.2", NULL);
	die("execlp");
}

static void step_hang(word *fence)
{
	char line[16];

	start(wait_for_ever, fence);
	if (read(STDIN_FILENO, line, sizeof(line)) < 0)
		die("read");
}

int main(int argc, char **argv)
{
	static const struct step steps[] = {
		{"client", step_client}, {"waitv", step_waitv},
		{"rounds", step_rounds},
		{"timeout", step_timeout}, {"deadline", step_deadline},
		{"signal", step_signal}, {"death", step_death},
		{"others", step_others}, {"exec", step_exec},
		{"hang", step_hang},
	};
	const size_t count = sizeof(steps) / sizeof(steps[0]);

	for (int i = 1; i < argc; i++) {
		size_t j = 0;

		while (j < count && strcmp(steps[j].name, argv[i]))
			j++;
		if (j == count) {
			fprintf(stderr, "wait-victim: no step %s\n", argv[i]);
			return 2;
		}
		printf("step %s: %ld\n", argv[i], syscall(SYS_gettid));
		fflush(stdout);
		steps[j].run(make_fence("xshmfence"));
		usleep(AFTER_US);
	}
	return 0;
}
