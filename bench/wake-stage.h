/* SPDX-License-Identifier: MIT */
#ifndef FF_BENCH_WAKE_STAGE_H
#define FF_BENCH_WAKE_STAGE_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/* The words that are woken and waited on, and what the players write down. */

#define FF_WAKE_ROUNDS 256 /* of one order, at most */
#define FF_WAKE_FENCES 1000
#define FF_WAKE_MESSAGE 64 /* bytes of all messages but fenceferry's own */

/*
 * Two stream sockets, one for each direction: on a single one, whoever takes a
 * message would wake whoever sleeps in recv(2) at its other end.
 */
struct ff_lines {
	int in, out;
};

/* How a wake gets from one side to the other. */
enum ff_way {
	FF_WAY_PLAIN,	   /* both use one futex */
	FF_WAY_THREADS,	   /* as the predecessor does: wake-threads.h */
	FF_WAY_FENCEFERRY, /* run --isolate --relay, and host */
	FF_WAY_ALONE,	   /* run without a relay: there is no peer */
	FF_WAY_SOCKET,	   /* a message on a socket and no futex */
	FF_WAY_NOTIFY,	   /* a trapped call that is let go: no peer */
	FF_WAYS
};

/* Who plays. */
enum ff_side { FF_CLIENT, FF_PEER };

/* One wake's time is 0 if nobody slept. */
struct ff_wake_notes {
	uint32_t to_host_ns[FF_WAKE_ROUNDS]; /* the peer writes this one */
	uint32_t from_host_ns[FF_WAKE_ROUNDS];
	uint32_t call_ns[FF_WAKE_ROUNDS]; /* how long the client's call took */
};

/* A file that both sides map. */
struct ff_stage {
	uint32_t fences;
	uint32_t keeps_apart;	  /* both players, each on its processor */
	_Atomic uint64_t sent_ns; /* when the wake under way was made */
	struct ff_wake_notes notes;
	char file[FF_WAKE_FENCES][128]; /* FENCEFERRY, ALONE: the stand-ins */
	/* the others' fences follow, each with a page of its own */
};

/*
 * A fence. The relays' ways have two words, one in each domain, which always
 * have one value, whoever writes it: only who sleeps on which one differs.
 * fenceferry, which makes domains by itself, has one word: far is own.
 */
struct ff_word {
	_Atomic uint32_t *own; /* of this side */
	_Atomic uint32_t *far;
};

/* Make the file at path. NULL after a message. */
struct ff_stage *ff_stage_make(const char *path, uint32_t fences);

/* Map what is there. NULL with errno. */
struct ff_stage *ff_stage_open(const char *path);

void ff_stage_close(struct ff_stage *stage);

/* Fence number n as that side has it; not FENCEFERRY's or ALONE's. */
struct ff_word ff_stage_word(
	struct ff_stage *stage, uint32_t n, enum ff_way way, enum ff_side side);

/* futex(2) on a word that processes share. */
long ff_futex(_Atomic uint32_t *word, int op, uint32_t value, uint32_t mask);

#endif
