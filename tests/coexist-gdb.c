/* SPDX-License-Identifier: MIT */
/*
 * gdb and fenceferry on the same client.
 */
#include "coexist.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

enum { VISITS = 8, FENCES = 22 };

/* How often a text has another in it. */
static unsigned int count_text(const char *text, const char *wanted)
{
	unsigned int count = 0;

	while ((text = strstr(text, wanted))) {
		text += strlen(wanted);
		count++;
	}
	return count;
}

/* A client under gdb that fenceferry runs, with stops on the fences' way. */
static void run_gdb(struct e2e_run *run, const char *engine)
{
	*run = (struct e2e_run){.wrapped = true,
		.options = {engine},
		.setting = COEXIST_SETTING,
		.command = {"gdb", "-q", "-nx", "-batch", "-ex",
			"set breakpoint pending on", "-ex",
			"break xshmfence_alloc_shm", "-ex",
			"break xcb_dri3_fence_from_fd", "-ex", "run", "-ex",
			"backtrace", "-ex", "continue", "-ex", "backtrace",
			"-ex", "continue", "-ex", "delete", "-ex", "continue",
			"--args", e2e_client("fence-client"), "--rounds=200",
			"--fences=20"}};
	e2e_do(run);
	coexist_check_ok(run);
	e2e_check(run,
		strstr(run->output, "Breakpoint 1, ") &&
			strstr(run->output, "Breakpoint 2, "),
		"gdb stops where it was told to");
	e2e_check(run, count_text(run->output, "in make_fence (") == 2,
		"gdb shows the stack");
	e2e_check(run, strstr(run->output, "exited normally"),
		"gdb sees the end");
}

E2E_TEST(gdb, runs_the_client_and_fences_are_swapped, FF_TEST_XORG_FENCES)
{
	struct e2e_run run;

	run_gdb(&run, NULL);
	coexist_check_notified(&run, FENCES);
}

/* The control. */
E2E_TEST(gdb, keeps_the_ptrace_engine_out, FF_TEST_XORG_FENCES)
{
	struct e2e_run run;

	run_gdb(&run, "--engine=ptrace");
	e2e_check_log(&run, 0, 0, FENCES);
	coexist_check_traced(&run, "failed", FENCES);
}

/* It attaches, looks, and detaches. */
static void visit(pid_t pid)
{
	char text[16];
	struct e2e_run run = {
		.command = {"gdb", "-q", "-nx", "-batch", "-ex", "backtrace",
			"-ex", "detach", "-p", text}};

	snprintf(text, sizeof(text), "%d", pid);
	e2e_start(&run);
	e2e_finish_beside(&run);
	e2e_check(&run, e2e_exited(&run, 0), "gdb is content");
	e2e_check(&run,
		strstr(run.output, "ff_steps_flow (") &&
			strstr(run.output, "detached]"),
		"gdb shows the stack, and detaches");
}

E2E_TEST(gdb, comes_and_goes_while_fences_are_made, FF_TEST_XORG_FENCES)
{
	struct e2e_run run = {.wrapped = true,
		.command = {e2e_client("steps"), "pause=start", "flow",
			"fence=20"}};
	pid_t client;
	const char *line;
	unsigned int fences;

	e2e_need_attach();
	e2e_start(&run);
	e2e_await(&run, "pause: start");
	client = coexist_command(&run);
	e2e_go_on(&run);
	e2e_await(&run, "flow: begins");
	for (int i = 0; i < VISITS; i++)
		visit(client);
	e2e_go_on(&run);
	e2e_finish(&run);
	coexist_check_ok(&run);
	line = strstr(run.output, "begins\nflow: ");
	e2e_check(&run,
		line && sscanf(line, "begins\nflow: %u", &fences) == 1 &&
			fences >= VISITS,
		"fences were made meanwhile");
	coexist_check_notified(&run, fences + 20);
}
