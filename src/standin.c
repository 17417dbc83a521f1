/* SPDX-License-Identifier: MIT */
#include "standin.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#define PREFIX "fenceferry-"
#define BOOT_DIGITS 8
#define RANDOM_DIGITS 16

/* Up to here all pages are allocated at once; beyond, a memfd may well be
 * sparse, and only the file system's free space is looked at. */
#define ALLOCATE_MAX (16u << 20)

/* How many times a name may be taken, or be swept before we lock it. */
#define NAME_TRIES 16

static int fail(struct ff_error *error, const char *dir, int err)
{
	const char *hint = "";

	if (err == ENOSPC || err == EDQUOT)
		hint = " (make room there, or choose another with --shm-dir)";
	else if (err == EACCES || err == EPERM || err == EROFS)
		hint = " (make it writable, or choose another with --shm-dir)";
	else if (err == ENOENT || err == ENOTDIR)
		hint = " (mount a tmpfs there, or choose another with "
		       "--shm-dir)";
	else if (err == EFBIG)
		hint = " (raise the limit on file sizes, ulimit -f)";
	else if (err == EMFILE)
		hint = " (raise the limit on open files, ulimit -n)";
	return ff_fail(error, err, "cannot make stand-ins in %s: %s%s", dir,
		strerror(err), hint);
}

static int digit_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int read_boot_id(unsigned char id[FF_BOOT_ID])
{
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	char text[64];
	ssize_t size;
	size_t digits = 0;

	if (fd < 0)
		return -errno;
	size = read(fd, text, sizeof(text));
	close(fd);
	memset(id, 0, FF_BOOT_ID);
	for (ssize_t i = 0; i < size && digits < 2 * FF_BOOT_ID; i++) {
		int value = digit_value(text[i]);

		if (value < 0)
			continue;
		id[digits / 2] |= (unsigned char)(digits % 2 ? value :
			value << 4);
		digits++;
	}
	return digits == 2 * FF_BOOT_ID ? 0 : -EPROTO;
}

int ff_boot_id(unsigned char id[FF_BOOT_ID])
{
	static unsigned char known[FF_BOOT_ID];
	static bool is_known;

	if (!is_known) {
		int err = read_boot_id(known);

		if (err)
			return err;
		is_known = true;
	}
	memcpy(id, known, FF_BOOT_ID);
	return 0;
}

/* What the names of this boot begin with. 0 or -errno. */
static int make_prefix(char prefix[32])
{
	unsigned char id[FF_BOOT_ID];
	int err = ff_boot_id(id);

	if (!err)
		snprintf(prefix, 32, PREFIX "%02x%02x%02x%02x-", id[0], id[1],
			id[2], id[3]);
	return err;
}

static bool are_digits(const char *text, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (digit_value(text[i]) < 0)
			return false;
	return true;
}

bool ff_standin_is_name(const char *name)
{
	const char *boot = name + strlen(PREFIX);
	const char *random = boot + BOOT_DIGITS + 1;

	return !strncmp(name, PREFIX, strlen(PREFIX)) &&
		are_digits(boot, BOOT_DIGITS) && boot[BOOT_DIGITS] == '-' &&
		are_digits(random, RANDOM_DIGITS) &&
		random[RANDOM_DIGITS] == '\0';
}

/* A name that none is likely to have. 0 or -errno. */
static int make_name(char name[64])
{
	unsigned long long random;
	char prefix[32];
	int err = make_prefix(prefix);

	if (err)
		return err;
	if (getrandom(&random, sizeof(random), 0) != sizeof(random))
		return -errno;
	snprintf(name, 64, "%s%016llx", prefix, random);
	return 0;
}

/* An open file that has a name of its own, or -errno. */
static int create_named(int dir_fd, char name[64])
{
	for (int i = 0; i < NAME_TRIES; i++) {
		struct stat st;
		int err = make_name(name), fd;

		if (err)
			return err;
		fd = openat(dir_fd, name,
			O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
			0600);
		if (fd < 0 && errno != EEXIST)
			return -errno;
		if (fd < 0)
			continue;
		/* Another's sweep may be as quick as we are. */
		if (flock(fd, LOCK_EX | LOCK_NB) == 0 && fstat(fd, &st) == 0 &&
			st.st_nlink == 1)
			return fd;
		unlinkat(dir_fd, name, 0);
		close(fd);
	}
	return -EEXIST;
}

static void set_path(struct ff_standin *standin, const char *dir,
	const char *name)
{
	standin->named = true;
	snprintf(standin->path, sizeof(standin->path), "%.180s/%s", dir, name);
}

static int make_room(int fd, uint64_t size)
{
	struct statfs fs;

	if (ftruncate(fd, (off_t)size) < 0)
		return -errno;
	/* Who makes it larger may write to it at once. */
	if (size == 0)
		return fallocate(fd, FALLOC_FL_KEEP_SIZE, 0,
			sysconf(_SC_PAGESIZE)) < 0 && errno != EOPNOTSUPP ?
			-errno : 0;
	if (size <= ALLOCATE_MAX) {
		if (fallocate(fd, 0, 0, (off_t)size) < 0 && errno != EOPNOTSUPP)
			return -errno;
		/* With DAX, what was never written is the zero page, on which
		 * futex calls fail with EFAULT (tests/vm.c:rounds_by_vsock). */
		return pwrite(fd, "", 1, 0) == 1 ? 0 : -errno;
	}
	if (fstatfs(fd, &fs) < 0)
		return -errno;
	return fs.f_blocks && (uint64_t)fs.f_bavail * (uint64_t)fs.f_bsize <
		size ? -ENOSPC : 0;
}

/* With or without a name, locked: this one is alive. 0 or -errno. */
static int create_file(const char *dir, int dir_fd, bool named,
	struct ff_standin *standin)
{
	char name[64];

	if (!named) {
		standin->fd = openat(dir_fd, ".",
			O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
		if (standin->fd >= 0)
			return flock(standin->fd, LOCK_EX | LOCK_NB) < 0 ?
				-errno : 0;
		/* Before O_TMPFILE (3.11), and where a file system lacks it. */
		if (errno != EOPNOTSUPP && errno != EISDIR &&
			errno != EINVAL && errno != ENOENT)
			return -errno;
	}
	standin->fd = create_named(dir_fd, name);
	if (standin->fd < 0)
		return standin->fd;
	set_path(standin, dir, name);
	return 0;
}

int ff_standin_create(const char *dir, int dir_fd, uint64_t size, uid_t uid,
	gid_t gid, bool named, struct ff_standin *standin,
	struct ff_error *error)
{
	struct stat st;
	int err;

	*standin = (struct ff_standin){ .fd = -1 };
	err = create_file(dir, dir_fd, named, standin);
	if (!err)
		err = make_room(standin->fd, size);
	if (!err && fstat(standin->fd, &st) < 0)
		err = -errno;
	if (!err && (st.st_uid != uid || st.st_gid != gid) &&
		fchown(standin->fd, uid, gid) < 0)
		err = -errno;
	if (err) {
		ff_standin_close(standin, dir_fd);
		return fail(error, dir, -err);
	}
	standin->dev = st.st_dev;
	standin->ino = st.st_ino;
	if (!standin->named)
		snprintf(standin->path, sizeof(standin->path), "%.180s/#%llu",
			dir, (unsigned long long)st.st_ino);
	return 0;
}

int ff_standin_give_name(const char *dir, int dir_fd,
	struct ff_standin *standin)
{
	char path[32], name[64];

	if (standin->named)
		return 0;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", standin->fd);
	for (int i = 0; i < NAME_TRIES; i++) {
		int err = make_name(name);

		if (err)
			return err;
		if (linkat(AT_FDCWD, path, dir_fd, name, AT_SYMLINK_FOLLOW) ==
			0) {
			set_path(standin, dir, name);
			return 0;
		}
		if (errno != EEXIST)
			return -errno;
	}
	return -EEXIST;
}

const char *ff_standin_name(const struct ff_standin *standin)
{
	const char *slash = strrchr(standin->path, '/');

	return slash ? slash + 1 : standin->path;
}

void ff_standin_unlink(struct ff_standin *standin, int dir_fd)
{
	if (standin->named)
		unlinkat(dir_fd, ff_standin_name(standin), 0);
	standin->named = false;
}

void ff_standin_close(struct ff_standin *standin, int dir_fd)
{
	ff_standin_unlink(standin, dir_fd);
	if (standin->fd >= 0)
		close(standin->fd);
	standin->fd = -1;
}

/* Remove it if it is one of ours and nobody holds its lock. */
static bool sweep_one(int dir_fd, const char *name)
{
	struct stat st;
	int fd = openat(dir_fd, name,
		O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	bool stale;

	if (fd < 0)
		return false;
	stale = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
		(st.st_uid == geteuid() || geteuid() == 0) &&
		flock(fd, LOCK_EX | LOCK_NB) == 0 &&
		unlinkat(dir_fd, name, 0) == 0;
	close(fd);
	return stale;
}

int ff_standin_sweep(int dir_fd)
{
	char prefix[32];
	struct dirent *entry;
	DIR *dir;
	int fd, swept = 0;

	if (make_prefix(prefix) < 0)
		return 0;
	fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		if (fd >= 0)
			close(fd);
		return 0;
	}
	while ((entry = readdir(dir)))
		if (!strncmp(entry->d_name, prefix, strlen(prefix)) &&
			ff_standin_is_name(entry->d_name))
			swept += sweep_one(dir_fd, entry->d_name);
	closedir(dir);
	return swept;
}

int ff_standin_open_dir(const char *dir, struct ff_error *error)
{
	struct ff_standin probe;
	int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC), err;

	if (fd < 0)
		return fail(error, dir, errno);
	err = ff_standin_create(dir, fd, 4096, geteuid(), getegid(), false,
		&probe, error);
	if (err) {
		close(fd);
		return err;
	}
	ff_standin_close(&probe, fd);
	return fd;
}
