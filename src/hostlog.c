/* SPDX-License-Identifier: MIT */
#include "hostlog.h"

#include "clock.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

/* A second, and at most at once. */
enum {
	LINES = 10,
	LINES_BURST = 100,
	RECORDS = 5000,
	RECORDS_BURST = 50000,
	WAKES = 100,
	WAKES_BURST = 50000,
};

static bool spend(struct ff_hostlog_budget *budget, double rate, double burst)
{
	uint64_t now = ff_now_ns();

	budget->left += (double)(now - budget->filled_ns) * rate / 1e9;
	budget->filled_ns = now;
	if (budget->left > burst)
		budget->left = burst;
	if (budget->left < 1) {
		budget->omitted++;
		return false;
	}
	budget->left--;
	return true;
}

static void add(struct ff_hostlog *log, struct ff_hostlog_budget *budget,
	json_t *object)
{
	if (budget->omitted)
		ff_event_set_number(object, "omitted", budget->omitted);
	budget->omitted = 0;
	ff_eventlog_add(&log->events, object);
}

/* A new event, or NULL: there is no log, or too many of them. */
static json_t *event(struct ff_hostlog *log, const char *name)
{
	return log->events.fd >= 0 && spend(&log->records, RECORDS,
		RECORDS_BURST) ? ff_event_new(name, &log->self) : NULL;
}

static bool may_say(struct ff_hostlog *log, struct ff_hostlog_budget *lines,
	int level)
{
	uint64_t omitted = lines->omitted;

	if (log->events.verbosity < level ||
		!spend(lines, LINES, LINES_BURST))
		return false;
	if (omitted)
		ff_say(&log->events, level, "%" PRIu64 " messages were left "
			"out: there were too many", omitted);
	lines->omitted = 0;
	return true;
}

void ff_hostlog_init(struct ff_hostlog *log)
{
	log->self = (struct ff_actor){ getpid(), getpid(), "fenceferry" };
	log->peer_lines = (struct ff_hostlog_budget){ .left = LINES_BURST,
		.filled_ns = ff_now_ns() };
	log->records = log->wakes = log->fence_lines = log->peer_lines;
	log->records.left = RECORDS_BURST;
	log->wakes.left = WAKES_BURST;
}

static void set_reason(json_t *object, const char *reason)
{
	if (reason)
		ff_event_set_text(object, "reason", reason);
	else
		json_object_set_new(object, "reason", json_null());
}

void ff_hostlog_host(struct ff_hostlog *log, const char *state,
	const char *waiters, size_t listeners)
{
	json_t *object = event(log, "host");

	ff_say(&log->events, 1, "%s: waits by %s", state, waiters);
	if (!object)
		return;
	ff_event_set_text(object, "state", state);
	ff_event_set_text(object, "waiters", waiters);
	ff_event_set_number(object, "listen", listeners);
	add(log, &log->records, object);
}

void ff_hostlog_peer(struct ff_hostlog *log, const char *peer,
	const char *action, const char *reason, size_t fences)
{
	bool is_trouble = !strcmp(action, "dropped") ||
		!strcmp(action, "refused");
	json_t *object;

	log->dropped += is_trouble;
	if (may_say(log, &log->peer_lines, is_trouble ? 0 : 1))
		ff_say(&log->events, -1, "%s: %s%s%s (fences: %zu)", peer,
			action, reason ? ": " : "", reason ? reason : "",
			fences);
	object = event(log, "peer");
	if (!object)
		return;
	ff_event_set_text(object, "peer", peer);
	ff_event_set_text(object, "action", action);
	set_reason(object, reason);
	ff_event_set_number(object, "fences", fences);
	add(log, &log->records, object);
}

void ff_hostlog_unaccepted(struct ff_hostlog *log, int err)
{
	if (may_say(log, &log->peer_lines, 0))
		ff_say(&log->events, 0, "cannot accept a connection: %s (raise "
			"the limit on open files)", strerror(err));
}

void ff_hostlog_fence(struct ff_hostlog *log, const char *name,
	const char *peer, uint64_t id, const char *action, const char *reason)
{
	bool is_refused = !strcmp(action, "refused");
	json_t *object;

	log->refused += is_refused;
	log->accepted += !strcmp(action, "accepted");
	if (may_say(log, &log->fence_lines,
		is_refused || !strcmp(action, "lost") ? 0 : 2))
		ff_say(&log->events, -1, "%s: fence %s %s%s%s", peer, name,
			action, reason ? ": " : "", reason ? reason : "");
	object = event(log, "fence");
	if (!object)
		return;
	ff_event_set_text(object, "fence", name);
	ff_event_set_text(object, "peer", peer);
	ff_event_set_number(object, "id", id);
	ff_event_set_text(object, "action", action);
	set_reason(object, reason);
	add(log, &log->records, object);
}

void ff_hostlog_wake(struct ff_hostlog *log, const char *name,
	const char *peer, enum ff_direction direction, uint32_t count)
{
	json_t *object;

	if (direction == FF_TO_HOST)
		log->events.wakes_to_host++;
	else
		log->events.wakes_from_host++;
	if (log->events.fd < 0 || !spend(&log->wakes, WAKES, WAKES_BURST))
		return;
	object = ff_event_new_wake(&log->self, name, direction, count);
	ff_event_set_text(object, "peer", peer);
	add(log, &log->wakes, object);
}

void ff_hostlog_status(struct ff_hostlog *log, const char *waiters,
	size_t peers, size_t fences)
{
	json_t *object;

	ff_say(&log->events, -1, "status: guests %zu, fences %zu, accepted "
		"%" PRIu64 ", refused %" PRIu64 ", guests dropped or refused "
		"%" PRIu64 ", wakes from guests %" PRIu64 ", to guests %" PRIu64
		", waits by %s", peers, fences, log->accepted, log->refused,
		log->dropped, log->events.wakes_to_host,
		log->events.wakes_from_host, waiters);
	object = event(log, "status");
	if (!object)
		return;
	ff_event_set_text(object, "waiters", waiters);
	ff_event_set_number(object, "peers", peers);
	ff_event_set_number(object, "fences", fences);
	ff_event_set_number(object, "accepted", log->accepted);
	ff_event_set_number(object, "refused", log->refused);
	ff_event_set_number(object, "dropped", log->dropped);
	ff_event_set_number(object, "wakes_to_host",
		log->events.wakes_to_host);
	ff_event_set_number(object, "wakes_from_host",
		log->events.wakes_from_host);
	add(log, &log->records, object);
}
