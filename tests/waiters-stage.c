/* SPDX-License-Identifier: MIT */
#include "waiters-stage.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

void stage_open(struct stage *stage, enum ff_waiters_kind kind, size_t size)
{
	struct ff_error error = { 0 };

	stage->waiters = ff_waiters_open(kind, &error);
	if (!stage->waiters)
		cr_skip_test("%s", error.text);
	stage->size = size;
	stage->fd = memfd_create("unit-waiters", MFD_CLOEXEC);
	cr_assert(stage->fd >= 0);
	cr_assert(ftruncate(stage->fd, (off_t)size) == 0);
	stage->words = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED,
		stage->fd, 0);
	cr_assert(stage->words != MAP_FAILED);
}

void stage_close(struct stage *stage)
{
	ff_waiters_close(stage->waiters);
	munmap((void *)stage->words, stage->size);
	close(stage->fd);
}

uint32_t stage_add(struct stage *stage, size_t word, uint64_t token)
{
	uint32_t slot;

	cr_assert_eq(ff_waiters_add(stage->waiters, stage->fd,
		word * sizeof(int32_t), token, &slot), 0);
	return slot;
}

int native_wake(_Atomic int32_t *word, int count)
{
	return (int)syscall(SYS_futex, word, FUTEX_WAKE, count, NULL, NULL, 0);
}

pid_t start(void (*run)(struct stage *stage), struct stage *stage)
{
	pid_t parent = getpid(), pid = fork();

	cr_assert(pid >= 0);
	if (pid > 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() == parent)
		run(stage);
	_exit(0);
}

void stop(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

bool is_asleep(pid_t pid)
{
	char path[64], line[256] = "";
	FILE *file;
	long number = -1;

	snprintf(path, sizeof(path), "/proc/%d/syscall", (int)pid);
	file = fopen(path, "re");
	if (!file) { /* has ended, or is just doing so */
		siginfo_t info;

		cr_assert(errno == EACCES &&
				waitid(P_PID, (id_t)pid, &info,
					WEXITED | WNOWAIT) == 0,
			"%s: %s", path, strerror(errno));
		return false;
	}
	if (fgets(line, sizeof(line), file))
		sscanf(line, "%ld", &number);
	fclose(file);
	return number == SYS_futex;
}

pid_t start_sleeper(struct stage *stage, size_t word)
{
	pid_t parent = getpid(), pid = fork();

	cr_assert(pid >= 0);
	if (pid == 0) {
		int32_t value = stage->words[word];

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() == parent)
			_exit(syscall(SYS_futex, stage->words + word,
				FUTEX_WAIT, value, NULL, NULL, 0) != 0);
	}
	while (!is_asleep(pid))
		usleep(1000);
	return pid;
}

void expect_woken(pid_t pid)
{
	int status = -1;

	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_expect_eq(status, 0);
}

size_t take(struct stage *stage, struct ff_woken *woken, size_t max,
	int timeout_ms)
{
	struct pollfd pollfd = { ff_waiters_fd(stage->waiters), POLLIN, 0 };
	size_t count;

	poll(&pollfd, 1, timeout_ms);
	count = ff_waiters_take(stage->waiters, woken, max);
	ff_waiters_pass_on(stage->waiters);
	return count;
}

struct ff_woken take_one(struct stage *stage)
{
	struct ff_woken woken;

	while (take(stage, &woken, 1, 1000) == 0)
		;
	return woken;
}

bool is_kind(const struct stage *stage, const char *name)
{
	return !strcmp(ff_waiters_name(stage->waiters), name);
}

void expect_silence(struct stage *stage, uint64_t stays)
{
	bool is_waitv = is_kind(stage, "futex_waitv");
	struct ff_woken woken;

	for (int i = 0; i < 5; i++)
		if (take(stage, &woken, 1, 10) == 1)
			cr_expect(is_waitv && woken.token == stays);
}
