/* SPDX-License-Identifier: MIT */
#ifndef FF_POOL_H
#define FF_POOL_H

#include "error.h"
#include "standin.h"

#include <stdbool.h>
#include <stddef.h>

/* Stand-ins of size 0 that are made while nobody waits, to be given away. */

#define FF_POOL_SIZE 8

/* What is given away. */
struct ff_ready {
	struct ff_standin standin;
	int fd; /* a description of its own, for the client */
};

struct ff_pool {
	const char *dir; /* not ours, and so is dir_fd */
	int dir_fd;
	bool keeps_names; /* where they cannot be made without */
	struct ff_ready ready[FF_POOL_SIZE];
	size_t count;
	bool is_failing; /* the last could not be made */
};

/* Is there room for more, and a point in trying? */
bool ff_pool_wants(const struct ff_pool *pool);

/* Make one more, if there is room. 0, or -errno with *error filled. */
int ff_pool_fill(struct ff_pool *pool, struct ff_error *error);

/* Take one, which is made now if there is none. 0, or -errno with *error
 * filled. */
int ff_pool_take(struct ff_pool *pool, struct ff_ready *ready,
	struct ff_error *error);

/* Close what was taken, and not given away after all. */
void ff_pool_drop(const struct ff_pool *pool, struct ff_ready *ready);

void ff_pool_free(struct ff_pool *pool);

#endif
