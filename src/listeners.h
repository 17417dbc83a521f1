/* SPDX-License-Identifier: MIT */
#ifndef FF_LISTENERS_H
#define FF_LISTENERS_H

#include "launch.h"
#include "notify.h"

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>

/*
 * Where trapped calls come from: a listener for each filter that was installed.
 * One for a command that we start and all it forks; one for each process that
 * ran already.
 */

struct ff_listener {
	int fd;
	struct ff_legacy *legacy; /* for who answers its calls should we die */
	bool is_over; /* nobody is left under its filter */
};

struct ff_listeners {
	struct ff_listener *all;
	size_t count;
	size_t next; /* whose turn it is */
};

/* Have notifiers and supervisor share a CPU (ff_notify_tune). */
void ff_listeners_tune(const struct ff_listeners *listeners);

/* Fill fds, one for each, for poll(2). */
void ff_listeners_want(const struct ff_listeners *listeners,
	struct pollfd *fds);

/* After poll: note which are over. Returns one that has a notification, each in
 * its turn, or NULL. */
struct ff_listener *ff_listeners_ready(struct ff_listeners *listeners,
	const struct pollfd *fds);

/* Is nobody left under any filter, as far as polls have told? */
bool ff_listeners_are_over(const struct ff_listeners *listeners);

/* The same, asked now. */
bool ff_listeners_have_hung_up(const struct ff_listeners *listeners);

#endif
