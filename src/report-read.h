/* SPDX-License-Identifier: MIT */
#ifndef FF_REPORT_READ_H
#define FF_REPORT_READ_H

#include "error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json_t;

/*
 * Read an event log line by line, in as much memory as one line needs. What is
 * no event is counted, said, and left out.
 */

/* The longest line that may be an event. One with a call stack of 100 frames
 * has some 30000 bytes. */
#define FF_LOG_LINE (256 * 1024)

/* An event: what all have. Lives as long as the call that it is passed to. */
struct ff_log_event {
	const char *name; /* its `event` */
	int64_t time_us; /* since the epoch */
	int64_t pid, tid; /* 0 if there is none that could be one */
	const char *comm; /* or "" */
	struct json_t *object;
	uint64_t line; /* from 1 */
};

struct ff_log {
	/* To be set. */
	void (*event)(void *context, const struct ff_log_event *event);
	/* A line that is none; a text for people. */
	void (*broken)(void *context, uint64_t line, const char *why);
	void *context;

	/* What came of it. */
	uint64_t lines, events, broken_lines;
	bool is_unfinished; /* the last line has no end yet, and was left out */

	/* Private. */
	char *text;
	size_t used, room;
	bool is_skipping; /* the rest of a line that is too long */
	bool is_braced; /* the unfinished line begins as an event does */
	uint64_t size;
};

/*
 * Open a log; "-" is standard input. A fifo is waited for until somebody opens
 * its other end. Returns the fd, or -errno with *error filled.
 */
int ff_log_open(const char *path, struct ff_error *error);

/*
 * Read it to the end. 0; -errno with *error filled: it cannot be read; or there
 * are lines, but none of many is an event: it is no log (EINVAL).
 */
int ff_log_read(struct ff_log *log, int fd, const char *path,
	struct ff_error *error);

/* The same for a piece of a log in memory; the pieces' end is at ff_log_end. */
void ff_log_feed(struct ff_log *log, const char *bytes, size_t size);

/* There is no more. Frees what is private. */
void ff_log_end(struct ff_log *log);

/* Fields of an event, checked: "", fallback, or NULL if there is no such. */
const char *ff_log_text(const struct json_t *object, const char *key);
int64_t ff_log_integer(const struct json_t *object, const char *key,
	int64_t fallback);
/* Seconds as microseconds. */
int64_t ff_log_seconds(const struct json_t *object, const char *key,
	int64_t fallback_us);

#endif
