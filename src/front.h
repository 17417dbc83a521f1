/* SPDX-License-Identifier: MIT */
#ifndef FF_FRONT_H
#define FF_FRONT_H

#include "eventlog.h"
#include "launch.h"

#include <signal.h>

/* The front: what the shell sees of the command (launch.h). */

struct ff_front_message {
	enum ff_news news;
	int status;
};

/* What the caller of fenceferry had set, for the command to inherit. */
struct ff_front_signals {
	sigset_t mask;
	struct sigaction child; /* SIGCHLD, which we need */
};

/* Every signal that means something to a command, but for its own faults. */
void ff_front_signal_set(sigset_t *set);

/* Block what the front hands on or waits for; before the first fork. */
void ff_front_take_signals(struct ff_front_signals *original);

/* In the command: as it was. */
void ff_front_restore_signals(const struct ff_front_signals *original);

/*
 * Until the command has ended: hand on signals, stop when it stops, and if the
 * supervisor dies let all trapped calls go on. Returns the exit status, or
 * dies of the signal the command died of.
 */
int ff_front(int supervisor_socket, pid_t supervisor,
	const struct ff_legacy *legacy, const struct ff_launch *launch);

#endif
