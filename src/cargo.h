/* SPDX-License-Identifier: MIT */
#ifndef FF_CARGO_H
#define FF_CARGO_H

#include "error.h"
#include "x11/request.h"

#include <stdbool.h>
#include <sys/stat.h>
#include <sys/types.h>

/* An fd that is about to cross. */
struct ff_cargo {
	int fd; /* its number in the sender */
	struct stat st;
	char link[256]; /* what /proc/PID/fd/FD points to */
	struct ff_x11_request request; /* that carries it; name NULL: unknown */
};

/* Fill st and link of an fd of pid. False: there is no such fd. */
bool ff_cargo_look(pid_t pid, struct ff_cargo *cargo);

/* A file of memfd_create, of hugetlbfs too? */
bool ff_cargo_is_memfd(const struct ff_cargo *cargo);

/* Is its first word a fence? Where the request is not known (the server may be
 * too busy to be asked), by how libxshmfence makes them. */
bool ff_cargo_is_fence(const struct ff_cargo *cargo);

/* "memfd", "shm", "dmabuf" or "other"; shm_dir's files are "shm", too. */
const char *ff_cargo_kind(const struct ff_cargo *cargo, const char *shm_dir);

/* "xshmfence" of "/memfd:xshmfence (deleted)"; else the whole link. */
void ff_cargo_name(const struct ff_cargo *cargo, char name[256]);

/*
 * Open the file of the sender anew, with these flags, so that its offset is left
 * alone. An fd, or -errno with *error filled (-ESTALE: it is another file by
 * now).
 */
int ff_cargo_open(pid_t pid, const struct ff_cargo *cargo, int flags,
	struct ff_error *error);

#endif
