/* SPDX-License-Identifier: MIT */
#ifndef FF_SYMBOLS_FRAME_H
#define FF_SYMBOLS_FRAME_H

#include "symbols/module.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* What the file says of how to find the caller. */
enum ff_frame_end {
	FF_FRAME_GOES_ON,
	FF_FRAME_IS_LAST, /* there is none: it is where a thread starts */
	FF_FRAME_UNKNOWN, /* nothing; what libdwfl would do is guessing */
};

/*
 * Append to frames, an array, what is at ip, the functions inlined there first;
 * is_call says that it is where a call returns to. Returns how to go on.
 */
enum ff_frame_end ff_frame_name(const struct ff_space *space, uint64_t ip,
	bool is_call, json_t *frames);

#endif
