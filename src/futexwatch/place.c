/* SPDX-License-Identifier: MIT */
#include "place.h"

#include "compat.h"
#include "process.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

static void drop(struct ff_places_file *file)
{
	if (!file->tid)
		return;
	if (file->maps >= 0)
		close(file->maps);
	if (file->pidfd >= 0)
		close(file->pidfd);
	*file = (struct ff_places_file){ 0 };
}

static struct ff_places_file *find_file(struct ff_places *places, pid_t tid)
{
	for (size_t i = 0; i < FF_PLACES_MAX; i++)
		if (places->files[i].tid == tid)
			return &places->files[i];
	return NULL;
}

/* Is it still that thread? While others share its memory, the maps file does
 * not tell, and another process may have the number meanwhile. */
static bool lives(const struct ff_places_file *file)
{
	struct pollfd fd = { .fd = file->pidfd, .events = POLLIN };

	return poll(&fd, 1, 0) == 0;
}

/* Open it, and keep it for the next time, where there are pidfds of threads. */
static int find_anew(struct ff_places *places, pid_t tid, uint64_t address,
	struct ff_vma *vma)
{
	/* First the pidfd: if it lives later on, maps is that thread's. */
	struct ff_places_file *file, opened = {
		.tid = tid,
		.maps = -1,
		.pidfd = (int)syscall(SYS_pidfd_open, tid, PIDFD_THREAD),
	};
	char path[32];
	int err;

	snprintf(path, sizeof(path), "/proc/%d/maps", tid);
	opened.maps = open(path, O_RDONLY | O_CLOEXEC);
	err = opened.maps < 0 ? -errno :
				ff_process_vma_at(opened.maps, address, vma);
	if (opened.pidfd < 0 || (err && err != -ENOENT)) {
		drop(&opened);
		return err;
	}
	file = &places->files[places->next];
	drop(file);
	*file = opened;
	places->next = (places->next + 1) % FF_PLACES_MAX;
	return err;
}

int ff_places_find(struct ff_places *places, pid_t tid, uint64_t address,
	struct ff_place *place)
{
	struct ff_places_file *file = find_file(places, tid);
	struct ff_vma vma;
	int err = -ESRCH;

	if (file && lives(file))
		err = ff_process_vma_at(file->maps, address, &vma);
	if (err == -ESRCH) { /* by exec it gets other memory */
		if (file)
			drop(file);
		err = find_anew(places, tid, address, &vma);
	}
	if (err)
		return err;
	if (!(vma.flags & FF_VMA_SHARED) || !vma.ino)
		return -ENOENT;
	*place = (struct ff_place){
		.dev = vma.dev,
		.ino = vma.ino,
		.offset = vma.offset + (address - vma.start),
	};
	return 0;
}

void ff_places_forget(struct ff_places *places, pid_t tid)
{
	struct ff_places_file *file = find_file(places, tid);

	if (file)
		drop(file);
}

void ff_places_free(struct ff_places *places)
{
	for (size_t i = 0; i < FF_PLACES_MAX; i++)
		drop(&places->files[i]);
}
