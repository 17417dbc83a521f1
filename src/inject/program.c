/* SPDX-License-Identifier: MIT */
#include "inject/program.h"

#include "fault.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

/* No system call: the op fails with ENOSYS. */
#define NO_SYSCALL 0xfffffffeu

/* In on_fail until the program is laid out: the next op deals with it. */
#define ON_FAIL_NEXT (FF_OP_END - 1)

struct builder {
	const struct ff_swap_plan *plan;
	struct ff_op *ops;
	size_t count;
	bool full, no_faults;
	struct ff_op undo[FF_STUB_MAX_OPS]; /* in the order of doing */
	size_t undo_count;
	size_t closes; /* how many of undo also end a commit */
};

static uint32_t offset_of(size_t index)
{
	return (uint32_t)(index * sizeof(struct ff_op));
}

static struct ff_op make_op(const struct builder *b, enum ff_syscall call,
	const uint64_t args[6], uint64_t want)
{
	struct ff_op op = {
		.nr = (uint64_t)b->plan->arch->syscalls[call],
		.want = want,
	};

	memcpy(op.args, args, sizeof(op.args));
	return op;
}

/*
 * Append a step. Where its failure leads is filled in by finish(): until then
 * on_fail is the number of undo steps known, for those are to be run.
 */
static struct ff_op *add(struct builder *b, struct ff_op op)
{
	static struct ff_op nowhere;

	if (b->count == FF_STUB_MAX_OPS) {
		b->full = true;
		return &nowhere;
	}
	op.next = offset_of(b->count + 1);
	op.on_fail = (uint32_t)b->undo_count;
	if (!b->no_faults && ff_fault_op())
		op.nr = NO_SYSCALL;
	b->ops[b->count] = op;
	return &b->ops[b->count++];
}

static void add_undo(struct builder *b, struct ff_op op)
{
	if (b->undo_count == FF_STUB_MAX_OPS)
		b->full = true;
	else
		b->undo[b->undo_count++] = op;
}

#define ARGS(...) ((const uint64_t[6]){ __VA_ARGS__ })

/* sendmsg ignores the fourth argument: it is for us. */
static struct ff_op ring(const struct builder *b, enum ff_bell bell,
	uint64_t index, uint64_t want)
{
	return make_op(b, FF_SYS_SENDMSG, ARGS((uint64_t)-1, bell, 0, index),
		want);
}

static void add_close(struct builder *b, int fd)
{
	add_undo(b, make_op(b, FF_SYS_CLOSE, ARGS((uint64_t)fd), 0));
}

/* dup3(from, to) with the close-on-exec flag of flags. */
static struct ff_op dup_to(const struct builder *b, int from, int to, int flags)
{
	return make_op(b, FF_SYS_DUP3, ARGS((uint64_t)from, (uint64_t)to,
		(uint64_t)(flags & O_CLOEXEC)), (uint64_t)to);
}

static struct ff_op move_map(const struct builder *b, uint64_t from,
	uint64_t old_size, uint64_t size, uint64_t to)
{
	return make_op(b, FF_SYS_MREMAP, ARGS(from, old_size, size,
		MREMAP_MAYMOVE | MREMAP_FIXED, to), to);
}

static int protection(unsigned int flags)
{
	return (flags & FF_VMA_READ ? PROT_READ : 0) |
		(flags & FF_VMA_WRITE ? PROT_WRITE : 0) |
		(flags & FF_VMA_EXEC ? PROT_EXEC : 0);
}

/* Copy the pages that are private copies, a run of neighbours at a time. */
static void add_copies(struct builder *b, const struct ff_swap_map *map)
{
	uint64_t page = map->page_count ?
		(map->vma.end - map->vma.start) / map->page_count : 0;

	for (size_t i = 0; i < map->page_count; i++) {
		size_t first = i;
		struct ff_op op = { .nr = FF_OP_COPY };

		while (i < map->page_count && map->pages[i])
			i++;
		if (i == first)
			continue;
		op.args[0] = map->fresh + first * page;
		op.args[1] = map->vma.start + first * page;
		op.args[2] = (i - first) * page;
		add(b, op);
	}
}

static bool is_shared(const struct ff_swap_map *map)
{
	return map->vma.flags & FF_VMA_SHARED;
}

/*
 * Map the stand-in where nobody looks yet, and double a shared mapping, so
 * that it can be brought back; a private one cannot be doubled (mremap(2)).
 */
static void prepare_map(struct builder *b, const struct ff_swap_map *map)
{
	const struct ff_arch *arch = b->plan->arch;
	const struct ff_vma *vma = &map->vma;
	uint64_t size = vma->end - vma->start;
	bool copies = map->pages;
	int protect = protection(vma->flags);
	int writable = copies ? protect | PROT_READ | PROT_WRITE : protect;

	/* It is to be read for the copies. */
	if (copies && !(vma->flags & FF_VMA_READ)) {
		add(b, make_op(b, FF_SYS_MPROTECT, ARGS(vma->start, size,
			(uint64_t)(protect | PROT_READ)), 0));
		add_undo(b, make_op(b, FF_SYS_MPROTECT, ARGS(vma->start, size,
			(uint64_t)protect), 0));
	}
	if (is_shared(map)) {
		add(b, move_map(b, vma->start, 0, size, map->backup));
		add_undo(b, make_op(b, FF_SYS_MUNMAP, ARGS(map->backup, size),
			0));
	}
	add(b, make_op(b, FF_SYS_MMAP, ARGS(map->fresh, size,
		(uint64_t)writable,
		(uint64_t)(MAP_FIXED_NOREPLACE |
			(is_shared(map) ? MAP_SHARED : MAP_PRIVATE)),
		(uint64_t)b->plan->descriptions[map->description].number,
		vma->offset / arch->mmap_offset_unit), map->fresh));
	add_undo(b, make_op(b, FF_SYS_MUNMAP, ARGS(map->fresh, size), 0));
	if (copies)
		add_copies(b, map);
	if (protect != writable)
		add(b, make_op(b, FF_SYS_MPROTECT, ARGS(map->fresh, size,
			(uint64_t)protect), 0));
}

/* For a shared mapping there is no moment without one. */
static void apply_map(struct builder *b, const struct ff_swap_map *map)
{
	uint64_t start = map->vma.start, size = map->vma.end - start;

	if (!is_shared(map))
		add(b, move_map(b, start, size, size, map->backup));
	add_undo(b, move_map(b, map->backup, size, size, start));
	add(b, move_map(b, map->fresh, size, size, start));
}

static void apply_fd(struct builder *b, const struct ff_swap_fd *fd)
{
	int number = b->plan->descriptions[fd->description].number;

	add(b, dup_to(b, number, fd->fd, fd->flags));
	add_undo(b, dup_to(b, fd->backup, fd->fd, fd->flags));
}

/*
 * Wait for the word of the supervisor. If it is gone, the ticket, whose offset
 * all processes see alike, says whether it had decided to go on.
 */
static void add_decision(struct builder *b, enum ff_bell bell)
{
	int number = b->plan->descriptions[b->plan->ticket].number;
	struct ff_op *op;

	/* Unanswered at the second, a process stays committed by the ticket,
	 * so that is no step which could fail alone. */
	b->no_faults = bell == FF_BELL_APPLIED;
	op = add(b, ring(b, bell, 0, 0));
	op->on_fail = ON_FAIL_NEXT;
	op->next = offset_of(b->count + 1);
	b->no_faults = true; /* it is not reached but for our death */
	add(b, make_op(b, FF_SYS_LSEEK, ARGS((uint64_t)number, 0, SEEK_CUR),
		1));
	b->no_faults = false;
}

/*
 * Who was let go by our death before the mapping changed may wait on the old
 * page by now: a spurious wake-up, and it waits on the new one.
 */
static void commit_map(struct builder *b, const struct ff_swap_map *map)
{
	uint64_t size = map->vma.end - map->vma.start;

	if (is_shared(map))
		add(b, make_op(b, FF_SYS_FUTEX, ARGS(map->backup, FUTEX_WAKE,
			INT32_MAX), 0));
	add(b, make_op(b, FF_SYS_MUNMAP, ARGS(map->backup, size), 0));
}

/* Lay out: steps, commit, undo backwards; and point the failures there. */
static void finish(struct builder *b, size_t *commit)
{
	const struct ff_swap_plan *plan = b->plan;
	size_t steps = b->count, undo;

	*commit = steps;
	b->no_faults = true;
	for (size_t i = 0; i < plan->map_count; i++)
		commit_map(b, &plan->maps[i]);
	undo = b->count;
	for (size_t i = b->undo_count; i > 0; i--)
		add(b, b->undo[i - 1]);
	if (b->full)
		return;
	/* A commit ends with the closes, which undo has at its end. */
	b->ops[undo - 1].next = offset_of(b->count - b->closes);
	b->ops[b->count - 1].next = FF_OP_END;
	for (size_t i = 0; i < b->count; i++) {
		struct ff_op *op = &b->ops[i];

		if (op->on_fail == ON_FAIL_NEXT)
			op->on_fail = offset_of(i + 1);
		else if (i >= steps)
			op->on_fail = op->next;
		else
			op->on_fail = op->on_fail ? offset_of(undo +
				b->undo_count - op->on_fail) : FF_OP_END;
	}
	/* The answer to the last decision may skip the ticket behind it. */
	if (plan->ticket >= 0)
		b->ops[steps - 2].next = b->ops[steps - 1].next;
}

/* Does the supervisor live? It holds this lock, and while it does the other
 * threads are held. */
static void add_look(struct builder *b)
{
	add(b, make_op(b, FF_SYS_FLOCK, ARGS(
		(uint64_t)b->plan->descriptions[0].number, LOCK_SH | LOCK_NB),
		(uint64_t)-EWOULDBLOCK));
}

int ff_program_build(const struct ff_swap_plan *plan, struct ff_op *ops,
	size_t *commit)
{
	static struct builder b; /* large, and not all of it is cleared */

	b.plan = plan;
	b.ops = ops;
	b.count = b.undo_count = b.closes = 0;
	b.full = b.no_faults = false;
	for (size_t i = 0; i < plan->description_count; i++) {
		int number = plan->descriptions[i].number;

		add(&b, ring(&b, FF_BELL_READY, i, (uint64_t)number));
		add_close(&b, number);
	}
	for (size_t i = 0; i < plan->fd_count; i++) {
		const struct ff_swap_fd *fd = &plan->fds[i];

		add(&b, dup_to(&b, fd->fd, fd->backup, O_CLOEXEC));
		add_close(&b, fd->backup);
	}
	b.closes = b.undo_count;
	add_look(&b);
	for (size_t i = 0; i < plan->map_count; i++)
		prepare_map(&b, &plan->maps[i]);
	if (plan->ticket >= 0)
		add_decision(&b, FF_BELL_PREPARED);
	else
		add_look(&b);
	for (size_t i = 0; i < plan->map_count; i++)
		apply_map(&b, &plan->maps[i]);
	for (size_t i = 0; i < plan->fd_count; i++)
		apply_fd(&b, &plan->fds[i]);
	if (plan->ticket >= 0)
		add_decision(&b, FF_BELL_APPLIED);
	finish(&b, commit);
	return b.full ? -E2BIG : (int)b.count;
}

/* What the op was for, in an error message. */
static const char *name_op(const struct ff_arch *arch, const struct ff_op *op)
{
	static const char *const names[FF_SYS_COUNT] = {
		[FF_SYS_MMAP] = "mmap", [FF_SYS_MREMAP] = "mremap",
		[FF_SYS_MUNMAP] = "munmap", [FF_SYS_MPROTECT] = "mprotect",
		[FF_SYS_DUP3] = "dup3", [FF_SYS_CLOSE] = "close",
		[FF_SYS_FLOCK] = "flock", [FF_SYS_FUTEX] = "futex", [FF_SYS_LSEEK] = "lseek",
		[FF_SYS_SENDMSG] = "bell", [FF_SYS_PRCTL] = "prctl",
		[FF_SYS_SECCOMP] = "seccomp",
	};

	for (int i = 0; i < FF_SYS_COUNT; i++)
		if (op->nr == (uint64_t)arch->syscalls[i])
			return names[i];
	return op->nr == FF_OP_COPY ? "copy" : "injected fault";
}

int ff_program_result(const struct ff_arch *arch, const struct ff_op *ops,
	size_t commit, const char **what)
{
	uint64_t mask = arch->word == 4 ? UINT32_MAX : UINT64_MAX;
	size_t i = 0;

	/* Follow the path that was taken, up to the first failure. */
	while (i < commit) {
		const struct ff_op *op = &ops[i];
		int64_t result = (int64_t)op->result;
		uint32_t next = op->next;

		if (((op->result ^ op->want) & mask) != 0) {
			next = op->on_fail;
			/* Only the answer to a bell may lead onwards. */
			if (next <= i * sizeof(*op) ||
				next >= commit * sizeof(*op)) {
				*what = name_op(arch, op);
				if (arch->word == 4)
					result = (int32_t)op->result;
				if (op->nr == (uint64_t)
						arch->syscalls[FF_SYS_LSEEK])
					return FF_TOLD_TO_GO_BACK;
				return result < 0 && result > -4096 ?
					(int)result : -EPROTO;
			}
		}
		i = next / sizeof(*op);
	}
	return 0;
}
