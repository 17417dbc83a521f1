/* SPDX-License-Identifier: MIT */
/*
 * All of fenceferry on another architecture: built by tests/foreign/build-aarch64
 * and run in an emulated machine, tests and all. A test here is a list of
 * programs of tests there.
 */
#include "vm/machine.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROOT = 0, PATIENCE_S = 300, STALLED = 3 };

/* Processes in the machine. */
enum { TESTS, CLIENT, DAEMON };

static struct vm vm;

static void boot(void)
{
	if (getenv("FF_CHECK_SANITIZED"))
		cr_skip("what runs there is not sanitized anyway");
	vm_boot(&vm, &vm_aarch64);
}

static void end(void)
{
	vm_end(&vm);
}

#define MACHINE .init = boot, .fini = end, .timeout = PATIENCE_S + 60

/* Run a program of tests with its arguments; at least so many pass, and none
 * fails. */
static void pass(const char *program, int least)
{
	const char *last, *synthesis = "[====] Synthesis: Tested: ";
	int status, tested, passing;

	vm_start(&vm, TESTS, ROOT, "in-build tests/%s", program);
	status = vm_wait_exit(&vm, TESTS, PATIENCE_S);
	last = strstr(vm.inside[TESTS].output, synthesis);
	if (!last || sscanf(last + strlen(synthesis), "%d | Passing: %d",
			     &tested, &passing) != 2)
		tested = passing = 0;
	if (status || passing < least || passing != tested)
		vm_show(&vm);
	cr_expect(!status && passing >= least && passing == tested,
		"%s ends with %d, %d of %d tests passed", program, status,
		passing, tested);
	cr_log_info("%s: %d tests passed", program, passing);
}

#define EXCEPT(names) " --filter=!(" names ")"
#define ONLY(names) " --filter=@(" names ")"

/* What is big only to be big takes minutes there. */
Test(aarch64, passes_its_unit_tests, MACHINE)
{
	pass("unit-arch", 1);
	pass("unit-bpf", 1);
	pass("unit-clientfilter", 1);
	pass("unit-executable", 1);
	pass("unit-fence" EXCEPT("fence/hundred_thousand_leave_nothing"), 1);
	pass("unit-filter", 1);
	pass("unit-message", 1);
	pass("unit-patched", 1);
	pass("unit-policy", 1);
	pass("unit-pool", 1);
	pass("unit-process" EXCEPT("descendants/many_are_all_found"), 1);
	pass("unit-program", 1);
	pass("unit-standin", 1);
	pass("unit-x11", 1);
}

Test(aarch64, passes_those_of_the_relay, MACHINE)
{
	pass("unit-decode", 1);
	pass("unit-link", 1);
	pass("unit-link-open", 1);
	pass("unit-place", 1);
	pass("unit-relay" EXCEPT("blocked/fences_come_and_go"), 1);
	pass("unit-relay-lost" EXCEPT("lost/ten_thousand_fences_come_back"), 1);
	pass("unit-sleepers", 1);
	pass("unit-waiters-choice", 1);
	pass("unit-wire", 1);
}

/* What can be around a memfd, by the victims, each once with it all. */
Test(aarch64, swaps_are_whole_whatever_is_around, MACHINE)
{
	pass("matrix" ONLY("threads/*_8_threads_64bit_user"), 14);
	pass("matrix" ONLY("fds/*_64bit_user"), 9);
	pass("matrix" ONLY("maps/*_64bit_user"), 9);
	pass("matrix" ONLY("sharers/*threads_64bit_root"), 5);
	pass("matrix" ONLY("messages/@(by|*memfd)*_64bit_root"), 5);
	pass("matrix" ONLY("control/*"), 5);
}

/* A client with an X server of its own under fenceferry; it ends well, and all
 * say this much. */
static void expect_text(int tag, const char *text)
{
	if (!strstr(vm.inside[tag].output, text))
		vm_show(&vm);
	cr_expect(strstr(vm.inside[tag].output, text), "nobody says \"%s\"",
		text);
}

static void ferry_over(const char *server, const char *options,
	const char *client, int wanted)
{
	int status;

	vm_start(&vm, CLIENT, ROOT,
		"in-build tests/xorg/with-x%s fenceferry run --log=- %s -- "
		"tests/clients/%s", server, options, client);
	status = vm_wait_exit(&vm, CLIENT, PATIENCE_S);
	if (status != wanted)
		vm_show(&vm);
	cr_assert_eq(status, wanted, "%s under fenceferry %s ends with %d",
		client, options, status);
}

#define FENCES "fence-client --maps --rounds=200 --threads=4 --timeout=60"

Test(aarch64, fences_and_pictures_are_swapped_on_real_servers, MACHINE)
{
	static const char *const engines[] = {"notify", "ptrace", "auto"};
	char text[64];

	for (int i = 0; i < 3; i++) {
		snprintf(text, sizeof(text), "--engine=%s", engines[i]);
		ferry_over("", text, FENCES, 0);
		expect_text(CLIENT, "\"request\":\"DRI3.FenceFromFD\"");
		expect_text(CLIENT, "\"action\":\"swapped\"");
		snprintf(text, sizeof(text), "\"engine\":\"%s\"",
			i < 2 ? engines[i] : "notify");
		expect_text(CLIENT, text);
		expect_text(CLIENT, "threads: 4, none disturbed");
		expect_text(CLIENT, "\"swaps\":1,\"failures\":0");
	}
	ferry_over(" --xvfb", "--engine=auto", "shm-client", 0);
	expect_text(CLIENT, "\"request\":\"MIT-SHM.AttachFd\"");
	expect_text(CLIENT, "\"engine\":\"ptrace\"");
	expect_text(CLIENT, "\"swaps\":1,\"failures\":0");
}

/* (The log of all wakes would be more than is kept.) */
#define RELAYED "--isolate --relay=unix:/tmp/relay --log=/dev/null"

/* And without a relay, isolated, the client's sleepers sleep on. */
Test(aarch64, wakes_are_relayed_both_ways, MACHINE)
{
	vm_start(&vm, DAEMON, ROOT, "fenceferry host -v "
		"--listen=unix:/tmp/relay");
	vm_wait_output(&vm, DAEMON, "started: waits by futex_waitv",
		PATIENCE_S);
	ferry_over("", "--engine=ptrace " RELAYED, "fence-client --rounds=200 "
		"--timeout=60", 0);
	expect_text(CLIENT, "rounds: 200,");
	ferry_over("", "--engine=notify " RELAYED, "fence-client --rounds=200 "
		"--timeout=60", 0);
	expect_text(CLIENT, "rounds: 200,");
	vm_signal(&vm, DAEMON, SIGTERM);
	cr_expect_eq(vm_wait_exit(&vm, DAEMON, PATIENCE_S), 0);
	/* A busy server triggers when the client sleeps already. */
	ferry_over("", "--isolate", "fence-client --rounds=200 --busy "
		"--timeout=3", STALLED);
}
