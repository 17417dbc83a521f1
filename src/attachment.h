/* SPDX-License-Identifier: MIT */
#ifndef FF_ATTACHMENT_H
#define FF_ATTACHMENT_H

#include "error.h"
#include "listeners.h"
#include "process.h"

#include <stdbool.h>
#include <sys/types.h>

/* What is different for the supervisor of a client that was not started by us. */
struct ff_attachment {
	int signal;    /* that asked us to end; 0: none did yet */
	int keeper_fd; /* the keeper's socket; -1: there is none */
	/* There is something to read, which can only be its end. */
	void (*lose_keeper)(struct ff_attachment *attachment);
	/* Who was put under the filter, and who was not; of all others their
	 * parents tell. Not ours. */
	const struct ff_ids *done, *left;
};

/*
 * May this thread be stopped, and made to call? Where our filter is not, bells
 * would ring for nobody; and the filter that there is may kill. 0; -EPERM with
 * *error filled: its process was left out. attachment may be NULL.
 */
int ff_attachment_may_hold(const struct ff_attachment *attachment, pid_t tid,
	struct ff_error *error);

/*
 * The keeper takes over at once, whatever else is to be done at the end. If
 * nothing was left unanswered, it need not look for that: it tries tens of
 * thousands of ids with each listener.
 */
void ff_attachment_end(const struct ff_attachment *attachment,
	const struct ff_listeners *listeners, bool all_answered);

#endif
