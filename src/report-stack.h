/* SPDX-License-Identifier: MIT */
#ifndef FF_REPORT_STACK_H
#define FF_REPORT_STACK_H

#include <stddef.h>

struct json_t;

/* Call stacks as events have them: arrays of frames, the innermost first. Any
 * JSON may be given for one. */

#define FF_STACK_FRAMES 64

/* "symbol+0x12 (module file:line)", or as much of it as is known. Cut to size;
 * clean (report-text.h). */
void ff_stack_frame(const struct json_t *frame, char *text, size_t size);

/*
 * Where in the program a stack comes from: its innermost frame that is not in
 * the C library, the X libraries or those of GL; if there is none, the first
 * that is not in the C or X libraries; else the first of all. Written as "symbol
 * (module file:line)": calls from the same line are one site. "" if the stack
 * has no frames.
 */
void ff_stack_site_name(const struct json_t *stack, char *text, size_t size);

/* At most FF_STACK_FRAMES of the stack's frames, to be kept: a reference of its
 * own. NULL if there are none. */
struct json_t *ff_stack_keep(const struct json_t *stack);

#endif
