/* SPDX-License-Identifier: MIT */
/*
 * Clients that trace: their own children, or by a child themselves.
 */
#include "coexist.h"
#include "relay.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

enum { CHILDREN = 5, DUMPS = 300 };

E2E_TEST(own_tracers, trace_children_that_make_fences, FF_TEST_XORG_FENCES)
{
	struct e2e_run run = {.wrapped = true,
		.setting = COEXIST_SETTING,
		.command = {e2e_client("steps"), "trace=5", "fence"}};

	e2e_do(&run);
	coexist_check_ok(&run);
	e2e_check(&run,
		strstr(run.output, "traced: 5, 5 calls of memfd_create\n"),
		"the tracer sees every call once");
	coexist_check_notified(&run, CHILDREN + 1);
}

E2E_TEST(own_tracers, trace_children_that_share_other_memfds,
	FF_TEST_XORG_FENCES)
{
	struct e2e_run run = {.wrapped = true,
		.setting = COEXIST_SETTING,
		.command = {e2e_client("steps"), "trace-memfd=5", "memfd"}};

	e2e_do(&run);
	coexist_check_ok(&run);
	e2e_check(&run,
		strstr(run.output, "traced: 5, 5 calls of memfd_create\n"),
		"the tracer sees every call once");
	e2e_check_log(&run, 1, CHILDREN, 0);
	coexist_check_traced(&run, "left", CHILDREN);
}

/* What the client says of its dumps: fences or memfds, and refusals. */
static unsigned int dumped(const struct e2e_run *run, unsigned int *refused)
{
	const char *line = strstr(run->output, "dumps: ");
	unsigned int dumps = 0, made = 0;

	e2e_check(run,
		line &&
			sscanf(line, "dumps: %u, refused %u, meanwhile %u",
				&dumps, refused, &made) == 3 &&
			dumps == DUMPS,
		"the client tells of its dumps");
	return made + 1;
}

E2E_TEST(own_tracers, dump_the_client_amid_its_fences, FF_TEST_XORG_FENCES)
{
	struct e2e_run run = {.wrapped = true,
		.setting = COEXIST_SETTING,
		.command = {e2e_client("steps"), "dumps=300"}};
	unsigned int refused, made;

	e2e_do(&run);
	coexist_check_ok(&run);
	made = dumped(&run, &refused);
	e2e_check(&run, !refused, "the client's own tracer is never refused");
	coexist_check_notified(&run, made);
}

/* As relay_host_stop; but the client's last fences may be gone before the host
 * has come to look for them, and that is all that it may complain of. */
static void stop_host(struct relay_host *host)
{
	static const char gone[] = "refused: not in the host's shm dir";
	const char *at = host->run.errors;

	e2e_check(&host->run, !kill(host->run.pid, SIGTERM), "it lives");
	e2e_finish_beside(&host->run);
	e2e_check(&host->run, e2e_exited(&host->run, 0),
		"it ends by SIGTERM");
	e2e_check(&host->run, !strstr(at, "dropped: "), "it drops nobody");
	for (; (at = strstr(at, "refused: ")); at++)
		e2e_check(&host->run, !strncmp(at, gone, strlen(gone)),
			"it refuses only what is gone");
}

E2E_TEST(own_tracers, dump_the_client_with_a_relay, FF_TEST_XORG_FENCES)
{
	struct e2e_run run = {.wrapped = true,
		.setting = COEXIST_SETTING,
		.options = {"--isolate", relay_option()},
		.command = {e2e_client("steps"), "dumps=300"}};
	struct relay_host host;
	unsigned int refused, made;

	relay_host_start(&host, NULL);
	e2e_start(&run);
	e2e_finish_beside(&run);
	coexist_check_ok(&run);
	made = dumped(&run, &refused);
	e2e_check(&run, !refused, "the client's own tracer is never refused");
	e2e_check(&run, !strstr(run.errors, "are not relayed"),
		"the relay takes all fences");
	coexist_check_notified(&run, made);
	stop_host(&host);
}

/* Both want the same thread: one of them is told so, nobody waits for ever. */
static void contend(const char *engine, const char *loser)
{
	struct e2e_run run = {.wrapped = true,
		.options = {engine},
		.setting = COEXIST_SETTING,
		.command = {e2e_client("steps"), "dumps-memfd=300", "memfd"}};
	unsigned int refused, made, lost;

	e2e_do(&run);
	coexist_check_ok(&run);
	/* The last one has no rival. */
	made = dumped(&run, &refused) + 1;
	lost = e2e_count(&run, "crossing", "action", loser);
	e2e_check(&run, refused && lost && lost < made,
		"each was refused at times");
	e2e_check(&run,
		!strcmp(e2e_text(e2e_event(&run, "crossing", made - 1),
				"action"),
			"swapped"),
		"no refusal is for ever");
	e2e_check_log(&run, made - lost, *loser == 'l' ? lost : 0,
		*loser == 'f' ? lost : 0);
	coexist_check_traced(&run, loser, lost);
}

E2E_TEST(own_tracers, contend_for_a_client_with_other_memfds,
	FF_TEST_XORG_FENCES)
{
	contend(NULL, "left");
}

E2E_TEST(own_tracers, contend_with_the_ptrace_engine, FF_TEST_XORG_FENCES)
{
	contend("--engine=ptrace", "failed");
}
