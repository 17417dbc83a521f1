/* SPDX-License-Identifier: MIT */
#ifndef FF_REPORT_SUM_H
#define FF_REPORT_SUM_H

#include "report-read.h"
#include "report-spread.h"
#include "report-table.h"
#include "report-waits.h"

/*
 * What an event log says, all in all. Texts are clean (report-text.h). Of each
 * fence something is kept; all else has a bound, however long the log is.
 */

enum ff_sum_action { FF_SUM_LEFT, FF_SUM_SWAPPED, FF_SUM_FAILED,
	FF_SUM_ACTIONS };

/* Crossings in one request to, or from, one display. */
struct ff_sum_request {
	char *key; /* "display\trequest\tdirection", direction 1 from server */
	uint64_t actions[FF_SUM_ACTIONS];
};

/* What came from one place in the client. */
struct ff_sum_site {
	char *key; /* "symbol (module file:line)" */
	uint64_t crossings, fences, waits;
};

/* Swaps by one engine. */
struct ff_sum_engine {
	char *key;
	struct ff_spread stopped_us, total_us;
};

/* How often something was said: "WHAT\treason". */
struct ff_sum_count {
	char *key;
	uint64_t count;
};

enum ff_sum_by { FF_BY_CLIENT, FF_BY_SERVER, FF_BY_HOST, FF_BYS };

struct ff_sum_fence {
	char *key; /* its id, or one that it had */
	char *name; /* or NULL */
	int64_t created_us, destroyed_us, signalled_us; /* 0: not seen */
	uint32_t merged; /* it is item merged - 1, by another id; 0: no */
	uint32_t by[FF_BYS]; /* signals */
	uint32_t wakes_to_host, wakes_from_host, resets, waits, crossings;
	char made_by[8]; /* "client", an engine, or "" */
};

/* The end of a run, or of watching. */
struct ff_sum_end {
	char event[8]; /* "exit", "attach" or "detach" */
	int64_t pid, time_us;
	char comm[32];
	char reason[120];
	int64_t status, signal; /* -1: none */
};

struct ff_sum {
	uint64_t events;
	int64_t first_us, last_us; /* the earliest and the latest time */
	struct ff_table requests, sites, engines, choices, reasons, hosts,
		found, fences, others;
	struct ff_waitlog waits;
	uint64_t wakes_to_host, wakes_from_host;
	uint64_t omitted; /* events that a host did not write */
	struct ff_sum_end ends[20];
	size_t end_count;
	uint64_t ends_more;
	uint64_t fence_events; /* by which signals are seen */
};

void ff_sum_init(struct ff_sum *sum);
void ff_sum_add(struct ff_sum *sum, const struct ff_log_event *event);
void ff_sum_free(struct ff_sum *sum);

/* report-fences.c: what became of fences. */

void ff_sum_fence(struct ff_sum *sum, const struct ff_log_event *event);
void ff_sum_fence_found(struct ff_sum *sum, const struct ff_log_event *event);
void ff_sum_wait(struct ff_sum *sum, const struct ff_log_event *event);
void ff_sum_wake(struct ff_sum *sum, const struct ff_log_event *event);
void ff_sum_fence_crosses(struct ff_sum *sum,
	const struct ff_log_event *event);

/* The fence with this id, be it an earlier one; NULL if there is none. */
struct ff_sum_fence *ff_sum_find_fence(const struct ff_sum *sum,
	const char *id);

/* How often it was signalled, by all. */
uint64_t ff_sum_signals(const struct ff_sum_fence *fence);

/* Waited for, and never signalled, as far as the log tells. */
bool ff_sum_is_unsignalled(const struct ff_sum_fence *fence);

/* Of all fences together. */
struct ff_fence_counts {
	unsigned long long fences, made, by_engine, crossed, destroyed, waited;
	unsigned long long by[FF_BYS];
};
void ff_sum_count_fences(const struct ff_sum *sum,
	struct ff_fence_counts *counts);

/* Count what one place in the client did, if the event has a stack. */
enum ff_sum_deed { FF_DEED_CROSSING, FF_DEED_FENCE, FF_DEED_WAIT };
void ff_sum_count_site(struct ff_sum *sum, const struct ff_log_event *event,
	enum ff_sum_deed deed);

/* Split a key at its tabs; the last part may be empty. */
void ff_sum_split(const char *key, char parts[3][256]);

#endif
