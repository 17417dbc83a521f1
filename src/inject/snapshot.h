/* SPDX-License-Identifier: MIT */
#ifndef FF_INJECT_SNAPSHOT_H
#define FF_INJECT_SNAPSHOT_H

#include "arch/arch.h"
#include "error.h"
#include "inject/stop.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * What is needed to tell the call stack of a thread later, taken while it stands
 * still: its registers, the upper end of its stack, and which files are mapped.
 * Nothing is unwound or named here (symbols.h).
 */

/* So much of the stack is copied at most: bytes. Of the programs that were
 * looked at none came near it (bench/README.md). */
#define FF_SNAPSHOT_STACK 65536u

/* And of /proc/PID/maps, and of the vDSO's code. */
#define FF_SNAPSHOT_MAPS (4u << 20)
#define FF_SNAPSHOT_VDSO 32768u

enum ff_snapshot_how {
	FF_SNAPSHOT_PTRACE, /* all registers */
	FF_SNAPSHOT_PROC,   /* ip and sp: /proc/TID/syscall */
};

struct ff_snapshot {
	unsigned int references;
	pid_t pid, tid;
	uid_t uid; /* whose it is: that of /proc/TID */
	gid_t gid;
	enum ff_snapshot_how how;
	const struct ff_arch *arch;
	struct ff_regs regs; /* .size 0 unless how is FF_SNAPSHOT_PTRACE */
	uint64_t ip, sp;
	unsigned char *stack; /* from sp up */
	size_t stack_size;
	bool stack_is_cut;  /* there is more of it than was copied */
	char *maps;	    /* the text, ended by NUL */
	size_t maps_size;   /* without the NUL */
	unsigned char *vdso; /* where that is needed, or NULL */
	size_t vdso_size;
	uint64_t vdso_base;
};

/*
 * Stop that one thread, take it, and let the thread go: a call that it was in is
 * made again. hold is used for nothing else; its idle and may_hold, with context,
 * may be set by the caller. Not while other threads are held. Returns it, with
 * one reference, or NULL with *error: its memory cannot be read, it does not stop
 * in time, it is gone. *interrupted is set if it may have been interrupted.
 */
struct ff_snapshot *ff_snapshot_stop(struct ff_hold *hold, pid_t pid, pid_t tid,
	bool *interrupted, struct ff_error *error);

/*
 * Without ptrace, of a thread that blocks in the kernel. audit_arch is that of a
 * call that the caller knows it to be in, and then it is for the caller to see
 * afterwards whether it still is; or 0. Returns it, or NULL with *error (EBUSY:
 * it runs, or has run meanwhile).
 */
struct ff_snapshot *ff_snapshot_peek(pid_t pid, pid_t tid, uint32_t audit_arch,
	struct ff_error *error);

/* Does the thread stand where it stood, or in another call of the same callers?
 * By what its stack has in places of return addresses. */
bool ff_snapshot_is_current(const struct ff_snapshot *snapshot);

/* Its thread is held now: if it stands where it stood, add its registers. Others
 * may be held too, so no more than that is done. False: it stands elsewhere. */
bool ff_snapshot_add_regs(struct ff_snapshot *snapshot,
	const struct ff_thread *thread);

/* Stop its thread for that, as ff_snapshot_stop does. */
bool ff_snapshot_stop_for_regs(struct ff_snapshot *snapshot,
	struct ff_hold *hold, bool *interrupted, struct ff_error *error);

/* One more, or one less, who needs it; NULL is none. The last frees it. */
struct ff_snapshot *ff_snapshot_ref(struct ff_snapshot *snapshot);
void ff_snapshot_unref(struct ff_snapshot *snapshot);

/*
 * Write it to a file from where it is positioned, and read one back: between
 * processes of one fenceferry, no format to be kept. What is read is checked for
 * its sizes. 0 or -errno; NULL with errno set.
 */
int ff_snapshot_write(const struct ff_snapshot *snapshot, int fd);
struct ff_snapshot *ff_snapshot_read(int fd);

#endif
