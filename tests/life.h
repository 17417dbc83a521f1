/* SPDX-License-Identifier: MIT */
#ifndef FF_TEST_LIFE_H
#define FF_TEST_LIFE_H

#include "e2e.h"

/* A number with a fraction; -1 if the event has no such number. */
double life_real(json_t *event, const char *key);

#endif
