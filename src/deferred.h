/* SPDX-License-Identifier: MIT */
#ifndef FF_DEFERRED_H
#define FF_DEFERRED_H

#include "notify.h"

#include <stddef.h>

/* Trapped calls that are put off: what must not be done in the middle of a swap
 * is done after it. */
struct ff_deferred {
	struct ff_notification *calls; /* the oldest first */
	size_t count, room;
};

/* Put one off. Without memory for it, it is let go on at once. */
void ff_deferred_add(struct ff_deferred *deferred,
	const struct ff_notification *call);

/* Take the oldest; there must be one. */
struct ff_notification ff_deferred_take(struct ff_deferred *deferred);

/* The least id of one that came from this listener, UINT64_MAX if there is
 * none. */
uint64_t ff_deferred_oldest(const struct ff_deferred *deferred, int listener);

/* Let all go on, and free the list. */
void ff_deferred_free(struct ff_deferred *deferred);

#endif
