/* SPDX-License-Identifier: MIT */
#include "watched.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { FIRST_BUCKETS = 64 };

#define NO_SLOT UINT32_MAX

/* A token is the number of a slot, and above it how often that was used. */
struct ff_watched_slot {
	struct ff_watched *fence;
	uint32_t uses, next_free;
};

static uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

static size_t id_bucket(const struct ff_watched_all *all,
	const struct ff_peer *peer, uint64_t id)
{
	return mix(mix(id + all->seed) + (uintptr_t)peer) & (all->buckets - 1);
}

static size_t place_bucket(const struct ff_watched_all *all, dev_t dev,
	ino_t ino, uint64_t offset)
{
	return mix(mix(mix(ino + all->seed) + dev) + offset) &
		(all->buckets - 1);
}

static void insert_place(struct ff_watched_all *all, struct ff_watched *fence)
{
	LIST_INSERT_HEAD(&all->by_place[place_bucket(all, fence->dev,
		fence->ino, fence->offset)], fence, by_place);
}

static void insert(struct ff_watched_all *all, struct ff_watched *fence)
{
	LIST_INSERT_HEAD(&all->by_id[id_bucket(all, fence->peer, fence->id)],
		fence, by_id);
	if (fence->fd >= 0)
		insert_place(all, fence);
}

/* Twice the buckets; without memory the chains just get longer. */
static void grow_tables(struct ff_watched_all *all)
{
	size_t buckets = all->buckets * 2;
	struct ff_watched_list *by_id = calloc(buckets, sizeof(*by_id)),
			       *by_place = calloc(buckets, sizeof(*by_place));

	if (!by_id || !by_place) {
		free(by_id);
		free(by_place);
		return;
	}
	free(all->by_id);
	free(all->by_place);
	all->by_id = by_id;
	all->by_place = by_place;
	all->buckets = buckets;
	for (size_t i = 0; i < all->slot_room; i++)
		if (all->slots[i].fence)
			insert(all, all->slots[i].fence);
}

static bool grow_slots(struct ff_watched_all *all)
{
	size_t room = all->slot_room ? all->slot_room * 2 : FIRST_BUCKETS;
	struct ff_watched_slot *slots =
		realloc(all->slots, room * sizeof(*slots));

	if (!slots)
		return false;
	for (size_t i = all->slot_room; i < room; i++)
		slots[i] = (struct ff_watched_slot){ NULL, 0,
			i + 1 < room ? (uint32_t)i + 1 : NO_SLOT };
	all->free_slot = (uint32_t)all->slot_room;
	all->slots = slots;
	all->slot_room = room;
	return true;
}

int ff_watched_init(struct ff_watched_all *all)
{
	*all = (struct ff_watched_all){
		.buckets = FIRST_BUCKETS,
		.by_id = calloc(FIRST_BUCKETS, sizeof(*all->by_id)),
		.by_place = calloc(FIRST_BUCKETS, sizeof(*all->by_place)),
		.free_slot = NO_SLOT,
	};
	if (getrandom(&all->seed, sizeof(all->seed), GRND_NONBLOCK) < 0)
		all->seed = (uintptr_t)all->by_id;
	return all->by_id && all->by_place ? 0 : -ENOMEM;
}

void ff_watched_free(struct ff_watched_all *all)
{
	free(all->by_id);
	free(all->by_place);
	free(all->slots);
	*all = (struct ff_watched_all){ 0 };
}

struct ff_watched *ff_watched_add(struct ff_watched_all *all,
	const struct ff_watched *from)
{
	struct ff_watched_slot *slot;
	struct ff_watched *fence;

	if (all->free_slot == NO_SLOT && !grow_slots(all))
		return NULL;
	fence = malloc(sizeof(*fence));
	if (!fence)
		return NULL;
	*fence = *from;
	slot = &all->slots[all->free_slot];
	fence->token = (uint64_t)++slot->uses << 32 | all->free_slot;
	all->free_slot = slot->next_free;
	insert(all, fence);
	slot->fence = fence;
	if (++all->count > all->buckets)
		grow_tables(all);
	return fence;
}

void ff_watched_leave_place(struct ff_watched *fence)
{
	LIST_REMOVE(fence, by_place);
	fence->fd = -1;
}

void ff_watched_remove(struct ff_watched_all *all, struct ff_watched *fence)
{
	uint32_t number = (uint32_t)fence->token;

	LIST_REMOVE(fence, by_id);
	if (fence->fd >= 0)
		LIST_REMOVE(fence, by_place);
	all->slots[number].fence = NULL;
	all->slots[number].next_free = all->free_slot;
	all->free_slot = number;
	all->count--;
	free(fence);
}

struct ff_watched *ff_watched_by_id(const struct ff_watched_all *all,
	const struct ff_peer *peer, uint64_t id)
{
	struct ff_watched *fence;

	LIST_FOREACH(fence, &all->by_id[id_bucket(all, peer, id)], by_id)
		if (fence->id == id && fence->peer == peer)
			return fence;
	return NULL;
}

struct ff_watched *ff_watched_by_place(const struct ff_watched_all *all,
	dev_t dev, ino_t ino, uint64_t offset)
{
	struct ff_watched *fence;

	LIST_FOREACH(fence, &all->by_place[place_bucket(all, dev, ino, offset)],
		by_place)
		if (fence->ino == ino && fence->dev == dev &&
			fence->offset == offset)
			return fence;
	return NULL;
}

struct ff_watched *ff_watched_by_token(const struct ff_watched_all *all,
	uint64_t token)
{
	uint32_t number = (uint32_t)token;

	return number < all->slot_room && all->slots[number].fence &&
			all->slots[number].fence->token == token ?
		all->slots[number].fence : NULL;
}
