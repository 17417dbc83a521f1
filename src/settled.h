/* SPDX-License-Identifier: MIT */
#ifndef FF_SETTLED_H
#define FF_SETTLED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * The fds that were dealt with in calls that are made again: after a swap, after
 * one fd of several, or since a tracer interrupts the call that was let go on
 * before its thread woke (tests/coexist.c).
 */

struct ff_settled_fd {
	pid_t tid;
	dev_t dev;
	ino_t ino;
	uint32_t xid; /* 0: not known */
	bool is_over; /* the call was let go on */
};

struct ff_settled {
	struct ff_settled_fd *list;
	size_t count, room;
};

/* Make room for some. 0 or -ENOMEM. */
int ff_settled_init(struct ff_settled *settled);

/* It was dealt with, in a call of tid. */
void ff_settled_add(struct ff_settled *settled, pid_t tid, dev_t dev,
	ino_t ino, uint32_t xid);

/* Was it? In this call; or in the one before, if by its xid, which no two
 * requests share, it is the same. */
bool ff_settled_has(struct ff_settled *settled, pid_t tid, dev_t dev,
	ino_t ino, uint32_t xid);

/* The call of tid is let go on. */
void ff_settled_end(struct ff_settled *settled, pid_t tid);

/* Forget a thread that ended. */
void ff_settled_forget(struct ff_settled *settled, pid_t tid);

void ff_settled_free(struct ff_settled *settled);

#endif
