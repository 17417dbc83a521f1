/* SPDX-License-Identifier: MIT */
/*
 * Clients that confine themselves: by seccomp filters, and by not being
 * dumpable. (The static client: a sanitized one does at its end what filters
 * forbid.)
 */
#include "sandbox.h"

#include <criterion/criterion.h>
#include <string.h>

/* How often fenceferry has said something with this text in it. */
static unsigned int count_said(const struct e2e_run *run, const char *text)
{
	const char *at = run->errors;
	unsigned int count = 0;

	while ((at = strstr(at, text))) {
		at += strlen(text);
		count++;
	}
	return count;
}

/* No swap makes this call in a client. */
E2E_TEST(filter, that_kills_on_openat_hinders_nothing, FF_TEST_XORG_FENCES)
{
	struct e2e_run run = {
		.command = {e2e_client("steps-static"), "fence", "memfd",
			"kill=openat,open,openat2", "fence", "memfd"}};

	sandbox_check_served(&run, 2, 2);
}

E2E_TEST(filter, from_another_thread_hinders_nothing, FF_TEST_XORG_FENCES)
{
	struct e2e_run run = {
		.command = {e2e_client("steps-static"), "fence", "memfd",
			"all-kill=openat,open,openat2", "fence", "memfd"}};

	sandbox_check_served(&run, 2, 2);
}

/*
 * A filter that would end the client for what a swap does there, installed by
 * this step after the first memfd: no swap is tried any more.
 */
static void check_deadly(const char *step, const char *next)
{
	struct e2e_run run = {.wrapped = true,
		.command = {e2e_client("steps-static"), "fence", "memfd", step,
			next, "fence=2", "memfd=2"}};

	e2e_do(&run);
	sandbox_check_ok(&run);
	e2e_check_log(&run, 4, 2, 0);
	e2e_check(&run, e2e_count(&run, "swap", "engine", "notify") == 3,
		"fences need no ptrace");
	e2e_check(&run,
		e2e_count(&run, "crossing", "reason", "seccomp filter") == 2,
		"the log says why");
	e2e_check(&run,
		e2e_count(&run, "engine", "reason", "seccomp filter") == 1,
		"it says so of the process once");
	e2e_check(&run, count_said(&run, "seccomp filter") == 1,
		"so does fenceferry");
}

/* It stops nobody that such a filter is over: neither the sender's sharers ... */
E2E_TEST(filter, of_a_sharer_is_respected, FF_TEST_XORG_FENCES)
{
	struct e2e_run run = {.wrapped = true,
		.command = {e2e_client("steps-static"), "memfd",
			"sharer-kill=mremap", "memfd"}};

	e2e_do(&run);
	sandbox_check_ok(&run);
	e2e_check(&run, strstr(run.output, "sharer: lives\n"), "it lives");
	e2e_check_log(&run, 2, 1, 0);
	e2e_check(&run,
		e2e_count(&run, "crossing", "reason", "seccomp filter") == 1,
		"the log says why");
}

/* ... nor one thread of its own, for which to be stopped is enough. */
E2E_TEST(filter, of_one_thread_is_respected, FF_TEST_XORG_FENCES)
{
	struct e2e_run run = {.wrapped = true,
		.command = {e2e_client("steps-static"), "memfd",
			"one-kill=restart_syscall", "memfd", "fence"}};

	e2e_do(&run);
	sandbox_check_ok(&run);
	e2e_check_log(&run, 2, 1, 0);
	e2e_check(&run,
		e2e_count(&run, "crossing", "reason", "seccomp filter") == 1,
		"the log says why");
}

E2E_TEST(filter, that_kills_on_mremap_is_respected, FF_TEST_XORG_FENCES)
{
	check_deadly("kill=mremap", "user");
}

E2E_TEST(filter, that_kills_on_dup3_is_respected, FF_TEST_XORG_FENCES)
{
	check_deadly("kill=dup3", "user");
}

E2E_TEST(filter, that_kills_on_flock_is_respected, FF_TEST_XORG_FENCES)
{
	check_deadly("kill=flock", "user");
}

E2E_TEST(filter, from_another_thread_is_respected, FF_TEST_XORG_FENCES)
{
	check_deadly("all-kill=dup3,mremap", "user");
}

E2E_TEST(filter, is_respected_in_children, FF_TEST_XORG_FENCES)
{
	check_deadly("kill=dup3,mremap", "fork");
}

/* It is inherited by programs, too. */
E2E_TEST(filter, is_respected_in_programs, FF_TEST_XORG_FENCES)
{
	struct e2e_run run = {.wrapped = true,
		.command = {TEST_WITH_FILTER, "kill", "mremap,dup3",
			e2e_client("steps-static"), "fence=2", "memfd=2"}};

	e2e_do(&run);
	sandbox_check_ok(&run);
	e2e_check_log(&run, 2, 2, 0);
}

/* The ptrace engine alone has nothing else to offer. */
E2E_TEST(filter, that_kills_fails_the_ptrace_engine, FF_TEST_XORG_FENCES)
{
	struct e2e_run run = {.wrapped = true,
		.options = {"--engine=ptrace"},
		.command = {e2e_client("steps-static"), "fence", "memfd",
			"kill=mremap", "fence", "memfd"}};

	e2e_do(&run);
	sandbox_check_ok(&run);
	e2e_check_log(&run, 2, 0, 2);
	e2e_check(&run,
		e2e_count(&run, "crossing", "reason", "seccomp filter") == 2,
		"the log says why");
}

/* A swap that comes upon it leaves all as it was. */
static void check_refused(const char *step, const char *engine)
{
	const bool alone = engine != NULL;
	struct e2e_run run = {.wrapped = true,
		.options = {engine},
		.command = {
			e2e_client("steps-static"), step, "memfd=3", "fence"}};

	e2e_do(&run);
	sandbox_check_ok(&run);
	e2e_check_log(&run, !alone, alone ? 0 : 3, alone ? 4 : 0);
	e2e_check(&run,
		e2e_count(&run, "crossing", "reason",
			"Operation not permitted") == (alone ? 4 : 3),
		"the log says why");
}

E2E_TEST(filter, that_refuses_is_undone, FF_TEST_XORG_FENCES)
{
	check_refused("errno=mremap", "--engine=ptrace");
	check_refused("errno=dup3", "--engine=ptrace");
	check_refused("errno=flock,dup3,mremap", "--engine=ptrace");
	check_refused("all-errno=dup3", NULL);
}

Test(undumpable, is_served_by_root, .fini = e2e_end, .timeout = E2E_TIMEOUT_S)
{
	struct e2e_run run = {.command = {e2e_client("steps-static"),
				      "undumpable", "fence=2", "memfd=2"}};

	e2e_begin(FF_TEST_XORG_FENCES, false);
	sandbox_check_served(&run, 2, 2);
}

/* Nobody but root can read its memory: it goes on as if bare. */
Test(undumpable, is_left_by_an_ordinary_user, .fini = e2e_end,
	.timeout = E2E_TIMEOUT_S)
{
	static const char *const engines[] = {
		"--engine=auto", "--engine=notify", "--engine=ptrace"};

	e2e_begin(FF_TEST_XORG_FENCES, true);
	for (unsigned int i = 0; i < 3; i++) {
		struct e2e_run run = {.wrapped = true,
			.options = {engines[i]},
			.command = {e2e_client("steps-static"), "undumpable",
				"fence=2", "memfd=2"}};

		e2e_do(&run);
		sandbox_check_ok(&run);
		e2e_check(&run, !e2e_event(&run, "swap", 0),
			"nothing is swapped");
		e2e_check(&run, count_said(&run, "not dumpable") == 1,
			"fenceferry says why, once");
		e2e_check(&run,
			e2e_count(&run, "engine", "engine", "none") == 1,
			"the log says so");
	}
}
