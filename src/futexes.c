/* SPDX-License-Identifier: MIT */
#include "futexes.h"

#include "actor.h"
#include "clock.h"
#include "futexwatch/decode.h"
#include "process.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/resource.h>

/* How often, and how many fences at once, are looked at. Each takes about two
 * microseconds. */
#define SWEEP_NS 1000000000u
#define SWEEP_MAX 2000
/* How long a call takes to be executed that was let go on, or to be made again
 * after a signal: long enough, and soon enough for those who sleep. */
#define MEND_NS 5000000u
/* With each new one: more than are made, so that they cannot pile up. */
#define SWEEP_ADD 4
#define SWEEPS_DUE_MAX 1000

static int answer_sleeper(void *context, uint64_t call, int error)
{
	const struct ff_futexes *futexes = context;

	return ff_notify_answer(futexes->listener, call, 0, error);
}

static const char *name_of(const struct ff_fence *fence)
{
	return ff_standin_name(&fence->standin);
}

static bool is_alive(void *context, uint64_t call)
{
	const struct ff_futexes *futexes = context;

	return ff_notify_alive(futexes->listener, call);
}

static void wake_client(void *context, struct ff_fence *fence, uint32_t count)
{
	static const struct ff_actor nobody;
	struct ff_futexes *futexes = context;

	if (futexes->isolate)
		ff_sleepers_wake(&futexes->sleepers, fence, count,
			UINT32_MAX);
	else
		ff_fence_wake(fence, count);
	ff_eventlog_wake(futexes->log, &nobody, name_of(fence), FF_FROM_HOST,
		count);
	ff_life_woken(&futexes->life, fence, NULL);
}

static void say_refused(void *context, const struct ff_fence *fence,
	const char *text)
{
	struct ff_futexes *futexes = context;

	/* There may be thousands. */
	ff_say(futexes->log, futexes->refused++ ? 1 : 0,
		"the wake-ups of the fence %s are not relayed: %s",
		name_of(fence), text);
}

static void say_changed(void *context, const char *text)
{
	const struct ff_futexes *futexes = context;

	if (text)
		ff_say(futexes->log, 0, "the relay is lost: %s (trying again)",
			text);
	else
		ff_say(futexes->log, 0, "the relay is back");
}

int ff_futexes_open(struct ff_futexes *futexes,
	const struct ff_address *address, bool isolate, const char *dir,
	int dir_fd, struct ff_eventlog *log, struct ff_error *error)
{
	const struct ff_relay_ops ops = {
		.context = futexes,
		.wake = wake_client,
		.refused = say_refused,
		.changed = say_changed,
	};
	int err = 0;

	*futexes = (struct ff_futexes){
		.isolate = isolate,
		.listener = -1,
		.dir = dir,
		.log = log,
		.life = {
			.log = log,
			.fences = &futexes->fences,
			.places = &futexes->places,
			.renames = address != NULL,
		},
		.sleepers = {
			.answer = answer_sleeper,
			.is_alive = is_alive,
			.context = futexes,
		},
	};
	ff_fences_init(&futexes->fences, dir_fd, address || isolate);
	if (address)
		err = ff_relay_open(&futexes->relay, address,
			isolate ? FF_WIRE_ISOLATED : 0, &futexes->fences, &ops,
			FF_FUTEXES_START_MS, error);
	futexes->has_relay = address && !err;
	return err;
}

void ff_futexes_trace(struct ff_futexes *futexes)
{
	futexes->life.traces = true;
	/* Wakes may be lost to signals, and are then made up for. */
	futexes->fences.has_pages = true;
}

/* Of those who are left, the end is told; and who still waits. */
static void tell_end(struct ff_futexes *futexes)
{
	ff_life_end(&futexes->life);
	for (size_t i = 0; i < futexes->fences.count; i++) {
		struct ff_fence *fence = futexes->fences.all[i];

		ff_life_named(&futexes->life, fence);
		if (!ff_fence_is_held(fence, futexes->fences.host_reads))
			ff_life_destroyed(&futexes->life, fence);
	}
	ff_eventlog_flush(futexes->log);
}

void ff_futexes_close(struct ff_futexes *futexes)
{
	tell_end(futexes);
	ff_life_free(&futexes->life);
	if (futexes->has_relay)
		ff_relay_close(&futexes->relay);
	ff_fences_free(&futexes->fences);
	ff_places_free(&futexes->places);
	ff_sleepers_free(&futexes->sleepers);
}

bool ff_futexes_watch(const struct ff_futexes *futexes)
{
	return futexes->has_relay || futexes->isolate;
}

bool ff_futexes_trap(const struct ff_futexes *futexes)
{
	return ff_futexes_watch(futexes) || futexes->life.traces;
}

bool ff_futexes_takes_unnamed(const struct ff_futexes *futexes)
{
	return !futexes->has_relay || ff_relay_takes_fds(&futexes->relay);
}

static void forget_fence(void *context, struct ff_fence *fence)
{
	struct ff_futexes *futexes = context;

	if (futexes->has_relay)
		ff_relay_gone(&futexes->relay, fence);
	/* Whoever waits on it still had let it go while he waited. */
	ff_sleepers_wake(&futexes->sleepers, fence, UINT32_MAX, UINT32_MAX);
	ff_life_destroyed(&futexes->life, fence);
	ff_fences_remove(&futexes->fences, fence);
}

bool ff_futexes_wants_sweep(const struct ff_futexes *futexes)
{
	return futexes->sweeps_due && futexes->fences.count;
}

void ff_futexes_sweep(struct ff_futexes *futexes)
{
	unsigned int count = futexes->sweeps_due < SWEEP_ADD ?
		futexes->sweeps_due : SWEEP_ADD;

	ff_fences_sweep(&futexes->fences, count, forget_fence, futexes);
	futexes->sweeps_due -= count;
}

struct ff_fence *ff_futexes_add(struct ff_futexes *futexes,
	struct ff_standin *standin, bool may_sweep, struct ff_error *error)
{
	struct ff_fence *fence;

	futexes->sweeps_due += SWEEP_ADD;
	if (may_sweep && futexes->sweeps_due > SWEEPS_DUE_MAX)
		ff_futexes_sweep(futexes);
	fence = standin->fd < 0 ?
		ff_fences_add_bare(&futexes->fences, standin, error) :
		ff_fences_add(&futexes->fences, standin, error);
	if (fence)
		fence->life.born_ns = ff_now_ns();
	if (fence && futexes->fences.count == 1)
		futexes->sweep_ns = ff_now_ns() + SWEEP_NS;
	return fence;
}

struct ff_fence *ff_futexes_find(const struct ff_futexes *futexes, dev_t dev,
	ino_t ino)
{
	return ff_fences_find(&futexes->fences, dev, ino, 0);
}

void ff_futexes_announce(struct ff_futexes *futexes, struct ff_fence *fence)
{
	if (!futexes->has_relay)
		return;
	ff_fence_populate(fence);
	/* For the other end to open it. If it cannot be had, it takes fds. */
	ff_standin_give_name(futexes->dir, futexes->fences.dir_fd,
		&fence->standin);
	ff_life_named(&futexes->life, fence);
	ff_relay_announce(&futexes->relay, fence);
}

void ff_futexes_remove(struct ff_futexes *futexes, struct ff_fence *fence)
{
	/* A client that could not be asked to the end may have it after all. */
	if (!ff_fence_is_held(fence, futexes->fences.host_reads))
		forget_fence(futexes, fence);
}

static struct ff_fence *find_fence(struct ff_futexes *futexes, pid_t tid,
	const struct ff_futex_word *word)
{
	struct ff_place place;

	if (!futexes->fences.count || ff_places_find(&futexes->places, tid,
			word->address, &place) < 0)
		return NULL;
	return ff_fences_find(&futexes->fences, place.dev, place.ino,
		place.offset);
}

static void relay_wake(struct ff_futexes *futexes, pid_t tid,
	struct ff_fence *fence, uint32_t count)
{
	struct ff_actor actor = { .pid = tid, .tid = tid };

	if (!futexes->has_relay || !fence->announced || fence->state == FF_FENCE_REFUSED)
		return;
	ff_relay_wake(&futexes->relay, fence, count);
	/* Who it is, the log alone wants to know. */
	if (futexes->log->fd >= 0)
		ff_actor_find(tid, &actor);
	ff_eventlog_wake(futexes->log, &actor, name_of(fence), FF_TO_HOST,
		count);
}

/* Are its waits and wakes kept from the kernel? */
static bool is_kept(const struct ff_futexes *futexes,
	const struct ff_fence *fence)
{
	return futexes->isolate && fence && !fence->is_foreign;
}

/* A call that is about to move sleepers finds another word than it expects. */
static bool differs(const struct ff_fence *fence,
	const struct ff_futex_call *call)
{
	uint32_t value;

	return fence && call->compares && ff_fence_read(fence, &value) == 0 &&
		value != call->expected;
}

/*
 * Tell of what it wakes; and let it go on, or with isolate answer it: whom it
 * would move is woken, for the kernel would move the wait of the host's end too.
 * If by then a signal has ended the call, whose caller does not expect that of a
 * wake, those that it was to wake here are woken all the same.
 */
static enum ff_call_state handle_wake(struct ff_futexes *futexes,
	const struct ff_notification *n, const struct ff_futex_call *call)
{
	struct ff_fence *fences[FF_FUTEX_MAX_WORDS] = { 0 };
	struct ff_actor actor;
	uint32_t woken = 0;
	bool found = false;
	int err;

	for (size_t i = 0; i < call->word_count; i++) {
		if (call->words[i].count)
			fences[i] = find_fence(futexes, n->tid,
				&call->words[i]);
		found |= fences[i] != NULL;
	}
	if (!found)
		return FF_CALL_GOES_ON;
	if (is_kept(futexes, fences[0]) && differs(fences[0], call)) {
		ff_notify_answer(n->listener, n->id, 0, EAGAIN);
		return FF_CALL_IS_DONE;
	}
	/* While it is there. */
	if (futexes->life.traces)
		ff_actor_find(n->tid, &actor);
	for (size_t i = 0; i < call->word_count; i++) {
		if (!fences[i])
			continue;
		relay_wake(futexes, n->tid, fences[i], call->words[i].count);
		if (is_kept(futexes, fences[i]))
			woken += ff_sleepers_wake(&futexes->sleepers,
				fences[i], call->words[i].count, call->mask);
	}
	if (is_kept(futexes, fences[0]) && (call->kind == FF_FUTEX_WAKE ||
		call->moves))
		err = ff_notify_answer(n->listener, n->id, woken, 0);
	else
		err = ff_notify_continue(n->listener, n->id);
	for (size_t i = 0; err == -ENOENT && i < call->word_count; i++)
		if (fences[i] && !is_kept(futexes, fences[i]))
			ff_fence_wake(fences[i], call->words[i].count);
	for (size_t i = 0; i < call->word_count; i++)
		if (fences[i])
			ff_life_woken(&futexes->life, fences[i], &actor);
	/* WAKE_OP changes its second word only now. */
	if (call->kind == FF_FUTEX_MOVE && !call->moves)
		ff_futexes_mend(futexes);
	return FF_CALL_IS_DONE;
}

/* As the kernel would, but in a queue of our own. */
static enum ff_call_state hold_wait(struct ff_futexes *futexes,
	const struct ff_notification *n, const struct ff_futex_call *call,
	const struct ff_fence *fence)
{
	struct ff_sleeper sleeper = {
		.call = n->id,
		.tid = n->tid,
		.fence = fence,
		.mask = call->mask,
		.deadline_ns = ff_futex_deadline_ns(call),
	};
	uint32_t value;
	int err = ff_fence_read(fence, &value);

	if (!err && value != call->expected)
		err = -EAGAIN;
	if (!err)
		err = ff_sleepers_add(&futexes->sleepers, &sleeper);
	if (err)
		ff_notify_answer(n->listener, n->id, 0, -err);
	return FF_CALL_IS_DONE;
}

/*
 * On one word of several, or on one: it is let go on, for what is told of it can
 * be told later; or with isolate held. There is no queue for several words here:
 * the caller has another way, that of kernels without this call.
 */
static enum ff_call_state handle_wait(struct ff_futexes *futexes,
	const struct ff_notification *n, struct ff_futex_call *call)
{
	struct ff_fence *fence = NULL;

	for (size_t i = 0; !fence && i < call->word_count; i++) {
		fence = find_fence(futexes, n->tid, &call->words[i]);
		call->words[0] = call->words[i];
	}
	if (!fence) {
		ff_life_see(&futexes->life, n);
		return FF_CALL_GOES_ON;
	}
	if (!is_kept(futexes, fence))
		ff_notify_continue(n->listener, n->id);
	else if (call->kind == FF_FUTEX_WAIT)
		hold_wait(futexes, n, call, fence);
	else
		ff_notify_answer(n->listener, n->id, 0, ENOSYS);
	if (futexes->life.traces && (call->kind == FF_FUTEX_WAIT ||
		!is_kept(futexes, fence)))
		ff_life_begin_wait(&futexes->life, n, call, fence);
	return FF_CALL_IS_DONE;
}

enum ff_call_state ff_futexes_handle(struct ff_futexes *futexes,
	const struct ff_notification *n)
{
	static struct ff_futex_call call;
	uint64_t args[6];
	int err;

	if (!ff_futexes_trap(futexes))
		return FF_CALL_IS_OTHER;
	for (int i = 0; i < 6; i++)
		args[i] = n->data.args[i];
	err = ff_futex_decode(n->tid, n->data.arch, n->data.nr, args, &call);
	if (!err && (call.kind == FF_FUTEX_WAIT || call.kind == FF_FUTEX_WAITV))
		return handle_wait(futexes, n, &call);
	ff_life_see(&futexes->life, n);
	if (err)
		return err == -ENOSYS ? FF_CALL_IS_OTHER : FF_CALL_GOES_ON;
	return handle_wake(futexes, n, &call);
}

void ff_futexes_mend(struct ff_futexes *futexes)
{
	if (ff_futexes_trap(futexes) && !futexes->mend_ns)
		futexes->mend_ns = ff_now_ns() + MEND_NS;
}

static void mend(struct ff_futexes *futexes)
{
	futexes->mend_ns = 0;
	for (size_t i = 0; i < futexes->fences.count; i++) {
		struct ff_fence *fence = futexes->fences.all[i];

		ff_life_woken_in_vain(&futexes->life, fence);
		if (futexes->isolate)
			ff_sleepers_wake(&futexes->sleepers, fence, UINT32_MAX,
				UINT32_MAX);
		else
			ff_fence_wake(fence, INT_MAX);
		if (futexes->has_relay)
			ff_relay_wake(&futexes->relay, fence, INT_MAX);
	}
}

void ff_futexes_forget(struct ff_futexes *futexes, pid_t tid)
{
	ff_places_forget(&futexes->places, tid);
	ff_sleepers_forget(&futexes->sleepers, tid);
}

void ff_futexes_raise_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

int ff_futexes_fd(const struct ff_futexes *futexes)
{
	return futexes->has_relay ? ff_relay_fd(&futexes->relay) : -1;
}

short ff_futexes_events(const struct ff_futexes *futexes)
{
	return futexes->has_relay ? ff_relay_events(&futexes->relay) : 0;
}

uint64_t ff_futexes_deadline_ns(const struct ff_futexes *futexes)
{
	uint64_t deadline = ff_sleepers_deadline_ns(&futexes->sleepers);
	uint64_t other;

	if (futexes->has_relay) {
		other = ff_relay_deadline_ns(&futexes->relay);
		deadline = other < deadline ? other : deadline;
	}
	if (futexes->fences.count && futexes->sweep_ns < deadline)
		deadline = futexes->sweep_ns;
	if (futexes->mend_ns && futexes->mend_ns < deadline)
		deadline = futexes->mend_ns;
	other = ff_life_deadline_ns(&futexes->life);
	deadline = other < deadline ? other : deadline;
	return deadline;
}

void ff_futexes_serve(struct ff_futexes *futexes, short revents,
	bool may_sweep)
{
	uint64_t now_ns = ff_now_ns();

	if (futexes->has_relay && (revents ||
		ff_relay_deadline_ns(&futexes->relay) <= now_ns))
		ff_relay_serve(&futexes->relay, revents);
	ff_sleepers_expire(&futexes->sleepers, now_ns);
	ff_life_serve(&futexes->life, may_sweep);
	if (futexes->mend_ns && futexes->mend_ns <= now_ns)
		mend(futexes);
	if (may_sweep && futexes->fences.count &&
		futexes->sweep_ns <= now_ns) {
		ff_fences_sweep(&futexes->fences, SWEEP_MAX, forget_fence,
			futexes);
		ff_sleepers_prune(&futexes->sleepers);
		futexes->sweep_ns = now_ns + SWEEP_NS;
	}
}
