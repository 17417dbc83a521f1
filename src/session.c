/* SPDX-License-Identifier: MIT */
#include "session.h"

#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char usage_begin[] =
	"  -e, --engine=ENGINE        how to swap (default: auto):\n"
	"                               notify  what libxshmfence makes, when it "
	"is made\n"
	"                               ptrace  every memfd, when it crosses\n"
	"                               auto    the one, and the other for the "
	"rest\n"
	"                               off     not at all: only log\n"
	"  -s, --select=memfd|fence   swap every memfd, or only DRI3 fences\n"
	"                             (default: memfd)\n"
	"  -d, --shm-dir=DIR          where the files live (default: /dev/shm)\n"
	"  -x, --x-socket=SOCKET      an X server's socket beside the usual "
	"ones,\n"
	"                             /PATH or @ABSTRACT; repeatable\n"
	"  -a, --trap-all             look at messages with any flags\n"
	"      --replies              log fds that the server sends, too\n"
	"  -r, --relay=ADDR           carry wake-ups of fences to a fenceferry "
	"host:\n"
	"                             unix:PATH, vsock:CID:PORT or char:PATH\n";

static const char usage_isolate[] =
	"      --isolate              keep waits and wakes on fences from this "
	"kernel's\n"
	"                             futexes: as if the relay's other end were "
	"another\n";

static const char usage_end[] =
	"      --trace-fences         log the client's waits on fences, and its "
	"wakes:\n"
	"                             each costs it some microseconds\n"
	"  -o, --log=FILE             write events there, one JSON object a "
	"line;\n"
	"                             - is standard error\n"
	"  -k, --backtrace            add the call stack to crossings, swaps and "
	"fences\n"
	"  -q, --quiet                no messages but those that end it\n"
	"  -v, --verbose              tell of each swap; twice: of each "
	"crossing\n"
	"  -h, --help                 print this\n";

/* 0, or -1: it could not be written. */
static int print_usage(const char *usage, bool has_command)
{
	return fputs(usage, stdout) < 0 || fputs(usage_begin, stdout) < 0 ||
		(has_command && fputs(usage_isolate, stdout) < 0) ||
		fputs(usage_end, stdout) < 0 || fflush(stdout) ? -1 : 0;
}

enum { OPTION_ISOLATE = 256, OPTION_REPLIES, OPTION_TRACE_FENCES };

#define SHORT_OPTIONS ":e:s:d:x:ao:qvhr:k"
static const struct option long_options[] = {
	{ "engine", required_argument, NULL, 'e' },
	{ "select", required_argument, NULL, 's' },
	{ "shm-dir", required_argument, NULL, 'd' },
	{ "x-socket", required_argument, NULL, 'x' },
	{ "trap-all", no_argument, NULL, 'a' },
	{ "log", required_argument, NULL, 'o' },
	{ "quiet", no_argument, NULL, 'q' },
	{ "verbose", no_argument, NULL, 'v' },
	{ "help", no_argument, NULL, 'h' },
	{ "relay", required_argument, NULL, 'r' },
	{ "isolate", no_argument, NULL, OPTION_ISOLATE },
	{ "backtrace", no_argument, NULL, 'k' },
	{ "replies", no_argument, NULL, OPTION_REPLIES },
	{ "trace-fences", no_argument, NULL, OPTION_TRACE_FENCES },
	{ 0 },
};

/* The value's index in names, which NULL ends; -1 after a message. */
static int choose(const struct ff_session *session, const char *option,
	const char *value, const char *const names[])
{
	for (int i = 0; names[i]; i++)
		if (!strcmp(value, names[i]))
			return i;
	ff_say(&session->log, -1, "unknown %s '%s' (see fenceferry %s --help)",
		option, value, session->subcommand);
	return -1;
}

static int choose_engine(struct ff_session *session, const char *value)
{
	static const char *const names[] = { "off", "ptrace", "notify", "auto",
		NULL };
	int engine = choose(session, "engine", value, names);

	if (engine >= 0)
		session->supervisor.policy.engine = (enum ff_engine)engine;
	return engine;
}

/* One option of getopt's. 0, or -1 after a message. */
static int take_option(struct ff_session *session, int option,
	const char *value)
{
	static const char *const selects[] = { "memfd", "fence", NULL };
	struct ff_error error;
	int choice;

	switch (option) {
	case 'e':
		return choose_engine(session, value) < 0 ? -1 : 0;
	case 's':
		choice = choose(session, "selection", value, selects);
		session->select = choice == 1 ? FF_SELECT_FENCE : FF_SELECT_MEMFD;
		return choice < 0 ? -1 : 0;
	case 'd':
		session->shm_dir = value;
		return 0;
	case 'x':
		if (ff_x11_match_add(&session->match, value, &error) < 0) {
			ff_say(&session->log, -1, "%s", error.text);
			return -1;
		}
		return 0;
	case 'a':
		session->filter.all_flags = true;
		return 0;
	case 'o':
		session->log_path = value;
		return 0;
	case 'q':
		if (session->log.verbosity > -1)
			session->log.verbosity--;
		return 0;
	case 'v':
		session->log.verbosity++;
		return 0;
	case 'r':
		if (ff_address_parse(value, FF_GUEST, &session->relay, &error) <
			0) {
			ff_say(&session->log, -1, "%s", error.text);
			return -1;
		}
		session->has_relay = true;
		return 0;
	case 'k':
		session->backtrace = true;
		return 0;
	case OPTION_REPLIES:
		session->replies = true;
		return 0;
	case OPTION_TRACE_FENCES:
		session->trace_fences = true;
		return 0;
	case OPTION_ISOLATE:
		session->isolate = true;
		return 0;
	default:
		return -1;
	}
}

int ff_session_parse(struct ff_session *session, int argc, char **argv,
	const char *usage, bool has_command)
{
	/* A command has options of its own. */
	const char *short_options = has_command ? "+" SHORT_OPTIONS :
		SHORT_OPTIONS;
	int option;

	opterr = 0;
	while ((option = getopt_long(argc, argv, short_options, long_options,
			NULL)) != -1) {
		const char *given = argv[optind - 1];

		if (option == 'h')
			return print_usage(usage, has_command);
		ff_option_complain(&session->log, session->subcommand, option,
			given);
		if (take_option(session, option, optarg) < 0)
			return -1;
	}
	return 1;
}

int ff_session_check(const struct ff_session *session)
{
	if (session->supervisor.policy.engine == FF_ENGINE_OFF &&
		(session->has_relay || session->isolate)) {
		ff_say(&session->log, -1, "--%s wants fences that are swapped "
			"(leave out --engine=off)",
			session->has_relay ? "relay" : "isolate");
		return -1;
	}
	return 0;
}

/* The supervisor goes to another directory, and may connect again later. */
static int make_absolute(struct ff_address *address, struct ff_error *error)
{
	char dir[PATH_MAX], path[2 * PATH_MAX];

	if (address->transport == FF_VSOCK || address->path[0] == '/' ||
		address->path[0] == '@')
		return 0;
	if (!getcwd(dir, sizeof(dir)))
		return ff_fail(error, errno, "cannot tell where we are: %s "
			"(give the relay's address with an absolute path)",
			strerror(errno));
	snprintf(path, sizeof(path), "%s/%s", dir, address->path);
	if (strlen(path) >= sizeof(address->path))
		return ff_fail(error, ENAMETOOLONG, "the path %.80s... of the "
			"relay is too long: a socket's has %zu characters at "
			"most (link to it from a shorter one)", path,
			sizeof(address->path) - 1);
	strcpy(address->path, path);
	return 0;
}

int ff_session_connect(struct ff_session *session, struct ff_error *error)
{
	struct ff_futexes *futexes = &session->supervisor.futexes;
	int err;

	if (session->isolate && !session->has_relay)
		ff_say(&session->log, 0, "--isolate without --relay: nobody but "
			"the client itself ends its waits on fences");
	if (session->has_relay && make_absolute(&session->relay, error) < 0)
		return -error->err;
	err = ff_futexes_open(futexes,
		session->has_relay ? &session->relay : NULL, session->isolate,
		session->shm_dir, session->supervisor.crossings.shm_dir_fd,
		&session->log, error);
	if (!err && session->trace_fences)
		ff_futexes_trace(futexes);
	return err;
}

/* What only swaps need. */
static int prepare_swaps(struct ff_session *session, struct ff_error *error)
{
	/* A limit on file sizes is to be an error, not the end of us. */
	void (*on_limit)(int) = signal(SIGXFSZ, SIG_IGN);
	int fd;

	if (ff_policy_has_ptrace(&session->supervisor.policy) &&
		access("/proc/thread-self/children", F_OK) < 0)
		return ff_fail(error, errno, "no /proc/PID/task/TID/children: "
			"sharers would be missed (mount /proc; the kernel needs "
			"CONFIG_PROC_CHILDREN; or use --engine=notify)");
	fd = ff_standin_open_dir(session->shm_dir, error);
	signal(SIGXFSZ, on_limit);
	session->supervisor.crossings.shm_dir_fd = fd;
	session->supervisor.creations.pool = (struct ff_pool){
		.dir = session->shm_dir,
		.dir_fd = fd,
		.keeps_names = session->has_relay,
	};
	return fd < 0 ? fd : 0;
}

int ff_session_prepare(struct ff_session *session, struct ff_error *error)
{
	struct ff_crossings *crossings = &session->supervisor.crossings;
	struct ff_policy *policy = &session->supervisor.policy;
	int err = ff_eventlog_open(&session->log, session->log_path, error);

	policy->log = &session->log;
	crossings->select = session->select;
	crossings->shm_dir = session->shm_dir;
	crossings->shm_dir_fd = -1;
	crossings->servers.match = &session->match;
	crossings->log = &session->log;
	session->supervisor.replies.wanted = session->replies;
	session->supervisor.replies.shm_dir = session->shm_dir;
	session->supervisor.replies.servers = &crossings->servers;
	session->supervisor.replies.futexes = &session->supervisor.futexes;
	session->supervisor.replies.backtraces = &crossings->backtraces;
	session->supervisor.replies.log = &session->log;
	if (!err)
		err = ff_x11_match_add_display(&session->match, getenv("DISPLAY"),
			error);
	if (!err && policy->engine != FF_ENGINE_OFF)
		err = prepare_swaps(session, error);
	if (!err)
		err = ff_crossings_init(crossings, error);
	if (!err && crossings->shm_dir_fd >= 0)
		ff_standin_sweep(crossings->shm_dir_fd);
	return err < 0 ? err : 0;
}

int ff_session_start_symbols(struct ff_session *session,
	struct ff_error *error)
{
	struct ff_eventlog *log = &session->log;
	int err;

	if (!session->backtrace)
		return 0;
	err = ff_symbols_start(&session->symbols,
		log->is_stderr ? STDERR_FILENO : log->fd, error);
	if (err < 0)
		return err;
	log->symbols = &session->symbols;
	session->supervisor.crossings.backtraces.wanted = true;
	return 0;
}

void ff_session_choose_filter(const struct ff_session *session,
	struct ff_filter_options *filter)
{
	const struct ff_policy *policy = &session->supervisor.policy;

	*filter = session->filter;
	filter->futexes = session->isolate || session->trace_fences ?
		FF_FUTEXES_ALL :
		session->has_relay ? FF_FUTEXES_WAKES : FF_FUTEXES_NONE;
	filter->replies = session->replies;
	filter->memfds = ff_policy_has_notify(policy) || session->trace_fences;
	filter->exits = session->trace_fences;
	/* For call stacks threads are stopped with --engine=off too. */
	filter->own_filters = ff_policy_has_ptrace(policy) ||
		(session->backtrace && policy->engine == FF_ENGINE_OFF);
	filter->killable = !filter->own_filters && !session->isolate;
}

int ff_session_supervise(struct ff_session *session)
{
	struct ff_supervisor *supervisor = &session->supervisor;
	int err;

	supervisor->tells_waits = session->backtrace ||
		session->trace_fences || !supervisor->command;
	ff_futexes_raise_limit();
	err = ff_supervise(supervisor);
	session->relayed = session->has_relay ?
		supervisor->futexes.fences.count : 0;
	ff_creations_free(&supervisor->creations);
	ff_futexes_close(&supervisor->futexes);
	/* After the last events, which may have call stacks. */
	if (session->log.symbols) {
		ff_symbols_finish(&session->symbols);
		ff_eventlog_flush(&session->log);
	}
	ff_crossings_free(&supervisor->crossings);
	ff_policy_free(&supervisor->policy);
	ff_x11_match_free(&session->match);
	return err;
}
