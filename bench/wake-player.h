/* SPDX-License-Identifier: MIT */
#ifndef FF_BENCH_WAKE_PLAYER_H
#define FF_BENCH_WAKE_PLAYER_H

#include <sys/types.h>

#include "wake-stage.h"

/*
 * The two that wake each other, each a process with one thread. Orders and
 * answers go through a SOCK_SEQPACKET socket; the peer is told first, and the
 * client once the peer has said that it is ready.
 */

enum ff_order_kind {
	/* rounds: the client wakes the peer, which after a pause wakes the
	 * client, which pauses; the notes tell the times */
	FF_ORDER_ROUNDS,
	FF_ORDER_RALLY, /* the same without pauses; value: rounds a second */
	/* the client wakes for msec ms as fast as it goes; value: wakes a
	 * second. The peer has a thread wait on each fence, until COUNT; value:
	 * how often one woke up. */
	FF_ORDER_FLOOD,
	FF_ORDER_COUNT,
	/* client only: what a call costs, for msec ms; value: median ns */
	FF_ORDER_COST,
	FF_ORDER_LEAVE,
};

/* The calls of FF_ORDER_COST: wakes with nobody waiting. */
enum ff_wake_call {
	FF_CALL_PRIVATE,
	FF_CALL_SHARED, /* no fence */
	FF_CALL_FENCE,
	FF_CALLS
};

struct ff_order {
	enum ff_order_kind kind;
	uint32_t rounds, msec;
	uint32_t first; /* ROUNDS, RALLY: the fence to begin with */
	enum ff_wake_call call;
};

/* The first is sent unasked, when the player is ready for orders. */
struct ff_answer {
	pid_t pid;
	double value;
	char error[88]; /* not empty: it went wrong */
};

/*
 * Play one side until the socket for orders ends, or LEAVE. `lines` are
 * FF_WAY_SOCKET's. `path` is the stage's; the client of fenceferry makes its X
 * socket beside it, at path with a -X. Returns an exit status.
 */
int ff_wake_play(const char *path, enum ff_way way, enum ff_side side,
	int orders, struct ff_lines lines);

#endif
