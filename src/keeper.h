/* SPDX-License-Identifier: MIT */
#ifndef FF_KEEPER_H
#define FF_KEEPER_H

#include "error.h"
#include "filter.h"
#include "launch.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * What stays when attach ends: a filter cannot be removed, and who is under one
 * whose listener nobody has, gets ENOSYS for each trapped call. So there is a
 * keeper, a process of its own session that holds duplicates of all listeners.
 * While an attach is connected to it it only holds them; when that ends, in
 * whatever way, it answers what was left unanswered, and lets calls go on until
 * nobody is left to make any.
 *
 * It is there before the first filter is. ps shows it as fenceferry-keep; a
 * later attach finds it by an abstract socket, whose name has the pid and the
 * start time of the process that was attached to.
 */

#define FF_KEPT_MAX 240 /* listeners: one message carries them all */
#define FF_KEPT_LEFT 64

/* In memory that the keeper shares with the attach that is connected. */
struct ff_kept {
	char version[32]; /* of the fenceferry that made it */
	size_t size;	  /* of this structure */
	pid_t root;	  /* who was attached to */
	uint64_t start;	  /* struct ff_birth */
	struct ff_filter_options filter; /* what all are under */
	/* The fewest filters that one of them was under, with ours, when it got
	 * that: whoever has more may since have got some of its own. */
	unsigned int filters;
	/* A listener appears in this process, by a call of this thread, with the
	 * number that is then to be read there (ff_install_result): should attach
	 * die before the keeper was given it, it is to be fetched. 0: in none. */
	_Atomic pid_t announced, announced_by;
	_Atomic uint64_t announced_at;
	/* Who was left out: they, and what they start, are under no filter of
	 * ours. The first so many. */
	pid_t left[FF_KEPT_LEFT];
	size_t left_count;
	size_t count;
	struct ff_kept_listener {
		pid_t pid; /* in which it was installed */
		struct ff_legacy legacy;
	} listeners[FF_KEPT_MAX];
};

/* An attach's end. */
struct ff_keeper {
	int socket; /* to be polled: it hangs up when the keeper dies */
	pid_t pid;
	struct ff_kept *kept; /* root's may be an ordinary user's: not to be
				 trusted, and changed at any time */
};

/*
 * Start a keeper for root, with no listener yet. 0, or -errno with *error
 * filled (-EADDRINUSE: there is one).
 */
int ff_keeper_start(struct ff_keeper *keeper, pid_t root, uint64_t start,
	const struct ff_filter_options *filter, struct ff_error *error);

/*
 * Connect to the one that there is. The listeners, *listeners of them, in the
 * order of keeper->kept->listeners, go to fds, and are the caller's. 0; -ENOENT
 * if there is none; or another -errno with *error filled (-EBUSY: another attach
 * is connected).
 */
int ff_keeper_find(struct ff_keeper *keeper, pid_t root, uint64_t start,
	int fds[FF_KEPT_MAX], size_t *listeners, struct ff_error *error);

/*
 * Let it keep one more: it has its duplicate when this returns. The index in
 * kept->listeners; or -errno with *error filled.
 */
int ff_keeper_add(struct ff_keeper *keeper, pid_t pid, int listener,
	struct ff_error *error);

/* Disconnect: it takes over. */
void ff_keeper_leave(struct ff_keeper *keeper);

/* The keeper itself (fenceferry keep, which nobody else is to call): its socket
 * is fd 0, the shared memory fd 1. Returns its exit status. */
int ff_keep(void);

/* Between the two. */
enum ff_keeper_word {
	FF_KEEPER_READY,   /* from it: err, its pid; shared memory, listeners */
	FF_KEEPER_REFUSED, /* from it: err, and the pid of who is connected */
	FF_KEEPER_TAKE,	   /* to it: index, and a listener */
	FF_KEEPER_TAKEN,   /* from it: index */
};

struct ff_keeper_message {
	enum ff_keeper_word word;
	int err;
	pid_t pid;
	size_t index;
};

struct sockaddr_un;

/* The name of its socket. Returns the address's length. */
unsigned int ff_keeper_address(struct sockaddr_un *address, pid_t root,
	uint64_t start);

bool ff_keeper_is_listener(int fd);

/* Send or receive one, with at most *count fds. 0, or -errno (-EPIPE: gone;
 * -EPROTO: no message of ours; then no fds stay open). */
int ff_keeper_send(int socket, const struct ff_keeper_message *message,
	const int *fds, size_t count);
int ff_keeper_receive(int socket, struct ff_keeper_message *message, int *fds,
	size_t *count);

#endif
