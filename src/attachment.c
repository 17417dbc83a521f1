/* SPDX-License-Identifier: MIT */
#include "attachment.h"

#include <errno.h>
#include <sys/socket.h>

static bool is_left_out(const struct ff_attachment *attachment, pid_t tid)
{
	struct ff_status status;

	if (ff_process_status(tid, &status) < 0)
		return false;
	for (pid_t pid = status.tgid; pid > 1; pid = status.parent)
		if (ff_ids_has(attachment->left, pid))
			return true;
		else if (ff_ids_has(attachment->done, pid) ||
			ff_process_status(pid, &status) < 0)
			return false;
	return false;
}

int ff_attachment_may_hold(const struct ff_attachment *attachment, pid_t tid,
	struct ff_error *error)
{
	if (!attachment || !attachment->left->count ||
		!is_left_out(attachment, tid))
		return 0;
	return ff_fail(error, EPERM, "thread %d is of a process that was left "
		"out", tid);
}

void ff_attachment_end(const struct ff_attachment *attachment,
	const struct ff_listeners *listeners, bool all_answered)
{
	for (size_t i = 0; all_answered && i < listeners->count; i++)
		listeners->all[i].legacy->last_received = 0;
	if (attachment->keeper_fd >= 0)
		shutdown(attachment->keeper_fd, SHUT_RDWR);
}
