/* SPDX-License-Identifier: MIT */
#ifndef FF_BENCH_WAKE_FENCES_H
#define FF_BENCH_WAKE_FENCES_H

#include "wake-stage.h"

/*
 * Fences as a client of X makes them: memfds that cross to an X server (a
 * socket pair named path) and come out there as stand-ins, whose names go to
 * the stage. Fills words. NULL, or what is wrong.
 */
const char *ff_fences_make(
	struct ff_stage *stage, const char *path, struct ff_word *words);

/* Map what the client has made. NULL, or what is wrong. */
const char *ff_fences_open(struct ff_stage *stage, struct ff_word *words);

#endif
