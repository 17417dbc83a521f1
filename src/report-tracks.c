/* SPDX-License-Identifier: MIT */
#include "report-tracks.h"

#include "report-text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_TRACKS = 1000000 };

void ff_tracks_init(struct ff_tracks *tracks)
{
	*tracks = (struct ff_tracks){
		.tracks = { .item_size = sizeof(struct ff_track),
			.limit = MOST_TRACKS },
		.processes = { .item_size = sizeof(struct ff_process_name),
			.limit = MOST_TRACKS },
		.next_tid = FF_TRACKS_FIRST,
	};
}

void ff_tracks_free(struct ff_tracks *tracks)
{
	for (size_t i = 0; i < tracks->tracks.count; i++)
		free(((struct ff_track *)ff_table_at(&tracks->tracks, i))
			->lanes);
	ff_table_free(&tracks->tracks);
	ff_table_free(&tracks->processes);
}

/* One more lane. False without memory. */
static bool add_lane(struct ff_track *track, int64_t tid)
{
	struct ff_lane *lanes = reallocarray(track->lanes,
		track->lane_count + 1, sizeof(*lanes));

	if (!lanes)
		return false;
	lanes[track->lane_count] = (struct ff_lane){ .tid = tid };
	track->lanes = lanes;
	track->lane_count++;
	return true;
}

/* The track of that key: a new one has no lane. */
static struct ff_track *get_track(struct ff_tracks *tracks, const char *key)
{
	struct ff_track *track = ff_table_get(&tracks->tracks, key);

	while (track && track->merged)
		track = ff_table_at(&tracks->tracks, track->merged - 1);
	return track;
}

static void name_process(struct ff_tracks *tracks, int64_t pid, bool is_main,
	const char *comm)
{
	struct ff_process_name *process;
	char key[32];

	snprintf(key, sizeof(key), "%lld", (long long)pid);
	process = ff_table_get(&tracks->processes, key);
	if (!process || (process->is_main && !is_main) ||
		(*process->name && !is_main))
		return;
	process->is_main = is_main;
	ff_text_clean(process->name, sizeof(process->name), comm);
}

struct ff_track *ff_tracks_thread(struct ff_tracks *tracks, int64_t pid,
	int64_t tid, const char *comm)
{
	struct ff_track *track;
	char key[64];

	if (!pid) {
		pid = tid = FF_TRACKS_HOST;
		comm = "host's side";
	}
	snprintf(key, sizeof(key), "t %lld %lld", (long long)pid,
		(long long)tid);
	name_process(tracks, pid, pid == tid, comm);
	track = get_track(tracks, key);
	if (!track)
		return NULL;
	if (!track->lane_count && !add_lane(track, tid ? tid : pid))
		return NULL;
	track->pid = pid;
	ff_text_clean(track->name, sizeof(track->name), comm);
	return track;
}

struct ff_track *ff_tracks_fence(struct ff_tracks *tracks, const char *id)
{
	struct ff_track *track;
	char key[80] = "f ";

	ff_text_clean(key + 2, sizeof(key) - 2, id);
	if (!key[2])
		return NULL;
	track = get_track(tracks, key);
	if (!track || track->lane_count)
		return track;
	if (!add_lane(track, tracks->next_tid))
		return NULL;
	tracks->next_tid++;
	track->is_fence = true;
	track->pid = FF_TRACKS_FENCES;
	ff_text_clean(track->name, sizeof(track->name), id);
	return track;
}

/* From now on this key, which is new, leads to that track. */
static void alias(struct ff_tracks *tracks, const char *key,
	const struct ff_track *track)
{
	uint32_t index = (uint32_t)ff_table_index(&tracks->tracks, track);
	struct ff_track *other = ff_table_get(&tracks->tracks, key);

	if (other && !other->lane_count)
		other->merged = index + 1;
}

void ff_tracks_rename(struct ff_tracks *tracks, const char *was,
	const char *is)
{
	char old_key[80] = "f ", new_key[80] = "f ";
	struct ff_track *track;

	ff_text_clean(old_key + 2, sizeof(old_key) - 2, was);
	ff_text_clean(new_key + 2, sizeof(new_key) - 2, is);
	if (!old_key[2] || !new_key[2] || !strcmp(old_key, new_key))
		return;
	if (!ff_table_find(&tracks->tracks, new_key)) {
		track = ff_tracks_fence(tracks, was);
		if (!track)
			return;
		memcpy(track->name, new_key + 2, sizeof(new_key) - 2);
		alias(tracks, new_key, track);
	} else if (!ff_table_find(&tracks->tracks, old_key)) {
		track = ff_tracks_fence(tracks, is);
		if (track)
			alias(tracks, old_key, track);
	}
}

void ff_track_touch(struct ff_track *track, int64_t time_us)
{
	if (!track->first_us || time_us < track->first_us)
		track->first_us = time_us;
	if (time_us > track->last_us)
		track->last_us = time_us;
}

/* Is there nothing in the lane at that time, as far as is remembered? */
static bool is_free(const struct ff_lane *lane, int64_t begin_us,
	int64_t end_us)
{
	const unsigned int most = sizeof(lane->recent) /
		sizeof(lane->recent[0]);

	if (begin_us < lane->closed_us)
		return false;
	for (unsigned int i = 0; i < lane->next && i < most; i++)
		if (begin_us < lane->recent[i].end_us &&
			lane->recent[i].begin_us < end_us)
			return false;
	return true;
}

/* Put a span there. The oldest that is remembered is not any more. */
static void occupy(struct ff_lane *lane, int64_t begin_us, int64_t end_us)
{
	const unsigned int most = sizeof(lane->recent) /
		sizeof(lane->recent[0]);
	unsigned int i = lane->next++ % most;

	if (lane->recent[i].end_us > lane->closed_us)
		lane->closed_us = lane->recent[i].end_us;
	lane->recent[i].begin_us = begin_us;
	lane->recent[i].end_us = end_us;
}

int64_t ff_track_place(struct ff_tracks *tracks, struct ff_track *track,
	int64_t begin_us, int64_t end_us)
{
	unsigned int i = 0;

	while (i < track->lane_count &&
		!is_free(&track->lanes[i], begin_us, end_us))
		i++;
	if (i == FF_TRACKS_LANES || (i == track->lane_count &&
			!add_lane(track, tracks->next_tid++))) {
		tracks->untold++;
		return 0;
	}
	occupy(&track->lanes[i], begin_us, end_us);
	if (!i) {
		ff_track_touch(track, begin_us);
		ff_track_touch(track, end_us);
	}
	return track->lanes[i].tid;
}
