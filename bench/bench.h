/* SPDX-License-Identifier: MIT */
#ifndef FF_BENCH_H
#define FF_BENCH_H

#include "clock.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Measured values; zero-initialise. The values belong to the struct. */
struct ff_samples {
	double *value;
	size_t count;
	size_t room;
};

/* Append a value. Ends the process when memory runs out. */
void ff_samples_add(struct ff_samples *samples, double value);

/*
 * The smallest value that at least `percent` per cent of all values do not
 * exceed (nearest rank), or NAN when there are none. Sorts the values.
 */
double ff_samples_percentile(struct ff_samples *samples, double percent);

/* The 50th percentile. */
double ff_samples_median(struct ff_samples *samples);

/* Free the values; the struct is then empty and can be used again. */
void ff_samples_clear(struct ff_samples *samples);

/*
 * Wait for a child's end. After the deadline it is killed, and before it the
 * process `also`, if that is not 0. Returns 0 or -1: it had to be killed.
 */
int ff_end_child(pid_t child, pid_t also, int deadline_ms, int *status);

#define FF_TABLE_COLUMNS 10
#define FF_TABLE_CELL 48

/* Rows of text, printed with columns as wide as they need. Zero-initialise. */
struct ff_table {
	char (*row)[FF_TABLE_COLUMNS][FF_TABLE_CELL];
	size_t rows;
	size_t columns; /* used in the current row */
};

/* Begin a new row. */
void ff_table_row(struct ff_table *table);

/* Fill the next cell of the row; text beyond FF_TABLE_CELL is cut. */
void ff_table_text(struct ff_table *table, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Fill the next cell with a number, or with "-" when it is NAN. */
void ff_table_number(struct ff_table *table, double value, int decimals);

/*
 * Print to standard output and empty the table. The first `left` columns are
 * aligned left, the others right.
 */
void ff_table_print(struct ff_table *table, size_t left);

#endif
