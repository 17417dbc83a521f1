/* SPDX-License-Identifier: MIT */
/*
 * steps: an X client that does what its arguments say, one after the other.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client.h"
#include "steps.h"

enum { MOST = 1000000 };

static const char usage_text[] =
	"Usage: steps STEP...\n"
	"  fence[=N]     make, use and destroy N fences (default 1)\n"
	"  flow          make fences until a line comes on standard input\n"
	"  memfd[=N]     share N memfds by MIT-SHM, compare pictures\n"
	"  pause=NAME    wait for a line on standard input\n"
	"  user          say who this is\n"
	"  undumpable    PR_SET_DUMPABLE 0\n"
	"  errno=CALLS   a seccomp filter: EPERM for these calls (a,b,c)\n"
	"  kill=CALLS    a seccomp filter: SIGSYS for these calls\n"
	"  all-errno=CALLS, all-kill=CALLS  the same, installed by another "
	"thread\n"
	"  one-kill=CALLS  the same, for another thread alone, which sleeps\n"
	"  sharer-kill=CALLS  share a memfd that a child has, under such a "
	"filter\n"
	"  daemon        go on as a daemon; the parents end\n"
	"  fork          go on in a child; the parent ends as the child does\n"
	"  dumps=N       fences, while a child attaches to us N times\n"
	"  dumps-memfd=N memfds, while a child attaches to us N times\n"
	"  trace=N       trace N children that make a fence\n"
	"  trace-memfd=N trace N children that share a memfd\n"
	"Exit status: 0 if all was well, 1 if not, 2 bad usage, 3 stalled.\n";

static void step_fence(const char *argument, long number)
{
	(void)argument;
	ff_steps_fences(number);
	printf("fences: %ld\n", number);
}

static void step_flow(const char *argument, long number)
{
	(void)argument;
	(void)number;
	puts("flow: begins");
	fflush(stdout);
	printf("flow: %ld fences\n", ff_steps_flow());
}

static void step_memfd(const char *argument, long number)
{
	(void)argument;
	ff_steps_memfds(number);
	printf("memfds: %ld\n", number);
}

static void step_pause(const char *argument, long number)
{
	(void)number;
	ff_client_pause(argument);
}

static void step_user(const char *argument, long number)
{
	(void)argument;
	(void)number;
	printf("user: %d, effective %d\n", (int)getuid(), (int)geteuid());
}

static void step_undumpable(const char *argument, long number)
{
	(void)argument;
	(void)number;
	if (prctl(PR_SET_DUMPABLE, 0) || prctl(PR_GET_DUMPABLE))
		ff_client_die("PR_SET_DUMPABLE: %s", strerror(errno));
}

static void step_errno(const char *argument, long number)
{
	(void)number;
	ff_steps_filter(FF_STEPS_ERRNO, argument);
}

static void step_kill(const char *argument, long number)
{
	(void)number;
	ff_steps_filter(FF_STEPS_KILL, argument);
}

static void step_all_errno(const char *argument, long number)
{
	(void)number;
	ff_steps_filter_from_thread(FF_STEPS_ERRNO, argument);
}

static void step_all_kill(const char *argument, long number)
{
	(void)number;
	ff_steps_filter_from_thread(FF_STEPS_KILL, argument);
}

static void step_one_kill(const char *argument, long number)
{
	(void)number;
	ff_steps_filter_one_thread(FF_STEPS_KILL, argument);
}

static void step_sharer_kill(const char *argument, long number)
{
	(void)number;
	ff_steps_memfd_with_sharer(argument);
	puts("sharer: lives");
}

static pid_t fork_or_die(void)
{
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid < 0)
		ff_client_die("fork: %s", strerror(errno));
	if (!pid)
		ff_steps_forget_connection();
	return pid;
}

static void step_daemon(const char *argument, long number)
{
	(void)argument;
	(void)number;
	if (fork_or_die())
		_exit(0);
	setsid();
	if (fork_or_die())
		_exit(0);
	puts("daemon");
	fflush(stdout);
}

static void step_fork(const char *argument, long number)
{
	pid_t pid = fork_or_die();
	int status;

	(void)argument;
	(void)number;
	if (!pid)
		return;
	if (waitpid(pid, &status, 0) != pid)
		ff_client_die("waitpid: %s", strerror(errno));
	_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

static void step_dumps(const char *argument, long number)
{
	(void)argument;
	ff_steps_dumps(number, ff_steps_fences);
}

static void step_dumps_memfd(const char *argument, long number)
{
	(void)argument;
	ff_steps_dumps(number, ff_steps_memfds);
}

static void step_trace(const char *argument, long number)
{
	(void)argument;
	ff_steps_trace(number, ff_steps_fences);
}

static void step_trace_memfd(const char *argument, long number)
{
	(void)argument;
	ff_steps_trace(number, ff_steps_memfds);
}

enum argument { NONE, NUMBER, TEXT };

static const struct step {
	const char *name;
	enum argument argument;
	void (*take)(const char *argument, long number);
} steps[] = {
	{"fence", NUMBER, step_fence},
	{"flow", NONE, step_flow},
	{"memfd", NUMBER, step_memfd},
	{"pause", TEXT, step_pause},
	{"user", NONE, step_user},
	{"undumpable", NONE, step_undumpable},
	{"errno", TEXT, step_errno},
	{"kill", TEXT, step_kill},
	{"all-errno", TEXT, step_all_errno},
	{"all-kill", TEXT, step_all_kill},
	{"one-kill", TEXT, step_one_kill},
	{"sharer-kill", TEXT, step_sharer_kill},
	{"daemon", NONE, step_daemon},
	{"fork", NONE, step_fork},
	{"dumps", NUMBER, step_dumps},
	{"dumps-memfd", NUMBER, step_dumps_memfd},
	{"trace", NUMBER, step_trace},
	{"trace-memfd", NUMBER, step_trace_memfd},
};

static const struct step *find_step(const char *text)
{
	const char *equals = strchrnul(text, '=');
	size_t length = (size_t)(equals - text);

	for (size_t i = 0; i < sizeof(steps) / sizeof(*steps); i++)
		if (strlen(steps[i].name) == length &&
			!strncmp(text, steps[i].name, length) &&
			(steps[i].argument == NUMBER ||
				(steps[i].argument == TEXT) == !!*equals))
			return &steps[i];
	return NULL;
}

static void take_step(const char *text)
{
	const struct step *step = find_step(text);
	const char *argument = strchr(text, '=');
	long number = 1;

	argument = argument ? argument + 1 : NULL;
	if (argument && step->argument == NUMBER)
		number = ff_client_number(step->name, argument, 1, MOST);
	step->take(argument, number);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (find_step(argv[i]))
			continue;
		fprintf(stderr, "steps: %s: not a step\n%s", argv[i],
			usage_text);
		return FF_CLIENT_EXIT_USAGE;
	}
	for (int i = 1; i < argc; i++)
		take_step(argv[i]);
	puts("OK");
	return 0;
}
