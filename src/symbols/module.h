/* SPDX-License-Identifier: MIT */
#ifndef FF_SYMBOLS_MODULE_H
#define FF_SYMBOLS_MODULE_H

#include "inject/snapshot.h"

#include <elfutils/libdwfl.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * The files that a process has mapped executable, as libdwfl's modules. What was
 * loaded for a process stays for its next call stack, as long as it is mapped at
 * the same place.
 */

/* One line of /proc/PID/maps. */
struct ff_map {
	uint64_t start, end, offset;
	dev_t dev;
	ino_t ino;
	bool is_code;
	const char *path; /* "" if it has none; in ff_space.text */
};

/* A file, or the vDSO, at one place. */
struct ff_image {
	struct ff_image *next;
	pid_t pid;
	char *path;
	dev_t dev;
	ino_t ino;
	const struct ff_arch *arch;
	uint64_t start;
	bool is_vdso;
	unsigned char *vdso; /* its content, or NULL */
	size_t vdso_size;
	char problem[96]; /* why there is nothing to read; "" */
	unsigned int generation;
};

/* An address space. */
struct ff_space {
	pid_t pid;
	uint64_t used; /* the larger, the later */
	const struct ff_arch *arch;
	Dwfl *dwfl;
	Elf *head; /* no more than says which machine it is */
	unsigned char head_bytes[64];
	char *text; /* of maps, cut to pieces */
	struct ff_map *maps;
	size_t map_count;
	struct ff_image *images;
	unsigned int generation;
	const struct ff_snapshot *snapshot; /* that is looked at */
	bool read_failed, read_beyond; /* of its stack */
};

/* The space of a snapshot, with its modules. NULL if there is no memory, or
 * libdwfl fails. Valid until the next call. */
struct ff_space *ff_space_find(const struct ff_snapshot *snapshot);

/* The line of maps that address lies in, or NULL. */
const struct ff_map *ff_space_map(const struct ff_space *space,
	uint64_t address);

/*
 * The module that address lies in; *image as what it was reported. NULL if
 * nothing that is in a file is there, or what is mapped is not where the file's
 * headers have it.
 */
Dwfl_Module *ff_space_module(const struct ff_space *space, uint64_t address,
	struct ff_image **image);

#endif
