/* SPDX-License-Identifier: MIT */
#ifndef FF_BENCH_WAKE_FIGURES_H
#define FF_BENCH_WAKE_FIGURES_H

#include <stdbool.h>

#include "bench.h"
#include "wake-player.h"

/* How many fences live at once. */
#define FF_WAKE_COUNTS 2
extern const uint32_t ff_wake_counts[FF_WAKE_COUNTS];

/* What was measured with one way and one count of fences. */
struct ff_wake_figures {
	struct ff_samples wake_us[2]; /* to the host's side, and from there */
	struct ff_samples call_us; /* the client's call, with one who waits */
	size_t late;		   /* wakes of one who was not asleep */
	struct ff_samples cost_ns[FF_CALLS]; /* a turn's medians */
	struct ff_samples rally;	     /* rounds a second */
	struct ff_samples wakes, woken;	     /* of a flood, a second */
};

/* Take the times of so many rounds; without a peer those of the calls only. */
void ff_figures_note(struct ff_wake_figures *figures,
	const struct ff_wake_notes *notes, uint32_t rounds, bool has_peer);

void ff_figures_print(struct ff_wake_figures figures[FF_WAKE_COUNTS][FF_WAYS],
	bool has_fenceferry);

#endif
