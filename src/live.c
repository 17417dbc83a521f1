/* SPDX-License-Identifier: MIT */
#include "live.h"

#include "clock.h"
#include "live-print.h"
#include "report-text.h"
#include "symbols.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What we have followed from its begin, we know better than the scheduler, for
 * which a wait begins anew when a signal or a debugger comes. */
static void set_times(const struct ff_life *life, struct ff_waits *waits)
{
	uint64_t now_ns = ff_now_ns();

	for (size_t i = 0; i < waits->count; i++)
		for (size_t j = 0; j < life->waits.count; j++) {
			struct ff_wait *wait = &waits->list[i];
			const struct ff_life_wait *known =
				&life->waits.list[j];

			if (known->actor.tid != wait->actor.tid ||
				known->address != wait->address)
				continue;
			wait->has_time = true;
			wait->waited_ns = now_ns - known->begin_ns;
		}
}

/* As the log has them: a file without a name may since have got one. */
static void set_names(const struct ff_futexes *futexes, struct ff_waits *waits)
{
	for (size_t i = 0; i < waits->count; i++) {
		struct ff_wait *wait = &waits->list[i];
		const struct ff_fence *fence = ff_futexes_find(futexes,
			wait->dev, wait->ino);

		if (fence && *wait->fence == '#')
			snprintf(wait->fence, sizeof(wait->fence), "%.95s",
				ff_standin_name(&fence->standin));
	}
}

static void print(const struct ff_eventlog *log, const struct ff_live *live)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		return;
	ff_live_print(live, out);
	fclose(out);
	/* In one go: others write there, too. */
	if (dprintf(STDERR_FILENO, "%s", text) < 0)
		ff_say(log, 0, "cannot print who waits: %s", strerror(errno));
	free(text);
}

/* Beneath the table, as soon as they have names. */
static void print_stacks(struct ff_supervisor *s, const struct ff_waits *waits)
{
	struct ff_symbols *symbols = s->crossings.log->symbols;

	for (size_t i = 0; symbols && i < waits->count; i++) {
		const struct ff_wait *wait = &waits->list[i];
		const struct ff_actor *actor = &wait->actor;
		/* Else it would not wait when it is let go. */
		const bool may_stop = wait->has_value &&
			wait->value == wait->expected;
		struct ff_snapshot *snapshot;
		const char *why;
		char text[256], clean[256];

		snapshot = ff_backtrace_now(&s->crossings.backtraces,
			actor->pid, actor->tid, may_stop);
		snprintf(text, sizeof(text), "%s[%d] waits on %s in",
			actor->comm, actor->tid, wait->fence);
		ff_text_clean(clean, sizeof(clean), text);
		if (!snapshot || ff_symbols_send(symbols, snapshot, NULL, clean,
				&why) < 0)
			ff_say(s->crossings.log, 0, "no call stack of %s[%d]",
				actor->comm, actor->tid);
		ff_snapshot_unref(snapshot);
	}
}

void ff_live_tell(struct ff_supervisor *s)
{
	struct ff_live live = { 0 };
	const struct ff_ids *pids;
	int err = ff_family_list(&s->family, &pids);

	for (size_t i = 0; !err && i < pids->count; i++) {
		int failed = ff_waits_add(&live.waits, pids->ids[i]);

		if (failed && failed != -ESRCH)
			ff_say(s->crossings.log, 0, "process %d cannot be "
				"looked at: %s", pids->ids[i],
				strerror(-failed));
	}
	if (err)
		ff_say(s->crossings.log, 0, "cannot list the client's "
			"processes: %s", strerror(-err));
	set_times(&s->futexes.life, &live.waits);
	set_names(&s->futexes, &live.waits);
	ff_live_sort(&live.waits);
	print(s->crossings.log, &live);
	print_stacks(s, &live.waits);
	ff_waits_free(&live.waits);
	ff_life_tell_waits(&s->futexes.life);
}

/* For who waits long. */
static void add_traced(void *context, struct json_t *event, pid_t pid,
	pid_t tid, bool may_stop)
{
	struct ff_supervisor *s = context;
	struct ff_snapshot *snapshot = ff_backtrace_now(
		&s->crossings.backtraces, pid, tid, may_stop);

	ff_eventlog_add_traced(s->crossings.log, event, snapshot);
	ff_snapshot_unref(snapshot);
}

void ff_live_prepare(struct ff_supervisor *s)
{
	s->futexes.life.context = s;
	if (s->crossings.backtraces.wanted)
		s->futexes.life.add_traced = add_traced;
}
