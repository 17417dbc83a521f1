/* SPDX-License-Identifier: MIT */
/*
 * At each step of putting the client under the filter, attach is killed, or the
 * step fails, or the client is killed.
 */
#include "attach.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { STEPS_LEAST = 9, STEPS_MOST = 60, TICK_US = 1000 };

static const char *fault_binary(void)
{
	const char *path = getenv("FENCEFERRY_FAULT_BIN");

	return path && *path ? path : "./fenceferry-fault";
}

static void start(struct e2e_run *client, const char *option)
{
	*client = (struct e2e_run){ .setting = COEXIST_SETTING, .command = {
		e2e_client("fence-client"), "--pause", "--threads=3", option } };
	e2e_start(client);
	e2e_await(client, "pause: start");
}

/* An attach that meets with the fault. True if it came through. */
static bool meet(struct attach *attach, pid_t pid, const char *kind, int step)
{
	static char setting[64];
	bool attached;

	snprintf(setting, sizeof(setting), "FENCEFERRY_FAULT=%s:%d", kind,
		step);
	putenv(setting);
	*attach = (struct attach){ .binary = fault_binary() };
	attach_begin(attach, pid);
	unsetenv("FENCEFERRY_FAULT");
	do {
		usleep(TICK_US);
		e2e_look(&attach->run);
		attached = strstr(attach->run.errors,
			"fenceferry: attached to");
	} while (!attached && !e2e_has_ended(&attach->run));
	if (attached && strcmp(kind, "killclient"))
		attach_end(attach, SIGINT);
	else
		e2e_finish_beside(&attach->run);
	return attached;
}

/* Through the client's life, with another attach, which swaps its fence. */
static void go_on(struct e2e_run *client, const char *fault, int step)
{
	struct attach attach;

	attach_to(&attach, client->pid, NULL);
	for (int i = 0; i < 3; i++)
		e2e_go_on(client);
	attach_finish_client(client);
	attach_finish(&attach);
	e2e_check(&attach.run, strstr(client->output, "none disturbed\n"),
		fault);
	e2e_check(&attach.run, e2e_count(&attach.run, "crossing", "action",
		"swapped") == 1, fault);
	(void)step;
}

/* Attach is killed at each step, with a client that has this option. */
static void check_death(const char *option)
{
	bool through = false;
	int step = 1;

	e2e_need_attach();
	for (; !through && step < STEPS_MOST; step++) {
		struct e2e_run client;
		struct attach attach;

		start(&client, option);
		through = meet(&attach, client.pid, "kill", step);
		e2e_check(&attach.run, through ||
			WIFSIGNALED(attach.run.status), "it was killed");
		e2e_check(&client, !e2e_has_ended(&client), "the client lives");
		go_on(&client, "killed", step);
	}
	cr_assert(through && step > STEPS_LEAST, "%d", step);
}

E2E_TEST(attach_death, of_attach_hurts_nobody, FF_TEST_XORG_FENCES)
{
	check_death(NULL);
}

/* One that is a supervisor itself: what the keeper looks for is not that
 * listener. */
E2E_TEST(attach_death, of_attach_robs_no_supervisor, FF_TEST_XORG_FENCES)
{
	check_death("--ward");
}

Test(attach_death, a_failure_leaves_no_trace, .timeout = E2E_TIMEOUT_S,
	.fini = e2e_end)
{
	unsigned int failed = 0;

	e2e_begin(FF_TEST_XORG_FENCES, false);
	/* Some are steps that cannot fail. */
	for (int step = 1; step <= 12; step++) {
		struct e2e_run client;
		struct attach attach;

		start(&client, NULL);
		if (!meet(&attach, client.pid, "fail", step)) {
			e2e_check(&attach.run, e2e_exited(&attach.run, 125) &&
				strstr(attach.run.errors, "fenceferry: "),
				"it says why");
			failed++;
		}
		go_on(&client, "failed", step);
	}
	cr_assert(failed >= 5, "%u", failed);
}

Test(attach_death, of_the_client_is_survived, .timeout = E2E_TIMEOUT_S,
	.fini = e2e_end)
{
	bool dead = true;
	int step = 1;

	e2e_begin(FF_TEST_XORG_FENCES, false);
	for (; dead && step < STEPS_MOST; step++) {
		struct e2e_run client;
		struct attach attach = { .binary = fault_binary() };
		char setting[64];

		start(&client, NULL);
		snprintf(setting, sizeof(setting),
			"FENCEFERRY_FAULT=killclient:%d", step);
		putenv(setting);
		attach_begin(&attach, client.pid);
		unsetenv("FENCEFERRY_FAULT");
		do {
			usleep(TICK_US);
			e2e_look(&attach.run);
			dead = e2e_has_ended(&client);
		} while (!dead && !strstr(attach.run.errors, "attached to"));
		dead = e2e_has_ended(&client);
		if (!dead)
			kill(client.pid, SIGKILL);
		e2e_finish_beside(&client);
		e2e_finish_beside(&attach.run);
		e2e_check(&attach.run, e2e_exited(&attach.run, 0) ||
			e2e_exited(&attach.run, 125), "it ends by itself");
		attach_await_no_keeper(&client, client.pid);
	}
	cr_assert(!dead && step > STEPS_LEAST, "%d", step);
}
