/* SPDX-License-Identifier: MIT */
#include "attach.h"

#include "actor.h"
#include "attach-found.h"
#include "attach-target.h"
#include "attach-tree.h"
#include "enrol.h"
#include "exit.h"
#include "front.h"
#include "keeper.h"
#include "session.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char usage[] =
	"Usage: fenceferry attach [OPTION...] PID\n"
	"Do what fenceferry run does, with a client that runs already and all "
	"that it\n"
	"has started. Ctrl-C ends it, and leaves the client running.\n"
	"\n";

struct attach {
	struct ff_session session;
	struct ff_attachment attachment;
	pid_t pid;
	struct ff_birth birth;
	struct ff_actor actor; /* the process, as it was */
	struct ff_filter_options filter;
	struct ff_keeper keeper;
	bool again; /* there was a keeper */
	struct ff_listener listeners[FF_KEPT_MAX];
	struct ff_tree tree;
};

/* Everything from the command line. 1; 0 if --help was all; -1 refused. */
static int parse(struct attach *attach, int argc, char **argv)
{
	struct ff_session *session = &attach->session;
	struct ff_error error;
	int taken = ff_session_parse(session, argc, argv, usage, false);

	if (taken <= 0)
		return taken;
	if (optind != argc - 1) {
		ff_say(&session->log, -1, "%s (see fenceferry attach --help)",
			optind == argc ? "no process to attach to" :
					 "more than one process");
		return -1;
	}
	if (session->isolate) {
		ff_say(&session->log, -1, "--isolate cannot be had by attach: "
			"waits that have begun are in the kernel (start the "
			"client with fenceferry run)");
		return -1;
	}
	if (ff_session_check(session) < 0)
		return -1;
	if (ff_target_parse(argv[optind], &attach->pid, &error) == 0)
		return 1;
	ff_say(&session->log, -1, "%s", error.text);
	return -1;
}

/* A filter stays: it has all that costs little, for the attaches to come. And
 * carriers must be stopped in their bells. */
static void choose_filter(struct attach *attach)
{
	ff_session_choose_filter(&attach->session, &attach->filter);
	attach->filter.memfds = attach->filter.own_filters = true;
	attach->filter.killable = false;
}

static int find_keeper(struct attach *attach, struct ff_error *error)
{
	struct ff_listeners *listeners = &attach->session.supervisor.listeners;
	int fds[FF_KEPT_MAX];
	size_t count;
	int err = ff_keeper_find(&attach->keeper, attach->pid,
		attach->birth.start, fds, &count, error);
	const struct ff_filter_options *have;
	const char *lacks;

	if (err)
		return err;
	attach->again = true;
	err = ff_target_check_ourselves(attach->pid, error);
	if (err)
		return err;
	for (size_t i = 0; i < count; i++)
		listeners->all[listeners->count++] = (struct ff_listener){
			.fd = fds[i],
			.legacy = &attach->keeper.kept->listeners[i].legacy,
		};
	have = &attach->keeper.kept->filter;
	lacks = ff_filter_lacks(have, &attach->filter);
	attach->filter = *have;
	return !lacks ? 0 : ff_fail(error, EEXIST, "pid %d has the filter of "
		"an earlier attach, which had no %s, and there cannot be "
		"another (leave %s out, or start the client anew)",
		attach->pid, lacks, lacks);
}

/* Its X server may be another than ours. */
static int match_display(struct attach *attach, struct ff_error *error)
{
	char *display = ff_process_getenv(attach->pid, "DISPLAY");
	int err = ff_x11_match_add_display(&attach->session.match, display,
		error);

	free(display);
	return err;
}

static void leave_out(void *context, pid_t pid, const char *reason)
{
	struct attach *attach = context;
	struct ff_actor actor;
	char text[320];

	ff_actor_find(pid, &actor);
	snprintf(text, sizeof(text), "left out: %s", reason);
	ff_eventlog_engine(&attach->session.log, 0, &actor, "none", text);
}

/* From nothing to all of them under the filter. 0 or -errno. */
static int install(struct attach *attach, struct ff_error *error)
{
	struct ff_supervisor *supervisor = &attach->session.supervisor;
	int err = find_keeper(attach, error);

	if (err && err != -ENOENT)
		return err;
	err = match_display(attach, error);
	if (!err)
		err = ff_session_connect(&attach->session, error);
	if (!err && !attach->again)
		err = ff_keeper_start(&attach->keeper, attach->pid,
			attach->birth.start, &attach->filter, error);
	if (err)
		return err;
	supervisor->family.root = attach->pid;
	attach->tree = (struct ff_tree){
		.family = &supervisor->family,
		.keeper = &attach->keeper,
		.listeners = &supervisor->listeners,
		.stubs = &supervisor->crossings.stubs,
		.policy = &supervisor->policy,
		.log = &attach->session.log,
		.leave_out = leave_out,
		.context = attach,
	};
	/* What was installed since the last attach, nobody has looked at. */
	supervisor->policy.has_harmful_filters = attach->again;
	err = ff_tree_install(&attach->tree, &attach->filter, attach->again,
		error);
	supervisor->policy.filters = attach->keeper.kept->filters;
	return err;
}

static struct attach *get_attach(struct ff_attachment *attachment)
{
	return (struct attach *)(void *)((char *)attachment -
		offsetof(struct attach, attachment));
}

/* From now on we are all that keeps the client going: there must be another. */
static void lose_keeper(struct ff_attachment *attachment)
{
	struct attach *attach = get_attach(attachment);
	struct ff_listeners *listeners = &attach->session.supervisor.listeners;
	struct ff_error error;

	attachment->keeper_fd = -1;
	if (ff_listeners_have_hung_up(listeners))
		return; /* it has ended with the client */
	if (ff_tree_renew_keeper(&attach->keeper, listeners, &error) < 0) {
		ff_say(&attach->session.log, -1, "the keeper died, and there "
			"is no other: %s (the client's calls fail when this "
			"attach ends)", error.text);
		return;
	}
	attachment->keeper_fd = attach->keeper.socket;
	ff_say(&attach->session.log, 0, "the keeper died: pid %d takes its "
		"place", attach->keeper.pid);
}

static struct json_t *new_event(struct attach *attach, const char *name)
{
	struct json_t *event = ff_event_new(name, &attach->actor);

	ff_event_set_number(event, "processes", attach->tree.processes);
	ff_event_set_number(event, "threads", attach->tree.threads);
	return event;
}

static void tell_attached(struct attach *attach)
{
	struct ff_session *session = &attach->session;
	struct json_t *event = new_event(attach, "attach");
	const struct ff_ids *pids;
	unsigned int found = 0;

	ff_event_set_text(event, "reason", attach->again ?
		"attached before: the filter was there" : "new filter");
	ff_event_set_number(event, "stopped_us", attach->tree.stopped_ns /
		1000);
	ff_eventlog_add(&session->log, event);
	if (ff_family_list(&session->supervisor.family, &pids) == 0) {
		found = ff_attach_find_fences(pids, session->shm_dir,
			&session->log);
		ff_enrol_found(&session->supervisor.futexes, pids);
	}
	if (attach->tree.set_no_new_privs)
		ff_say(&session->log, 0, "pid %d has no_new_privs from now on, "
			"as the kernel wants of who gets a filter without "
			"CAP_SYS_ADMIN: set-user-ID programs that it starts "
			"run as its own user", attach->pid);
	if (found)
		ff_say(&session->log, 0, "there are fences that were there "
			"before, and are left alone: mappings %u (-v names "
			"them)", found);
	ff_say(&session->log, 0, "attached to pid %d (%s): processes %zu, "
		"threads %zu (Ctrl-C detaches)", attach->pid,
		attach->actor.comm, attach->tree.processes,
		attach->tree.threads);
	ff_eventlog_flush(&session->log);
}

static void tell_detached(struct attach *attach)
{
	const int sig = attach->attachment.signal;
	struct ff_eventlog *log = &attach->session.log;
	struct json_t *event;
	char reason[32] = "the client ended";

	if (sig)
		snprintf(reason, sizeof(reason), "SIG%s", sigabbrev_np(sig));
	event = new_event(attach, "detach");
	ff_event_set_text(event, "reason", reason);
	ff_event_set_totals(event, log);
	ff_eventlog_add(log, event);
	ff_eventlog_flush(log);
	if (sig && attach->session.relayed)
		ff_say(log, 0, "fences lose their relay: %zu",
			attach->session.relayed);
	if (sig)
		ff_say(log, 0, "detached from pid %d (%s): fenceferry-keep "
			"(pid %d) stays, and lets its calls through until it "
			"ends", attach->pid, attach->actor.comm,
			attach->keeper.pid);
	else
		ff_say(log, 1, "pid %d (%s) has ended", attach->pid,
			attach->actor.comm);
}

static int supervise(struct attach *attach)
{
	struct ff_session *session = &attach->session;
	int err;

	ff_actor_find(attach->pid, &attach->actor);
	tell_attached(attach);
	attach->attachment.keeper_fd = attach->keeper.socket;
	attach->attachment.lose_keeper = lose_keeper;
	attach->attachment.done = &attach->tree.done;
	attach->attachment.left = &attach->tree.left;
	session->supervisor.attachment = &attach->attachment;
	err = ff_session_supervise(session);
	tell_detached(attach);
	if (err)
		ff_say(&session->log, -1, "the supervisor fails: %s",
			strerror(-err));
	return err ? FF_EXIT_FAILURE : 0;
}

int ff_attach(int argc, char **argv)
{
	static struct attach attach = {
		.session = FF_SESSION_DEFAULTS("attach"),
		.keeper.socket = -1,
	};
	struct ff_session *session = &attach.session;
	struct ff_front_signals original;
	struct ff_error error;
	int parsed = parse(&attach, argc, argv), err, status;

	if (parsed <= 0)
		return parsed < 0 ? FF_EXIT_FAILURE : 0;
	session->supervisor.listeners.all = attach.listeners;
	ff_front_take_signals(&original);
	signal(SIGALRM, SIG_IGN); /* inject sets its own handler */
	choose_filter(&attach);
	err = ff_target_check(attach.pid, &attach.birth, &error);
	if (!err)
		err = ff_session_prepare(session, &error);
	if (!err)
		err = ff_session_start_symbols(session, &error);
	if (!err)
		err = install(&attach, &error);
	if (err)
		ff_say(&session->log, -1, "%s", error.text);
	status = err ? FF_EXIT_FAILURE : supervise(&attach);
	ff_keeper_leave(&attach.keeper);
	ff_ids_free(&attach.tree.done);
	ff_ids_free(&attach.tree.left);
	return status;
}
