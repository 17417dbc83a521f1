/* SPDX-License-Identifier: MIT */
#include "report-sum.h"

#include "report-stack.h"
#include "report-text.h"

#include <jansson.h>
#include <string.h>

struct ff_sum_fence *ff_sum_find_fence(const struct ff_sum *sum,
	const char *id)
{
	struct ff_sum_fence *first = ff_table_find(&sum->fences, id);
	struct ff_sum_fence *fence = first;

	while (fence && fence->merged)
		fence = ff_table_at(&sum->fences, fence->merged - 1);
	if (fence != first)
		first->merged = (uint32_t)ff_table_index(&sum->fences, fence) +
			1;
	return fence;
}

/* The event tells that a fence was made: is the one that we know by its id
 * another, of before? (The line may also come after that of its end.) */
static bool is_another(const struct ff_sum_fence *fence,
	const struct ff_log_event *event)
{
	return fence->created_us || (fence->destroyed_us &&
		fence->destroyed_us < event->time_us);
}

/* The fence of that field; made if it is new. NULL if the event has none. */
static struct ff_sum_fence *get_fence(struct ff_sum *sum,
	const struct ff_log_event *event, const char *key)
{
	struct ff_sum_fence *fence;
	char id[FF_FENCE_ID];

	ff_text_clean(id, sizeof(id), ff_log_text(event->object, key));
	if (!*id)
		return NULL;
	fence = ff_sum_find_fence(sum, id);
	if (fence && !strcmp(event->name, "fence") && !strcmp(ff_log_text(
			event->object, "state"), "created") &&
		is_another(fence, event))
		return ff_table_renew(&sum->fences, id);
	return fence ? fence : ff_table_get(&sum->fences, id);
}

uint64_t ff_sum_signals(const struct ff_sum_fence *fence)
{
	uint64_t signals = (uint64_t)fence->wakes_to_host +
		fence->wakes_from_host;

	for (int by = 0; by < FF_BYS; by++)
		signals += fence->by[by];
	return signals;
}

bool ff_sum_is_unsignalled(const struct ff_sum_fence *fence)
{
	return !fence->merged && fence->waits && !ff_sum_signals(fence);
}

static void signal_fence(struct ff_sum_fence *fence, int64_t time_us,
	const char *by)
{
	static const char *const names[FF_BYS] = { "client", "server", "host" };
	int i = 0;

	while (i < FF_BYS - 1 && strcmp(by, names[i]) != 0)
		i++;
	fence->by[strcmp(by, names[i]) ? FF_BY_CLIENT : i]++;
	if (time_us > fence->signalled_us)
		fence->signalled_us = time_us;
}

static void name_fence(struct ff_sum_fence *fence,
	const struct ff_log_event *event)
{
	const char *name = ff_log_text(event->object, "name");
	char clean[64];

	if (fence->name || !*name)
		return;
	ff_text_clean(clean, sizeof(clean), name);
	fence->name = strdup(clean);
}

void ff_sum_fence(struct ff_sum *sum, const struct ff_log_event *event)
{
	const char *state = ff_log_text(event->object, "state");
	struct ff_sum_fence *fence = get_fence(sum, event, "fence");

	sum->fence_events += !strcmp(state, "triggered") ||
		!strcmp(state, "reset");
	if (!strcmp(state, "created"))
		ff_sum_count_site(sum, event, FF_DEED_FENCE);
	if (!fence)
		return;
	name_fence(fence, event);
	if (!strcmp(state, "created")) {
		fence->created_us = event->time_us;
		ff_text_clean(fence->made_by, sizeof(fence->made_by),
			ff_log_text(event->object, "made_by"));
	} else if (!strcmp(state, "reset"))
		fence->resets++;
	else if (!strcmp(state, "triggered"))
		signal_fence(fence, event->time_us,
			ff_log_text(event->object, "by"));
	else if (!strcmp(state, "destroyed"))
		fence->destroyed_us = event->time_us;
}

void ff_sum_fence_found(struct ff_sum *sum, const struct ff_log_event *event)
{
	struct ff_sum_fence *fence = get_fence(sum, event, "fence");

	if (fence)
		name_fence(fence, event);
}

void ff_sum_wait(struct ff_sum *sum, const struct ff_log_event *event)
{
	struct ff_sum_fence *fence = get_fence(sum, event, "fence");
	struct ff_waited waited;
	enum ff_wait_news news = ff_waitlog_add(&sum->waits, event, &waited);

	sum->fence_events++;
	/* One line at most of each has a stack, whichever that is. */
	ff_sum_count_site(sum, event, FF_DEED_WAIT);
	if (!fence)
		return;
	fence->waits += news == FF_WAIT_BEGAN || news == FF_WAIT_WHOLE;
	/* If nothing else has told of it. */
	if ((news == FF_WAIT_ENDED || news == FF_WAIT_WHOLE) &&
		!strcmp(waited.ended, "triggered") && !ff_sum_signals(fence))
		signal_fence(fence, event->time_us, waited.by);
}

void ff_sum_wake(struct ff_sum *sum, const struct ff_log_event *event)
{
	bool to_host = !strcmp(ff_log_text(event->object, "direction"),
		"to_host");
	struct ff_sum_fence *fence = get_fence(sum, event, "fence");

	sum->fence_events++;
	*(to_host ? &sum->wakes_to_host : &sum->wakes_from_host) += 1;
	if (!fence)
		return;
	*(to_host ? &fence->wakes_to_host : &fence->wakes_from_host) += 1;
	if (event->time_us > fence->signalled_us)
		fence->signalled_us = event->time_us;
}

static int64_t earlier(int64_t a, int64_t b)
{
	return !a || (b && b < a) ? b : a;
}

/* from is to, by its earlier id. */
static void merge(struct ff_sum *sum, struct ff_sum_fence *to,
	struct ff_sum_fence *from)
{
	to->created_us = earlier(to->created_us, from->created_us);
	if (from->signalled_us > to->signalled_us)
		to->signalled_us = from->signalled_us;
	for (int by = 0; by < FF_BYS; by++)
		to->by[by] += from->by[by];
	to->wakes_to_host += from->wakes_to_host;
	to->wakes_from_host += from->wakes_from_host;
	to->resets += from->resets;
	to->waits += from->waits;
	to->crossings += from->crossings;
	if (!*to->made_by)
		memcpy(to->made_by, from->made_by, sizeof(to->made_by));
	if (!to->name) {
		to->name = from->name;
		from->name = NULL;
	}
	from->merged = (uint32_t)ff_table_index(&sum->fences, to) + 1;
	ff_waitlog_rename(&sum->waits, from->key, to->key);
}

void ff_sum_fence_crosses(struct ff_sum *sum,
	const struct ff_log_event *event)
{
	struct ff_sum_fence *fence = get_fence(sum, event, "fence"), *was;
	char id[FF_FENCE_ID];
	size_t index;

	if (!fence)
		return;
	name_fence(fence, event);
	if (!strcmp(event->name, "crossing")) {
		fence->crossings++;
		return;
	}
	index = ff_table_index(&sum->fences, fence);
	ff_text_clean(id, sizeof(id), ff_log_text(event->object, "was"));
	was = *id ? ff_table_get(&sum->fences, id) : NULL;
	fence = ff_table_at(&sum->fences, index);
	/* One that was renamed already, is another of before. */
	if (was && was != fence && !was->merged)
		merge(sum, fence, was);
}

void ff_sum_count_fences(const struct ff_sum *sum,
	struct ff_fence_counts *counts)
{
	*counts = (struct ff_fence_counts){ 0 };
	for (size_t i = 0; i < sum->fences.count; i++) {
		const struct ff_sum_fence *fence =
			ff_table_at(&sum->fences, i);

		if (fence->merged)
			continue;
		counts->fences++;
		counts->made += fence->created_us != 0;
		counts->by_engine += *fence->made_by &&
			strcmp(fence->made_by, "client") != 0;
		counts->crossed += fence->crossings != 0;
		counts->destroyed += fence->destroyed_us != 0;
		counts->waited += fence->waits != 0;
		for (int by = 0; by < FF_BYS; by++)
			counts->by[by] += fence->by[by];
	}
}
