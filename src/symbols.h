/* SPDX-License-Identifier: MIT */
#ifndef FF_SYMBOLS_H
#define FF_SYMBOLS_H

#include "inject/snapshot.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct json_t;

/*
 * Call stacks get their names in a process of their own: files of the client's
 * may be slow, hang, or make a library crash, and neither the supervisor nor a
 * client is to notice.
 *
 * It is handed events that lack nothing but their call stack, and writes them to
 * the log itself. Those that it has not yet written are remembered by the
 * supervisor, which writes them without one if that process ends, or takes too
 * long.
 */

/* How long the end of a run waits for what is yet to be named. */
#define FF_SYMBOLS_LAST_MS 2000

/* How many events may wait to be named; more are written without a stack. */
#define FF_SYMBOLS_QUEUE 128

/* In memory shared by all three processes: numbers of events. */
struct ff_symbols_ledger {
	_Atomic uint64_t sent, written;
};

/* An event that was handed over. */
struct ff_symbols_event {
	uint64_t number;
	uint64_t sent_ns;
	char *line; /* JSON without a newline, or NULL */
	char *text; /* for standard error, or NULL */
};

struct ff_symbols {
	int socket; /* -1: it does not, or no longer, run */
	int pidfd;
	pid_t pid;
	struct ff_symbols_ledger *ledger;
	struct ff_symbols_event pending[FF_SYMBOLS_QUEUE]; /* a ring */
	uint64_t first; /* number of the oldest that is pending */
	uint64_t moved_ns; /* when that was last found to be another */
	const char *why_gone; /* for backtrace_end, once it is */
};

/*
 * Start the process, before the supervisor is forked. log_fd is the log's, or
 * -1. No other process may keep the socket but the supervisor
 * (ff_symbols_leave). 0, or -errno with *error.
 */
int ff_symbols_start(struct ff_symbols *symbols, int log_fd,
	struct ff_error *error);

/* In the front, after the fork. */
void ff_symbols_leave(struct ff_symbols *symbols);

/*
 * Hand over an event: line is its JSON, text what is said of it on standard
 * error (either may be NULL; both are copied). 0; or -errno, with *why, if it
 * must be written without a call stack.
 */
int ff_symbols_send(struct ff_symbols *symbols,
	const struct ff_snapshot *snapshot, const char *line, const char *text,
	const char **why);

/*
 * The next event that was handed over and will not be written by that process,
 * because it ended or hangs: the caller writes it. The strings are then the
 * caller's. False if there is none.
 */
bool ff_symbols_take_back(struct ff_symbols *symbols,
	struct ff_symbols_event *event);

/* In the supervisor: nothing more for standard error. */
void ff_symbols_leave_stderr(struct ff_symbols *symbols);

/* In the supervisor: the end. Waits for what was sent; what is not written then
 * can be taken back. */
void ff_symbols_finish(struct ff_symbols *symbols);

/* In the front: the end. Waits likewise; then that process is ended if there is
 * no supervisor, which has died, to do so. */
void ff_symbols_end(const struct ff_symbols *symbols, bool is_alone);

/*
 * Unwind and name one in this very process, as doc/fenceferry-events(5) has
 * it: *frames becomes an array, to be freed, and *end NULL or why the trace is
 * cut. *end is valid until the next call. 0, or -ENOMEM. It opens the client's
 * files, which may hang or be hostile: not for the supervisor. Root opens them
 * with the rights of the client's owner; for groups the caller sees to that.
 */
int ff_symbols_name(const struct ff_snapshot *snapshot,
	struct json_t **frames, const char **end);

/* Frames for people: lines that are indented, to be freed; NULL if there is no
 * memory. end may be NULL. */
char *ff_symbols_print(const struct json_t *frames, const char *end);

#endif
