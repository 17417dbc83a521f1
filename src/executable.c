/* SPDX-License-Identifier: MIT */
#include "executable.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Open what execve would execute; -1. */
static int open_executable(const char *path)
{
	struct stat st;
	int fd;

	/* A directory may be passed over in PATH, and a FIFO waits. */
	if (faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) < 0 ||
		stat(path, &st) < 0 || !S_ISREG(st.st_mode))
		return -1;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	return fd < 0 ? -2 : fd;
}

/* By PATH, or what execvp takes where that is unset. Negative: none. */
static int search_path(const char *name)
{
	const char *dirs = getenv("PATH");
	char path[4096];

	if (!dirs)
		dirs = "/bin:/usr/bin";
	for (;;) {
		size_t length = strcspn(dirs, ":");
		int fd = -1;

		/* An empty one is where we are. */
		if (snprintf(path, sizeof(path), "%.*s%s%s", (int)length, dirs,
				length ? "/" : "", name) < (int)sizeof(path))
			fd = open_executable(path);
		if (fd != -1 || !dirs[length])
			return fd;
		dirs += length + 1;
	}
}

/* 32-bit addresses, but the 64-bit instruction set. */
static bool is_x32(int fd)
{
	unsigned char head[sizeof(Elf32_Ehdr)];
	const size_t machine = offsetof(Elf32_Ehdr, e_machine);

	return pread(fd, head, sizeof(head), 0) == sizeof(head) &&
		!memcmp(head, ELFMAG, SELFMAG) &&
		head[EI_CLASS] == ELFCLASS32 && head[EI_DATA] == ELFDATA2LSB &&
		(head[machine] | head[machine + 1] << 8) == EM_X86_64;
}

/* What execvp would execute; negative if there is none. */
static int find(const char *argv0)
{
	return strchr(argv0, '/') ? open_executable(argv0) :
	       *argv0		  ? search_path(argv0) : -1;
}

bool ff_executable_is_there(const char *argv0)
{
	int fd = find(argv0);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

int ff_executable_check(const char *argv0, struct ff_error *error)
{
	int fd = find(argv0);
	bool refuse;

	if (fd < 0)
		return 0;
	refuse = is_x32(fd);
	close(fd);
	return refuse ? ff_fail(error, ENOEXEC, "cannot execute %.100s: it is "
		"an x32 program, of whose system calls fenceferry knows "
		"nothing (build it for x86_64 or i386)", argv0) : 0;
}
