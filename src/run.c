/* SPDX-License-Identifier: MIT */
#include "run.h"

#include "executable.h"
#include "exit.h"
#include "launch.h"
#include "session.h"

#include <getopt.h>
#include <unistd.h>

static const char usage[] =
	"Usage: fenceferry run [OPTION...] [--] COMMAND [ARG...]\n"
	"Run COMMAND, and replace the memfds that it passes to an X server by\n"
	"files in a shared memory directory, while it runs.\n"
	"\n";

/* Everything from the command line. The index of the command in argv; 0 if
 * --help was all; -1 refused. */
static int parse(struct ff_session *session, int argc, char **argv)
{
	int taken = ff_session_parse(session, argc, argv, usage, true);

	if (taken <= 0)
		return taken;
	if (optind == argc) {
		ff_say(&session->log, -1,
			"no command to run (see fenceferry run --help)");
		return -1;
	}
	return ff_session_check(session) < 0 ? -1 : optind;
}

static int connect_relay(void *context, struct ff_error *error)
{
	return ff_session_connect(context, error);
}

static int supervise(int listener, int front, pid_t command,
	struct ff_legacy *legacy, void *context)
{
	struct ff_session *session = context;
	struct ff_listener only = { .fd = listener, .legacy = legacy };

	session->supervisor.listeners.all = &only;
	session->supervisor.listeners.count = 1;
	session->supervisor.family.root = getpid();
	session->supervisor.front = front;
	session->supervisor.command = command;
	return ff_session_supervise(session);
}

/* In the front, when the supervisor left its fences' names behind. */
static void remove_names(void *context)
{
	const struct ff_session *session = context;

	if (session->supervisor.crossings.shm_dir_fd >= 0)
		ff_standin_sweep(session->supervisor.crossings.shm_dir_fd);
}

int ff_run(int argc, char **argv)
{
	static struct ff_session session = FF_SESSION_DEFAULTS("run");
	struct ff_launch launch = {
		.log = &session.log,
		.prepare = connect_relay,
		.bereave = remove_names,
		.supervise = supervise,
		.context = &session,
	};
	struct ff_error error;
	int command = parse(&session, argc, argv);

	if (command <= 0)
		return command < 0 ? FF_EXIT_FAILURE : 0;
	if (ff_session_prepare(&session, &error) < 0) {
		ff_say(&session.log, -1, "%s", error.text);
		return FF_EXIT_FAILURE;
	}
	launch.argv = argv + command;
	if (ff_executable_check(launch.argv[0], &error) < 0) {
		ff_say(&session.log, -1, "%s", error.text);
		return FF_EXIT_CANNOT_EXECUTE;
	}
	ff_session_choose_filter(&session, &launch.filter);
	if (ff_session_start_symbols(&session, &error) < 0) {
		ff_say(&session.log, -1, "%s", error.text);
		return FF_EXIT_FAILURE;
	}
	if (session.backtrace)
		launch.symbols = &session.symbols;
	return ff_launch(&launch);
}
