/* SPDX-License-Identifier: MIT */
#include "listeners.h"

void ff_listeners_tune(const struct ff_listeners *listeners)
{
	for (size_t i = 0; i < listeners->count; i++)
		ff_notify_tune(listeners->all[i].fd);
}

void ff_listeners_want(const struct ff_listeners *listeners,
	struct pollfd *fds)
{
	for (size_t i = 0; i < listeners->count; i++)
		fds[i] = (struct pollfd){
			.fd = listeners->all[i].is_over ? -1 :
				listeners->all[i].fd,
			.events = POLLIN,
		};
}

struct ff_listener *ff_listeners_ready(struct ff_listeners *listeners,
	const struct pollfd *fds)
{
	for (size_t i = 0; i < listeners->count; i++)
		if ((fds[i].revents & (POLLIN | POLLHUP)) == POLLHUP)
			listeners->all[i].is_over = true;
	for (size_t i = 0; i < listeners->count; i++) {
		size_t index = (listeners->next + i) % listeners->count;

		if (fds[index].revents & POLLIN) {
			listeners->next = index + 1;
			return &listeners->all[index];
		}
	}
	return NULL;
}

bool ff_listeners_look_at(struct ff_listeners *listeners, size_t i)
{
	struct ff_listener *listener = &listeners->all[i];
	const uint64_t last = listener->legacy->last_received;
	const size_t turns = (listeners->count + FF_LISTENERS_LOOK - 1) /
		FF_LISTENERS_LOOK;
	const bool called = last != listener->looked_at;
	const bool has_turn = i % turns == listeners->rounds % turns;

	listener->looked_at = last;
	listeners->rounds += i == listeners->count - 1;
	return !listener->is_over && (called || has_turn);
}

bool ff_listeners_are_over(const struct ff_listeners *listeners)
{
	for (size_t i = 0; i < listeners->count; i++)
		if (!listeners->all[i].is_over)
			return false;
	return true;
}

bool ff_listeners_have_hung_up(const struct ff_listeners *listeners)
{
	for (size_t i = 0; i < listeners->count; i++) {
		struct pollfd fd = { .fd = listeners->all[i].fd };

		if (poll(&fd, 1, 0) <= 0 || !(fd.revents & POLLHUP))
			return false;
	}
	return true;
}
