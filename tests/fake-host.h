/* SPDX-License-Identifier: MIT */
#ifndef FF_TESTS_FAKE_HOST_H
#define FF_TESTS_FAKE_HOST_H

#include "fence.h"
#include "futexwatch/relay.h"

#include <stdbool.h>

/*
 * A relay, and in place of 'fenceferry host' what the test wants its host to
 * do. Both ends run in one thread: whatever waits for the host's end serves the
 * relay meanwhile.
 */

/* What the host does with one that connects. */
struct welcome {
	uint32_t version, features;
	bool same_kernel;
	bool other_guest; /* its hello is for another */
	bool no_hello;
	enum ff_wire_reason reason; /* then it refuses */
	const char *garbage;	    /* comes first, as long as a message */
	bool end;		    /* then it closes */
};

extern const struct welcome friendly;

extern struct ff_relay relay;
extern struct ff_fences fences;
extern int host; /* the connection; blocking */
extern struct ff_wire hello; /* what the guest said */

/* What the relay told, last and how often. */
extern struct told {
	struct ff_fence *woken;
	uint32_t count;
	unsigned int wakes, refusals, losses, returns;
	char refused[128], lost[256];
} told;

/* A socket in the directory of the test; as .init and .fini. */
void make_host(void);
void remove_host(void);

/* ff_relay_open with a host that does this; transport FF_UNIX or FF_CHAR. */
int open_relay(const struct welcome *welcome, enum ff_transport transport,
	int timeout_ms, struct ff_error *error);
void open_friendly(void);

/* Serve the relay for a moment, at most ms. */
void serve(int ms);

/* Wait for it to connect again, and welcome it. */
void accept_again(const struct welcome *welcome);

/* Stop and begin to listen. */
void stop_host(void);
void start_host(void);

/* The next message to the host, of this type and for this id. */
struct ff_wire get(enum ff_wire_type type, uint64_t id);

/* The same with the fd that comes along: -1 if none does. */
struct ff_wire get_with_fd(enum ff_wire_type type, uint64_t id, int *fd);

/* There is none, whatever the relay does. */
void get_nothing(void);

void put(struct ff_wire message);
void put_bytes(const void *bytes, size_t size);
void put_garbage(const char *text); /* as long as a message */

/* The relay lives and has handled all that was put. */
void settle(void);

/* Register a file, with a name or without. */
struct ff_fence *make_fence(bool named);

/* Make a fence and announce it; accepted, if so. */
struct ff_fence *add_fence(void);
struct ff_fence *add_accepted(void);

/* As the supervisor does. */
void drop_fence(struct ff_fence *fence);

/* Wait until *number is at least so. */
void wait_for(const unsigned int *number, unsigned int least);

#endif
