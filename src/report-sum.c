/* SPDX-License-Identifier: MIT */
#include "report-sum.h"

#include "report-stack.h"
#include "report-text.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_KEYS = 2000, MOST_ENGINES = 16, MOST_FENCES = 8000000 };

void ff_sum_init(struct ff_sum *sum)
{
	const struct ff_table count = {
		.item_size = sizeof(struct ff_sum_count), .limit = MOST_KEYS,
	};

	memset(sum, 0, sizeof(*sum));
	sum->choices = sum->reasons = sum->hosts = sum->found = sum->others =
		count;
	sum->requests = (struct ff_table){
		.item_size = sizeof(struct ff_sum_request), .limit = MOST_KEYS,
	};
	sum->sites = (struct ff_table){
		.item_size = sizeof(struct ff_sum_site), .limit = MOST_KEYS,
	};
	sum->engines = (struct ff_table){
		.item_size = sizeof(struct ff_sum_engine),
		.limit = MOST_ENGINES,
	};
	sum->fences = (struct ff_table){
		.item_size = sizeof(struct ff_sum_fence),
		.limit = MOST_FENCES,
	};
}

void ff_sum_free(struct ff_sum *sum)
{
	struct ff_table *const tables[] = { &sum->requests, &sum->sites,
		&sum->engines, &sum->choices, &sum->reasons, &sum->hosts,
		&sum->found, &sum->fences, &sum->others };

	for (size_t i = 0; i < sum->engines.count; i++) {
		struct ff_sum_engine *engine = ff_table_at(&sum->engines, i);

		ff_spread_free(&engine->stopped_us);
		ff_spread_free(&engine->total_us);
	}
	for (size_t i = 0; i < sum->fences.count; i++)
		free(((struct ff_sum_fence *)ff_table_at(&sum->fences, i))
			->name);
	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++)
		ff_table_free(tables[i]);
	ff_waitlog_free(&sum->waits);
}

void ff_sum_split(const char *key, char parts[3][256])
{
	for (int i = 0; i < 3; i++) {
		const char *tab = strchr(key, '\t');
		size_t length = tab && i < 2 ? (size_t)(tab - key) :
			strlen(key);

		snprintf(parts[i], 256, "%.*s", (int)(length < 255 ? length :
			255), key);
		key += length;
		key += *key == '\t';
	}
}

/* One more of these; what and reason may be of the log's. */
static void count(struct ff_table *table, const char *what, const char *reason)
{
	char clean[2][250], key[512];
	struct ff_sum_count *item;

	ff_text_clean(clean[0], sizeof(clean[0]), what);
	ff_text_clean(clean[1], sizeof(clean[1]), reason);
	snprintf(key, sizeof(key), "%s\t%s", clean[0], clean[1]);
	item = ff_table_get(table, key);
	if (item)
		item->count++;
}

void ff_sum_count_site(struct ff_sum *sum, const struct ff_log_event *event,
	enum ff_sum_deed deed)
{
	struct ff_sum_site *site;
	char name[400];

	ff_stack_site_name(json_object_get(event->object, "backtrace"), name,
		sizeof(name));
	site = *name ? ff_table_get(&sum->sites, name) : NULL;
	if (!site)
		return;
	site->crossings += deed == FF_DEED_CROSSING;
	site->fences += deed == FF_DEED_FENCE;
	site->waits += deed == FF_DEED_WAIT;
}

static enum ff_sum_action read_action(const struct ff_log_event *event)
{
	const char *action = ff_log_text(event->object, "action");

	return !strcmp(action, "swapped") ? FF_SUM_SWAPPED :
		!strcmp(action, "failed") ? FF_SUM_FAILED : FF_SUM_LEFT;
}

static void add_crossing(struct ff_sum *sum, const struct ff_log_event *event)
{
	static const char *const names[] = { "left", "swapped", "failed" };
	const char *request = ff_log_text(event->object, "request");
	enum ff_sum_action action = read_action(event);
	char display[120], clean[120], key[256];
	struct ff_sum_request *item;

	ff_text_clean(display, sizeof(display),
		ff_log_text(event->object, "display"));
	ff_text_clean(clean, sizeof(clean), *request ? request : "(unknown)");
	snprintf(key, sizeof(key), "%s\t%s\t%d", display, clean,
		!strcmp(ff_log_text(event->object, "direction"),
			"from_server"));
	item = ff_table_get(&sum->requests, key);
	if (item)
		item->actions[action]++;
	if (action != FF_SUM_SWAPPED)
		count(&sum->reasons, names[action],
			ff_log_text(event->object, "reason"));
	ff_sum_count_site(sum, event, FF_DEED_CROSSING);
	ff_sum_fence_crosses(sum, event);
}

static void add_swap(struct ff_sum *sum, const struct ff_log_event *event)
{
	struct ff_sum_engine *engine;
	char name[32];

	ff_text_clean(name, sizeof(name), ff_log_text(event->object, "engine"));
	engine = ff_table_get(&sum->engines, *name ? name : "(unknown)");
	if (engine) {
		int64_t stopped = ff_log_integer(event->object, "stopped_us",
			0);
		int64_t total = ff_log_integer(event->object, "total_us", 0);

		ff_spread_add(&engine->stopped_us,
			stopped > 0 ? (uint64_t)stopped : 0);
		ff_spread_add(&engine->total_us,
			total > 0 ? (uint64_t)total : 0);
	}
	ff_sum_fence_crosses(sum, event);
}

static void add_end(struct ff_sum *sum, const struct ff_log_event *event)
{
	struct ff_sum_end *end;

	/* Who was watched before an attach, is so no longer; since when, is not
	 * known. Others may go on: they are told of themselves. */
	ff_waitlog_leave(&sum->waits, event->pid,
		strcmp(event->name, "attach") ? event->time_us : 0);
	if (sum->end_count == sizeof(sum->ends) / sizeof(sum->ends[0])) {
		sum->ends_more++;
		return;
	}
	end = &sum->ends[sum->end_count++];
	end->pid = event->pid;
	end->time_us = event->time_us;
	end->status = ff_log_integer(event->object, "status", -1);
	end->signal = ff_log_integer(event->object, "signal", -1);
	ff_text_clean(end->event, sizeof(end->event), event->name);
	ff_text_clean(end->comm, sizeof(end->comm), event->comm);
	ff_text_clean(end->reason, sizeof(end->reason),
		ff_log_text(event->object, "reason"));
}

/* What a host says of its guests and their fences. */
static void add_host(struct ff_sum *sum, const struct ff_log_event *event)
{
	const char *action = ff_log_text(event->object, "action");
	char what[100];

	if (!*action)
		action = ff_log_text(event->object, "state");
	snprintf(what, sizeof(what), "%.20s %.60s", event->name, action);
	count(&sum->hosts, what, ff_log_text(event->object, "reason"));
}

static void add_fence(struct ff_sum *sum, const struct ff_log_event *event)
{
	if (*ff_log_text(event->object, "action"))
		add_host(sum, event);
	else
		ff_sum_fence(sum, event);
}

static void add_engine(struct ff_sum *sum, const struct ff_log_event *event)
{
	count(&sum->choices, ff_log_text(event->object, "engine"),
		ff_log_text(event->object, "reason"));
}

static void add_found(struct ff_sum *sum, const struct ff_log_event *event)
{
	ff_sum_fence_found(sum, event);
	count(&sum->found, ff_log_text(event->object, "action"),
		ff_log_text(event->object, "reason"));
}

static const struct {
	const char *name;
	void (*add)(struct ff_sum *sum, const struct ff_log_event *event);
} kinds[] = {
	{ "crossing", add_crossing },
	{ "swap", add_swap },
	{ "engine", add_engine },
	{ "wake", ff_sum_wake },
	{ "fence", add_fence },
	{ "wait", ff_sum_wait },
	{ "found", add_found },
	{ "exit", add_end },
	{ "attach", add_end },
	{ "detach", add_end },
	{ "host", add_host },
	{ "peer", add_host },
};

void ff_sum_add(struct ff_sum *sum, const struct ff_log_event *event)
{
	int64_t omitted = ff_log_integer(event->object, "omitted", 0);

	if (!sum->events++ || event->time_us < sum->first_us)
		sum->first_us = event->time_us;
	if (event->time_us > sum->last_us)
		sum->last_us = event->time_us;
	sum->omitted += omitted > 0 ? (uint64_t)omitted : 0;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (!strcmp(event->name, kinds[i].name)) {
			kinds[i].add(sum, event);
			return;
		}
	if (strcmp(event->name, "status") != 0)
		count(&sum->others, event->name, "");
}
