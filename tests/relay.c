/* SPDX-License-Identifier: MIT */
/*
 * Rounds of triggering and awaiting across the relay: none may be slept
 * through.
 */
#include "relay.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A host that lives for less than half a second is waited for longer and longer.
 */
enum {
	SERVER_ROUNDS = RELAY_ROUNDS / 2,
	STORM_ROUNDS = 2000,
	LIFE_US = 1000000,
};

/* The client was content, and fenceferry had nothing to say. */
static void check_content(const struct e2e_run *run)
{
	e2e_check(run, e2e_exited(run, 0), "the client is content");
	e2e_check(run, strstr(run->output, "OK\n"), "the client says so");
	e2e_check(run, !*run->errors, "nobody complains");
}

E2E_TEST(relay, the_server_triggers_the_client_awaits, FF_TEST_XORG_FENCES)
{
	char rounds[32];
	struct e2e_run run = {.wrapped = true,
		.options = {"--isolate", relay_option()},
		.command = {e2e_client("fence-client"), rounds, "--busy"}};
	struct relay_host host;
	json_t *exit;
	const char *slept;

	snprintf(rounds, sizeof(rounds), "--rounds=%d", SERVER_ROUNDS);
	relay_host_start(&host, NULL);
	e2e_do(&run);
	check_content(&run);
	relay_host_stop(&host);
	slept = strstr(run.output, "us each, ");
	e2e_check(&run, slept && atol(strchr(slept, ',') + 1) >
		SERVER_ROUNDS / 10, "the client slept in its rounds");
	exit = e2e_event(&run, "exit", 0);
	e2e_check(&run,
		e2e_number(exit, "wakes_from_host") > SERVER_ROUNDS / 10,
		"the host's end woke it");
}

/* The control: without the relay nothing gets to the isolated client. */
E2E_TEST(relay, without_it_an_isolated_client_stalls, FF_TEST_XORG_FENCES)
{
	struct e2e_run run = {.wrapped = true, .options = {"--isolate"},
		.command = {e2e_client("fence-client"), "--rounds=10000",
			"--busy", "--timeout=2"}};
	const char *round;

	e2e_do(&run);
	e2e_check(&run, e2e_exited(&run, 3), "the client stalls");
	round = strstr(run.errors, "stalled for 2 s in ");
	e2e_check(&run, round, "the client says where");
	round = strpbrk(round + strlen("stalled for 2 s in "), "0123456789");
	e2e_check(&run, round && atol(round) < 1000, "in the first rounds");
	e2e_check(&run,
		strstr(run.errors, "the fence's word is 1"),
		"the fence is triggered, but the wake-up is lost");
	e2e_check(&run, strstr(run.errors, "--isolate without --relay"),
		"fenceferry has warned of it");
}

static void play(const char *role, const char *anti_role, long rounds,
	const char *delay, const char *waiters)
{
	static struct relay_pair pair;
	struct relay_host host;
	char text[64];

	relay_host_start(&host, waiters);
	pair.client.options[0] = "--isolate";
	pair.client.options[1] = relay_option();
	relay_play(&pair, role, anti_role, rounds, delay);
	relay_finish(&pair, rounds);
	e2e_check(&pair.client, !*pair.client.errors, "nobody complains");
	relay_host_stop(&host);
	snprintf(text, sizeof(text), "waits by %s",
		waiters && !strcmp(waiters, "waitv") ? "futex_waitv" :
		waiters				      ? waiters : "");
	e2e_check(&host.run, strstr(host.run.errors, text),
		"it waited in the way that was asked for");
}

E2E_TEST(relay, the_client_triggers_a_peer_awaits, FF_TEST_XORG_FENCES)
{
	play("--trigger", "--await", RELAY_ROUNDS / 2, "--delay=0", NULL);
}

E2E_TEST(relay, a_peer_triggers_the_client_awaits, FF_TEST_XORG_FENCES)
{
	play("--await", "--trigger", RELAY_ROUNDS / 2, "--delay=0", NULL);
}

/* They end trapped calls, also before anybody has received them. */
E2E_TEST(relay, no_wake_is_lost_among_signals, FF_TEST_XORG_FENCES)
{
	static struct relay_pair pair = {.storm = "--storm=200"};
	struct relay_host host;

	relay_host_start(&host, NULL);
	pair.client.options[0] = "--isolate";
	pair.client.options[1] = relay_option();
	relay_play(&pair, "--trigger", "--await", STORM_ROUNDS, "--delay=20");
	relay_finish(&pair, STORM_ROUNDS);
	relay_host_stop(&host);
}

/* Both ways, with random delays, which the short sleeps' own inexactness makes
 * more random still. */
RELAY_SOAK_TEST(relay, no_wake_is_lost_with_io_uring, FF_TEST_XORG_FENCES)
{
	play("--ping", "--pong", relay_rounds(), "--delay=50", "io_uring");
}

RELAY_SOAK_TEST(relay, no_wake_is_lost_with_waitv, FF_TEST_XORG_FENCES)
{
	play("--pong", "--ping", relay_rounds(), "--delay=50", "waitv");
}

RELAY_SOAK_TEST(relay, no_wake_is_lost_with_threads, FF_TEST_XORG_FENCES)
{
	play("--ping", "--pong", relay_rounds(), "--delay=50", "threads");
}

RELAY_SOAK_TEST(relay, no_wake_is_lost_when_the_host_dies, FF_TEST_XORG_FENCES)
{
	static const char *const waiters[] = {NULL, "waitv", "threads"};
	static struct relay_pair pair;
	struct relay_host host;
	unsigned int lives = 0;
	long rounds = relay_rounds();

	relay_host_start(&host, NULL);
	pair.client.options[0] = "--isolate";
	pair.client.options[1] = relay_option();
	relay_play(&pair, "--ping", "--pong", rounds, "--delay=50");
	do {
		usleep(LIFE_US);
		relay_host_kill(&host);
		relay_host_start(&host, waiters[++lives % 3]);
	} while (!e2e_has_ended(&pair.client) && !e2e_has_ended(&pair.peer));
	relay_finish(&pair, rounds);
	relay_host_stop(&host);
	printf("the host died %u times\n", lives);
	e2e_check(&pair.client,
		strstr(pair.client.errors, "the relay is lost") &&
			strstr(pair.client.errors, "the relay is back"),
		"fenceferry says so");
}

/* Two kernels have two tests of their own; here both ends find out that there
 * is only one, and have nothing to do. */
E2E_TEST(relay, on_one_kernel_there_is_nothing_to_relay, FF_TEST_XORG_FENCES)
{
	static struct relay_pair pair;
	struct relay_host host;
	json_t *exit;

	relay_host_start(&host, NULL);
	pair.client.options[0] = relay_option();
	relay_play(&pair, "--ping", "--pong", 2000, "--delay=0");
	relay_finish(&pair, 2000);
	relay_host_stop(&host);
	e2e_check(&pair.client, !*pair.client.errors, "nobody complains");
	exit = e2e_event(&pair.client, "exit", 0);
	e2e_check(&pair.client, e2e_number(exit, "wakes_from_host") <= 2,
		"the host's end wakes at most when it has found the fences");
	e2e_check(&host.run, strstr(host.run.errors,
		"on this kernel: nothing to relay"), "the host's end says so");
}
