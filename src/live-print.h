/* SPDX-License-Identifier: MIT */
#ifndef FF_LIVE_PRINT_H
#define FF_LIVE_PRINT_H

#include "waits.h"

#include <stdbool.h>
#include <stdio.h>

/* Who waits now, with what is beside a wait. */

struct json_t;

struct ff_live {
	struct ff_waits waits;
	/* For each wait what its thread was doing, as the field backtrace of
	 * fenceferry-events(5) has it, or NULL; and why it is cut, or NULL.
	 * Both NULL: nothing is told of stacks. */
	struct json_t **stacks;
	char **ends;
};

void ff_live_free(struct ff_live *live);

/* The longest waits first. */
void ff_live_sort(struct ff_waits *waits);

/* A table, with the stacks beneath. "nobody waits on a fence" if so. 0, or -1
 * with errno: out could not be written. */
int ff_live_print(const struct ff_live *live, FILE *out);

/* The same as a JSON array. */
struct json_t *ff_live_make_json(const struct ff_live *live);

/* "12.345 s"; with "at least " if not known better. */
#define FF_DURATION 32
void ff_live_duration(const struct ff_wait *wait, char text[FF_DURATION]);

#endif
