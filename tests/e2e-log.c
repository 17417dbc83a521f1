/* SPDX-License-Identifier: MIT */
#include "e2e.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void e2e_read_log(struct e2e_run *run, const char *path)
{
	FILE *file = fopen(path, "re");
	char *line = NULL;
	size_t size = 0;

	run->log = json_array();
	run->bad_lines = 0;
	while (file && getline(&line, &size, file) > 0) {
		json_t *event = json_loads(line, JSON_REJECT_DUPLICATES, NULL);

		if (json_is_object(event))
			json_array_append(run->log, event);
		else
			run->bad_lines++;
		json_decref(event);
	}
	free(line);
	if (file)
		fclose(file);
}

unsigned int e2e_count_lines(const char *path, const char *text)
{
	FILE *file = fopen(path, "re");
	unsigned int count = 0;
	char *line = NULL;
	size_t size = 0;

	while (file && getline(&line, &size, file) > 0)
		count += strstr(line, text) != NULL;
	free(line);
	if (file)
		fclose(file);
	return count;
}

unsigned int e2e_logged(const struct e2e_run *run, const char *text)
{
	char path[PATH_MAX + 8];

	snprintf(path, sizeof(path), "%s/log", run->files);
	return e2e_count_lines(path, text);
}

const char *e2e_text(json_t *event, const char *key)
{
	const char *text = json_string_value(json_object_get(event, key));

	return text ? text : "";
}

long long e2e_number(json_t *event, const char *key)
{
	json_t *value = json_object_get(event, key);

	return json_is_integer(value) ? json_integer_value(value) : -1;
}

json_t *e2e_event(const struct e2e_run *run, const char *name, size_t index)
{
	json_t *event;
	size_t i;

	json_array_foreach(run->log, i, event) {
		if (!strcmp(e2e_text(event, "event"), name) && !index--)
			return event;
	}
	return NULL;
}

unsigned int e2e_count(const struct e2e_run *run, const char *name,
	const char *key, const char *text)
{
	unsigned int count = 0;
	json_t *event;
	size_t i;

	json_array_foreach(run->log, i, event) {
		count += !strcmp(e2e_text(event, "event"), name) &&
			 strstr(e2e_text(event, key), text);
	}
	return count;
}

/* What was done, in numbers that the engine can have. */
static bool is_good_work(json_t *swap)
{
	const char *engine = e2e_text(swap, "engine");

	if (!strcmp(engine, "notify"))
		return !strcmp(e2e_text(swap, "name"), "xshmfence") &&
		       e2e_number(swap, "threads") == 0 &&
		       e2e_number(swap, "stopped_us") == 0;
	return !strcmp(engine, "ptrace") && e2e_number(swap, "threads") >= 1 &&
	       e2e_number(swap, "stopped_us") >= 0;
}

/* Whether it is the swap that it should be, of the crossing before it. */
static bool is_good_swap(json_t *crossing, json_t *swap)
{
	const size_t length = strlen(e2e_shm_dir());
	static const char *const same[] = {"pid", "tid", "comm", "fd", "name",
		"size", "request", "xid"};

	for (size_t i = 0; i < sizeof(same) / sizeof(*same); i++)
		if (!json_equal(json_object_get(crossing, same[i]),
			    json_object_get(swap, same[i])))
			return false;
	return !strncmp(e2e_text(swap, "standin"), e2e_shm_dir(), length) &&
	       e2e_text(swap, "standin")[length] == '/' &&
	       is_good_work(swap) && *e2e_text(swap, "why") &&
	       e2e_number(swap, "fds") >= 1 &&
	       e2e_number(swap, "processes") >= 1 &&
	       e2e_number(swap, "total_us") >= e2e_number(swap, "stopped_us");
}

void e2e_sort_log(struct e2e_run *run)
{
	for (size_t i = 1; i < json_array_size(run->log); i++) {
		json_t *event = json_incref(json_array_get(run->log, i));
		double time = json_real_value(json_object_get(event, "time"));
		size_t to = i;

		while (to && json_real_value(json_object_get(json_array_get(
				run->log, to - 1), "time")) > time)
			to--;
		json_array_remove(run->log, i);
		json_array_insert_new(run->log, to, event);
	}
}

bool e2e_is_cut_by_sanitizer(json_t *event)
{
#ifdef __SANITIZE_ADDRESS__
	return strstr(e2e_text(event, "backtrace_end"),
		"registers not known without ptrace") != NULL;
#else
	(void)event;
	return false;
#endif
}

/* Each swapped crossing is followed by its swap, and no other is. */
static void check_order(const struct e2e_run *run)
{
	json_t *event, *before = NULL;
	size_t i;

	json_array_foreach(run->log, i, event) {
		bool swapped = !strcmp(e2e_text(before, "action"), "swapped");
		bool is_swap = !strcmp(e2e_text(event, "event"), "swap");

		e2e_check(run, json_is_real(json_object_get(event, "time")),
			"events have a time");
		e2e_check(run, swapped == is_swap,
			"a swap follows each crossing that says so");
		if (is_swap)
			e2e_check(run, is_good_swap(before, event),
				"the swap is that of its crossing");
		if (!strcmp(e2e_text(event, "event"), "crossing"))
			e2e_check(run,
				*e2e_text(event, "reason") ||
					!strcmp(e2e_text(event, "action"),
						"swapped"),
				"what is not swapped has a reason");
		before = event;
	}
}

void e2e_check_log(const struct e2e_run *run, unsigned int swapped,
	unsigned int left, unsigned int failed)
{
	json_t *exit = e2e_event(run, "exit", 0);
	unsigned int crossings = swapped + left + failed;

	e2e_check(run, run->wrapped && !run->bad_lines,
		"every line of the log is a JSON object");
	check_order(run);
	e2e_check(run, e2e_count(run, "crossing", "event", "") == crossings,
		"as many crossings as expected");
	e2e_check(run,
		e2e_count(run, "crossing", "action", "swapped") == swapped &&
			e2e_count(run, "crossing", "action", "left") == left &&
			e2e_count(run, "crossing", "action", "failed") ==
				failed,
		"as many swapped, left and failed as expected");
	e2e_check(run, e2e_count(run, "swap", "event", "") == swapped,
		"as many swaps as expected");
	e2e_check(run, exit && !e2e_event(run, "exit", 1),
		"the log has one exit event");
	e2e_check(run,
		e2e_number(exit, "crossings") == crossings &&
			e2e_number(exit, "swaps") == swapped &&
			e2e_number(exit, "failures") == failed,
		"the exit event counts the same");
}
