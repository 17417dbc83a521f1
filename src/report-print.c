/* SPDX-License-Identifier: MIT */
#include "report-print.h"

#include "report-stack.h"
#include "report-text.h"
#include "waits.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MOST_LINES = 40, MOST_FRAMES = 32 };

struct page {
	FILE *out;
	unsigned int columns;
};

/* One line, cut to the page. */
static void line(const struct page *page, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void line(const struct page *page, const char *format, ...)
{
	char text[2048];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	ff_text_put(page->out, text, page->columns);
	putc('\n', page->out);
}

static void head(const struct page *page, const char *text)
{
	putc('\n', page->out);
	line(page, "%s", text);
}

struct ranked {
	void *item;
	uint64_t number;
	size_t index;
};

static int compare_ranked(const void *a, const void *b)
{
	const struct ranked *x = a, *y = b;

	if (x->number != y->number)
		return x->number < y->number ? 1 : -1;
	return x->index < y->index ? -1 : 1;
}

void **ff_report_sort(const struct ff_table *table, ff_report_number *number)
{
	struct ranked *ranked = calloc(table->count + 1, sizeof(*ranked));
	void **items = calloc(table->count + 1, sizeof(*items));

	for (size_t i = 0; ranked && items && i < table->count; i++) {
		ranked[i].item = ff_table_at(table, i);
		ranked[i].number = number(ranked[i].item);
		ranked[i].index = i;
	}
	if (ranked && items)
		qsort(ranked, table->count, sizeof(*ranked), compare_ranked);
	for (size_t i = 0; ranked && items && i < table->count; i++)
		items[i] = ranked[i].item;
	free(ranked);
	return items;
}

/* Of a long table, that there is more. */
static void tell_rest(const struct page *page, const struct ff_table *table)
{
	if (table->count > MOST_LINES)
		line(page, "  (and %zu more, rarer ones: see --json)",
			table->count - MOST_LINES);
}

static uint64_t count_crossings(const void *item)
{
	const struct ff_sum_request *request = item;

	return request->actions[FF_SUM_LEFT] +
		request->actions[FF_SUM_SWAPPED] +
		request->actions[FF_SUM_FAILED];
}

static void print_requests(const struct page *page, const struct ff_sum *sum)
{
	void **items = ff_report_sort(&sum->requests, count_crossings);

	if (!sum->requests.count || !items) {
		free(items);
		return;
	}
	head(page, "Crossings");
	line(page, "  %8s %8s %8s  request, display", "swapped", "left",
		"failed");
	for (size_t i = 0; items[i] && i < MOST_LINES; i++) {
		const struct ff_sum_request *request = items[i];
		char parts[3][256];

		ff_sum_split(request->key, parts);
		line(page, "  %8llu %8llu %8llu  %s %s%s%s",
			(unsigned long long)request->actions[FF_SUM_SWAPPED],
			(unsigned long long)request->actions[FF_SUM_LEFT],
			(unsigned long long)request->actions[FF_SUM_FAILED],
			parts[1], parts[2][0] == '1' ? "from " : "to ",
			*parts[0] ? parts[0] : "?", parts[2][0] == '1' ?
				" (a reply)" : "");
	}
	tell_rest(page, &sum->requests);
	free(items);
}

static uint64_t weigh_site(const void *item)
{
	const struct ff_sum_site *site = item;

	return site->crossings + site->fences + site->waits;
}

static void print_sites(const struct page *page, const struct ff_sum *sum)
{
	void **items = ff_report_sort(&sum->sites, weigh_site);

	if (sum->sites.count && items) {
		head(page, "Call sites");
		line(page, "  %9s %8s %8s  where", "crossings", "fences",
			"waits");
	}
	for (size_t i = 0; items && items[i] && i < MOST_LINES; i++) {
		const struct ff_sum_site *site = items[i];

		line(page, "  %9llu %8llu %8llu  %s",
			(unsigned long long)site->crossings,
			(unsigned long long)site->fences,
			(unsigned long long)site->waits, site->key);
	}
	tell_rest(page, &sum->sites);
	free(items);
}

static void print_swaps(const struct page *page, const struct ff_sum *sum)
{
	char times[4][32];

	if (sum->engines.count) {
		head(page, "Swaps");
		line(page, "  %8s  %-10s  %-21s  %s", "count", "engine",
			"client stopped", "in all (median, max)");
	}
	for (size_t i = 0; i < sum->engines.count; i++) {
		const struct ff_sum_engine *engine =
			ff_table_at(&sum->engines, i);

		line(page, "  %8llu  %-10s  %9s, %10s  %9s, %s",
			(unsigned long long)engine->total_us.count,
			engine->key, ff_text_duration(times[0],
				ff_spread_median(&engine->stopped_us)),
			ff_text_duration(times[1], engine->stopped_us.max),
			ff_text_duration(times[2],
				ff_spread_median(&engine->total_us)),
			ff_text_duration(times[3], engine->total_us.max));
	}
}

static uint64_t get_count(const void *item)
{
	return ((const struct ff_sum_count *)item)->count;
}

/* "COUNT  what: reason", most first. */
static void print_counts(const struct page *page, const char *title,
	const struct ff_table *table)
{
	void **items = ff_report_sort(table, get_count);

	if (table->count && items)
		head(page, title);
	for (size_t i = 0; items && items[i] && i < MOST_LINES; i++) {
		const struct ff_sum_count *count = items[i];
		char parts[3][256];

		ff_sum_split(count->key, parts);
		line(page, "  %8llu  %s%s%s",
			(unsigned long long)count->count, parts[0],
			*parts[1] ? ": " : "", parts[1]);
	}
	tell_rest(page, table);
	free(items);
}

static void print_stack(const struct page *page, const json_t *stack)
{
	size_t count = json_array_size(stack);
	char frame[600];

	for (size_t i = 0; i < count && i < MOST_FRAMES; i++) {
		ff_stack_frame(json_array_get(stack, i), frame, sizeof(frame));
		line(page, "      #%-2zu %s", i, frame);
	}
	if (count > MOST_FRAMES)
		line(page, "      (and %zu more)", count - MOST_FRAMES);
}

/* "COUNT  what", unless it is 0. */
static void print_number(const struct page *page, unsigned long long count,
	const char *what)
{
	if (count)
		line(page, "  %8llu  %s", count, what);
}

static void print_fences(const struct page *page, const struct ff_sum *sum)
{
	struct ff_fence_counts counts;

	ff_sum_count_fences(sum, &counts);
	if (!counts.fences && !sum->wakes_to_host && !sum->wakes_from_host)
		return;
	head(page, "Fences");
	print_number(page, counts.fences, "seen");
	print_number(page, counts.made, "made");
	print_number(page, counts.by_engine, "made by an engine");
	print_number(page, counts.crossed, "crossed");
	print_number(page, counts.waited, "waited for");
	print_number(page, counts.by[FF_BY_CLIENT], "signals by the client");
	print_number(page, counts.by[FF_BY_SERVER], "signals by the server");
	print_number(page, counts.by[FF_BY_HOST], "signals by the host");
	print_number(page, sum->wakes_to_host, "wakes carried to the host");
	print_number(page, sum->wakes_from_host,
		"wakes carried from the host");
	print_number(page, counts.destroyed, "destroyed");
	if (!sum->fence_events)
		line(page, "            (no signals and waits are in this log: "
			"--trace-fences has them logged)");
}

static void print_unsignalled(const struct page *page,
	const struct ff_sum *sum)
{
	size_t count = 0;

	for (size_t i = 0; i < sum->fences.count; i++) {
		const struct ff_sum_fence *fence =
			ff_table_at(&sum->fences, i);

		if (!ff_sum_is_unsignalled(fence))
			continue;
		if (!count++)
			head(page, "Fences waited for and never signalled, as "
				"far as was seen");
		if (count <= MOST_LINES)
			line(page, "  %s (%s), waits: %u%s", fence->key,
				fence->name ? fence->name : "no name",
				fence->waits, fence->destroyed_us ?
					", destroyed" : "");
	}
	if (count > MOST_LINES)
		line(page, "  (and %zu more: see --json)",
			count - MOST_LINES);
}

static void print_open_wait(const struct page *page, const struct ff_sum *sum,
	const struct ff_waited *open)
{
	const struct ff_sum_fence *fence = ff_sum_find_fence(sum, open->fence);
	uint64_t waited_us = ff_waited_until(open, sum->last_us);
	int64_t until_us = open->begin_us + (int64_t)waited_us;
	char times[2][32], signalled[100] = "";

	/* Another one, that has its name. */
	if (fence && fence->created_us > until_us)
		fence = NULL;
	if (open->has_value && open->value != open->expected) {
		if (waited_us >= FF_WAKING_NS / 1000)
			snprintf(signalled, sizeof(signalled), ": its word is "
				"%lld, no longer %lld: it was not woken",
				(long long)open->value,
				(long long)open->expected);
	} else if (fence && !ff_sum_signals(fence))
		strcpy(signalled, ": no signal of it was seen");
	else if (fence && fence->signalled_us && fence->signalled_us <=
			open->begin_us)
		snprintf(signalled, sizeof(signalled), ": it was signalled "
			"last %s before", ff_text_duration(times[1],
				(uint64_t)(open->begin_us -
					fence->signalled_us)));
	else if (fence && fence->signalled_us > until_us)
		snprintf(signalled, sizeof(signalled), ": it was signalled "
			"last %s after that", ff_text_duration(times[1],
				(uint64_t)(fence->signalled_us - until_us)));
	else if (fence && fence->signalled_us)
		strcpy(signalled, ": it was signalled meanwhile");
	line(page, "  %s[%lld] of process %lld waits for %s", open->comm,
		(long long)open->tid, (long long)open->pid, open->fence);
	line(page, "      for %s at least%s", ff_text_duration(times[0],
		waited_us), signalled);
	print_stack(page, open->stack);
}

static void print_open_waits(const struct page *page, const struct ff_sum *sum)
{
	const struct ff_waitlog *waits = &sum->waits;
	size_t shown = 0;

	if (waits->open_count)
		head(page, "Waits that have not ended");
	for (; shown < waits->open_count && shown < MOST_LINES; shown++)
		print_open_wait(page, sum, &waits->open[shown]);
	if (waits->open_count - shown + waits->untold)
		line(page, "  (and %llu more)", (unsigned long long)
			(waits->open_count - shown + waits->untold));
}

static void print_waits(const struct page *page, const struct ff_sum *sum)
{
	const struct ff_waitlog *waits = &sum->waits;
	char times[2][32];

	if (!waits->times.count)
		return;
	head(page, "Waits that ended");
	for (size_t i = 0; i < waits->kind_count; i++)
		line(page, "  %8llu  %s%s%s",
			(unsigned long long)waits->kinds[i].count,
			waits->kinds[i].ended, *waits->kinds[i].by ? " by the " :
				"", waits->kinds[i].by);
	line(page, "  median %s, max %s; the longest:", ff_text_duration(
			times[0], ff_spread_median(&waits->times)),
		ff_text_duration(times[1], waits->times.max));
	for (size_t i = 0; i < waits->longest_count; i++) {
		const struct ff_waited *wait = &waits->longest[i];

		line(page, "  %10s  %s[%lld] for %s, %s%s%s",
			ff_text_duration(times[0], wait->waited_us),
			wait->comm, (long long)wait->tid, wait->fence,
			wait->ended, *wait->by ? " by the " : "", wait->by);
		if (wait->stack && i && json_equal(wait->stack, wait[-1].stack))
			line(page, "      (the same stack)");
		else
			print_stack(page, wait->stack);
	}
}

static void print_ends(const struct page *page, const struct ff_sum *sum)
{
	if (sum->end_count)
		head(page, "Attached, and ended");
	for (size_t i = 0; i < sum->end_count; i++) {
		const struct ff_sum_end *end = &sum->ends[i];
		char what[64] = "";

		if (end->signal >= 0)
			snprintf(what, sizeof(what), " by signal %lld",
				(long long)end->signal);
		else if (end->status >= 0)
			snprintf(what, sizeof(what), " with status %lld",
				(long long)end->status);
		line(page, "  %s[%lld]: %s%s%s%s", end->comm,
			(long long)end->pid, end->event, what,
			*end->reason ? ": " : "", end->reason);
	}
	if (sum->ends_more)
		line(page, "  (and %llu more)",
			(unsigned long long)sum->ends_more);
}

static void print_first_line(const struct page *page, const struct ff_sum *sum,
	const struct ff_log_facts *facts)
{
	time_t first = (time_t)(sum->first_us / 1000000);
	char when[64] = "", duration[32];
	struct tm tm;

	if (!sum->events) {
		line(page, "%s: no events", facts->path);
		return;
	}
	if (localtime_r(&first, &tm))
		strftime(when, sizeof(when), " from %F %T %z", &tm);
	line(page, "%s: %llu events in %s%s", facts->path,
		(unsigned long long)sum->events, ff_text_duration(duration,
			(uint64_t)(sum->last_us - sum->first_us)), when);
	if (sum->omitted)
		line(page, "%llu events were too many for the host, and are "
			"not in the log", (unsigned long long)sum->omitted);
}

void ff_report_print(FILE *out, const struct ff_sum *sum,
	const struct ff_log_facts *facts, unsigned int columns)
{
	const struct page page = { out, columns };

	print_first_line(&page, sum, facts);
	print_open_waits(&page, sum);
	print_unsignalled(&page, sum);
	print_requests(&page, sum);
	print_counts(&page, "Not swapped, and why", &sum->reasons);
	print_sites(&page, sum);
	print_swaps(&page, sum);
	print_counts(&page, "Engines, by process, and why", &sum->choices);
	print_fences(&page, sum);
	print_waits(&page, sum);
	print_counts(&page, "Found at attach", &sum->found);
	print_counts(&page, "The host's end", &sum->hosts);
	print_counts(&page, "Other events", &sum->others);
	print_ends(&page, sum);
}
