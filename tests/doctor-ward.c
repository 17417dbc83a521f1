/* SPDX-License-Identifier: MIT */
/*
 * A place that is worse than it might be, to run a command in:
 *
 *	doctor-ward forbid CALL COMMAND [ARG...]    that system call is refused
 *	doctor-ward trace COMMAND [ARG...]          traced, with all it forks
 *
 * Exits as the command does, with 99 if there is none.
 */
#include <errno.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

enum { UNUSABLE = 99 };

static _Noreturn void fail(const char *what)
{
	perror(what);
	_exit(UNUSABLE);
}

static _Noreturn void execute(char **argv)
{
	execv(argv[0], argv);
	fail(argv[0]);
}

static _Noreturn void forbid(const char *call, char **argv)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	int nr = seccomp_syscall_resolve_name(call);

	if (!filter || nr == __NR_SCMP_ERROR ||
		seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), nr, 0) ||
		seccomp_load(filter))
		fail(call);
	execute(argv);
}

/* As a debugger does that follows forks: every signal is handed on. */
static void go_on(pid_t pid, int status)
{
	int sig = WSTOPSIG(status), event = status >> 16;

	if (event == PTRACE_EVENT_STOP && sig != SIGTRAP)
		ptrace(PTRACE_LISTEN, pid, 0, 0);
	else
		ptrace(PTRACE_CONT, pid, 0, event ? 0 : sig);
}

static int trace(char **argv)
{
	int ready[2], status, result = UNUSABLE;
	pid_t child, pid;
	char byte;

	if (pipe(ready) < 0)
		fail("pipe");
	child = fork();
	if (child < 0)
		fail("fork");
	if (!child) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(ready[1]);
		if (read(ready[0], &byte, 1) != 1)
			_exit(UNUSABLE);
		execute(argv);
	}
	if (ptrace(PTRACE_SEIZE, child, 0, PTRACE_O_TRACEFORK |
		PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE |
		PTRACE_O_EXITKILL) < 0 || write(ready[1], "g", 1) != 1)
		fail("seize");
	while ((pid = waitpid(-1, &status, __WALL)) > 0)
		if (WIFSTOPPED(status))
			go_on(pid, status);
		else if (pid == child)
			result = WIFEXITED(status) ? WEXITSTATUS(status) :
						     UNUSABLE;
	return result;
}

int main(int argc, char **argv)
{
	if (argc > 3 && !strcmp(argv[1], "forbid"))
		forbid(argv[2], argv + 3);
	if (argc > 2 && !strcmp(argv[1], "trace"))
		return trace(argv + 2);
	return UNUSABLE;
}
