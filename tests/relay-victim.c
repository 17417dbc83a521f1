/* SPDX-License-Identifier: MIT */
/*
 * relay-victim: futex calls on two words in files, and whether they do what
 * futex(2) promises. The same by itself, where the kernel does it, and below
 * fenceferry on fences.
 */
#include "relay-victim.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define MS 1000000 /* nanoseconds */
#define ALL UINT32_MAX

static const char *what; /* case runs */
static volatile int32_t *word, *other;
static int file;

void give_up(const char *format, ...)
{
	va_list args;

	fflush(stdout);
	fprintf(stderr, "relay-victim: %s: ", what);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	_exit(1);
}

static void expect(int result, int wanted, const char *call)
{
	check(result == wanted, "%s gives %d, not %d", call, result, wanted);
}

static volatile int32_t *map(int fd)
{
	void *at = mmap(NULL, sizeof(int32_t), PROT_READ | PROT_WRITE,
		MAP_SHARED, fd, 0);

	check(at != MAP_FAILED, "mmap: %s", strerror(errno));
	return at;
}

/* A word that is not the expected one ends the wait at once. */
static void differs(void)
{
	*word = 5;
	expect(futex_wait(word, 0, 4, NO_TIMEOUT), -EAGAIN, "FUTEX_WAIT");
	expect(futex_wait(word, 0, -5, 10000LL * MS), -EAGAIN,
		"FUTEX_WAIT with a timeout");
	expect(futex_wait_bitset(word, CLOCK_MONOTONIC, 4, 2, NO_TIMEOUT),
		-EAGAIN, "FUTEX_WAIT_BITSET");
	expect(futex_wait_bitset(word, CLOCK_REALTIME, 4, ALL,
		now_ns(CLOCK_REALTIME) + 10000LL * MS), -EAGAIN,
		"FUTEX_WAIT_BITSET with a timeout");
	*word = -1;
	expect(futex_wait(word, 0, 0, NO_TIMEOUT), -EAGAIN, "FUTEX_WAIT");
	expect(futex_wait(word, 0, -1, 0), -ETIMEDOUT, "FUTEX_WAIT");
}

/* At least so long, and not for ever. */
static void check_time(int64_t start, int64_t timeout_ms, const char *call)
{
	int64_t took_ms = (now_ns(CLOCK_MONOTONIC) - start) / MS;

	check(took_ms >= timeout_ms, "%s waits %lld ms, not %lld", call,
		(long long)took_ms, (long long)timeout_ms);
}

static void timeout(void)
{
	int64_t start = now_ns(CLOCK_MONOTONIC);

	expect(futex_wait(word, 0, *word, 60 * MS), -ETIMEDOUT, "FUTEX_WAIT");
	check_time(start, 60, "FUTEX_WAIT");
	start = now_ns(CLOCK_MONOTONIC);
	expect(futex_wait_bitset(word, CLOCK_MONOTONIC, *word, 1,
		start + 60 * MS), -ETIMEDOUT, "FUTEX_WAIT_BITSET");
	check_time(start, 60, "FUTEX_WAIT_BITSET");
	start = now_ns(CLOCK_MONOTONIC);
	/* That clock may be adjusted meanwhile. */
	expect(futex_wait_bitset(word, CLOCK_REALTIME, *word, ALL,
		now_ns(CLOCK_REALTIME) + 60 * MS), -ETIMEDOUT,
		"FUTEX_WAIT_BITSET in real time");
	check_time(start, 50, "FUTEX_WAIT_BITSET in real time");
	expect(futex_wait(word, 0, *word, 0), -ETIMEDOUT, "no time");
	expect(futex_wait_bitset(word, CLOCK_MONOTONIC, *word, ALL, 1),
		-ETIMEDOUT, "a time long past");
	expect(futex_wait_bitset(word, CLOCK_REALTIME, *word, ALL, 0),
		-ETIMEDOUT, "1970");
	expect(futex_wake(word, 0, INT_MAX), 0, "FUTEX_WAKE afterwards");
}

/* Many at once, each with another one. */
static void timeouts(void)
{
	struct waiter waiters[12];
	int64_t start = now_ns(CLOCK_MONOTONIC);

	for (int i = 0; i < 12; i++)
		waiter_start(&waiters[i], i % 2 ? other : word,
			i % 3 ? 1u << i : 0, (100 - 7 * i) * MS);
	for (int i = 11; i >= 0; i--) {
		expect(waiter_end(&waiters[i]), -ETIMEDOUT, "a waiter's call");
		check_time(start, 100 - 7 * i, "a waiter's call");
	}
	expect(futex_wake(word, 0, INT_MAX), 0, "FUTEX_WAKE afterwards");
	expect(futex_wake(other, 0, INT_MAX), 0, "FUTEX_WAKE afterwards");
}

/* Calls that are refused. */
static void refused(void)
{
	expect(futex_wait(word, 0, *word, -1), -EINVAL, "a negative time");
	expect(futex_wait_bitset(word, CLOCK_MONOTONIC, *word, 0, NO_TIMEOUT),
		-EINVAL, "an empty mask");
	expect(futex_wake_bitset(word, 1, 0), -EINVAL,
		"a wake with an empty mask");
	expect(futex_wake((volatile int32_t *)((char *)word + 1), 0, 1),
		-EINVAL, "an odd address");
	expect(futex_wait(NULL, 0, 0, NO_TIMEOUT), -EFAULT, "no address");
}

static atomic_int alarms;

static void count_alarm(int sig)
{
	(void)sig;
	atomic_fetch_add(&alarms, 1);
}

static void handle_alarms(int flags)
{
	struct sigaction action = {.sa_handler = count_alarm,
		.sa_flags = flags};

	atomic_store(&alarms, 0);
	sigaction(SIGUSR1, &action, NULL);
}

/* A handler that ran ends the wait, and leaves nothing behind. */
static void interrupted(void)
{
	struct waiter waiter;

	handle_alarms(0);
	for (int i = 0; i < 100; i++) {
		waiter_start(&waiter, word, i % 2, NO_TIMEOUT);
		pthread_kill(waiter.thread, SIGUSR1);
		expect(waiter_end(&waiter), -EINTR, "an interrupted wait");
		expect(futex_wake(word, 0, INT_MAX), 0, "FUTEX_WAKE");
	}
	expect(atomic_load(&alarms), 100, "the count of signals");
}

static void restarted(void)
{
	struct waiter waiter;

	handle_alarms(SA_RESTART);
	for (int i = 1; i <= 100; i++) {
		waiter_start(&waiter, word, 0, NO_TIMEOUT);
		pthread_kill(waiter.thread, SIGUSR1);
		while (atomic_load(&alarms) < i)
			usleep(100);
		await_sleep(getpid(), atomic_load(&waiter.tid));
		expect(futex_wake(word, 0, INT_MAX), 1, "FUTEX_WAKE");
		expect(waiter_end(&waiter), 0, "a restarted wait");
	}
}

static void counts(void)
{
	struct waiter waiters[5];

	expect(futex_wake(word, 0, INT_MAX), 0, "FUTEX_WAKE of nobody");
	for (int i = 0; i < 5; i++)
		waiter_start(&waiters[i], word, i % 2, NO_TIMEOUT);
	expect(futex_wake(other, 0, INT_MAX), 0, "FUTEX_WAKE elsewhere");
	expect(futex_wake(word, 0, 2), 2, "FUTEX_WAKE of two");
	waiters_settle(waiters, 5, 2);
	expect((int)waiters_done(waiters, 5), 2, "the count of those awake");
	check(waiters[0].done && waiters[1].done, "the first are woken first");
	expect(futex_wake(word, 0, INT_MAX), 3, "FUTEX_WAKE of all");
	for (int i = 0; i < 5; i++)
		expect(waiter_end(&waiters[i]), 0, "a waiter's call");
	expect(futex_wake(word, 0, INT_MAX), 0, "FUTEX_WAKE of nobody");
}

/* A wake of one is for one, whoever else hears of it. */
static void one_of_two(void)
{
	struct waiter waiters[2];

	for (int i = 0; i < 30; i++) {
		waiter_start(&waiters[0], word, 0, NO_TIMEOUT);
		waiter_start(&waiters[1], word, 0, NO_TIMEOUT);
		expect(futex_wake(word, 0, 1), 1, "FUTEX_WAKE of one");
		waiters_settle(waiters, 2, 1);
		expect((int)waiters_done(waiters, 2), 1,
			"the count of those awake");
		expect(futex_wake(word, 0, 1), 1, "FUTEX_WAKE of the other");
		for (int k = 0; k < 2; k++)
			expect(waiter_end(&waiters[k]), 0, "a waiter's call");
	}
}

static void masks(void)
{
	struct waiter waiters[3];

	waiter_start(&waiters[0], word, 1u << 1, NO_TIMEOUT);
	waiter_start(&waiters[1], word, 1u << 31, NO_TIMEOUT);
	waiter_start(&waiters[2], word, 0, NO_TIMEOUT);
	expect(futex_wake_bitset(word, INT_MAX, 1u << 2), 1, "mask 4");
	expect(waiter_end(&waiters[2]), 0, "the one without a mask");
	expect(futex_wake_bitset(word, INT_MAX, 1u << 2), 0, "mask 4 again");
	expect(futex_wake_bitset(word, INT_MAX, 1u << 31 | 1), 1, "bit 31");
	expect(waiter_end(&waiters[1]), 0, "the one with bit 31");
	take_a_while();
	check(!waiters[0].done, "the one with bit 1 is awake");
	expect(futex_wake(word, 0, INT_MAX), 1, "FUTEX_WAKE");
	expect(waiter_end(&waiters[0]), 0, "the one with bit 1");
}

/* By the book: one is woken, one waits at the other word from now on. */
static void requeue(void)
{
	struct waiter waiters[2];

	for (int i = 0; i < 2; i++)
		waiter_start(&waiters[i], word, 0, NO_TIMEOUT);
	expect(futex_requeue(word, 1, INT_MAX, other, true, *word + 1), -EAGAIN,
		"FUTEX_CMP_REQUEUE with another value");
	expect(futex_requeue(word, 1, INT_MAX, other, true, *word), 2,
		"FUTEX_CMP_REQUEUE");
	expect(waiter_end(&waiters[0]), 0, "the first waiter");
	expect(futex_wake(word, 0, INT_MAX), 0, "FUTEX_WAKE at the old word");
	expect(futex_wake(other, 0, INT_MAX), 1, "FUTEX_WAKE at the new word");
	expect(waiter_end(&waiters[1]), 0, "the second waiter");
}

/* What programs rely on: after wakes at both words nobody sleeps. */
static void requeue_loosely(void)
{
	struct waiter waiters[4];

	for (int i = 0; i < 4; i++)
		waiter_start(&waiters[i], word, 0, NO_TIMEOUT);
	check(futex_requeue(word, 0, 2, other, false, 0) >= 0,
		"FUTEX_REQUEUE fails");
	check(futex_requeue(word, 1, 1, other, true, *word) >= 0,
		"FUTEX_CMP_REQUEUE fails");
	futex_wake(other, 0, INT_MAX);
	for (int i = 0; i < 4; i++)
		expect(waiter_end(&waiters[i]), 0, "a waiter's call");
}

static void wake_op(void)
{
	struct waiter waiters[2];

	*other = 0;
	waiter_start(&waiters[0], word, 0, NO_TIMEOUT);
	waiter_start(&waiters[1], other, 0, NO_TIMEOUT);
	check(futex_wake_op(word, 1, other, 1) >= 0, "FUTEX_WAKE_OP fails");
	for (int i = 0; i < 2; i++)
		expect(waiter_end(&waiters[i]), 0, "a waiter's call");
	expect(*other, 1, "the word after FUTEX_WAKE_OP");
}

static void waitv(void)
{
	volatile int32_t *const words[] = {word, other};
	int32_t values[] = {*word, *other + 1};

	expect(futex_waitv(words, values, 2), -EAGAIN, "futex_waitv");
}

static void no_waitv(void)
{
	static volatile int32_t local;
	volatile int32_t *const words[] = {&local, other};
	int32_t values[] = {0, *other + 1};

	expect(futex_waitv(words, values, 2), -ENOSYS, "futex_waitv");
	values[0] = 1;
	expect(futex_waitv(words, values, 1), -EAGAIN,
		"futex_waitv without fences");
}

/* A private futex is another one than the shared one at the same address. */
static void private(void)
{
	static volatile int32_t local;
	struct waiter waiter;

	waiter_start(&waiter, word, 0, NO_TIMEOUT);
	expect(futex_wake(word, FUTEX_PRIVATE_FLAG, INT_MAX), 0,
		"a private FUTEX_WAKE");
	take_a_while();
	check(!waiter.done, "it reaches a shared wait");
	expect(futex_wait(word, FUTEX_PRIVATE_FLAG, *word, 10 * MS),
		-ETIMEDOUT, "a private FUTEX_WAIT");
	expect(futex_wait(&local, FUTEX_PRIVATE_FLAG, 1, NO_TIMEOUT), -EAGAIN,
		"a private FUTEX_WAIT of a word that differs");
	expect(futex_wake(word, 0, INT_MAX), 1, "FUTEX_WAKE");
	expect(waiter_end(&waiter), 0, "a waiter's call");
}

static pid_t start_child(volatile int32_t *at)
{
	pid_t pid = fork();

	check(pid >= 0, "fork: %s", strerror(errno));
	if (pid) {
		await_sleep(pid, pid);
		return pid;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	_exit(futex_wait(at, 0, *at, NO_TIMEOUT) != 0);
}

static void end_child(pid_t pid)
{
	int status;

	check(waitpid(pid, &status, 0) == pid && !status,
		"a child ends with %#x", (unsigned int)status);
}

/* A futex is a place in a file, wherever it is mapped. */
static void mappings(void)
{
	volatile int32_t *second = map(file);
	struct waiter waiter;
	pid_t pid;

	waiter_start(&waiter, word, 0, NO_TIMEOUT);
	expect(futex_wake(second, 0, INT_MAX), 1, "by a second mapping");
	expect(waiter_end(&waiter), 0, "a waiter's call");
	second = mremap((void *)second, 4096, 8192, MREMAP_MAYMOVE);
	check(second != MAP_FAILED, "mremap: %s", strerror(errno));
	second = mremap((void *)second, 8192, 4096,
		MREMAP_MAYMOVE | MREMAP_FIXED, (char *)map(file));
	check(second != MAP_FAILED, "mremap: %s", strerror(errno));
	waiter_start(&waiter, second, 0, NO_TIMEOUT);
	expect(futex_wake(word, 0, INT_MAX), 1, "to a moved mapping");
	expect(waiter_end(&waiter), 0, "a waiter's call");
	pid = start_child(second);
	expect(futex_wake(word, 0, INT_MAX), 1, "to a child");
	end_child(pid);
	munmap((void *)second, 4096);
}

/* A wait that was stopped goes on. */
static void stopped(void)
{
	for (int i = 0; i < 20; i++) {
		pid_t pid = start_child(word);
		int status;

		kill(pid, SIGSTOP);
		check(waitpid(pid, &status, WUNTRACED) == pid &&
				WIFSTOPPED(status), "a child does not stop");
		kill(pid, SIGCONT);
		/* That it sleeps again cannot be seen from here. */
		while (futex_wake(word, 0, INT_MAX) != 1) {
			check(!waitpid(pid, NULL, WNOHANG),
				"a child's wait has ended");
			usleep(100);
		}
		end_child(pid);
	}
}

/* Who is killed in his wait waits no more. */
static void killed(void)
{
	for (int i = 0; i < 20; i++) {
		pid_t pid = start_child(word);
		int status;

		kill(pid, SIGKILL);
		check(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status),
			"a child is not killed");
		expect(futex_wake(word, 0, INT_MAX), 0, "FUTEX_WAKE");
	}
}

/* Shared futexes that are no fences. */
static void elsewhere(void)
{
	volatile int32_t *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid;

	check(shared != MAP_FAILED, "mmap: %s", strerror(errno));
	pid = start_child(shared);
	/* Its wait may be trapped, and go on only now. */
	*shared = 1;
	while (waitpid(pid, NULL, WNOHANG) != pid) {
		futex_wake(shared, 0, INT_MAX);
		usleep(1000);
	}
	expect(futex_wait(shared, 0, 0, NO_TIMEOUT), -EAGAIN, "FUTEX_WAIT");
	expect(futex_wait(shared, 0, 1, 10 * MS), -ETIMEDOUT, "FUTEX_WAIT");
	expect(futex_wake(shared, 0, 1), 0, "FUTEX_WAKE");
}

static const struct {
	const char *name;
	void (*run)(void);
} cases[] = {
	{"differs", differs},
	{"timeout", timeout},
	{"timeouts", timeouts},
	{"refused", refused},
	{"interrupted", interrupted},
	{"restarted", restarted},
	{"counts", counts},
	{"one-of-two", one_of_two},
	{"masks", masks},
	{"requeue", requeue},
	{"requeue-loosely", requeue_loosely},
	{"wake-op", wake_op},
	{"waitv", waitv},
	{"no-waitv", no_waitv},
	{"private", private},
	{"mappings", mappings},
	{"stopped", stopped},
	{"killed", killed},
	{"elsewhere", elsewhere},
};

static void run_case(const char *name)
{
	what = name;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		if (!strcmp(cases[i].name, name)) {
			*word = *other = 0;
			cases[i].run();
			printf("%s: ok\n", name);
			fflush(stdout);
			return;
		}
	give_up("no such case");
}

static int open_word(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);

	check(fd >= 0, "%s: %s", path, strerror(errno));
	return fd;
}

int main(int argc, char **argv)
{
	static const char usage[] = "Usage: relay-victim plain|time64|futex2 "
				    "FILE FILE CASE...\n";
	static const char *const flavours[] = {"plain", "time64", "futex2"};

	while (argc > 4 && strcmp(flavours[flavour], argv[1]))
		if (++flavour > FUTEX2)
			argc = 0;
	if (argc < 5) {
		fputs(usage, stderr);
		return 2;
	}
	what = "start";
	file = open_word(argv[2]);
	word = map(file);
	other = map(open_word(argv[3]));
	for (int i = 4; i < argc; i++)
		run_case(argv[i]);
	puts("OK");
	return 0;
}
