/* SPDX-License-Identifier: MIT */
#include "config.h"
#include "report-trace-write.h"

#include "report-outfile.h"
#include "report-text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void ff_trace_set_text(json_t *object, const char *key, const char *text)
{
	char clean[1024];

	ff_text_clean(clean, sizeof(clean), text);
	json_object_set_new(object, key, json_string(clean));
}

json_t *ff_trace_event(const char *phase, int64_t pid, int64_t tid,
	const char *category, const char *name)
{
	json_t *event = json_object();

	ff_trace_set_text(event, "ph", phase);
	json_object_set_new(event, "pid", json_integer(pid));
	json_object_set_new(event, "tid", json_integer(tid));
	ff_trace_set_text(event, "cat", category);
	ff_trace_set_text(event, "name", name);
	return event;
}

/* What follows the first event. */
static void put_json(FILE *out, json_t *object)
{
	fputs(",\n", out);
	json_dumpf(object, out, JSON_COMPACT | JSON_ENSURE_ASCII);
	json_decref(object);
}

/* An event that says what a process or thread is called, or its place. */
static void put_metadata(FILE *out, const char *what, int64_t pid, int64_t tid,
	json_t *value)
{
	json_t *event = ff_trace_event("M", pid, tid, "__metadata", what);
	json_t *args = json_object();

	json_object_set_new(args, strstr(what, "sort") ? "sort_index" : "name",
		value);
	json_object_set_new(event, "args", args);
	json_object_set_new(event, "ts", json_integer(0));
	put_json(out, event);
}

static void put_process_names(FILE *out, const struct ff_tracks *tracks)
{
	for (size_t i = 0; i < tracks->processes.count; i++) {
		const struct ff_process_name *process =
			ff_table_at(&tracks->processes, i);
		int64_t pid = atoll(process->key);

		put_metadata(out, "process_name", pid, pid,
			json_string(process->name));
	}
	put_metadata(out, "process_sort_index", FF_TRACKS_FENCES,
		FF_TRACKS_FENCES, json_integer(FF_TRACKS_FENCES));
}

/* The fence's life, around all that is on its track. Of what came before the
 * log began and after its end nothing is known. */
static void put_life(FILE *out, const struct ff_track *track,
	int64_t earliest_us)
{
	json_t *event = ff_trace_event("X", track->pid, track->lanes[0].tid,
		"fence", track->name);
	json_t *args = json_object();

	json_object_set_new(args, "created", json_string(track->is_created ?
		"here" : "not seen"));
	json_object_set_new(args, "destroyed", json_string(track->is_destroyed ?
		"here" : "not seen"));
	json_object_set_new(event, "args", args);
	json_object_set_new(event, "ts", json_integer(track->first_us -
		earliest_us));
	json_object_set_new(event, "dur", json_integer(track->last_us -
		track->first_us));
	put_json(out, event);
}

static void put_tracks(FILE *out, const struct ff_tracks *tracks,
	int64_t earliest_us)
{
	for (size_t i = 0; i < tracks->tracks.count; i++) {
		const struct ff_track *track =
			ff_table_at(&tracks->tracks, i);
		char name[100];

		for (unsigned int lane = 0; lane < track->lane_count; lane++) {
			snprintf(name, sizeof(name), lane ? "%s (%u)" : "%s",
				track->name, lane + 1);
			put_metadata(out, "thread_name",
				track->pid, track->lanes[lane].tid,
				json_string(name));
			put_metadata(out, "thread_sort_index", track->pid,
				track->lanes[lane].tid,
				json_integer((json_int_t)(FF_TRACKS_LANES * i +
					lane)));
		}
		if (track->is_fence && track->lane_count && track->first_us)
			put_life(out, track, earliest_us);
	}
}

/* The events, with times from the earliest on. */
static int put_raw(FILE *out, FILE *raw, int64_t earliest_us)
{
	char *line = NULL, *rest;
	size_t size = 0;
	int err = ff_stream_error(raw);

	if (!err && fseek(raw, 0, SEEK_SET) < 0)
		err = errno;
	if (err)
		return -err;
	while (getline(&line, &size, raw) > 0) {
		long long time_us = strtoll(line, &rest, 10);

		rest[strcspn(rest, "\n")] = '\0';
		fprintf(out, ",\n{\"ts\":%lld,%s",
			time_us - earliest_us, rest + 1);
	}
	free(line);
	return ferror(raw) ? -EIO : 0;
}

/* What the trace was made from. */
static json_t *describe(const struct ff_tracks *tracks, const char *log,
	int64_t earliest_us)
{
	json_t *data = json_object();

	ff_trace_set_text(data, "log", log);
	ff_trace_set_text(data, "made_by", "fenceferry " PACKAGE_VERSION);
	json_object_set_new(data, "epoch_us", json_integer(earliest_us));
	json_object_set_new(data, "spans_left_out",
		json_integer((json_int_t)tracks->untold));
	return data;
}

int ff_trace_write(FILE *out, const struct ff_tracks *tracks, FILE *raw,
	int64_t earliest_us, const char *log)
{
	json_t *data = describe(tracks, log, earliest_us);
	int err;

	/* No displayTimeUnit: some Perfettos take it for that of the times. */
	fprintf(out, "{\"traceEvents\":[\n"
		"{\"ph\":\"M\",\"ts\":0,\"pid\":%d,\"tid\":%d,"
		"\"cat\":\"__metadata\",\"name\":\"process_name\","
		"\"args\":{\"name\":\"fences\"}}", FF_TRACKS_FENCES,
		FF_TRACKS_FENCES);
	put_process_names(out, tracks);
	put_tracks(out, tracks, earliest_us);
	err = put_raw(out, raw, earliest_us);
	fputs("\n],\"otherData\":", out);
	json_dumpf(data, out, JSON_COMPACT | JSON_ENSURE_ASCII);
	fputs("}\n", out);
	json_decref(data);
	return err;
}
