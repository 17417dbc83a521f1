/* SPDX-License-Identifier: MIT */
#ifndef FF_FUTEXWATCH_RELAY_H
#define FF_FUTEXWATCH_RELAY_H

#include "fence.h"
#include "link.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * The guest's end of the relay: tells the host of fences and wakes, and hands
 * on what the host says. Nothing here ever blocks after ff_relay_open: what
 * cannot be sent yet stays noted in the fences themselves, so that no queue
 * can overflow and no wake is lost. A lost link is made anew, with backoff;
 * then all fences are announced again, and each is woken once on both sides.
 */

struct ff_relay_ops {
	void *context;
	/* The host's side was woken: wake up to count here. */
	void (*wake)(void *context, struct ff_fence *fence, uint32_t count);
	/* The host refused the fence, or gave it up (text: why). */
	void (*refused)(void *context, const struct ff_fence *fence,
		const char *text);
	/* The link was lost (text: why), or is there again (NULL). While it is
	 * lost, once more if the host then refuses us (text: why). */
	void (*changed)(void *context, const char *text);
};

struct ff_relay {
	struct ff_address address;
	uint32_t features;
	struct ff_fences *fences; /* not ours */
	struct ff_relay_ops ops;
	struct ff_link link; /* fd -1: none now */
	unsigned char guest[FF_WIRE_ID];
	unsigned char kernel[FF_WIRE_ID]; /* our boot id */
	bool is_open; /* from the first hello on: what is lost is made anew */
	bool is_live; /* hellos were exchanged */
	bool takes_fds; /* ... and told that the host's end takes fds */
	bool is_refused; /* and ops.changed was told so */
	uint64_t live_ns;     /* since when */
	uint64_t deadline_ns; /* of the connect, the hello or the next ping */
	bool owes_ping; /* there was no room for it */
	uint64_t pong_ns;     /* by when a pong must have come; 0: none due */
	uint64_t pings;	      /* the last one's id */
	unsigned int backoff_ms;
	struct ff_fence *due, **due_end; /* fences with something to tell */
	uint64_t *gone; /* ids to be told */
	size_t gone_count, gone_room;
};

/*
 * Connect and exchange hellos, within timeout_ms. 0, or -errno with *error
 * filled: nobody there, refused, permission, other version; then there is
 * nothing to close. *relay must stay where it is.
 */
int ff_relay_open(struct ff_relay *relay, const struct ff_address *address,
	uint32_t features, struct ff_fences *fences,
	const struct ff_relay_ops *ops, int timeout_ms,
	struct ff_error *error);

/* What is still to be told goes out first, if the host takes it at once. */
void ff_relay_close(struct ff_relay *relay);

/* What to poll: an fd, -1 while there is none, and the events. */
int ff_relay_fd(const struct ff_relay *relay);
short ff_relay_events(const struct ff_relay *relay);

/* When ff_relay_serve wants to be called in any case, CLOCK_MONOTONIC. */
uint64_t ff_relay_deadline_ns(const struct ff_relay *relay);

/* To be called after poll, revents 0 if none or at a deadline. */
void ff_relay_serve(struct ff_relay *relay, short revents);

/* Does the host's end, or did it when it was there last, take fences whose files
 * have no name? On unix sockets and within one kernel it does. */
bool ff_relay_takes_fds(const struct ff_relay *relay);

/*
 * Tell of a fence in the registry: by its name, or, if it has none, by an fd,
 * with which the host's end can read it. Where that is not possible
 * ops.refused is called, perhaps at once. Up to this call the host's end hears
 * nothing of the fence, whatever else is called for it.
 */
void ff_relay_announce(struct ff_relay *relay, struct ff_fence *fence);

/* The client woke up to count on it. Sent at once if the link takes it. */
void ff_relay_wake(struct ff_relay *relay, struct ff_fence *fence,
	uint32_t count);

/* The fence is about to be removed from the registry. */
void ff_relay_gone(struct ff_relay *relay, struct ff_fence *fence);

#endif
