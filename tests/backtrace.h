/* SPDX-License-Identifier: MIT */
#ifndef BACKTRACE_H
#define BACKTRACE_H

#include "e2e.h"

/* What the tests of --backtrace have in common. */

enum { BACKTRACE_TEXT = 4096 };

/* The victim of 64 or 32 bits, or the one that is stripped (0), in this mode
 * under this engine, to its end. */
void backtrace_do(struct e2e_run *run, int bits, const char *engine,
	const char *mode);

/* The same up to where it says so, by a copy of it in the test's directory. */
void backtrace_start_copy(struct e2e_run *run, const char *engine,
	const char *mode);

/*
 * The names in a stack, innermost first, joined by " < "; "~" before those that
 * are inlined, "?" for those without. In static memory.
 */
const char *backtrace_names(json_t *event);

/* Frame number index from the one with this name on, or NULL. */
json_t *backtrace_frame(json_t *event, const char *name, size_t index);

/* Has it frames of this function in this file and line? */
bool backtrace_has_line(json_t *event, const char *name, const char *place);

/*
 * Compare addresses with what the client said of them, from the caller of
 * send_one on: all that there are in the stack must be those. Returns how many;
 * *truth becomes the number that there should be.
 */
unsigned int backtrace_compare(const struct e2e_run *run, json_t *event,
	unsigned int *truth);

/* The crossing is traced by this way, whole, and just as the client says. */
void backtrace_check_whole(const struct e2e_run *run, json_t *event,
	const char *by);

/* The one process that names frames, a child of the front. */
pid_t backtrace_symbols_process(const struct e2e_run *run);

#endif
