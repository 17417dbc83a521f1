/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"
#include "swap-setting.h"

#define DEADLINE_MS 20000

const char *const ff_setting_name[FF_SETTINGS] = {
	"bare sendmsg",
	"notified, let go",
	"floor",
	"reference",
	"fenceferry",
};

static ff_handler *const handler[FF_SETTINGS] = {
	[FF_NOTIFIED] = ff_handle_nothing,
	[FF_FLOOR] = ff_handle_floor,
	[FF_REFERENCE] = ff_handle_reference,
};

static int fail(const struct ff_client *c, const char *what)
{
	fprintf(stderr, "bench/swap: %s: %s\n", ff_setting_name[c->setting],
		what);
	return -1;
}

/* fenceferry's command line around the client's. */
static _Noreturn void wrap(
	const struct ff_start *start, const char *path, const char *count)
{
	char socket[160], log[160], engine[32];
	const char *argv[14] = {start->fenceferry, "run", engine};
	int n = 3;

	snprintf(engine, sizeof(engine), "--engine=%s",
		start->engine ? start->engine : "ptrace");
	if (start->backtrace)
		argv[n++] = "--backtrace";
	snprintf(socket, sizeof(socket), "--x-socket=%s", path);
	snprintf(log, sizeof(log), "--log=%s", start->log ? start->log : "");
	argv[n++] = socket;
	if (start->log)
		argv[n++] = log;
	argv[n++] = "--";
	argv[n++] = start->self;
	argv[n++] = "--client";
	argv[n++] = count;
	argv[n++] = path;
	argv[n++] = start->placing;
	execv(argv[0], (char *const *)argv);
	_exit(127);
}

/* The forked child: become the client, or what stands around it. */
static _Noreturn void become(const struct ff_client *c,
	const struct ff_start *start, int in, int out)
{
	char count[16], path[128];
	const char *argv[] = {
		start->self, "--client", count, path, start->placing, NULL};

	snprintf(count, sizeof(count), "%u", start->threads);
	snprintf(path, sizeof(path), "%s/X%d", start->directory, getpid());
	if (handler[c->setting]) {
		/* it ends when the client does, and tidies up before */
		signal(SIGINT, SIG_IGN);
		_exit(ff_supervise(handler[c->setting], (char *const *)argv, in,
			out, c->stops));
	}
	if (dup2(in, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0)
		_exit(126);
	signal(SIGPIPE, SIG_DFL);
	if (c->setting == FF_FENCEFERRY)
		wrap(start, path, count);
	execv(argv[0], (char *const *)argv);
	_exit(127);
}

/* Wait for the client's answer, but not for ever. */
static int read_round(struct ff_client *c, struct ff_round *round)
{
	struct pollfd ready = {.fd = c->out, .events = POLLIN};
	int got = poll(&ready, 1, DEADLINE_MS);

	if (got < 0)
		return errno == EINTR ? -1 : fail(c, strerror(errno));
	if (!got)
		return fail(c, "the client does not answer");
	if (read(c->out, round, sizeof(*round)) != sizeof(*round))
		return fail(c, c->stops->error[0] ? c->stops->error
						  : "the client ended");
	if (round->error[0])
		return fail(c, round->error);
	return 0;
}

/* Fork with a pipe to and from the child's standard streams. */
static int fork_client(struct ff_client *c, const struct ff_start *start)
{
	int in[2] = {-1, -1}, out[2] = {-1, -1};

	if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC))
		return fail(c, strerror(errno));
	c->in = in[1];
	c->out = out[0];
	c->child = fork();
	if (!c->child)
		become(c, start, in[0], out[1]);
	close(in[0]);
	close(out[1]);
	return c->child < 0 ? fail(c, strerror(errno)) : 0;
}

int ff_client_start(struct ff_client *c, enum ff_setting setting,
	const struct ff_start *start)
{
	struct ff_round hello;

	*c = (struct ff_client){.setting = setting, .in = -1, .out = -1};
	c->swaps = setting == FF_REFERENCE ||
		   (setting == FF_FENCEFERRY &&
			   (!start->engine || strcmp(start->engine, "off")));
	c->stops = mmap(NULL, sizeof(*c->stops), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (c->stops == MAP_FAILED)
		return fail(c, strerror(errno));
	if (fork_client(c, start)) {
		munmap(c->stops, sizeof(*c->stops));
		return -1;
	}
	if (read_round(c, &hello)) {
		ff_client_stop(c, true);
		return -1;
	}
	c->pid = hello.pid;
	return 0;
}

int ff_client_play(struct ff_client *c, bool observed, struct ff_round *round)
{
	char ask = observed ? FF_ROUND_OBSERVED : FF_ROUND_PLAIN;

	if (write(c->in, &ask, 1) != 1)
		return fail(c, strerror(errno));
	if (read_round(c, round))
		return -1;
	if (c->swaps && !round->swapped)
		return fail(c, "a memfd crossed as it was");
	if (!c->swaps && round->swapped)
		return fail(c, "something crossed that is no memfd");
	return 0;
}

/* Wait for the child's end; by force after the deadline. */
static int wait_child(struct ff_client *c, int deadline_ms)
{
	int status = 0;

	if (ff_end_child(c->child, c->pid, deadline_ms, &status))
		fail(c, "does not end");
	return status;
}

int ff_client_stop(struct ff_client *c, bool failed)
{
	int status;

	close(c->in);
	close(c->out);
	if (failed && c->pid)
		kill(c->pid, SIGKILL);
	status = wait_child(c, failed ? 2000 : DEADLINE_MS);
	if (!failed && c->stops->error[0])
		failed = fail(c, c->stops->error);
	if (!failed && status)
		failed = fail(c, "ended with an error");
	munmap(c->stops, sizeof(*c->stops));
	return failed ? -1 : 0;
}
