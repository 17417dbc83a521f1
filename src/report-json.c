/* SPDX-License-Identifier: MIT */
#include "config.h"
#include "report-print.h"

#include "report-stack.h"
#include "report-text.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static void set_number(json_t *object, const char *key, uint64_t number)
{
	json_object_set_new(object, key, json_integer((json_int_t)number));
}

static void set_seconds(json_t *object, const char *key, uint64_t us)
{
	json_object_set_new(object, key, json_real((double)us / 1e6));
}

/* "" is null. */
static void set_text(json_t *object, const char *key, const char *text)
{
	json_object_set_new(object, key, text && *text ? json_string(text) :
		json_null());
}

static json_t *make_requests(const struct ff_sum *sum)
{
	json_t *array = json_array();

	for (size_t i = 0; i < sum->requests.count; i++) {
		const struct ff_sum_request *request =
			ff_table_at(&sum->requests, i);
		json_t *object = json_object();
		char parts[3][256];

		ff_sum_split(request->key, parts);
		set_text(object, "display", parts[0]);
		set_text(object, "request", parts[1]);
		set_text(object, "direction", parts[2][0] == '1' ?
			"from_server" : "to_server");
		set_number(object, "left", request->actions[FF_SUM_LEFT]);
		set_number(object, "swapped",
			request->actions[FF_SUM_SWAPPED]);
		set_number(object, "failed", request->actions[FF_SUM_FAILED]);
		json_array_append_new(array, object);
	}
	return array;
}

static json_t *make_sites(const struct ff_sum *sum)
{
	json_t *array = json_array();

	for (size_t i = 0; i < sum->sites.count; i++) {
		const struct ff_sum_site *site = ff_table_at(&sum->sites, i);
		json_t *object = json_object();

		set_text(object, "site", site->key);
		set_number(object, "crossings", site->crossings);
		set_number(object, "fences", site->fences);
		set_number(object, "waits", site->waits);
		json_array_append_new(array, object);
	}
	return array;
}

static json_t *make_swaps(const struct ff_sum *sum)
{
	json_t *array = json_array();

	for (size_t i = 0; i < sum->engines.count; i++) {
		const struct ff_sum_engine *engine =
			ff_table_at(&sum->engines, i);
		json_t *object = json_object();

		set_text(object, "engine", engine->key);
		set_number(object, "count", engine->total_us.count);
		set_number(object, "stopped_us_median",
			ff_spread_median(&engine->stopped_us));
		set_number(object, "stopped_us_max", engine->stopped_us.max);
		set_number(object, "total_us_median",
			ff_spread_median(&engine->total_us));
		set_number(object, "total_us_max", engine->total_us.max);
		json_array_append_new(array, object);
	}
	return array;
}

/* What was counted; what is the name of the key's first part. */
static json_t *make_counts(const struct ff_table *table, const char *what)
{
	json_t *array = json_array();

	for (size_t i = 0; i < table->count; i++) {
		const struct ff_sum_count *count = ff_table_at(table, i);
		json_t *object = json_object();
		char parts[3][256];

		ff_sum_split(count->key, parts);
		set_text(object, what, parts[0]);
		set_text(object, "reason", parts[1]);
		set_number(object, "count", count->count);
		json_array_append_new(array, object);
	}
	return array;
}

static json_t *make_fences(const struct ff_sum *sum)
{
	json_t *object = json_object(), *signals = json_object();
	json_t *unsignalled = json_array();
	struct ff_fence_counts counts;

	ff_sum_count_fences(sum, &counts);
	set_number(object, "seen", counts.fences);
	set_number(object, "made", counts.made);
	set_number(object, "made_by_engine", counts.by_engine);
	set_number(object, "crossed", counts.crossed);
	set_number(object, "destroyed", counts.destroyed);
	set_number(object, "waited_for", counts.waited);
	set_number(signals, "client", counts.by[FF_BY_CLIENT]);
	set_number(signals, "server", counts.by[FF_BY_SERVER]);
	set_number(signals, "host", counts.by[FF_BY_HOST]);
	json_object_set_new(object, "signalled_by", signals);
	set_number(object, "wakes_to_host", sum->wakes_to_host);
	set_number(object, "wakes_from_host", sum->wakes_from_host);
	for (size_t i = 0; i < sum->fences.count; i++) {
		const struct ff_sum_fence *fence =
			ff_table_at(&sum->fences, i);
		json_t *item;

		if (!ff_sum_is_unsignalled(fence))
			continue;
		item = json_object();
		set_text(item, "fence", fence->key);
		set_text(item, "name", fence->name);
		set_number(item, "waits", fence->waits);
		json_object_set_new(item, "destroyed",
			json_boolean(fence->destroyed_us));
		json_array_append_new(unsignalled, item);
	}
	json_object_set_new(object, "never_signalled", unsignalled);
	json_object_set_new(object, "signals_are_seen",
		json_boolean(sum->fence_events));
	return object;
}

static json_t *make_wait(const struct ff_waited *wait, uint64_t waited_us)
{
	json_t *object = json_object();

	set_text(object, "fence", wait->fence);
	set_number(object, "pid", (uint64_t)wait->pid);
	set_number(object, "tid", (uint64_t)wait->tid);
	set_text(object, "comm", wait->comm);
	json_object_set_new(object, "begin",
		json_real((double)wait->begin_us / 1e6));
	set_seconds(object, "waited_s", waited_us);
	if (wait->has_value && !*wait->ended) {
		json_object_set_new(object, "expected",
			json_integer(wait->expected));
		json_object_set_new(object, "value", json_integer(wait->value));
	}
	set_seconds(object, "resolution_s", wait->resolution_us);
	set_text(object, "ended", wait->ended);
	set_text(object, "by", wait->by);
	if (wait->is_over)
		json_object_set_new(object, "last", json_true());
	if (wait->stack)
		json_object_set(object, "backtrace", wait->stack);
	return object;
}

static json_t *make_waits(const struct ff_sum *sum)
{
	const struct ff_waitlog *waits = &sum->waits;
	json_t *object = json_object(), *open = json_array();
	json_t *longest = json_array(), *ended = json_array();

	for (size_t i = 0; i < waits->open_count; i++)
		json_array_append_new(open, make_wait(&waits->open[i],
			ff_waited_until(&waits->open[i], sum->last_us)));
	for (size_t i = 0; i < waits->longest_count; i++)
		json_array_append_new(longest, make_wait(&waits->longest[i],
			waits->longest[i].waited_us));
	for (size_t i = 0; i < waits->kind_count; i++) {
		json_t *kind = json_object();

		set_text(kind, "ended", waits->kinds[i].ended);
		set_text(kind, "by", waits->kinds[i].by);
		set_number(kind, "count", waits->kinds[i].count);
		json_array_append_new(ended, kind);
	}
	json_object_set_new(object, "not_ended", open);
	set_number(object, "not_ended_more", waits->untold);
	json_object_set_new(object, "ended", ended);
	set_seconds(object, "median_s", ff_spread_median(&waits->times));
	set_seconds(object, "max_s", waits->times.max);
	json_object_set_new(object, "longest", longest);
	return object;
}

static json_t *make_ends(const struct ff_sum *sum)
{
	json_t *array = json_array();

	for (size_t i = 0; i < sum->end_count; i++) {
		const struct ff_sum_end *end = &sum->ends[i];
		json_t *object = json_object();

		set_text(object, "event", end->event);
		set_seconds(object, "time", (uint64_t)end->time_us);
		set_number(object, "pid", (uint64_t)end->pid);
		set_text(object, "comm", end->comm);
		set_text(object, "reason", end->reason);
		if (end->status >= 0)
			set_number(object, "status", (uint64_t)end->status);
		if (end->signal >= 0)
			set_number(object, "signal", (uint64_t)end->signal);
		json_array_append_new(array, object);
	}
	return array;
}

static json_t *make_log(const struct ff_sum *sum,
	const struct ff_log_facts *facts)
{
	json_t *object = json_object();
	char path[1024];

	ff_text_clean(path, sizeof(path), facts->path);
	set_text(object, "path", path);
	set_number(object, "events", sum->events);
	set_number(object, "lines", facts->lines);
	set_number(object, "broken_lines", facts->broken_lines);
	json_object_set_new(object, "unfinished",
		json_boolean(facts->is_unfinished));
	set_number(object, "omitted", sum->omitted);
	set_seconds(object, "first", (uint64_t)sum->first_us);
	set_seconds(object, "last", (uint64_t)sum->last_us);
	return object;
}

int ff_report_json(FILE *out, const struct ff_sum *sum,
	const struct ff_log_facts *facts)
{
	json_t *object = json_object();
	char *text;

	json_object_set_new(object, "version", json_string(PACKAGE_VERSION));
	json_object_set_new(object, "log", make_log(sum, facts));
	json_object_set_new(object, "crossings", make_requests(sum));
	json_object_set_new(object, "not_swapped",
		make_counts(&sum->reasons, "action"));
	json_object_set_new(object, "sites", make_sites(sum));
	json_object_set_new(object, "swaps", make_swaps(sum));
	json_object_set_new(object, "engines",
		make_counts(&sum->choices, "engine"));
	json_object_set_new(object, "fences", make_fences(sum));
	json_object_set_new(object, "waits", make_waits(sum));
	json_object_set_new(object, "found", make_counts(&sum->found,
		"action"));
	json_object_set_new(object, "host", make_counts(&sum->hosts, "what"));
	json_object_set_new(object, "other_events",
		make_counts(&sum->others, "event"));
	json_object_set_new(object, "ends", make_ends(sum));
	text = json_dumps(object, JSON_INDENT(2) | JSON_ENSURE_ASCII |
		JSON_REAL_PRECISION(16));
	json_decref(object);
	/* The one control character that it leaves as it is. */
	for (char *c = text; c && *c; c++)
		if (*c == 127)
			*c = '?';
	if (text)
		fprintf(out, "%s\n", text);
	free(text);
	return text ? 0 : -1;
}
