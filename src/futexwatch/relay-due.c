/* SPDX-License-Identifier: MIT */
#include "relay-due.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void ff_due_init(struct ff_relay *relay)
{
	relay->due = NULL;
	relay->due_end = &relay->due;
	relay->gone = NULL;
	relay->gone_count = relay->gone_room = 0;
}

void ff_due_free(struct ff_relay *relay)
{
	while (relay->due)
		ff_due_remove(relay, relay->due);
	free(relay->gone);
	ff_due_init(relay);
}

void ff_due_add(struct ff_relay *relay, struct ff_fence *fence)
{
	if (fence->is_due)
		return;
	fence->is_due = true;
	fence->next_due = NULL;
	fence->this_due = relay->due_end;
	*relay->due_end = fence;
	relay->due_end = &fence->next_due;
}

void ff_due_remove(struct ff_relay *relay, struct ff_fence *fence)
{
	if (!fence->is_due)
		return;
	fence->is_due = false;
	*fence->this_due = fence->next_due;
	if (fence->next_due)
		fence->next_due->this_due = fence->this_due;
	else
		relay->due_end = fence->this_due;
}

void ff_due_add_wakes(struct ff_relay *relay, struct ff_fence *fence,
	uint32_t count)
{
	if (count > INT_MAX - fence->wakes_due)
		fence->wakes_due = INT_MAX;
	else
		fence->wakes_due += count;
	ff_due_add(relay, fence);
}

/* As many at most as the host's end has fences: it was told of each. */
int ff_due_add_gone(struct ff_relay *relay, uint64_t id)
{
	if (relay->gone_count == relay->gone_room) {
		size_t room = relay->gone_room ? relay->gone_room * 2 : 64;
		uint64_t *gone = realloc(relay->gone, room * sizeof(*gone));

		if (!gone)
			return -ENOMEM;
		relay->gone = gone;
		relay->gone_room = room;
	}
	relay->gone[relay->gone_count++] = id;
	return 0;
}

void ff_due_refuse(struct ff_relay *relay, struct ff_fence *fence,
	const char *text, bool for_now)
{
	fence->state = FF_FENCE_REFUSED;
	fence->wakes_due = 0;
	fence->is_refused_for_now = for_now;
	ff_due_remove(relay, fence);
	if (relay->ops.refused && !fence->was_refused)
		relay->ops.refused(relay->ops.context, fence, text);
	fence->was_refused = true;
}

void ff_due_restart(struct ff_relay *relay)
{
	const struct ff_fences *fences = relay->fences;

	free(relay->gone);
	relay->gone = NULL;
	relay->gone_count = relay->gone_room = 0;
	for (size_t i = 0; i < fences->count; i++) {
		struct ff_fence *fence = fences->all[i];

		if (!fence->announced)
			continue;
		fence->state = FF_FENCE_UNTOLD;
		/* What was on its way may not have arrived. */
		fence->wakes_due = INT_MAX;
		ff_due_add(relay, fence);
	}
}

void ff_due_retry(struct ff_relay *relay)
{
	const struct ff_fences *fences = relay->fences;

	for (size_t i = 0; i < fences->count; i++) {
		struct ff_fence *fence = fences->all[i];

		if (fence->state != FF_FENCE_REFUSED ||
			!fence->is_refused_for_now)
			continue;
		fence->state = FF_FENCE_UNTOLD;
		ff_due_add_wakes(relay, fence, INT_MAX);
	}
}

bool ff_due_any(const struct ff_relay *relay)
{
	return relay->due || relay->gone_count;
}

/* An fd with which the host's end can read it and no more, not even move the
 * offset of ours; or -errno. */
static int open_to_read(const struct ff_fence *fence)
{
	char path[32];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fence->standin.fd);
	fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* False if there is no room: one fd at a time. */
static bool put_with_fd(struct ff_relay *relay, struct ff_fence *fence,
	const struct ff_wire *message)
{
	char text[128];
	int fd;

	if (!relay->takes_fds) {
		ff_due_refuse(relay, fence, "its file has no name, and can be "
			"passed only over unix: to a host on the same kernel",
			false);
		return true;
	}
	if (relay->link.out_fd >= 0 || !ff_link_room(&relay->link))
		return false;
	fd = open_to_read(fence);
	if (fd < 0) {
		snprintf(text, sizeof(text), "its file has no name, and cannot "
			"be opened again to be passed: %s", strerror(-fd));
		ff_due_refuse(relay, fence, text, true);
		return true;
	}
	return ff_link_put_fd(&relay->link, message, fd);
}

/* False if there is no room for it. */
static bool put_new(struct ff_relay *relay, struct ff_fence *fence)
{
	const char *name = ff_standin_name(&fence->standin);
	struct ff_wire message = { .type = FF_WIRE_NEW, .id = fence->id,
		.offset = fence->offset };
	bool is_put;

	if (fence->standin.named) {
		memcpy(message.name, name, strnlen(name, FF_WIRE_NAME - 1));
		is_put = ff_link_put(&relay->link, &message);
	} else {
		is_put = put_with_fd(relay, fence, &message);
	}
	if (is_put && fence->state == FF_FENCE_UNTOLD)
		fence->state = FF_FENCE_TOLD;
	return is_put;
}

/* All that is to be told of one fence. False if there is no room for it. */
static bool put_fence(struct ff_relay *relay, struct ff_fence *fence)
{
	struct ff_wire wake = { .type = FF_WIRE_WAKE, .id = fence->id,
		.count = fence->wakes_due };

	if (fence->state == FF_FENCE_UNTOLD && !put_new(relay, fence))
		return false;
	if (fence->wakes_due && fence->state != FF_FENCE_REFUSED &&
		!ff_link_put(&relay->link, &wake))
		return false;
	fence->wakes_due = 0;
	ff_due_remove(relay, fence);
	return true;
}

/* By turns, so that neither waits for the other to end. */
void ff_due_put(struct ff_relay *relay)
{
	while (ff_due_any(relay)) {
		struct ff_wire gone = { .type = FF_WIRE_GONE };

		if (relay->due && !put_fence(relay, relay->due))
			return;
		if (!relay->gone_count)
			continue;
		gone.id = relay->gone[relay->gone_count - 1];
		if (!ff_link_put(&relay->link, &gone))
			return;
		relay->gone_count--;
	}
}
