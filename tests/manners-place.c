/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE 1
#include "manners.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct place make_place(const char *base, bool user)
{
	struct place place;

	snprintf(place.path, sizeof(place.path), "%s/manners-XXXXXX", base);
	cr_assert(mkdtemp(place.path), "%s: %s", place.path, strerror(errno));
	if (user && !geteuid())
		cr_assert(!chown(place.path, ORDINARY_USER, ORDINARY_USER));
	return place;
}

unsigned int remove_place(const struct place *place)
{
	DIR *dir = opendir(place->path);
	struct dirent *entry;
	unsigned int count = 0;

	while (dir && (entry = readdir(dir)))
		count += !unlinkat(dirfd(dir), entry->d_name, 0);
	if (dir)
		closedir(dir);
	rmdir(place->path);
	return count;
}

void wait_for_file(struct job *job, const char *path, char text[256])
{
	const long long deadline = now_ms() + PATIENCE_MS;

	for (;;) {
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		ssize_t n = fd < 0 ? 0 : read(fd, text, 255);

		if (fd >= 0)
			close(fd);
		text[n > 0 ? n : 0] = '\0';
		if (n > 0 && text[n - 1] == '\n')
			return;
		check(job, now_ms() < deadline, "a file is written");
		sleep_ms(2);
	}
}
