/* SPDX-License-Identifier: MIT */
#include "report-outfile.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int ff_stream_error(FILE *stream)
{
	errno = 0;
	if (!fflush(stream) && !ferror(stream))
		return 0;
	if (errno)
		return errno;
	clearerr(stream);
	return putc('\n', stream) < 0 || fflush(stream) ? errno : EIO;
}

static int refuse(int err, const char *path, struct ff_error *error)
{
	return ff_fail(error, err, "cannot write %s: %s (name another file)",
		path, strerror(err));
}

/* What is there already, and is no regular file. */
static int open_directly(struct ff_outfile *file, const char *path)
{
	int fd = !strcmp(path, "-") ?
		fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3) :
		open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY);

	file->is_direct = true;
	return fd < 0 ? -errno : fd;
}

/* A name beside the file that is to be replaced. */
static int make_temporary(struct ff_outfile *file, bool only_name)
{
	int fd;

	snprintf(file->temporary, sizeof(file->temporary), "%s/.trace-XXXXXX",
		file->dir);
	fd = mkostemp(file->temporary, O_CLOEXEC);
	if (fd < 0) {
		int err = errno;

		*file->temporary = '\0';
		return -err;
	}
	if (!only_name)
		return fd;
	close(fd);
	unlink(file->temporary);
	return 0;
}

/* Without a name as long as it is not whole, if the file system can do that. */
static int open_beside(struct ff_outfile *file, mode_t mode)
{
	int fd = open(file->dir, O_TMPFILE | O_RDWR | O_CLOEXEC, mode);
	mode_t mask;

	if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR &&
			errno != ENOENT && errno != EINVAL))
		return fd < 0 ? -errno : fd;
	fd = make_temporary(file, false);
	if (fd >= 0) {
		mask = umask(077);
		umask(mask);
		if (fchmod(fd, mode & ~mask) < 0)
			return -errno;
	}
	return fd;
}

static int open_path(struct ff_outfile *file, const char *path)
{
	struct stat stat_buf;
	char copy[PATH_MAX];
	bool is_there;

	if (!strcmp(path, "-"))
		return open_directly(file, path);
	if (!*path || strlen(path) >= sizeof(copy) - 1)
		return *path ? -ENAMETOOLONG : -ENOENT;
	is_there = stat(path, &stat_buf) == 0;
	if (!is_there && errno != ENOENT)
		return -errno;
	if (is_there && S_ISDIR(stat_buf.st_mode))
		return -EISDIR;
	if (is_there && !S_ISREG(stat_buf.st_mode))
		return open_directly(file, path);
	if (is_there && access(path, W_OK) < 0)
		return -errno;
	/* A link stays one. */
	if (is_there && !realpath(path, file->path))
		return -errno;
	if (!is_there)
		strcpy(file->path, path);
	strcpy(copy, file->path);
	if (copy[strlen(copy) - 1] == '/')
		return -EISDIR;
	strcpy(file->dir, dirname(copy));
	return open_beside(file, is_there ? stat_buf.st_mode & 0777 : 0666);
}

int ff_outfile_open(struct ff_outfile *file, const char *path,
	struct ff_error *error)
{
	int fd;

	memset(file, 0, sizeof(*file));
	fd = open_path(file, path);
	if (fd >= 0)
		file->stream = fdopen(fd, "w");
	if (fd >= 0 && !file->stream) {
		close(fd);
		fd = -ENOMEM;
	}
	if (fd < 0) {
		ff_outfile_drop(file);
		return refuse(-fd, path, error);
	}
	if (file->is_direct && !strcmp(path, "-"))
		strcpy(file->path, "standard output");
	else if (file->is_direct)
		snprintf(file->path, sizeof(file->path), "%s", path);
	return 0;
}

/* Give it a name beside the one it shall have. */
static int give_name(struct ff_outfile *file)
{
	char link[64];
	int err;

	if (*file->temporary)
		return 0;
	err = make_temporary(file, true);
	if (err < 0)
		return err;
	snprintf(link, sizeof(link), "/proc/self/fd/%d",
		fileno(file->stream));
	if (linkat(AT_FDCWD, link, AT_FDCWD, file->temporary,
			AT_SYMLINK_FOLLOW) < 0) {
		err = -errno;
		*file->temporary = '\0';
	}
	return err;
}

int ff_outfile_commit(struct ff_outfile *file, struct ff_error *error)
{
	int err = -ff_stream_error(file->stream);

	if (!err && !file->is_direct)
		err = give_name(file);
	if (!err && !file->is_direct &&
		rename(file->temporary, file->path) < 0)
		err = -errno;
	if (!err)
		*file->temporary = '\0';
	if (fclose(file->stream) && !err)
		err = -errno;
	file->stream = NULL;
	ff_outfile_drop(file);
	return err ? refuse(-err, file->path, error) : 0;
}

void ff_outfile_drop(struct ff_outfile *file)
{
	if (file->stream)
		fclose(file->stream);
	if (*file->temporary)
		unlink(file->temporary);
	file->stream = NULL;
	*file->temporary = '\0';
}
