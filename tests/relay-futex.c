/* SPDX-License-Identifier: MIT */
/*
 * Futex calls on fences do what futex(2) says: by themselves, with the relay on
 * one kernel, and isolated, where the supervisor does it.
 */
#include "relay.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "compat.h"

enum setting { BARE, WRAPPED, RELAYED, ISOLATED };

/* What is the same everywhere; and with the kernel's own queues. Behind wake-op
 * everybody is woken once more. */
#define CASES \
	"differs", "timeout", "timeouts", "refused", "interrupted", \
		"restarted", "counts", "one-of-two", "masks", \
		"requeue-loosely", "private", "mappings", "stopped", \
		"killed", "elsewhere"

static const char *const kernels[] = {CASES, "requeue", "waitv", "wake-op", NULL};
static const char *const isolated[] = {CASES, "no-waitv", "wake-op", NULL};
static const char *const one_of_two[] = {"one-of-two", NULL};

/* Each case says so when it is through. */
static void check_cases(const struct e2e_run *run, const char *const *cases)
{
	char line[64];

	e2e_check(run, e2e_exited(run, 0) && strstr(run->output, "OK\n"),
		"the victim is content");
	e2e_check(run, !*run->errors, "nobody complains");
	for (; *cases; cases++) {
		snprintf(line, sizeof(line), "\n%s: ok\n", *cases);
		e2e_check(run, strstr(run->output, line), *cases);
	}
}

static void run_victim(enum setting setting, const char *victim,
	const char *flavour, const char *const *cases)
{
	struct e2e_run run = {.wrapped = setting != BARE,
		.command = {e2e_client("fence-exec"), "2", "sh", "-c",
			RELAY_JOIN, "sh", victim, flavour, "/proc/self/fd/100",
			"/proc/self/fd/101"}};
	const char **next = run.options;
	struct relay_host host;

	if (setting >= RELAYED) {
		relay_host_start(&host, NULL);
		*next++ = relay_option();
	}
	if (setting == ISOLATED)
		*next++ = "--isolate";
	for (unsigned int i = 0; cases[i]; i++)
		run.command[10 + i] = cases[i];
	e2e_start(&run);
	e2e_await(&run, "ready\n");
	if (setting >= RELAYED)
		relay_await_accepted(&run, 2);
	e2e_go_on(&run);
	e2e_finish(&run);
	check_cases(&run, cases);
	if (setting >= RELAYED)
		relay_host_stop(&host);
	if (setting != BARE)
		e2e_check_log(&run, 2, 0, 0);
}

E2E_TEST(futex, bare_the_kernel_keeps_its_promises, FF_TEST_XORG_FENCES)
{
	run_victim(BARE, RELAY_VICTIM, "plain", kernels);
}

E2E_TEST(futex, relayed_on_one_kernel_it_still_does, FF_TEST_XORG_FENCES)
{
	run_victim(RELAYED, RELAY_VICTIM, "plain", kernels);
}

E2E_TEST(futex, isolated_so_does_the_supervisor, FF_TEST_XORG_FENCES)
{
	run_victim(ISOLATED, RELAY_VICTIM, "plain", isolated);
}

static void need_futex2(void)
{
	int word = 0;

	if (syscall(SYS_futex_wake, &word, -1L, 1, FUTEX2_SIZE_U32) >= 0 ||
		errno != ENOSYS)
		return;
	e2e_end();
	cr_skip("needs Linux 6.7");
}

Test(futex, isolated_so_do_futex_wait_and_futex_wake, .fini = e2e_end,
	.timeout = E2E_TIMEOUT_S)
{
	e2e_begin(FF_TEST_XORG_FENCES, true);
	need_futex2();
	run_victim(ISOLATED, RELAY_VICTIM, "futex2", isolated);
	run_victim(RELAYED, RELAY_VICTIM, "futex2", kernels);
}

#ifdef RELAY_VICTIM_32
E2E_TEST(futex, isolated_so_does_the_supervisor_for_32_bits,
	FF_TEST_XORG_FENCES)
{
	run_victim(ISOLATED, RELAY_VICTIM_32, "plain", isolated);
	run_victim(ISOLATED, RELAY_VICTIM_32, "time64", isolated);
}

Test(futex, relayed_the_kernel_does_for_32_bits, .fini = e2e_end,
	.timeout = E2E_TIMEOUT_S)
{
	e2e_begin(FF_TEST_XORG_FENCES, true);
	run_victim(RELAYED, RELAY_VICTIM_32, "plain", kernels);
	run_victim(RELAYED, RELAY_VICTIM_32, "time64", kernels);
}
#endif

/* With and without: the same answer. */
E2E_TEST(futex, a_wake_of_one_is_never_for_two, FF_TEST_XORG_FENCES)
{
	run_victim(WRAPPED, RELAY_VICTIM, "plain", one_of_two);
	run_victim(RELAYED, RELAY_VICTIM, "plain", one_of_two);
	run_victim(ISOLATED, RELAY_VICTIM, "plain", one_of_two);
}

/* The same while the other end is busy with that fence, too. */
E2E_TEST(futex, a_peers_round_behind_it_wakes_nobody_else, FF_TEST_XORG_FENCES)
{
	static struct relay_pair pair = {.sleepers = 16};
	struct relay_host host;

	relay_host_start(&host, NULL);
	pair.client.options[0] = "--isolate";
	pair.client.options[1] = relay_option();
	relay_play(&pair, "--ping", "--pong", 100, "--delay=0");
	relay_finish(&pair, 100);
	e2e_check(&pair.client,
		strstr(pair.client.output, "sleepers: 16, woken one by one"),
		"the sleepers were woken one by one");
	relay_host_stop(&host);
}

/* Moved waits are the client's own: the host's end, whose waits on one kernel
 * are in the same queue, still hears of both fences. */
E2E_TEST(futex, a_requeue_moves_nobody_elses_waits, FF_TEST_XORG_FENCES)
{
	struct e2e_run run = {.wrapped = true,
		.options = {relay_option(), "--isolate"},
		.command = {e2e_client("fence-exec"), "2", "sh", "-c",
			RELAY_VICTIM " plain /proc/self/fd/100 "
			"/proc/self/fd/101 requeue-loosely && " RELAY_JOIN,
			"sh", e2e_client("fence-peer"), "--pong",
			RELAY_JOIN_ROUNDS, "--timeout=30", "/proc/self/fd/100",
			"/proc/self/fd/101"}};
	struct relay_host host;

	relay_host_start(&host, NULL);
	e2e_start(&run);
	e2e_await(&run, "requeue-loosely: ok\nOK\n");
	relay_join(&run, "--ping");
	relay_host_stop(&host);
}
