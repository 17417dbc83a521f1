/* SPDX-License-Identifier: MIT */
#include "policy.h"

#include "actor.h"
#include "clientfilter.h"
#include "filter.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *ff_engine_name(enum ff_engine engine)
{
	static const char *const names[] = { "off", "ptrace", "notify",
		"auto" };

	return names[engine];
}

bool ff_policy_has_ptrace(const struct ff_policy *policy)
{
	return policy->engine == FF_ENGINE_PTRACE ||
		policy->engine == FF_ENGINE_AUTO;
}

bool ff_policy_has_notify(const struct ff_policy *policy)
{
	return policy->engine == FF_ENGINE_NOTIFY ||
		policy->engine == FF_ENGINE_AUTO;
}

static struct ff_told *find(const struct ff_policy *policy, pid_t pid)
{
	for (size_t i = 0; i < policy->count; i++)
		if (policy->told[i].pid == pid)
			return &policy->told[i];
	return NULL;
}

/* Processes that others reap are not told to ff_policy_forget. */
static void drop_dead(struct ff_policy *policy)
{
	size_t kept = 0;

	for (size_t i = 0; i < policy->count; i++)
		if (ff_process_exists(policy->told[i].pid))
			policy->told[kept++] = policy->told[i];
	policy->count = kept;
}

/* NULL if there is no memory: then things are told twice. */
static struct ff_told *find_or_add(struct ff_policy *policy, pid_t pid)
{
	struct ff_told *told = find(policy, pid);

	if (told)
		return told;
	if (policy->count == policy->room)
		drop_dead(policy);
	if (policy->count == policy->room) {
		size_t room = policy->room + 32;

		told = realloc(policy->told, room * sizeof(*told));
		if (!told)
			return NULL;
		policy->told = told;
		policy->room = room;
	}
	told = &policy->told[policy->count++];
	*told = (struct ff_told){ .pid = pid };
	return told;
}

static void name_tracer(pid_t tracer, char reason[FF_REASON_SIZE])
{
	struct ff_status status;

	if (ff_process_status(tracer, &status) == 0)
		snprintf(reason, FF_REASON_SIZE, "traced by pid %d (%s)",
			tracer, status.comm);
	else
		snprintf(reason, FF_REASON_SIZE, "traced by pid %d", tracer);
}

static bool fears_filters(const struct ff_policy *policy,
	const struct ff_status *status, char reason[FF_REASON_SIZE])
{
	if (!policy->has_harmful_filters ||
		status->seccomp_filters <= policy->filters)
		return false;
	snprintf(reason, FF_REASON_SIZE, "under a seccomp filter of its own, "
		"which may kill it for the calls of a swap");
	return true;
}

bool ff_policy_forbids_ptrace(const struct ff_policy *policy,
	const struct ff_status *status, char reason[FF_REASON_SIZE])
{
	/* We are one where a thread did not stop in time, and is let go later:
	 * that is for the swap to find out. */
	if (status->tracer && status->tracer != getpid())
		name_tracer(status->tracer, reason);
	else
		return fears_filters(policy, status, reason);
	return true;
}

bool ff_policy_fears_filters(const struct ff_policy *policy, pid_t tid,
	char reason[FF_REASON_SIZE])
{
	struct ff_status status;

	return policy->has_harmful_filters &&
		ff_process_status(tid, &status) == 0 &&
		fears_filters(policy, &status, reason);
}

bool ff_policy_was_told(const struct ff_policy *policy, pid_t pid,
	enum ff_engine engine)
{
	const struct ff_told *told = find(policy, pid);

	return told && told->engines & (1u << engine);
}

void ff_policy_tell(struct ff_policy *policy, int level,
	const struct ff_actor *actor, enum ff_engine engine,
	const char *reason)
{
	struct ff_told *told = find_or_add(policy, actor->pid);

	if (told && told->engines & (1u << engine))
		return;
	if (told)
		told->engines |= 1u << engine;
	ff_eventlog_engine(policy->log, level, actor,
		engine == FF_ENGINE_PTRACE || engine == FF_ENGINE_NOTIFY ?
			ff_engine_name(engine) : "none", reason);
}

/* Of a thread of which no more is known. */
static void tell_unserved(struct ff_policy *policy, pid_t tid,
	const char *reason)
{
	struct ff_actor actor;

	ff_actor_find(tid, &actor);
	ff_policy_tell(policy, 0, &actor, FF_ENGINE_OFF, reason);
}

void ff_policy_tell_unreadable(struct ff_policy *policy, pid_t tid)
{
	tell_unserved(policy, tid, "its memory cannot be read: it is not "
		"dumpable, or of another user (run fenceferry as root)");
}

void ff_policy_note(struct ff_policy *policy, const struct ff_notification *n)
{
	uint64_t args[6];
	int judged;

	if (n->data.nr & FF_X32_BIT) {
		tell_unserved(policy, n->tid, "an x32 program, which is not "
			"supported (build it for x86_64 or i386)");
		return;
	}
	for (int i = 0; i < 6; i++)
		args[i] = n->data.args[i];
	judged = ff_clientfilter_judge(n->tid, n->data.arch, n->data.nr, args);
	/* It has ended meanwhile, and installed nothing. */
	if (judged != 1 && judged != -ENOSYS && judged != -ESRCH)
		policy->has_harmful_filters = true;
}

void ff_policy_forget(struct ff_policy *policy, pid_t pid)
{
	struct ff_told *told = find(policy, pid);

	if (told)
		*told = policy->told[--policy->count];
}

void ff_policy_free(struct ff_policy *policy)
{
	free(policy->told);
	*policy = (struct ff_policy){ .engine = policy->engine };
}
