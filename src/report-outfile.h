/* SPDX-License-Identifier: MIT */
#ifndef FF_REPORT_OUTFILE_H
#define FF_REPORT_OUTFILE_H

#include "error.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>

/* What went wrong with a stream that was written to: 0, or an errno. Flushes
 * it; of one that failed earlier the cause is found by failing again. */
int ff_stream_error(FILE *stream);

/* A file that is replaced whole, or not at all. */
struct ff_outfile {
	FILE *stream; /* to write to */

	/* Private. */
	char path[PATH_MAX], dir[PATH_MAX];
	char temporary[PATH_MAX + 32]; /* "": it has no name yet */
	bool is_direct; /* no regular file: it is written to as it is */
};

/*
 * Prepare for path ("-": standard output). Finds out whether it can be written:
 * what is no regular file is opened, and written to directly. 0, or -errno with
 * *error filled.
 */
int ff_outfile_open(struct ff_outfile *file, const char *path,
	struct ff_error *error);

/* All is written: put it in its place. 0, or -errno with *error filled, and
 * then nothing has changed. Closes it in any case. */
int ff_outfile_commit(struct ff_outfile *file, struct ff_error *error);

/* Close it, and change nothing. */
void ff_outfile_drop(struct ff_outfile *file);

#endif
