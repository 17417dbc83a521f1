/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "wake-stage.h"

#define PAGE 4096u

/* The head's size, so that each fence has a page. */
static size_t head_size(void)
{
	return (sizeof(struct ff_stage) + PAGE - 1) / PAGE * PAGE;
}

static struct ff_stage *map(int fd, size_t size)
{
	void *stage =
		mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	return stage == MAP_FAILED ? NULL : stage;
}

struct ff_stage *ff_stage_make(const char *path, uint32_t fences)
{
	size_t size = head_size() + (size_t)fences * PAGE;
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	struct ff_stage *stage = NULL;

	if (fd >= 0 && !ftruncate(fd, (off_t)size))
		stage = map(fd, size);
	if (!stage)
		fprintf(stderr, "bench/wake: %s: %s\n", path, strerror(errno));
	else
		stage->fences = fences;
	if (fd >= 0)
		close(fd);
	return stage;
}

struct ff_stage *ff_stage_open(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	struct ff_stage *stage = NULL;
	struct stat st;

	if (fd >= 0 && !fstat(fd, &st))
		stage = map(fd, (size_t)st.st_size);
	if (fd >= 0)
		close(fd);
	return stage;
}

void ff_stage_close(struct ff_stage *stage)
{
	munmap(stage, head_size() + (size_t)stage->fences * PAGE);
}

struct ff_word ff_stage_word(
	struct ff_stage *stage, uint32_t n, enum ff_way way, enum ff_side side)
{
	char *page = (char *)stage + head_size() + (size_t)n * PAGE;
	/* a cache line away; a futex is known by page and offset */
	_Atomic uint32_t *client = (void *)page, *peer = (void *)(page + 64);

	if (way == FF_WAY_PLAIN)
		return (struct ff_word){client, client};
	return side == FF_CLIENT ? (struct ff_word){client, peer}
				 : (struct ff_word){peer, client};
}

long ff_futex(_Atomic uint32_t *word, int op, uint32_t value, uint32_t mask)
{
	return syscall(SYS_futex, word, op, value, NULL, NULL, mask);
}
