/* SPDX-License-Identifier: MIT */
#include "fence-setting.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench.h"

#define DEADLINE_MS 30000

const char *const ff_fence_setting_name[FF_FENCE_SETTINGS] = {
	"bare",
	"sendmsg trapped, let go",
	"--engine=ptrace",
	"--engine=notify",
	"fenceferry run",
	"patched, bare",
	"patched, fenceferry run",
};

/* What distinguishes them. */
static const struct {
	const char *engine; /* of fenceferry's; "": the default, NULL: none */
	bool patched;
	uint8_t made, crossed; /* the memory that it promises */
} settings[FF_FENCE_SETTINGS] = {
	[FF_FENCE_BARE] = {NULL, false, FF_FENCE_MEMFD, FF_FENCE_MEMFD},
	[FF_FENCE_TRAPPED] = {NULL, false, FF_FENCE_MEMFD, FF_FENCE_MEMFD},
	[FF_FENCE_PTRACE] = {"--engine=ptrace", false, FF_FENCE_MEMFD,
		FF_FENCE_FILE},
	[FF_FENCE_NOTIFY] = {"--engine=notify", false, FF_FENCE_FILE,
		FF_FENCE_FILE},
	[FF_FENCE_AUTO] = {"", false, FF_FENCE_FILE, FF_FENCE_FILE},
	[FF_FENCE_PATCHED_ALONE] = {NULL, true, FF_FENCE_FILE, FF_FENCE_FILE},
	[FF_FENCE_PATCHED] = {"", true, FF_FENCE_FILE, FF_FENCE_FILE},
};

bool ff_fence_has_setting(
	enum ff_fence_setting setting, const struct ff_fence_start *start)
{
	return (start->fenceferry || !settings[setting].engine) &&
	       (start->patched || !settings[setting].patched);
}

static int fail(const struct ff_fence_client_process *c, const char *what)
{
	fprintf(stderr, "bench/fence: %s: %s\n",
		ff_fence_setting_name[c->setting], what);
	return -1;
}

/* The forked child: become the client, or what stands around it. */
static _Noreturn void become(const struct ff_fence_client_process *c,
	const struct ff_fence_start *start, int orders)
{
	const char *engine = settings[c->setting].engine;
	const char *argv[8];
	int n = 0;

	if (engine) {
		argv[n++] = start->fenceferry;
		argv[n++] = "run";
		argv[n++] = "--quiet";
		if (*engine)
			argv[n++] = engine;
		argv[n++] = "--";
	}
	argv[n++] = start->self;
	argv[n++] = "--client";
	argv[n] = NULL;
	unsetenv("XSHMFENCE_NO_MEMFD");
	if (c->setting == FF_FENCE_PATCHED_ALONE)
		setenv("XSHMFENCE_NO_MEMFD", "1", 1);
	if (settings[c->setting].patched)
		setenv("LD_LIBRARY_PATH", start->patched, 1);
	if (c->setting == FF_FENCE_TRAPPED) {
		/* it ends when the client does, and tidies up before */
		signal(SIGINT, SIG_IGN);
		_exit(ff_supervise(ff_handle_nothing, (char *const *)argv,
			orders, orders, c->stops));
	}
	if (dup2(orders, STDIN_FILENO) < 0 || dup2(orders, STDOUT_FILENO) < 0)
		_exit(126);
	signal(SIGPIPE, SIG_DFL);
	execv(argv[0], (char *const *)argv);
	_exit(127);
}

/* Wait for the client's answer, but not for ever. */
static int hear(
	struct ff_fence_client_process *c, struct ff_fence_round *round)
{
	struct pollfd ready = {.fd = c->orders, .events = POLLIN};
	int got = poll(&ready, 1, DEADLINE_MS);

	if (got < 0)
		return errno == EINTR ? -1 : fail(c, strerror(errno));
	if (!got)
		return fail(c, "the client does not answer");
	if (read(c->orders, round, sizeof(*round)) != sizeof(*round))
		return fail(c, c->stops->error[0] ? c->stops->error
						  : "the client ended");
	return 0;
}

int ff_fence_start(struct ff_fence_client_process *c,
	enum ff_fence_setting setting, const struct ff_fence_start *start)
{
	struct ff_fence_round hello;
	int end[2];

	*c = (struct ff_fence_client_process){.setting = setting};
	c->stops = mmap(NULL, sizeof(*c->stops), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (c->stops == MAP_FAILED ||
		socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, end))
		return fail(c, strerror(errno));
	c->orders = end[0];
	c->child = fork();
	if (!c->child)
		become(c, start, end[1]);
	close(end[1]);
	if (c->child < 0)
		fail(c, strerror(errno));
	if (c->child < 0 || hear(c, &hello)) {
		ff_fence_stop(c, true);
		return -1;
	}
	c->pid = hello.pid;
	return 0;
}

int ff_fence_play(
	struct ff_fence_client_process *c, struct ff_fence_round *round)
{
	char ask = c->setting == FF_FENCE_TRAPPED ? FF_FENCE_REFERENCES
						  : FF_FENCE_PLAIN;

	if (send(c->orders, &ask, 1, MSG_NOSIGNAL) != 1)
		return fail(c, strerror(errno));
	if (hear(c, round))
		return -1;
	if (round->made != settings[c->setting].made)
		return fail(c, "the fence was not made as it should be");
	if (round->crossed != settings[c->setting].crossed)
		return fail(c, "the fence did not cross as it should");
	return 0;
}

int ff_fence_stop(struct ff_fence_client_process *c, bool failed)
{
	int status = 0;

	close(c->orders);
	if (failed && c->pid)
		kill(c->pid, SIGKILL);
	if (c->child > 0 && ff_end_child(c->child, c->pid,
				    failed ? 2000 : DEADLINE_MS, &status))
		fail(c, "does not end");
	if (!failed && c->stops->error[0])
		failed = fail(c, c->stops->error);
	if (!failed && status)
		failed = fail(c, "ended with an error");
	munmap(c->stops, sizeof(*c->stops));
	return failed ? -1 : 0;
}
