/* SPDX-License-Identifier: MIT */
#include "doctor-mount.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct mount {
	char type[32], options[128];
	bool is_dax;
};

/* Fields of a line of /proc/self/mountinfo, if it is about that mount:
 * "ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [TAG...] - TYPE SOURCE SUPER". */
static bool parse_line(char *line, uint64_t id, struct mount *mount)
{
	char *end, *rest = strstr(line, " - ");

	if (!rest || strtoull(line, &end, 10) != id || *end != ' ')
		return false;
	return sscanf(rest, " - %31s %*s %127s", mount->type,
		mount->options) >= 1;
}

static void find_type(uint64_t id, struct mount *mount)
{
	FILE *file = fopen("/proc/self/mountinfo", "re");
	char *line = NULL;
	size_t room = 0;

	if (!file)
		return;
	while (getline(&line, &room, file) > 0)
		if (parse_line(line, id, mount))
			break;
	free(line);
	fclose(file);
}

/* Since Linux 5.8 a file tells which mount it is in, and whether it is DAX. */
static void find_mount(int fd, struct mount *mount)
{
	struct statx stx = { 0 };

	*mount = (struct mount){ .is_dax = false };
	if (statx(fd, "", AT_EMPTY_PATH, STATX_TYPE | STATX_MNT_ID, &stx) < 0)
		return;
	mount->is_dax = stx.stx_attributes & STATX_ATTR_DAX;
	if (stx.stx_mask & STATX_MNT_ID)
		find_type(stx.stx_mnt_id, mount);
}

static bool is_one_of(const char *type, const char *const types[])
{
	while (*types && strcmp(type, *types))
		types++;
	return *types;
}

/* Nothing is written to a disk. */
static const char *const in_memory[] = { "tmpfs", "ramfs", "devtmpfs",
	"hugetlbfs", NULL };

/* Here a mapping is a copy of what another machine has. */
static const char *const of_others[] = { "virtiofs", "9p", "nfs", "nfs4",
	"cifs", "smb3", "ceph", "fuse", "fuseblk", NULL };

static bool is_of_others(const char *type)
{
	return !strncmp(type, "fuse.", 5) || is_one_of(type, of_others);
}

static void tell_type(struct ff_checkup *checkup, const char *dir,
	const struct mount *mount)
{
	bool is_good = mount->is_dax || is_one_of(mount->type, in_memory);
	struct ff_finding *finding = ff_find(checkup, "shm dir", FF_FOR_RUN,
		is_good ? FF_OK : FF_DEGRADED, "%.100s is %s, mounted %.100s",
		dir, mount->type, mount->options);

	if (is_good)
		return;
	if (!*mount->type) {
		ff_tell(finding->found, "%.128s", dir);
		ff_tell(finding->reason, "/proc/self/mountinfo does not tell "
			"its file system");
		ff_tell(finding->way_out, "mount /proc");
		return;
	}
	ff_tell(finding->reason, "not memory alone: what is written goes to a "
		"disk or another machine, too");
	ff_tell(finding->way_out, "choose a tmpfs with --shm-dir");
}

/* Who else shares the memory. */
static void tell_coherence(struct ff_checkup *checkup,
	const struct mount *mount)
{
	static const char check[] = "other kernels";
	struct ff_finding *finding;

	if (mount->is_dax) {
		ff_find(checkup, check, FF_FOR_RELAY, FF_OK,
			"%s with DAX: mapped memory is the device's, and so "
			"the host's", mount->type);
	} else if (is_of_others(mount->type)) {
		finding = ff_find(checkup, check, FF_FOR_RELAY, FF_MISSING,
			"mapped memory is this kernel's copy");
		ff_tell(finding->reason, "%s without DAX", mount->type);
		ff_tell(finding->way_out, "mount a virtiofs with -o "
			"dax=always, from a device that has a DAX window");
	} else {
		finding = ff_find(checkup, check, FF_FOR_NOBODY, FF_OK,
			"the memory is this kernel's");
		ff_tell(finding->reason, "fit for the X server's kernel; in "
			"another one it has to be a virtiofs with DAX");
	}
}

void ff_mount_tell(struct ff_checkup *checkup, const char *dir, int fd)
{
	struct mount mount;

	find_mount(fd, &mount);
	checkup->shm_is_dax = mount.is_dax;
	checkup->shm_is_ours = !mount.is_dax &&
		is_one_of(mount.type, in_memory);
	tell_type(checkup, dir, &mount);
	tell_coherence(checkup, &mount);
}
