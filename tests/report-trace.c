/* SPDX-License-Identifier: MIT */
/*
 * Is this a trace as viewers want it? As the Trace Event Format says, and as
 * strict as Perfetto is about spans that overlap.
 */
#include "report-run.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

struct span {
	long long pid, tid, begin, end;
	size_t index;
};

static long long integer(json_t *event, const char *key)
{
	json_t *value = json_object_get(event, key);

	cr_assert(json_is_integer(value), "no %s in %s", key,
		json_dumps(event, 0));
	return json_integer_value(value);
}

static const char *text(json_t *event, const char *key)
{
	json_t *value = json_object_get(event, key);

	cr_assert(json_is_string(value), "no %s in %s", key,
		json_dumps(event, 0));
	return json_string_value(value);
}

/* By track and begin; what contains another comes first. */
static int compare(const void *a, const void *b)
{
	const struct span *x = a, *y = b;

	if (x->pid != y->pid)
		return x->pid < y->pid ? -1 : 1;
	if (x->tid != y->tid)
		return x->tid < y->tid ? -1 : 1;
	if (x->begin != y->begin)
		return x->begin < y->begin ? -1 : 1;
	/* Perfetto goes by what comes first in the file. */
	return x->index < y->index ? -1 : 1;
}

static bool is_same_track(const struct span *x, const struct span *y)
{
	return x->pid == y->pid && x->tid == y->tid;
}

static void check_nesting(struct span *spans, size_t count)
{
	size_t *stack = calloc(count + 1, sizeof(*stack)), depth = 0;

	qsort(spans, count, sizeof(*spans), compare);
	for (size_t i = 0; i < count; i++) {
		const struct span *span = &spans[i], *above;

		while (depth && (!is_same_track(&spans[stack[depth - 1]],
				span) ||
				spans[stack[depth - 1]].end <= span->begin))
			depth--;
		above = depth ? &spans[stack[depth - 1]] : span;
		cr_assert(span->end <= above->end, "tid %lld: %lld to %lld "
			"overlaps %lld to %lld", span->tid, span->begin,
			span->end, above->begin, above->end);
		stack[depth++] = i;
	}
	free(stack);
}

static bool has_name(json_t *events, const char *what, long long pid,
	long long tid)
{
	json_t *event;
	size_t i;

	json_array_foreach(events, i, event)
		if (!strcmp(text(event, "ph"), "M") &&
			!strcmp(text(event, "name"), what) &&
			integer(event, "pid") == pid &&
			(tid < 0 || integer(event, "tid") == tid) &&
			*text(json_object_get(event, "args"), "name"))
			return true;
	return false;
}

/* An arrow that begins has an end, which is not before it. */
static void check_flow(json_t *events, json_t *from)
{
	unsigned int ends = 0;
	json_t *event;
	size_t i;

	json_array_foreach(events, i, event)
		if (!strcmp(text(event, "ph"), "f") &&
			integer(event, "id") == integer(from, "id")) {
			cr_assert_str_eq(text(event, "bp"), "e");
			cr_assert_geq(integer(event, "ts"),
				integer(from, "ts"));
			ends++;
		}
	cr_assert_eq(ends, 1);
}

static void check_event(json_t *events, json_t *event)
{
	const char *phase = text(event, "ph");
	long long pid = integer(event, "pid"), tid = integer(event, "tid");

	cr_assert(strlen(phase) == 1 && strchr("MXisf", *phase), "phase %s",
		phase);
	cr_assert(*text(event, "name") && *text(event, "cat"));
	cr_assert_geq(integer(event, "ts"), 0);
	cr_assert(pid > 0 && tid > 0);
	if (*phase == 'M')
		return;
	cr_assert(has_name(events, "process_name", pid, -1), "pid %lld", pid);
	cr_assert(has_name(events, "thread_name", pid, tid), "tid %lld", tid);
	if (*phase == 'X')
		cr_assert_geq(integer(event, "dur"), 0);
	if (*phase == 'i')
		cr_assert_str_eq(text(event, "s"), "t");
	if (*phase == 's')
		check_flow(events, event);
}

unsigned int report_check_trace(json_t *trace, const char *phase)
{
	json_t *events = json_object_get(trace, "traceEvents"), *event;
	size_t i, count = 0, size = json_array_size(events);
	struct span *spans = calloc(size + 1, sizeof(*spans));
	unsigned int found = 0;

	cr_assert(spans && json_is_array(events));
	json_array_foreach(events, i, event) {
		check_event(events, event);
		found += !strcmp(text(event, "ph"), phase);
		if (strcmp(text(event, "ph"), "X") != 0)
			continue;
		spans[count].pid = integer(event, "pid");
		spans[count].tid = integer(event, "tid");
		spans[count].begin = integer(event, "ts");
		spans[count].end = spans[count].begin + integer(event, "dur");
		spans[count].index = i;
		count++;
	}
	check_nesting(spans, count);
	free(spans);
	return found;
}

json_t *report_find(json_t *trace, const char *phase, const char *name)
{
	json_t *event;
	size_t i;

	json_array_foreach(json_object_get(trace, "traceEvents"), i, event)
		if (!strcmp(text(event, "ph"), phase) &&
			!strcmp(text(event, "name"), name))
			return event;
	return NULL;
}
