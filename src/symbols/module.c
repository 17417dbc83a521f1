/* SPDX-License-Identifier: MIT */
#include "symbols/module.h"

#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* How many processes are remembered. */
#define SPACES_MAX 8

static struct ff_space *spaces[SPACES_MAX];
static uint64_t uses;

/* Some file systems have another device in maps than in stat: so what would
 * maps say of this one? */
static bool is_mapped_as(int fd, const struct ff_image *image)
{
	void *place = mmap(NULL, 1, PROT_READ, MAP_PRIVATE, fd, 0);
	int maps = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	struct ff_vma vma = { 0 };
	bool same = place != MAP_FAILED && maps >= 0 &&
		ff_process_vma_at(maps, (uintptr_t)place, &vma) == 0 &&
		vma.dev == image->dev && vma.ino == image->ino;

	if (maps >= 0)
		close(maps);
	if (place != MAP_FAILED)
		munmap(place, 1);
	return same;
}

/* Open it if it is the very file. An fd or -errno; -ESTALE: another one. */
static int open_same(const char *path, const struct ff_image *image)
{
	/* A device does things when it is opened, a FIFO makes us wait. */
	int place = open(path, O_PATH | O_CLOEXEC), fd = -1;
	char same[32];
	struct stat st;
	int err = 0;

	if (place < 0)
		return -errno;
	if (fstat(place, &st) < 0)
		err = -errno;
	else if (!S_ISREG(st.st_mode) || st.st_ino != image->ino)
		err = -ESTALE;
	snprintf(same, sizeof(same), "/proc/self/fd/%d", place);
	if (!err) {
		fd = open(same, O_RDONLY | O_CLOEXEC);
		err = fd < 0 ? -errno : 0;
	}
	close(place);
	if (!err && st.st_dev != image->dev && !is_mapped_as(fd, image)) {
		close(fd);
		err = -ESTALE;
	}
	return err ? err : fd;
}

/* What libdwfl is not to be bothered with. */
static const char *check_head(int fd, const struct ff_arch *arch)
{
	union {
		unsigned char ident[EI_NIDENT];
		Elf32_Ehdr head; /* the beginning is the same */
	} file;

	if (pread(fd, &file, sizeof(file), 0) != sizeof(file) ||
		memcmp(file.ident, ELFMAG, SELFMAG))
		return "no ELF file";
	if (file.head.e_machine != arch->elf_machine ||
		file.ident[EI_CLASS] !=
			(arch->word == 8 ? ELFCLASS64 : ELFCLASS32) ||
		file.ident[EI_DATA] != ELFDATA2LSB)
		return "an ELF file for another machine";
	if (file.head.e_type != ET_DYN && file.head.e_type != ET_EXEC)
		return "an ELF file that is no program or library";
	return NULL;
}

static int open_image(struct ff_image *image)
{
	char path[4096 + 32];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/root%s", image->pid,
		image->path);
	fd = open_same(path, image);
	if (fd < 0)
		fd = open_same(image->path, image);
	return fd;
}

static int find_elf(Dwfl_Module *module, void **userdata, const char *name,
	Dwarf_Addr base, char **file_name, Elf **elf)
{
	struct ff_image *image = *userdata;
	const char *problem;
	int fd;

	(void)module;
	(void)name;
	(void)base;
	if (image->vdso) {
		*elf = elf_memory((char *)image->vdso, image->vdso_size);
		return -1;
	}
	if (image->is_vdso) {
		strcpy(image->problem, "not copied");
		return -1;
	}
	fd = open_image(image);
	if (fd < 0) {
		size_t size = strlen(image->path);
		bool deleted = size > 10 &&
			!strcmp(image->path + size - 10, " (deleted)");

		snprintf(image->problem, sizeof(image->problem), "%s",
			deleted ? "the file is deleted" : fd == -ESTALE ||
					fd == -ENOENT ?
				"another file is there now, or none" :
				strerror(-fd));
		return -1;
	}
	problem = check_head(fd, image->arch);
	if (problem) {
		snprintf(image->problem, sizeof(image->problem), "%s",
			problem);
		close(fd);
		return -1;
	}
	*file_name = strdup(image->path);
	return fd;
}

/* A machine without a file: so that no file of the client's decides. */
static Elf *make_head(struct ff_space *space)
{
	const bool is_64 = space->arch->word == 8;
	unsigned char *ident = space->head_bytes;

	memcpy(ident, ELFMAG, SELFMAG);
	ident[EI_CLASS] = is_64 ? ELFCLASS64 : ELFCLASS32;
	ident[EI_DATA] = ELFDATA2LSB;
	ident[EI_VERSION] = EV_CURRENT;
	if (is_64) {
		Elf64_Ehdr *head = (Elf64_Ehdr *)(void *)ident;

		head->e_type = ET_CORE;
		head->e_machine = (Elf64_Half)space->arch->elf_machine;
		head->e_version = EV_CURRENT;
		head->e_ehsize = sizeof(*head);
	} else {
		Elf32_Ehdr *head = (Elf32_Ehdr *)(void *)ident;

		head->e_type = ET_CORE;
		head->e_machine = (Elf32_Half)space->arch->elf_machine;
		head->e_version = EV_CURRENT;
		head->e_ehsize = sizeof(*head);
	}
	return elf_memory((char *)space->head_bytes,
		sizeof(space->head_bytes));
}

static void free_image(struct ff_image *image)
{
	free(image->path);
	free(image->vdso);
	free(image);
}

static void free_space(struct ff_space *space)
{
	if (space->dwfl)
		dwfl_end(space->dwfl);
	if (space->head)
		elf_end(space->head);
	while (space->images) {
		struct ff_image *next = space->images->next;

		free_image(space->images);
		space->images = next;
	}
	free(space->maps);
	free(space->text);
	free(space);
}

static struct ff_space *new_space(const struct ff_snapshot *snapshot)
{
	/* In /usr/lib/debug, by build id alone: names in the client's files are
	 * not to lead anywhere. */
	static char *debug_path;
	static const Dwfl_Callbacks callbacks = {
		.find_elf = find_elf,
		.find_debuginfo = dwfl_build_id_find_debuginfo,
		.debuginfo_path = &debug_path,
	};
	struct ff_space *space = calloc(1, sizeof(*space));

	if (!space)
		return NULL;
	elf_version(EV_CURRENT);
	space->pid = snapshot->pid;
	space->arch = snapshot->arch;
	space->head = make_head(space);
	space->dwfl = space->head ? dwfl_begin(&callbacks) : NULL;
	if (!space->dwfl) {
		free_space(space);
		return NULL;
	}
	return space;
}

/* maps writes a newline in a name as \012. */
static void unescape(char *path)
{
	char *to = path;

	for (; *path; path++) {
		if (!strncmp(path, "\\012", 4)) {
			*to++ = '\n';
			path += 3;
		} else {
			*to++ = *path;
		}
	}
	*to = '\0';
}

static bool parse_line(char *line, struct ff_map *map)
{
	unsigned int major, minor;
	uint64_t ino;
	char rights[8];
	int path = 0;

	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %7s %" SCNx64
			" %x:%x %" SCNu64 " %n", &map->start, &map->end,
			rights, &map->offset, &major, &minor, &ino, &path) <
			7 || map->end <= map->start)
		return false;
	map->dev = makedev(major, minor);
	map->ino = (ino_t)ino;
	map->is_code = strchr(rights, 'x') != NULL;
	map->path = path ? line + path : line + strlen(line);
	unescape((char *)(uintptr_t)map->path);
	return true;
}

/* Of lines that are not in order nothing is believed. 0 or -errno. */
static int parse_maps(struct ff_space *space, const struct ff_snapshot *from)
{
	size_t lines = 0;
	char *line, *rest;

	free(space->maps);
	free(space->text);
	space->map_count = 0;
	space->text = strdup(from->maps);
	for (const char *at = space->text; at && *at; at++)
		lines += *at == '\n';
	space->maps = calloc(lines + 1, sizeof(*space->maps));
	if (!space->text || !space->maps)
		return -ENOMEM;
	for (line = strtok_r(space->text, "\n", &rest); line;
		line = strtok_r(NULL, "\n", &rest)) {
		struct ff_map *map = &space->maps[space->map_count];

		if (parse_line(line, map) &&
			(!space->map_count || map->start >= map[-1].end))
			space->map_count++;
	}
	return 0;
}

static bool is_vdso(const struct ff_map *map)
{
	return !strcmp(map->path, "[vdso]");
}

/* What libdwfl is to know of these lines of maps. */
static void report(struct ff_space *space, const struct ff_map *first,
	const struct ff_map *last)
{
	char name[128];
	struct ff_image *image;
	Dwfl_Module *module;
	void **userdata;

	snprintf(name, sizeof(name), "%" PRIx64 ":%" PRIu64 "%s",
		(uint64_t)first->dev, (uint64_t)first->ino,
		is_vdso(first) ? "vdso" : "");
	module = dwfl_report_module(space->dwfl, name, first->start,
		last->end);
	if (!module)
		return;
	dwfl_module_info(module, &userdata, NULL, NULL, NULL, NULL, NULL,
		NULL);
	image = *userdata;
	if (!image) {
		image = calloc(1, sizeof(*image));
		if (!image)
			return;
		image->next = space->images;
		space->images = image;
		image->path = strdup(first->path);
	}
	*userdata = image;
	image->generation = space->generation;
	image->pid = space->pid;
	image->dev = first->dev;
	image->ino = first->ino;
	image->arch = space->arch;
	image->start = first->start;
	image->is_vdso = is_vdso(first);
	if (is_vdso(first) && !image->vdso && space->snapshot->vdso_size &&
		space->snapshot->vdso_base == first->start) {
		image->vdso_size = space->snapshot->vdso_size;
		image->vdso = malloc(image->vdso_size);
		if (image->vdso)
			memcpy(image->vdso, space->snapshot->vdso,
				image->vdso_size);
	}
}

/* A file's lines follow one another, by offsets that grow. */
static void report_all(struct ff_space *space)
{
	size_t i = 0;

	while (i < space->map_count) {
		const struct ff_map *first = &space->maps[i], *last = first;
		bool has_code = first->is_code;

		for (i++; i < space->map_count && first->ino; i++) {
			const struct ff_map *map = &space->maps[i];

			/* The rest of a page, or of a segment that is zero. */
			if (!map->ino && !*map->path)
				continue;
			if (map->ino != first->ino || map->dev != first->dev ||
				map->offset < last->offset)
				break;
			last = map;
			has_code |= map->is_code;
		}
		i = (size_t)(last - space->maps) + 1;
		if (has_code && (first->ino || is_vdso(first)) &&
			(first->path[0] == '/' || is_vdso(first)))
			report(space, first, last);
	}
}

static int refresh(struct ff_space *space, const struct ff_snapshot *snapshot)
{
	struct ff_image **at = &space->images;
	int err = parse_maps(space, snapshot);

	if (err)
		return err;
	space->snapshot = snapshot;
	space->generation++;
	dwfl_report_begin(space->dwfl);
	report_all(space);
	dwfl_report_end(space->dwfl, NULL, NULL);
	while (*at) {
		struct ff_image *image = *at;

		if (image->generation == space->generation) {
			at = &image->next;
			continue;
		}
		*at = image->next;
		free_image(image);
	}
	return 0;
}

/* Another process may have got the pid: what it has mapped is compared. */
struct ff_space *ff_space_find(const struct ff_snapshot *snapshot)
{
	struct ff_space **slot = &spaces[0], *space;

	for (size_t i = 0; i < SPACES_MAX; i++) {
		space = spaces[i];
		if (space && space->pid == snapshot->pid &&
			space->arch == snapshot->arch) {
			slot = &spaces[i];
			break;
		}
		if (*slot && (!space || space->used < (*slot)->used))
			slot = &spaces[i];
	}
	space = *slot;
	if (space && (space->pid != snapshot->pid ||
		space->arch != snapshot->arch)) {
		free_space(space);
		*slot = space = NULL;
	}
	if (!space)
		*slot = space = new_space(snapshot);
	if (!space || refresh(space, snapshot) < 0)
		return NULL;
	space->used = ++uses;
	space->read_failed = space->read_beyond = false;
	return space;
}

const struct ff_map *ff_space_map(const struct ff_space *space,
	uint64_t address)
{
	for (size_t i = 0; i < space->map_count; i++)
		if (address >= space->maps[i].start &&
			address < space->maps[i].end)
			return &space->maps[i];
	return NULL;
}

/* Do the file's headers have there what maps has? */
static bool is_in_place(Elf *elf, uint64_t address, uint64_t offset)
{
	size_t count;

	if (elf_getphdrnum(elf, &count) < 0)
		return false;
	for (size_t i = 0; i < count; i++) {
		GElf_Phdr phdr;

		if (!gelf_getphdr(elf, (int)i, &phdr))
			return false;
		if (phdr.p_type == PT_LOAD && address >= phdr.p_vaddr &&
			address - phdr.p_vaddr < phdr.p_filesz &&
			phdr.p_offset + (address - phdr.p_vaddr) == offset)
			return true;
	}
	return false;
}

Dwfl_Module *ff_space_module(const struct ff_space *space, uint64_t address,
	struct ff_image **image)
{
	const struct ff_map *map = ff_space_map(space, address);
	Dwfl_Module *module = dwfl_addrmodule(space->dwfl, address);
	void **userdata;
	GElf_Addr bias;
	Elf *elf;

	*image = NULL;
	/* Something else may lie in a gap. */
	if (!module || !map || !map->is_code)
		return NULL;
	dwfl_module_info(module, &userdata, NULL, NULL, NULL, NULL, NULL,
		NULL);
	*image = *userdata;
	if (!*image || (*image)->ino != map->ino || (*image)->dev != map->dev) {
		*image = NULL;
		return NULL;
	}
	elf = dwfl_module_getelf(module, &bias);
	if (!elf) {
		if (!(*image)->problem[0])
			snprintf((*image)->problem, sizeof((*image)->problem),
				"cannot be read: %s", dwfl_errmsg(-1));
		return NULL;
	}
	if (!(*image)->vdso && !is_in_place(elf, address - bias,
			map->offset + (address - map->start))) {
		snprintf((*image)->problem, sizeof((*image)->problem),
			"mapped elsewhere than its headers say");
		return NULL;
	}
	return module;
}
