/* SPDX-License-Identifier: MIT */
#include "live-print.h"

#include "report-text.h"
#include "symbols.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { COLUMNS = 5, CELL = 144 };

static int compare(const void *a, const void *b)
{
	const struct ff_wait *left = a, *right = b;

	if (left->waited_ns != right->waited_ns)
		return left->waited_ns < right->waited_ns ? 1 : -1;
	return left->actor.tid - right->actor.tid;
}

void ff_live_sort(struct ff_waits *waits)
{
	if (waits->count)
		qsort(waits->list, waits->count, sizeof(*waits->list),
			compare);
}

void ff_live_duration(const struct ff_wait *wait, char text[FF_DURATION])
{
	snprintf(text, FF_DURATION, "%s%.*f s",
		wait->has_time ? "" : "at least ",
		wait->waited_ns < 100000000000u ? 3 : 0,
		(double)wait->waited_ns / 1e9);
}

static void fill_row(const struct ff_wait *wait, char row[COLUMNS][CELL])
{
	bool is_memfd = !strncmp(wait->name, "/memfd:", 7);

	snprintf(row[0], CELL, "%s%s%.40s%s", wait->fence,
		is_memfd ? " (" : "", is_memfd ? wait->name + 7 : "",
		is_memfd ? ")" : "");
	snprintf(row[1], CELL, "%s[%d]", wait->process, wait->actor.pid);
	snprintf(row[2], CELL, "%s[%d]", wait->actor.comm, wait->actor.tid);
	ff_live_duration(wait, row[3]);
	if (wait->has_value && wait->value != wait->expected)
		snprintf(row[4], CELL, "%d, no longer %d%s", (int)wait->value,
			(int)wait->expected, wait->waited_ns < FF_WAKING_NS ? "" :
			": it was not woken");
	else if (wait->has_value)
		snprintf(row[4], CELL, "%d", (int)wait->value);
	else
		snprintf(row[4], CELL, "?");
	for (int i = 0; i < COLUMNS; i++) {
		char raw[CELL];

		/* Names come from clients. */
		memcpy(raw, row[i], CELL);
		ff_text_clean(row[i], CELL, raw);
	}
}

static void put_row(char row[COLUMNS][CELL], const int width[COLUMNS],
	FILE *out)
{
	for (int i = 0; i < COLUMNS - 1; i++)
		fprintf(out, "%-*s  ", width[i], row[i]);
	fprintf(out, "%s\n", row[COLUMNS - 1]);
}

static void put_stack(const struct ff_live *live, size_t i, FILE *out)
{
	char *text;

	if (!live->stacks || !live->stacks[i])
		return;
	text = ff_symbols_print(live->stacks[i], live->ends[i]);
	if (text)
		fputs(text, out);
	free(text);
}

void ff_live_free(struct ff_live *live)
{
	for (size_t i = 0; live->stacks && i < live->waits.count; i++) {
		json_decref(live->stacks[i]);
		free(live->ends[i]);
	}
	free(live->stacks);
	free(live->ends);
	ff_waits_free(&live->waits);
}

int ff_live_print(const struct ff_live *live, FILE *out)
{
	char head[COLUMNS][CELL] = { "FENCE", "PROCESS", "THREAD", "WAITS",
		"VALUE" };
	char row[COLUMNS][CELL];
	int width[COLUMNS];

	for (int i = 0; i < COLUMNS; i++)
		width[i] = (int)strlen(head[i]);
	for (size_t i = 0; i < live->waits.count; i++) {
		fill_row(&live->waits.list[i], row);
		for (int j = 0; j < COLUMNS; j++)
			if ((int)strlen(row[j]) > width[j])
				width[j] = (int)strlen(row[j]);
	}
	if (live->waits.count)
		put_row(head, width, out);
	else
		fputs("nobody waits on a fence\n", out);
	for (size_t i = 0; i < live->waits.count; i++) {
		fill_row(&live->waits.list[i], row);
		put_row(row, width, out);
		put_stack(live, i, out);
	}
	errno = EIO;
	return fflush(out) || ferror(out) ? -1 : 0;
}

static json_t *make_wait(const struct ff_wait *wait)
{
	json_t *object = json_object();
	char address[24];

	snprintf(address, sizeof(address), "0x%llx",
		(unsigned long long)wait->address);
	ff_event_set_text(object, "fence", wait->fence);
	ff_event_set_text(object, "name", wait->name);
	ff_event_set_number(object, "ino", wait->ino);
	ff_event_set_text(object, "address", address);
	ff_event_set_number(object, "pid", (uint64_t)wait->actor.pid);
	ff_event_set_text(object, "process", wait->process);
	ff_event_set_number(object, "tid", (uint64_t)wait->actor.tid);
	ff_event_set_text(object, "comm", wait->actor.comm);
	json_object_set_new(object, "waited_s",
		json_real((double)wait->waited_ns / 1e9));
	ff_event_set_text(object, "waited_by",
		wait->has_time ? "scheduler" : "seen");
	json_object_set_new(object, "value", wait->has_value ?
		json_integer((int)wait->value) : json_null());
	json_object_set_new(object, "expected",
		json_integer((int)wait->expected));
	return object;
}

json_t *ff_live_make_json(const struct ff_live *live)
{
	json_t *array = json_array();

	for (size_t i = 0; i < live->waits.count; i++) {
		json_t *object = make_wait(&live->waits.list[i]);

		if (live->stacks && live->stacks[i])
			json_object_set(object, "backtrace", live->stacks[i]);
		if (live->stacks && live->ends[i])
			ff_event_set_text(object, "backtrace_end",
				live->ends[i]);
		json_array_append_new(array, object);
	}
	return array;
}
