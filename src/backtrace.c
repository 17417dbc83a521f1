/* SPDX-License-Identifier: MIT */
#include "backtrace.h"

#include "process.h"

#include <stdlib.h>
#include <string.h>

/* So much of a stack is compared: bytes. */
#define COMPARED 4096u

/* What is the same when a call is made again. */
static uint64_t describe(const struct ff_notification *call)
{
	uint64_t hash = 14695981039346656037u ^ (uint64_t)call->data.nr;

	hash = (hash ^ call->data.instruction_pointer) * 1099511628211u;
	for (int i = 0; i < 4; i++)
		hash = (hash ^ call->data.args[i]) * 1099511628211u;
	return hash;
}

static struct ff_backtrace *find(struct ff_backtraces *backtraces, pid_t tid)
{
	for (size_t i = 0; i < FF_BACKTRACE_MAX; i++)
		if (backtraces->kept[i].tid == tid)
			return &backtraces->kept[i];
	return NULL;
}

static void drop(struct ff_backtrace *backtrace)
{
	ff_snapshot_unref(backtrace->snapshot);
	*backtrace = (struct ff_backtrace){ 0 };
}

/* Takes the reference. */
static void keep(struct ff_backtraces *backtraces,
	const struct ff_notification *call, struct ff_snapshot *snapshot)
{
	struct ff_backtrace *backtrace = find(backtraces, call->tid);

	for (size_t i = 0; !backtrace && i < FF_BACKTRACE_MAX; i++)
		if (!backtraces->kept[i].tid)
			backtrace = &backtraces->kept[i];
	if (!backtrace)
		backtrace = &backtraces->kept[backtraces->next++ %
			FF_BACKTRACE_MAX];
	drop(backtrace);
	*backtrace = (struct ff_backtrace){ call->tid, describe(call),
		snapshot };
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

/*
 * The call that it was taken in may have been given up for a signal, and this
 * be another just like it: then calls return to other addresses. Other words may
 * change: where a thread's stack begins lies what others know of the thread.
 */
static bool is_current(const struct ff_snapshot *snapshot)
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

/* A signal may have come first, and the thread be in its handler. Registers may
 * show the call's instruction or the one after it. */
static bool is_in_call(const struct ff_notification *call, uint64_t ip)
{
	return call->data.instruction_pointer - ip <= 4;
}

/* May it be stopped? */
static bool may_ptrace(const struct ff_backtraces *backtraces, pid_t tid)
{
	char reason[FF_REASON_SIZE];
	struct ff_status status;

	return backtraces->policy->engine != FF_ENGINE_NOTIFY &&
		ff_process_status(tid, &status) == 0 &&
		!ff_policy_forbids_ptrace(backtraces->policy, &status, reason);
}

static struct ff_snapshot *stop(const struct ff_backtraces *backtraces,
	pid_t pid, pid_t tid, bool whole, bool *interrupted)
{
	struct ff_hold hold = {
		.idle = backtraces->ops->idle,
		.may_hold = backtraces->ops->may_hold,
		.context = backtraces->ops->context,
	};
	struct ff_snapshot *snapshot = (whole ? ff_snapshot_stop :
		ff_snapshot_stop_shortly)(&hold, pid, tid, interrupted, NULL);

	ff_hold_free(&hold);
	return snapshot;
}

/* It waits for our answer, so its ip and sp are known. */
static enum ff_taking peek(struct ff_backtraces *backtraces,
	const struct ff_notification *call, pid_t pid,
	struct ff_snapshot **snapshot)
{
	struct ff_snapshot *peeked = ff_snapshot_peek(pid, call->tid,
		call->data.arch, NULL);

	/* Not one of what it did after the call was interrupted. */
	if (!ff_notify_alive(call->listener, call->id)) {
		ff_snapshot_unref(peeked);
		return FF_TAKEN_AGAIN;
	}
	keep(backtraces, call, ff_snapshot_ref(peeked));
	*snapshot = peeked;
	return FF_TAKEN;
}

enum ff_taking ff_backtrace_take(struct ff_backtraces *backtraces,
	const struct ff_notification *call, pid_t pid, bool may_stop,
	struct ff_snapshot **snapshot)
{
	struct ff_backtrace *kept;
	bool interrupted = false;

	*snapshot = NULL;
	if (!backtraces->wanted)
		return FF_TAKEN;
	kept = find(backtraces, call->tid);
	if (kept && kept->call != describe(call)) {
		drop(kept);
		kept = NULL;
	}
	if (kept && kept->snapshot &&
		ff_snapshot_complete(kept->snapshot) == 0 &&
		is_current(kept->snapshot)) {
		*snapshot = ff_snapshot_ref(kept->snapshot);
		return FF_TAKEN;
	}
	/* One stop for a call. */
	if (!kept && may_stop && may_ptrace(backtraces, call->tid)) {
		struct ff_snapshot *taken = stop(backtraces, pid, call->tid,
			false, &interrupted);

		if (taken && !is_in_call(call, taken->ip)) {
			ff_snapshot_unref(taken);
			taken = NULL;
		}
		keep(backtraces, call, taken);
	}
	return interrupted ? FF_TAKEN_AGAIN :
		peek(backtraces, call, pid, snapshot);
}

void ff_backtrace_held(struct ff_backtraces *backtraces,
	const struct ff_notification *call, pid_t pid,
	const struct ff_thread *thread)
{
	if (backtraces->wanted &&
		is_in_call(call, thread->arch->get_ip(&thread->regs)))
		keep(backtraces, call, ff_snapshot_from_regs(pid, thread->tid,
			thread->arch, &thread->regs, NULL));
}

struct ff_snapshot *ff_backtrace_now(const struct ff_backtraces *backtraces,
	pid_t pid, pid_t tid)
{
	struct ff_snapshot *snapshot = NULL;
	bool interrupted;

	if (!backtraces->wanted)
		return NULL;
	if (may_ptrace(backtraces, tid))
		snapshot = stop(backtraces, pid, tid, true, &interrupted);
	return snapshot ? snapshot : ff_snapshot_peek(pid, tid, 0, NULL);
}

void ff_backtrace_end(struct ff_backtraces *backtraces, pid_t tid)
{
	struct ff_backtrace *kept = find(backtraces, tid);

	if (kept)
		drop(kept);
}

void ff_backtraces_free(struct ff_backtraces *backtraces)
{
	for (size_t i = 0; i < FF_BACKTRACE_MAX; i++)
		drop(&backtraces->kept[i]);
}
