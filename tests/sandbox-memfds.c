/* SPDX-License-Identifier: MIT */
/*
 * What the notify engine answers, and what it leaves to the kernel: no client
 * can tell.
 */
#include "sandbox.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { DEATH_MS = 20000, GROWTH_FDS = 16, STOPS = 300, STOP_US = 2000 };

E2E_TEST(memfd_create, is_as_without_us, FF_TEST_XVFB)
{
	struct e2e_run bare = {.command = {e2e_client("memfd-calls")}};
	static const char *const engines[] = {
		"--engine=notify", "--engine=auto"};

	e2e_do(&bare);
	sandbox_check_ok(&bare);
	for (unsigned int i = 0; i < 2; i++) {
		struct e2e_run run = {.wrapped = true,
			.options = {engines[i]},
			.command = {e2e_client("memfd-calls")}};

		e2e_do(&run);
		sandbox_check_ok(&run);
		e2e_check(&run, !strcmp(run.output, bare.output), bare.output);
	}
}

/* The control: those of libxshmfence are answered, and others are not. */
E2E_TEST(memfd_create, is_answered_for_libxshmfence_alone, FF_TEST_XVFB)
{
	struct e2e_run run = {.wrapped = true,
		.options = {"--engine=notify"},
		.command = {e2e_client("memfd-storm"), "flow", "1"}};
	char expected[128];

	e2e_do(&run);
	sandbox_check_ok(&run);
	snprintf(expected, sizeof(expected), "last: %s/", e2e_shm_dir());
	e2e_check(&run, strstr(run.output, expected),
		"libxshmfence's is a stand-in");
	e2e_check(&run, strstr(run.output, "other: /memfd:xshmfence2 "),
		"another's is a memfd");
}

/* Each call brings one fd, the lowest; the client itself looks. */
static void weather(const char *kind, const char *count)
{
	struct e2e_run run = {.wrapped = true,
		.options = {"--engine=notify"},
		.command = {e2e_client("memfd-storm"), kind, count}};

	e2e_do(&run);
	sandbox_check_ok(&run);
	e2e_check(&run, strstr(run.output, "fds: 0 too many\n"),
		"none is left");
	e2e_check(&run, !*run.errors, "nobody complains");
}

E2E_TEST(memfd_create, brings_one_fd_amid_signals, FF_TEST_XVFB)
{
	weather("signals", "10000");
}

E2E_TEST(memfd_create, brings_one_fd_in_each_thread, FF_TEST_XVFB)
{
	weather("threads", "1000");
}

E2E_TEST(memfd_create, brings_one_fd_while_forking, FF_TEST_XVFB)
{
	weather("fork", "1000");
}

/* Stops reach it amid its answers, and cannot be blocked. */
E2E_TEST(memfd_create, brings_one_fd_when_the_supervisor_is_stopped,
	FF_TEST_XVFB)
{
	struct e2e_run run = {.wrapped = true,
		.options = {"--engine=notify"},
		.command = {e2e_client("memfd-storm"), "flow", "1"}};
	pid_t supervisor;

	e2e_start(&run);
	e2e_await(&run, "flow");
	supervisor = e2e_child_of(run.pid);
	for (int i = 0; i < STOPS && !e2e_has_ended(&run); i++) {
		kill(supervisor, SIGSTOP);
		kill(supervisor, SIGCONT);
		usleep(STOP_US);
	}
	e2e_go_on(&run);
	e2e_finish(&run);
	sandbox_check_ok(&run);
	e2e_check(&run, strstr(run.output, "fds: 0 too many\n"),
		"none is left");
}

/* Fences that never cross cost the supervisor nothing for long. */
E2E_TEST(memfd_create, leaves_nothing_in_the_supervisor, FF_TEST_XVFB)
{
	struct e2e_run run = {.wrapped = true,
		.options = {"--engine=notify"},
		.command = {"sh", "-c",
			"\"$0\" flow 10 && echo first && read a && "
			"\"$0\" threads 1000 && echo second && read a",
			e2e_client("memfd-storm")}};
	struct e2e_usage before, after;
	pid_t supervisor;

	e2e_start(&run);
	e2e_await(&run, "flow");
	supervisor = e2e_child_of(run.pid);
	e2e_go_on(&run);
	e2e_await(&run, "first");
	e2e_usage(supervisor, &before);
	e2e_go_on(&run);
	e2e_await(&run, "second");
	e2e_usage(supervisor, &after);
	e2e_go_on(&run);
	e2e_finish(&run);
	sandbox_check_ok(&run);
	e2e_check(&run, after.fds <= before.fds + GROWTH_FDS,
		"the supervisor keeps no files");
}

E2E_TEST(memfd_create, goes_on_when_the_supervisor_dies, FF_TEST_XVFB)
{
	struct e2e_run run = {.wrapped = true,
		.options = {"--engine=notify"},
		.command = {e2e_client("memfd-storm"), "flow", "1000"}};
	long long deadline = e2e_now_ms() + DEATH_MS;
	pid_t supervisor;

	e2e_start(&run);
	e2e_await(&run, "flow");
	supervisor = e2e_child_of(run.pid);
	e2e_check(&run, !kill(supervisor, SIGKILL), "it can be killed");
	while (!strstr(run.errors, "the supervisor died")) {
		e2e_check(&run, e2e_now_ms() < deadline, "the front tells");
		usleep(1000);
		e2e_look(&run);
	}
	e2e_go_on(&run);
	e2e_finish(&run);
	e2e_check(&run, e2e_exited(&run, 0) && strstr(run.output, "OK\n"),
		"the client is content");
	e2e_check(&run, strstr(run.output, "last: /memfd:xshmfence"),
		"it makes memfds now");
}
