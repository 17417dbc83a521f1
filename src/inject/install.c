/* SPDX-License-Identifier: MIT */
#include "inject/install.h"

#include "clock.h"
#include "fault.h"
#include "inject/patient.h"
#include "inject/vfork.h"
#include "notify.h"
#include "tick.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <unistd.h>

/* How long threads may take to stop, the carrier for its program, and a child
 * in vfork to execute. */
#define STOP_MS 1000
#define PROGRAM_MS 2000
#define VFORK_MS 500

/* How often is looked whether the carrier has called seccomp. */
#define LOOK_US 100

#define CAN_SYS_ADMIN (1ull << 21) /* CAP_SYS_ADMIN */

/* In a result: the call was not made yet. No call has this result. */
#define NOT_YET 0x5afe5afeu

/* What the bells of the program have as fourth argument. */
enum { AS_FORESEEN, OTHERWISE };

struct surgery {
	struct ff_install *install;
	struct ff_patient patient;
	struct ff_op ops[8];
	size_t seccomp_op, other_close; /* indices in ops */
	int number; /* what the listener's will be in the process */
	int listener; /* ours; -1: none */
	int pidfd;
	bool announced;
	uint64_t stop_ns; /* when threads began to be stopped */
	_Atomic uint64_t *last_received; /* to be filled */
	struct ff_error *error;
};

/* Is it under filters that we know nothing of? They may kill it for our calls,
 * and only root can read them. */
static int judge_filters(struct surgery *s, pid_t tid)
{
	struct sock_filter code[BPF_MAXINSNS];
	struct ff_install *install = s->install;
	struct ff_status status;
	long length;

	if (ff_process_status(tid, &status) < 0 || status.seccomp == 0 ||
		(status.seccomp_filters &&
			status.seccomp_filters <= install->filters))
		return 0;
	for (unsigned int i = 0;; i++) {
		length = ptrace(PTRACE_SECCOMP_GET_FILTER, tid, i, code);
		if (length < 0 && errno == ENOENT && i > 0)
			return 0; /* that was the last one */
		if (length < 0)
			return ff_fail(s->error, EOPNOTSUPP, "pid %d is under a "
				"seccomp filter of its own, which may kill it "
				"for our calls, and cannot be read: %s (root "
				"can)", install->pid, strerror(errno));
		if (!install->ops->may_live(install->ops->context, code,
				(size_t)length))
			return ff_fail(s->error, EOPNOTSUPP, "pid %d is under a "
				"seccomp filter of its own that would kill it "
				"for our calls (start it with fenceferry run)",
				install->pid);
	}
}

/*
 * TSYNC gives all threads the filters that the caller is under: to one that is
 * under fewer, those that it was to be spared.
 */
static int compare_filters(struct surgery *s, pid_t tid, unsigned int *count,
	bool first)
{
	struct ff_status status;

	if (ff_process_status(tid, &status) < 0)
		return 0; /* it has ended */
	if (first)
		*count = status.seccomp_filters;
	return status.seccomp_filters == *count ? 0 :
		ff_fail(s->error, EOPNOTSUPP, "threads of pid %d are under "
			"different seccomp filters, and cannot be put under "
			"one more together", s->install->pid);
}

static int judge_all_filters(struct surgery *s)
{
	const struct ff_hold *hold = &s->patient.hold;
	unsigned int count = 0;
	bool first = true;
	int err = 0;

	for (size_t i = 0; !err && i < hold->count; i++) {
		if (hold->threads[i].state != FF_THREAD_HELD)
			continue;
		err = judge_filters(s, hold->threads[i].tid);
		if (!err)
			err = compare_filters(s, hold->threads[i].tid, &count,
				first);
		first = false;
	}
	return err;
}

/* The kernel takes the lowest free number, and all threads are held. */
static int foresee_number(struct surgery *s)
{
	pid_t pid = s->install->pid;
	struct rlimit limit = { .rlim_cur = RLIM_INFINITY };
	struct ff_ids fds = { 0 };
	int err = ff_process_fds(pid, &fds);

	s->number = 0;
	while (err >= 0 && ff_ids_has(&fds, s->number))
		s->number++;
	ff_ids_free(&fds);
	if (err < 0)
		return ff_fail(s->error, -err, "cannot see the fds of pid %d: "
			"%s", pid, strerror(-err));
	if (prlimit(pid, RLIMIT_NOFILE, NULL, &limit) == 0 &&
		(rlim_t)s->number >= limit.rlim_cur)
		return ff_fail(s->error, EMFILE, "pid %d has no fd free, and "
			"needs one for a moment (raise its RLIMIT_NOFILE: "
			"prlimit --nofile=N --pid %d)", pid, pid);
	return 0;
}

#define ARGS(...) ((const uint64_t[6]){ __VA_ARGS__ })

static void add(struct surgery *s, enum ff_syscall call,
	const uint64_t args[6], uint64_t want, size_t next, size_t on_fail)
{
	struct ff_patient *patient = &s->patient;
	struct ff_op *op = &s->ops[patient->op_count++];

	*op = (struct ff_op){
		.nr = (uint64_t)patient->thread->arch->syscalls[call],
		.want = want,
		.result = NOT_YET,
		.next = next ? (uint32_t)(next * sizeof(*op)) : FF_OP_END,
		.on_fail = on_fail ? (uint32_t)(on_fail * sizeof(*op)) :
				     FF_OP_END,
	};
	memcpy(op->args, args, sizeof(op->args));
}

/*
 * What the kernel wants of who has no CAP_SYS_ADMIN; then the filter, a bell to
 * wait in, and its listener closed. Should that have another number than was
 * foreseen, since another process uses the same fds, the same with that.
 */
static void build(struct surgery *s, bool no_new_privs)
{
	const size_t first = no_new_privs;
	const uint64_t flags = SECCOMP_FILTER_FLAG_NEW_LISTENER |
		SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_TSYNC_ESRCH |
		SECCOMP_FILTER_FLAG_SPEC_ALLOW;
	const uint64_t number = (uint64_t)s->number;
	const uint64_t program = ff_patient_program(&s->patient) +
		sizeof(s->ops);

	s->patient.op_count = 0;
	if (no_new_privs)
		add(s, FF_SYS_PRCTL, ARGS(PR_SET_NO_NEW_PRIVS, 1), 0, first,
			first);
	add(s, FF_SYS_SECCOMP, ARGS(SECCOMP_SET_MODE_FILTER, flags, program),
		number, first + 1, first + 3);
	add(s, FF_SYS_SENDMSG, ARGS((uint64_t)-1, FF_BELL_LISTENER, 0,
		AS_FORESEEN), 0, first + 2, first + 2);
	add(s, FF_SYS_CLOSE, ARGS(number), 0, 0, 0);
	add(s, FF_SYS_SENDMSG, ARGS((uint64_t)-1, FF_BELL_LISTENER, 0,
		OTHERWISE), 0, first + 4, first + 4);
	add(s, FF_SYS_CLOSE, ARGS((uint64_t)-1), 0, 0, 0);
	s->seccomp_op = first;
	s->other_close = first + 4;
}

/* The filter goes behind the program: struct sock_fprog as its ABI has it. */
static int write_filter(struct surgery *s)
{
	const struct ff_install *install = s->install;
	const uint64_t at = ff_patient_program(&s->patient) + sizeof(s->ops);
	struct {
		uint16_t length;
		uint16_t pad[3];
		uint64_t filter;
	} program = { (uint16_t)install->length, { 0 }, at + 16 };
	struct {
		uint16_t length;
		uint16_t pad;
		uint32_t filter;
	} program32 = { program.length, 0, (uint32_t)program.filter };
	int err;

	if (s->patient.thread->arch->word == 4)
		err = ff_process_write(install->pid, at, &program32,
			sizeof(program32));
	else
		err = ff_process_write(install->pid, at, &program,
			sizeof(program));
	if (!err)
		err = ff_process_write(install->pid, at + 16, install->code,
			install->length * sizeof(*install->code));
	return err ? ff_fail(s->error, -err, "cannot write the filter into pid "
		"%d: %s", install->pid, strerror(-err)) : 0;
}

/* Everything up to the program, from which on there is only forwards. */
static int prepare(struct surgery *s)
{
	struct ff_install *install = s->install;
	struct ff_patient *patient = &s->patient;
	uint64_t deadline_ns = ff_now_ns() + STOP_MS * 1000000ull;
	struct ff_status status;
	int err;

	err = ff_vfork_await(install->pid, install->ops->processes,
		install->ops->idle, install->ops->context,
		ff_now_ns() + VFORK_MS * 1000000ull, s->error);
	if (!err)
		err = ff_hold_seize(&patient->hold, install->pid, s->error);
	s->stop_ns = ff_now_ns();
	if (!err)
		err = ff_hold_stop(&patient->hold, deadline_ns, s->error);
	if (!err && FF_FAULT())
		err = ff_fail(s->error, EIO, "injected fault");
	if (!err)
		err = judge_all_filters(s);
	if (!err)
		err = foresee_number(s);
	if (err)
		return err;
	err = ff_process_vmas(install->pid, &patient->survey.vmas);
	if (err)
		return ff_fail(s->error, -err, "cannot see the mappings of pid "
			"%d: %s", install->pid, strerror(-err));
	err = ff_patient_board(patient, 0, install->stubs, deadline_ns,
		s->error);
	if (err)
		return err;
	err = ff_process_status(patient->thread->tid, &status);
	if (err)
		return ff_fail(s->error, -err, "pid %d is gone", install->pid);
	install->set_no_new_privs = !status.no_new_privs &&
		!(status.capabilities & CAN_SYS_ADMIN);
	build(s, install->set_no_new_privs);
	patient->ops = malloc(sizeof(s->ops));
	if (!patient->ops)
		return ff_fail(s->error, ENOMEM, "out of memory");
	memcpy(patient->ops, s->ops, sizeof(s->ops));
	err = write_filter(s);
	return err ? err : ff_patient_load(patient, s->error);
}

/* Why was there no listener? */
static int explain(struct surgery *s, int err)
{
	pid_t pid = s->install->pid;

	switch (err) {
	case EBUSY:
		s->install->has_listener = true;
		return ff_fail(s->error, err, "pid %d is under a seccomp "
			"filter with a listener already, and the kernel allows "
			"one", pid);
	case ESRCH:
		return ff_fail(s->error, EOPNOTSUPP, "threads of pid %d are "
			"under different seccomp filters, and cannot be put "
			"under one more together", pid);
	case ENOSYS:
		return ff_fail(s->error, EOPNOTSUPP, "pid %d is under a seccomp "
			"filter whose listener is gone, so that the calls it "
			"traps fail with ENOSYS (start the client anew)", pid);
	case EINVAL:
		return ff_fail(s->error, EOPNOTSUPP, "this kernel cannot put "
			"all threads of a process under a filter with a "
			"listener (Linux 5.7 or newer is needed)");
	case EPERM: case EACCES:
		return ff_fail(s->error, EOPNOTSUPP, "pid %d may not install a "
			"seccomp filter: %s (does a container forbid "
			"seccomp(2)?)", pid, strerror(err));
	default:
		return ff_fail(s->error, err, "cannot install the seccomp "
			"filter in pid %d: %s", pid, strerror(err));
	}
}

bool ff_install_result(pid_t pid, uint64_t at, int *result)
{
	uint32_t word; /* enough of it in all ABIs */

	if (ff_process_read(pid, at, &word, sizeof(word)) < 0 ||
		word == NOT_YET)
		return false;
	*result = (int)word;
	return true;
}

/* Where the carrier's seccomp call leaves it. */
static uint64_t result_address(const struct surgery *s)
{
	return ff_patient_program(&s->patient) +
		s->seccomp_op * sizeof(struct ff_op) +
		offsetof(struct ff_op, result);
}

/* The carrier runs: wait until there is a listener, and take it. */
static int take_listener(struct surgery *s)
{
	uint64_t deadline_ns = ff_now_ns() + PROGRAM_MS * 1000000ull;
	int result;

	while (!ff_install_result(s->install->pid, result_address(s),
			&result)) {
		ff_patient_check(&s->patient);
		if (s->patient.over) {
			s->install->is_left_alone = false;
			return ff_fail(s->error, ESRCH, "pid %d is gone",
				s->install->pid);
		}
		if (ff_now_ns() > deadline_ns)
			return ff_fail(s->error, ETIMEDOUT, "pid %d did not "
				"call seccomp in time", s->install->pid);
		usleep(LOOK_US);
		s->install->ops->idle(s->install->ops->context);
	}
	s->install->is_left_alone = result >= 0;
	if (result < 0)
		return explain(s, -result);
	if (FF_FAULT())
		result = -1; /* then there is no such fd */
	s->listener = pidfd_getfd(s->pidfd, result, 0);
	if (s->listener < 0)
		return ff_fail(s->error, errno, "cannot get the seccomp "
			"listener from pid %d: %s", s->install->pid,
			strerror(errno));
	FF_FAULT();
	s->number = result;
	return 0;
}

/* Its number was not foreseen: tell the program what to close. */
static void correct_close(struct surgery *s)
{
	const uint64_t at = ff_patient_program(&s->patient) +
		s->other_close * sizeof(struct ff_op) +
		offsetof(struct ff_op, args);
	const uint64_t number = (uint64_t)s->number;

	ff_process_write(s->install->pid, at, &number, sizeof(number));
}

/* A call that was trapped by the new filter: 1 if it was the last bell. */
static int on_call(struct surgery *s, const struct ff_notification *n)
{
	const struct ff_arch *arch = s->patient.carrier.arch;

	*s->last_received = n->id;
	FF_FAULT();
	if (n->tid != s->patient.carrier.tid ||
		n->data.nr != arch->syscalls[FF_SYS_SENDMSG] ||
		(int)n->data.args[0] != -1) {
		ff_notify_continue(s->listener, n->id);
		return 0;
	}
	if (n->data.args[1] == FF_BELL_DONE) {
		s->patient.call = (struct ff_bell_call){
			.tid = n->tid, .id = n->id, .bell = FF_BELL_DONE,
		};
		return 1;
	}
	if (n->data.args[1] == FF_BELL_LISTENER &&
		n->data.args[3] == OTHERWISE)
		correct_close(s);
	FF_FAULT();
	ff_notify_answer(s->listener, n->id, 0, 0);
	FF_FAULT();
	return 0;
}

/* With the listener in good hands, the carrier through the rest. */
static int finish(struct surgery *s)
{
	uint64_t deadline_ns = ff_now_ns() + PROGRAM_MS * 1000000ull;

	for (;;) {
		struct pollfd fd = { .fd = s->listener, .events = POLLIN };
		struct ff_notification n;

		if (poll(&fd, 1, FF_TICK_MS) > 0 && fd.revents & POLLIN) {
			if (ff_notify_receive(s->listener, &n) == 0 &&
				on_call(s, &n))
				return 0;
			continue;
		}
		ff_patient_check(&s->patient);
		if (s->patient.over || fd.revents & POLLHUP)
			return ff_fail(s->error, ESRCH, "pid %d is gone",
				s->install->pid);
		if (ff_now_ns() > deadline_ns)
			return ff_fail(s->error, ETIMEDOUT, "the carrier in "
				"pid %d did not finish in time",
				s->install->pid);
		s->install->ops->idle(s->install->ops->context);
	}
}

static int operate(struct surgery *s)
{
	const struct ff_install_ops *ops = s->install->ops;
	int err, kept;

	err = prepare(s);
	if (err)
		return err;
	s->pidfd = pidfd_open(s->install->pid, 0);
	if (s->pidfd < 0)
		return ff_fail(s->error, errno, "pid %d is gone",
			s->install->pid);
	ops->announce(ops->context, s->install->pid, s->patient.thread->tid,
		result_address(s));
	s->announced = true;
	if (FF_FAULT())
		return ff_fail(s->error, EIO, "injected fault");
	ff_patient_start(&s->patient);
	FF_FAULT();
	s->install->is_left_alone = true;
	err = take_listener(s);
	if (err)
		return err;
	/* Whoever shall answer from now on must have it before the carrier
	 * goes on. What we use here is a duplicate. */
	kept = dup(s->listener);
	if (kept < 0)
		return ff_fail(s->error, errno, "cannot duplicate the listener "
			"of pid %d: %s", s->install->pid, strerror(errno));
	s->last_received = ops->keep(ops->context, s->install->pid, kept);
	s->install->is_left_alone = false;
	FF_FAULT();
	return finish(s);
}

int ff_install(struct ff_install *install, struct ff_error *error)
{
	struct ff_error ignored;
	struct surgery s = {
		.install = install,
		.patient = { .pid = install->pid },
		.listener = -1,
		.pidfd = -1,
		.error = error ? error : &ignored,
	};
	int err;

	install->has_listener = install->set_no_new_privs = false;
	install->is_left_alone = false;
	s.patient.hold.idle = install->ops->idle;
	s.patient.hold.context = install->ops->context;
	ff_fault_begin(install->pid);
	ff_tick(FF_TICK_MS * 1000);
	err = operate(&s);
	install->threads = s.patient.hold.count;
	ff_patient_release(&s.patient);
	install->stopped_ns = ff_now_ns() - s.stop_ns;
	ff_tick(0);
	/* Only now does nobody depend on us. */
	if (s.announced && !install->is_left_alone)
		install->ops->announce(install->ops->context, 0, 0, 0);
	ff_patient_free(&s.patient);
	if (s.listener >= 0)
		close(s.listener);
	if (s.pidfd >= 0)
		close(s.pidfd);
	return err;
}
