/* SPDX-License-Identifier: MIT */
#ifndef FF_BENCH_FENCE_SETTING_H
#define FF_BENCH_FENCE_SETTING_H

#include <stdbool.h>
#include <sys/types.h>

#include "fence-client.h"
#include "supervise.h"

/* What stands around the client, and which libxshmfence it has. */
enum ff_fence_setting {
	FF_FENCE_BARE,
	FF_FENCE_TRAPPED, /* a listener that lets the sendmsg go; here the
			     references are measured */
	FF_FENCE_PTRACE,
	FF_FENCE_NOTIFY,
	FF_FENCE_AUTO,
	FF_FENCE_PATCHED_ALONE,
	FF_FENCE_PATCHED,
	FF_FENCE_SETTINGS
};

/* The setting's name in tables and messages. */
extern const char *const ff_fence_setting_name[FF_FENCE_SETTINGS];

/* How to start clients; DISPLAY names the server. */
struct ff_fence_start {
	const char *self;	/* this program, to be run with --client */
	const char *fenceferry; /* NULL: without the settings that want it */
	const char *patched;	/* directory of libxshmfence.so.1, or NULL:
				   without the settings that want it */
};

/* Can this setting be had? */
bool ff_fence_has_setting(
	enum ff_fence_setting setting, const struct ff_fence_start *start);

/* A running client. */
struct ff_fence_client_process {
	enum ff_fence_setting setting;
	pid_t child; /* what was started: the client or what is around it */
	pid_t pid;   /* the client itself */
	int orders;  /* our end of its standard streams */
	struct ff_stops *stops; /* its supervisor's, if that is one of ours */
};

/*
 * Start a client and wait until it is connected. Returns 0, or -1 after a
 * message; then there is nothing to stop.
 */
int ff_fence_start(struct ff_fence_client_process *c,
	enum ff_fence_setting setting, const struct ff_fence_start *start);

/*
 * Have it make one fence, which must be there within a deadline, in such memory
 * as the setting promises. Returns 0, or -1 after a message.
 */
int ff_fence_play(
	struct ff_fence_client_process *c, struct ff_fence_round *round);

/*
 * End the client, and wait for what was started. `failed`: with force.
 * Returns 0 if all ended well, or -1 after a message.
 */
int ff_fence_stop(struct ff_fence_client_process *c, bool failed);

#endif
