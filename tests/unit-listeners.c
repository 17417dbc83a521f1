/* SPDX-License-Identifier: MIT */
/* Listeners take turns, and end one by one. Pipes poll as listeners do. */
#include "listeners.h"

#include <criterion/criterion.h>
#include <unistd.h>

enum { COUNT = 3, TEST_TIMEOUT_S = 30 };

static struct ff_listener all[COUNT];
static struct ff_listeners listeners = { .all = all, .count = COUNT };
static int ends[COUNT]; /* to write to */

static void open_all(void)
{
	for (int i = 0; i < COUNT; i++) {
		int pair[2];

		cr_assert_eq(pipe(pair), 0);
		all[i].fd = pair[0];
		ends[i] = pair[1];
	}
}

/* Poll, without waiting; the index of the one that is ready, or -1. */
static int ready(void)
{
	struct pollfd fds[COUNT];
	struct ff_listener *one;

	ff_listeners_want(&listeners, fds);
	cr_assert_geq(poll(fds, COUNT, 0), 0);
	one = ff_listeners_ready(&listeners, fds);
	return one ? (int)(one - all) : -1;
}

static void call(int index)
{
	cr_assert_eq(write(ends[index], "x", 1), 1);
}

static void take(int index)
{
	char byte;

	cr_assert_eq(read(all[index].fd, &byte, 1), 1);
}

Test(listeners, none_is_ready_while_none_is_called, .init = open_all,
	.timeout = TEST_TIMEOUT_S)
{
	cr_assert_eq(ready(), -1);
	call(1);
	cr_assert_eq(ready(), 1);
	take(1);
	cr_assert_eq(ready(), -1);
	cr_assert_not(ff_listeners_are_over(&listeners));
	cr_assert_not(ff_listeners_have_hung_up(&listeners));
}

/* One whose client calls without end does not starve the others. */
Test(listeners, take_turns, .init = open_all, .timeout = TEST_TIMEOUT_S)
{
	int served[COUNT] = { 0 };

	for (int i = 0; i < COUNT; i++)
		call(i);
	for (int i = 0; i < 10 * COUNT; i++)
		served[ready()]++;
	for (int i = 0; i < COUNT; i++)
		cr_assert_eq(served[i], 10, "%d was served %d times", i,
			served[i]);
}

/* What came before the end is still served. */
Test(listeners, are_over_when_all_hung_up, .init = open_all,
	.timeout = TEST_TIMEOUT_S)
{
	call(2);
	for (int i = 0; i < COUNT; i++)
		close(ends[i]);
	cr_assert(ff_listeners_have_hung_up(&listeners));
	cr_assert_eq(ready(), 2);
	cr_assert_not(ff_listeners_are_over(&listeners));
	cr_assert_eq(ready(), 2);
	take(2);
	cr_assert_eq(ready(), -1);
	cr_assert(ff_listeners_are_over(&listeners));
	cr_assert_eq(ready(), -1, "the dead are not polled again");
}

/* However many there are, those who call are not kept waiting by the others. */
Test(listeners, that_are_silent_are_looked_at_in_turn, .timeout = 20)
{
	enum { MANY = 30, LOUD = 17, ROUNDS = 8 };
	struct ff_legacy legacies[MANY] = { 0 };
	struct ff_listener many[MANY] = { 0 };
	struct ff_listeners these = { .all = many, .count = MANY };
	size_t looks[MANY] = { 0 }, in_round;

	for (size_t i = 0; i < MANY; i++)
		many[i].legacy = &legacies[i];
	many[3].is_over = true;
	while (these.rounds < ROUNDS) {
		in_round = 0;
		legacies[LOUD].last_received++;
		for (size_t i = 0; i < MANY; i++)
			if (ff_listeners_look_at(&these, i)) {
				looks[i]++;
				in_round++;
			}
		cr_expect(in_round <= FF_LISTENERS_LOOK + 1);
	}
	for (size_t i = 0; i < MANY; i++)
		cr_expect_eq(looks[i], i == LOUD ? ROUNDS : i != 3, "%zu", i);
}
