/* SPDX-License-Identifier: MIT */
#ifndef FF_TESTS_FORBID_H
#define FF_TESTS_FORBID_H

#include <stdbool.h>
#include <stdint.h>

/* What this kernel cannot do, from now on and as far as this process and its
 * children can tell: a call ends with an errno. */
void forbid(long number, int err);

/* Only if this argument is the value (BPF_JEQ), or has one of its bits
 * (BPF_JSET). */
void forbid_argument(long number, unsigned int argument, uint16_t test,
	uint32_t value, int err);

/* The query of mappings that came with Linux 6.11, PROCMAP_QUERY. */
void forbid_query(void);
bool has_query(void);

#endif
