/* SPDX-License-Identifier: MIT */
#ifndef FF_REPORT_TEXT_H
#define FF_REPORT_TEXT_H

#include <stdint.h>
#include <stdio.h>

/* How what others have made up, names above all, is written for people. */

/*
 * Write UTF-8 text; what a terminal could obey instead of showing it (control
 * characters, and those that turn the direction of writing) becomes '?'. At
 * most columns characters, the last three of a longer text being dots; 0: all.
 * NULL is written as nothing.
 */
void ff_text_put(FILE *out, const char *text, unsigned int columns);

/* The same, but to a buffer of size bytes, which is never overrun. */
void ff_text_clean(char *buffer, size_t size, const char *text);

/* Microseconds for people: "870 us", "12.3 ms", "4.56 s", "3 min 2 s". Returns
 * the buffer. */
const char *ff_text_duration(char buffer[32], uint64_t us);

#endif
