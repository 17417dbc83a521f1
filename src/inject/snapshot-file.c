/* SPDX-License-Identifier: MIT */
#include "inject/snapshot.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

/* What precedes the stack, the maps and the vDSO in a file. */
struct header {
	int32_t pid, tid, how;
	uint32_t uid, gid, audit_arch;
	uint64_t ip, sp, stack_size, maps_size, vdso_size,
		vdso_base;
	struct ff_regs regs;
	uint32_t stack_is_cut;
};

int ff_snapshot_write(const struct ff_snapshot *snapshot, int fd)
{
	struct header header = {
		.pid = snapshot->pid,
		.tid = snapshot->tid,
		.uid = snapshot->uid,
		.gid = snapshot->gid,
		.how = snapshot->how,
		.audit_arch = snapshot->arch->audit_arch,
		.ip = snapshot->ip,
		.sp = snapshot->sp,
		.stack_size = snapshot->stack_size,
		.maps_size = snapshot->maps_size,
		.vdso_size = snapshot->vdso_size,
		.vdso_base = snapshot->vdso_base,
		.regs = snapshot->regs,
		.stack_is_cut = snapshot->stack_is_cut,
	};
	struct iovec parts[4] = {
		{ &header, sizeof(header) },
		{ snapshot->stack, snapshot->stack_size },
		{ snapshot->maps, snapshot->maps_size },
		{ snapshot->vdso, snapshot->vdso_size },
	};
	size_t size = sizeof(header) + snapshot->stack_size +
		snapshot->maps_size + snapshot->vdso_size;
	ssize_t n = writev(fd, parts, 4);

	if (n < 0)
		return -errno;
	return (size_t)n == size ? 0 : -ENOSPC;
}

/* NULL if it is not so long, or there is no memory. */
static void *read_part(int fd, uint64_t size, size_t limit)
{
	unsigned char *part = size <= limit ? malloc((size_t)size + 1) : NULL;
	size_t used = 0;

	while (part && used < size) {
		ssize_t n = read(fd, part + used, (size_t)size - used);

		if (n <= 0) {
			free(part);
			return NULL;
		}
		used += (size_t)n;
	}
	if (part)
		part[used] = '\0';
	return part;
}

struct ff_snapshot *ff_snapshot_read(int fd)
{
	struct header header;
	struct ff_snapshot *snapshot;

	errno = EINVAL;
	if (read(fd, &header, sizeof(header)) != sizeof(header) ||
		!ff_arch_by_audit(header.audit_arch) ||
		header.regs.size > sizeof(header.regs.u64))
		return NULL;
	snapshot = calloc(1, sizeof(*snapshot));
	if (!snapshot)
		return NULL;
	*snapshot = (struct ff_snapshot){
		.references = 1,
		.pid = header.pid,
		.tid = header.tid,
		.uid = header.uid,
		.gid = header.gid,
		.how = header.how == FF_SNAPSHOT_PTRACE ? FF_SNAPSHOT_PTRACE :
			FF_SNAPSHOT_PROC,
		.arch = ff_arch_by_audit(header.audit_arch),
		.regs = header.regs,
		.ip = header.ip,
		.sp = header.sp,
		.stack_size = (size_t)header.stack_size,
		.stack_is_cut = header.stack_is_cut,
		.maps_size = (size_t)header.maps_size,
		.vdso_size = (size_t)header.vdso_size,
		.vdso_base = header.vdso_base,
	};
	snapshot->stack = read_part(fd, header.stack_size, FF_SNAPSHOT_STACK);
	snapshot->maps = snapshot->stack ? read_part(fd, header.maps_size,
		2 * FF_SNAPSHOT_MAPS) : NULL;
	snapshot->vdso = snapshot->maps ? read_part(fd, header.vdso_size,
		FF_SNAPSHOT_VDSO) : NULL;
	if (!snapshot->vdso) {
		ff_snapshot_unref(snapshot);
		errno = EINVAL;
		return NULL;
	}
	return snapshot;
}
