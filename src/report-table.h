/* SPDX-License-Identifier: MIT */
#ifndef FF_REPORT_TABLE_H
#define FF_REPORT_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Items by name, in the order in which they came. An item is a struct whose
 * first member is `char *key`; it begins as zeros. A log can make us make any
 * number of them, so there is a limit: what comes beyond shares one item, whose
 * key is FF_TABLE_REST.
 */

#define FF_TABLE_REST "(others)"

struct ff_table {
	size_t item_size; /* to be set, and the next */
	size_t limit;
	size_t count, room;
	unsigned char *items;
	uint32_t *slots; /* item + 1, or 0 */
	size_t slot_count; /* a power of two */
	uint64_t seed;
};

/*
 * The item of this key, which is copied; made if it is not there. NULL without
 * memory. Valid until the next call.
 */
void *ff_table_get(struct ff_table *table, const char *key);

/* A new item of this key, which is no longer found by it if there is one
 * already: that keeps its place. Beyond the limit as ff_table_get. */
void *ff_table_renew(struct ff_table *table, const char *key);

/* As ff_table_get, but NULL if it is not there. */
void *ff_table_find(const struct ff_table *table, const char *key);

/* Item number index, which is below count. */
void *ff_table_at(const struct ff_table *table, size_t index);

/* Which one is item? */
size_t ff_table_index(const struct ff_table *table, const void *item);

/* Free the items, with their keys; what else they own has gone before. */
void ff_table_free(struct ff_table *table);

#endif
