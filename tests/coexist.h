/* SPDX-License-Identifier: MIT */
#ifndef FF_TEST_COEXIST_H
#define FF_TEST_COEXIST_H

#include "e2e.h"

/* Clients under fenceferry, and debuggers beside them. */

/* For e2e_run.setting: a sanitized program cannot look for leaks while it is
 * traced, nor where ptrace is forbidden. */
#define COEXIST_SETTING "ASAN_OPTIONS=detect_leaks=0"

/* A file in the test's directory; in static memory of four. */
const char *coexist_path(const char *name);

/* The one process below the front's supervisor: the command. */
pid_t coexist_command(const struct e2e_run *run);

/*
 * strace attaches to pid, writing to file coexist_path(name). It was attached
 * once begun is true; it was refused if refused is.
 */
struct coexist_strace {
	struct e2e_run run;
	const char *path;
	char pid[16];
	bool begun, refused;
};
void coexist_attach(struct coexist_strace *strace, pid_t pid, const char *name);

/* Wait until it has seen this text, SIGINT, and see that it detaches well. */
void coexist_detach(struct coexist_strace *strace, const char *text);

/* The client of a run said OK, with status 0. */
void coexist_check_ok(const struct e2e_run *run);

/*
 * The log of a run without relay: fences were swapped by notify alone, so many;
 * no crossing failed, none was logged twice.
 */
void coexist_check_notified(const struct e2e_run *run, unsigned int fences);

/* So many crossings were refused for being traced, as failed or left. */
void coexist_check_traced(
	const struct e2e_run *run, const char *action, unsigned int count);

#endif
