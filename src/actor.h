/* SPDX-License-Identifier: MIT */
#ifndef FF_ACTOR_H
#define FF_ACTOR_H

#include "eventlog.h"

#include <sys/types.h>

/* How many threads are remembered. */
#define FF_ACTORS_MAX 16

/*
 * Who is a thread? Remembered, and so for one thread of ours, and for less than
 * its status costs. 0, or -errno with *actor knowing no more than tid.
 */
int ff_actor_find(pid_t tid, struct ff_actor *actor);

#endif
