/* SPDX-License-Identifier: MIT */
#include "life.h"

#include "actor.h"
#include "clock.h"
#include "inject/snapshot.h"
#include "waits.h"

#include <errno.h>
#include <jansson.h>
#include <linux/audit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* How soon it is looked whether a wait has ended, and then twice as late each
 * time. Beyond so many waits at once, less often. */
#define LOOK_FIRST_NS 1000000u
#define LOOK_MAX_NS 50000000u
#define LOOK_OFTEN 64
/* ... and when it was woken: as long as it takes to run again. */
#define LOOK_WOKEN_NS 100000u
/* How long a thread that was stopped takes to make its call again. */
#define AGAIN_NS 100000000u
/* How long a thread that seems to wait no longer may take to come back. */
#define AWAY_NS 5000000u
/* A wait that lasts longer is told of before its end. */
#define LONG_NS 1000000000u

static double seconds(uint64_t ns)
{
	return (double)ns / 1e9;
}

static struct ff_life_wait *find_wait(struct ff_life *life, pid_t tid)
{
	for (size_t i = 0; i < life->waits.count; i++)
		if (life->waits.list[i].actor.tid == tid)
			return &life->waits.list[i];
	return NULL;
}

static void drop_wait(struct ff_life *life, struct ff_life_wait *wait)
{
	*wait = life->waits.list[--life->waits.count];
}

static json_t *new_event(const struct ff_life_wait *wait, const char *ended)
{
	json_t *event = ff_event_new("wait", &wait->actor);
	uint64_t end_ns = wait->away_ns ? wait->away_ns : ff_now_ns();

	ff_event_set_text(event, "fence", wait->name);
	json_object_set_new(event, "begin", json_real(wait->begin));
	json_object_set_new(event, "waited_s",
		json_real(seconds(end_ns - wait->begin_ns)));
	json_object_set_new(event, "resolution_s",
		json_real(seconds(end_ns - wait->seen_ns)));
	if (ended)
		ff_event_set_text(event, "ended", ended);
	else
		json_object_set_new(event, "ended", json_null());
	return event;
}

/* Does it find there what it waits on, if that can be read? */
static bool is_as_expected(const struct ff_life *life,
	const struct ff_life_wait *wait, json_t *event)
{
	const struct ff_fence *fence = ff_fences_by_id(life->fences,
		wait->fence);
	uint32_t value;

	if (!fence || ff_fence_read(fence, &value) < 0)
		return false;
	json_object_set_new(event, "expected",
		json_integer((int32_t)wait->expected));
	json_object_set_new(event, "value", json_integer((int32_t)value));
	return value == wait->expected;
}

enum telling { IN_PASSING, WITH_STACK, FOR_THE_LAST_TIME };

/* It goes on. Made to wait anew when the word has changed, it would not: then
 * it is not stopped. */
static void tell_waiting(struct ff_life *life, struct ff_life_wait *wait,
	enum telling telling)
{
	const struct ff_actor actor = wait->actor;
	bool may_stop;
	json_t *event;

	if (life->log->fd < 0)
		return;
	event = new_event(wait, NULL);
	may_stop = is_as_expected(life, wait, event);
	if (telling == FOR_THE_LAST_TIME)
		json_object_set_new(event, "last", json_true());
	if (telling != WITH_STACK || !life->add_traced) {
		ff_eventlog_add(life->log, event);
		return;
	}
	life->add_traced(life->context, event, actor.pid, actor.tid, may_stop);
}

/* It is over. */
static void end_wait(struct ff_life *life, struct ff_life_wait *wait,
	bool same_call)
{
	struct ff_fence *fence = ff_fences_by_id(life->fences, wait->fence);
	uint32_t value = wait->expected;
	const char *ended = ff_life_find_reason(life, wait, fence, same_call,
		&value);
	const char *by = wait->by ? wait->by : "server";
	bool is_triggered = !strcmp(ended, "triggered");

	/* A wake from the host may have come when it was reset again. */
	if (is_triggered && strcmp(by, "client") != 0)
		ff_life_set_triggered(life, fence, by, NULL);
	if (is_triggered && value == 0)
		ff_life_set_reset(life, fence);
	if (life->log->fd >= 0) {
		json_t *event = new_event(wait, ended);

		if (is_triggered)
			ff_event_set_text(event, "by", by);
		ff_eventlog_add(life->log, event);
	}
	drop_wait(life, wait);
}

/*
 * It does not wait, though nothing tells of a trigger. Is it on its way to wait
 * anew, having been triggered and reset all the same? Then its call will be
 * trapped in a moment, before which nothing is said.
 */
static bool may_come_back(struct ff_life *life, struct ff_life_wait *wait,
	uint64_t now_ns)
{
	struct ff_fence *fence = ff_fences_by_id(life->fences, wait->fence);
	uint32_t value;

	if (!fence || wait->by || now_ns >= wait->timeout_ns ||
		ff_fence_read(fence, &value) < 0 || value != wait->expected ||
		ff_life_is_ending(wait->actor.tid))
		return false;
	if (!wait->away_ns)
		wait->away_ns = now_ns;
	wait->next_ns = wait->away_ns + AWAY_NS;
	return wait->next_ns > now_ns;
}

/* Does it block in that call still? */
static bool is_waiting(const struct ff_life_wait *wait)
{
	struct ff_call_now call;

	return ff_waits_call(wait->actor.tid, &call) == 0 &&
		call.args[0] == wait->arg && (call.nr == wait->nr ||
		ff_waits_is_restart(wait->abi, call.nr));
}

/* The same; but who was stopped is about to do so again. */
static bool is_waiting_still(const struct ff_life_wait *wait)
{
	return ff_now_ns() < wait->stopped_ns || is_waiting(wait);
}

static void plan_look(const struct ff_life *life, struct ff_life_wait *wait,
	uint64_t now_ns)
{
	uint64_t most_ns = LOOK_MAX_NS *
		(1 + life->waits.count / LOOK_OFTEN);

	wait->interval_ns *= 2;
	if (wait->interval_ns > most_ns)
		wait->interval_ns = most_ns;
	wait->next_ns = now_ns + wait->interval_ns;
	if (!wait->is_told && wait->begin_ns + LONG_NS > now_ns &&
		wait->begin_ns + LONG_NS < wait->next_ns)
		wait->next_ns = wait->begin_ns + LONG_NS;
}

static struct ff_life_wait *add_wait(struct ff_life *life)
{
	struct ff_life_waits *waits = &life->waits;

	if (waits->count == FF_LIFE_WAITS_MAX) {
		if (!waits->was_full)
			ff_say(life->log, 0, "more than %d threads wait on "
				"fences: those beyond are not logged",
				FF_LIFE_WAITS_MAX);
		waits->was_full = true;
		return NULL;
	}
	if (waits->count == waits->room) {
		size_t room = waits->room + 64;
		struct ff_life_wait *more = realloc(waits->list,
			room * sizeof(*more));

		if (!more)
			return NULL;
		waits->list = more;
		waits->room = room;
	}
	return &waits->list[waits->count++];
}

/* The same thread, on the same word: because we have stopped it? */
static bool goes_on(struct ff_life_wait *wait, const struct ff_notification *n,
	const struct ff_fence *fence, uint64_t address)
{
	bool same = ff_now_ns() < wait->stopped_ns && wait->fence == fence->id &&
		wait->nr == n->data.nr && wait->address == address;

	wait->stopped_ns = 0;
	return same && !wait->by;
}

void ff_life_begin_wait(struct ff_life *life, const struct ff_notification *n,
	const struct ff_futex_call *call, const struct ff_fence *found)
{
	struct ff_fence *fence = ff_fences_by_id(life->fences, found->id);
	struct ff_life_wait *wait = find_wait(life, n->tid);
	uint64_t address = call->words[0].address;

	if (wait && goes_on(wait, n, fence, address)) {
		wait->seen_ns = ff_now_ns();
		return;
	}
	if (wait)
		end_wait(life, wait, wait->fence == fence->id);
	/* Who is about to wait finds it reset. */
	ff_life_set_reset(life, fence);
	wait = add_wait(life);
	if (!wait)
		return;
	*wait = (struct ff_life_wait){
		.fence = fence->id,
		.abi = n->data.arch,
		.nr = n->data.nr,
		.arg = n->data.args[0],
		.address = address,
		.expected = call->expected,
		.begin = ff_epoch_now(),
		.begin_ns = ff_now_ns(),
		.timeout_ns = ff_futex_deadline_ns(call),
		.interval_ns = LOOK_FIRST_NS,
	};
	wait->seen_ns = wait->begin_ns;
	wait->next_ns = wait->begin_ns + LOOK_FIRST_NS;
	snprintf(wait->name, sizeof(wait->name), "%.95s",
		ff_standin_name(&fence->standin));
	ff_actor_find(n->tid, &wait->actor);
	/* The thread may end before its process. */
	fence->holder = wait->actor.pid;
	fence->holder_address = address;
}

static bool is_exit_group(const struct ff_notification *n)
{
	switch (n->data.arch) {
	case AUDIT_ARCH_X86_64:
		return n->data.nr == 231;
	case AUDIT_ARCH_I386:
		return n->data.nr == 252;
	case AUDIT_ARCH_AARCH64:
		return n->data.nr == 94;
	default:
		return false;
	}
}

/* All threads of this one's process are about to end. */
static void see_exit(struct ff_life *life, pid_t tid)
{
	struct ff_actor actor;

	ff_actor_find(tid, &actor);
	for (size_t i = 0; i < life->waits.count;) {
		struct ff_life_wait *wait = &life->waits.list[i];

		if (wait->actor.pid == actor.pid && !is_waiting_still(wait)) {
			end_wait(life, wait, false);
			continue;
		}
		wait->is_doomed |= wait->actor.pid == actor.pid;
		i++;
	}
}

void ff_life_see(struct ff_life *life, const struct ff_notification *n)
{
	struct ff_life_wait *wait = life->waits.count ?
		find_wait(life, n->tid) : NULL;

	if (wait)
		end_wait(life, wait, false);
	if (life->waits.count && is_exit_group(n))
		see_exit(life, n->tid);
}

void ff_life_woken(struct ff_life *life, struct ff_fence *fence,
	const struct ff_actor *actor)
{
	uint64_t now_ns = ff_now_ns();
	const char *by = actor ? "client" : "host";
	uint32_t value;

	if (!life->traces)
		return;
	for (size_t i = 0; i < life->waits.count; i++) {
		struct ff_life_wait *wait = &life->waits.list[i];

		if (wait->fence != fence->id)
			continue;
		if (!wait->by)
			wait->by = by;
		wait->seen_ns = now_ns;
		wait->next_ns = now_ns + LOOK_WOKEN_NS;
		wait->interval_ns = LOOK_WOKEN_NS;
	}
	if (actor)
		ff_life_set_triggered(life, fence, by, actor);
	else if (ff_fence_read(fence, &value) == 0 && value == 1)
		ff_life_set_triggered(life, fence, by, NULL);
}

void ff_life_tell_waits(struct ff_life *life)
{
	for (size_t i = 0; i < life->waits.count; i++) {
		struct ff_life_wait *wait = &life->waits.list[i];

		if (!is_waiting_still(wait))
			continue; /* why, is found out in its time */
		wait->seen_ns = ff_now_ns();
		tell_waiting(life, wait, IN_PASSING);
	}
}

void ff_life_end_waits(struct ff_life *life, const struct ff_fence *fence)
{
	for (size_t i = 0; i < life->waits.count;)
		if (life->waits.list[i].fence == fence->id &&
			!is_waiting_still(&life->waits.list[i]))
			end_wait(life, &life->waits.list[i], false);
		else
			i++;
}

void ff_life_stop(struct ff_life *life)
{
	life->is_stopping = true;
}

void ff_life_stop_one(struct ff_life *life, pid_t tid)
{
	struct ff_life_wait *wait = find_wait(life, tid);

	if (wait && is_waiting(wait))
		wait->stopped_ns = life->is_stopping ? UINT64_MAX :
			ff_now_ns() + AGAIN_NS;
}

void ff_life_woken_in_vain(struct ff_life *life, const struct ff_fence *fence)
{
	uint32_t value;

	if (!life->waits.count || ff_fence_read(fence, &value) < 0)
		return;
	for (size_t i = 0; i < life->waits.count; i++) {
		struct ff_life_wait *wait = &life->waits.list[i];

		if (wait->fence == fence->id && wait->expected == value &&
			wait->stopped_ns != UINT64_MAX && is_waiting(wait))
			wait->stopped_ns = ff_now_ns() + AGAIN_NS;
	}
}

void ff_life_go_on(struct ff_life *life)
{
	life->is_stopping = false;
	for (size_t i = 0; i < life->waits.count; i++)
		if (life->waits.list[i].stopped_ns == UINT64_MAX)
			life->waits.list[i].stopped_ns = ff_now_ns() +
				AGAIN_NS;
}

uint64_t ff_life_deadline_ns(const struct ff_life *life)
{
	uint64_t next_ns = UINT64_MAX;

	for (size_t i = 0; i < life->waits.count; i++)
		if (life->waits.list[i].next_ns < next_ns)
			next_ns = life->waits.list[i].next_ns;
	return next_ns;
}

/* Who still waits though the word had changed when it was looked at before, was
 * not woken. */
static void note_change(struct ff_life *life, struct ff_life_wait *wait)
{
	const struct ff_fence *fence = ff_fences_by_id(life->fences,
		wait->fence);
	uint32_t value;
	bool changed = fence && ff_fence_read(fence, &value) == 0 &&
		value != wait->expected;

	wait->is_lost = changed && wait->has_changed;
	wait->has_changed = changed;
}

/* It is told of, with its stack if there is one to be had. */
static void tell_long(struct ff_life *life, struct ff_life_wait *wait)
{
	wait->is_told = true;
	tell_waiting(life, wait, WITH_STACK);
}

void ff_life_serve(struct ff_life *life, bool may_stop)
{
	uint64_t now_ns = ff_now_ns();

	for (size_t i = 0; i < life->waits.count;) {
		struct ff_life_wait *wait = &life->waits.list[i];

		if (wait->next_ns > now_ns) {
			i++;
			continue;
		}
		if (!is_waiting_still(wait)) {
			if (may_come_back(life, wait, now_ns))
				i++;
			else
				end_wait(life, wait, false);
			continue;
		}
		wait->away_ns = 0;
		wait->seen_ns = ff_now_ns();
		note_change(life, wait);
		plan_look(life, wait, now_ns);
		i++;
		if (may_stop && !wait->is_told &&
			wait->begin_ns + LONG_NS <= now_ns) {
			tell_long(life, wait);
			/* Others were served: these waits are not those. */
			return;
		}
	}
}

void ff_life_end(struct ff_life *life)
{
	for (size_t i = 0; i < life->waits.count;) {
		struct ff_life_wait *wait = &life->waits.list[i];

		if (!is_waiting_still(wait)) {
			end_wait(life, wait, false);
			continue;
		}
		wait->seen_ns = ff_now_ns();
		tell_waiting(life, wait, FOR_THE_LAST_TIME);
		i++;
	}
}

void ff_life_free(struct ff_life *life)
{
	while (life->born_count)
		ff_snapshot_unref(life->born[--life->born_count].snapshot);
	free(life->waits.list);
	life->waits = (struct ff_life_waits){ 0 };
}
