/* SPDX-License-Identifier: MIT */
/* src/futexwatch/sleepers: the futex queues of --isolate. */
#include "futexwatch/sleepers.h"

#include <criterion/criterion.h>
#include <errno.h>

enum { MAX_ANSWERS = 64 };

/* Fences are told apart by their address alone. */
static char fences[2];
#define FENCE(i) ((const struct ff_fence *)(void *)&fences[i])

static struct {
	uint64_t call;
	int error;
} answers[MAX_ANSWERS];
static size_t answer_count;
static uint64_t dead_call;

static int answer(void *context, uint64_t call, int error)
{
	(void)context;
	if (call == dead_call)
		return -ENOENT;
	cr_assert_lt(answer_count, MAX_ANSWERS);
	answers[answer_count].call = call;
	answers[answer_count++].error = error;
	return 0;
}

static bool is_alive(void *context, uint64_t call)
{
	(void)context;
	return call != dead_call;
}

static struct ff_sleepers sleepers = { .answer = answer,
	.is_alive = is_alive };

static void add(uint64_t call, pid_t tid, int fence, uint32_t mask,
	uint64_t deadline_ns)
{
	const struct ff_sleeper sleeper = { call, tid, FENCE(fence), mask,
		deadline_ns };

	cr_assert_eq(ff_sleepers_add(&sleepers, &sleeper), 0);
}

static void add_plain(uint64_t call, pid_t tid)
{
	add(call, tid, 0, UINT32_MAX, FF_SLEEPERS_FOREVER);
}

static void end(void)
{
	ff_sleepers_free(&sleepers);
}

TestSuite(sleepers, .timeout = 10, .fini = end);

Test(sleepers, a_wake_of_one_ends_the_wait_that_came_first)
{
	add_plain(10, 1);
	add_plain(11, 2);
	cr_assert_eq(ff_sleepers_wake(&sleepers, FENCE(0), 1, UINT32_MAX), 1);
	cr_assert_eq(answer_count, 1);
	cr_assert_eq(answers[0].call, 10);
	cr_assert_eq(answers[0].error, 0);
	cr_assert_eq(sleepers.count, 1);
}

Test(sleepers, a_wake_of_all_ends_those_of_its_fence)
{
	add_plain(10, 1);
	add(11, 2, 1, UINT32_MAX, FF_SLEEPERS_FOREVER);
	add_plain(12, 3);
	cr_assert_eq(ff_sleepers_wake(&sleepers, FENCE(0), INT32_MAX,
		UINT32_MAX), 2);
	cr_assert_eq(sleepers.count, 1);
	cr_assert_eq(sleepers.list[0].call, 11);
}

Test(sleepers, a_wake_ends_waits_that_share_a_bit)
{
	add(10, 1, 0, 1, FF_SLEEPERS_FOREVER);
	add(11, 2, 0, 6, FF_SLEEPERS_FOREVER);
	cr_assert_eq(ff_sleepers_wake(&sleepers, FENCE(0), INT32_MAX, 4), 1);
	cr_assert_eq(answers[0].call, 11);
}

Test(sleepers, a_wait_that_a_signal_ended_takes_nobodys_wake)
{
	add_plain(10, 1);
	add_plain(11, 2);
	dead_call = 10;
	cr_assert_eq(ff_sleepers_wake(&sleepers, FENCE(0), 1, UINT32_MAX), 1);
	cr_assert_eq(answers[0].call, 11);
	cr_assert_eq(sleepers.count, 0);
}

Test(sleepers, a_thread_that_waits_anew_waits_once)
{
	add_plain(10, 1);
	add_plain(11, 1);
	cr_assert_eq(sleepers.count, 1);
	cr_assert_eq(sleepers.list[0].call, 11);
}

Test(sleepers, time_ends_a_wait_with_etimedout)
{
	add(10, 1, 0, UINT32_MAX, 100);
	add(11, 2, 0, UINT32_MAX, 200);
	add_plain(12, 3);
	cr_assert_eq(ff_sleepers_deadline_ns(&sleepers), 100);
	ff_sleepers_expire(&sleepers, 99);
	cr_assert_eq(answer_count, 0);
	ff_sleepers_expire(&sleepers, 100);
	cr_assert_eq(answer_count, 1);
	cr_assert_eq(answers[0].call, 10);
	cr_assert_eq(answers[0].error, ETIMEDOUT);
	cr_assert_eq(ff_sleepers_deadline_ns(&sleepers), 200);
	ff_sleepers_expire(&sleepers, 200);
	cr_assert_eq(ff_sleepers_deadline_ns(&sleepers), FF_SLEEPERS_FOREVER);
	cr_assert_eq(sleepers.count, 1);
}

Test(sleepers, the_oldest_call_is_known)
{
	cr_assert_eq(ff_sleepers_oldest(&sleepers), UINT64_MAX);
	add_plain(12, 1);
	add_plain(10, 2);
	cr_assert_eq(ff_sleepers_oldest(&sleepers), 10);
	ff_sleepers_forget(&sleepers, 2);
	cr_assert_eq(ff_sleepers_oldest(&sleepers), 12);
}

Test(sleepers, those_that_signals_ended_are_forgotten)
{
	add_plain(10, 1);
	add_plain(11, 2);
	dead_call = 10;
	ff_sleepers_prune(&sleepers);
	cr_assert_eq(sleepers.count, 1);
	cr_assert_eq(ff_sleepers_oldest(&sleepers), 11);
}

Test(sleepers, thousands_may_wait)
{
	for (int i = 0; i < 5000; i++)
		add_plain((uint64_t)i + 1, i + 1);
	cr_assert_eq(sleepers.count, 5000);
	ff_sleepers_forget(&sleepers, 1);
	cr_assert_eq(sleepers.count, 4999);
	cr_assert_eq(ff_sleepers_oldest(&sleepers), 2);
}
