/* SPDX-License-Identifier: MIT */
#ifndef FF_REPORT_TRACE_H
#define FF_REPORT_TRACE_H

#include "report-read.h"
#include "report-waits.h"

struct ff_trace;

/*
 * A trace for Perfetto or chrome://tracing, in the Trace Event Format: a track
 * for each thread and for each fence. Times are microseconds since the earliest
 * in the log.
 */

/*
 * Begin one, which is to be written to path ("-": standard output) when all is
 * there: a file is replaced by it whole, or left as it was. NULL, with *error
 * filled: it will not be possible to write it.
 */
struct ff_trace *ff_trace_begin(const char *path, struct ff_error *error);

void ff_trace_add(struct ff_trace *trace, const struct ff_log_event *event);

/*
 * Write it, with the waits that have not ended (NULL: none) up to end_us, since
 * the epoch; log is what to say
 * that it was made from. Frees it in any case. 0, or -errno with *error filled.
 */
int ff_trace_end(struct ff_trace *trace, const struct ff_waitlog *waits,
	int64_t end_us, const char *log, struct ff_error *error);

/* Give it up. NULL is nothing. */
void ff_trace_drop(struct ff_trace *trace);

#endif
