/* SPDX-License-Identifier: MIT */
#ifndef FF_SYMBOLS_FRAME_H
#define FF_SYMBOLS_FRAME_H

#include "symbols/module.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * Append to frames, an array, what is at ip, the functions inlined there first;
 * is_call says that it is where a call returns to. Returns whether there is
 * information by which to unwind from here; what libdwfl would do without is
 * guessing.
 */
bool ff_frame_name(const struct ff_space *space, uint64_t ip, bool is_call,
	json_t *frames);

#endif
