/* SPDX-License-Identifier: MIT */
/* A real filter in a real process, and every answer that run gives. */
#include "compat.h"
#include "doctor-checkup.h"
#include "filter.h"
#include "notify.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { PATIENCE_MS = 10000, VALUE = 42, FIRST_NUMBER = 20 };

/* What a trapped call can be answered with, in this order. */
enum { GO_ON, A_VALUE, A_FD, A_FD_IN_ONE_STEP, ANSWERS };

/* Shared with the subject. */
struct trial {
	int listener; /* its fd number there, or -errno */
	bool gave_up_privileges;
	struct ff_error error;
	bool is_well[ANSWERS]; /* as the subject found it */
	int answered[ANSWERS]; /* 0 or -errno */
};

static bool check_answer(int answer, long result, int err)
{
	switch (answer) {
	case GO_ON:
		return result < 0 && err == EBADF;
	case A_VALUE:
		return result == VALUE;
	default:
		return result == FIRST_NUMBER + answer &&
			fcntl((int)result, F_GETFD) == FD_CLOEXEC;
	}
}

/* The subject: by write and read, which are not trapped. */
static void be_trapped(int channel, void *context)
{
	const struct ff_filter_options options = {
		.memfds = true,
		.own_filters = true,
	};
	int had_privileges = !prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
	struct trial *trial = context;
	char go;

	prctl(PR_SET_DUMPABLE, 1, 0, 0, 0); /* as run does */
	trial->listener = ff_filter_install(&options, &trial->error);
	trial->gave_up_privileges = had_privileges &&
		prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
	if (write(channel, "r", 1) != 1 || read(channel, &go, 1) != 1)
		return;
	for (int i = 0; i < ANSWERS; i++) {
		long result = i < A_FD ? syscall(SYS_sendmsg, -1, NULL, 0) :
			syscall(SYS_memfd_create, "xshmfence", MFD_CLOEXEC);

		trial->is_well[i] = check_answer(i, result, errno);
	}
	if (write(channel, "d", 1) != 1)
		return;
}

static int give_fd(int listener, uint64_t id, int answer)
{
	struct seccomp_notif_addfd add = {
		.id = id,
		.flags = SECCOMP_ADDFD_FLAG_SETFD |
			(answer == A_FD_IN_ONE_STEP ?
				(uint32_t)SECCOMP_ADDFD_FLAG_SEND : 0),
		.srcfd = (uint32_t)listener, /* any will do */
		.newfd = (uint32_t)(FIRST_NUMBER + answer),
		.newfd_flags = O_CLOEXEC,
	};

	if (ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &add) < 0)
		return -errno;
	return answer == A_FD_IN_ONE_STEP ? 0 :
		ff_notify_answer(listener, id, FIRST_NUMBER + answer, 0);
}

static int give_answer(int listener, uint64_t id, int answer)
{
	int err;

	if (answer == GO_ON)
		return ff_notify_continue(listener, id);
	if (answer == A_VALUE)
		return ff_notify_answer(listener, id, VALUE, 0);
	err = give_fd(listener, id, answer);
	if (err)
		ff_notify_answer(listener, id, 0, ENOSYS);
	return err;
}

/* Answer its calls, and wait for its verdict. */
static void answer_all(struct trial *trial, int listener, int channel)
{
	struct pollfd fd = { .fd = listener, .events = POLLIN };
	char done;

	for (int i = 0; i < ANSWERS; i++)
		trial->answered[i] = -ETIMEDOUT;
	if (write(channel, "g", 1) != 1)
		return;
	for (int i = 0; i < ANSWERS; i++) {
		struct ff_notification call;

		if (poll(&fd, 1, PATIENCE_MS) <= 0)
			return;
		trial->answered[i] = ff_notify_receive(listener, &call);
		if (trial->answered[i])
			return;
		trial->answered[i] = give_answer(listener, call.id, i);
	}
	fd = (struct pollfd){ .fd = channel, .events = POLLIN };
	if (poll(&fd, 1, PATIENCE_MS) > 0 && read(channel, &done, 1) == 1)
		return;
	memset(trial->is_well, 0, sizeof(trial->is_well));
}

/* "Function not implemented", or what else there is to say. */
static const char *why(const struct trial *trial, int answer)
{
	return trial->answered[answer] ? strerror(-trial->answered[answer]) :
					 "it does not come through";
}

static bool is_well(const struct trial *trial, int answer)
{
	return !trial->answered[answer] && trial->is_well[answer];
}

static void tell_answers(struct ff_checkup *checkup, const struct trial *trial)
{
	struct ff_finding *finding;
	int plain = is_well(trial, GO_ON) ? A_VALUE : GO_ON;

	if (is_well(trial, plain))
		ff_find(checkup, "seccomp answers", FF_FOR_RUN, FF_OK,
			"trapped calls go on or are answered");
	else {
		finding = ff_find(checkup, "seccomp answers", FF_FOR_RUN,
			FF_MISSING, "trapped calls cannot be answered");
		ff_tell(finding->reason, "%s", why(trial, plain));
		ff_tell(finding->way_out, "Linux 5.5 or newer is needed");
	}
	if (is_well(trial, A_FD_IN_ONE_STEP))
		ff_find(checkup, "answers with an fd", FF_FOR_RUN, FF_OK,
			"in one step");
	else if (is_well(trial, A_FD)) {
		finding = ff_find(checkup, "answers with an fd", FF_FOR_RUN,
			FF_DEGRADED, "in two steps: a signal can come between");
		ff_tell(finding->reason, "%s", why(trial, A_FD_IN_ONE_STEP));
		ff_tell(finding->way_out, "Linux 5.14 or newer has them");
	} else {
		finding = ff_find(checkup, "answers with an fd", FF_FOR_RUN,
			FF_MISSING, "no fd can be given to a client");
		ff_tell(finding->reason, "%s", why(trial, A_FD));
		if (trial->answered[A_FD] == -EINVAL ||
			trial->answered[A_FD] == -ENOTTY)
			ff_tell(finding->way_out,
				"Linux 5.9 or newer is needed");
	}
}

/* Costs time only: no use suffers. */
static void tell_wake_up(struct ff_checkup *checkup, int listener)
{
	struct ff_finding *finding;

	if (ioctl(listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS,
		SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP) == 0) {
		ff_find(checkup, "seccomp hand-over", FF_FOR_NOBODY, FF_OK,
			"client and supervisor switch on one processor");
		return;
	}
	finding = ff_find(checkup, "seccomp hand-over", FF_FOR_NOBODY,
		FF_DEGRADED, "a trapped call takes some 20 us more");
	ff_tell(finding->reason, "no synchronous wake-up: %s",
		strerror(errno));
	ff_tell(finding->way_out, "Linux 6.6 or newer has it");
}

/* As run takes it from its child. */
static void try_listener(struct ff_checkup *checkup, struct trial *trial,
	pid_t subject, int channel)
{
	int pidfd = pidfd_open(subject, 0);
	int listener = pidfd < 0 ? -1 :
		pidfd_getfd(pidfd, trial->listener, 0);
	struct ff_finding *finding;

	if (listener < 0) {
		finding = ff_find(checkup, "pidfd_getfd", FF_FOR_RUN,
			FF_MISSING, "a child's fd cannot be had");
		ff_tell(finding->reason, "%s", strerror(errno));
		ff_tell(finding->way_out, "Linux 5.6 or newer, and "
			"kernel.yama.ptrace_scope below 2, are needed");
	} else {
		ff_find(checkup, "pidfd_getfd", FF_FOR_RUN, FF_OK,
			"a child's fd can be had");
		tell_wake_up(checkup, listener);
		answer_all(trial, listener, channel);
		tell_answers(checkup, trial);
		close(listener);
	}
	if (pidfd >= 0)
		close(pidfd);
}

static void tell_listener(struct ff_checkup *checkup,
	const struct trial *trial)
{
	struct ff_finding *finding;

	if (trial->listener < 0) {
		ff_find_error(checkup, "seccomp listener", FF_FOR_RUN,
			FF_MISSING, "no filter can be installed",
			&trial->error);
		return;
	}
	finding = ff_find(checkup, "seccomp listener", FF_FOR_RUN, FF_OK,
		"a filter was installed, and notifies");
	if (trial->gave_up_privileges) {
		ff_tell(finding->reason, "by no_new_privs: setuid programs "
			"that a client starts gain nothing");
		ff_tell(finding->way_out, "run as root where they must");
	}
}

void ff_examine_listener(struct ff_checkup *checkup)
{
	struct trial *trial = ff_share(sizeof(*trial));
	char ready;
	int channel;
	pid_t subject = ff_subject_start(be_trapped, trial, &channel);

	if (subject < 0 || read(channel, &ready, 1) != 1)
		_exit(1);
	tell_listener(checkup, trial);
	if (trial->listener >= 0)
		try_listener(checkup, trial, subject, channel);
	ff_subject_end(subject, channel);
}
