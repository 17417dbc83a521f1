/* SPDX-License-Identifier: MIT */
#ifndef FF_BENCH_WAKE_THREADS_H
#define FF_BENCH_WAKE_THREADS_H

#include "wake-stage.h"

/*
 * One end of a relay as muvm and libkrun have it, written anew: a thread for
 * each fence waits with mask 1, and sends a message when it is woken; for each
 * message that comes the fence is woken with all other bits. Blocks, until the
 * process is killed; returns when something fails.
 */
int ff_threads_relay(
	struct ff_stage *stage, enum ff_side side, struct ff_lines lines);

#endif
