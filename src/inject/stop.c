/* SPDX-License-Identifier: MIT */
#include "inject/stop.h"

#include "clock.h"
#include "inject/remote.h"
#include "process.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

/* How long a release waits for those that did not stop in time. */
#define LET_GO_MS 50

/* How much longer than others a thread may take that is ready to run. */
#define RUNNABLE_MS 8000

/* Another's tracer may have come, and have gone before we look whose it is. */
#define SEIZE_TRIES 3

/* 0 or -errno. */
static int try_seize(pid_t tid)
{
	int err = 0;

	for (int i = 0; i < SEIZE_TRIES; i++) {
		struct ff_status status;

		if (ptrace(PTRACE_SEIZE, tid, 0, PTRACE_O_TRACESYSGOOD) == 0)
			return 0;
		err = -errno;
		if (err != -EPERM || ff_process_status(tid, &status) < 0 ||
			status.tracer)
			break;
	}
	return err;
}

/* Why may we not seize this thread? */
static int explain_refusal(pid_t tid, int err, struct ff_error *error)
{
	struct ff_status status;

	if (err == ESRCH || ff_process_status(tid, &status) < 0)
		return ff_fail(error, ESRCH, "process %d is gone", tid);
	if (status.tracer == getpid())
		return ff_fail(error, ETIMEDOUT, "thread %d did not stop for an "
			"earlier swap either (in vfork?)", tid);
	if (status.tracer)
		return ff_fail(error, EBUSY, "thread %d is traced by pid %d",
			tid, status.tracer);
	return ff_fail(error, err,
		"ptrace of pid %d is refused: %s (not dumpable, of another "
		"user, or kernel.yama.ptrace_scope)", tid, strerror(err));
}

static int seize_thread(struct ff_hold *hold, pid_t tid, struct ff_error *error)
{
	struct ff_thread *thread;
	int err;

	if (hold->count == hold->room) {
		size_t room = hold->room ? 2 * hold->room : 16;

		thread = realloc(hold->threads, room * sizeof(*thread));
		if (!thread)
			return ff_fail(error, ENOMEM, "out of memory");
		hold->threads = thread;
		hold->room = room;
	}
	err = hold->may_hold ? hold->may_hold(hold->context, tid, error) : 0;
	if (err)
		return err;
	err = try_seize(tid);
	if (err) {
		struct ff_status status;

		/* It ended since it was listed, or is dead but not reaped. */
		if (err == -ESRCH || ff_process_status(tid, &status) < 0 ||
			status.state == 'Z' || status.state == 'X')
			return 0;
		return explain_refusal(tid, -err, error);
	}
	thread = &hold->threads[hold->count++];
	*thread = (struct ff_thread){ .tid = tid, .state = FF_THREAD_SEIZED };
	return 0;
}

/* Are all its threads known, by their mere number? */
static bool has_all_threads(const struct ff_hold *hold)
{
	size_t alive = 0;

	for (size_t i = 0; i < hold->count; i++)
		alive += hold->threads[i].state != FF_THREAD_GONE;
	return alive && ff_process_count_threads(hold->pid) == (int)alive;
}

/* Returns how many were new. */
static int seize_new_threads(struct ff_hold *hold, struct ff_error *error)
{
	size_t before = hold->count, known;
	struct ff_ids tids = { 0 };
	int err = 0;

	if (has_all_threads(hold))
		return 0;

	for (size_t i = 0; !err && i < hold->count; i++)
		err = ff_ids_add(&tids, hold->threads[i].tid);
	known = tids.count;
	if (!err)
		err = ff_process_threads(hold->pid, &tids);
	if (err == -ENOENT || err == -ESRCH)
		err = ff_fail(error, ESRCH, "process %d is gone", hold->pid);
	else if (err < 0)
		ff_fail(error, -err, "cannot list the threads of %d",
			hold->pid);
	else
		err = 0;
	for (size_t i = known; !err && i < tids.count; i++)
		err = seize_thread(hold, tids.ids[i], error);
	ff_ids_free(&tids);
	return err ? err : (int)(hold->count - before);
}

int ff_hold_seize(struct ff_hold *hold, pid_t pid, struct ff_error *error)
{
	int found;

	hold->pid = pid;
	hold->count = 0;
	do {
		found = seize_new_threads(hold, error);
	} while (found > 0);
	if (!found && !hold->count)
		found = ff_fail(error, ESRCH, "process %d is gone", pid);
	if (found < 0)
		ff_hold_release(hold);
	return found;
}

int ff_hold_seize_thread(struct ff_hold *hold, pid_t pid, pid_t tid,
	struct ff_error *error)
{
	int err;

	hold->pid = pid;
	hold->count = 0;
	err = seize_thread(hold, tid, error);
	if (!err && !hold->count)
		err = ff_fail(error, ESRCH, "thread %d is gone", tid);
	return err;
}

/* Is a handler about to run in this thread? */
static bool signal_awaits(pid_t tid)
{
	struct ff_status status;

	return ff_process_status(tid, &status) == 0 &&
		(status.pending & ~status.blocked & status.caught);
}

static void note_held(struct ff_thread *thread, bool group_stop)
{
	struct ff_regs mended;

	thread->arch = ff_remote_get_regs(thread->tid, &thread->regs);
	if (!thread->arch) {
		thread->state = FF_THREAD_GONE;
		return;
	}
	thread->state = FF_THREAD_HELD;
	thread->group_stop = group_stop;
	ff_remote_recall(thread->tid, &thread->blocked, &thread->regs);
	mended = thread->regs;
	/* Stopped by a job control signal, it would have seen EINTR anyway. */
	if (group_stop || !thread->arch->mend_eintr(&mended) ||
		signal_awaits(thread->tid))
		return;
	thread->regs = mended;
	ff_remote_set_regs(thread->tid, thread->arch, &mended);
}

/*
 * A signal came first: deliver it, the stop we asked for follows. A trapped
 * call does not fail with EINTR for it, it is made again after the handler.
 */
static void deliver_signal(struct ff_thread *thread, int sig)
{
	struct ff_regs regs, resume;
	const struct ff_arch *arch = ff_remote_get_regs(thread->tid, &regs);

	if (arch && arch->in_trapped_call(&regs)) {
		arch->resume(&regs, &resume);
		ff_remote_set_regs(thread->tid, arch, &resume);
	}
	ptrace(PTRACE_CONT, thread->tid, 0, sig);
}

bool ff_thread_ended(pid_t tid)
{
	siginfo_t info = { 0 };

	/* Of a tracee, WEXITED alone tells of stops too (wait_task_stopped). */
	return waitid(P_PID, (id_t)tid, &info,
		       WEXITED | WNOWAIT | WNOHANG | __WALL) < 0 ||
		(info.si_pid && info.si_code != CLD_TRAPPED &&
			info.si_code != CLD_STOPPED);
}

/* Wait for the next stop: 1 there is one, 0 look at the clock, or gone. */
static int wait_stop(struct ff_thread *thread, int *sig, int *event)
{
	siginfo_t info = { 0 };

	if (waitid(P_PID, (id_t)thread->tid, &info, WSTOPPED | __WALL) < 0) {
		if (errno != EINTR || ff_thread_ended(thread->tid))
			thread->state = FF_THREAD_GONE;
		return 0;
	}
	*sig = info.si_status & 0xff;
	*event = info.si_status >> 8;
	return 1;
}

/* One that only waits for a processor gets more time: it will stop, or it just
 * has (t, T). */
static bool is_late(pid_t tid, uint64_t deadline_ns)
{
	uint64_t now = ff_now_ns();
	struct ff_status status;

	if (now < deadline_ns)
		return false;
	return now >= deadline_ns + RUNNABLE_MS * 1000000ull ||
		ff_process_status(tid, &status) < 0 ||
		!strchr("RtT", status.state);
}

static int wait_held(struct ff_hold *hold, struct ff_thread *thread,
	uint64_t deadline_ns, struct ff_error *error)
{
	while (thread->state == FF_THREAD_SEIZED) {
		int sig, event;

		if (wait_stop(thread, &sig, &event)) {
			if (event == PTRACE_EVENT_STOP)
				note_held(thread, sig != SIGTRAP);
			else
				deliver_signal(thread, sig);
		} else if (thread->state == FF_THREAD_SEIZED) {
			if (hold->idle)
				hold->idle(hold->context);
			if (is_late(thread->tid, deadline_ns))
				return ff_fail(error, ETIMEDOUT,
					"thread %d did not stop in time (in "
					"vfork, or in an uninterruptible "
					"wait?)", thread->tid);
		}
	}
	return 0;
}

static void interrupt(struct ff_thread *thread)
{
	ff_remote_note_call(thread->tid, &thread->blocked);
	if (ptrace(PTRACE_INTERRUPT, thread->tid, 0, 0) < 0)
		thread->state = FF_THREAD_GONE;
}

int ff_hold_stop(struct ff_hold *hold, uint64_t deadline_ns,
	struct ff_error *error)
{
	size_t from = 0, held = 0;
	int err = 0, found = 1;

	while (!err && found > 0) {
		for (size_t i = from; i < hold->count; i++)
			interrupt(&hold->threads[i]);
		for (size_t i = from; !err && i < hold->count; i++)
			err = wait_held(hold, &hold->threads[i], deadline_ns,
				error);
		from = hold->count;
		if (!err)
			found = seize_new_threads(hold, error);
	}
	if (err || found < 0)
		return err ? err : found;
	for (size_t i = 0; i < hold->count; i++)
		held += hold->threads[i].state == FF_THREAD_HELD;
	return held ? 0 :
		ff_fail(error, ESRCH, "process %d is gone", hold->pid);
}

static int wait_thread(struct ff_hold *hold, struct ff_thread *thread,
	uint64_t deadline_ns, struct ff_error *error)
{
	int err = wait_held(hold, thread, deadline_ns, error);

	if (!err && thread->state == FF_THREAD_GONE)
		err = ff_fail(error, ESRCH, "thread %d is gone", thread->tid);
	return err;
}

int ff_hold_stop_thread(struct ff_hold *hold, struct ff_thread *thread,
	uint64_t deadline_ns, struct ff_error *error)
{
	thread->state = FF_THREAD_SEIZED;
	interrupt(thread);
	return wait_thread(hold, thread, deadline_ns, error);
}

int ff_hold_deliver(struct ff_hold *hold, struct ff_thread *thread, int sig,
	uint64_t deadline_ns, struct ff_error *error)
{
	thread->state = FF_THREAD_SEIZED;
	thread->blocked.known = false;
	/* While it is stopped: the next stop is where it wants to go on. */
	if (ptrace(PTRACE_INTERRUPT, thread->tid, 0, 0) < 0 ||
		ptrace(PTRACE_CONT, thread->tid, 0, sig) < 0)
		thread->state = FF_THREAD_GONE;
	return wait_thread(hold, thread, deadline_ns, error);
}

void ff_hold_release(struct ff_hold *hold)
{
	uint64_t deadline_ns = ff_now_ns() + LET_GO_MS * 1000000ull;

	/* A running tracee can only be let go at a stop: provoke one. */
	for (size_t i = 0; i < hold->count; i++)
		if (hold->threads[i].state == FF_THREAD_SEIZED)
			ff_hold_stop_thread(hold, &hold->threads[i],
				deadline_ns, NULL);
	for (size_t i = 0; i < hold->count; i++)
		if (hold->threads[i].state == FF_THREAD_HELD)
			ptrace(PTRACE_DETACH, hold->threads[i].tid, 0, 0);
	hold->count = 0;
}

void ff_hold_free(struct ff_hold *hold)
{
	free(hold->threads);
	hold->threads = NULL;
	hold->count = hold->room = 0;
}

bool ff_release_straggler(pid_t tid, int status)
{
	struct ff_thread thread = { .tid = tid };
	int event = status >> 16, sig = WSTOPSIG(status);

	if (event == PTRACE_EVENT_STOP)
		note_held(&thread, sig != SIGTRAP);
	/* Only a signal-delivery-stop has a signal to hand on. */
	return ptrace(PTRACE_DETACH, tid, 0, event ? 0 : sig) == 0;
}
