/* SPDX-License-Identifier: MIT */
#ifndef FF_TESTS_DOCTOR_REPORT_H
#define FF_TESTS_DOCTOR_REPORT_H

#include "e2e.h"

/* What fenceferry doctor has written for people, line by line. */

/* The state of a check or a use, "" if there is no such line. In static memory
 * until the next call. */
const char *report_state(const struct e2e_run *run, const char *check);

/* Its whole line, "" likewise. */
const char *report_line(const struct e2e_run *run, const char *check);

/* How many lines have that state. */
unsigned int report_count(const struct e2e_run *run, const char *state);

/* Fail unless the check has that state, and its line contains text. */
void report_expect(const struct e2e_run *run, const char *check,
	const char *state, const char *text);

#endif
