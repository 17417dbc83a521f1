/* SPDX-License-Identifier: MIT */
#ifndef FF_BENCH_WAKE_PAIR_H
#define FF_BENCH_WAKE_PAIR_H

#include <sys/types.h>

#include "supervise.h"
#include "wake-player.h"

/* The way's name in tables and messages. */
extern const char *const ff_way_name[FF_WAYS];

/* How to start pairs. */
struct ff_wake_start {
	const char *self;	/* this program, to be run with --client */
	const char *fenceferry; /* the program to measure */
	const char *directory;	/* in /dev/shm; stand-ins go there too */
	uint32_t fences;
	uint32_t keeps_apart; /* client and peer, each on its processor */
};

/* A player, as seen from outside. */
struct ff_wake_player {
	pid_t child; /* what was started: the player or what is around it */
	pid_t pid;   /* the player itself; 0: not known */
	int orders;
};

/* A client, its peer, and what carries wakes between them. */
struct ff_wake_pair {
	enum ff_way way;
	struct ff_stage *stage;
	char path[128];			    /* the stage's */
	struct ff_stops *stops;		    /* NOTIFY's supervisor's */
	struct ff_wake_player client, peer; /* child 0: there is none */
	pid_t carrier[2]; /* THREADS: both ends; FENCEFERRY: the host's */
	struct ff_lines lines[2]; /* the client's ends, and the peer's */
	uint32_t next;		  /* fence */
};

/* Start all of it, and play until each fence was heard. 0, or -1 after a
 * message; then there is nothing to stop. */
int ff_pair_start(struct ff_wake_pair *pair, enum ff_way way,
	const struct ff_wake_start *start);

/*
 * Give an order, and wait for its end. client and peer, which may be NULL,
 * become the answers' values. 0, or -1 after a message.
 */
int ff_pair_play(struct ff_wake_pair *pair, const struct ff_order *order,
	double *client, double *peer);

/* End it all. `failed`: with force. 0, or -1 after a message. */
int ff_pair_stop(struct ff_wake_pair *pair, int failed);

#endif
