/* SPDX-License-Identifier: MIT */
#ifndef FF_FUTEXWATCH_WATCHED_H
#define FF_FUTEXWATCH_WATCHED_H

#include "wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

/* The host's registry of the fences of all guests. */

struct ff_peer;

struct ff_watched {
	struct ff_peer *peer;
	uint64_t id; /* the peer's name for it */
	char name[FF_WIRE_NAME];
	dev_t dev; /* where the word is; not if there is no fd */
	ino_t ino;
	uint64_t offset; /* bytes */
	int fd; /* -1: not watched: the guest's kernel is ours, or lost */
	uint32_t slot; /* of the waiters */
	uint64_t token; /* of the registry */
	/* What the peer is still to be told: it was woken, or why it is lost. */
	bool is_due;
	enum ff_wire_reason lost; /* 0: it is not */
	LIST_ENTRY(ff_watched) by_id, by_place, of_peer;
	TAILQ_ENTRY(ff_watched) due;
};

LIST_HEAD(ff_watched_list, ff_watched);
TAILQ_HEAD(ff_watched_queue, ff_watched);

struct ff_watched_all {
	size_t count;
	struct ff_watched_list *by_id, *by_place; /* hash tables */
	size_t buckets; /* a power of 2 */
	uint64_t seed; /* guests choose ids: they shall not choose chains */
	struct ff_watched_slot *slots; /* what tokens stand for */
	size_t slot_room;
	uint32_t free_slot;
};

/* 0 or -ENOMEM. */
int ff_watched_init(struct ff_watched_all *all);

/* To be called when all were removed. */
void ff_watched_free(struct ff_watched_all *all);

/*
 * Add what has peer, id, name, fd, dev, ino and offset of *from; its token is
 * made. It is in none of the peer's lists. NULL: no memory.
 */
struct ff_watched *ff_watched_add(struct ff_watched_all *all,
	const struct ff_watched *from);

/* Remove and free it; the fd is the caller's. */
void ff_watched_remove(struct ff_watched_all *all, struct ff_watched *fence);

/* Its place may be another's from now on (it has no fd any more). */
void ff_watched_leave_place(struct ff_watched *fence);

struct ff_watched *ff_watched_by_id(const struct ff_watched_all *all,
	const struct ff_peer *peer, uint64_t id);
struct ff_watched *ff_watched_by_place(const struct ff_watched_all *all,
	dev_t dev, ino_t ino, uint64_t offset);

/* NULL: it was removed since. */
struct ff_watched *ff_watched_by_token(const struct ff_watched_all *all,
	uint64_t token);

#endif
