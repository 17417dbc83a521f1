/* SPDX-License-Identifier: MIT */
#ifndef FF_WAITS_H
#define FF_WAITS_H

#include "eventlog.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * Who waits on a fence now: by /proc, from outside, whether fenceferry watches
 * the process or not. No thread is stopped for it.
 */

/* Who has waited for less, ns, may just be about to wake. */
#define FF_WAKING_NS 100000000u

struct ff_wait {
	struct ff_actor actor;
	char process[16]; /* comm of the process */
	/* The fence: "memfd:INODE", or the file's name without directory
	 * ("fenceferry-...", "#INODE" of one that has none); and all of its
	 * name, without " (deleted)". */
	char fence[96], name[256];
	dev_t dev;
	ino_t ino;
	uint64_t offset, address; /* of the word, in the file and there */
	uint32_t expected, value;
	bool has_value; /* it could be read */
	/* For how long the thread has not run. False: not known. */
	bool has_time;
	uint64_t waited_ns;
};

struct ff_waits {
	struct ff_wait *list;
	size_t count, room;
};

/*
 * Append the waits of all threads of pid: in a futex call that is not private,
 * on a word in a shared mapping of at most a page of a memfd, a stand-in, or a
 * file in /dev/shm. (In futex_waitv: of each word.) Threads that end meanwhile
 * are left out. 0; or -errno: -ESRCH, no such process; -EPERM, it may not be
 * looked at; -ENOSYS, the kernel does not tell calls; -ENOMEM.
 */
int ff_waits_add(struct ff_waits *waits, pid_t pid);

/*
 * Files without a name may since have got one, in the directory where stand-ins
 * are: look for them there. Not where their mappings say that they were made: any
 * client could have made that place up, or its file system hang.
 */
void ff_waits_find_names(struct ff_waits *waits, const char *dir);

void ff_waits_free(struct ff_waits *waits);

/* A mapping that may be a fence's; name as that of a wait. */
struct ff_home {
	uint64_t start, end, offset; /* offset in the file: bytes */
	dev_t dev;
	ino_t ino;
	char name[256];
};

struct ff_homes {
	struct ff_home *list;
	size_t count, room;
};

/* Append those of a process. 0 or -errno. Free list after use. */
int ff_waits_homes(pid_t pid, struct ff_homes *homes);

/* The call that a thread blocks in, as /proc/TID/syscall has it. */
struct ff_call_now {
	int nr;
	uint64_t args[6];
};

/* 0; -EAGAIN: it is in none, or runs; or -errno of looking. */
int ff_waits_call(pid_t tid, struct ff_call_now *call);

/* Is nr of this ABI (seccomp_data.arch) restart_syscall, by which a call with a
 * timeout goes on after a stop, with the arguments of before? */
bool ff_waits_is_restart(uint32_t abi, int nr);

/* Which ABI's numbers the calls of a process have (seccomp_data.arch), by its
 * auxiliary vector. That of this program if it can't be told. */
uint32_t ff_waits_abi(pid_t pid);

#endif
