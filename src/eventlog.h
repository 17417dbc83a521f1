/* SPDX-License-Identifier: MIT */
#ifndef FF_EVENTLOG_H
#define FF_EVENTLOG_H

#include "error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * The event log: one JSON object a line, written whole by one write(2). Fields
 * as doc/fenceferry-events(5) has them. And the same for people, one line on
 * standard error.
 */

#define FF_EVENTLOG_WAITING 16

struct ff_snapshot;

/* An event that is to be written. */
struct ff_eventlog_entry {
	struct json_t *event; /* NULL: not to the log */
	struct ff_snapshot *snapshot; /* NULL: without a call stack */
	char *text; /* for standard error with the stack beneath, or NULL */
};

struct ff_eventlog {
	int fd; /* -1: none */
	bool is_stderr; /* fd is a duplicate of it */
	struct ff_eventlog_entry waiting[FF_EVENTLOG_WAITING];
	size_t waiting_count;
	struct ff_symbols *symbols; /* not ours; NULL: no call stacks */
	bool is_failing; /* the last could not be written */
	int verbosity; /* -1 quiet, 0 failures, 1 swaps, 2 every crossing */
	unsigned int crossings, swaps, failures;
	uint64_t wakes_to_host, wakes_from_host;
};

/* Who did it. */
struct ff_actor {
	pid_t pid, tid;
	char comm[16];
};

enum ff_action { FF_LEFT, FF_SWAPPED, FF_FAILED };

struct ff_crossing {
	struct ff_actor actor;
	const char *display;
	int fd; /* -1: not known yet */
	bool from_server;
	const char *kind; /* "memfd", "shm", "dmabuf", "other" */
	const char *name;
	uint64_t size;
	ino_t ino;
	const char *fence; /* its id, NULL if it is none */
	const char *request; /* NULL if not known */
	uint32_t xid;
	enum ff_action action;
	const char *reason; /* NULL if swapped */
	struct ff_snapshot *snapshot; /* not ours; for its backtrace, or NULL */
};

struct ff_swap_event {
	const struct ff_crossing *crossing;
	const char *standin, *engine, *why;
	unsigned int fds, mappings, processes, threads;
	uint64_t stopped_ns, total_ns;
};

/* Open path for appending ("-" is standard error, NULL none) with O_CLOEXEC.
 * 0, or -errno with *error filled. */
int ff_eventlog_open(struct ff_eventlog *log, const char *path,
	struct ff_error *error);

void ff_eventlog_crossing(struct ff_eventlog *log,
	const struct ff_crossing *crossing);
void ff_eventlog_swap(struct ff_eventlog *log,
	const struct ff_swap_event *event);

/* This engine ("none": none) serves a process, for this reason; said from this
 * verbosity on. */
void ff_eventlog_engine(struct ff_eventlog *log, int level,
	const struct ff_actor *actor, const char *engine, const char *reason);

/* The command ended with this wait status. */
void ff_eventlog_exit(struct ff_eventlog *log, const struct ff_actor *actor,
	int wait_status);

/* A wake of a fence (by the name of its file) was carried across; who made it
 * is known only of those to the host. */
enum ff_direction { FF_TO_HOST, FF_FROM_HOST };
void ff_eventlog_wake(struct ff_eventlog *log, const struct ff_actor *actor,
	const char *fence, enum ff_direction direction, uint32_t count);

/*
 * For events of other rooms: one with the fields that all have, to be filled
 * and then added, which takes it. Text need not be UTF-8.
 */
struct json_t *ff_event_new(const char *event, const struct ff_actor *actor);
struct json_t *ff_event_new_wake(const struct ff_actor *actor,
	const char *fence, enum ff_direction direction, uint32_t count);
void ff_event_set_text(struct json_t *event, const char *key,
	const char *text);
void ff_event_set_number(struct json_t *event, const char *key,
	uint64_t number);
/* How many crossings, swaps, failures and wakes log has counted. */
void ff_event_set_totals(struct json_t *event, const struct ff_eventlog *log);
void ff_eventlog_add(struct ff_eventlog *log, struct json_t *event);

/* The same for an event that is to get a call stack, from a snapshot, of which
 * it takes a reference of its own (inject/snapshot.h); NULL: as ff_eventlog_add. */
void ff_eventlog_add_traced(struct ff_eventlog *log, struct json_t *event,
	struct ff_snapshot *snapshot);

/* Write what waits: to be called when nobody waits for us. */
void ff_eventlog_flush(struct ff_eventlog *log);

/* Leave standard error: the log closes if it is there. */
void ff_eventlog_leave_stderr(struct ff_eventlog *log);

/* "fenceferry: ..." on standard error, unless the log is quieter than level. */
void ff_say(const struct ff_eventlog *log, int level, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#endif
