/* SPDX-License-Identifier: MIT */
#ifndef FF_FUTEXWATCH_PEER_H
#define FF_FUTEXWATCH_PEER_H

#include "admit.h"
#include "hostlog.h"
#include "link.h"
#include "waiters.h"
#include "watched.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One guest at the host's end: its fences, its messages, its limits. */

#define FF_PEERS_MAX 256   /* connections */
#define FF_PEERS_OF_ONE 64 /* of one user or machine */

/* What all have in common. */
struct ff_peers {
	struct ff_peer *list[FF_PEERS_MAX]; /* with gaps */
	struct ff_watched_all watched;
	struct ff_waiters *waiters;
	struct ff_admission admission;
	struct ff_hostlog *log;
	int dir_fd; /* the shm dir */
	unsigned char kernel[FF_WIRE_ID]; /* our boot id */
	size_t max_fences; /* of a guest */
	size_t max_all; /* of all guests */
	uint32_t max_rate; /* messages a second of a guest */
};

enum ff_peer_state {
	FF_PEER_NEW, /* its hello is awaited */
	FF_PEER_LIVE,
	FF_PEER_PARTING, /* refused; is given the time to read that */
	FF_PEER_OVER, /* to be freed by ff_peer_free */
};

struct ff_peer {
	struct ff_peers *peers; /* not ours */
	size_t number; /* in their list */
	enum ff_peer_state state;
	struct ff_identity who;
	struct ff_link link;
	unsigned char guest[FF_WIRE_ID];
	bool watches; /* false: its futexes are our kernel's */
	struct ff_watched_list fences;
	size_t fence_count;
	struct ff_watched_queue due;
	uint64_t began_ns;
	uint64_t heard_ns; /* the last message, or the connect */
	uint64_t stuck_ns; /* since when nothing can be written; 0: it can */
	double tokens; /* messages that it may send now */
	uint64_t tokens_ns;
	bool is_throttled, has_ended;
};

/*
 * Somebody has connected: takes fd. NULL if it was refused at once (too many)
 * or there is no memory; fd is closed then.
 */
struct ff_peer *ff_peer_new(struct ff_peers *peers, int fd,
	const struct ff_identity *who);

/* Read and do what it says, if readable; and write what can be written. */
void ff_peer_serve(struct ff_peer *peer, bool readable, uint64_t now);

/* The same for deadlines: to be called when ff_peer_deadline_ns has passed. */
void ff_peer_tick(struct ff_peer *peer, uint64_t now);
uint64_t ff_peer_deadline_ns(const struct ff_peer *peer);

/* What to poll for, POLLIN and POLLOUT. 0: not even for hangups. */
short ff_peer_events(const struct ff_peer *peer);

/* A fence was woken, or err is not 0. To be sent by ff_peer_serve. */
void ff_peer_woken(struct ff_watched *fence, int err);

/* Part from it: nothing of its fences is left then. action and reason as for
 * the log. */
void ff_peer_end(struct ff_peer *peer, const char *action, const char *reason);

/* One that is over. */
void ff_peer_free(struct ff_peer *peer);

#endif
