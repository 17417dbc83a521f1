/* SPDX-License-Identifier: MIT */
#ifndef FF_POLICY_H
#define FF_POLICY_H

#include "eventlog.h"
#include "notify.h"
#include "process.h"

#include <stdbool.h>
#include <stddef.h>

/*
 * Which engine serves a process. Decided for each one by what is seen of it, and
 * told once.
 */

enum ff_engine { FF_ENGINE_OFF, FF_ENGINE_PTRACE, FF_ENGINE_NOTIFY,
	FF_ENGINE_AUTO };

/* "off", "ptrace", "notify", "auto". */
const char *ff_engine_name(enum ff_engine engine);

/* What was told of a process. */
struct ff_told {
	pid_t pid;
	unsigned int engines; /* told of: a bit for each */
};

struct ff_policy {
	enum ff_engine engine; /* as chosen by the user */
	struct ff_eventlog *log; /* not ours */
	/* Did a seccomp filter of the client's own come up that would end a
	 * process in which a swap is made? Which one it is under, nobody knows
	 * of a process; only how many. */
	bool has_harmful_filters;
	/* That a process without own filters is under: of who is attached to,
	 * to be filled in. */
	unsigned int filters;
	struct ff_told *told;
	size_t count, room;
};

/* May the engine ptrace (notify) be used at all? */
bool ff_policy_has_ptrace(const struct ff_policy *policy);
bool ff_policy_has_notify(const struct ff_policy *policy);

#define FF_REASON_SIZE 192

/*
 * Why ptrace must not be used in the process that status is of, before it is
 * touched: traced by another, or under a filter of its own that would end it.
 * Fills reason and returns true; false if nothing is known against it.
 */
bool ff_policy_forbids_ptrace(const struct ff_policy *policy,
	const struct ff_status *status, char reason[FF_REASON_SIZE]);

/* Is this thread under filters of its own, while a harmful one is about? Fills
 * reason and returns true; false otherwise. */
bool ff_policy_fears_filters(const struct ff_policy *policy, pid_t tid,
	char reason[FF_REASON_SIZE]);

/*
 * Tell the log, once for each process and engine, that this engine (ptrace,
 * notify; FF_ENGINE_OFF: none can; FF_ENGINE_AUTO: none needs to) serves it, and
 * why; said from this verbosity on.
 */
void ff_policy_tell(struct ff_policy *policy, int level,
	const struct ff_actor *actor, enum ff_engine engine,
	const char *reason);

/* The same, where the memory of tid must not be read: its calls cannot be
 * understood. */
void ff_policy_tell_unreadable(struct ff_policy *policy, pid_t tid);

/* Was that told already? */
bool ff_policy_was_told(const struct ff_policy *policy, pid_t pid,
	enum ff_engine engine);

/* Take note of a trapped call that is nobody's business, and goes on, for what
 * it tells about its caller. */
void ff_policy_note(struct ff_policy *policy,
	const struct ff_notification *notification);

/* Forget a process that ended. */
void ff_policy_forget(struct ff_policy *policy, pid_t pid);

void ff_policy_free(struct ff_policy *policy);

#endif
