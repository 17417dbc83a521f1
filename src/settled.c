/* SPDX-License-Identifier: MIT */
#include "settled.h"

#include "process.h"

#include <errno.h>
#include <stdlib.h>

#define ROOM 32

int ff_settled_init(struct ff_settled *settled)
{
	*settled = (struct ff_settled){ .room = ROOM };
	settled->list = calloc(ROOM, sizeof(*settled->list));
	return settled->list ? 0 : -ENOMEM;
}

/* Threads that ended before they made their call again. */
static void drop_dead(struct ff_settled *settled)
{
	size_t kept = 0;

	for (size_t i = 0; i < settled->count; i++)
		if (ff_process_exists(settled->list[i].tid))
			settled->list[kept++] = settled->list[i];
	settled->count = kept;
}

void ff_settled_add(struct ff_settled *settled, pid_t tid, dev_t dev,
	ino_t ino, uint32_t xid)
{
	if (settled->count == settled->room)
		drop_dead(settled);
	if (settled->count == settled->room) {
		size_t room = settled->room + ROOM;
		void *more = realloc(settled->list,
			room * sizeof(*settled->list));

		/* Better forget another than try this one for ever. */
		if (!more)
			settled->count = 0;
		else
			settled->list = more;
		if (more)
			settled->room = room;
	}
	settled->list[settled->count++] =
		(struct ff_settled_fd){ tid, dev, ino, xid, false };
}

bool ff_settled_has(struct ff_settled *settled, pid_t tid, dev_t dev,
	ino_t ino, uint32_t xid)
{
	for (size_t i = 0; i < settled->count; i++) {
		struct ff_settled_fd *fd = &settled->list[i];

		if (fd->tid != tid || fd->dev != dev || fd->ino != ino ||
			(fd->is_over && (!xid || fd->xid != xid)))
			continue;
		fd->is_over = false;
		return true;
	}
	return false;
}

void ff_settled_end(struct ff_settled *settled, pid_t tid)
{
	size_t kept = 0;

	for (size_t i = 0; i < settled->count; i++) {
		struct ff_settled_fd fd = settled->list[i];

		/* Of an earlier call than this. */
		if (fd.tid == tid && fd.is_over)
			continue;
		if (fd.tid == tid)
			fd.is_over = true;
		settled->list[kept++] = fd;
	}
	settled->count = kept;
}

void ff_settled_forget(struct ff_settled *settled, pid_t tid)
{
	size_t kept = 0;

	for (size_t i = 0; i < settled->count; i++)
		if (settled->list[i].tid != tid)
			settled->list[kept++] = settled->list[i];
	settled->count = kept;
}

void ff_settled_free(struct ff_settled *settled)
{
	free(settled->list);
	*settled = (struct ff_settled){ 0 };
}
