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
	uint64_t looked_at; /* the last call that was received by then */
};

/* So many silent ones are looked at in one round. */
#define FF_LISTENERS_LOOK 4

struct ff_listeners {
	struct ff_listener *all;
	size_t count;
	size_t next; /* whose turn it is */
	size_t rounds; /* of looks */
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

/*
 * Each look for calls that signals have ended keeps all others waiting. Is all[i]
 * to be looked at in this round? (The last one ends it.) It is if calls came since
 * the last time; of the silent ones a few are, in their turn.
 */
bool ff_listeners_look_at(struct ff_listeners *listeners, size_t i);

/* Is nobody left under any filter, as far as polls have told? */
bool ff_listeners_are_over(const struct ff_listeners *listeners);

/* The same, asked now. */
bool ff_listeners_have_hung_up(const struct ff_listeners *listeners);

#endif
