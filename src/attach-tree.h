/* SPDX-License-Identifier: MIT */
#ifndef FF_ATTACH_TREE_H
#define FF_ATTACH_TREE_H

#include "error.h"
#include "eventlog.h"
#include "family.h"
#include "inject/swap.h"
#include "keeper.h"
#include "listeners.h"
#include "policy.h"

#include <stdbool.h>
#include <stddef.h>

/*
 * Put a process and its descendants under the filter: top-down, for who is
 * forked by one that is under it is under it too. Until all are, the calls of
 * those that are go on as they come.
 */
struct ff_tree {
	struct ff_family *family; /* its root is where to begin */
	struct ff_keeper *keeper;
	struct ff_listeners *listeners; /* with room for FF_KEPT_MAX in all */
	struct ff_stubs *stubs;
	struct ff_policy *policy; /* is told of filters that they install */
	const struct ff_eventlog *log; /* for what is said */
	/* Who was left out, and why: for the event log. */
	void (*leave_out)(void *context, pid_t pid, const char *reason);
	void *context;
	/* Filled in. */
	size_t processes, threads; /* that are watched */
	struct ff_ids done, left; /* who they are, and who was left out */
	uint64_t stopped_ns; /* the longest that one of them stood still */
	bool set_no_new_privs;	   /* in some of them */
};

/*
 * root_is_done: that one is under the filter from an earlier attach. 0, or
 * -errno with *error filled: then nobody but who has no listener of ours is
 * under it; the keeper must be left, and helps those.
 */
int ff_tree_install(struct ff_tree *tree, const struct ff_filter_options *filter,
	bool root_is_done, struct ff_error *error);

/*
 * The keeper has died: start another one, that gets all listeners. 0, or -errno
 * with *error filled: then there is none, and keeper->socket is -1.
 */
int ff_tree_renew_keeper(struct ff_keeper *keeper,
	struct ff_listeners *listeners, struct ff_error *error);

#endif
