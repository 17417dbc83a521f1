/* SPDX-License-Identifier: MIT */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crossing.h"
#include "wake-fences.h"

static struct ff_word map_word(int fd)
{
	void *word = mmap(NULL, sizeof(uint32_t), PROT_READ | PROT_WRITE,
		MAP_SHARED, fd, 0);

	if (word == MAP_FAILED)
		return (struct ff_word){0};
	return (struct ff_word){word, word};
}

/* One fence. Its mapping becomes the stand-in's while it crosses. */
static const char *cross(const int end[2], char file[128], struct ff_word *word)
{
	int fd = memfd_create("xshmfence", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int crossed = -1;
	struct ff_parcel parcel;
	char link[32];

	*word = (struct ff_word){0};
	if (fd >= 0 && !ftruncate(fd, sizeof(uint32_t)))
		*word = map_word(fd);
	ff_parcel_init(&parcel, fd);
	if (word->own &&
		sendmsg(end[0], &parcel.header, 0) == sizeof(parcel.request))
		crossed = ff_receive_fd(end[1]);
	snprintf(link, sizeof(link), "/proc/self/fd/%d", crossed);
	memset(file, 0, 128);
	if (crossed < 0 || readlink(link, file, 127) < 0)
		return "a fence did not cross";
	close(fd);
	close(crossed);
	return strncmp(file, "/memfd:", 7) ? NULL : "a memfd crossed as it was";
}

const char *ff_fences_make(
	struct ff_stage *stage, const char *path, struct ff_word *words)
{
	const char *error = NULL;
	int end[2];

	if (ff_connect_pair(path, end))
		return "cannot make a socket";
	for (uint32_t i = 0; !error && i < stage->fences; i++)
		error = cross(end, stage->file[i], &words[i]);
	close(end[0]);
	close(end[1]);
	return error;
}

const char *ff_fences_open(struct ff_stage *stage, struct ff_word *words)
{
	for (uint32_t i = 0; i < stage->fences; i++) {
		int fd = open(stage->file[i], O_RDWR | O_CLOEXEC);

		if (fd < 0)
			return "a stand-in has lost its name";
		words[i] = map_word(fd);
		close(fd);
		if (!words[i].own)
			return "cannot map a stand-in";
	}
	return NULL;
}
