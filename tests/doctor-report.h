/* SPDX-License-Identifier: MIT */
#ifndef FF_TESTS_DOCTOR_REPORT_H
#define FF_TESTS_DOCTOR_REPORT_H

#include "e2e.h"

/* Run fenceferry doctor, and read what it wrote for people, line by line. */

/* Add words, up to NULL, to the command. */
void doctor_command(struct e2e_run *run, const char *const words[]);

/* Run it with the test's shm dir and an option (or NULL), by the command that
 * is there already, if any. */
void doctor_consult(struct e2e_run *run, const char *option);

/* The same by a shell script: "$@" is the doctor, $0 the shm dir. */
void doctor_by_shell(struct e2e_run *run, const char *script);

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

/* The same for what fenceferry is used for: "run --engine=auto". */
void report_works(const struct e2e_run *run, const char *use,
	const char *state);

#endif
