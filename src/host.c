/* SPDX-License-Identifier: MIT */
#include "host.h"

#include "exit.h"
#include "futexwatch/host.h"
#include "hostlog.h"
#include "options.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

static const char usage[] =
	"Usage: fenceferry host [OPTION...]\n"
	"The other end of the relay of fenceferry run: hand wake-ups of fences "
	"from\n"
	"guests to this kernel, and back.\n"
	"\n"
	"  -l, --listen=ADDR      where guests connect: unix:PATH or "
	"vsock:PORT; or\n"
	"                         char:PATH, a device or a VMM's socket; "
	"repeatable.\n"
	"                         None are needed if systemd passes sockets\n"
	"  -d, --shm-dir=DIR      where the fences' files are (default: "
	"/dev/shm)\n"
	"      --allow-uid=UID    a user who may connect, beside the own one; "
	"repeatable\n"
	"      --allow-cid=CID    a machine that may connect by vsock, or any; "
	"repeatable\n"
	"      --waiters=KIND     how to wait: io_uring, waitv, threads or auto "
	"(the\n"
	"                         first that this kernel has; default)\n"
	"      --max-fences=N     of a guest (default: 16384)\n"
	"      --max-rate=N       messages a second of a guest (default: "
	"100000)\n"
	"  -o, --log=FILE         write events there, one JSON object a line;\n"
	"                         - is standard error\n"
	"  -q, --quiet            no messages but those that end it\n"
	"  -v, --verbose          tell of guests that come and go; twice: of "
	"fences\n"
	"  -h, --help             print this\n"
	"\n"
	"SIGTERM ends it, SIGUSR1 asks for a line on how things stand.\n";

enum {
	OPTION_ALLOW_UID = 256,
	OPTION_ALLOW_CID,
	OPTION_WAITERS,
	OPTION_MAX_FENCES,
	OPTION_MAX_RATE,
};

static const struct option long_options[] = {
	{ "listen", required_argument, NULL, 'l' },
	{ "shm-dir", required_argument, NULL, 'd' },
	{ "allow-uid", required_argument, NULL, OPTION_ALLOW_UID },
	{ "allow-cid", required_argument, NULL, OPTION_ALLOW_CID },
	{ "waiters", required_argument, NULL, OPTION_WAITERS },
	{ "max-fences", required_argument, NULL, OPTION_MAX_FENCES },
	{ "max-rate", required_argument, NULL, OPTION_MAX_RATE },
	{ "log", required_argument, NULL, 'o' },
	{ "quiet", no_argument, NULL, 'q' },
	{ "verbose", no_argument, NULL, 'v' },
	{ "help", no_argument, NULL, 'h' },
	{ 0 },
};

struct host {
	const char *shm_dir, *log_path;
	enum ff_waiters_kind kind;
	struct ff_hostlog log;
	struct ff_host daemon;
};

/* The whole of text as a number from min to max. */
static bool read_number(const char *text, unsigned long min, unsigned long max,
	unsigned long *number)
{
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	*number = strtoul(text, &end, 10);
	return !errno && !*end && *number >= min && *number <= max;
}

static int refuse(const struct host *host, const char *option,
	const char *value, const char *wanted)
{
	ff_say(&host->log.events, -1, "--%s='%s' is not %s (see fenceferry "
		"host --help)", option, value, wanted);
	return -1;
}

static int out_of_memory(const struct host *host)
{
	ff_say(&host->log.events, -1, "out of memory");
	return -1;
}

static int add_listen(struct host *host, const char *value)
{
	struct ff_address address;
	struct ff_error error;

	if (ff_address_parse(value, FF_HOST, &address, &error) < 0) {
		ff_say(&host->log.events, -1, "%s", error.text);
		return -1;
	}
	if (!ff_host_add_address(&host->daemon, &address)) {
		ff_say(&host->log.events, -1, "more than %d addresses (leave "
			"some out)", FF_HOST_LISTENERS_MAX);
		return -1;
	}
	return 0;
}

static int add_uid(struct host *host, const char *value)
{
	const struct passwd *user = getpwnam(value);
	unsigned long uid;

	if (user)
		uid = user->pw_uid;
	else if (!read_number(value, 0, (uid_t)-2, &uid))
		return refuse(host, "allow-uid", value,
			"a user's name or number");
	return ff_admission_add_uid(&host->daemon.peers.admission,
		(uid_t)uid) < 0 ? out_of_memory(host) : 0;
}

static int add_cid(struct host *host, const char *value)
{
	struct ff_admission *admission = &host->daemon.peers.admission;
	unsigned long cid;

	if (!strcmp(value, "any")) {
		admission->any_cid = true;
		return 0;
	}
	if (!read_number(value, 1, UINT32_MAX - 1ul, &cid))
		return refuse(host, "allow-cid", value,
			"a CID (from 1 on), nor 'any'");
	return ff_admission_add_cid(admission, (unsigned int)cid) < 0 ?
		out_of_memory(host) : 0;
}

static int choose_waiters(struct host *host, const char *value)
{
	static const struct {
		const char *name;
		enum ff_waiters_kind kind;
	} kinds[] = {
		{ "auto", FF_WAITERS_AUTO },
		{ "io_uring", FF_WAITERS_URING },
		{ "waitv", FF_WAITERS_WAITV },
		{ "threads", FF_WAITERS_THREADS },
	};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (!strcmp(value, kinds[i].name)) {
			host->kind = kinds[i].kind;
			return 0;
		}
	return refuse(host, "waiters", value,
		"io_uring, waitv, threads or auto");
}

/* One option of getopt's. 0, or -1 after a message. */
static int take_option(struct host *host, int option, const char *value)
{
	struct ff_peers *peers = &host->daemon.peers;
	unsigned long number;

	switch (option) {
	case 'l':
		return add_listen(host, value);
	case 'd':
		host->shm_dir = value;
		return 0;
	case OPTION_ALLOW_UID:
		return add_uid(host, value);
	case OPTION_ALLOW_CID:
		return add_cid(host, value);
	case OPTION_WAITERS:
		return choose_waiters(host, value);
	case OPTION_MAX_FENCES:
		if (!read_number(value, 1, 1000000, &number))
			return refuse(host, "max-fences", value,
				"a number from 1 to 1000000");
		peers->max_fences = number;
		return 0;
	case OPTION_MAX_RATE:
		if (!read_number(value, 1, 100000000, &number))
			return refuse(host, "max-rate", value,
				"a number from 1 to 100000000");
		peers->max_rate = (uint32_t)number;
		return 0;
	case 'o':
		host->log_path = value;
		return 0;
	case 'q':
		if (host->log.events.verbosity > -1)
			host->log.events.verbosity--;
		return 0;
	case 'v':
		host->log.events.verbosity++;
		return 0;
	default:
		return -1;
	}
}

/* Everything from the command line. 0; 1 if --help was all; -1 refused. */
static int parse(struct host *host, int argc, char **argv)
{
	const struct ff_eventlog *log = &host->log.events;
	int option;

	opterr = 0;
	while ((option = getopt_long(argc, argv, "+:l:d:o:qvh", long_options,
			NULL)) != -1) {
		if (option == 'h')
			return fputs(usage, stdout) < 0 || fflush(stdout) ?
				-1 : 1;
		ff_option_complain(log, "host", option, argv[optind - 1]);
		if (take_option(host, option, optarg) < 0)
			return -1;
	}
	if (optind < argc) {
		ff_say(log, -1, "'%s' is too much: host runs no command (see "
			"fenceferry host --help)", argv[optind]);
		return -1;
	}
	return 0;
}

/* Sockets of systemd's, which may have come instead of options. */
static int take_passed(struct host *host, struct ff_error *error)
{
	int count = sd_listen_fds(1);

	if (count < 0)
		return ff_fail(error, -count, "cannot use the sockets that "
			"systemd passed: %s", strerror(-count));
	for (int fd = SD_LISTEN_FDS_START; fd < SD_LISTEN_FDS_START + count;
		fd++) {
		if (sd_is_socket(fd, AF_UNIX, SOCK_STREAM, 1) <= 0 &&
			sd_is_socket(fd, AF_VSOCK, SOCK_STREAM, 1) <= 0)
			return ff_fail(error, EINVAL, "fd %d, passed by "
				"systemd, is not a listening stream socket, "
				"unix or vsock (use ListenStream= and "
				"Accept=no)", fd);
		if (!ff_host_add_socket(&host->daemon, fd))
			return ff_fail(error, E2BIG, "systemd passed more "
				"than %d sockets", FF_HOST_LISTENERS_MAX);
	}
	return host->daemon.listener_count ? 0 : ff_fail(error, EINVAL,
		"nowhere to listen (give an address with --listen, or let "
		"systemd pass a socket)");
}

/* Signals are read from an fd, or -errno. */
static int open_signals(struct ff_error *error)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	return fd < 0 ? ff_fail(error, errno, "signalfd: %s", strerror(errno)) :
			fd;
}

/* Each fence takes a file. */
static void raise_file_limit(void)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
}

/* Everything that can be refused at the start. 0, or -errno with *error. */
static int prepare(struct host *host, struct ff_error *error)
{
	struct ff_host *daemon = &host->daemon;
	int err = ff_eventlog_open(&host->log.events, host->log_path, error);

	if (!err)
		err = take_passed(host, error);
	if (err < 0)
		return err;
	raise_file_limit();
	daemon->peers.dir_fd = open(host->shm_dir,
		O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (daemon->peers.dir_fd < 0)
		return ff_fail(error, errno, "cannot open the shm dir %s: %s "
			"(choose another with --shm-dir)", host->shm_dir,
			strerror(errno));
	daemon->ops.signal_fd = open_signals(error);
	if (daemon->ops.signal_fd < 0)
		return daemon->ops.signal_fd;
	return ff_host_open(daemon, host->kind, error);
}

static bool signalled(void *context)
{
	struct host *host = context;
	const struct ff_peers *peers = &host->daemon.peers;
	struct signalfd_siginfo info;

	while (read(host->daemon.ops.signal_fd, &info, sizeof(info)) ==
		sizeof(info)) {
		if (info.ssi_signo != SIGUSR1)
			return false;
		ff_hostlog_status(&host->log, ff_waiters_name(peers->waiters),
			ff_host_guests(&host->daemon), peers->watched.count);
	}
	return true;
}

static void changed(void *context, size_t guests, size_t fences)
{
	(void)context;
	sd_notifyf(0, "STATUS=guests %zu, fences %zu", guests, fences);
}

/* Serve until a signal. Returns the exit status. */
static int serve(struct host *host)
{
	const char *waiters = ff_waiters_name(host->daemon.peers.waiters);
	size_t listeners = host->daemon.listener_count;
	int err;

	ff_hostlog_host(&host->log, "started", waiters, listeners);
	sd_notify(0, "READY=1\nSTATUS=guests 0, fences 0");
	err = ff_host_serve(&host->daemon);
	sd_notify(0, "STOPPING=1");
	if (err < 0)
		ff_say(&host->log.events, -1, "the host's end gives up: %s",
			strerror(-err));
	ff_host_close(&host->daemon);
	ff_hostlog_host(&host->log, "stopped", waiters, listeners);
	return err < 0 ? FF_EXIT_FAILURE : 0;
}

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

int ff_host(int argc, char **argv)
{
	static struct host host = {
		.shm_dir = "/dev/shm",
		.log.events.fd = -1,
		.daemon = {
			.epoll_fd = -1,
			.peers = {
				.dir_fd = -1,
				.max_fences = 16384,
				.max_rate = 100000,
			},
			.ops = {
				.signal_fd = -1,
				.context = &host,
				.signalled = signalled,
				.changed = changed,
			},
		},
	};
	struct ff_error error;
	int status = FF_EXIT_FAILURE, parsed;

	host.daemon.peers.log = &host.log;
	host.daemon.peers.admission.own_uid = geteuid();
	ff_hostlog_init(&host.log);
	parsed = parse(&host, argc, argv);
	if (parsed > 0)
		status = 0;
	else if (parsed == 0 && prepare(&host, &error) < 0)
		ff_say(&host.log.events, -1, "%s", error.text);
	else if (parsed == 0)
		status = serve(&host);
	ff_host_close(&host.daemon);
	ff_eventlog_flush(&host.log.events);
	ff_admission_free(&host.daemon.peers.admission);
	close_fd(host.daemon.peers.dir_fd);
	close_fd(host.daemon.ops.signal_fd);
	close_fd(host.log.events.fd);
	return status;
}
