/* SPDX-License-Identifier: MIT */
#ifndef FF_TESTS_REPORT_RUN_H
#define FF_TESTS_REPORT_RUN_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* Run `fenceferry report`, and look at what it writes. What takes half a minute
 * fails the test. */

enum { REPORT_ARGS = 8 };

struct report {
	/* What to run. */
	const char *args[REPORT_ARGS]; /* behind "report"; ended by NULL */
	const char *input; /* its standard input; NULL: /dev/null */
	size_t input_size; /* 0: of input as a string */
	const char *output_path; /* instead of reading its standard output */
	bool as_user;

	/* What came of it; ended by a zero byte, from malloc. */
	int status; /* exit status, or 256 + signal */
	char *output, *errors;
	size_t output_size;
	long peak_kb; /* of its memory */
};

void report_do(struct report *report);
void report_free(struct report *report);

/* The same with a log of this text, by standard input, and one option (or
 * NULL). */
void report_text(struct report *report, const char *option, const char *log);

/* Its output as JSON, which the test fails without. */
json_t *report_parse(const struct report *report);

/* Number or text by a path such as "crossings.0.left". */
long long report_number(json_t *json, const char *path);
const char *report_string(json_t *json, const char *path);

/* The test fails unless this is a trace as the Trace Event Format has it, with
 * spans that nest. Returns how many events there are of that phase. */
unsigned int report_check_trace(json_t *trace, const char *phase);

/* The event of a trace with that phase and name; NULL if there is none. */
json_t *report_find(json_t *trace, const char *phase, const char *name);

/* Fail with all that is known unless condition holds. */
#define report_check(report, condition) \
	cr_assert(condition, "%s\nstatus %d\n%.3000s\n%.2000s", #condition, \
		(report)->status, (report)->output, (report)->errors)

#endif
