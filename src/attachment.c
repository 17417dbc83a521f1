/* SPDX-License-Identifier: MIT */
#include "attachment.h"

#include <errno.h>
#include <stdbool.h>

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
