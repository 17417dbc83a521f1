/* SPDX-License-Identifier: MIT */
#include "report-trace.h"

#include "report-outfile.h"
#include "report-stack.h"
#include "report-text.h"
#include "report-trace-write.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SHOWN_FRAMES = 24 };

struct ff_trace {
	struct ff_outfile out;
	struct ff_tracks tracks;
	/*
	 * What is to be written, as "TIME REST\n": when the earliest time is
	 * known, {"ts":TIME - earliest,REST is.
	 */
	FILE *raw;
	int64_t earliest_us;
	uint64_t flows;
};

/* A file without a name, where there is room for the trace itself. */
static FILE *open_raw(const char *dir)
{
	int fd = *dir ? open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600) : -1;
	FILE *file = fd < 0 ? tmpfile() : fdopen(fd, "w+");

	if (!file && fd >= 0)
		close(fd);
	return file;
}

struct ff_trace *ff_trace_begin(const char *path, struct ff_error *error)
{
	struct ff_trace *trace = calloc(1, sizeof(*trace));

	if (!trace) {
		ff_fail(error, ENOMEM, "no memory for a trace");
		return NULL;
	}
	ff_tracks_init(&trace->tracks);
	if (ff_outfile_open(&trace->out, path, error) < 0) {
		ff_trace_drop(trace);
		return NULL;
	}
	trace->raw = open_raw(trace->out.dir);
	if (!trace->raw) {
		ff_fail(error, errno, "cannot make a temporary file: %s (make "
			"room, or set another directory for the trace)",
			strerror(errno));
		ff_trace_drop(trace);
		return NULL;
	}
	return trace;
}

void ff_trace_drop(struct ff_trace *trace)
{
	if (!trace)
		return;
	ff_outfile_drop(&trace->out);
	ff_tracks_free(&trace->tracks);
	if (trace->raw)
		fclose(trace->raw);
	free(trace);
}

/* Write an event, which has all but its time. Takes it. */
static void emit(struct ff_trace *trace, int64_t time_us, json_t *event)
{
	char *text = json_dumps(event, JSON_COMPACT | JSON_ENSURE_ASCII);

	if (text)
		fprintf(trace->raw, "%lld %s\n", (long long)time_us, text + 1);
	free(text);
	json_decref(event);
	if (!trace->earliest_us || time_us < trace->earliest_us)
		trace->earliest_us = time_us;
}

/* A moment on a track. Takes args, which may be NULL. */
static void emit_instant(struct ff_trace *trace, struct ff_track *track,
	int64_t time_us, const char *name, json_t *args)
{
	json_t *event;

	if (!track) {
		json_decref(args);
		return;
	}
	event = ff_trace_event("i", track->pid, track->lanes[0].tid, track->is_fence ?
		"fence" : "thread", name);
	ff_trace_set_text(event, "s", "t");
	if (args)
		json_object_set_new(event, "args", args);
	if (track->is_fence)
		ff_track_touch(track, time_us);
	emit(trace, time_us, event);
}

/* A span on a track. Takes args. Returns the tid that it is under, 0 if there
 * was no place. */
static int64_t emit_span(struct ff_trace *trace, struct ff_track *track,
	int64_t begin_us, int64_t length_us, const char *name, json_t *args)
{
	int64_t tid = track ? ff_track_place(&trace->tracks, track, begin_us,
		begin_us + length_us) : 0;
	json_t *event;

	if (!tid) {
		json_decref(args);
		return 0;
	}
	event = ff_trace_event("X", track->pid, tid, track->is_fence ? "fence" :
		"thread", name);
	json_object_set_new(event, "dur", json_integer(length_us));
	if (args)
		json_object_set_new(event, "args", args);
	emit(trace, begin_us, event);
	return tid;
}

/* Frames as a viewer shows them. */
static void add_stack(json_t *args, const json_t *stack)
{
	size_t count = json_array_size(stack);
	json_t *frames = json_array();
	char text[512];

	for (size_t i = 0; i < count && i < SHOWN_FRAMES; i++) {
		ff_stack_frame(json_array_get(stack, i), text, sizeof(text));
		json_array_append_new(frames, json_string(text));
	}
	if (json_array_size(frames))
		json_object_set(args, "backtrace", frames);
	json_decref(frames);
}

/* The event's own fields, but those that a track tells of. */
static json_t *copy_fields(const json_t *object)
{
	static const char *const left_out[] = { "time", "event", "pid", "tid",
		"comm", "backtrace" };
	json_t *args = json_object(), *value;
	const char *key;
	size_t fields = 0;

	json_object_foreach((json_t *)object, key, value) {
		size_t i = 0;
		char clean[64];

		while (i < sizeof(left_out) / sizeof(left_out[0]) &&
			strcmp(key, left_out[i]) != 0)
			i++;
		if (i < sizeof(left_out) / sizeof(left_out[0]) ||
			fields++ == 32)
			continue;
		ff_text_clean(clean, sizeof(clean), key);
		if (json_is_string(value))
			ff_trace_set_text(args, clean, json_string_value(value));
		else if (json_is_number(value) || json_is_boolean(value) ||
			json_is_null(value))
			json_object_set(args, clean, value);
	}
	add_stack(args, json_object_get(object, "backtrace"));
	return args;
}

static struct ff_track *thread_of(struct ff_trace *trace,
	const struct ff_log_event *event)
{
	return ff_tracks_thread(&trace->tracks, event->pid, event->tid,
		event->comm);
}

static struct ff_track *fence_of(struct ff_trace *trace,
	const struct ff_log_event *event)
{
	return ff_tracks_fence(&trace->tracks,
		ff_log_text(event->object, "fence"));
}

/* A moment of a thread, with all that the event says. */
static void add_moment(struct ff_trace *trace,
	const struct ff_log_event *event, const char *name)
{
	emit_instant(trace, thread_of(trace, event), event->time_us, name,
		copy_fields(event->object));
}

static void add_crossing(struct ff_trace *trace,
	const struct ff_log_event *event)
{
	const char *request = ff_log_text(event->object, "request");
	char name[160];

	snprintf(name, sizeof(name), "crossing%s%.100s",
		*request ? " " : "", request);
	add_moment(trace, event, name);
	/* Else the swap's event tells where. */
	if (strcmp(ff_log_text(event->object, "action"), "swapped") != 0)
		emit_instant(trace, fence_of(trace, event), event->time_us,
			"crosses", NULL);
}

static void add_swap(struct ff_trace *trace, const struct ff_log_event *event)
{
	int64_t stopped_us = ff_log_integer(event->object, "stopped_us", 0);
	const char *was = ff_log_text(event->object, "was");
	const char *engine = ff_log_text(event->object, "engine");
	char name[64];

	if (*was)
		ff_tracks_rename(&trace->tracks, was,
			ff_log_text(event->object, "fence"));
	snprintf(name, sizeof(name), "swap by %.40s", engine);
	if (stopped_us > 0 && stopped_us < event->time_us)
		emit_span(trace, thread_of(trace, event), event->time_us -
			stopped_us, stopped_us, name,
			copy_fields(event->object));
	else
		add_moment(trace, event, name);
	emit_instant(trace, fence_of(trace, event), event->time_us,
		"crosses as a stand-in", NULL);
}

/* Whoever woke: a span of its own, which an arrow can begin at. */
static void add_trigger(struct ff_trace *trace,
	const struct ff_log_event *event, const char *name)
{
	struct ff_track *thread = thread_of(trace, event), *fence;
	int64_t pid = thread ? thread->pid : 0;
	int64_t tid = emit_span(trace, thread, event->time_us, 1, name,
		copy_fields(event->object));

	fence = fence_of(trace, event);
	if (fence && tid) {
		fence->trigger_us = event->time_us;
		fence->trigger_pid = pid;
		fence->trigger_tid = tid;
	}
}

static void add_wake(struct ff_trace *trace, const struct ff_log_event *event)
{
	bool to_host = !strcmp(ff_log_text(event->object, "direction"),
		"to_host");

	emit_instant(trace, fence_of(trace, event), event->time_us, to_host ?
		"wake to host" : "wake from host",
		copy_fields(event->object));
	add_trigger(trace, event, to_host ? "wakes, to host" :
		"wakes, from host");
}

static void add_fence(struct ff_trace *trace, const struct ff_log_event *event)
{
	const char *state = ff_log_text(event->object, "state");
	const char *action = ff_log_text(event->object, "action"); /* a host's */
	const char *by = ff_log_text(event->object, "by");
	struct ff_track *fence = fence_of(trace, event);
	char name[64];

	if (!fence || (!*state && !*action))
		return;
	fence->is_created |= !strcmp(state, "created");
	fence->is_destroyed |= !strcmp(state, "destroyed");
	snprintf(name, sizeof(name), "%.20s%s%.20s", *state ? state : action,
		*by ? " by " : "", by);
	emit_instant(trace, fence, event->time_us, name,
		copy_fields(event->object));
	if (!strcmp(state, "created"))
		add_moment(trace, event, "makes a fence");
	else if (!strcmp(state, "triggered") && !strcmp(by, "client"))
		add_trigger(trace, event, "triggers");
}

/* From whoever triggered the fence to whom it woke, in this span. */
static void add_arrow(struct ff_trace *trace, const struct ff_track *fence,
	int64_t pid, int64_t tid, int64_t begin_us, int64_t end_us)
{
	int64_t at_us = end_us > begin_us ? end_us - 1 : begin_us;
	json_t *from, *to;

	if (!fence || fence->trigger_us < begin_us ||
		fence->trigger_us > at_us)
		return;
	from = ff_trace_event("s", fence->trigger_pid, fence->trigger_tid, "signal",
		"signal");
	to = ff_trace_event("f", pid, tid, "signal", "signal");
	ff_trace_set_text(to, "bp", "e");
	trace->flows++;
	json_object_set_new(from, "id", json_integer((json_int_t)trace->flows));
	json_object_set_new(to, "id", json_integer((json_int_t)trace->flows));
	emit(trace, fence->trigger_us, from);
	emit(trace, at_us, to);
}

/* A wait, on the tracks of its thread and its fence. Takes args. */
static void emit_wait(struct ff_trace *trace, const struct ff_waited *waited,
	int64_t length_us, json_t *args)
{
	struct ff_track *track = ff_tracks_thread(&trace->tracks, waited->pid,
		waited->tid, waited->comm);
	int64_t pid = track ? track->pid : 0, begin_us = waited->begin_us;
	char name[120];
	int64_t tid;

	snprintf(name, sizeof(name), "waits for %s", waited->fence);
	tid = emit_span(trace, track, begin_us, length_us, name,
		json_incref(args));
	track = ff_tracks_fence(&trace->tracks, waited->fence);
	if (tid && (!strcmp(waited->by, "client") ||
			!strcmp(waited->by, "host")))
		add_arrow(trace, track, pid, tid, begin_us, begin_us +
			length_us);
	snprintf(name, sizeof(name), "%s[%lld] waits", waited->comm,
		(long long)waited->tid);
	emit_span(trace, track, begin_us, length_us, name, args);
}

static void add_wait(struct ff_trace *trace, const struct ff_log_event *event)
{
	struct ff_waited waited;

	ff_wait_read(event, &waited);
	if (*waited.ended)
		emit_wait(trace, &waited, (int64_t)waited.waited_us,
			copy_fields(event->object));
	else
		add_moment(trace, event, "still waits");
}

static void add_found(struct ff_trace *trace, const struct ff_log_event *event)
{
	emit_instant(trace, fence_of(trace, event), event->time_us,
		"was there at attach", copy_fields(event->object));
}

void ff_trace_add(struct ff_trace *trace, const struct ff_log_event *event)
{
	static const struct {
		const char *name;
		void (*add)(struct ff_trace *trace,
			const struct ff_log_event *event);
	} kinds[] = {
		{ "crossing", add_crossing },
		{ "swap", add_swap },
		{ "wake", add_wake },
		{ "fence", add_fence },
		{ "wait", add_wait },
		{ "found", add_found },
	};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (!strcmp(event->name, kinds[i].name)) {
			kinds[i].add(trace, event);
			return;
		}
	add_moment(trace, event, event->name);
}

static void add_open_waits(struct ff_trace *trace,
	const struct ff_waitlog *waits, int64_t end_us)
{
	for (size_t i = 0; waits && i < waits->open_count; i++) {
		const struct ff_waited *open = &waits->open[i];
		json_t *args = json_object();

		json_object_set_new(args, "ended", json_null());
		add_stack(args, open->stack);
		emit_wait(trace, open, (int64_t)ff_waited_until(open, end_us),
			args);
	}
}

int ff_trace_end(struct ff_trace *trace, const struct ff_waitlog *waits,
	int64_t end_us, const char *log, struct ff_error *error)
{
	int err;

	add_open_waits(trace, waits, end_us);
	err = -ff_trace_write(trace->out.stream, &trace->tracks, trace->raw,
		trace->earliest_us, log);
	if (err)
		ff_fail(error, err, "cannot make the trace: %s (make room for "
			"a temporary file)", strerror(err));
	else
		err = -ff_outfile_commit(&trace->out, error);
	ff_trace_drop(trace);
	return -err;
}
