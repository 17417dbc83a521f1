/* SPDX-License-Identifier: MIT */
#ifndef FF_TEST_RELAY_H
#define FF_TEST_RELAY_H

#include "e2e.h"

#include <unistd.h>

/*
 * Both ends of the relay on one kernel: fenceferry host, a client under
 * fenceferry run, and a peer beside it, which has the client's fences in files
 * and stands for the X server of another kernel.
 */

/* How many rounds make sure of something, or $FF_SOAK_ROUNDS if that is more. */
#ifdef __SANITIZE_ADDRESS__
enum { RELAY_ROUNDS = 4000 };
#else
enum { RELAY_ROUNDS = 20000 };
#endif
enum { RELAY_SOAK_S = 7200 };

/* Such a test may take long if it was told to: as one user is enough. */
#define RELAY_SOAK_TEST(suite, name, server) \
	static void name(void); \
	Test(suite, name, .fini = e2e_end, .timeout = RELAY_SOAK_S) \
	{ \
		e2e_begin(server, geteuid() != 0); \
		name(); \
	} \
	static void name(void)

long relay_rounds(void);

struct relay_host {
	struct e2e_run run;
	char listen[PATH_MAX + 32], shm_dir[96], waiters[32];
};

/* Start one that waits in this way (NULL: the best there is); it listens. */
void relay_host_start(struct relay_host *host, const char *waiters);
/* The same elsewhere: an option, which stays the caller's. */
void relay_host_start_at(struct relay_host *host, const char *listen,
	const char *waiters);

/* By SIGTERM, which it obeys with status 0, having refused nothing; or by
 * SIGKILL. */
void relay_host_stop(struct relay_host *host);
void relay_host_kill(struct relay_host *host);

/* "unix:PATH", where it listens; and "--relay=" with that. */
const char *relay_address(void);
const char *relay_option(void);

/* Wait until the host's end has accepted so many fences of a run, which has
 * woken each of them once by then. */
void relay_await_accepted(const struct e2e_run *run, unsigned int count);

/* A client that plays with a peer: role and anti-role of fence-peer. */
struct relay_pair {
	struct e2e_run client, peer;
	/* In the last so many rounds the client wakes a sleeper of its own. */
	unsigned int sleepers;
	const char *storm; /* an option for the client, or NULL */
	/* What executes the client, and a fence-peer for it; NULL: ours. */
	const char *emulator, *foreign_peer;
	/* Private. */
	char client_rounds[32], client_sleepers[32], peer_rounds[32];
	char fences[2][256];
};

/*
 * Start both, and end them: both were content, and have slept or woken in many
 * of their rounds. The client's options are set by the caller.
 */
void relay_play(struct relay_pair *pair, const char *role,
	const char *anti_role, long rounds, const char *delay);
void relay_finish(struct relay_pair *pair, long rounds);

/*
 * A run of fence-exec waits for a line before it becomes the shell's arguments,
 * fence-peer --ping with RELAY_JOIN_ROUNDS on the first and the last of its
 * fences: let it do so, with a peer, and end both, which are content.
 */
#define RELAY_JOIN "read line; exec \"$@\""
#define RELAY_JOIN_ROUNDS "--rounds=500"
void relay_join(struct e2e_run *run, const char *anti_role);

/* The last part of a path. */
const char *relay_name(const char *path);

#endif
