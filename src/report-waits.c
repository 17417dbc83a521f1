/* SPDX-License-Identifier: MIT */
#include "report-waits.h"

#include "report-stack.h"
#include "report-text.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* The end of a shorter wait is never told before a line that it goes on. */
static const uint64_t told_twice_us = 500000;

static bool is_same(const struct ff_waited *a, const struct ff_waited *b)
{
	return a->tid == b->tid && a->begin_us == b->begin_us;
}

static struct ff_waited *find_open(struct ff_waitlog *waits,
	const struct ff_waited *wanted)
{
	for (size_t i = 0; i < waits->open_count; i++)
		if (is_same(&waits->open[i], wanted))
			return &waits->open[i];
	return NULL;
}

static bool has_ended(const struct ff_waitlog *waits,
	const struct ff_waited *wanted)
{
	for (size_t i = 0; i < waits->recent_count && i < FF_WAITLOG_RECENT; i++)
		if (waits->recent[i].tid == wanted->tid &&
			waits->recent[i].begin_us == wanted->begin_us)
			return true;
	return false;
}

static void give_stack(struct ff_waitlog *waits, struct ff_waited *waited,
	const json_t *stack)
{
	if (waited->stack || waits->stacks >= FF_WAITLOG_STACKS)
		return;
	waited->stack = ff_stack_keep(stack);
	waits->stacks += waited->stack != NULL;
}

static void drop_stack(struct ff_waitlog *waits, struct ff_waited *waited)
{
	waits->stacks -= waited->stack != NULL;
	json_decref(waited->stack);
	waited->stack = NULL;
}

/* It has ended: among the longest? Takes its stack. */
static void rank(struct ff_waitlog *waits, struct ff_waited *waited)
{
	size_t i = waits->longest_count;

	if (i < FF_WAITLOG_LONGEST)
		waits->longest_count++;
	else if (waits->longest[--i].waited_us < waited->waited_us)
		drop_stack(waits, &waits->longest[i]);
	else {
		drop_stack(waits, waited);
		return;
	}
	for (; i && waits->longest[i - 1].waited_us < waited->waited_us; i--)
		waits->longest[i] = waits->longest[i - 1];
	waits->longest[i] = *waited;
}

static void count_kind(struct ff_waitlog *waits, const struct ff_waited *waited)
{
	const size_t most = sizeof(waits->kinds) / sizeof(waits->kinds[0]);
	struct ff_waitlog_kind *kind = waits->kinds;
	size_t i = 0;

	while (i < waits->kind_count && (strcmp(kind[i].ended, waited->ended) ||
			strcmp(kind[i].by, waited->by)))
		i++;
	if (i == most)
		i--;
	else if (i == waits->kind_count) {
		const bool is_last = ++waits->kind_count == most;

		ff_text_clean(kind[i].ended, sizeof(kind[i].ended), is_last ?
			"(others)" : waited->ended);
		ff_text_clean(kind[i].by, sizeof(kind[i].by), is_last ? "" :
			waited->by);
	}
	kind[i].count++;
}

static void end_wait(struct ff_waitlog *waits, struct ff_waited *open,
	struct ff_waited *now)
{
	ff_spread_add(&waits->times, now->waited_us);
	count_kind(waits, now);
	if (now->waited_us >= told_twice_us || open) {
		size_t i = waits->recent_count++ % FF_WAITLOG_RECENT;

		waits->recent[i].tid = now->tid;
		waits->recent[i].begin_us = now->begin_us;
	}
	if (open) {
		if (now->stack)
			drop_stack(waits, open);
		else
			now->stack = open->stack;
		*open = waits->open[--waits->open_count];
	}
	rank(waits, now);
}

/* A line that comes late: of use for its stack alone. */
static void add_late(struct ff_waitlog *waits, const struct ff_waited *now,
	const json_t *stack)
{
	for (size_t i = 0; i < waits->longest_count; i++)
		if (is_same(&waits->longest[i], now))
			give_stack(waits, &waits->longest[i], stack);
}

/* A thread that waits anew waits no more as it did before: whoever watched it
 * then was killed, and could not tell. */
static void leave_earlier(struct ff_waitlog *waits, const struct ff_waited *now)
{
	for (size_t i = 0; now->tid && i < waits->open_count; i++)
		if (waits->open[i].tid == now->tid &&
			waits->open[i].begin_us < now->begin_us)
			waits->open[i].is_over = true;
}

void ff_wait_read(const struct ff_log_event *event, struct ff_waited *now)
{
	int64_t waited_us = ff_log_seconds(event->object, "waited_s", 0);

	*now = (struct ff_waited){
		.pid = event->pid,
		.tid = event->tid,
		.begin_us = ff_log_seconds(event->object, "begin",
			event->time_us - waited_us),
		.waited_us = (uint64_t)waited_us,
		.resolution_us = (uint64_t)ff_log_seconds(event->object,
			"resolution_s", 0),
		.has_value = json_is_integer(json_object_get(event->object,
			"value")),
		.value = ff_log_integer(event->object, "value", 0),
		.expected = ff_log_integer(event->object, "expected", 0),
		.is_over = json_is_true(json_object_get(event->object, "last")),
	};
	ff_text_clean(now->comm, sizeof(now->comm), event->comm);
	ff_text_clean(now->fence, sizeof(now->fence),
		ff_log_text(event->object, "fence"));
	ff_text_clean(now->ended, sizeof(now->ended),
		ff_log_text(event->object, "ended"));
	ff_text_clean(now->by, sizeof(now->by), ff_log_text(event->object, "by"));
}

enum ff_wait_news ff_waitlog_add(struct ff_waitlog *waits,
	const struct ff_log_event *event, struct ff_waited *waited)
{
	const json_t *stack = json_object_get(event->object, "backtrace");
	struct ff_waited now, *open;
	bool is_known;

	ff_wait_read(event, &now);
	if (waited)
		*waited = now;
	open = find_open(waits, &now);
	is_known = open != NULL;
	leave_earlier(waits, &now);
	if (!open && has_ended(waits, &now)) {
		add_late(waits, &now, stack);
		return FF_WAIT_KNOWN;
	}
	if (*now.ended) {
		give_stack(waits, &now, stack);
		end_wait(waits, open, &now);
		return is_known ? FF_WAIT_ENDED : FF_WAIT_WHOLE;
	}
	if (!open && waits->open_count == FF_WAITLOG_OPEN)
		waits->untold++;
	else if (!open) {
		open = &waits->open[waits->open_count++];
		*open = now;
	}
	if (open && now.waited_us > open->waited_us) {
		open->waited_us = now.waited_us;
		open->has_value = now.has_value;
		open->value = now.value;
		open->expected = now.expected;
	}
	if (open) {
		open->is_over |= now.is_over;
		give_stack(waits, open, stack);
	}
	return is_known ? FF_WAIT_GOES_ON : FF_WAIT_BEGAN;
}

uint64_t ff_waited_until(const struct ff_waited *waited, int64_t time_us)
{
	uint64_t us = time_us > waited->begin_us ?
		(uint64_t)(time_us - waited->begin_us) : 0;

	return waited->is_over || us < waited->waited_us ? waited->waited_us :
		us;
}

void ff_waitlog_leave(struct ff_waitlog *waits, int64_t pid, int64_t time_us)
{
	for (size_t i = 0; i < waits->open_count; i++) {
		struct ff_waited *open = &waits->open[i];

		if (open->pid != pid)
			continue;
		open->waited_us = ff_waited_until(open, time_us);
		open->is_over = true;
	}
}

static void rename_one(struct ff_waited *waited, const char *was,
	const char *is)
{
	if (!strcmp(waited->fence, was))
		ff_text_clean(waited->fence, sizeof(waited->fence), is);
}

void ff_waitlog_rename(struct ff_waitlog *waits, const char *was,
	const char *is)
{
	for (size_t i = 0; i < waits->open_count; i++)
		rename_one(&waits->open[i], was, is);
	for (size_t i = 0; i < waits->longest_count; i++)
		rename_one(&waits->longest[i], was, is);
}

void ff_waitlog_free(struct ff_waitlog *waits)
{
	for (size_t i = 0; i < waits->open_count; i++)
		drop_stack(waits, &waits->open[i]);
	for (size_t i = 0; i < waits->longest_count; i++)
		drop_stack(waits, &waits->longest[i]);
	waits->open_count = waits->longest_count = 0;
	ff_spread_free(&waits->times);
}
