/* SPDX-License-Identifier: MIT */
#include "inject/snapshot.h"

#include "clock.h"
#include "inject/remote.h"
#include "process.h"
#include "tick.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/* How long a thread may take to stop. */
#define STOP_MS 200

/* So much of a stack is compared: bytes. */
#define COMPARED 4096u

static struct ff_snapshot *allocate(pid_t pid, pid_t tid)
{
	struct ff_snapshot *snapshot = calloc(1, sizeof(*snapshot));

	if (!snapshot)
		return NULL;
	snapshot->references = 1;
	snapshot->pid = pid;
	snapshot->tid = tid;
	snapshot->stack = malloc(FF_SNAPSHOT_STACK);
	if (!snapshot->stack) {
		free(snapshot);
		return NULL;
	}
	return snapshot;
}

struct ff_snapshot *ff_snapshot_ref(struct ff_snapshot *snapshot)
{
	if (snapshot)
		snapshot->references++;
	return snapshot;
}

void ff_snapshot_unref(struct ff_snapshot *snapshot)
{
	if (!snapshot || --snapshot->references)
		return;
	free(snapshot->stack);
	free(snapshot->maps);
	free(snapshot->vdso);
	free(snapshot);
}

/* Up to the first page that cannot be read: bytes, or -errno. */
static ssize_t read_memory(pid_t tid, uint64_t address, void *buffer,
	size_t size)
{
	struct iovec local = { buffer, size };
	struct iovec remote = { (void *)(uintptr_t)address, size };
	ssize_t n = process_vm_readv(tid, &local, 1, &remote, 1, 0);

	return n < 0 ? -errno : n;
}

static int read_stack(struct ff_snapshot *snapshot)
{
	ssize_t n = read_memory(snapshot->tid, snapshot->sp, snapshot->stack,
		FF_SNAPSHOT_STACK);
	void *less;

	if (n < 0)
		return (int)n;
	snapshot->stack_size = (size_t)n;
	snapshot->stack_is_cut = n == FF_SNAPSHOT_STACK;
	less = realloc(snapshot->stack, n ? (size_t)n : 1);
	if (less)
		snapshot->stack = less;
	return 0;
}

/* /proc hands it out a page at a time. */
static int read_maps(struct ff_snapshot *snapshot)
{
	/* As large as the last one needed: no page faults while it is held. */
	static char *buffer;
	static size_t room;
	char path[32];
	size_t used = 0;
	ssize_t n = 1;
	int fd, err = 0;

	snprintf(path, sizeof(path), "/proc/%d/maps", snapshot->tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	while (!err && n > 0) {
		if (room - used < 8192) {
			char *more = room >= FF_SNAPSHOT_MAPS ? NULL :
				realloc(buffer, 2 * room + 65536);

			if (!more) {
				err = room >= FF_SNAPSHOT_MAPS ? -E2BIG :
					-ENOMEM;
				break;
			}
			buffer = more;
			room = 2 * room + 65536;
		}
		n = read(fd, buffer + used, room - used);
		if (n < 0)
			err = -errno;
		else
			used += (size_t)n;
	}
	close(fd);
	if (!err && !used)
		err = -ESRCH; /* it has given up its memory */
	if (!err) {
		snapshot->maps = malloc(used + 1);
		err = snapshot->maps ? 0 : -ENOMEM;
	}
	if (!err) {
		memcpy(snapshot->maps, buffer, used);
		snapshot->maps[used] = '\0';
		snapshot->maps_size = used;
	}
	return err;
}

/* Its code, by which to unwind, is in no file. Programs of our own ABI are
 * hardly ever found in theirs; of i386 every call goes through it. */
static void read_vdso(struct ff_snapshot *snapshot)
{
	const char *name = strstr(snapshot->maps, "[vdso]\n"), *line = name;
	uint64_t start, end;
	ssize_t n;

	while (line && line > snapshot->maps && line[-1] != '\n')
		line--;
	if (!line || sscanf(line, "%" SCNx64 "-%" SCNx64, &start, &end) != 2 ||
		end <= start || end - start > FF_SNAPSHOT_VDSO ||
		(snapshot->arch == ff_arch_native() &&
			(snapshot->ip < start || snapshot->ip >= end)))
		return;
	snapshot->vdso = malloc((size_t)(end - start));
	if (!snapshot->vdso)
		return;
	n = read_memory(snapshot->tid, start, snapshot->vdso,
		(size_t)(end - start));
	if (n > 0) {
		snapshot->vdso_size = (size_t)n;
		snapshot->vdso_base = start;
	}
}

/* Who is not dumpable is root's. */
static int read_owner(struct ff_snapshot *snapshot)
{
	char path[32];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d", snapshot->tid);
	if (stat(path, &st) < 0)
		return -errno;
	snapshot->uid = st.st_uid;
	snapshot->gid = st.st_gid;
	return 0;
}

/* Once registers are known: the rest. NULL, and it is gone, after a failure. */
static struct ff_snapshot *complete(struct ff_snapshot *snapshot,
	struct ff_error *error)
{
	int err = read_stack(snapshot);

	if (!err)
		err = read_maps(snapshot);
	if (!err)
		err = read_owner(snapshot);
	if (!err) {
		read_vdso(snapshot);
		return snapshot;
	}
	ff_fail(error, -err, "the stack of thread %d cannot be read: %s",
		snapshot->tid, strerror(-err));
	ff_snapshot_unref(snapshot);
	return NULL;
}

static uint64_t get_sp(const struct ff_arch *arch, const struct ff_regs *regs)
{
	unsigned int word = arch->dwarf_regs[arch->dwarf_sp];

	return arch->word == 8 ? regs->u64[word] : regs->u32[word];
}

static void set_regs(struct ff_snapshot *snapshot,
	const struct ff_thread *thread)
{
	snapshot->how = FF_SNAPSHOT_PTRACE;
	snapshot->arch = thread->arch;
	snapshot->regs = thread->regs;
	snapshot->ip = thread->arch->get_ip(&thread->regs);
	snapshot->sp = get_sp(thread->arch, &thread->regs);
}

/* May it be an address that a call returns to? */
static bool is_code(const struct ff_snapshot *snapshot, uint64_t address)
{
	const char *line = snapshot->maps;

	/* START-END rwxp ... */
	while (line) {
		char *at;
		uint64_t start = strtoull(line, &at, 16);
		uint64_t end = *at == '-' ? strtoull(at + 1, &at, 16) : 0;

		if (address >= start && address < end)
			return strnlen(at, 4) == 4 && at[3] == 'x';
		line = strchr(at, '\n');
		line = line ? line + 1 : NULL;
	}
	return false;
}

static uint64_t get_word(const unsigned char *stack, size_t size)
{
	uint64_t word = 0;

	memcpy(&word, stack, size); /* little endian */
	return word;
}

/* Words that are no code may change: where a thread's stack begins lies what
 * others know of the thread. */
bool ff_snapshot_is_current(const struct ff_snapshot *snapshot)
{
	const unsigned char *then = snapshot->stack;
	const size_t word = snapshot->arch->word;
	unsigned char now[COMPARED];
	size_t size = snapshot->stack_size < COMPARED ? snapshot->stack_size :
		COMPARED;

	size -= size % word;
	if (ff_process_read(snapshot->tid, snapshot->sp, now, size) < 0)
		return false;
	for (size_t i = 0; i < size; i += word)
		if (memcmp(now + i, then + i, word) != 0 &&
			(is_code(snapshot, get_word(now + i, word)) ||
				is_code(snapshot, get_word(then + i, word))))
			return false;
	return true;
}

bool ff_snapshot_add_regs(struct ff_snapshot *snapshot,
	const struct ff_thread *thread)
{
	/* Of a call to be made again, either shows its instruction or the one
	 * after it. */
	uint64_t behind = snapshot->ip - thread->arch->get_ip(&thread->regs);

	if (thread->arch != snapshot->arch || behind > 4 ||
		snapshot->sp != get_sp(thread->arch, &thread->regs) ||
		!ff_snapshot_is_current(snapshot))
		return false;
	set_regs(snapshot, thread);
	return true;
}

/* Hold it; the caller releases it. */
static const struct ff_thread *stop(struct ff_hold *hold, pid_t pid, pid_t tid,
	bool *interrupted, struct ff_error *error)
{
	*interrupted = false;
	if (ff_hold_seize_thread(hold, pid, tid, error) < 0)
		return NULL;
	ff_tick(FF_TICK_MS * 1000);
	*interrupted = true;
	return ff_hold_stop_thread(hold, hold->threads,
		ff_now_ns() + STOP_MS * 1000000ull, error) == 0 ?
		hold->threads : NULL;
}

static void release(struct ff_hold *hold)
{
	ff_hold_release(hold);
	ff_tick(0);
}

struct ff_snapshot *ff_snapshot_stop(struct ff_hold *hold, pid_t pid, pid_t tid,
	bool *interrupted, struct ff_error *error)
{
	const struct ff_thread *thread = stop(hold, pid, tid, interrupted,
		error);
	struct ff_snapshot *snapshot = thread ? allocate(pid, tid) : NULL;

	if (thread && !snapshot)
		ff_fail(error, ENOMEM, "out of memory");
	if (snapshot) {
		set_regs(snapshot, thread);
		snapshot = complete(snapshot, error);
	}
	if (*interrupted)
		release(hold);
	return snapshot;
}

bool ff_snapshot_stop_for_regs(struct ff_snapshot *snapshot,
	struct ff_hold *hold, bool *interrupted, struct ff_error *error)
{
	const struct ff_thread *thread = stop(hold, snapshot->pid,
		snapshot->tid, interrupted, error);
	bool same = thread && ff_snapshot_add_regs(snapshot, thread);

	if (*interrupted)
		release(hold);
	return same;
}

/* What /proc/TID/syscall says. Bytes, or -errno. */
static ssize_t read_call(pid_t tid, char text[256])
{
	char path[32];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/syscall", tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -errno : read(fd, text, 255);
	if (fd >= 0 && n < 0)
		n = -errno;
	if (fd >= 0)
		close(fd);
	text[n > 0 ? n : 0] = '\0';
	return n;
}

/* Has it been in this call, and blocked, all the time? */
static bool has_stayed(pid_t tid, const char *call, uint64_t switches)
{
	struct ff_status status;
	char text[256];

	return read_call(tid, text) >= 0 && !strcmp(text, call) &&
		ff_process_status(tid, &status) == 0 &&
		status.switches == switches;
}

/* A snapshot with ip and sp, from the last two words of text: or "running". */
static struct ff_snapshot *parse_call(pid_t pid, pid_t tid, const char *text,
	struct ff_error *error)
{
	const char *ip = strrchr(text, ' ');
	const char *sp = ip ? memrchr(text, ' ', (size_t)(ip - text)) : NULL;
	struct ff_snapshot *snapshot;

	if (!sp) {
		ff_fail(error, EBUSY, "thread %d runs", tid);
		return NULL;
	}
	snapshot = allocate(pid, tid);
	if (!snapshot) {
		ff_fail(error, ENOMEM, "out of memory");
		return NULL;
	}
	snapshot->how = FF_SNAPSHOT_PROC;
	snapshot->sp = strtoull(sp, NULL, 16);
	snapshot->ip = strtoull(ip, NULL, 16);
	return snapshot;
}

struct ff_snapshot *ff_snapshot_peek(pid_t pid, pid_t tid, uint32_t audit_arch,
	struct ff_error *error)
{
	struct ff_snapshot *snapshot;
	struct ff_status status = { 0 };
	char text[256];
	ssize_t n = 0;

	if (!audit_arch)
		n = ff_process_status(tid, &status);
	if (n >= 0)
		n = read_call(tid, text);
	if (n < 0) {
		ff_fail(error, (int)-n, "thread %d cannot be looked at: %s",
			tid, strerror((int)-n));
		return NULL;
	}
	snapshot = parse_call(pid, tid, text, error);
	if (!snapshot)
		return NULL;
	snapshot->arch = audit_arch ? ff_arch_by_audit(audit_arch) : NULL;
	if (!snapshot->arch)
		snapshot->arch = ff_arch_by_addresses(snapshot->ip,
			snapshot->sp);
	snapshot = complete(snapshot, error);
	if (!snapshot || audit_arch || has_stayed(tid, text, status.switches))
		return snapshot;
	ff_fail(error, EBUSY, "thread %d has run meanwhile", tid);
	ff_snapshot_unref(snapshot);
	return NULL;
}
