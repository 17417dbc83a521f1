/* SPDX-License-Identifier: MIT */
#ifndef FF_SESSION_H
#define FF_SESSION_H

#include "filter.h"
#include "supervisor.h"
#include "symbols.h"

/*
 * What `fenceferry run` and `fenceferry attach` have in common: options, what is
 * prepared from them, and the supervisor that works by them.
 */

struct ff_session {
	const char *subcommand; /* for what is said of options */
	enum ff_select select;
	const char *shm_dir, *log_path;
	bool has_relay, isolate;
	bool backtrace, replies, trace_fences;
	struct ff_address relay;
	struct ff_x11_match match;
	struct ff_eventlog log;
	struct ff_symbols symbols; /* with backtrace */
	struct ff_filter_options filter;
	struct ff_supervisor supervisor;
	size_t relayed; /* fences that had the relay when it ended */
};

#define FF_SESSION_DEFAULTS(name) { \
		.subcommand = (name), \
		.supervisor.policy.engine = FF_ENGINE_AUTO, \
		.supervisor.front = -1, \
		.shm_dir = "/dev/shm", \
		.log = { .fd = -1 }, \
	}

/*
 * Take the options of the command line. usage is what --help says before it
 * lists them. With a command to run, options end where that begins, and one of
 * them is --isolate; else they may stand anywhere. 1, with optind at what is no
 * option; 0 if --help was all; -1 after a message.
 */
int ff_session_parse(struct ff_session *session, int argc, char **argv,
	const char *usage, bool has_command);

/* After the last option: do they go together? 0, or -1 after a message. */
int ff_session_check(const struct ff_session *session);

/* Open and look at what they name: all that can be refused before anything is
 * done. The session must stay where it is. 0, or -errno with *error filled. */
int ff_session_prepare(struct ff_session *session, struct ff_error *error);

/* With --backtrace, start the process that names frames: in the one that is to
 * be the supervisor's parent, if there is to be one. 0, or -errno with *error. */
int ff_session_start_symbols(struct ff_session *session,
	struct ff_error *error);

/* What the client's calls are to be trapped for. */
void ff_session_choose_filter(const struct ff_session *session,
	struct ff_filter_options *filter);

/* Open the registry of fences and connect to the relay: to be called in the
 * process that is to be the supervisor. 0, or -errno with *error filled. */
int ff_session_connect(struct ff_session *session, struct ff_error *error);

/* Work until nobody is left under the filter (supervisor.h), with the listeners,
 * command and front of session->supervisor filled in; then free what the
 * session has. 0 or -errno. */
int ff_session_supervise(struct ff_session *session);

#endif
