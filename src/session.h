/* SPDX-License-Identifier: MIT */
#ifndef FF_SESSION_H
#define FF_SESSION_H

#include "filter.h"
#include "supervisor.h"
#include "symbols.h"

#include <getopt.h>

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

/* For getopt_long: short options and long ones. */
#define FF_SESSION_SHORT_OPTIONS "e:s:d:x:ao:qvhr:k"
extern const struct option ff_session_options[];

/* What --help says of them, with or without --isolate, on standard output. 0, or
 * -1: it could not be written. */
int ff_session_print_usage(bool can_isolate);

/* One option of getopt's. 0, or -1 after a message. */
int ff_session_take_option(struct ff_session *session, int option,
	const char *value);

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
