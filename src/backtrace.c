/* SPDX-License-Identifier: MIT */
#include "backtrace.h"

#include "clock.h"
#include "process.h"

/* How long a thread that was stopped may take to make its call again. */
#define AGAIN_NS 1000000000u

enum { LAST = FF_BACKTRACE_MAX - 1 };

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

static bool is_of(const struct ff_backtrace *kept,
	const struct ff_notification *call)
{
	return kept->id == call->id && kept->listener == call->listener;
}

/*
 * A place that is not used, or can be given up: not of a call that is about to be
 * made again, or those of many threads would be stopped for in turn, for ever.
 * The last place is for a call that there is no other for, and no stop.
 */
static struct ff_backtrace *find_room(struct ff_backtraces *backtraces)
{
	const uint64_t now_ns = ff_now_ns();

	for (size_t i = 0; i < LAST; i++)
		if (!backtraces->kept[i].tid)
			return &backtraces->kept[i];
	for (size_t i = 0; i < LAST; i++) {
		size_t at = backtraces->next++ % LAST;

		if (backtraces->kept[at].again_ns <= now_ns)
			return &backtraces->kept[at];
	}
	return &backtraces->kept[LAST];
}

/* Takes the reference. */
static struct ff_backtrace *keep(struct ff_backtraces *backtraces,
	const struct ff_notification *call, struct ff_snapshot *snapshot)
{
	struct ff_backtrace *backtrace = find(backtraces, call->tid);

	if (!backtrace)
		backtrace = find_room(backtraces);
	drop(backtrace);
	*backtrace = (struct ff_backtrace){
		.tid = call->tid,
		.call = describe(call),
		.listener = call->listener,
		.id = call->id,
		.was_stopped = backtrace == &backtraces->kept[LAST],
		.snapshot = snapshot,
	};
	return backtrace;
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

static void prepare_hold(const struct ff_backtraces *backtraces,
	struct ff_hold *hold)
{
	*hold = (struct ff_hold){
		.idle = backtraces->ops->idle,
		.may_hold = backtraces->ops->may_hold,
		.context = backtraces->ops->context,
	};
}

/*
 * What is kept for this call; if nothing is, what can be seen without ptrace: the
 * thread waits for our answer. NULL if it does so no longer; and if it still does,
 * then what was read of its message before is of this call too. What was taken
 * before the call was made again may be of another one just like it, for a signal
 * may have ended the first: then the callers are others.
 */
static struct ff_backtrace *find_or_peek(struct ff_backtraces *backtraces,
	const struct ff_notification *call, pid_t pid)
{
	struct ff_backtrace *kept = find(backtraces, call->tid);
	bool was_stopped = false;
	struct ff_snapshot *peeked;

	if (kept && is_of(kept, call))
		return kept;
	if (kept && kept->call == describe(call)) {
		if (kept->snapshot && ff_snapshot_is_current(kept->snapshot) &&
			ff_notify_alive(call->listener, call->id)) {
			kept->id = call->id;
			kept->listener = call->listener;
			return kept;
		}
		/* Not again, should it change all the time. */
		was_stopped = kept->was_stopped;
	}
	peeked = ff_snapshot_peek(pid, call->tid, call->data.arch, NULL);
	if (!ff_notify_alive(call->listener, call->id)) {
		ff_snapshot_unref(peeked);
		return NULL;
	}
	kept = keep(backtraces, call, peeked);
	kept->was_stopped |= was_stopped;
	return kept;
}

enum ff_taking ff_backtrace_take(struct ff_backtraces *backtraces,
	const struct ff_notification *call, pid_t pid, bool may_stop,
	struct ff_snapshot **snapshot)
{
	struct ff_backtrace *kept;

	*snapshot = NULL;
	if (!backtraces->wanted)
		return FF_TAKEN;
	kept = find_or_peek(backtraces, call, pid);
	if (!kept)
		return FF_TAKEN_AGAIN;
	if (kept->snapshot && kept->snapshot->how == FF_SNAPSHOT_PROC &&
		!kept->was_stopped && may_stop &&
		may_ptrace(backtraces, call->tid)) {
		struct ff_snapshot *stopped = ff_snapshot_ref(kept->snapshot);
		struct ff_hold hold;
		bool interrupted;

		/* Meanwhile others are served, and may need the place. */
		kept->was_stopped = true;
		kept->again_ns = ff_now_ns() + AGAIN_NS;
		prepare_hold(backtraces, &hold);
		ff_snapshot_stop_for_regs(stopped, &hold, &interrupted, NULL);
		ff_hold_free(&hold);
		if (interrupted) {
			ff_snapshot_unref(stopped);
			return FF_TAKEN_AGAIN;
		}
		*snapshot = stopped;
		return FF_TAKEN;
	}
	*snapshot = ff_snapshot_ref(kept->snapshot);
	return FF_TAKEN;
}

void ff_backtrace_prepare(struct ff_backtraces *backtraces,
	const struct ff_notification *call, pid_t pid)
{
	if (backtraces->wanted)
		find_or_peek(backtraces, call, pid);
}

void ff_backtrace_held(struct ff_backtraces *backtraces,
	const struct ff_notification *call, const struct ff_thread *thread)
{
	struct ff_backtrace *kept = find(backtraces, thread->tid);

	if (kept && is_of(kept, call) && kept->snapshot)
		ff_snapshot_add_regs(kept->snapshot, thread);
}

struct ff_snapshot *ff_backtrace_now(const struct ff_backtraces *backtraces,
	pid_t pid, pid_t tid, bool may_stop)
{
	struct ff_snapshot *snapshot = NULL;
	struct ff_hold hold;
	bool interrupted;

	if (!backtraces->wanted)
		return NULL;
	if (may_stop && may_ptrace(backtraces, tid)) {
		prepare_hold(backtraces, &hold);
		snapshot = ff_snapshot_stop(&hold, pid, tid, &interrupted,
			NULL);
		ff_hold_free(&hold);
	}
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
