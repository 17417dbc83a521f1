/* SPDX-License-Identifier: MIT */
#include "life.h"

#include "actor.h"
#include "clock.h"
#include "inject/snapshot.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static const struct ff_actor nobody;

/* Its line "created", which comes before all others of it. */
static void tell_created(struct ff_life *life, struct ff_fence *fence)
{
	struct ff_fence_life *own = &fence->life;
	struct stat st;
	json_t *event;

	if (!own->made_by || own->is_told)
		return;
	own->is_told = true;
	if (life->log->fd < 0)
		return;
	event = ff_event_new("fence", &own->maker);
	/* It may be told later than it was. */
	json_object_set_new(event, "time", json_real(own->made_time));
	ff_event_set_text(event, "fence", ff_standin_name(&fence->standin));
	ff_event_set_text(event, "state", "created");
	ff_event_set_text(event, "name", "xshmfence");
	if (fstat(fence->standin.fd, &st) == 0)
		ff_event_set_number(event, "size", (uint64_t)st.st_size);
	ff_event_set_number(event, "ino", fence->standin.ino);
	ff_event_set_text(event, "made_by", own->made_by);
	ff_eventlog_add_traced(life->log, event, own->snapshot);
	ff_snapshot_unref(own->snapshot);
	own->snapshot = NULL;
}

/* An event fence, of a state, for who did it. */
static json_t *new_event(struct ff_life *life, struct ff_fence *fence,
	const char *state, const struct ff_actor *actor)
{
	json_t *event;

	tell_created(life, fence);
	event = ff_event_new("fence", actor);
	ff_event_set_text(event, "fence", ff_standin_name(&fence->standin));
	ff_event_set_text(event, "state", state);
	return event;
}

/* The memfd that this process asked for first, the thread's own if it can. */
static bool find_born(struct ff_life *life, const struct ff_actor *actor,
	struct ff_life_born *born)
{
	size_t found = life->born_count;

	for (size_t i = 0; i < life->born_count; i++) {
		if (life->born[i].actor.pid != actor->pid)
			continue;
		if (found == life->born_count)
			found = i;
		if (life->born[i].actor.tid == actor->tid) {
			found = i;
			break;
		}
	}
	if (found == life->born_count)
		return false;
	*born = life->born[found]; /* and its reference */
	memmove(life->born + found, life->born + found + 1,
		(--life->born_count - found) * sizeof(*born));
	return true;
}

void ff_life_created(struct ff_life *life, struct ff_fence *fence, pid_t tid,
	const char *made_by, struct ff_snapshot *snapshot)
{
	struct ff_fence_life *own = &fence->life;
	struct ff_life_born born = { 0 };
	bool is_born;

	own->born_ns = ff_now_ns();
	if (life->log->fd < 0)
		return;
	ff_actor_find(tid, &own->maker);
	own->made_time = ff_epoch_now();
	is_born = find_born(life, &own->maker, &born);
	/* That which nobody has seen is not told. */
	if (!is_born && !strcmp(made_by, "client"))
		return;
	if (is_born) {
		own->maker = born.actor;
		own->made_time = born.time;
		snapshot = born.snapshot;
	}
	own->made_by = made_by;
	own->snapshot = ff_snapshot_ref(snapshot);
	ff_snapshot_unref(born.snapshot);
	if (!life->renames)
		tell_created(life, fence);
}

void ff_life_named(struct ff_life *life, struct ff_fence *fence)
{
	tell_created(life, fence);
}

void ff_life_destroyed(struct ff_life *life, struct ff_fence *fence)
{
	json_t *event;

	ff_life_end_waits(life, fence);
	if (life->log->fd < 0)
		return;
	event = new_event(life, fence, "destroyed", &nobody);
	json_object_set_new(event, "alive_s", json_real((double)(ff_now_ns() -
		fence->life.born_ns) / 1e9));
	ff_eventlog_add(life->log, event);
}

void ff_life_expect(struct ff_life *life, pid_t tid,
	struct ff_snapshot *snapshot)
{
	struct ff_life_born *born;

	if (!life->traces || life->log->fd < 0)
		return;
	if (life->born_count == FF_LIFE_BORN) {
		ff_snapshot_unref(life->born[0].snapshot);
		memmove(life->born, life->born + 1, --life->born_count *
			sizeof(*life->born));
	}
	born = &life->born[life->born_count++];
	ff_actor_find(tid, &born->actor);
	born->time = ff_epoch_now();
	born->snapshot = ff_snapshot_ref(snapshot);
}

void ff_life_set_triggered(struct ff_life *life, struct ff_fence *fence,
	const char *by, const struct ff_actor *actor)
{
	bool is_news = fence->life.word != FF_WORD_TRIGGERED;
	json_t *event;

	fence->life.word = FF_WORD_TRIGGERED;
	/* What the client does is seen each time. */
	if ((!is_news && !actor) || life->log->fd < 0)
		return;
	event = new_event(life, fence, "triggered", actor ? actor : &nobody);
	ff_event_set_text(event, "by", by);
	ff_eventlog_add(life->log, event);
}

void ff_life_set_reset(struct ff_life *life, struct ff_fence *fence)
{
	bool is_news = fence->life.word == FF_WORD_TRIGGERED;

	fence->life.word = FF_WORD_RESET;
	if (is_news && life->log->fd >= 0)
		ff_eventlog_add(life->log, new_event(life, fence, "reset",
			&nobody));
}
