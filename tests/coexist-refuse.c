/* SPDX-License-Identifier: MIT */
/*
 * fenceferry where ptrace ends a process: the notify engine makes no such call.
 */
#include "coexist.h"
#include "relay.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

enum { FENCES = 1002 };

/* fenceferry run under the filter; its log is read from a file of the test's.
 */
static void run_forbidden(
	struct e2e_run *run, const char *engine, const char *relay)
{
	static char shm_dir[PATH_MAX], log[PATH_MAX];

	snprintf(shm_dir, sizeof(shm_dir), "--shm-dir=%s", e2e_shm_dir());
	snprintf(log, sizeof(log), "--log=%s", coexist_path("log"));
	*run = (struct e2e_run){.setting = COEXIST_SETTING,
		.command = {TEST_WITH_FILTER, "kill", "ptrace",
			e2e_fenceferry(), "run", shm_dir, log, engine,
			relay ? "--isolate" : "-v", relay ? relay : "-v", "--",
			e2e_client("fence-client"), "--rounds=1000",
			"--fences=1000"}};
	e2e_start(run);
	e2e_finish_beside(run);
	e2e_read_log(run, coexist_path("log"));
	run->wrapped = true;
	e2e_check(run, e2e_exited(run, 0) && strstr(run->output, "OK\n"),
		"the client is content");
}

E2E_TEST(no_ptrace, notify_never_calls_it, FF_TEST_XORG_FENCES)
{
	struct e2e_run run;

	run_forbidden(&run, "--engine=notify", NULL);
	coexist_check_ok(&run);
	coexist_check_notified(&run, FENCES);
	json_decref(run.log);
}

E2E_TEST(no_ptrace, auto_never_calls_it_for_fences, FF_TEST_XORG_FENCES)
{
	struct e2e_run run;

	run_forbidden(&run, "--engine=auto", NULL);
	coexist_check_ok(&run);
	coexist_check_notified(&run, FENCES);
	json_decref(run.log);
}

E2E_TEST(no_ptrace, notify_never_calls_it_with_a_relay, FF_TEST_XORG_FENCES)
{
	struct relay_host host;
	struct e2e_run run;

	relay_host_start(&host, NULL);
	run_forbidden(&run, "--engine=notify", relay_option());
	coexist_check_ok(&run);
	coexist_check_notified(&run, FENCES);
	e2e_check(&run,
		e2e_number(e2e_event(&run, "exit", 0), "wakes_from_host") > 0,
		"the relay woke the client");
	relay_host_stop(&host);
	json_decref(run.log);
}

/* The control: the filter does what it is said to. */
E2E_TEST(no_ptrace, ends_a_supervisor_that_calls_it, FF_TEST_XORG_FENCES)
{
	struct e2e_run run;

	run_forbidden(&run, "--engine=ptrace", NULL);
	e2e_check(&run, strstr(run.errors, "the supervisor died"),
		"the supervisor is dead");
	e2e_check(&run, !e2e_event(&run, "swap", 0), "nothing was swapped");
	json_decref(run.log);
}
