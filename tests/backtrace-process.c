/* SPDX-License-Identifier: MIT */
/*
 * The process that names frames, and files that are not as they should be.
 */
#include "backtrace.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { FENCES = 5, BOUND_MS = 8000 };

E2E_TEST(backtrace_files, of_clients_that_are_killed_are_named, FF_TEST_XVFB)
{
	for (int i = 0; i < 2; i++) {
		struct e2e_run run;

		backtrace_do(&run, 64, i ? "notify" : "ptrace", "exit");
		e2e_check(&run, WIFSIGNALED(run.status), "it was killed");
		backtrace_check_whole(&run, e2e_event(&run, "crossing", 0),
			i ? "proc" : "ptrace");
	}
}

static void check_note(const struct e2e_run *run, const char *note)
{
	json_t *event = e2e_event(run, "crossing", 0);
	json_t *frame = backtrace_frame(event, "sendmsg", 1);

	e2e_check(run, strstr(e2e_text(frame, "note"), note), note);
	e2e_check(run, strstr(e2e_text(frame, "module"), "/victim"),
		"the module is named nevertheless");
	e2e_check(run, *e2e_text(event, "backtrace_end"), "it ends there");
}

E2E_TEST(backtrace_files, that_are_gone_are_said_to_be, FF_TEST_XVFB)
{
	struct e2e_run run;

	backtrace_start_copy(&run, "off", "deleted");
	e2e_finish(&run);
	check_note(&run, "deleted");
	backtrace_start_copy(&run, "off", "replaced");
	e2e_finish(&run);
	check_note(&run, "deleted");
}

/* Whatever is in them, the stack is right as far as it goes. */
E2E_TEST(backtrace_files, that_are_damaged_do_no_harm, FF_TEST_XVFB)
{
	for (int i = 0; i < 2; i++) {
		struct e2e_run run;
		json_t *event;
		size_t count = 0;

		backtrace_start_copy(&run, i ? "notify" : "ptrace", "corrupt");
		e2e_await(&run, "called\n");
		e2e_finish(&run);
		e2e_check(&run, e2e_exited(&run, 0), "it is content");
		for (; (event = e2e_event(&run, "crossing", count)); count++) {
			const char *names = backtrace_names(event);

			e2e_check(&run,
				strstr(names, "send_one < called_by_code < ?"),
				"the stack is named up to the damaged file");
		}
		e2e_check(&run, count == 8, "eight crossings");
	}
}

static void start_fences(struct e2e_run *run)
{
	static char fences[32];

	snprintf(fences, sizeof(fences), "--fences=%d", FENCES);
	*run = (struct e2e_run){
		.wrapped = true,
		.options = { "--backtrace" },
		.command = { e2e_client("fence-client"), "--pause", fences },
	};
	e2e_start(run);
	e2e_await(run, "pause: start\n");
}

/* To the end; every event is there, and so is a reason in each. */
static void check_untraced(struct e2e_run *run, const char *reason)
{
	const unsigned int fences = FENCES + 2;
	long long begin;

	if (!strstr(run->output, "pause: middle\n")) {
		e2e_go_on(run);
		e2e_await(run, "pause: middle\n");
	}
	e2e_go_on(run);
	e2e_await(run, "pause: end\n");
	begin = e2e_now_ms();
	e2e_finish(run);
	e2e_check(run, e2e_now_ms() - begin < BOUND_MS, "it ends in time");
	e2e_check(run, e2e_exited(run, 0), "the command is content");
	e2e_check(run, !run->bad_lines, "the log is whole");
	e2e_check(run, e2e_count(run, "swap", "event", "") == fences &&
		e2e_count(run, "crossing", "event", "") == fences &&
		e2e_count(run, "exit", "event", "") == 1,
		"with all events");
	e2e_check(run,
		e2e_count(run, "crossing", "backtrace_end", reason) +
			e2e_count(run, "swap", "backtrace_end", reason) ==
			2 * fences, reason);
}

/* What ps shows of it. */
static void check_name(const struct e2e_run *run, pid_t pid)
{
	char path[64], text[64] = "";
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/cmdline", pid);
	file = fopen(path, "re");
	e2e_check(run, file && fgets(text, sizeof(text), file) &&
		!strcmp(text, "fenceferry: symbols"), "it has a clear name");
	fclose(file);
}

E2E_TEST(backtrace_process, may_be_killed, FF_TEST_XORG_FENCES)
{
	struct e2e_run run;
	pid_t pid;

	start_fences(&run);
	pid = backtrace_symbols_process(&run);
	check_name(&run, pid);
	/* With something that was handed over, and nothing written. */
	kill(pid, SIGSTOP);
	e2e_go_on(&run);
	e2e_await(&run, "pause: middle\n");
	kill(pid, SIGKILL);
	check_untraced(&run, "has ended");
}

E2E_TEST(backtrace_process, may_hang, FF_TEST_XORG_FENCES)
{
	struct e2e_run run;

	start_fences(&run);
	kill(backtrace_symbols_process(&run), SIGSTOP);
	check_untraced(&run, "took too long");
}

/* The log is whole when run returns, though it was late. */
E2E_TEST(backtrace_process, is_waited_for_at_the_end, FF_TEST_XORG_FENCES)
{
	const unsigned int fences = FENCES + 2;
	struct e2e_run run;
	pid_t pid;

	start_fences(&run);
	pid = backtrace_symbols_process(&run);
	kill(pid, SIGSTOP);
	e2e_go_on(&run);
	e2e_await(&run, "pause: middle\n");
	e2e_go_on(&run);
	e2e_await(&run, "pause: end\n");
	e2e_go_on(&run);
	usleep(300000);
	e2e_check(&run, !e2e_has_ended(&run), "it is waited for");
	kill(pid, SIGCONT);
	e2e_finish(&run);
	e2e_check(&run,
		e2e_count(&run, "swap", "event", "") == fences &&
			e2e_count(&run, "swap", "backtrace_by", "ptrace") ==
				fences,
		"every swap has its whole stack");
}

/* Who kills the supervisor does not take away what it had handed over. */
E2E_TEST(backtrace_process, outlives_the_supervisor, FF_TEST_XORG_FENCES)
{
	struct e2e_run run;
	pid_t symbols;
	char path[64];
	FILE *file;
	pid_t pid, supervisor = 0;

	start_fences(&run);
	symbols = backtrace_symbols_process(&run);
	kill(symbols, SIGSTOP);
	e2e_go_on(&run);
	e2e_await(&run, "pause: middle\n");
	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", run.pid,
		run.pid);
	file = fopen(path, "re");
	while (file && fscanf(file, "%d", &pid) == 1)
		if (pid != symbols)
			supervisor = pid;
	if (file)
		fclose(file);
	/* What is put off has been done once it sleeps. */
	usleep(50000);
	e2e_check(&run, supervisor && !kill(supervisor, SIGKILL), "killed");
	e2e_go_on(&run);
	e2e_await(&run, "pause: end\n");
	e2e_go_on(&run);
	usleep(300000);
	e2e_check(&run, !e2e_has_ended(&run), "the front waits for it");
	kill(symbols, SIGCONT);
	e2e_finish_beside(&run);
	e2e_check(&run, e2e_exited(&run, 0), "the command is content");
	e2e_check(&run, e2e_count(&run, "swap", "backtrace_by", "ptrace") == 1,
		"the swap from before is in the log");
}
