/* SPDX-License-Identifier: MIT */
#include "cargo.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static bool starts_with(const char *text, const char *start)
{
	return !strncmp(text, start, strlen(start));
}

bool ff_cargo_look(pid_t pid, struct ff_cargo *cargo)
{
	char path[48];
	ssize_t length;

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", pid, cargo->fd);
	length = readlink(path, cargo->link, sizeof(cargo->link) - 1);
	if (length < 0 || stat(path, &cargo->st) < 0)
		return false;
	cargo->link[length] = '\0';
	return true;
}

/* They have this name and no path. */
bool ff_cargo_is_memfd(const struct ff_cargo *cargo)
{
	return starts_with(cargo->link, "/memfd:") &&
		S_ISREG(cargo->st.st_mode) && cargo->st.st_nlink == 0;
}

/* Newer ones make them there if they are told to (XSHMFENCE_NO_MEMFD). */
static bool is_fence_file(const struct ff_cargo *cargo)
{
	return starts_with(cargo->link, "/dev/shm/") &&
		S_ISREG(cargo->st.st_mode) && cargo->st.st_nlink == 0 &&
		cargo->st.st_size == sizeof(int32_t);
}

bool ff_cargo_is_fence(const struct ff_cargo *cargo)
{
	if (cargo->request.name)
		return !strcmp(cargo->request.name, "DRI3.FenceFromFD");
	return starts_with(cargo->link, "/memfd:xshmfence ") ||
		is_fence_file(cargo);
}

const char *ff_cargo_kind(const struct ff_cargo *cargo, const char *shm_dir)
{
	if (ff_cargo_is_memfd(cargo))
		return "memfd";
	if (starts_with(cargo->link, "/dmabuf:") ||
		starts_with(cargo->link, "anon_inode:dmabuf"))
		return "dmabuf";
	if (starts_with(cargo->link, "/dev/shm/") ||
		starts_with(cargo->link, "/SYSV") ||
		(starts_with(cargo->link, shm_dir) &&
			cargo->link[strlen(shm_dir)] == '/'))
		return "shm";
	return "other";
}

void ff_cargo_name(const struct ff_cargo *cargo, char name[256])
{
	static const char deleted[] = " (deleted)";
	const char *start = cargo->link;
	size_t length;

	if (ff_cargo_is_memfd(cargo))
		start += strlen("/memfd:");
	length = strlen(start);
	if (length >= strlen(deleted) && !strcmp(start + length -
			strlen(deleted), deleted))
		length -= strlen(deleted);
	snprintf(name, 256, "%.*s", (int)length, start);
}

int ff_cargo_open(pid_t pid, const struct ff_cargo *cargo, int flags,
	struct ff_error *error)
{
	char path[48];
	struct stat st;
	int copy;

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", pid, cargo->fd);
	copy = open(path, flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (copy < 0)
		return ff_fail(error, errno, "cannot open fd %d of pid %d: %s",
			cargo->fd, pid, strerror(errno));
	if (fstat(copy, &st) == 0 && st.st_dev == cargo->st.st_dev &&
		st.st_ino == cargo->st.st_ino)
		return copy;
	close(copy);
	return ff_fail(error, ESTALE, "fd %d of pid %d became another file "
		"meanwhile", cargo->fd, pid);
}
