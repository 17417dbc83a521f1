/* SPDX-License-Identifier: MIT */
#ifndef FF_FUTEXWATCH_PLACE_H
#define FF_FUTEXWATCH_PLACE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Where an address of another process lies: in which file, and where in it. */
struct ff_place {
	dev_t dev;
	ino_t ino;
	uint64_t offset; /* bytes */
};

/*
 * Remembers /proc/TID/maps files, for those who ask for the same thread again.
 * Such a file stays with the memory that it was opened for: after an exec the
 * kernel says ESRCH, and it is opened anew. (But a child of vfork that asked
 * before it executed is taken for its parent as long as that lives.) That the
 * number is not another thread's by now, a pidfd tells (PIDFD_THREAD, Linux
 * 6.9); without it nothing is remembered. Zero is an empty one.
 */
#define FF_PLACES_MAX 64

struct ff_places {
	struct ff_places_file {
		pid_t tid; /* 0: unused */
		int maps, pidfd;
	} files[FF_PLACES_MAX];
	size_t next;
};

/*
 * Find the shared mapping of a file that address lies in: by PROCMAP_QUERY
 * (Linux 6.11), else by the text of /proc/TID/maps. 0; -ENOENT: there is none,
 * or it is private or of no file; or -errno.
 */
int ff_places_find(struct ff_places *places, pid_t tid, uint64_t address,
	struct ff_place *place);

/* Forget a thread that ended. */
void ff_places_forget(struct ff_places *places, pid_t tid);

void ff_places_free(struct ff_places *places);

#endif
