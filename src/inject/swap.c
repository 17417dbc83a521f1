/* SPDX-License-Identifier: MIT */
#include "inject/swap.h"

#include "clock.h"
#include "fault.h"
#include "inject/patient.h"
#include "inject/vfork.h"
#include "tick.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* How long threads may take to stop, and carriers to run their program. */
#define STOP_MS 1000
#define PROGRAM_MS 2000

/* What may be copied while all stand still: about half a second. */
#define MAX_COPY (1ull << 30)

/* How long a process in vfork is waited for. */
#define VFORK_MS 200

enum decision { UNDECIDED, GO_ON, GO_BACK };

struct swap {
	const struct ff_swap_target *target;
	const struct ff_swap_ops *ops;
	struct ff_stubs *stubs;
	struct ff_patient *patients;
	size_t count;
	struct ff_files files;
	int ticket; /* index in files, or -1 */
	enum decision prepared, applied;
	uint64_t deadline_ns;
	uint64_t stop_ns; /* when threads began to be stopped */
	struct ff_error *error;
};

static int add_patient(struct swap *swap, pid_t pid)
{
	struct ff_patient *more = realloc(swap->patients,
		(swap->count + 1) * sizeof(*more));
	struct ff_patient *patient;

	if (!more)
		return ff_fail(swap->error, ENOMEM, "out of memory");
	swap->patients = more;
	patient = &more[swap->count++];
	*patient = (struct ff_patient){ .pid = pid };
	patient->hold.idle = swap->ops->idle;
	patient->hold.may_hold = swap->ops->may_hold;
	patient->hold.context = swap->ops->context;
	return ff_hold_seize(&patient->hold, pid, swap->error);
}

static bool is_patient(const struct swap *swap, pid_t pid)
{
	for (size_t i = 0; i < swap->count; i++)
		if (swap->patients[i].pid == pid)
			return true;
	return false;
}

/* Seize the sharers that are not patients yet. Returns how many. */
static int add_sharers(struct swap *swap)
{
	const struct ff_ids *pids;
	int added = 0;
	int err = swap->ops->processes(swap->ops->context, &pids);

	for (size_t i = 0; !err && i < pids->count; i++) {
		int shares;

		if (is_patient(swap, pids->ids[i]))
			continue;
		shares = ff_survey_shares(pids->ids[i], swap->target);
		/* One that ends, or that we may not look at: not dumpable. */
		if (shares == -ENOENT || shares == -ESRCH ||
			shares == -EACCES || shares == -EPERM || !shares)
			continue;
		if (shares < 0) {
			err = ff_fail(swap->error, -shares, "cannot see "
				"whether pid %d shares the memfd: %s",
				pids->ids[i], strerror(-shares));
			break;
		}
		err = add_patient(swap, pids->ids[i]);
		if (err == -ESRCH) { /* ended meanwhile */
			ff_patient_free(&swap->patients[--swap->count]);
			err = 0;
			continue;
		}
		added++;
	}
	return err ? err : added;
}

static int await_vfork(struct swap *swap, pid_t pid, uint64_t deadline_ns)
{
	return ff_vfork_await(pid, swap->ops->processes, swap->ops->idle,
		swap->ops->context, deadline_ns, swap->error);
}

/* What forbids it may have come while they were still running. */
static int ask_again(const struct swap *swap)
{
	int err = 0;

	for (size_t i = 0; !err && i < swap->count; i++) {
		const struct ff_hold *hold = &swap->patients[i].hold;

		for (size_t j = 0; !err && hold->may_hold && j < hold->count;
			j++)
			if (hold->threads[j].state == FF_THREAD_HELD)
				err = hold->may_hold(hold->context,
					hold->threads[j].tid, swap->error);
	}
	return err;
}

/*
 * Hold all threads of all processes that have the memfd. Only when all known
 * ones are held can a look for more come to an end.
 */
static int hold_all(struct swap *swap)
{
	uint64_t vfork_ns = ff_now_ns() + VFORK_MS * 1000000ull;
	size_t held = 0;
	int found, err;

	err = await_vfork(swap, swap->target->pid, vfork_ns);
	if (!err)
		err = add_patient(swap, swap->target->pid);
	if (err)
		return err;
	err = FF_FAULT();
	if (err)
		return ff_fail(swap->error, -err, "injected fault");
	found = add_sharers(swap);
	for (size_t i = 1; found >= 0 && i < swap->count; i++) {
		err = await_vfork(swap, swap->patients[i].pid, vfork_ns);
		if (err)
			return err;
	}
	swap->stop_ns = ff_now_ns();
	while (found >= 0 && held < swap->count) {
		for (; held < swap->count; held++) {
			struct ff_patient *patient = &swap->patients[held];

			err = ff_hold_stop(&patient->hold, swap->deadline_ns,
				swap->error);
			if (err == -ESRCH && held > 0)
				patient->over = true; /* it ended */
			else if (err)
				return err;
		}
		found = add_sharers(swap);
	}
	return found < 0 ? found : ask_again(swap);
}

/* Tell who wants to look at the caller. */
static void show_caller(const struct swap *swap)
{
	const struct ff_hold *hold = &swap->patients[0].hold;

	if (!swap->ops->held)
		return;
	for (size_t i = 0; i < hold->count; i++)
		if (hold->threads[i].tid == swap->target->caller &&
			hold->threads[i].state == FF_THREAD_HELD)
			swap->ops->held(swap->ops->context,
				&hold->threads[i]);
}

/* The memfd may have grown since the stand-in was made. */
static int copy_all(const struct swap *swap)
{
	struct stat st;
	int err = FF_FAULT();

	if (!err && fstat(swap->target->memfd, &st) < 0)
		err = -errno;
	if (!err && (uint64_t)st.st_blocks * 512 > MAX_COPY)
		err = -EFBIG; /* everybody stands still meanwhile */
	if (!err && (uint64_t)st.st_size != swap->target->size &&
		ftruncate(swap->target->standin, st.st_size) < 0)
		err = -errno;
	if (!err)
		err = ff_copy_contents(swap->target->memfd,
			swap->target->standin, (uint64_t)st.st_size);
	return err ? ff_fail(swap->error, -err,
		"cannot copy the contents to the stand-in: %s",
		strerror(-err)) : 0;
}

static int prepare_all(struct swap *swap)
{
	int standin = swap->target->standin, err = 0;

	for (size_t i = 0; !err && i < swap->count; i++) {
		struct ff_patient *patient = &swap->patients[i];

		if (patient->over)
			continue;
		err = ff_survey(&patient->survey, patient->pid, swap->target,
			swap->error);
		if (!err && !patient->survey.fd_count &&
			!patient->survey.map_count) {
			/* It let go of the memfd before it was held. */
			if (i == 0)
				return ff_fail(swap->error, ESTALE,
					"the memfd was closed meanwhile");
			ff_patient_release(patient);
			patient->over = true;
			continue;
		}
		if (!err)
			err = ff_files_assign(&swap->files, &patient->survey,
				patient->pid, standin, swap->error);
	}
	if (!err && swap->count > 1) {
		swap->ticket = ff_files_add_ticket(&swap->files, standin,
			swap->error);
		err = swap->ticket < 0 ? swap->ticket : 0;
	}
	if (!err)
		err = copy_all(swap);
	for (size_t i = 0; !err && i < swap->count; i++)
		if (!swap->patients[i].over)
			err = ff_patient_prepare(&swap->patients[i],
				swap->target->caller, swap->stubs,
				&swap->files, swap->ticket, swap->deadline_ns,
				swap->error);
	return err;
}

static struct ff_patient *find_carrier(struct swap *swap, pid_t tid)
{
	for (size_t i = 0; i < swap->count; i++)
		if (!swap->patients[i].over && swap->patients[i].carrier.tid ==
			tid)
			return &swap->patients[i];
	return NULL;
}

/* How many patients that are not over stand at bell. */
static size_t count_at(const struct swap *swap, uint64_t bell)
{
	size_t count = 0;

	for (size_t i = 0; i < swap->count; i++)
		count += !swap->patients[i].over &&
			swap->patients[i].call.bell == bell;
	return count;
}

static size_t count_alive(const struct swap *swap)
{
	size_t count = 0;

	for (size_t i = 0; i < swap->count; i++)
		count += !swap->patients[i].over;
	return count;
}

static bool set_ticket(const struct swap *swap, bool go_on)
{
	return lseek(swap->files.files[swap->ticket].source,
		go_on ? 1 : 2, SEEK_SET) >= 0;
}

/* Hand the decision of its bell to a carrier that waits there. */
static void tell(const struct swap *swap, struct ff_patient *patient,
	bool go_on)
{
	patient->call.bell = 0;
	swap->ops->answer(swap->ops->context, &patient->call,
		go_on ? 0 : ECANCELED);
}

/*
 * All or none: those that wait at bell go on when everybody does, and go back
 * when one has failed. The ticket is for those who get no answer.
 */
static void decide_at(struct swap *swap, enum ff_bell bell,
	enum decision *decision)
{
	size_t waiting = count_at(swap, bell);
	size_t failed = count_at(swap, FF_BELL_DONE);

	if (!waiting)
		return;
	if (*decision == UNDECIDED) {
		if (waiting + failed < count_alive(swap))
			return;
		*decision = failed ? GO_BACK : GO_ON;
		if (FF_FAULT() || !set_ticket(swap, *decision == GO_ON) ||
			FF_FAULT()) {
			set_ticket(swap, false);
			*decision = GO_BACK;
		}
	}
	/* A bell that was interrupted rings again. */
	for (size_t i = 0; i < swap->count; i++)
		if (!swap->patients[i].over &&
			swap->patients[i].call.bell == bell)
			tell(swap, &swap->patients[i], *decision == GO_ON);
}

static void decide(struct swap *swap)
{
	if (swap->ticket < 0)
		return;
	decide_at(swap, FF_BELL_PREPARED, &swap->prepared);
	decide_at(swap, FF_BELL_APPLIED, &swap->applied);
}

static int on_bell(struct swap *swap, const struct ff_bell_call *call)
{
	struct ff_patient *patient = find_carrier(swap, call->tid);
	int err;

	if (!patient)
		return swap->ops->answer(swap->ops->context, call, EBADF);
	patient->call = *call;
	if (call->bell != FF_BELL_READY) {
		decide(swap);
		return 0;
	}
	patient->call.bell = 0;
	err = FF_FAULT();
	if (!err && call->index < patient->description_count) {
		const struct ff_description *description =
			&patient->descriptions[call->index];

		err = swap->ops->answer_fd(swap->ops->context, call,
			description->source, description->number);
		/* One that was interrupted rings again. */
		if (!err || err == -ENOENT)
			return err;
	}
	return swap->ops->answer(swap->ops->context, call, ECANCELED);
}

/*
 * It takes too long. Only a program itself can end what it began: those that
 * have not changed anything yet find the lock gone or the answer no.
 */
static void call_off(struct swap *swap)
{
	flock(swap->target->standin, LOCK_UN);
	if (swap->ticket < 0)
		return;
	if (swap->prepared == UNDECIDED || swap->applied == UNDECIDED)
		set_ticket(swap, false);
	if (swap->prepared == UNDECIDED)
		swap->prepared = GO_BACK;
	if (swap->applied == UNDECIDED)
		swap->applied = GO_BACK;
	decide(swap);
}

/* All carriers through their programs, up to the bell at the end. */
static int run_all(struct swap *swap)
{
	uint64_t deadline_ns = ff_now_ns() + PROGRAM_MS * 1000000ull;
	bool called_off = false;

	for (size_t i = 0; i < swap->count; i++)
		if (!swap->patients[i].over)
			ff_patient_start(&swap->patients[i]);
	if (FF_FAULT())
		return ff_fail(swap->error, EIO, "injected fault");
	while (count_at(swap, FF_BELL_DONE) < count_alive(swap)) {
		struct ff_bell_call call;
		int rang = swap->ops->wait_bell(swap->ops->context, FF_TICK_MS,
			&call);

		/* A carrier that is gone by now is found dead next. */
		if (rang > 0)
			on_bell(swap, &call);
		if (rang < 0)
			return ff_fail(swap->error, -rang, "no bell: %s",
				strerror(-rang));
		if (rang > 0)
			continue;
		for (size_t i = 0; i < swap->count; i++)
			ff_patient_check(&swap->patients[i]);
		decide(swap);
		if (ff_now_ns() < deadline_ns)
			continue;
		if (called_off)
			return ff_fail(swap->error, ETIMEDOUT,
				"a carrier did not finish in time");
		call_off(swap);
		called_off = true;
		deadline_ns = ff_now_ns() + PROGRAM_MS * 1000000ull;
	}
	return 0;
}

/* Did they all commit? Those that ended meanwhile do not count. */
static int judge_all(struct swap *swap)
{
	int verdict = 0;

	for (size_t i = 0; i < swap->count; i++) {
		bool told = false;
		int err = ff_patient_judge(&swap->patients[i], &told,
			swap->error);

		/* Those that were told to go back are not the cause. */
		if (err && !told)
			return err;
		verdict = err ? err : verdict;
	}
	return verdict;
}

static void count_all(const struct swap *swap, struct ff_swap_result *result)
{
	for (size_t i = 0; i < swap->count; i++) {
		const struct ff_patient *patient = &swap->patients[i];

		if (patient->over)
			continue;
		result->processes++;
		result->threads += (unsigned int)patient->hold.count;
		result->fds += (unsigned int)patient->survey.fd_count;
		result->mappings += (unsigned int)patient->survey.map_count;
	}
}

int ff_swap(const struct ff_swap_target *target, const struct ff_swap_ops *ops,
	struct ff_stubs *stubs, struct ff_swap_result *result,
	struct ff_error *error)
{
	struct swap swap = {
		.target = target,
		.ops = ops,
		.stubs = stubs,
		.ticket = -1,
		.error = error,
	};
	int err;

	*result = (struct ff_swap_result){ 0 };
	swap.deadline_ns = ff_now_ns() + STOP_MS * 1000000ull;
	ff_fault_begin(target->pid);
	ff_tick(FF_TICK_MS * 1000);
	err = hold_all(&swap);
	if (!err)
		show_caller(&swap);
	if (!err)
		err = prepare_all(&swap);
	if (!err)
		err = run_all(&swap);
	if (!err)
		err = judge_all(&swap);
	if (!err)
		count_all(&swap, result);
	for (size_t i = 0; i < swap.count; i++)
		ff_patient_release(&swap.patients[i]);
	result->stopped_ns = ff_now_ns() - swap.stop_ns;
	ff_tick(0);
	for (size_t i = 0; i < swap.count; i++)
		ff_patient_free(&swap.patients[i]);
	free(swap.patients);
	ff_files_free(&swap.files);
	return err;
}
