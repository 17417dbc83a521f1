/* SPDX-License-Identifier: MIT */
#ifndef FF_REPORT_TRACE_WRITE_H
#define FF_REPORT_TRACE_WRITE_H

#include "report-tracks.h"

#include <jansson.h>
#include <stdio.h>

/* The Trace Event Format, as chrome://tracing and Perfetto read it. */

/* An event of this phase, which lacks a time. */
json_t *ff_trace_event(const char *phase, int64_t pid, int64_t tid,
	const char *category, const char *name);

/* Set a field to a text that may hold anything. */
void ff_trace_set_text(json_t *object, const char *key, const char *text);

/*
 * Write a whole trace: what processes and tracks are called, the lives of
 * fences, and raw, which has lines "TIME REST" of events {"ts":TIME,REST, in
 * microseconds; they become such since earliest_us. log is the log's name. 0,
 * or -errno: raw cannot be read, or could not be written. Errors of out stay
 * with out.
 */
int ff_trace_write(FILE *out, const struct ff_tracks *tracks, FILE *raw,
	int64_t earliest_us, const char *log);

#endif
