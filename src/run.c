/* SPDX-License-Identifier: MIT */
#include "run.h"

#include "executable.h"
#include "exit.h"
#include "launch.h"
#include "options.h"
#include "supervisor.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char usage[] =
	"Usage: fenceferry run [OPTION...] [--] COMMAND [ARG...]\n"
	"Run COMMAND, and replace the memfds that it passes to an X server by\n"
	"files in a shared memory directory, while it runs.\n"
	"\n"
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
	"  -r, --relay=ADDR           carry wake-ups of fences to a fenceferry "
	"host:\n"
	"                             unix:PATH, vsock:CID:PORT or char:PATH\n"
	"      --isolate              keep waits and wakes on fences from this "
	"kernel's\n"
	"                             futexes: as if the relay's other end were "
	"another\n"
	"  -o, --log=FILE             write events there, one JSON object a "
	"line;\n"
	"                             - is standard error\n"
	"  -q, --quiet                no messages but those that end it\n"
	"  -v, --verbose              tell of each swap; twice: of each "
	"crossing\n"
	"  -h, --help                 print this\n";

enum { OPTION_ISOLATE = 256 };

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
	{ 0 },
};

struct run {
	enum ff_select select;
	const char *shm_dir, *log_path;
	bool has_relay, isolate;
	struct ff_address relay;
	struct ff_x11_match match;
	struct ff_eventlog log;
	struct ff_filter_options filter;
	struct ff_supervisor supervisor;
	char *const *command;
};

/* The value's index in names, which NULL ends; -1 after a message. */
static int choose(const struct run *run, const char *option, const char *value,
	const char *const names[])
{
	for (int i = 0; names[i]; i++)
		if (!strcmp(value, names[i]))
			return i;
	ff_say(&run->log, -1, "unknown %s '%s' (see fenceferry run --help)",
		option, value);
	return -1;
}

static int choose_engine(struct run *run, const char *value)
{
	static const char *const names[] = { "off", "ptrace", "notify", "auto",
		NULL };
	int engine = choose(run, "engine", value, names);

	if (engine >= 0)
		run->supervisor.policy.engine = (enum ff_engine)engine;
	return engine;
}

static int refuse_option(const struct run *run, const char *option)
{
	ff_say(&run->log, -1, "%s does not exist yet (leave it out)", option);
	return -1;
}

/* One option of getopt's. 0, or -1 after a message. */
static int take_option(struct run *run, int option, const char *value)
{
	static const char *const selects[] = { "memfd", "fence", NULL };
	struct ff_error error;
	int choice;

	switch (option) {
	case 'e':
		return choose_engine(run, value) < 0 ? -1 : 0;
	case 's':
		choice = choose(run, "selection", value, selects);
		run->select = choice == 1 ? FF_SELECT_FENCE : FF_SELECT_MEMFD;
		return choice < 0 ? -1 : 0;
	case 'd':
		run->shm_dir = value;
		return 0;
	case 'x':
		if (ff_x11_match_add(&run->match, value, &error) < 0) {
			ff_say(&run->log, -1, "%s", error.text);
			return -1;
		}
		return 0;
	case 'a':
		run->filter.all_flags = true;
		return 0;
	case 'o':
		run->log_path = value;
		return 0;
	case 'q':
		if (run->log.verbosity > -1)
			run->log.verbosity--;
		return 0;
	case 'v':
		run->log.verbosity++;
		return 0;
	case 'r':
		if (ff_address_parse(value, FF_GUEST, &run->relay, &error) <
			0) {
			ff_say(&run->log, -1, "%s", error.text);
			return -1;
		}
		run->has_relay = true;
		return 0;
	case 'k':
		return refuse_option(run, "--backtrace");
	case OPTION_ISOLATE:
		run->isolate = true;
		return 0;
	default:
		return -1;
	}
}

/* Everything from the command line. 0; 1 if --help was all; -1 refused. */
static int parse(struct run *run, int argc, char **argv)
{
	int option;

	opterr = 0;
	while ((option = getopt_long(argc, argv, "+:e:s:d:x:ao:qvhr:k",
			long_options, NULL)) != -1) {
		const char *given = argv[optind - 1];

		if (option == 'h')
			return fputs(usage, stdout) < 0 || fflush(stdout) ?
				-1 : 1;
		ff_option_complain(&run->log, "run", option, given);
		if (take_option(run, option, optarg) < 0)
			return -1;
	}
	if (optind == argc) {
		ff_say(&run->log, -1,
			"no command to run (see fenceferry run --help)");
		return -1;
	}
	run->command = argv + optind;
	if (run->supervisor.policy.engine == FF_ENGINE_OFF && (run->has_relay || run->isolate)) {
		ff_say(&run->log, -1, "--%s wants fences that are swapped "
			"(leave out --engine=off)",
			run->has_relay ? "relay" : "isolate");
		return -1;
	}
	return 0;
}

static int supervise(int listener, int front, pid_t command,
	struct ff_legacy *legacy, void *context)
{
	struct run *run = context;
	int err;

	run->supervisor.listener = listener;
	run->supervisor.front = front;
	run->supervisor.legacy = legacy;
	run->supervisor.command = command;
	run->supervisor.loadavg = -1;
	ff_futexes_raise_limit();
	err = ff_supervise(&run->supervisor);
	ff_creations_free(&run->supervisor.creations);
	ff_futexes_close(&run->supervisor.futexes);
	ff_crossings_free(&run->supervisor.crossings);
	ff_policy_free(&run->supervisor.policy);
	ff_x11_match_free(&run->match);
	return err;
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

/* In the supervisor, whose the relay's connection is. */
static int connect_relay(void *context, struct ff_error *error)
{
	struct run *run = context;

	if (run->isolate && !run->has_relay)
		ff_say(&run->log, 0, "--isolate without --relay: nobody but "
			"the client itself ends its waits on fences");
	if (run->has_relay && make_absolute(&run->relay, error) < 0)
		return -error->err;
	return ff_futexes_open(&run->supervisor.futexes,
		run->has_relay ? &run->relay : NULL, run->isolate,
		run->shm_dir, run->supervisor.crossings.shm_dir_fd, &run->log,
		error);
}

/* In the front, when the supervisor left its fences' names behind. */
static void remove_names(void *context)
{
	const struct run *run = context;

	if (run->supervisor.crossings.shm_dir_fd >= 0)
		ff_standin_sweep(run->supervisor.crossings.shm_dir_fd);
}

/* What only swaps need. */
static int prepare_swaps(struct run *run, struct ff_error *error)
{
	/* A limit on file sizes is to be an error, not the end of us. */
	void (*on_limit)(int) = signal(SIGXFSZ, SIG_IGN);
	int fd;

	if (ff_policy_has_ptrace(&run->supervisor.policy) &&
		access("/proc/thread-self/children", F_OK) < 0)
		return ff_fail(error, errno, "no /proc/PID/task/TID/children: "
			"sharers would be missed (mount /proc; the kernel needs "
			"CONFIG_PROC_CHILDREN; or use --engine=notify)");
	fd = ff_standin_open_dir(run->shm_dir, error);
	signal(SIGXFSZ, on_limit);
	run->supervisor.crossings.shm_dir_fd = fd;
	run->supervisor.creations.pool = (struct ff_pool){
		.dir = run->shm_dir,
		.dir_fd = fd,
		.keeps_names = run->has_relay,
	};
	return fd < 0 ? fd : 0;
}

/* Everything that can be refused before the command runs. 0 or -errno. */
static int prepare(struct run *run, struct ff_error *error)
{
	struct ff_crossings *crossings = &run->supervisor.crossings;
	struct ff_policy *policy = &run->supervisor.policy;
	int err = ff_eventlog_open(&run->log, run->log_path, error);

	policy->log = &run->log;
	crossings->select = run->select;
	crossings->shm_dir = run->shm_dir;
	crossings->shm_dir_fd = -1;
	crossings->servers.match = &run->match;
	crossings->log = &run->log;
	if (!err)
		err = ff_x11_match_add_display(&run->match, getenv("DISPLAY"),
			error);
	if (!err && policy->engine != FF_ENGINE_OFF)
		err = prepare_swaps(run, error);
	if (!err)
		err = ff_crossings_init(crossings, error);
	if (!err && crossings->shm_dir_fd >= 0)
		ff_standin_sweep(crossings->shm_dir_fd);
	return err < 0 ? err : 0;
}

/* What is to be trapped. */
static void choose_filter(const struct run *run,
	struct ff_filter_options *filter)
{
	const struct ff_policy *policy = &run->supervisor.policy;

	*filter = run->filter;
	filter->futexes = run->isolate ? FF_FUTEXES_ALL :
		run->has_relay ? FF_FUTEXES_WAKES : FF_FUTEXES_NONE;
	filter->memfds = ff_policy_has_notify(policy);
	filter->own_filters = ff_policy_has_ptrace(policy);
	filter->killable = !ff_policy_has_ptrace(policy) && !run->isolate;
}

int ff_run(int argc, char **argv)
{
	static struct run run = {
		.supervisor.policy.engine = FF_ENGINE_AUTO,
		.shm_dir = "/dev/shm",
		.log = { .fd = -1 },
	};
	struct ff_launch launch = {
		.log = &run.log,
		.prepare = connect_relay,
		.bereave = remove_names,
		.supervise = supervise,
		.context = &run,
	};
	struct ff_error error;
	int parsed = parse(&run, argc, argv);

	if (parsed)
		return parsed < 0 ? FF_EXIT_FAILURE : 0;
	if (prepare(&run, &error) < 0) {
		ff_say(&run.log, -1, "%s", error.text);
		return FF_EXIT_FAILURE;
	}
	if (ff_executable_check(run.command[0], &error) < 0) {
		ff_say(&run.log, -1, "%s", error.text);
		return FF_EXIT_CANNOT_EXECUTE;
	}
	launch.argv = run.command;
	choose_filter(&run, &launch.filter);
	return ff_launch(&launch);
}
