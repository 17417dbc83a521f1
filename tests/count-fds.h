/* SPDX-License-Identifier: MIT */
#ifndef FF_TESTS_COUNT_FDS_H
#define FF_TESTS_COUNT_FDS_H

#include "process.h"

#include <criterion/criterion.h>

/* How many fds a process has open; of ourselves one more, always: by which this
 * is found. */
static inline int count_fds(pid_t pid)
{
	struct ff_ids fds = { 0 };
	int count;

	cr_assert(ff_process_fds(pid, &fds) >= 0, "pid %d has ended", pid);
	count = (int)fds.count;
	ff_ids_free(&fds);
	return count;
}

#endif
