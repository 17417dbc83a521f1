/* SPDX-License-Identifier: MIT */
#ifndef FF_REPORT_TRACKS_H
#define FF_REPORT_TRACKS_H

#include "report-table.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * The tracks of a trace: one for each thread and each fence. In one track spans
 * may nest, and may not overlap otherwise; so a track gets more lanes as it
 * needs them, each a thread of its own to the viewer.
 */

enum {
	/* Beyond PID_MAX_LIMIT: no process or thread has these. */
	FF_TRACKS_FENCES = 4194305, /* the process that fences are in */
	FF_TRACKS_HOST, /* what a relay's other end does: process, thread */
	FF_TRACKS_FIRST, /* the first of what lanes get */
	FF_TRACKS_LANES = 6,
};

/* Spans come a little out of order: the last ones are remembered. */
struct ff_lane {
	int64_t tid;
	int64_t closed_us; /* no span may begin before this */
	struct { int64_t begin_us, end_us; } recent[8];
	unsigned int next;
};

struct ff_track {
	char *key; /* "t PID TID" or "f ID" */
	char name[80]; /* what people see; clean */
	int64_t pid;
	struct ff_lane *lanes;
	unsigned int lane_count;
	uint32_t merged; /* it is track merged - 1; 0: no */

	/* Of a fence. */
	bool is_fence, is_created, is_destroyed;
	int64_t first_us, last_us; /* 0: nothing is on it */
	int64_t trigger_us, trigger_pid, trigger_tid; /* the last one's span */
};

struct ff_process_name {
	char *key; /* the pid */
	char name[32];
	bool is_main; /* of its main thread */
};

struct ff_tracks {
	struct ff_table tracks, processes;
	int64_t next_tid;
	uint64_t untold; /* spans that found no lane */
};

void ff_tracks_init(struct ff_tracks *tracks);
void ff_tracks_free(struct ff_tracks *tracks);

/* The track of a thread; pid 0 is the host's side. The name becomes the last
 * one that is given. NULL without memory. Valid until another is asked for. */
struct ff_track *ff_tracks_thread(struct ff_tracks *tracks, int64_t pid,
	int64_t tid, const char *comm);

/* That of a fence. NULL without memory, or if id is "". */
struct ff_track *ff_tracks_fence(struct ff_tracks *tracks, const char *id);

/* The fence was is called is: one track has both. If each of them has one
 * already, they remain as they are. */
void ff_tracks_rename(struct ff_tracks *tracks, const char *was,
	const char *is);

/* Something is at this time on a fence's track. */
void ff_track_touch(struct ff_track *track, int64_t time_us);

/* The tid under which a span fits into the track; 0 if none does. */
int64_t ff_track_place(struct ff_tracks *tracks, struct ff_track *track,
	int64_t begin_us, int64_t end_us);

#endif
