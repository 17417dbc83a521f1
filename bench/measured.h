/* SPDX-License-Identifier: MIT */
#ifndef FF_MEASURED_H
#define FF_MEASURED_H

#include "bench.h"

#include <stdbool.h>

/*
 * The same work, measured in this program by itself and below others: a setting
 * is what it is run by. The measured process is this program, executed again
 * with --measured, that gives one figure for each thing it did.
 */

#define FF_SETTINGS_MAX 5
#define FF_FIGURES_MAX 8

struct ff_measured_setting {
	const char *name;
	const char *by[9];    /* what runs it, up to a NULL; none: nobody */
	const char *argument; /* instead of --measured; NULL: that */
	bool may_lack; /* what runs it need not be installed */
	bool left_out; /* it is not to be run; or it was not there */
};

struct ff_measured {
	const char *program; /* "bench/..." for messages */
	struct ff_measured_setting setting[FF_SETTINGS_MAX]; /* 0: bare */
	size_t settings;
	const char *const *thing; /* what is done: a name for each figure */
	size_t things;
	struct ff_samples figure[FF_SETTINGS_MAX][FF_FIGURES_MAX];
};

/* Run all settings in turn, so many times, with how long each figure takes in
 * seconds as the last argument. 0, or -1 after a message. */
int ff_measured_run(struct ff_measured *measured, int runs,
	const char *seconds);

/* The measured process: write its figures, one for each thing. 0 or -1. */
int ff_measured_tell(const double *figures, size_t things);

/* Print the medians, and what they are beside the bare ones. */
void ff_measured_print(struct ff_measured *measured, const char *thing,
	const char *unit);

#endif
