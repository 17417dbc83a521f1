/* SPDX-License-Identifier: MIT */
#include "creation.h"

#include "actor.h"
#include "clock.h"
#include "process.h"

#include <errno.h>
#include <linux/audit.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* What libxshmfence calls its memfds; and their only flags that files in the
 * shm dir can do with, if not obey: MFD_ALLOW_SEALING, MFD_NOEXEC_SEAL and
 * MFD_EXEC (Linux 6.3). */
#define FENCE_NAME "xshmfence"
#define FENCE_FLAGS (MFD_CLOEXEC | MFD_ALLOW_SEALING | 8u | 16u)

static bool is_creation(const struct ff_notification *n)
{
	switch (n->data.arch) {
	case AUDIT_ARCH_X86_64:
		return n->data.nr == 319;
	case AUDIT_ARCH_I386:
		return n->data.nr == 356;
	case AUDIT_ARCH_AARCH64:
		return n->data.nr == 279;
	default:
		return false;
	}
}

static bool is_fence(const struct ff_creations *creations,
	const struct ff_notification *n)
{
	char name[sizeof(FENCE_NAME)];
	int err;

	if ((unsigned int)n->data.args[1] & ~FENCE_FLAGS)
		return false;
	err = ff_process_read(n->tid, n->data.args[0], name, sizeof(name));
	if (err == -EPERM)
		ff_policy_tell_unreadable(creations->policy, n->tid);
	return !err && !memcmp(name, FENCE_NAME, sizeof(name));
}

/*
 * The file is to belong to the client. An ordinary user's clients are his own,
 * or the kernel would not let us give it away. Of root's the owner of /proc/PID
 * tells who they are, for less than its status does; unless they are not
 * dumpable, and then they could not open the file again anyway.
 */
static int set_owner(const struct ff_notification *n,
	const struct ff_standin *standin)
{
	char path[32];
	struct stat st;

	if (geteuid() != 0)
		return 0;
	snprintf(path, sizeof(path), "/proc/%d", n->tid);
	if (stat(path, &st) < 0)
		return -errno;
	if (st.st_uid == 0 && st.st_gid == 0)
		return 0;
	return fchown(standin->fd, st.st_uid, st.st_gid) < 0 ? -errno : 0;
}

static void say_unserved(struct ff_creations *creations,
	const struct ff_notification *n, const char *why)
{
	struct ff_actor actor;

	ff_actor_find(n->tid, &actor);
	ff_policy_tell(creations->policy, 0, &actor, FF_ENGINE_OFF, why);
}

/* The fence stays a memfd. */
static enum ff_call_state leave(struct ff_creations *creations,
	const struct ff_notification *n, const char *why)
{
	say_unserved(creations, n, why);
	return FF_CALL_GOES_ON;
}

/* It is the client's now: what remains can be done while it goes on. */
static void enter(struct ff_creations *creations,
	const struct ff_notification *n, struct ff_ready *ready,
	uint64_t made_ns, bool may_sweep)
{
	struct ff_error error;
	struct ff_fence *fence;

	close(ready->fd);
	fence = ff_futexes_add(creations->futexes, &ready->standin, may_sweep,
		&error);
	if (fence) {
		fence->is_new = true;
		fence->made_ns = made_ns;
		ff_life_created(&creations->futexes->life, fence, n->tid,
			"notify", creations->snapshot);
	} else {
		say_unserved(creations, n, error.text);
		ff_standin_close(&ready->standin, creations->pool.dir_fd);
	}
}

/* Its call is gone, and will be made again. Not if it cannot be remembered, or
 * a handler takes it for an error: then the client has an fd too many. */
static void remember_early(struct ff_creations *creations, pid_t tid,
	int number, struct ff_ready *ready)
{
	if (creations->early_count == FF_EARLY_MAX) {
		ff_pool_drop(&creations->pool, &creations->early[0].ready);
		memmove(creations->early, creations->early + 1,
			--creations->early_count * sizeof(*creations->early));
	}
	creations->early[creations->early_count++] =
		(struct ff_early){ tid, number, *ready };
}

/* Should we die, the front finishes it (heir.h). */
static void set_gift(struct ff_gift *gift, const struct ff_notification *n,
	const struct ff_standin *standin)
{
	gift->tid = n->tid;
	gift->dev = standin->dev;
	gift->ino = standin->ino;
	gift->call = n->id;
}

/* Was the answer handed over when this call was made before? True: it is
 * answered with that. */
static bool answer_early(struct ff_creations *creations,
	const struct ff_notification *n, bool may_sweep)
{
	struct ff_early *early = creations->early, found;

	while (early < creations->early + creations->early_count &&
		early->tid != n->tid)
		early++;
	if (early == creations->early + creations->early_count)
		return false;
	found = *early;
	*early = creations->early[--creations->early_count];
	if (!ff_process_has_file(n->tid, found.number, found.ready.standin.dev,
			found.ready.standin.ino)) {
		ff_pool_drop(&creations->pool, &found.ready);
		return false;
	}
	set_gift(creations->gift, n, &found.ready.standin);
	if (ff_notify_answer(n->listener, n->id, found.number, 0) < 0)
		remember_early(creations, n->tid, found.number, &found.ready);
	else
		enter(creations, n, &found.ready, 0, may_sweep);
	creations->gift->call = 0;
	return true;
}

/*
 * Install it, and answer with its number. In two steps: one that is stopped,
 * traced or killed in the single one that the kernel has (ff_notify_answer_fd)
 * leaves the caller with 0 for an answer. 0, or -errno without it installed.
 */
static int hand_over(struct ff_creations *creations,
	const struct ff_notification *n, struct ff_ready *ready,
	uint64_t begin_ns, bool may_sweep)
{
	int number;

	set_gift(creations->gift, n, &ready->standin);
	number = ff_notify_add_fd(n->listener, n->id, ready->fd,
		n->data.args[1] & MFD_CLOEXEC);
	if (number < 0)
		;
	else if (ff_notify_answer(n->listener, n->id, number, 0) < 0)
		remember_early(creations, n->tid, number, ready);
	else
		enter(creations, n, ready, ff_now_ns() - begin_ns, may_sweep);
	creations->gift->call = 0;
	return number < 0 ? number : 0;
}

static enum ff_call_state answer(struct ff_creations *creations,
	const struct ff_notification *n, bool may_sweep)
{
	const uint64_t begin_ns = ff_now_ns();
	struct ff_ready ready;
	struct ff_error error;
	int err = ff_pool_take(&creations->pool, &ready, &error);

	if (err)
		return leave(creations, n, error.text);
	err = set_owner(n, &ready.standin);
	if (!err)
		err = hand_over(creations, n, &ready, begin_ns, may_sweep);
	if (!err)
		return FF_CALL_IS_DONE;
	ff_pool_drop(&creations->pool, &ready);
	/* The kernel will say of the limit what it says of it to others. */
	if (err == -EMFILE || err == -ENOENT || err == -ESRCH)
		return FF_CALL_GOES_ON;
	ff_fail(&error, -err, "the stand-in %s cannot be handed over: %s",
		ready.standin.path, strerror(-err));
	return leave(creations, n, error.text);
}

/* It is known who makes it, and where. */
static enum ff_call_state handle(struct ff_creations *creations,
	const struct ff_notification *n, bool may_sweep)
{
	if (!ff_policy_has_notify(creations->policy)) {
		ff_life_expect(&creations->futexes->life, n->tid,
			creations->snapshot);
		return FF_CALL_GOES_ON;
	}
	return answer_early(creations, n, may_sweep) ? FF_CALL_IS_DONE :
		answer(creations, n, may_sweep);
}

/* The caller's stack, before anything is done. Nobody is stopped for it: a signal
 * that comes then would end the call, which ends by none where there is no filter.
 * False: that has happened anyway. */
static bool take_stack(struct ff_creations *creations,
	const struct ff_notification *n, struct ff_snapshot **snapshot)
{
	struct ff_actor actor;

	*snapshot = NULL;
	if (!creations->backtraces->wanted)
		return true;
	ff_actor_find(n->tid, &actor);
	return ff_backtrace_take(creations->backtraces, n, actor.pid, false,
		snapshot) == FF_TAKEN;
}

enum ff_call_state ff_creations_handle(struct ff_creations *creations,
	const struct ff_notification *n, bool may_sweep)
{
	struct ff_snapshot *outer = creations->snapshot, *snapshot;
	enum ff_call_state state;

	if (!is_creation(n))
		return FF_CALL_IS_OTHER;
	/* A filter that attach found there traps more than it wants. */
	if (!ff_policy_has_notify(creations->policy) &&
		!creations->futexes->life.traces)
		return FF_CALL_GOES_ON;
	if (!is_fence(creations, n))
		return FF_CALL_GOES_ON;
	if (!take_stack(creations, n, &snapshot))
		return FF_CALL_IS_DONE;
	creations->snapshot = snapshot;
	state = handle(creations, n, may_sweep);
	creations->snapshot = outer;
	ff_snapshot_unref(snapshot);
	ff_backtrace_end(creations->backtraces, n->tid);
	return state;
}

bool ff_creations_wants(const struct ff_creations *creations)
{
	return ff_policy_has_notify(creations->policy) &&
		ff_pool_wants(&creations->pool);
}

void ff_creations_prepare(struct ff_creations *creations)
{
	struct ff_error error;

	/* What fails is told when a fence is wanted. */
	ff_pool_fill(&creations->pool, &error);
}

void ff_creations_free(struct ff_creations *creations)
{
	while (creations->early_count)
		ff_pool_drop(&creations->pool,
			&creations->early[--creations->early_count].ready);
	ff_pool_free(&creations->pool);
}
