/* SPDX-License-Identifier: MIT */
#ifndef FF_DOCTOR_PRINT_H
#define FF_DOCTOR_PRINT_H

#include "doctor-checkup.h"

#include <stdio.h>

/* Print the findings and what they mean for each use: a line for each, or one
 * JSON object. 0, or -1 with errno: they could not all be written. */
int ff_print_text(const struct ff_checkup *checkup, FILE *out);
int ff_print_json(const struct ff_checkup *checkup, FILE *out);

#endif
