/* SPDX-License-Identifier: MIT */
/* Whoever dies on either side: the client lives, and no names stay behind. */
#include "relay.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { DEATH_MS = 20000 };

static void await_standins(const struct e2e_run *run, unsigned int count)
{
	long long deadline = e2e_now_ms() + DEATH_MS;

	while (e2e_count_standins() != count && e2e_now_ms() < deadline)
		usleep(2000);
	e2e_check(run, e2e_count_standins() == count,
		count ? "the fence has a name" : "no name is left");
}

static void await_death(const struct e2e_run *run, pid_t pid)
{
	long long deadline = e2e_now_ms() + DEATH_MS;

	while (!kill(pid, 0) && e2e_now_ms() < deadline)
		usleep(2000);
	e2e_check(run, kill(pid, 0), "it is dead");
}

static void await_error(struct e2e_run *run, const char *text)
{
	long long deadline = e2e_now_ms() + DEATH_MS;

	do {
		usleep(2000);
		e2e_look(run);
		e2e_check(run, e2e_now_ms() < deadline, text);
	} while (!strstr(run->errors, text));
}

/* Up to the first fence, which is there and was used. */
static void start_client(struct e2e_run *run)
{
	e2e_start(run);
	e2e_await(run, "pause: start");
	e2e_go_on(run);
	e2e_await(run, "pause: middle");
	await_standins(run, 1);
	relay_await_accepted(run, 1);
}

/* Let it run until it has slept some more, so that it is amid its rounds. */
static void await_rounds(struct e2e_run *run, pid_t client)
{
	long sleeps = e2e_sleeps(client);

	e2e_go_on(run);
	while (e2e_sleeps(client) >= 0 && e2e_sleeps(client) < sleeps + 200)
		usleep(1000);
}

static void check_content(const struct e2e_run *run)
{
	e2e_check(run, e2e_exited(run, 0), "the client is content");
	e2e_check(run, strstr(run->output, "OK\n"), "the client says so");
}

/* The front lets the calls go that the supervisor held, and removes names. */
static void kill_supervisor(const char *isolate)
{
	struct e2e_run run = {.wrapped = true,
		.options = {relay_option(), isolate},
		.command = {"sh", "-c",
			"\"$0\" --rounds=20000 --busy --pause; exit $?",
			e2e_client("fence-client")}};
	struct relay_host host;
	pid_t supervisor, client;

	relay_host_start(&host, NULL);
	start_client(&run);
	supervisor = e2e_child_of(run.pid);
	client = e2e_child_of(e2e_child_of(supervisor));
	await_rounds(&run, client);
	/* So that it cannot be through before the supervisor is dead. */
	kill(client, SIGSTOP);
	e2e_look(&run);
	e2e_check(&run, !strstr(run.output, "rounds: "), "it is amid rounds");
	e2e_check(&run, !kill(supervisor, SIGKILL), "it can be killed");
	await_death(&run, supervisor);
	await_standins(&run, 0);
	kill(client, SIGCONT);
	e2e_await(&run, "pause: end");
	e2e_go_on(&run);
	e2e_finish(&run);
	check_content(&run);
	e2e_check(&run, strstr(run.output, "rounds: 20000,"),
		"the rounds went on to the end");
	e2e_check(&run, strstr(run.errors, "the supervisor died"),
		"fenceferry says what happened");
	relay_host_stop(&host);
}

E2E_TEST(death, of_the_supervisor, FF_TEST_XORG_FENCES)
{
	kill_supervisor(NULL);
}

E2E_TEST(death, of_the_supervisor_that_holds_waits, FF_TEST_XORG_FENCES)
{
	kill_supervisor("--isolate");
}

/* Then nobody is left to remove names but the next start. */
E2E_TEST(death, of_the_supervisor_and_the_front, FF_TEST_XORG_FENCES)
{
	struct e2e_run run = {.wrapped = true, .options = {relay_option()},
		.command = {e2e_client("fence-client"), "--pause"}};
	struct e2e_run next = {.wrapped = true, .command = {"true"}};
	struct relay_host host;
	pid_t supervisor;

	relay_host_start(&host, NULL);
	start_client(&run);
	supervisor = e2e_child_of(run.pid);
	kill(run.pid, SIGSTOP);
	kill(supervisor, SIGKILL);
	kill(run.pid, SIGKILL);
	e2e_finish_beside(&run);
	e2e_check(&run, WIFSIGNALED(run.status), "the front is dead");
	await_standins(&run, 1);
	e2e_do(&next);
	e2e_check(&next, e2e_exited(&next, 0), "the next start works");
	await_standins(&next, 0);
	relay_host_stop(&host);
}

E2E_TEST(death, of_the_client, FF_TEST_XORG_FENCES)
{
	struct e2e_run run = {.wrapped = true,
		.options = {relay_option(), "--isolate"},
		.command = {e2e_client("fence-client"), "--rounds=1000000",
			"--busy", "--pause"}};
	struct relay_host host;
	pid_t client;

	relay_host_start(&host, NULL);
	start_client(&run);
	client = e2e_child_of(e2e_child_of(run.pid));
	await_rounds(&run, client);
	kill(client, SIGKILL);
	e2e_finish(&run);
	e2e_check(&run, WIFSIGNALED(run.status) &&
		WTERMSIG(run.status) == SIGKILL, "it tells how it ended");
	/* The host's end has seen it leave. */
	await_error(&host.run, ": left");
	relay_host_stop(&host);
}

/* A relay lost later on is a message, and no more: the rest is the command's,
 * with its own status. */
E2E_TEST(death, of_the_host, FF_TEST_XORG_FENCES)
{
	struct e2e_run run = {.wrapped = true, .options = {relay_option()},
		.command = {"sh", "-c",
			"\"$0\" --rounds=3000 --fences=50 --busy --pause && "
			"exit 7",
			e2e_client("fence-client")}};
	struct relay_host host;

	relay_host_start(&host, NULL);
	start_client(&run);
	relay_host_kill(&host);
	await_error(&run, "the relay is lost: ");
	e2e_go_on(&run);
	e2e_await(&run, "pause: end");
	e2e_go_on(&run);
	e2e_finish(&run);
	e2e_check(&run, e2e_exited(&run, 7), "it ends with its own status");
	e2e_check(&run, strstr(run.output, "OK\n"), "the client is content");
}

/* It says good-bye, and another takes its place, at a path that was given from
 * where the run began. */
E2E_TEST(death, of_the_host_is_mended_by_the_next, FF_TEST_XORG_FENCES)
{
	char option[64];
	struct e2e_run run = {.wrapped = true,
		.options = {option, "--isolate"},
		.command = {e2e_client("fence-client"), "--rounds=3000",
			"--busy", "--pause", "--timeout=40"}};
	struct relay_host host;

	snprintf(option, sizeof(option), "--relay=unix:%s",
		relay_name(relay_address()));
	relay_host_start(&host, "threads");
	e2e_check(&run, chdir(e2e_dir()) == 0, "we go there");
	start_client(&run);
	relay_host_stop(&host);
	await_error(&run, "the relay is lost: ");
	e2e_go_on(&run);
	/* It sleeps in one of the first rounds. */
	usleep(500000);
	relay_host_start(&host, NULL);
	e2e_await(&run, "pause: end");
	e2e_check(&run, strstr(run.errors, "the relay is back"),
		"fenceferry says so");
	e2e_go_on(&run);
	e2e_finish(&run);
	check_content(&run);
	relay_host_stop(&host);
}
