/* SPDX-License-Identifier: MIT */
#include "eventlog.h"

#include "clock.h"
#include "inject/snapshot.h"
#include "report-text.h"
#include "symbols.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

int ff_eventlog_open(struct ff_eventlog *log, const char *path,
	struct ff_error *error)
{
	log->fd = -1;
	if (!path)
		return 0;
	log->is_stderr = !strcmp(path, "-");
	if (log->is_stderr)
		log->fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	else
		log->fd = open(path,
			O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY,
			0666);
	return log->fd < 0 ? ff_fail(error, errno,
		"cannot open the log %s: %s (choose another file with --log)",
		path, strerror(errno)) : 0;
}

void ff_eventlog_leave_stderr(struct ff_eventlog *log)
{
	if (log->symbols)
		ff_symbols_leave_stderr(log->symbols);
	if (!log->is_stderr || log->fd < 0)
		return;
	close(log->fd);
	log->fd = -1;
}

void ff_say(const struct ff_eventlog *log, int level, const char *format, ...)
{
	va_list args;
	char text[1024], clean[1024];

	if (log->verbosity < level)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	/* Names in it are the client's, and are for no terminal to obey. */
	ff_text_clean(clean, sizeof(clean), text);
	dprintf(STDERR_FILENO, "fenceferry: %s\n", clean);
}

/* Names come from clients and need not be UTF-8. */
void ff_event_set_text(json_t *object, const char *key, const char *text)
{
	json_t *value = json_string(text);
	char clean[512];

	if (!value) {
		size_t i = 0;

		for (; text[i] && i < sizeof(clean) - 1; i++)
			clean[i] = (unsigned char)text[i] < 0x80 ? text[i] :
								   '?';
		clean[i] = '\0';
		value = json_string(clean);
	}
	json_object_set_new(object, key, value);
}

void ff_event_set_number(json_t *object, const char *key, uint64_t number)
{
	json_object_set_new(object, key, json_integer((json_int_t)number));
}

json_t *ff_event_new(const char *event, const struct ff_actor *actor)
{
	json_t *object = json_object();

	json_object_set_new(object, "time", json_real(ff_epoch_now()));
	ff_event_set_text(object, "event", event);
	ff_event_set_number(object, "pid", (uint64_t)actor->pid);
	ff_event_set_number(object, "tid", (uint64_t)actor->tid);
	ff_event_set_text(object, "comm", actor->comm);
	return object;
}

/* One line, one write: what is cut off by a crash is at most the last. */
static void write_line(struct ff_eventlog *log, const char *text)
{
	struct iovec line[2] = { { (char *)(uintptr_t)text, strlen(text) },
		{ (char[]){ '\n' }, 1 } };
	bool is_failing = writev(log->fd, line, 2) < 0;

	if (is_failing && !log->is_failing)
		ff_say(log, 0, "cannot write to the log: %s (events are lost "
			"until that ends)", strerror(errno));
	log->is_failing = is_failing;
}

static char *print_event(const json_t *event)
{
	return json_dumps(event, JSON_COMPACT | JSON_REAL_PRECISION(16));
}

/* One whose stack will not come: it says why. */
static void write_untraced(struct ff_eventlog *log, const char *line,
	const char *text, const char *why)
{
	json_t *event = line ? json_loads(line, 0, NULL) : NULL;
	char *more = NULL;

	if (event) {
		ff_event_set_text(event, "backtrace_end", why);
		more = print_event(event);
		json_decref(event);
	}
	if (line && log->fd >= 0)
		write_line(log, more ? more : line);
	if (text)
		dprintf(STDERR_FILENO, "fenceferry: %s\n    ... %s\n", text,
			why);
	free(more);
}

static void write_entry(struct ff_eventlog *log,
	struct ff_eventlog_entry *entry)
{
	char *line = entry->event ? print_event(entry->event) : NULL;
	const char *why;

	if (!entry->snapshot) {
		if (line)
			write_line(log, line);
	} else if (ff_symbols_send(log->symbols, entry->snapshot, line,
			   entry->text, &why) < 0) {
		write_untraced(log, line, entry->text, why);
	}
	free(line);
	json_decref(entry->event);
	ff_snapshot_unref(entry->snapshot);
	free(entry->text);
}

void ff_eventlog_flush(struct ff_eventlog *log)
{
	struct ff_symbols_event event;

	for (size_t i = 0; i < log->waiting_count; i++)
		write_entry(log, &log->waiting[i]);
	log->waiting_count = 0;
	while (log->symbols && ff_symbols_take_back(log->symbols, &event)) {
		write_untraced(log, event.line, event.text,
			log->symbols->why_gone);
		free(event.line);
		free(event.text);
	}
}

/* Writing is put off: a client may be waiting for us. Takes event and text. */
static void add_entry(struct ff_eventlog *log, json_t *event, char *text,
	struct ff_snapshot *snapshot)
{
	if (log->fd < 0) {
		json_decref(event);
		event = NULL;
	}
	if (!event && !text)
		return;
	if (log->waiting_count == FF_EVENTLOG_WAITING)
		ff_eventlog_flush(log);
	log->waiting[log->waiting_count++] = (struct ff_eventlog_entry){
		.event = event,
		.snapshot = log->symbols ? ff_snapshot_ref(snapshot) : NULL,
		.text = text,
	};
}

void ff_eventlog_add(struct ff_eventlog *log, json_t *object)
{
	add_entry(log, object, NULL, NULL);
}

void ff_eventlog_add_traced(struct ff_eventlog *log, json_t *event,
	struct ff_snapshot *snapshot)
{
	add_entry(log, event, NULL, snapshot);
}

/* Say it, or, if a call stack is to be beneath it, return it for that. */
static char *say_of(const struct ff_eventlog *log, int level,
	const struct ff_snapshot *snapshot, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

static char *say_of(const struct ff_eventlog *log, int level,
	const struct ff_snapshot *snapshot, const char *format, ...)
{
	char *text = NULL, *clean = NULL;
	va_list args;
	int size;

	if (log->verbosity < level)
		return NULL;
	va_start(args, format);
	size = vasprintf(&text, format, args);
	va_end(args);
	if (size < 0)
		return NULL;
	if (!snapshot || !log->symbols)
		ff_say(log, level, "%s", text);
	else if ((clean = malloc((size_t)size + 1)))
		ff_text_clean(clean, (size_t)size + 1, text);
	free(text);
	return clean;
}

static const char *action_name(enum ff_action action)
{
	switch (action) {
	case FF_SWAPPED:
		return "swapped";
	case FF_FAILED:
		return "failed";
	default:
		return "left";
	}
}

/* --backtrace, but nothing to be had of this call. */
static void excuse_stack(const struct ff_eventlog *log,
	const struct ff_crossing *crossing, json_t *object)
{
	if (log->symbols && !crossing->snapshot)
		ff_event_set_text(object, "backtrace_end",
			"not taken: the call was interrupted, or its thread's "
			"memory cannot be read");
}

static void set_or_null(json_t *object, const char *key, json_t *value)
{
	json_object_set_new(object, key, value ? value : json_null());
}

/* What both crossing and swap say of the fd. */
static void set_fd(json_t *object, const struct ff_crossing *crossing)
{
	set_or_null(object, "fd", crossing->fd < 0 ? NULL :
		json_integer(crossing->fd));
	ff_event_set_text(object, "name", crossing->name);
	ff_event_set_number(object, "size", crossing->size);
	set_or_null(object, "request", crossing->request ?
		json_string(crossing->request) : NULL);
	set_or_null(object, "xid", crossing->request && !crossing->from_server ?
		json_integer(crossing->xid) : NULL);
}

static char *say_crossing(const struct ff_eventlog *log,
	const struct ff_crossing *crossing)
{
	int level = crossing->action == FF_FAILED ? 0 : 2;

	if (crossing->from_server)
		return say_of(log, level, crossing->snapshot,
			"%s[%d]: an fd (%s, %llu bytes) comes with %s from %s",
			crossing->actor.comm, crossing->actor.pid,
			crossing->name, (unsigned long long)crossing->size,
			crossing->request ? crossing->request : "a message",
			crossing->display);
	return say_of(log, level, crossing->snapshot,
		"%s[%d]: fd %d (%s, %llu bytes) %s in %s to %s%s%s",
		crossing->actor.comm, crossing->actor.pid, crossing->fd,
		crossing->name, (unsigned long long)crossing->size,
		crossing->action == FF_FAILED ? "could not be swapped" :
						"crosses",
		crossing->request ? crossing->request : "a message",
		crossing->display, crossing->reason ? ": " : "",
		crossing->reason ? crossing->reason : "");
}

void ff_eventlog_crossing(struct ff_eventlog *log,
	const struct ff_crossing *crossing)
{
	char *text = NULL;
	json_t *object;

	log->crossings++;
	log->failures += crossing->action == FF_FAILED;
	if (crossing->action != FF_SWAPPED)
		text = say_crossing(log, crossing);
	if (log->fd < 0) {
		add_entry(log, NULL, text, crossing->snapshot);
		return;
	}
	object = ff_event_new("crossing", &crossing->actor);
	ff_event_set_text(object, "display", crossing->display);
	ff_event_set_text(object, "direction", crossing->from_server ?
		"from_server" : "to_server");
	ff_event_set_text(object, "kind", crossing->kind);
	set_fd(object, crossing);
	ff_event_set_number(object, "ino", crossing->ino);
	if (crossing->fence)
		ff_event_set_text(object, "fence", crossing->fence);
	if (crossing->request && crossing->from_server)
		ff_event_set_text(object, "request_by", "shape");
	ff_event_set_text(object, "action", action_name(crossing->action));
	if (crossing->reason)
		ff_event_set_text(object, "reason", crossing->reason);
	else
		json_object_set_new(object, "reason", json_null());
	excuse_stack(log, crossing, object);
	add_entry(log, object, text, crossing->snapshot);
}

/* The fence has another id from now on, unless it was made as a stand-in. */
static void set_swapped_fence(json_t *object, const struct ff_swap_event *event)
{
	const char *was = event->crossing->fence;
	const char *slash = strrchr(event->standin, '/');
	const char *fence = slash ? slash + 1 : event->standin;

	if (!was)
		return;
	ff_event_set_text(object, "fence", fence);
	if (strcmp(fence, was))
		ff_event_set_text(object, "was", was);
}

void ff_eventlog_swap(struct ff_eventlog *log,
	const struct ff_swap_event *event)
{
	const struct ff_crossing *crossing = event->crossing;
	json_t *object;
	char *text;

	log->swaps++;
	text = say_of(log, 1, crossing->snapshot, "%s[%d]: swapped by %s fd %d (%s, %llu bytes) in %s to "
		"%s for %s: fds %u, mappings %u, processes %u, threads %u, "
		"stopped %llu us", crossing->actor.comm, crossing->actor.pid,
		event->engine,
		crossing->fd, crossing->name,
		(unsigned long long)crossing->size,
		crossing->request ? crossing->request : "a message",
		crossing->display, event->standin, event->fds, event->mappings,
		event->processes, event->threads,
		(unsigned long long)event->stopped_ns / 1000);
	if (log->fd < 0) {
		add_entry(log, NULL, text, crossing->snapshot);
		return;
	}
	object = ff_event_new("swap", &crossing->actor);
	set_fd(object, crossing);
	set_swapped_fence(object, event);
	ff_event_set_text(object, "standin", event->standin);
	ff_event_set_text(object, "engine", event->engine);
	ff_event_set_text(object, "why", event->why);
	ff_event_set_number(object, "fds", event->fds);
	ff_event_set_number(object, "mappings", event->mappings);
	ff_event_set_number(object, "processes", event->processes);
	ff_event_set_number(object, "threads", event->threads);
	ff_event_set_number(object, "stopped_us", event->stopped_ns / 1000);
	ff_event_set_number(object, "total_us", event->total_ns / 1000);
	excuse_stack(log, crossing, object);
	add_entry(log, object, text, crossing->snapshot);
}

void ff_eventlog_engine(struct ff_eventlog *log, int level,
	const struct ff_actor *actor, const char *engine, const char *reason)
{
	json_t *object;

	ff_say(log, level, "%s[%d]: engine %s: %s", actor->comm, actor->pid, engine,
		reason);
	if (log->fd < 0)
		return;
	object = ff_event_new("engine", actor);
	ff_event_set_text(object, "engine", engine);
	ff_event_set_text(object, "reason", reason);
	ff_eventlog_add(log, object);
}

json_t *ff_event_new_wake(const struct ff_actor *actor, const char *fence,
	enum ff_direction direction, uint32_t count)
{
	json_t *object = ff_event_new("wake", actor);

	ff_event_set_text(object, "fence", fence);
	ff_event_set_text(object, "direction", direction == FF_TO_HOST ?
		"to_host" : "from_host");
	ff_event_set_number(object, "count", count);
	return object;
}

void ff_eventlog_wake(struct ff_eventlog *log, const struct ff_actor *actor,
	const char *fence, enum ff_direction direction, uint32_t count)
{
	if (direction == FF_TO_HOST)
		log->wakes_to_host++;
	else
		log->wakes_from_host++;
	if (log->fd >= 0)
		ff_eventlog_add(log, ff_event_new_wake(actor, fence, direction,
			count));
}

void ff_event_set_totals(json_t *event, const struct ff_eventlog *log)
{
	ff_event_set_number(event, "crossings", log->crossings);
	ff_event_set_number(event, "swaps", log->swaps);
	ff_event_set_number(event, "failures", log->failures);
	ff_event_set_number(event, "wakes_to_host", log->wakes_to_host);
	ff_event_set_number(event, "wakes_from_host", log->wakes_from_host);
}

void ff_eventlog_exit(struct ff_eventlog *log, const struct ff_actor *actor,
	int wait_status)
{
	json_t *object;

	ff_say(log, 1, "%s[%d] ended: crossings %u, swaps %u, failures %u",
		actor->comm, actor->pid, log->crossings, log->swaps,
		log->failures);
	if (log->fd < 0)
		return;
	object = ff_event_new("exit", actor);
	if (WIFSIGNALED(wait_status))
		ff_event_set_number(object, "signal", (uint64_t)WTERMSIG(wait_status));
	else
		ff_event_set_number(object, "status",
			(uint64_t)WEXITSTATUS(wait_status));
	ff_event_set_totals(object, log);
	ff_eventlog_add(log, object);
}
