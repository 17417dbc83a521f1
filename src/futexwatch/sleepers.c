/* SPDX-License-Identifier: MIT */
#include "sleepers.h"

#include <errno.h>
#include <stdlib.h>

/* Lists are filtered in place. */
static void keep(struct ff_sleepers *sleepers, size_t *kept, size_t i)
{
	sleepers->list[(*kept)++] = sleepers->list[i];
}

void ff_sleepers_forget(struct ff_sleepers *sleepers, pid_t tid)
{
	size_t kept = 0;

	for (size_t i = 0; i < sleepers->count; i++)
		if (sleepers->list[i].tid != tid)
			keep(sleepers, &kept, i);
	sleepers->count = kept;
}

int ff_sleepers_add(struct ff_sleepers *sleepers,
	const struct ff_sleeper *sleeper)
{
	/* A thread is in one call: what it was in before, a signal ended. */
	ff_sleepers_forget(sleepers, sleeper->tid);
	if (sleepers->count == sleepers->room) {
		size_t room = sleepers->room ? 2 * sleepers->room : 32;
		void *more = realloc(sleepers->list,
			room * sizeof(*sleepers->list));

		if (!more)
			return -ENOMEM;
		sleepers->list = more;
		sleepers->room = room;
	}
	sleepers->list[sleepers->count++] = *sleeper;
	return 0;
}

uint32_t ff_sleepers_wake(struct ff_sleepers *sleepers,
	const struct ff_fence *fence, uint32_t count, uint32_t mask)
{
	uint32_t woken = 0;
	size_t kept = 0;

	for (size_t i = 0; i < sleepers->count; i++) {
		const struct ff_sleeper *sleeper = &sleepers->list[i];

		if (sleeper->fence != fence || !(sleeper->mask & mask) ||
			woken == count)
			keep(sleepers, &kept, i);
		else if (sleepers->answer(sleepers->context, sleeper->call,
				0) == 0)
			woken++;
	}
	sleepers->count = kept;
	return woken;
}

void ff_sleepers_expire(struct ff_sleepers *sleepers, uint64_t now_ns)
{
	size_t kept = 0;

	for (size_t i = 0; i < sleepers->count; i++)
		if (sleepers->list[i].deadline_ns > now_ns)
			keep(sleepers, &kept, i);
		else
			sleepers->answer(sleepers->context, sleepers->list[i].call,
				ETIMEDOUT);
	sleepers->count = kept;
}

void ff_sleepers_prune(struct ff_sleepers *sleepers)
{
	size_t kept = 0;

	for (size_t i = 0; i < sleepers->count; i++)
		if (sleepers->is_alive(sleepers->context,
			sleepers->list[i].call))
			keep(sleepers, &kept, i);
	sleepers->count = kept;
}

uint64_t ff_sleepers_deadline_ns(const struct ff_sleepers *sleepers)
{
	uint64_t deadline = FF_SLEEPERS_FOREVER;

	for (size_t i = 0; i < sleepers->count; i++)
		if (sleepers->list[i].deadline_ns < deadline)
			deadline = sleepers->list[i].deadline_ns;
	return deadline;
}

uint64_t ff_sleepers_oldest(const struct ff_sleepers *sleepers)
{
	uint64_t oldest = UINT64_MAX;

	for (size_t i = 0; i < sleepers->count; i++)
		if (sleepers->list[i].call < oldest)
			oldest = sleepers->list[i].call;
	return oldest;
}

void ff_sleepers_free(struct ff_sleepers *sleepers)
{
	free(sleepers->list);
	sleepers->list = NULL;
	sleepers->count = sleepers->room = 0;
}
