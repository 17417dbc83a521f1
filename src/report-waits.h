/* SPDX-License-Identifier: MIT */
#ifndef FF_REPORT_WAITS_H
#define FF_REPORT_WAITS_H

#include "report-read.h"
#include "report-spread.h"

/*
 * Waits on fences, as `wait` events tell of them: how long they were, the
 * longest, and those that have not ended. A wait that lasts is told of more
 * than once, and a line with a call stack may come after that which tells of
 * its end.
 */

enum {
	FF_FENCE_ID = 80, /* bytes of a fence's id */
	FF_WAITLOG_LONGEST = 10,
	FF_WAITLOG_OPEN = 1024, /* beyond that they are only counted */
	FF_WAITLOG_STACKS = 64, /* of so many */
	FF_WAITLOG_RECENT = 256, /* ended; their late lines are known as such */
};

struct ff_waited {
	int64_t pid, tid, begin_us;
	char comm[32]; /* clean (report-text.h), as the rest */
	char fence[FF_FENCE_ID];
	uint64_t waited_us, resolution_us;
	bool has_value;
	int64_t value, expected; /* of the word; what it was at the begin */
	char ended[16]; /* "": it has not */
	char by[16];
	struct json_t *stack; /* or NULL */
	bool is_over; /* no more is told of it, though it had not ended */
};

/* Waits that ended in the same way. */
struct ff_waitlog_kind {
	char ended[16], by[16];
	uint64_t count;
};

struct ff_waitlog {
	struct ff_waited longest[FF_WAITLOG_LONGEST]; /* ended, longest first */
	size_t longest_count;
	struct ff_waited open[FF_WAITLOG_OPEN];
	size_t open_count;
	uint64_t untold; /* open, beyond these */
	struct ff_spread times; /* microseconds, of those that ended */
	struct ff_waitlog_kind kinds[16]; /* the last: all others */
	size_t kind_count;

	/* Private. */
	struct { int64_t tid, begin_us; } recent[FF_WAITLOG_RECENT];
	size_t recent_count;
	size_t stacks;
};

/* What a `wait` event says, but its stack. */
void ff_wait_read(const struct ff_log_event *event, struct ff_waited *waited);

/* What a line meant. */
enum ff_wait_news {
	FF_WAIT_BEGAN, /* nothing was known of it, and it has not ended */
	FF_WAIT_GOES_ON,
	FF_WAIT_ENDED,
	FF_WAIT_WHOLE, /* nothing was known of it, and it has ended */
	FF_WAIT_KNOWN, /* it had ended already */
};

/* Take a `wait` event; *waited (unless NULL) gets what it says, without its
 * stack. */
enum ff_wait_news ff_waitlog_add(struct ff_waitlog *waits,
	const struct ff_log_event *event, struct ff_waited *waited);

/* The process has ended, or is watched no longer: its waits that are open, are
 * so no longer than until then. time_us 0: until they were told of last. */
void ff_waitlog_leave(struct ff_waitlog *waits, int64_t pid, int64_t time_us);

/* How long an open wait has lasted at this time. */
uint64_t ff_waited_until(const struct ff_waited *waited, int64_t time_us);

/* Was this fence's name changed from that? */
void ff_waitlog_rename(struct ff_waitlog *waits, const char *was,
	const char *is);

void ff_waitlog_free(struct ff_waitlog *waits);

#endif
