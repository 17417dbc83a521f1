/* SPDX-License-Identifier: MIT */
#include "patched.h"

#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* With its NUL. */
static const char variable[] = "XSHMFENCE_NO_MEMFD";

/* Constants of more than this are not searched: a client may name any file. */
#define MAX_SEARCH (64u << 20)

/* Search size bytes of the file at offset, as far as *left allows. No mapping:
 * a file that is truncated meanwhile just ends. */
static bool search(int fd, uint64_t offset, uint64_t size, uint64_t *left)
{
	static char buffer[64 << 10];
	size_t kept = 0;

	while (size && *left) {
		size_t part = sizeof(buffer) - kept;
		ssize_t n;

		part = part > size ? (size_t)size : part;
		part = part > *left ? (size_t)*left : part;
		n = pread(fd, buffer + kept, part, (off_t)offset);
		if (n <= 0)
			return false;
		offset += (size_t)n;
		size -= (size_t)n;
		*left -= (size_t)n;
		kept += (size_t)n;
		if (memmem(buffer, kept, variable, sizeof(variable)))
			return true;
		if (kept >= sizeof(variable)) {
			/* It may begin in what is here. */
			memmove(buffer, buffer + kept - sizeof(variable) + 1,
				sizeof(variable) - 1);
			kept = sizeof(variable) - 1;
		}
	}
	return false;
}

/* -ENOENT: there are no sections. */
static int search_sections(int fd, Elf *elf, uint64_t *left)
{
	Elf_Scn *section = NULL;
	int result = -ENOENT;

	while (*left && (section = elf_nextscn(elf, section))) {
		GElf_Shdr head;

		if (!gelf_getshdr(section, &head))
			return result;
		result = 0;
		if (head.sh_type == SHT_PROGBITS &&
			(head.sh_flags & SHF_ALLOC) &&
			!(head.sh_flags & (SHF_WRITE | SHF_EXECINSTR)) &&
			search(fd, head.sh_offset, head.sh_size, left))
			return 1;
	}
	return result;
}

/* Where the sections are stripped, constants may lie in the code's segment. */
static int search_segments(int fd, Elf *elf, uint64_t *left)
{
	size_t count;

	if (elf_getphdrnum(elf, &count) < 0)
		return 0;
	for (size_t i = 0; *left && i < count; i++) {
		GElf_Phdr head;

		if (gelf_getphdr(elf, (int)i, &head) &&
			head.p_type == PT_LOAD && !(head.p_flags & PF_W) &&
			search(fd, head.p_offset, head.p_filesz, left))
			return 1;
	}
	return 0;
}

/*
 * Counts that are not in the header but in the first section may be anything,
 * and libelf believes them. Nothing that is a library has so many. (What is
 * looked for is the same in either byte order.)
 */
static bool has_sane_head(int fd)
{
	union {
		unsigned char ident[EI_NIDENT];
		Elf32_Ehdr e32;
		Elf64_Ehdr e64;
	} head;

	memset(&head, 0, sizeof(head));
	if (pread(fd, &head, sizeof(head), 0) < (ssize_t)sizeof(head.e32) ||
		memcmp(head.ident, ELFMAG, SELFMAG))
		return false;
	if (head.ident[EI_CLASS] == ELFCLASS32)
		return (head.e32.e_shnum || !head.e32.e_shoff) &&
			head.e32.e_phnum != PN_XNUM;
	return head.ident[EI_CLASS] == ELFCLASS64 &&
		(head.e64.e_shnum || !head.e64.e_shoff) &&
		head.e64.e_phnum != PN_XNUM;
}

static int search_file(int fd)
{
	uint64_t left = MAX_SEARCH;
	int result = -ENOEXEC;
	Elf *elf;

	if (!has_sane_head(fd) || elf_version(EV_CURRENT) == EV_NONE)
		return -ENOEXEC;
	/* Not ELF_C_READ_MMAP: to be truncated would be our death. */
	elf = elf_begin(fd, ELF_C_READ, NULL);
	if (elf && elf_kind(elf) == ELF_K_ELF) {
		result = search_sections(fd, elf, &left);
		if (result == -ENOENT)
			result = search_segments(fd, elf, &left);
	}
	elf_end(elf);
	return result;
}

struct answer {
	dev_t dev;
	ino_t ino;
	off_t size;
	struct timespec modified;
	int result;
};

#define ANSWERS 32

static bool is_about(const struct answer *answer, const struct stat *st)
{
	return answer->ino == st->st_ino && answer->dev == st->st_dev &&
		answer->size == st->st_size &&
		answer->modified.tv_sec == st->st_mtim.tv_sec &&
		answer->modified.tv_nsec == st->st_mtim.tv_nsec;
}

int ff_patched_file(int fd)
{
	static struct answer answers[ANSWERS];
	static unsigned int count;
	struct answer *answer;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -ENOEXEC;
	for (unsigned int i = 0; i < count && i < ANSWERS; i++)
		if (is_about(&answers[i], &st))
			return answers[i].result;
	answer = &answers[count++ % ANSWERS];
	*answer = (struct answer){
		.dev = st.st_dev,
		.ino = st.st_ino,
		.size = st.st_size,
		.modified = st.st_mtim,
		.result = search_file(fd),
	};
	return answer->result;
}

/* A file that pid maps, as a line of /proc/PID/maps shows it. */
struct mapped {
	pid_t pid;
	uint64_t start, end;
	ino_t ino;
	const char *path; /* without the newline */
};

static bool parse_line(char *line, struct mapped *mapped)
{
	int at = 0;

	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %*s %*s %*s %lu %n",
			&mapped->start, &mapped->end, &mapped->ino, &at) != 3 ||
		!at)
		return false;
	line[strcspn(line, "\n")] = '\0';
	mapped->path = line + at;
	return true;
}

static bool is_libxshmfence(const struct mapped *mapped)
{
	static const char prefix[] = "libxshmfence.so";
	const char *slash = strrchr(mapped->path, '/');

	return slash && !strncmp(slash + 1, prefix, sizeof(prefix) - 1);
}

static int open_path(const char *path)
{
	/* Whatever lies there now: nonblocking for what is no file. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	return fd < 0 ? -errno : fd;
}

/* By its name in the mount namespace of the process, where it may have been
 * replaced. (The device in maps is not stat's on overlayfs and btrfs.) */
static int open_by_name(const struct mapped *mapped)
{
	struct stat st;
	char *path;
	int fd;

	if (asprintf(&path, "/proc/%d/root%s", mapped->pid, mapped->path) < 0)
		return -ENOMEM;
	fd = open_path(path);
	free(path);
	if (fd >= 0 && (fstat(fd, &st) < 0 || st.st_ino != mapped->ino)) {
		close(fd);
		return -ESTALE;
	}
	return fd == -ENOENT ? -ESTALE : fd;
}

/* The mapped file itself, where that is permitted: CAP_SYS_ADMIN before Linux
 * 5.9, then CAP_CHECKPOINT_RESTORE. */
static int open_mapped(const struct mapped *mapped)
{
	char path[80];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/map_files/%" PRIx64 "-%" PRIx64,
		mapped->pid, mapped->start, mapped->end);
	fd = open_path(path);
	return fd < 0 ? open_by_name(mapped) : fd;
}

static int judge_and_close(int fd)
{
	int result = fd < 0 ? fd : ff_patched_file(fd);

	if (fd >= 0)
		close(fd);
	return result;
}

/* Copy what fits. */
static void take_path(char *path, size_t size, const char *from)
{
	if (size)
		snprintf(path, size, "%s", from);
}

/* -ENXIO: no such library is mapped. */
static int judge_libraries(FILE *maps, pid_t pid, char *path, size_t size)
{
	struct mapped mapped = { .pid = pid };
	int result = -ENXIO;
	ino_t last = 0;
	char *line = NULL;
	size_t room = 0;

	while (result != 1 && getline(&line, &room, maps) > 0) {
		int found;

		if (!parse_line(line, &mapped) || !is_libxshmfence(&mapped) ||
			mapped.ino == last)
			continue;
		last = mapped.ino;
		found = judge_and_close(open_mapped(&mapped));
		if (found == 1)
			take_path(path, size, mapped.path);
		/* What one says outweighs that another could not be read. */
		if (found >= 0 || result == -ENXIO)
			result = found;
	}
	free(line);
	return result;
}

static int judge_executable(pid_t pid, char *path, size_t size)
{
	char link[32], target[4096];
	int result;
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/%d/exe", pid);
	result = judge_and_close(open_path(link));
	if (result != 1)
		return result;
	n = readlink(link, target, sizeof(target) - 1);
	target[n < 0 ? 0 : n] = '\0';
	take_path(path, size, target);
	return 1;
}

int ff_patched_process(pid_t pid, char *path, size_t size)
{
	char name[32];
	FILE *maps;
	int result;

	snprintf(name, sizeof(name), "/proc/%d/maps", pid);
	maps = fopen(name, "re");
	if (!maps)
		return -errno;
	result = judge_libraries(maps, pid, path, size);
	fclose(maps);
	return result == -ENXIO ? judge_executable(pid, path, size) : result;
}
