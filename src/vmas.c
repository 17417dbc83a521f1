/* SPDX-License-Identifier: MIT */
#include "compat.h"
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

void ff_vmas_free(struct ff_vmas *list)
{
	free(list->vmas);
	*list = (struct ff_vmas){ 0 };
}

static int add_vma(struct ff_vmas *list, const struct ff_vma *vma)
{
	if (list->count == list->room) {
		size_t room = list->room ? 2 * list->room : 256;
		struct ff_vma *vmas =
			realloc(list->vmas, room * sizeof(*vmas));

		if (!vmas)
			return -ENOMEM;
		list->vmas = vmas;
		list->room = room;
	}
	list->vmas[list->count++] = *vma;
	return 0;
}

/* The mapping at address; with flags, the next one. -ENOENT if there is none;
 * -ENOTTY before Linux 6.11. */
static int query_vma(int fd, uint64_t address, uint64_t flags,
	struct ff_vma *vma)
{
	struct procmap_query query = {
		.size = sizeof(query),
		.query_flags = flags,
		.query_addr = address,
	};

	if (ioctl(fd, PROCMAP_QUERY, &query) < 0)
		return -errno;
	*vma = (struct ff_vma){
		.start = query.vma_start,
		.end = query.vma_end,
		.offset = query.vma_offset,
		.dev = makedev(query.dev_major, query.dev_minor),
		.ino = query.inode,
		.flags = (unsigned int)query.vma_flags,
	};
	return 0;
}

static int query_vmas(int fd, struct ff_vmas *list)
{
	struct ff_vma vma = { 0 };
	int err;

	for (;;) {
		err = query_vma(fd, vma.end,
			PROCMAP_QUERY_COVERING_OR_NEXT_VMA, &vma);
		if (!err)
			err = add_vma(list, &vma);
		if (err)
			return err == -ENOENT ? 0 : err;
	}
}

/* One line of maps or the head of one in smaps. */
static bool parse_line(const char *line, struct ff_vma *vma)
{
	unsigned int major, minor;
	char perms[5];

	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %x:%x %lu",
			&vma->start, &vma->end, perms, &vma->offset, &major,
			&minor, &vma->ino) != 7)
		return false;
	vma->dev = makedev(major, minor);
	vma->flags = (perms[0] == 'r' ? FF_VMA_READ : 0u) |
		(perms[1] == 'w' ? FF_VMA_WRITE : 0u) |
		(perms[2] == 'x' ? FF_VMA_EXEC : 0u) |
		(perms[3] == 's' ? FF_VMA_SHARED : 0u);
	return true;
}

/* Go through the text of maps, from where fd stands, until visit does not
 * return 0. What it returned. */
static int parse_vmas(int fd, int (*visit)(void *context,
	const struct ff_vma *vma), void *context)
{
	int own = fcntl(fd, F_DUPFD_CLOEXEC, 0), err = 0;
	FILE *file = own < 0 ? NULL : fdopen(own, "r");
	char *line = NULL;
	size_t room = 0;

	if (!file) {
		err = -errno;
		if (own >= 0)
			close(own);
		return err;
	}
	errno = 0;
	while (!err && getline(&line, &room, file) > 0) {
		struct ff_vma vma;

		err = parse_line(line, &vma) ? visit(context, &vma) : -EPROTO;
	}
	if (!err && ferror(file))
		err = -errno;
	free(line);
	fclose(file);
	return err;
}

static int visit_to_add(void *context, const struct ff_vma *vma)
{
	return add_vma(context, vma);
}

struct search {
	uint64_t address;
	struct ff_vma *vma;
	bool has_any;
};

static int visit_to_find(void *context, const struct ff_vma *vma)
{
	struct search *search = context;

	search->has_any = true;
	if (vma->end <= search->address)
		return 0;
	if (vma->start > search->address)
		return -ENOENT;
	*search->vma = *vma;
	return 1;
}

int ff_process_vma_at(int maps, uint64_t address, struct ff_vma *vma)
{
	struct search search = { .address = address, .vma = vma };
	int err = query_vma(maps, address, 0, vma);

	if (err != -ENOTTY)
		return err;
	if (lseek(maps, 0, SEEK_SET) < 0)
		return -errno;
	err = parse_vmas(maps, visit_to_find, &search);
	if (err == 0) /* of memory that is gone the text is empty */
		return search.has_any ? -ENOENT : -ESRCH;
	return err < 0 ? err : 0;
}

int ff_process_vmas(pid_t pid, struct ff_vmas *list)
{
	char path[32];
	int fd, err;

	list->count = 0;
	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	err = query_vmas(fd, list);
	if (err == -ENOTTY)
		err = parse_vmas(fd, visit_to_add, list);
	close(fd);
	return err;
}

int ff_process_vma_may_write(pid_t pid, uint64_t start)
{
	char path[32], *line = NULL;
	bool inside = false;
	size_t room = 0;
	int may = -ENOENT;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/smaps", pid);
	file = fopen(path, "re");
	if (!file)
		return -errno;
	while (may < 0 && getline(&line, &room, file) > 0) {
		struct ff_vma vma;

		if (parse_line(line, &vma))
			inside = vma.start == start;
		else if (inside && !strncmp(line, "VmFlags:", 8))
			may = strstr(line, " mw") != NULL;
	}
	free(line);
	fclose(file);
	return may;
}
