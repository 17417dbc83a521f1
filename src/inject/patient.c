/* SPDX-License-Identifier: MIT */
#include "inject/patient.h"

#include "clock.h"
#include "fault.h"

#include <errno.h>
#include <linux/kcmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Private copies are copied by the stub, while everybody stands still. */
#define MAX_PRIVATE (256u << 20)

/* How long a carrier in its last bell may take to stop. */
#define BACK_MS 500

static struct ff_stub_place *find_place(struct ff_stubs *stubs, pid_t pid)
{
	for (size_t i = 0; i < FF_STUBS_MAX; i++)
		if (stubs->places[i].pid == pid)
			return &stubs->places[i];
	return NULL;
}

static void remember_stub(struct ff_stubs *stubs, pid_t pid, uint64_t base)
{
	struct ff_stub_place *place = find_place(stubs, pid);

	if (!place)
		place = &stubs->places[stubs->next++ % FF_STUBS_MAX];
	*place = (struct ff_stub_place){ pid, base };
}

void ff_stubs_forget(struct ff_stubs *stubs, pid_t pid)
{
	struct ff_stub_place *place = find_place(stubs, pid);

	if (place)
		*place = (struct ff_stub_place){ 0 };
}

/*
 * Best is a thread that waits in a system call, for it is in no restartable
 * sequence, and a call that is simply made again. The caller does, and is first
 * choice.
 */
static struct ff_thread *choose_carrier(struct ff_hold *hold, pid_t caller)
{
	struct ff_thread *best = NULL;
	int best_rank = 0;

	for (size_t i = 0; i < hold->count; i++) {
		struct ff_thread *thread = &hold->threads[i];
		struct ff_regs resume;
		int rank = 1;

		if (thread->state != FF_THREAD_HELD)
			continue;
		if (thread->tid == caller)
			return thread;
		switch (thread->arch->resume(&thread->regs, &resume)) {
		case FF_STANDS_IN_CALL:
			rank = 3;
			break;
		case FF_STANDS_IN_RESTART:
			rank = 2;
			break;
		case FF_STANDS_IN_USER:
			break;
		}
		if (rank > best_rank && (rank > 1 ||
			!ff_remote_in_rseq(thread->tid, thread->arch))) {
			best = thread;
			best_rank = rank;
		}
	}
	return best;
}

/* An earlier fenceferry may have brought it: it is one of few places. */
static uint64_t find_old_stub(const struct ff_patient *patient)
{
	const struct ff_vmas *vmas = &patient->survey.vmas;

	for (size_t i = 0; i < vmas->count; i++) {
		const struct ff_vma *vma = &vmas->vmas[i];

		if (vma->flags == (FF_VMA_READ | FF_VMA_EXEC) && !vma->ino &&
			vma->end - vma->start == FF_STUB_CODE_SIZE &&
			ff_remote_has_stub(patient->pid, patient->thread->arch,
				vma->start))
			return vma->start;
	}
	return 0;
}

/* It may have been inherited by fork, at the same address. */
static bool find_stub(struct ff_patient *patient, struct ff_stubs *stubs)
{
	for (size_t i = 0; i < FF_STUBS_MAX; i++) {
		uint64_t base = stubs->places[i].base;

		if (!stubs->places[i].pid || !ff_remote_has_stub(patient->pid, patient->thread->arch,
				base))
			continue;
		patient->base = base;
		remember_stub(stubs, patient->pid, base);
		return true;
	}
	return false;
}

static int get_stub(struct ff_patient *patient, struct ff_stubs *stubs,
	uint64_t deadline_ns, struct ff_error *error)
{
	const struct ff_stub_place *place = find_place(stubs, patient->pid);
	int err;

	if (place && ff_remote_has_stub(patient->pid, patient->thread->arch,
			place->base)) {
		patient->base = place->base;
		return 0;
	}
	if (find_stub(patient, stubs))
		return 0;
	patient->base = find_old_stub(patient);
	if (patient->base) {
		remember_stub(stubs, patient->pid, patient->base);
		return 0;
	}
	err = ff_remote_bring_stub(&patient->hold, patient->thread,
		&patient->survey.vmas, deadline_ns, &patient->base, error);
	if (err)
		return err;
	remember_stub(stubs, patient->pid, patient->base);
	/* The room for backups is not where the stub is now. */
	return ff_process_vmas(patient->pid, &patient->survey.vmas);
}

/* Take over description global into the process's own list. */
static size_t use_description(struct ff_patient *patient,
	const struct ff_files *files, size_t global)
{
	int source = files->files[global].source;

	for (size_t i = 0; i < patient->description_count; i++)
		if (patient->descriptions[i].source == source)
			return i;
	patient->descriptions[patient->description_count].source = source;
	return patient->description_count++;
}

static int number_fds(struct ff_patient *patient, struct ff_error *error)
{
	struct ff_survey *survey = &patient->survey;
	size_t count = patient->description_count + survey->fd_count, used = 0;
	int *numbers = calloc(count, sizeof(*numbers));
	int err;

	if (!numbers)
		return ff_fail(error, ENOMEM, "out of memory");
	err = ff_survey_free_fds(survey, patient->pid, numbers, count, error);
	for (size_t i = 0; !err && i < patient->description_count; i++)
		patient->descriptions[i].number = numbers[used++];
	for (size_t i = 0; !err && i < survey->fd_count; i++)
		survey->fds[i].backup = numbers[used++];
	free(numbers);
	return err;
}

static int place_backups(struct ff_patient *patient, struct ff_error *error)
{
	struct ff_survey *survey = &patient->survey;
	uint64_t size = 0, at;

	for (size_t i = 0; i < survey->map_count; i++) {
		size += survey->maps[i].vma.end - survey->maps[i].vma.start;
		if (survey->maps[i].pages && size > MAX_PRIVATE)
			return ff_fail(error, EFBIG, "pid %d has private copies "
				"of too much of the memfd", patient->pid);
	}
	if (!size)
		return 0;
	at = ff_remote_find_room(patient->thread->arch, &survey->vmas,
		2 * size);
	if (!at)
		return ff_fail(error, ENOMEM,
			"pid %d has no free range of addresses for %llu bytes",
			patient->pid, 2ull * size);
	for (size_t i = 0; i < survey->map_count; i++) {
		struct ff_swap_map *map = &survey->maps[i];

		map->backup = at;
		map->fresh = at + size;
		at += map->vma.end - map->vma.start;
	}
	return 0;
}

static int build(struct ff_patient *patient, const struct ff_files *files,
	int ticket, struct ff_error *error)
{
	struct ff_survey *survey = &patient->survey;
	struct ff_swap_plan plan = { .arch = patient->thread->arch };
	static struct ff_op ops[FF_STUB_MAX_OPS];
	size_t size;
	int err;

	patient->descriptions = calloc(files->count + 1,
		sizeof(*patient->descriptions));
	if (!patient->descriptions)
		return ff_fail(error, ENOMEM, "out of memory");
	for (size_t i = 0; i < survey->fd_count; i++)
		survey->fds[i].description = use_description(patient, files,
			survey->fds[i].description);
	for (size_t i = 0; i < survey->map_count; i++)
		survey->maps[i].description = use_description(patient, files,
			survey->maps[i].description);
	plan.ticket = ticket < 0 ? -1 :
		(int)use_description(patient, files, (size_t)ticket);
	err = number_fds(patient, error);
	if (!err)
		err = place_backups(patient, error);
	if (err)
		return err;
	plan.descriptions = patient->descriptions;
	plan.description_count = patient->description_count;
	plan.fds = survey->fds;
	plan.fd_count = survey->fd_count;
	plan.maps = survey->maps;
	plan.map_count = survey->map_count;
	patient->op_count = ff_program_build(&plan, ops, &patient->commit);
	if (patient->op_count < 0)
		return ff_fail(error, E2BIG, "pid %d has too many fds and "
			"mappings of the memfd", patient->pid);
	size = (size_t)patient->op_count * sizeof(*ops);
	patient->ops = malloc(size);
	if (!patient->ops)
		return ff_fail(error, ENOMEM, "out of memory");
	memcpy(patient->ops, ops, size);
	return 0;
}

static uint64_t data_address(const struct ff_patient *patient)
{
	return patient->base + FF_STUB_CODE_SIZE;
}

uint64_t ff_patient_program(const struct ff_patient *patient)
{
	return data_address(patient) + FF_STUB_PROGRAM;
}

/* The program, and how the stub brings the carrier back without us. */
static int write_program(const struct ff_patient *patient,
	const struct ff_regs *resume, struct ff_error *error)
{
	struct ff_stub_resume words = { .sigmask = patient->carrier.sigmask };
	int err;

	patient->carrier.arch->fill_resume(&words, resume);
	err = ff_process_write(patient->pid, data_address(patient), &words,
		sizeof(words));
	if (!err)
		err = ff_process_write(patient->pid,
			ff_patient_program(patient), patient->ops,
			(size_t)patient->op_count * sizeof(*patient->ops));
	return err ? ff_fail(error, -err,
		"cannot write the program into pid %d: %s", patient->pid,
		strerror(-err)) : 0;
}

/* What a survey sees is the table of the leader: does each thread use it? */
static int check_fd_tables(const struct ff_hold *hold, struct ff_error *error)
{
	for (size_t i = 0; i < hold->count; i++) {
		pid_t tid = hold->threads[i].tid;

		if (hold->threads[i].state == FF_THREAD_HELD &&
			tid != hold->pid && syscall(SYS_kcmp, hold->pid, tid,
				KCMP_FILES, 0, 0) != 0)
			return ff_fail(error, EOPNOTSUPP, "thread %d does not "
				"share its fds with pid %d", tid, hold->pid);
	}
	return 0;
}

int ff_patient_board(struct ff_patient *patient, pid_t caller,
	struct ff_stubs *stubs, uint64_t deadline_ns, struct ff_error *error)
{
	int err = check_fd_tables(&patient->hold, error);

	if (err)
		return err;
	patient->thread = choose_carrier(&patient->hold, caller);
	if (!patient->thread)
		return ff_fail(error, EAGAIN,
			"pid %d has no thread that could carry calls of ours",
			patient->pid);
	return get_stub(patient, stubs, deadline_ns, error);
}

int ff_patient_load(struct ff_patient *patient, struct ff_error *error)
{
	struct ff_thread *thread = patient->thread;
	struct ff_regs resume;
	int err;

	patient->carrier.arch = thread->arch;
	patient->carrier.back = thread->regs;
	thread->arch->resume(&thread->regs, &resume);
	/* With the kernel's own restart, a pending signal would make a trapped
	 * call fail with EINTR. */
	if (thread->arch->in_trapped_call(&thread->regs))
		patient->carrier.back = resume;
	err = ff_remote_get_sigmask(thread->tid, &patient->carrier.sigmask);
	if (err)
		return ff_fail(error, -err, "pid %d is gone", patient->pid);
	err = write_program(patient, &resume, error);
	return err ? err : FF_FAULT() ?
		ff_fail(error, EIO, "injected fault") : 0;
}

int ff_patient_prepare(struct ff_patient *patient, pid_t caller,
	struct ff_stubs *stubs, const struct ff_files *files, int ticket,
	uint64_t deadline_ns, struct ff_error *error)
{
	int err = ff_patient_board(patient, caller, stubs, deadline_ns, error);

	if (!err)
		err = build(patient, files, ticket, error);
	return err ? err : ff_patient_load(patient, error);
}

void ff_patient_start(struct ff_patient *patient)
{
	struct ff_thread *thread = patient->thread;
	struct ff_regs regs = thread->regs;

	patient->carrier.tid = thread->tid;
	/* Registers first: if we die in between, the stub runs with signals
	 * unblocked, finds nobody and goes back. */
	thread->arch->enter_stub(&regs, patient->base);
	ff_remote_set_regs(thread->tid, thread->arch, &regs);
	FF_FAULT();
	ff_remote_set_sigmask(thread->tid, UINT64_MAX);
	FF_FAULT();
	ptrace(PTRACE_CONT, thread->tid, 0, 0);
}

/* A leader is not reported before the last of its threads, which are ours to
 * reap; but it is seen. */
static bool is_zombie(pid_t tid)
{
	struct ff_status status;

	return ff_process_status(tid, &status) < 0 || status.state == 'Z' ||
		status.state == 'X';
}

void ff_patient_check(struct ff_patient *patient)
{
	siginfo_t info = { 0 };
	id_t tid = (id_t)patient->carrier.tid;
	int sig;

	if (patient->over)
		return;
	if (ff_thread_ended(patient->carrier.tid) ||
		is_zombie(patient->carrier.tid)) {
		patient->over = true;
		return;
	}
	if (waitid(P_PID, tid, &info, WSTOPPED | WNOHANG | __WALL) < 0 ||
		!info.si_pid)
		return;
	/* Of what cannot be blocked, SIGSTOP: the others stop, and so will the
	 * carrier when it is let go. In a group stop it runs on for us. */
	sig = info.si_status >> 8 ? 0 : info.si_status & 0x7f;
	ptrace(PTRACE_CONT, patient->carrier.tid, 0,
		sig == SIGSTOP ? sig : 0);
}

int ff_patient_judge(struct ff_patient *patient, bool *told,
	struct ff_error *error)
{
	const char *what = "";
	int err;

	if (patient->over)
		return 0;
	err = ff_process_read(patient->pid,
		ff_patient_program(patient), patient->ops,
		(size_t)patient->op_count * sizeof(*patient->ops));
	if (err)
		return ff_fail(error, -err, "pid %d is gone", patient->pid);
	err = ff_program_result(patient->carrier.arch, patient->ops,
		patient->commit, &what);
	*told = err == FF_TOLD_TO_GO_BACK;
	return err ? ff_fail(error, -err, "%s in pid %d: %s", what,
		patient->pid, strerror(-err)) : 0;
}

/* The mask first: should we die in between, the stub's end still brings it
 * back, and all it needs then is on its own data. */
static void bring_back(struct ff_patient *patient)
{
	struct ff_thread *thread = patient->thread;
	const struct ff_carrier *carrier = &patient->carrier;

	if (ff_hold_stop_thread(&patient->hold, thread,
			ff_now_ns() + BACK_MS * 1000000ull, NULL) < 0)
		return; /* the stub itself will bring it back */
	FF_FAULT();
	ff_remote_set_sigmask(thread->tid, carrier->sigmask);
	FF_FAULT();
	ff_remote_set_regs(thread->tid, carrier->arch, &carrier->back);
}

void ff_patient_release(struct ff_patient *patient)
{
	if (patient->carrier.tid && !patient->over) {
		if (patient->call.bell == FF_BELL_DONE)
			bring_back(patient);
		else /* it is for the stub to end what it began */
			patient->thread->state = FF_THREAD_SEIZED;
	}
	FF_FAULT();
	ff_hold_release(&patient->hold);
}

void ff_patient_free(struct ff_patient *patient)
{
	ff_hold_free(&patient->hold);
	ff_survey_free(&patient->survey);
	free(patient->descriptions);
	free(patient->ops);
}
