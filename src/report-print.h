/* SPDX-License-Identifier: MIT */
#ifndef FF_REPORT_PRINT_H
#define FF_REPORT_PRINT_H

#include "report-sum.h"

#include <stdio.h>

/* What is told of the log itself. */
struct ff_log_facts {
	const char *path;
	uint64_t lines, broken_lines;
	bool is_unfinished;
};

/* For people: sections in which there is nothing are left out. Lines are cut to
 * columns characters; 0: they are not. */
void ff_report_print(FILE *out, const struct ff_sum *sum,
	const struct ff_log_facts *facts, unsigned int columns);

/* The same as one JSON object, as doc/fenceferry-report.1 has it. 0, or -1
 * without memory. */
int ff_report_json(FILE *out, const struct ff_sum *sum,
	const struct ff_log_facts *facts);

/* The tables' items, those with the largest number first. */
typedef uint64_t ff_report_number(const void *item);
void **ff_report_sort(const struct ff_table *table, ff_report_number *number);

#endif
