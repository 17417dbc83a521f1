/* SPDX-License-Identifier: MIT */
/*
 * strace and fenceferry on the same client: both do their work.
 */
#include "coexist.h"
#include "relay.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

/* How strace shows libxshmfence's call; what comes behind is its result, unless
 * another thread comes between. */
#define MADE "memfd_create(\"xshmfence\", MFD_CLOEXEC|MFD_ALLOW_SEALING"

enum { FENCES = 52, ATTACHES = 50 };

/* A client under strace that fenceferry runs. */
static void run_strace(struct e2e_run *run, const char *engine)
{
	*run = (struct e2e_run){.wrapped = true,
		.options = {engine},
		.setting = COEXIST_SETTING,
		.command = {"strace", "-f", "-o", coexist_path("strace"),
			e2e_client("fence-client"), "--rounds=200",
			"--fences=50", "--threads=8"}};
	e2e_do(run);
	coexist_check_ok(run);
	e2e_check(run,
		strstr(run->output, "rounds: 200,") &&
			strstr(run->output, ", none disturbed\n"),
		"the rounds were done, and the threads noticed nothing");
	e2e_check(run, e2e_count_lines(coexist_path("strace"), MADE) == FENCES,
		"strace sees every fence made");
	e2e_check(run,
		!e2e_count_lines(coexist_path("strace"), MADE ") = -1") &&
			!e2e_count_lines(coexist_path("strace"),
				"memfd_create resumed>) = -1"),
		"strace sees none fail");
}

E2E_TEST(strace, runs_the_client_and_fences_are_swapped, FF_TEST_XORG_FENCES)
{
	static const char *const engines[] = {NULL, "--engine=notify"};
	struct e2e_run run;

	for (unsigned int i = 0; i < 2; i++) {
		run_strace(&run, engines[i]);
		coexist_check_notified(&run, FENCES);
	}
}

/* The control: nothing can be swapped by ptrace, and the log says why. */
E2E_TEST(strace, keeps_the_ptrace_engine_out, FF_TEST_XORG_FENCES)
{
	struct e2e_run run;

	run_strace(&run, "--engine=ptrace");
	e2e_check_log(&run, 0, 0, FENCES);
	coexist_check_traced(&run, "failed", FENCES);
}

E2E_TEST(strace, runs_fenceferry, FF_TEST_XORG_FENCES)
{
	char shm_dir[PATH_MAX], log[PATH_MAX];
	struct e2e_run run = {.setting = COEXIST_SETTING,
		.command = {"strace", "-f", "-o", coexist_path("strace"),
			e2e_fenceferry(), "run", shm_dir, log, "--",
			e2e_client("fence-client"), "--rounds=200",
			"--fences=50"}};

	snprintf(shm_dir, sizeof(shm_dir), "--shm-dir=%s", e2e_shm_dir());
	snprintf(log, sizeof(log), "--log=%s", coexist_path("log"));
	e2e_do(&run);
	coexist_check_ok(&run);
	e2e_read_log(&run, coexist_path("log"));
	run.wrapped = true;
	coexist_check_notified(&run, FENCES);
	e2e_check(&run, e2e_count_lines(coexist_path("strace"), MADE) == FENCES,
		"strace sees every fence made");
	json_decref(run.log);
}

/* A client that makes fences until it is let go on. */
static void start_flow(struct e2e_run *run, const char *option,
	const char *other, pid_t *client)
{
	*run = (struct e2e_run){.wrapped = true,
		.options = {option, other},
		.setting = COEXIST_SETTING,
		.command = {e2e_client("steps"), "pause=start", "flow",
			"fence=20"}};
	e2e_start(run);
	e2e_await(run, "pause: start");
	*client = coexist_command(run);
	e2e_go_on(run);
	e2e_await(run, "flow: begins");
}

/* strace comes to pid, stays until it has seen text, and goes. Returns how
 * often it was refused. */
static unsigned int come_and_go(
	struct e2e_run *run, pid_t pid, const char *text, unsigned int times)
{
	unsigned int refused = 0;

	for (unsigned int i = 0; i < times; i++) {
		struct coexist_strace strace;

		coexist_attach(&strace, pid, "strace");
		refused += strace.refused;
		coexist_detach(&strace, text);
		e2e_check(run, !e2e_has_ended(run), "the client goes on");
	}
	return refused;
}

static void end_flow(struct e2e_run *run)
{
	e2e_go_on(run);
	e2e_finish_beside(run);
	coexist_check_ok(run);
}

/* How many fences there were, as the client counts them. */
static unsigned int flowed(const struct e2e_run *run)
{
	const char *line = strstr(run->output, "flow: begins\nflow: ");
	unsigned int count = 0;

	e2e_check(run, line && sscanf(line, "flow: begins\nflow: %u", &count),
		"the client counts its fences");
	return count;
}

E2E_TEST(strace, comes_and_goes_while_fences_are_made, FF_TEST_XORG_FENCES)
{
	struct e2e_run run;
	pid_t client;

	e2e_need_attach();
	start_flow(&run, NULL, NULL, &client);
	e2e_check(&run, !come_and_go(&run, client, MADE, ATTACHES),
		"strace is never refused");
	end_flow(&run);
	e2e_check(&run, flowed(&run) >= ATTACHES, "there were fences");
	coexist_check_notified(&run, flowed(&run) + 20);
}

/* It interrupts waits that the supervisor holds: no wake is lost by that. */
E2E_TEST(strace, comes_and_goes_with_a_relay, FF_TEST_XORG_FENCES)
{
	struct relay_host host;
	struct e2e_run run;
	pid_t client;

	e2e_need_attach();
	relay_host_start(&host, NULL);
	start_flow(&run, "--isolate", relay_option(), &client);
	e2e_check(&run, !come_and_go(&run, client, MADE, ATTACHES / 2),
		"strace is never refused");
	end_flow(&run);
	coexist_check_notified(&run, flowed(&run) + 20);
	relay_host_stop(&host);
}

/* The supervisor is interrupted amid its answers. */
E2E_TEST(strace, comes_and_goes_at_the_supervisor, FF_TEST_XORG_FENCES)
{
	struct e2e_run run;
	pid_t client;

	e2e_need_attach();
	start_flow(&run, NULL, NULL, &client);
	e2e_check(&run,
		!come_and_go(&run, e2e_child_of(run.pid), "ioctl(", ATTACHES),
		"strace is never refused");
	end_flow(&run);
	coexist_check_notified(&run, flowed(&run) + 20);
}

/* The supervisor, which traces others, can itself be traced. */
E2E_TEST(strace, watches_the_supervisor_swap, FF_TEST_XORG_FENCES)
{
	struct e2e_run run = {.wrapped = true,
		.options = {"--engine=ptrace"},
		.setting = COEXIST_SETTING,
		.command = {e2e_client("steps"), "pause=start", "fence=20",
			"memfd=20", "pause=end"}};
	struct coexist_strace strace;

	e2e_need_attach();
	e2e_start(&run);
	e2e_await(&run, "pause: start");
	coexist_attach(&strace, e2e_child_of(run.pid), "strace");
	e2e_check(&strace.run, strace.begun, "strace attaches");
	e2e_go_on(&run);
	e2e_await(&run, "pause: end");
	coexist_detach(&strace, "ptrace(PTRACE_SEIZE, ");
	e2e_go_on(&run);
	e2e_finish(&run);
	coexist_check_ok(&run);
	e2e_check_log(&run, 40, 0, 0);
}

/* Each crossing has one tracer: strace or fenceferry. */
E2E_TEST(strace, comes_and_goes_beside_the_ptrace_engine, FF_TEST_XORG_FENCES)
{
	struct e2e_run run;
	unsigned int refused, failed, swapped;
	pid_t client;

	e2e_need_attach();
	start_flow(&run, "--engine=ptrace", NULL, &client);
	refused = come_and_go(&run, client, MADE, ATTACHES / 2);
	end_flow(&run);
	e2e_check(&run, refused < ATTACHES / 2, "strace is not always refused");
	failed = e2e_count(&run, "crossing", "action", "failed");
	swapped = flowed(&run) + 20 - failed;
	e2e_check_log(&run, swapped, 0, failed);
	e2e_check(&run, failed && swapped, "there were both");
	coexist_check_traced(&run, "failed", failed);
}

E2E_TEST(strace, has_another_memfd_left_until_it_goes, FF_TEST_XORG_FENCES)
{
	struct e2e_run run = {.wrapped = true,
		.command = {e2e_client("steps"), "pause=one", "memfd", "fence",
			"pause=two", "memfd", "fence"}};
	struct coexist_strace strace;

	e2e_need_attach();
	e2e_start(&run);
	e2e_await(&run, "pause: one");
	coexist_attach(&strace, coexist_command(&run), "strace");
	e2e_check(&strace.run, strace.begun, "strace attaches");
	e2e_go_on(&run);
	e2e_await(&run, "pause: two");
	coexist_detach(&strace, "memfd_create(\"steps\", MFD_CLOEXEC) = ");
	e2e_go_on(&run);
	e2e_finish(&run);
	coexist_check_ok(&run);
	e2e_check_log(&run, 3, 1, 0);
	coexist_check_traced(&run, "left", 1);
	e2e_check(&run, e2e_count(&run, "engine", "engine", "none") == 1,
		"the log says so of the process, too");
	e2e_check(&run,
		e2e_count(&run, "swap", "engine", "ptrace") == 1 &&
			e2e_count(&run, "swap", "engine", "notify") == 2,
		"fences by notify, the other memfd by ptrace");
	e2e_check(&run,
		!strcmp(e2e_text(e2e_event(&run, "crossing", 0), "action"),
			"left"),
		"the first was left");
}
