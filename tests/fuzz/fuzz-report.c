/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer target: what fenceferry report makes of a log. The input is the
 * log, and its first byte also tells in what pieces it is read.
 */
#include "report-print.h"
#include "report-trace.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int condition)
{
	if (!condition)
		abort();
}

struct both {
	struct ff_sum sum;
	struct ff_trace *trace;
	uint64_t broken;
};

static void take(void *context, const struct ff_log_event *event)
{
	struct both *both = context;

	must(*event->name && event->time_us >= 0 && event->pid >= 0 &&
		event->tid >= 0 && event->comm);
	ff_sum_add(&both->sum, event);
	ff_trace_add(both->trace, event);
}

static void complain(void *context, uint64_t line, const char *why)
{
	struct both *both = context;

	must(line && *why);
	both->broken++;
}

/* Nothing that a terminal would obey. */
static void check_text(const char *text, size_t size)
{
	for (size_t i = 0; i < size; i++)
		must(text[i] == '\n' || ((unsigned char)text[i] >= ' ' &&
			text[i] != 127));
}

static void print(const struct ff_sum *sum, const struct ff_log_facts *facts)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);
	json_t *json;

	must(out != NULL);
	ff_report_print(out, sum, facts, 60);
	fclose(out);
	check_text(text, size);
	free(text);
	out = open_memstream(&text, &size);
	must(out && !ff_report_json(out, sum, facts));
	fclose(out);
	check_text(text, size);
	json = json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL);
	must(json != NULL);
	json_decref(json);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct both both;
	struct ff_log log = { .event = take, .broken = complain,
		.context = &both };
	struct ff_log_facts facts = { .path = "log" };
	struct ff_error error;
	size_t piece = size ? data[0] + 1u : 1;

	both.broken = 0;
	ff_sum_init(&both.sum);
	both.trace = ff_trace_begin("/dev/null", &error);
	must(both.trace != NULL);
	for (size_t at = 0; at < size; at += piece)
		ff_log_feed(&log, (const char *)data + at,
			size - at < piece ? size - at : piece);
	ff_log_end(&log);
	must(log.events + log.broken_lines == log.lines);
	must(both.broken == log.broken_lines);
	must(both.sum.events == log.events);
	must(log.is_unfinished == (size && data[size - 1] != '\n'));
	facts.lines = log.lines;
	print(&both.sum, &facts);
	must(!ff_trace_end(both.trace, &both.sum.waits, both.sum.last_us,
		"log", &error));
	ff_sum_free(&both.sum);
	return 0;
}
