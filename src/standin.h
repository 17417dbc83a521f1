/* SPDX-License-Identifier: MIT */
#ifndef FF_STANDIN_H
#define FF_STANDIN_H

#include "error.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Files in the shm dir that take the place of memfds. */

struct ff_standin {
	int fd;	   /* read and write; holds flock(LOCK_EX): this one is alive */
	dev_t dev;
	ino_t ino;
	bool named; /* still has a name in the directory */
	char path[256]; /* as the log shows it; "DIR/#INODE" if never named */
};

/*
 * Make one of size bytes, mode 0600, owned by uid and gid. If named, or where
 * the file system has no O_TMPFILE, it has a name until ff_standin_unlink:
 * fenceferry-BOOT-RANDOM, BOOT being 8 hexadecimal digits that tell this
 * kernel's boot, RANDOM 16. Room for it, or for a page if size is 0, is made
 * sure of as far as the file system tells. dir is the directory's path, dir_fd
 * an fd of it. 0, or -errno with *error filled.
 */
int ff_standin_create(const char *dir, int dir_fd, uint64_t size, uid_t uid,
	gid_t gid, bool named, struct ff_standin *standin,
	struct ff_error *error);

/*
 * Give one a name that was made without (linkat(2)). 0, or -errno: -ENOENT for
 * files of others, opened with O_TMPFILE and O_EXCL, or whose name was removed.
 */
int ff_standin_give_name(const char *dir, int dir_fd,
	struct ff_standin *standin);

/* Its name, without the directory; "#INODE" if it was never named. */
const char *ff_standin_name(const struct ff_standin *standin);

/* Is this a name as ff_standin_create makes them, of any boot? */
bool ff_standin_is_name(const char *name);

/* This kernel's boot, which /proc/sys/kernel/random/boot_id tells. 0, or -errno
 * (-EPROTO: it is not there as expected). */
#define FF_BOOT_ID 16
int ff_boot_id(unsigned char id[FF_BOOT_ID]);

/* Take its name away, if it has one. */
void ff_standin_unlink(struct ff_standin *standin, int dir_fd);

/* Unlink and close. Zero is allowed after a failed create. */
void ff_standin_close(struct ff_standin *standin, int dir_fd);

/* Remove stand-ins of ours, made since this kernel's boot, that a crash left
 * behind: nobody holds their lock. Those of other kernels that share the
 * directory are left alone, for locks do not cross. Returns how many. */
int ff_standin_sweep(int dir_fd);

/* Open the shm dir and make sure that stand-ins can be made in it. An fd, or
 * -errno with *error filled. */
int ff_standin_open_dir(const char *dir, struct ff_error *error);

#endif
