/* SPDX-License-Identifier: MIT */
/* src/futexwatch/waiters: all three kinds of them. */
#include "waiters-stage.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { WORD = 5, OTHER = 6, TOKEN = 42 };

/* Threads may not have begun to wait: a wake may have to be repeated. */
static void wake_until_killed(struct stage *stage)
{
	for (;;) {
		native_wake(stage->words + WORD, 1);
		usleep(500);
	}
}

FOR_EACH_KIND(wake_of_another_process_is_told, 30)
{
	uint32_t slot = stage_add(stage, WORD, TOKEN);
	struct ff_woken woken;
	pid_t pid;

	stage_add(stage, OTHER, TOKEN + 1);
	pid = start(wake_until_killed, stage);
	for (int i = 0; i < 10;) {
		woken = take_one(stage);
		cr_assert_eq(woken.err, 0);
		if (woken.token == TOKEN)
			i++;
		else
			cr_assert(is_kind(stage, "futex_waitv") &&
				woken.token == TOKEN + 1);
	}
	stop(pid);
	ff_waiters_remove(stage->waiters, slot);
	expect_silence(stage, TOKEN + 1);
}

static void change_and_wake(struct stage *stage)
{
	stage->words[WORD] = 1;
	native_wake(stage->words + WORD, INT_MAX);
}

/* Whether the wait has begun by then or not. */
FOR_EACH_KIND(change_with_one_wake_is_told, 30)
{
	for (int i = 0; i < 100; i++) {
		uint32_t slot = stage_add(stage, WORD, TOKEN);

		if (i % 2)
			stop(start(change_and_wake, stage));
		change_and_wake(stage);
		cr_assert_eq(take_one(stage).token, TOKEN);
		ff_waiters_remove(stage->waiters, slot);
		stage->words[WORD] = 0;
	}
}

/* The second before the first was taken. */
FOR_EACH_KIND(last_change_is_told_after_it, 30)
{
	stage_add(stage, WORD, TOKEN);
	for (int32_t i = 1; i < 1000; i++) {
		int32_t seen = 0;

		stage->words[WORD] = i;
		native_wake(stage->words + WORD, INT_MAX);
		if (i % 3)
			continue;
		while (seen != i) {
			cr_assert_eq(take_one(stage).token, TOKEN);
			seen = stage->words[WORD];
		}
	}
}

static void change_until_killed(struct stage *stage)
{
	for (;;)
		stage->words[WORD]++;
}

/* Waits on it hardly ever begin. */
FOR_EACH_KIND(word_that_always_changes_is_told_and_holds_up_nobody, 60)
{
	pid_t pid = start(change_until_killed, stage);
	struct ff_woken woken[4];
	bool is_told = false, is_other_told = false;
	uint32_t slot;

	for (int i = 0; i < 1000; i++) {
		slot = stage_add(stage, WORD, TOKEN);
		ff_waiters_remove(stage->waiters, slot);
	}
	slot = stage_add(stage, WORD, TOKEN);
	stage_add(stage, OTHER, TOKEN + 1);
	while (!is_told || !is_other_told) {
		size_t count;

		native_wake(stage->words + WORD, INT_MAX);
		native_wake(stage->words + OTHER, INT_MAX);
		count = take(stage, woken, 4, 10);
		for (size_t i = 0; i < count; i++) {
			cr_assert_eq(woken[i].err, 0);
			if (woken[i].token == TOKEN)
				is_told = true;
			else
				is_other_told = true;
		}
	}
	stop(pid);
	ff_waiters_remove(stage->waiters, slot);
}

FOR_EACH_KIND(relayed_wake_reaches_others_and_is_not_told, 30)
{
	uint32_t slot = stage_add(stage, WORD, TOKEN);

	for (int i = 0; i < 20; i++) {
		pid_t one = start_sleeper(stage, WORD);
		pid_t two = start_sleeper(stage, WORD);

		cr_expect_eq(ff_waiters_wake(stage->waiters, slot, UINT32_MAX),
			2);
		expect_woken(one);
		expect_woken(two);
		cr_expect_eq(ff_waiters_wake(stage->waiters, slot, 1), 0);
	}
	expect_silence(stage, 0);
}

FOR_EACH_KIND(relayed_wake_wakes_as_many_as_it_says, 30)
{
	uint32_t slot = stage_add(stage, WORD, TOKEN);
	pid_t one = start_sleeper(stage, WORD);
	pid_t two = start_sleeper(stage, WORD);

	cr_expect_eq(ff_waiters_wake(stage->waiters, slot, 1), 1);
	expect_woken(one);
	cr_expect(is_asleep(two));
	cr_expect_eq(ff_waiters_wake(stage->waiters, slot, 1), 1);
	expect_woken(two);
}

/* Is a thread of ours in that system call? */
static bool has_thread_in(long wanted)
{
	DIR *stream = opendir("/proc/self/task");
	const struct dirent *entry;
	bool has = false;

	cr_assert_not_null(stream);
	while ((entry = readdir(stream))) {
		char path[300], line[256] = "";
		long number = -1;
		FILE *file;

		snprintf(path, sizeof(path), "/proc/self/task/%s/syscall",
			entry->d_name);
		file = fopen(path, "re");
		if (!file)
			continue;
		if (fgets(line, sizeof(line), file))
			sscanf(line, "%ld", &number);
		fclose(file);
		has |= number == wanted;
	}
	closedir(stream);
	return has;
}

/* The waiters are in the queue, before all that come later. */
static void wait_for_waiters(struct stage *stage)
{
	while (is_kind(stage, "futex_waitv") && !has_thread_in(SYS_futex_waitv))
		usleep(1000);
	while (is_kind(stage, "threads") && !has_thread_in(SYS_futex))
		usleep(1000);
}

/* The waiter took it, for it came first, and must give it away. */
FOR_EACH_KIND(wake_of_one_reaches_a_sleeper_behind_the_waiter, 60)
{
	stage_add(stage, WORD, TOKEN);
	for (int i = 0; i < 20; i++) {
		pid_t pid;

		wait_for_waiters(stage);
		pid = start_sleeper(stage, WORD);
		cr_assert_eq(native_wake(stage->words + WORD, 1), 1);
		/* Where the waiter had come last there is nothing to tell. */
		while (is_asleep(pid)) {
			struct ff_woken woken;

			if (take(stage, &woken, 1, 10) == 1)
				cr_expect_eq(woken.token, TOKEN);
		}
		expect_woken(pid);
	}
}

/* Zombies that were woken are not asleep. */
FOR_EACH_KIND(wake_of_one_reaches_one_sleeper_of_two, 60)
{
	for (int i = 0; i < 20; i++) {
		uint32_t slot = stage_add(stage, WORD, TOKEN);
		pid_t one, two;

		wait_for_waiters(stage);
		one = start_sleeper(stage, WORD);
		two = start_sleeper(stage, WORD);
		cr_assert_eq(native_wake(stage->words + WORD, 1), 1);
		cr_expect_eq(take_one(stage).token, TOKEN);
		expect_woken(one);
		cr_expect(is_asleep(two));
		ff_waiters_remove(stage->waiters, slot);
		cr_expect(is_asleep(two), "nor by the removal");
		cr_expect_eq(native_wake(stage->words + WORD, INT_MAX), 1);
		expect_woken(two);
	}
}

/* Taken and told, but not passed on. */
FOR_EACH_KIND(what_is_owed_is_passed_on_by_what_comes_next, 60)
{
	struct pollfd pollfd = { ff_waiters_fd(stage->waiters), POLLIN, 0 };
	struct ff_woken woken;

	for (int i = 0; i < 12; i++) {
		uint32_t slot = stage_add(stage, WORD, TOKEN);
		pid_t pid;

		wait_for_waiters(stage);
		pid = start_sleeper(stage, WORD);
		cr_assert_eq(native_wake(stage->words + WORD, 1), 1);
		while (ff_waiters_take(stage->waiters, &woken, 1) == 0)
			poll(&pollfd, 1, 1000);
		if (is_kind(stage, "io_uring"))
			cr_expect(is_asleep(pid), "the guest is told first");
		if (i % 3 == 0)
			ff_waiters_pass_on(stage->waiters);
		else if (i % 3 == 1)
			ff_waiters_take(stage->waiters, &woken, 1);
		else
			ff_waiters_remove(stage->waiters, slot);
		expect_woken(pid);
		if (i % 3 < 2)
			ff_waiters_remove(stage->waiters, slot);
	}
	expect_silence(stage, 0);
}

/* Told or not: what the waiter has taken is not its own. */
FOR_EACH_KIND(wake_taken_by_what_is_removed_is_passed_on, 60)
{
	for (int i = 0; i < 20; i++) {
		uint32_t slot = stage_add(stage, WORD, TOKEN);
		pid_t pid;

		wait_for_waiters(stage);
		pid = start_sleeper(stage, WORD);
		cr_assert_eq(native_wake(stage->words + WORD, 1), 1);
		ff_waiters_remove(stage->waiters, slot);
		expect_woken(pid);
	}
	expect_silence(stage, 0);
}

FOR_EACH_KIND(wake_taken_before_the_end_is_passed_on, 60)
{
	pid_t pid;

	stage_add(stage, OTHER, TOKEN);
	stage_add(stage, WORD, TOKEN);
	wait_for_waiters(stage);
	pid = start_sleeper(stage, WORD);
	cr_assert_eq(native_wake(stage->words + WORD, 1), 1);
	ff_waiters_close(stage->waiters);
	expect_woken(pid);
	stage->waiters = NULL;
}

FOR_EACH_KIND(told_are_taken_in_parts, 30)
{
	struct ff_woken woken[3];
	bool told[10] = { false };
	size_t count = 0;

	for (size_t i = 0; i < 10; i++)
		stage_add(stage, i, i);
	for (size_t i = 0; i < 10; i++) {
		stage->words[i] = 1;
		native_wake(stage->words + i, INT_MAX);
	}
	while (count < 10) {
		size_t taken = take(stage, woken, 3, 10000);

		cr_assert_leq(taken, 3);
		for (size_t i = 0; i < taken; i++) {
			cr_assert_lt(woken[i].token, 10);
			count += !told[woken[i].token];
			told[woken[i].token] = true;
		}
	}
}

/* What adding finds of others is not forgotten. */
FOR_EACH_KIND(fd_stays_readable_when_others_come_and_go, 30)
{
	stage_add(stage, WORD, TOKEN);
	for (int i = 0; i < 100; i++) {
		uint32_t slot;

		stage->words[WORD]++;
		native_wake(stage->words + WORD, INT_MAX);
		slot = stage_add(stage, OTHER, TOKEN + 1);
		ff_waiters_remove(stage->waiters, slot);
		cr_assert_eq(take_one(stage).token, TOKEN);
	}
}

/* It may turn out to have nothing; but not for ever. */
FOR_EACH_KIND(fd_is_not_readable_without_need, 30)
{
	struct pollfd pollfd = { ff_waiters_fd(stage->waiters), POLLIN, 0 };
	struct ff_woken woken[2];

	stage_add(stage, WORD, TOKEN);
	while (poll(&pollfd, 1, 20) > 0)
		cr_assert_eq(ff_waiters_take(stage->waiters, woken, 2), 0);
	change_and_wake(stage);
	take_one(stage);
	/* Of threads that were told between, at most. */
	while (poll(&pollfd, 1, 20) > 0)
		ff_waiters_take(stage->waiters, woken, 2);
}

FOR_EACH_KIND(what_cannot_be_waited_on_is_refused, 30)
{
	uint32_t slot;

	cr_expect_eq(ff_waiters_add(stage->waiters, stage->fd, 2, TOKEN,
		&slot), -EINVAL);
	cr_expect_eq(ff_waiters_add(stage->waiters, stage->fd, STAGE_SIZE,
		TOKEN, &slot), -EFAULT);
	cr_expect_eq(ff_waiters_add(stage->waiters, stage->fd,
		(uint64_t)1 << 63, TOKEN, &slot), -EINVAL);
	cr_expect_eq(ff_waiters_add(stage->waiters, -1, 0, TOKEN, &slot),
		-EBADF);
	expect_silence(stage, 0);
}

static void expect_wakes_failing(struct stage *stage, uint32_t slot)
{
	cr_expect_eq(ff_waiters_wake(stage->waiters, slot, 1), -EFAULT);
	ff_waiters_remove(stage->waiters, slot);
}

/* Whether that is told depends on where the waiter is just then: in its wait
 * nothing can reach it, for the address has become bad for all. */
FOR_EACH_KIND(truncated_file_does_no_harm_and_is_told, 60)
{
	bool is_told = false;

	while (!is_told) {
		uint32_t slot = stage_add(stage, WORD, TOKEN);
		struct ff_woken woken;

		wait_for_waiters(stage);
		native_wake(stage->words + WORD, 1);
		cr_assert(ftruncate(stage->fd, 0) == 0);
		while (take(stage, &woken, 1, 20) == 1) {
			cr_assert_eq(woken.token, TOKEN);
			cr_assert(woken.err == 0 || woken.err == -EFAULT);
			is_told |= woken.err == -EFAULT;
		}
		expect_wakes_failing(stage, slot);
		cr_assert(ftruncate(stage->fd, STAGE_SIZE) == 0);
	}
	/* The slot is as good as new. */
	stage_add(stage, WORD, TOKEN + 1);
	change_and_wake(stage);
	cr_expect_eq(take_one(stage).token, TOKEN + 1);
}

FOR_EACH_KIND(truncation_leaves_other_words_alone, 60)
{
	struct stage other;
	uint32_t slot;

	stage_open(&other, FF_WAITERS_THREADS, STAGE_SIZE);
	cr_assert_eq(ff_waiters_add(stage->waiters, other.fd, 0, TOKEN, &slot),
		0);
	stage_add(stage, WORD, TOKEN + 1);
	wait_for_waiters(stage);
	cr_assert(ftruncate(other.fd, 0) == 0);
	for (int i = 0; i < 100; i++) {
		struct ff_woken woken;

		change_and_wake(stage);
		do
			woken = take_one(stage);
		while (woken.token == TOKEN &&
			(woken.err == -EFAULT ||
				is_kind(stage, "futex_waitv")));
		cr_assert(woken.token == TOKEN + 1 && woken.err == 0);
		stage->words[WORD] = 0;
	}
	expect_wakes_failing(stage, slot);
	stage_close(&other);
}

/* Each time with another token, woken all the while. */
FOR_EACH_KIND(removed_one_is_told_no_more, 60)
{
	pid_t pid = start(change_until_killed, stage);

	for (uint64_t i = 1; i < 500; i++) {
		uint32_t slot = stage_add(stage, WORD, i);
		struct ff_woken woken[2];
		size_t count;

		native_wake(stage->words + WORD, 1);
		count = ff_waiters_take(stage->waiters, woken, 2);
		for (size_t k = 0; k < count; k++)
			cr_assert_eq(woken[k].token, i);
		if (i % 2)
			native_wake(stage->words + WORD, 1);
		ff_waiters_remove(stage->waiters, slot);
	}
	stop(pid);
	expect_silence(stage, 0);
}

/* Of all of our threads but this one. */
static void check_signals(void)
{
	DIR *stream = opendir("/proc/self/task");
	const struct dirent *entry;

	while ((entry = readdir(stream))) {
		char path[300], line[256];
		unsigned long long blocked = 0;
		FILE *file;

		if (entry->d_name[0] == '.' || atoi(entry->d_name) == getpid())
			continue;
		snprintf(path, sizeof(path), "/proc/self/task/%s/status",
			entry->d_name);
		file = fopen(path, "re");
		cr_assert_not_null(file);
		while (fgets(line, sizeof(line), file))
			sscanf(line, "SigBlk: %llx", &blocked);
		fclose(file);
		for (int i = 1; i < 32; i++)
			cr_expect(i == SIGKILL || i == SIGSTOP ||
				i == SIGURG || blocked >> (i - 1) & 1,
				"signal %d", i);
	}
	closedir(stream);
}

FOR_EACH_KIND(nothing_is_inherited_and_no_signal_taken, 30)
{
	DIR *stream = opendir("/proc/self/fd");
	const struct dirent *entry;

	stage_add(stage, WORD, TOKEN);
	cr_expect_eq(fcntl(ff_waiters_fd(stage->waiters), F_GETFD), FD_CLOEXEC);
	while ((entry = readdir(stream))) {
		char path[300], target[64] = "";

		snprintf(path, sizeof(path), "/proc/self/fd/%s", entry->d_name);
		if (readlink(path, target, sizeof(target) - 1) > 0 &&
			!strncmp(target, "anon_inode:", 11) &&
			(strstr(target, "io_uring") || strstr(target, "event")))
			cr_expect_eq(fcntl(atoi(entry->d_name), F_GETFD),
				FD_CLOEXEC, "%s", target);
	}
	closedir(stream);
	wait_for_waiters(stage);
	check_signals();
}
