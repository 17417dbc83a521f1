/* SPDX-License-Identifier: MIT */
#ifndef FF_CHOICE_H
#define FF_CHOICE_H

#include "cargo.h"
#include "crossing.h"

/* What is to be done about an fd that crosses, and by which engine. */

/* The one who sends, and where to. */
struct ff_sender {
	struct ff_actor actor;
	struct ff_status status; /* where ptrace was thought of */
	struct ff_server *server;
	uint64_t begin_ns; /* when we began to look, CLOCK_MONOTONIC */
};

enum ff_way {
	FF_WAY_LEAVE, /* let it cross as it is */
	FF_WAY_FAIL,  /* the same, but it should not */
	FF_WAY_MADE,  /* nothing: it was made as a stand-in */
	FF_WAY_TAKE,  /* it can serve as a stand-in */
	FF_WAY_SWAP,  /* by ptrace */
};

struct ff_choice {
	enum ff_way way;
	struct ff_fence *made; /* that it is; or NULL */
	char reason[FF_REASON_SIZE]; /* "" of MADE and SWAP */
};

/* Fill *choice, zeroed by the caller, and for SWAP sender->status. The first
 * time that a process is not served for a reason of its own, the log is told. */
void ff_choose(struct ff_crossings *crossings, struct ff_sender *sender,
	const struct ff_cargo *cargo, struct ff_choice *choice);

#endif
