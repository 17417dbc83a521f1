/* SPDX-License-Identifier: MIT */
/* Which libxshmfence will clients load, and does it need an engine? */
#include "doctor-checkup.h"
#include "patched.h"

#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SONAME "libxshmfence.so.1"

static void tell_library(struct ff_checkup *checkup, const char *check,
	const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int patched = fd < 0 ? -errno : ff_patched_file(fd);
	struct ff_finding *finding;
	char real[PATH_MAX];

	if (fd >= 0)
		close(fd);
	finding = ff_find(checkup, check, FF_FOR_NOBODY,
		patched < 0 ? FF_DEGRADED : FF_OK, "%.200s",
		realpath(path, real) ? real : path);
	if (patched < 0)
		ff_tell(finding->reason, "cannot be looked into: %s",
			strerror(-patched));
	else if (patched)
		ff_tell(finding->reason, "obeys XSHMFENCE_NO_MEMFD, which run "
			"sets: its fences need no engine, but ptrace with a "
			"relay to another kernel");
	else
		ff_tell(finding->reason, "does not know XSHMFENCE_NO_MEMFD, "
			"as 1.3.3 does: an engine takes its memfds");
}

static void tell_none(struct ff_checkup *checkup, const char *check)
{
	struct ff_finding *finding = ff_find(checkup, check, FF_FOR_NOBODY,
		FF_DEGRADED, "none found");

	ff_tell(finding->reason, "clients make fences by it, unless they "
		"bring their own");
	ff_tell(finding->way_out, "install libxshmfence1");
}

/* The one that programs like us would get. */
static void tell_native(struct ff_checkup *checkup)
{
	void *library = dlopen(SONAME, RTLD_LAZY | RTLD_LOCAL);
	struct link_map *map;

	if (library && dlinfo(library, RTLD_DI_LINKMAP, &map) == 0)
		tell_library(checkup, "libxshmfence", map->l_name);
	else
		tell_none(checkup, "libxshmfence");
	if (library)
		dlclose(library);
}

static bool is_i386(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	bool is = false;
	Elf32_Ehdr head;

	if (fd < 0)
		return false;
	is = read(fd, &head, sizeof(head)) == sizeof(head) &&
		!memcmp(head.e_ident, ELFMAG, SELFMAG) &&
		head.e_ident[EI_CLASS] == ELFCLASS32 &&
		head.e_machine == EM_386;
	close(fd);
	return is;
}

/* Where distributions have it for i386; without one nothing is said. */
static void tell_i386(struct ff_checkup *checkup)
{
	static const char *const paths[] = {
		"/usr/lib/i386-linux-gnu/" SONAME,
		"/lib/i386-linux-gnu/" SONAME,
		"/usr/lib32/" SONAME,
		"/usr/lib/" SONAME,
	};

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		if (is_i386(paths[i])) {
			tell_library(checkup, "libxshmfence, i386", paths[i]);
			return;
		}
}

void ff_examine_library(struct ff_checkup *checkup)
{
	tell_native(checkup);
	tell_i386(checkup);
}
