/* SPDX-License-Identifier: MIT */
#ifndef FF_HOSTLOG_H
#define FF_HOSTLOG_H

#include "eventlog.h"

#include <stddef.h>
#include <stdint.h>

/*
 * What fenceferry host tells: events (doc/fenceferry-events(5)) and lines for
 * people. Peers cause them, so there is a bound on how many a second: the rest
 * is counted in `omitted` of the next one of its kind.
 */

struct ff_hostlog_budget {
	double left;
	uint64_t filled_ns, omitted;
};

struct ff_hostlog {
	struct ff_eventlog events; /* its counters are those of the status */
	struct ff_actor self;
	/* Of each its own: no flood of one kind hides another. */
	struct ff_hostlog_budget peer_lines, fence_lines, wakes, records;
	uint64_t accepted, refused, dropped; /* fences, fences, peers */
};

void ff_hostlog_init(struct ff_hostlog *log);

/* state: "started" or "stopped". */
void ff_hostlog_host(struct ff_hostlog *log, const char *state,
	const char *waiters, size_t listeners);

/* What happened to a peer: "connected", "refused", "dropped", "left". With the
 * reason (NULL: none) and how many fences it had. */
void ff_hostlog_peer(struct ff_hostlog *log, const char *peer,
	const char *action, const char *reason, size_t fences);

/* Somebody who connects cannot be let in, for want of fds or memory. */
void ff_hostlog_unaccepted(struct ff_hostlog *log, int err);

/* What happened to a fence: "accepted", "refused", "gone", "lost". */
void ff_hostlog_fence(struct ff_hostlog *log, const char *name,
	const char *peer, uint64_t id, const char *action, const char *reason);

/* A wake was carried across; FF_TO_HOST: it came from the guest. */
void ff_hostlog_wake(struct ff_hostlog *log, const char *name,
	const char *peer, enum ff_direction direction, uint32_t count);

/* How things stand: a line for people in any case, and an event. */
void ff_hostlog_status(struct ff_hostlog *log, const char *waiters,
	size_t peers, size_t fences);

#endif
