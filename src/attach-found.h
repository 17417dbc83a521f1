/* SPDX-License-Identifier: MIT */
#ifndef FF_ATTACH_FOUND_H
#define FF_ATTACH_FOUND_H

#include "eventlog.h"
#include "process.h"

#include <sys/types.h>

/*
 * The fences that were there before attach: shared mappings of libxshmfence's
 * memfds, and of stand-ins. Each is told to the log (event found) and left
 * alone. shm_dir is where stand-ins are. Returns how many mappings there are.
 */
unsigned int ff_attach_find_fences(const struct ff_ids *pids,
	const char *shm_dir, struct ff_eventlog *log);

#endif
