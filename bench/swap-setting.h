/* SPDX-License-Identifier: MIT */
#ifndef FF_BENCH_SWAP_SETTING_H
#define FF_BENCH_SWAP_SETTING_H

#include <stdbool.h>
#include <sys/types.h>

#include "supervise.h"
#include "swap-client.h"

/* What stands around the client. */
enum ff_setting {
	FF_BARE,
	FF_NOTIFIED,
	FF_FLOOR,
	FF_REFERENCE,
	FF_FENCEFERRY,
	FF_SETTINGS
};

/* The setting's name in tables and messages. */
extern const char *const ff_setting_name[FF_SETTINGS];

/* How to start clients. */
struct ff_start {
	const char *self;	/* this program, to be run with --client */
	const char *fenceferry; /* the program to measure */
	const char *directory;	/* for sockets */
	const char *log;	/* fenceferry's event log; NULL: none */
	unsigned threads;
	const char *placing; /* "spread" or "packed": see swap-client.h */
	const char *engine;  /* fenceferry's; NULL: ptrace */
	bool backtrace;	     /* fenceferry's --backtrace */
};

/* A running client. */
struct ff_client {
	enum ff_setting setting;
	bool swaps;  /* what crosses is to be no memfd */
	pid_t child; /* what was started: the client or what is around it */
	pid_t pid;   /* the client itself */
	int in, out; /* our ends of its standard streams */
	struct ff_stops *stops; /* its supervisor's, if that is one of ours */
};

/*
 * Start a client and wait until its threads stand ready. Returns 0, or -1
 * after a message; then there is nothing to stop.
 */
int ff_client_start(struct ff_client *c, enum ff_setting setting,
	const struct ff_start *start);

/*
 * Play one round, which must end within a deadline and with what the setting
 * promises: a swapped fd, or an untouched one. Returns 0, or -1 after a
 * message.
 */
int ff_client_play(struct ff_client *c, bool observed, struct ff_round *round);

/*
 * End the client, and wait for what was started. `failed`: with force.
 * Returns 0 if all ended well, or -1 after a message.
 */
int ff_client_stop(struct ff_client *c, bool failed);

#endif
