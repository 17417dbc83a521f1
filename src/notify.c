/* SPDX-License-Identifier: MIT */
#include "compat.h"
#include "notify.h"
#include "tick.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>

/* How long is waited for a notification that is not there. */
#define LOST_US 100

/* The kernel's structures may be larger than our header's. */
union request {
	struct seccomp_notif notif;
	char room[512];
};

void ff_notify_tune(int listener)
{
	ioctl(listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS,
		SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP);
}

int ff_notify_receive(int listener, struct ff_notification *notification)
{
	union request request;

	memset(&request, 0, sizeof(request)); /* 5.5 wants it zeroed */
	if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &request.notif) < 0)
		return -errno;
	*notification = (struct ff_notification){
		.listener = listener,
		.id = request.notif.id,
		.tid = (pid_t)request.notif.pid,
		.data = request.notif.data,
	};
	return 0;
}

/* Then receiving fails so for ever. */
static bool has_hung_up(int listener)
{
	struct pollfd fd = { .fd = listener };

	return poll(&fd, 1, 0) > 0 && fd.revents & POLLHUP;
}

bool ff_notify_count_lost(int listener, unsigned int *lost,
	struct ff_notification *notification)
{
	int err;

	*lost = 0;
	ff_tick(LOST_US);
	while ((err = ff_notify_receive(listener, notification)) == -ENOENT &&
		!has_hung_up(listener))
		++*lost;
	ff_tick(0);
	return err == 0;
}

/* The kernel takes its lock interruptibly, and a tick is no answer. */
static int insist(int listener, unsigned long request, void *argument)
{
	int result;

	do {
		result = ioctl(listener, request, argument);
	} while (result < 0 && errno == EINTR);
	return result < 0 ? -errno : result;
}

bool ff_notify_alive(int listener, uint64_t id)
{
	return insist(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &id) == 0;
}

static int send_response(int listener, uint64_t id, int64_t value, int error,
	uint32_t flags)
{
	struct seccomp_notif_resp response = {
		.id = id,
		.val = value,
		.error = -error,
		.flags = flags,
	};

	return insist(listener, SECCOMP_IOCTL_NOTIF_SEND, &response);
}

int ff_notify_continue(int listener, uint64_t id)
{
	return send_response(listener, id, 0, 0,
		SECCOMP_USER_NOTIF_FLAG_CONTINUE);
}

int ff_notify_answer(int listener, uint64_t id, int64_t value, int error)
{
	return send_response(listener, id, error ? 0 : value, error, 0);
}

int ff_notify_add_fd(int listener, uint64_t id, int source, bool cloexec)
{
	struct seccomp_notif_addfd add = {
		.id = id,
		.srcfd = (uint32_t)source,
		.newfd_flags = cloexec ? O_CLOEXEC : 0,
	};

	return insist(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &add);
}

int ff_notify_answer_fd(int listener, uint64_t id, int source, int number)
{
	struct seccomp_notif_addfd add = {
		.id = id,
		.flags = SECCOMP_ADDFD_FLAG_SETFD | SECCOMP_ADDFD_FLAG_SEND,
		.srcfd = (uint32_t)source,
		.newfd = (uint32_t)number,
		.newfd_flags = O_CLOEXEC,
	};
	sigset_t all, mask;
	int err;

	/* Interrupted while the notifier takes it, it would be answered with 0
	 * and without the fd. */
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &mask);
	err = insist(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &add);
	if (err == -EINVAL) {
		add.flags = SECCOMP_ADDFD_FLAG_SETFD;
		err = insist(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &add);
		if (err >= 0)
			err = ff_notify_answer(listener, id, number, 0);
	}
	sigprocmask(SIG_SETMASK, &mask, NULL);
	return err < 0 ? err : 0;
}
