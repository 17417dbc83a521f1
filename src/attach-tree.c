/* SPDX-License-Identifier: MIT */
#include "attach-tree.h"

#include "attach-target.h"
#include "clientfilter.h"
#include "clock.h"
#include "inject/install.h"
#include "notify.h"

#include <errno.h>
#include <linux/filter.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MAX_INSTRUCTIONS 256

/* How long a tree that goes on growing is followed. */
#define GROW_MS 10000

/* How often one is tried that cannot be stopped now. */
#define TRIES 3

struct growth {
	struct ff_tree *tree;
	struct sock_filter code[MAX_INSTRUCTIONS];
	int length;
	unsigned int filters; /* that we are under ourselves */
	struct ff_ids lacking; /* seen while an ancestor had no filter */
	struct ff_ids ours;    /* our own children */
	struct ff_ids tried;   /* once for each time */
	/* So many listeners are served: not that of the process which is being
	 * put under the filter, for its bells are ff_install's. */
	size_t served;
	struct ff_install_ops ops;
};

static int get_processes(void *context, const struct ff_ids **pids)
{
	struct growth *g = context;

	return ff_family_list(g->tree->family, pids);
}

/* Nobody is watched yet: what is called goes on. */
static void let_go_on(void *context)
{
	struct growth *g = context;
	const struct ff_listeners *listeners = g->tree->listeners;

	for (size_t i = 0; i < g->served; i++) {
		const struct ff_listener *listener = &listeners->all[i];
		struct pollfd fd = { .fd = listener->fd, .events = POLLIN };
		struct ff_notification n;

		if (poll(&fd, 1, 0) <= 0 || !(fd.revents & POLLIN) ||
			ff_notify_receive(listener->fd, &n) < 0)
			continue;
		listener->legacy->last_received = n.id;
		ff_policy_note(g->tree->policy, &n);
		ff_notify_continue(listener->fd, n.id);
	}
}

static bool may_live(void *context, const struct sock_filter *code,
	size_t length)
{
	(void)context;
	return ff_filter_lets_install(code, length);
}

/* It is held: all below it that are not done were forked without the filter. */
static void announce(void *context, pid_t pid, pid_t tid, uint64_t result)
{
	struct growth *g = context;
	struct ff_ids below = { 0 };

	g->tree->keeper->kept->announced_by = tid;
	g->tree->keeper->kept->announced_at = result;
	g->tree->keeper->kept->announced = pid;
	if (!pid || ff_process_descendants(pid, &below) < 0)
		return;
	for (size_t i = 0; i < below.count; i++)
		if (!ff_ids_has(&g->tree->done, below.ids[i]) &&
			!ff_ids_has(&g->lacking, below.ids[i]))
			ff_ids_add(&g->lacking, below.ids[i]);
	ff_ids_free(&below);
}

int ff_tree_renew_keeper(struct ff_keeper *keeper,
	struct ff_listeners *listeners, struct ff_error *error)
{
	struct ff_kept *old = keeper->kept;
	struct ff_filter_options filter = old->filter;
	int err;

	close(keeper->socket);
	err = ff_keeper_start(keeper, old->root, old->start, &filter, error);
	for (size_t i = 0; !err && i < listeners->count; i++) {
		struct ff_listener *listener = &listeners->all[i];
		int index;

		if (listener->is_over)
			continue;
		index = ff_keeper_add(keeper, i < old->count ?
			old->listeners[i].pid : 0, listener->fd, error);
		if (index < 0) {
			err = index;
			break;
		}
		keeper->kept->listeners[index].legacy = *listener->legacy;
		listener->legacy = &keeper->kept->listeners[index].legacy;
	}
	if (err) { /* what the listeners point to stays mapped */
		*keeper = (struct ff_keeper){ .socket = -1, .kept = old };
		return err;
	}
	keeper->kept->filters = old->filters;
	memcpy(keeper->kept->left, old->left, sizeof(old->left));
	keeper->kept->left_count = old->left_count;
	munmap(old, sizeof(*old));
	return 0;
}

static _Atomic uint64_t *keep(void *context, pid_t pid, int fd)
{
	static struct ff_legacy unkept = { .oldest_held = UINT64_MAX };
	struct growth *g = context;
	struct ff_tree *tree = g->tree;
	struct ff_listener *listener =
		&tree->listeners->all[tree->listeners->count];
	struct ff_error error;
	int index = ff_keeper_add(tree->keeper, pid, fd, &error);

	*listener = (struct ff_listener){ .fd = fd, .legacy = &unkept };
	tree->listeners->count++;
	if (index >= 0)
		listener->legacy = &tree->keeper->kept->listeners[index].legacy;
	else if (ff_tree_renew_keeper(tree->keeper, tree->listeners, &error) <
		0)
		ff_say(tree->log, -1, "there is no keeper for pid %d: %s (do "
			"not end this attach before the client)", pid,
			error.text);
	return &listener->legacy->last_received;
}

/* It has just got ours, and none since: a call that would install one is trapped,
 * and nobody has answered yet. */
static void count_filters(struct ff_kept *kept, pid_t pid)
{
	struct ff_status status;

	if (ff_process_status(pid, &status) == 0 && (!kept->filters ||
		status.seccomp_filters < kept->filters))
		kept->filters = status.seccomp_filters;
}

/* 0 or -errno. Those that are gone, or have it already, count as done. */
static int install(struct growth *g, pid_t pid, struct ff_error *error)
{
	struct ff_tree *tree = g->tree;
	struct ff_install install = {
		.pid = pid,
		.code = g->code,
		.length = (size_t)g->length,
		.filters = g->filters,
		.ops = &g->ops,
		.stubs = tree->stubs,
	};
	int err;

	if (tree->listeners->count == FF_KEPT_MAX)
		return ff_fail(error, E2BIG, "there are more processes than "
			"%d", FF_KEPT_MAX);
	err = ff_install(&install, error);
	g->served = tree->listeners->count;
	if (!err)
		count_filters(tree->keeper->kept, pid);
	tree->set_no_new_privs |= install.set_no_new_privs && !err;
	/* Forked by one that has it, and so under it. */
	if (install.has_listener && pid != tree->family->root &&
		!ff_ids_has(&g->lacking, pid))
		err = 0;
	else if (install.has_listener && pid == tree->family->root)
		err = ff_target_explain_listener(pid, error);
	/* Of one below it is known that its filters are not of its ancestor. */
	else if (err && (pid == tree->family->root || err == -EPERM))
		err = ff_target_explain(pid, err, error);
	if (install.is_left_alone)
		return -ECANCELED;
	if (err)
		return err;
	if (install.stopped_ns > tree->stopped_ns)
		tree->stopped_ns = install.stopped_ns;
	ff_ids_add(&g->tree->done, pid);
	return 0;
}

/* Is it not under the filter, or may not be? */
static bool may_lack(const struct growth *g, pid_t pid,
	const struct ff_status *status)
{
	struct ff_status parent;

	if (ff_ids_has(&g->lacking, pid) || status->seccomp == 0)
		return true;
	return !ff_ids_has(&g->tree->done, status->parent) ||
		ff_process_status(status->parent, &parent) < 0 ||
		status->seccomp_filters < parent.seccomp_filters;
}

static int count_tries(const struct growth *g, pid_t pid)
{
	int count = 0;

	for (size_t i = 0; i < g->tried.count; i++)
		count += g->tried.ids[i] == pid;
	return count;
}

/* Those that cannot be put under it stay as they are. 1: to be tried again. */
static int grow_into(struct growth *g, pid_t pid, struct ff_error *error)
{
	struct ff_status status;
	int err = ff_process_status(pid, &status);

	/* Who names frames is our child, wherever we are one ourselves. */
	if (!err && status.parent == getpid())
		return ff_ids_add(&g->ours, pid);
	if (err || status.state == 'Z' || status.state == 'X' ||
		!may_lack(g, pid, &status))
		return err ? 0 : ff_ids_add(&g->tree->done, pid);
	err = install(g, pid, error);
	if (!err || err == -ESRCH || err == -ECANCELED)
		return err == -ECANCELED ? err : 0;
	ff_ids_add(&g->tried, pid);
	if ((err == -EAGAIN || err == -ETIMEDOUT) &&
		count_tries(g, pid) < TRIES)
		return 1;
	ff_ids_add(&g->tree->left, pid);
	g->tree->leave_out(g->tree->context, pid, error->text);
	return 0;
}

/* All that are there now and were not yet looked at. How many, or -errno. */
static int grow(struct growth *g, struct ff_error *error)
{
	const struct ff_ids *list;
	struct ff_ids pids = { 0 };
	int err = ff_family_list(g->tree->family, &list), count = 0;

	for (size_t i = 0; !err && i < list->count; i++)
		err = ff_ids_add(&pids, list->ids[i]);
	if (err)
		ff_fail(error, -err, "cannot list the processes below pid %d: "
			"%s", g->tree->family->root, strerror(-err));
	for (size_t i = 0; err >= 0 && i < pids.count; i++) {
		pid_t pid = pids.ids[i];

		if (pid == g->tree->keeper->pid || ff_ids_has(&g->ours, pid) ||
			ff_ids_has(&g->tree->done, pid) ||
			ff_ids_has(&g->tree->left, pid))
			continue;
		let_go_on(g);
		err = grow_into(g, pid, error);
		count += err > 0 || ff_ids_has(&g->tree->done, pid);
	}
	ff_ids_free(&pids);
	return err < 0 ? err : count;
}

static void count_all(struct growth *g)
{
	for (size_t i = 0; i < g->tree->done.count; i++) {
		int threads = ff_process_count_threads(g->tree->done.ids[i]);

		g->tree->processes += threads > 0;
		g->tree->threads += threads > 0 ? (size_t)threads : 0;
	}
}

/* For the next attach: it could not tell their filters from ours. */
static void tell_left(const struct ff_tree *tree)
{
	struct ff_kept *kept = tree->keeper->kept;
	size_t count = 0;

	for (; count < tree->left.count && count < FF_KEPT_LEFT; count++)
		kept->left[count] = tree->left.ids[count];
	kept->left_count = count;
}

int ff_tree_install(struct ff_tree *tree, const struct ff_filter_options *filter,
	bool root_is_done, struct ff_error *error)
{
	uint64_t end_ns = ff_now_ns() + GROW_MS * 1000000ull;
	static struct growth g; /* the program is large */
	struct ff_status ours = { 0 };
	int err, found = 1;

	g = (struct growth){ .tree = tree, .served = tree->listeners->count };
	g.ops = (struct ff_install_ops){ &g, get_processes, let_go_on,
		may_live, announce, keep };
	ff_process_status(getpid(), &ours);
	g.filters = ours.seccomp_filters;
	g.length = ff_filter_compile(filter, g.code, MAX_INSTRUCTIONS);
	if (g.length < 0)
		return ff_fail(error, -g.length, "cannot build the seccomp "
			"filter: %s", strerror(-g.length));
	for (size_t i = 0; i < tree->keeper->kept->left_count &&
		i < FF_KEPT_LEFT; i++)
		ff_ids_add(&g.lacking, tree->keeper->kept->left[i]);
	err = root_is_done ? ff_ids_add(&tree->done, tree->family->root) :
			     install(&g, tree->family->root, error);
	while (!err && found > 0 && ff_now_ns() < end_ns) {
		found = grow(&g, error);
		err = found < 0 ? found : 0;
	}
	if (!err)
		count_all(&g);
	tell_left(tree);
	ff_ids_free(&g.lacking);
	ff_ids_free(&g.ours);
	ff_ids_free(&g.tried);
	return err;
}
