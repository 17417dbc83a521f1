/* SPDX-License-Identifier: MIT */
#include "report-table.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { FIRST_SLOTS = 64 };

/* Seeded, so that a log cannot be made to have all keys in one place. */
static uint64_t hash(const struct ff_table *table, const char *key)
{
	uint64_t h = table->seed;

	for (; *key; key++) {
		h = (h ^ (unsigned char)*key) * 0x9e3779b97f4a7c15u;
		h ^= h >> 29;
	}
	return h;
}

void *ff_table_at(const struct ff_table *table, size_t index)
{
	return table->items + index * table->item_size;
}

size_t ff_table_index(const struct ff_table *table, const void *item)
{
	return (size_t)((const unsigned char *)item - table->items) /
		table->item_size;
}

static const char *key_at(const struct ff_table *table, size_t index)
{
	return *(char **)ff_table_at(table, index);
}

/* The slot that the key has, or may have. There is a free one. */
static uint32_t *find_slot(const struct ff_table *table, const char *key)
{
	size_t mask = table->slot_count - 1;
	size_t slot = (size_t)hash(table, key) & mask;

	while (table->slots[slot] &&
		strcmp(key_at(table, table->slots[slot] - 1), key) != 0)
		slot = (slot + 1) & mask;
	return &table->slots[slot];
}

void *ff_table_find(const struct ff_table *table, const char *key)
{
	const uint32_t *slot;

	if (!table->slot_count)
		return NULL;
	slot = find_slot(table, key);
	return *slot ? ff_table_at(table, *slot - 1) : NULL;
}

/* Twice the slots. */
static bool widen(struct ff_table *table)
{
	size_t count = table->slot_count ? 2 * table->slot_count : FIRST_SLOTS;
	uint32_t *slots = calloc(count, sizeof(*slots));

	if (!slots)
		return false;
	if (!table->slot_count && getrandom(&table->seed, sizeof(table->seed),
			GRND_NONBLOCK) < 0)
		table->seed = (uintptr_t)slots;
	free(table->slots);
	table->slots = slots;
	table->slot_count = count;
	for (size_t i = 0; i < table->count; i++)
		*find_slot(table, key_at(table, i)) = (uint32_t)i + 1;
	return true;
}

static bool make_room(struct ff_table *table)
{
	size_t room = table->room ? 2 * table->room : 16;
	unsigned char *items;

	if (2 * table->count >= table->slot_count && !widen(table))
		return false;
	if (table->count < table->room)
		return true;
	items = reallocarray(table->items, room, table->item_size);
	if (!items)
		return false;
	table->items = items;
	table->room = room;
	return true;
}

void *ff_table_get(struct ff_table *table, const char *key)
{
	void *item = ff_table_find(table, key);

	return item ? item : ff_table_renew(table, key);
}

void *ff_table_renew(struct ff_table *table, const char *key)
{
	void *item;
	char *copy;

	if (table->count >= table->limit) {
		key = FF_TABLE_REST;
		item = ff_table_find(table, key);
		if (item)
			return item;
	}
	copy = strdup(key);
	if (!copy || !make_room(table)) {
		free(copy);
		return NULL;
	}
	item = ff_table_at(table, table->count++);
	memset(item, 0, table->item_size);
	*(char **)item = copy;
	*find_slot(table, key) = (uint32_t)table->count;
	return item;
}

void ff_table_free(struct ff_table *table)
{
	for (size_t i = 0; i < table->count; i++)
		free(*(char **)ff_table_at(table, i));
	free(table->items);
	free(table->slots);
	table->items = NULL;
	table->slots = NULL;
	table->count = table->room = table->slot_count = 0;
}
