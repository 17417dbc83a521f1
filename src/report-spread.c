/* SPDX-License-Identifier: MIT */
#include "report-spread.h"

#include <stdlib.h>

/* For each power of two from 128 on, so many buckets of the same width. */
enum {
	FINE_BITS = 6,
	FINE = 1 << FINE_BITS,
	BUCKETS = (65 - FINE_BITS) * FINE,
};

/* By how much the bucket's values are shifted. */
static unsigned int find_shift(uint64_t value)
{
	unsigned int bits = value ? 64 - (unsigned int)__builtin_clzll(value) :
		0;

	return bits > FINE_BITS + 1 ? bits - FINE_BITS - 1 : 0;
}

void ff_spread_add(struct ff_spread *spread, uint64_t value)
{
	unsigned int shift = find_shift(value);

	if (!spread->count || value < spread->min)
		spread->min = value;
	if (value > spread->max)
		spread->max = value;
	spread->count++;
	if (!spread->buckets)
		spread->buckets = calloc(BUCKETS, sizeof(*spread->buckets));
	if (spread->buckets)
		spread->buckets[shift * FINE + (value >> shift)]++;
}

/* The middle of a bucket. */
static uint64_t bucket_value(unsigned int bucket)
{
	unsigned int shift = bucket < 2 * FINE ? 0 : bucket / FINE - 1;
	uint64_t low = (uint64_t)(bucket - shift * FINE) << shift;

	return low + ((1ull << shift) >> 1);
}

uint64_t ff_spread_median(const struct ff_spread *spread)
{
	uint64_t seen = 0, value;

	for (unsigned int i = 0; spread->buckets && i < BUCKETS; i++) {
		seen += spread->buckets[i];
		if (2 * seen < spread->count || !seen)
			continue;
		value = bucket_value(i);
		return value > spread->max ? spread->max :
			value < spread->min ? spread->min : value;
	}
	return 0;
}

void ff_spread_free(struct ff_spread *spread)
{
	free(spread->buckets);
	spread->buckets = NULL;
}
