/* SPDX-License-Identifier: MIT */
#include "deferred.h"

#include <stdlib.h>
#include <string.h>

void ff_deferred_add(struct ff_deferred *deferred,
	const struct ff_notification *call)
{
	if (deferred->count == deferred->room) {
		size_t room = deferred->room + 16;
		void *more = realloc(deferred->calls, room * sizeof(*call));

		if (!more) {
			ff_notify_continue(call->listener, call->id);
			return;
		}
		deferred->calls = more;
		deferred->room = room;
	}
	deferred->calls[deferred->count++] = *call;
}

struct ff_notification ff_deferred_take(struct ff_deferred *deferred)
{
	struct ff_notification call = deferred->calls[0];

	memmove(deferred->calls, deferred->calls + 1,
		--deferred->count * sizeof(call));
	return call;
}

uint64_t ff_deferred_oldest(const struct ff_deferred *deferred, int listener)
{
	uint64_t oldest = UINT64_MAX;

	for (size_t i = 0; i < deferred->count; i++)
		if (deferred->calls[i].listener == listener &&
			deferred->calls[i].id < oldest)
			oldest = deferred->calls[i].id;
	return oldest;
}

void ff_deferred_free(struct ff_deferred *deferred)
{
	for (size_t i = 0; i < deferred->count; i++)
		ff_notify_continue(deferred->calls[i].listener,
			deferred->calls[i].id);
	free(deferred->calls);
	*deferred = (struct ff_deferred){ 0 };
}
