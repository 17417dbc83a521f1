/* SPDX-License-Identifier: MIT */
#include "pool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void ff_pool_drop(const struct ff_pool *pool, struct ff_ready *ready)
{
	if (ready->fd >= 0)
		close(ready->fd);
	ready->fd = -1;
	ff_standin_close(&ready->standin, pool->dir_fd);
}

/* Offset, flags and lock of the client's are not to be ours: leases, too, see
 * no other holder in a mere duplicate (fence.h). */
static int make(struct ff_pool *pool, struct ff_ready *ready,
	struct ff_error *error)
{
	char path[32];
	int err = ff_standin_create(pool->dir, pool->dir_fd, 0, geteuid(),
		getegid(), false, &ready->standin, error);

	pool->is_failing = err != 0;
	if (err)
		return err;
	if (!pool->keeps_names)
		ff_standin_unlink(&ready->standin, pool->dir_fd);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", ready->standin.fd);
	ready->fd = open(path, O_RDWR | O_CLOEXEC);
	if (ready->fd >= 0)
		return 0;
	err = ff_fail(error, errno, "cannot open the stand-in %s again: %s",
		ready->standin.path, strerror(errno));
	pool->is_failing = true;
	ff_pool_drop(pool, ready);
	return err;
}

bool ff_pool_wants(const struct ff_pool *pool)
{
	return pool->count < FF_POOL_SIZE && !pool->is_failing;
}

int ff_pool_fill(struct ff_pool *pool, struct ff_error *error)
{
	int err;

	if (pool->count == FF_POOL_SIZE)
		return 0;
	err = make(pool, &pool->ready[pool->count], error);
	pool->count += !err;
	return err;
}

int ff_pool_take(struct ff_pool *pool, struct ff_ready *ready,
	struct ff_error *error)
{
	if (!pool->count)
		return make(pool, ready, error);
	*ready = pool->ready[--pool->count];
	return 0;
}

void ff_pool_free(struct ff_pool *pool)
{
	while (pool->count)
		ff_pool_drop(pool, &pool->ready[--pool->count]);
}
