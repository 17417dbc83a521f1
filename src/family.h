/* SPDX-License-Identifier: MIT */
#ifndef FF_FAMILY_H
#define FF_FAMILY_H

#include "process.h"

#include <stdbool.h>
#include <sys/types.h>

/* All processes of the client, and how to tell that they still are. */
struct ff_family {
	/* It is this process' descendants; and this process, if it is not us.
	 * We are none of it even as a descendant. */
	pid_t root;
	struct ff_ids processes;
	int loadavg; /* fd of /proc/loadavg, 0: not open yet */
	pid_t last_pid;
	unsigned short process_count;
};

/* Point *pids to them; it stays valid until the next call. 0 or -errno. */
int ff_family_list(struct ff_family *family, const struct ff_ids **pids);

void ff_family_free(struct ff_family *family);

#endif
