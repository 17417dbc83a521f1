/* SPDX-License-Identifier: MIT */
#ifndef FF_REPORT_SPREAD_H
#define FF_REPORT_SPREAD_H

#include <stdint.h>

/*
 * How numbers are spread, in as much memory for a thousand million of them as
 * for one. Zeros are an empty spread.
 */
struct ff_spread {
	uint64_t count, min, max;
	uint32_t *buckets; /* NULL until the first */
};

void ff_spread_add(struct ff_spread *spread, uint64_t value);

/* The median; exact below 128, and beyond that to 1 in 128. 0 if it is empty,
 * or there was no memory. */
uint64_t ff_spread_median(const struct ff_spread *spread);

void ff_spread_free(struct ff_spread *spread);

#endif
