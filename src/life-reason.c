/* SPDX-License-Identifier: MIT */
#include "life.h"

#include "clock.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

static bool is_fence_there(struct ff_life *life,
	const struct ff_life_wait *wait, const struct ff_fence *fence)
{
	struct ff_place place;

	return ff_places_find(life->places, wait->actor.tid, wait->address,
			&place) == 0 && place.dev == fence->standin.dev &&
		place.ino == fence->standin.ino;
}

/* Does anybody else wait there since it began? Then the word, though it is as
 * it was, has changed in between. */
static bool was_reused(const struct ff_life *life,
	const struct ff_life_wait *wait)
{
	for (size_t i = 0; i < life->waits.count; i++)
		if (life->waits.list[i].fence == wait->fence &&
			life->waits.list[i].begin_ns > wait->begin_ns)
			return true;
	return false;
}

bool ff_life_is_ending(pid_t tid)
{
	char path[32], link[8];

	snprintf(path, sizeof(path), "/proc/%d/exe", tid);
	return readlink(path, link, sizeof(link)) < 0 &&
		(errno == ENOENT || errno == ESRCH);
}

const char *ff_life_find_reason(struct ff_life *life,
	const struct ff_life_wait *wait, const struct ff_fence *fence,
	bool same_call, uint32_t *value)
{
	if (!fence)
		return "gone";
	/* Whether it was triggered before, the word does not tell: that the end
	 * of a client destroys its fences, and triggers them so, is the
	 * server's way. But who ends of his own accord was seen before. */
	if (wait->is_doomed || (!wait->by && ff_life_is_ending(wait->actor.tid)))
		return "gone";
	/* One that we have no fd of is gone when it is unmapped, after use. */
	if (ff_fence_read(fence, value) < 0)
		return fence->standin.fd < 0 ? "triggered" : "gone";
	if (!wait->by && wait->is_lost && *value != wait->expected)
		return "interrupted";
	if (wait->by || *value != wait->expected)
		return "triggered";
	/* By exec, or with the whole process. */
	if (!is_fence_there(life, wait, fence))
		return "gone";
	if (ff_now_ns() >= wait->timeout_ns)
		return "timeout";
	return same_call || was_reused(life, wait) ? "triggered" :
		"interrupted";
}
