/* SPDX-License-Identifier: MIT */
#include "inject/vfork.h"

#include "clock.h"

#include <errno.h>
#include <linux/kcmp.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The one of *pids that runs in the memory of pid, 0 if there is none. */
static pid_t find_borrower(const struct ff_ids *pids, pid_t pid)
{
	for (size_t i = 0; i < pids->count; i++) {
		struct ff_status status;

		/* The dead are alike in having no memory. */
		if (pids->ids[i] != pid && syscall(SYS_kcmp, pid, pids->ids[i],
						   KCMP_VM, 0, 0) == 0 &&
			ff_process_status(pids->ids[i], &status) == 0 &&
			status.state != 'Z' && status.state != 'X')
			return pids->ids[i];
	}
	return 0;
}

int ff_vfork_await(pid_t pid,
	int (*processes)(void *context, const struct ff_ids **pids),
	void (*idle)(void *context), void *context, uint64_t deadline_ns,
	struct ff_error *error)
{
	const struct ff_ids *pids;
	pid_t borrower;

	while (processes(context, &pids) >= 0 &&
		(borrower = find_borrower(pids, pid))) {
		if (ff_now_ns() >= deadline_ns)
			return ff_fail(error, EAGAIN, "pid %d runs in the "
				"memory of pid %d (in vfork)", borrower, pid);
		usleep(1000);
		idle(context);
	}
	return 0;
}
