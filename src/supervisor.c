/* SPDX-License-Identifier: MIT */
#include "supervisor.h"

#include "arch/arch.h"
#include "clock.h"
#include "front.h"
#include "live.h"
#include "notify.h"
#include "process.h"
#include "reap.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

/* A swap that takes longer hangs in the kernel: we give ourselves up, and the
 * kernel lets all tracees go. */
#define GIVE_UP_S 15

/* How often is looked for trapped calls that signals have ended. */
#define LOST_NS 20000000u

/* How long no client must have called for us to do what can be put off. */
#define SPARE_NS 100000

/* What is polled beside the listeners: signals, the relay, the keeper. */
#define POLL_MORE 3

static timer_t give_up;

/* SIGKILL reaches also a wait that nothing else would end. */
static void set_give_up(bool on)
{
	struct itimerspec when = { .it_value.tv_sec = on ? GIVE_UP_S : 0 };

	timer_settime(give_up, 0, &when, NULL);
}

/* The listener that has a notification to receive, NULL if none has in time.
 * Meanwhile the relay is served. */
static struct ff_listener *await_call(struct ff_supervisor *s, int timeout_ms)
{
	const uint64_t end_ns = ff_now_ns() + (uint64_t)timeout_ms * 1000000u;
	const size_t count = s->listeners.count;
	struct pollfd *fds = s->fds, *relay = fds + count;

	for (;;) {
		struct ff_listener *ready;
		uint64_t now_ns;

		ff_listeners_want(&s->listeners, fds);
		*relay = (struct pollfd){ ff_futexes_fd(&s->futexes),
			ff_futexes_events(&s->futexes), 0 };
		if (poll(fds, count + 1, timeout_ms) < 0)
			for (size_t i = 0; i <= count; i++)
				fds[i].revents = 0;
		if (relay->revents)
			ff_futexes_serve(&s->futexes, relay->revents, false);
		ready = ff_listeners_ready(&s->listeners, fds);
		now_ns = ff_now_ns();
		if (ready || !relay->revents || now_ns >= end_ns)
			return ready;
		timeout_ms = (int)((end_ns - now_ns) / 1000000u);
	}
}

static bool is_bell(const struct ff_notification *n, struct ff_bell_call *call)
{
	const struct ff_arch *arch = ff_arch_by_audit(n->data.arch);

	if (!arch || n->data.nr != arch->syscalls[FF_SYS_SENDMSG] ||
		(int)n->data.args[0] != -1 ||
		n->data.args[1] < FF_BELL_READY ||
		n->data.args[1] > FF_BELL_APPLIED)
		return false;
	*call = (struct ff_bell_call){ n->tid, n->listener, n->id,
		n->data.args[1], n->data.args[3] };
	return true;
}

/* A call that receives; its thread may be stopped for a call stack. */
static enum ff_call_state handle_reply(struct ff_supervisor *s,
	const struct ff_notification *n, bool may_swap)
{
	const bool may_stop = may_swap && s->crossings.backtraces.wanted;
	enum ff_call_state state;

	if (may_stop)
		set_give_up(true);
	state = ff_replies_handle(&s->replies, n, may_stop);
	if (may_stop)
		set_give_up(false);
	return state;
}

/* A trapped call that is no send. */
static enum ff_call_state handle_other(struct ff_supervisor *s,
	const struct ff_notification *n, bool may_swap)
{
	enum ff_call_state state = handle_reply(s, n, may_swap);

	if (state == FF_CALL_IS_OTHER)
		state = ff_futexes_handle(&s->futexes, n);
	if (state == FF_CALL_IS_OTHER) {
		/* The shm dir may hang. In a swap the time runs already. */
		if (may_swap)
			set_give_up(true);
		state = ff_creations_handle(&s->creations, n, may_swap);
		if (may_swap)
			set_give_up(false);
	}
	if (state == FF_CALL_GOES_ON)
		ff_notify_continue(n->listener, n->id);
	return state;
}

/* A send, or what is left. */
static enum ff_verdict handle_send(struct ff_supervisor *s,
	const struct ff_notification *n, bool may_swap)
{
	struct ff_send send;
	uint64_t args[6];
	int err;

	for (int i = 0; i < 6; i++)
		args[i] = n->data.args[i];
	err = ff_send_parse(n->tid, n->data.arch, n->data.nr, args, &send);
	if (!err) {
		const struct ff_notification *outer = s->crossings.call;
		enum ff_verdict verdict;

		s->crossings.call = n;
		verdict = ff_crossings_handle(&s->crossings, n->tid, &send,
			may_swap);
		s->crossings.call = outer;
		return verdict;
	}
	if (err == -ENOSYS)
		ff_policy_note(&s->policy, n);
	else if (err == -EPERM)
		ff_policy_tell_unreadable(&s->policy, n->tid);
	return FF_GO_ON;
}

/* Deal with a trapped call. False if that takes a swap and may_swap is not. */
static bool handle(struct ff_supervisor *s, const struct ff_notification *n,
	bool may_swap)
{
	enum ff_verdict verdict;

	if (handle_other(s, n, may_swap) != FF_CALL_IS_OTHER)
		return true;
	if (may_swap)
		set_give_up(true);
	do {
		verdict = handle_send(s, n, may_swap);
		/* Refused before the thread was stopped: it still waits. */
	} while (verdict == FF_WAS_SWAPPED && ff_notify_alive(n->listener,
		n->id));
	if (may_swap)
		set_give_up(false);
	if (verdict == FF_NEEDS_SWAP)
		return false;
	if (verdict == FF_GO_ON)
		ff_notify_continue(n->listener, n->id);
	return true;
}

/* For our heir, should we die: what waits for us on purpose. */
static void note_oldest(struct ff_supervisor *s, const struct ff_listener *from)
{
	uint64_t oldest = ff_deferred_oldest(&s->deferred, from->fd);
	uint64_t asleep = from == s->listeners.all ?
		ff_sleepers_oldest(&s->futexes.sleepers) : UINT64_MAX;

	from->legacy->oldest_held = asleep < oldest ? asleep : oldest;
}

/* Serve one that was received. */
static void serve_received(struct ff_supervisor *s,
	const struct ff_listener *from, const struct ff_notification *n,
	bool may_swap)
{
	from->legacy->last_received = n->id;
	s->creations.gift = &from->legacy->gift;
	if (!handle(s, n, may_swap))
		ff_deferred_add(&s->deferred, n);
	note_oldest(s, from);
}

/* Receive and serve one; 1 if it is a bell instead. */
static int serve(struct ff_supervisor *s, const struct ff_listener *from,
	bool may_swap, struct ff_bell_call *call)
{
	struct ff_notification n;
	int err = ff_notify_receive(from->fd, &n);

	if (err == -ENOENT)
		ff_futexes_mend(&s->futexes);
	if (err)
		return err == -ENOENT || err == -EINTR ? 0 : err;
	if (call && is_bell(&n, call)) {
		from->legacy->last_received = n.id;
		return 1;
	}
	serve_received(s, from, &n, may_swap);
	return 0;
}

static bool may_lose_wakes(const struct ff_supervisor *s)
{
	return ff_futexes_trap(&s->futexes) && s->futexes.fences.count;
}

/* Wakes that were lost are found a moment later, as long as there are fences
 * that somebody may wait on. */
static void look_for_lost(struct ff_supervisor *s)
{
	if (!may_lose_wakes(s) || ff_now_ns() < s->lost_ns)
		return;
	for (size_t i = 0; i < s->listeners.count; i++) {
		const struct ff_listener *from = &s->listeners.all[i];
		struct ff_notification n;
		unsigned int lost;

		if (!ff_listeners_look_at(&s->listeners, i))
			continue;
		if (ff_notify_count_lost(from->fd, &lost, &n))
			serve_received(s, from, &n, true);
		if (lost)
			ff_futexes_mend(&s->futexes);
	}
	s->lost_ns = ff_now_ns() + LOST_NS;
}

static int wait_bell(void *context, int timeout_ms, struct ff_bell_call *call)
{
	struct ff_supervisor *s = context;
	const struct ff_listener *ready = await_call(s, timeout_ms);

	if (ready)
		return serve(s, ready, false, call);
	return ff_listeners_are_over(&s->listeners) ? -EPIPE : 0;
}

static int answer_fd(void *context, const struct ff_bell_call *call, int source,
	int number)
{
	(void)context;
	return ff_notify_answer_fd(call->listener, call->id, source, number);
}

static int answer(void *context, const struct ff_bell_call *call, int error)
{
	(void)context;
	return ff_notify_answer(call->listener, call->id, 0, error);
}

static int list_processes(void *context, const struct ff_ids **pids)
{
	struct ff_supervisor *s = context;

	return ff_family_list(&s->family, pids);
}

/* Sharers, and threads, can be under filters that the sender is not under. Who may
 * be held is held now. */
static int may_hold(void *context, pid_t tid, struct ff_error *error)
{
	struct ff_supervisor *s = context;
	char reason[FF_REASON_SIZE];
	int err = ff_attachment_may_hold(s->attachment, tid, error);

	if (err)
		return err;
	if (ff_policy_fears_filters(&s->policy, tid, reason))
		return ff_fail(error, EPERM, "thread %d is %s", tid, reason);
	ff_life_stop_one(&s->futexes.life, tid);
	return 0;
}

static void held(void *context, const struct ff_thread *caller)
{
	struct ff_supervisor *s = context;

	ff_backtrace_held(&s->crossings.backtraces, s->crossings.call, caller);
}

static void idle(void *context)
{
	struct ff_supervisor *s = context;
	const struct ff_listener *ready;

	while ((ready = await_call(s, 0)))
		if (serve(s, ready, false, NULL) < 0)
			return;
}

/* The first that was put off. One at a time: its swap may put off more. */
static void serve_deferred(struct ff_supervisor *s)
{
	struct ff_notification n = ff_deferred_take(&s->deferred);

	if (ff_notify_alive(n.listener, n.id))
		handle(s, &n, true);
}

/* Those that the command begins with: ours, and what we are under ourselves. */
static unsigned int count_filters(pid_t command)
{
	struct ff_status status;

	return ff_process_status(command, &status) == 0 ?
		status.seccomp_filters : 0;
}

static int prepare(struct ff_supervisor *s)
{
	struct sigevent kill_us = {
		.sigev_notify = SIGEV_SIGNAL,
		.sigev_signo = SIGKILL,
	};
	sigset_t signals;
	int fd;

	s->futexes.listener = s->listeners.all[0].fd;
	s->creations.policy = s->crossings.policy = &s->policy;
	s->creations.futexes = s->crossings.futexes = &s->futexes;
	if (s->command)
		s->policy.filters = count_filters(s->command);
	s->crossings.ops = (struct ff_swap_ops){
		.context = s,
		.wait_bell = wait_bell,
		.answer_fd = answer_fd,
		.answer = answer,
		.processes = list_processes,
		.idle = idle,
		.may_hold = may_hold,
		.held = held,
	};
	s->crossings.backtraces.policy = &s->policy;
	s->crossings.backtraces.ops = &s->crossings.ops;
	s->creations.backtraces = &s->crossings.backtraces;
	ff_live_prepare(s);
	ff_listeners_tune(&s->listeners);
	s->fds = calloc(s->listeners.count + POLL_MORE, sizeof(*s->fds));
	if (!s->fds)
		return -ENOMEM;
	if (timer_create(CLOCK_MONOTONIC, &kill_us, &give_up) < 0)
		return -errno;
	ff_front_signal_set(&signals);
	fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

static struct timespec time_until(uint64_t deadline_ns)
{
	uint64_t now_ns = ff_now_ns();
	uint64_t left_ns = deadline_ns > now_ns ? deadline_ns - now_ns : 0;

	return (struct timespec){ (time_t)(left_ns / 1000000000u),
		(long)(left_ns % 1000000000u) };
}

static bool has_spare_work(const struct ff_supervisor *s)
{
	return s->deferred.count || s->crossings.log->waiting_count ||
		ff_creations_wants(&s->creations) ||
		ff_futexes_wants_sweep(&s->futexes);
}

/* A little of it, that no client will notice. */
static bool do_spare_work(struct ff_supervisor *s)
{
	if (ff_creations_wants(&s->creations)) {
		set_give_up(true);
		ff_creations_prepare(&s->creations);
		set_give_up(false);
	} else if (ff_futexes_wants_sweep(&s->futexes))
		ff_futexes_sweep(&s->futexes);
	else
		return false;
	return true;
}

/* Wait for something to do; what can be put off is done before. What there is
 * stands in s->fds: the listeners, then signals, the relay and the keeper. 0 or
 * -errno. */
static int wait_for_work(struct ff_supervisor *s, int signals)
{
	const size_t count = s->listeners.count;
	uint64_t deadline_ns = ff_futexes_deadline_ns(&s->futexes);
	struct timespec timeout = { 0 };
	int ready = 0;

	if (may_lose_wakes(s) && s->lost_ns < deadline_ns)
		deadline_ns = s->lost_ns;
	if (s->tell_ns && s->tell_ns < deadline_ns)
		deadline_ns = s->tell_ns;
	ff_listeners_want(&s->listeners, s->fds);
	s->fds[count] = (struct pollfd){ signals, POLLIN, 0 };
	s->fds[count + 1] = (struct pollfd){ ff_futexes_fd(&s->futexes),
		ff_futexes_events(&s->futexes), 0 };
	s->fds[count + 2] = (struct pollfd){
		s->attachment ? s->attachment->keeper_fd : -1, POLLIN, 0 };
	/* Who has just made a fence, is about to send it. */
	timeout.tv_nsec = s->deferred.count ? 0 : SPARE_NS;
	if (has_spare_work(s))
		ready = ppoll(s->fds, count + POLL_MORE, &timeout, NULL);
	timeout.tv_nsec = 0;
	while (ready == 0 && !s->deferred.count && do_spare_work(s))
		ready = ppoll(s->fds, count + POLL_MORE, &timeout, NULL);
	if (ready == 0 && !s->deferred.count) {
		ff_eventlog_flush(s->crossings.log);
		timeout = time_until(deadline_ns);
		ready = ppoll(s->fds, count + POLL_MORE, deadline_ns == UINT64_MAX ?
			NULL : &timeout, NULL);
	}
	if (ready < 0)
		for (size_t i = 0; i < count + POLL_MORE; i++)
			s->fds[i].revents = 0;
	return ready < 0 && errno != EINTR ? -errno : 0;
}

/* 0 or -errno. */
static int work(struct ff_supervisor *s, int signals)
{
	const struct pollfd *fds = s->fds + s->listeners.count;
	const struct ff_listener *from = ff_listeners_ready(&s->listeners,
		s->fds);
	/* Serving polls again. */
	const short signalled = fds[0].revents, relay = fds[1].revents,
		keeper = fds[2].revents;

	if (from) {
		int err = serve(s, from, true, NULL);

		if (err < 0)
			return err;
	}
	look_for_lost(s);
	ff_futexes_serve(&s->futexes, relay, true);
	for (size_t i = 0; i < s->listeners.count; i++)
		note_oldest(s, &s->listeners.all[i]);
	if (s->deferred.count)
		serve_deferred(s);
	if (keeper)
		s->attachment->lose_keeper(s->attachment);
	if (s->tell_ns && s->tell_ns <= ff_now_ns()) {
		s->tell_ns = 0;
		ff_live_tell(s);
	}
	if (signalled) {
		ff_reap_signals(s, signals);
		ff_reap(s);
	}
	return 0;
}

int ff_supervise(struct ff_supervisor *s)
{
	int signals = prepare(s), err = 0;

	if (signals < 0)
		return signals;
	/* A zombie is under no filter; its status comes next. */
	while (!err && !(s->attachment && s->attachment->signal) &&
		(s->command || !ff_listeners_are_over(&s->listeners))) {
		err = wait_for_work(s, signals);
		if (!err)
			err = work(s, signals);
	}
	if (!err && s->tell_ns && s->attachment && s->attachment->signal)
		ff_live_tell(s); /* it was asked for before */
	ff_deferred_free(&s->deferred);
	if (s->attachment)
		ff_attachment_end(s->attachment, &s->listeners, !err);
	ff_eventlog_flush(s->crossings.log);
	close(signals);
	timer_delete(give_up);
	free(s->fds);
	ff_family_free(&s->family);
	return err;
}
