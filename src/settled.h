/* SPDX-License-Identifier: MIT */
#ifndef FF_SETTLED_H
#define FF_SETTLED_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* The fds that were dealt with in calls that are going to be made again. */

struct ff_settled_fd {
	pid_t tid;
	dev_t dev;
	ino_t ino;
};

struct ff_settled {
	struct ff_settled_fd *list;
	size_t count, room;
};

/* Make room for some. 0 or -ENOMEM. */
int ff_settled_init(struct ff_settled *settled);

void ff_settled_add(struct ff_settled *settled, pid_t tid, dev_t dev,
	ino_t ino);
bool ff_settled_has(const struct ff_settled *settled, pid_t tid, dev_t dev,
	ino_t ino);

/* The call of tid is over, or tid is. */
void ff_settled_forget(struct ff_settled *settled, pid_t tid);

void ff_settled_free(struct ff_settled *settled);

#endif
