/* SPDX-License-Identifier: MIT */
#include "coexist.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PATIENCE_MS = 40000, TICK_US = 2000 };

const char *coexist_path(const char *name)
{
	static char paths[4][PATH_MAX + 64];
	static unsigned int next;
	char *path = paths[next++ % 4];

	snprintf(path, sizeof(paths[0]), "%s/%s", e2e_dir(), name);
	return path;
}

pid_t coexist_command(const struct e2e_run *run)
{
	return e2e_child_of(e2e_child_of(run->pid));
}

void coexist_attach(struct coexist_strace *strace, pid_t pid, const char *name)
{
	long long deadline = e2e_now_ms() + PATIENCE_MS;
	struct e2e_run *run = &strace->run;

	memset(strace, 0, sizeof(*strace));
	strace->path = coexist_path(name);
	unlink(strace->path);
	snprintf(strace->pid, sizeof(strace->pid), "%d", pid);
	*run = (struct e2e_run){.command = {"strace", "-f", "-o", strace->path,
					"-p", strace->pid}};
	e2e_start(run);
	do {
		bool ended = e2e_has_ended(run);

		e2e_look(run);
		strace->begun = strstr(run->errors, " attached\n");
		strace->refused =
			strstr(run->errors, "ptrace(PTRACE_SEIZE") && ended;
		if (strace->begun || strace->refused)
			return;
		e2e_check(run, !ended && e2e_now_ms() < deadline,
			"strace attaches, or says that it cannot");
		usleep(TICK_US);
	} while (true);
}

void coexist_detach(struct coexist_strace *strace, const char *text)
{
	long long deadline = e2e_now_ms() + PATIENCE_MS;
	struct e2e_run *run = &strace->run;

	while (strace->begun && text && !e2e_count_lines(strace->path, text)) {
		e2e_check(run, !e2e_has_ended(run), "strace stays attached");
		e2e_check(run, e2e_now_ms() < deadline, text);
		usleep(TICK_US);
	}
	if (strace->begun)
		e2e_check(run, !kill(run->pid, SIGINT), "strace lives");
	e2e_finish_beside(run);
	if (!strace->begun)
		return;
	e2e_check(run,
		e2e_exited(run, 128 + SIGINT) ||
			(WIFSIGNALED(run->status) &&
				WTERMSIG(run->status) == SIGINT),
		"strace ends by our SIGINT");
	e2e_check(run, strstr(run->errors, " detached\n"), "strace detaches");
}

void coexist_check_ok(const struct e2e_run *run)
{
	e2e_check(run, e2e_exited(run, 0), "the command is content");
	e2e_check(run, strstr(run->output, "OK\n"), "the client says so");
	e2e_check(run, !strstr(run->errors, "the supervisor died"),
		"the supervisor lives");
}

void coexist_check_notified(const struct e2e_run *run, unsigned int fences)
{
	e2e_check_log(run, fences, 0, 0);
	e2e_check(run, e2e_count(run, "swap", "engine", "notify") == fences,
		"all swaps were notify's");
	e2e_check(run, !strstr(run->errors, "could not be"),
		"nothing is complained of");
}

void coexist_check_traced(
	const struct e2e_run *run, const char *action, unsigned int count)
{
	/* Who has gone by the time that it is looked for has no name. */
	e2e_check(run, e2e_count(run, "crossing", "action", action) == count,
		"so many crossings");
	e2e_check(run,
		e2e_count(run, "crossing", "reason", "traced by pid ") +
				e2e_count(run, "crossing", "reason",
					" is refused: ") ==
			count,
		"the reason is the tracer");
}
