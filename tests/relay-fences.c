/* SPDX-License-Identifier: MIT */
/*
 * Fences come and go, and leave nothing behind; many live at once; and the log
 * tells of their wakes.
 */
#include "relay.h"

#include <criterion/criterion.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FENCES = 3000, ALIVE = 1200, PATIENCE_MS = 20000 };

/* What so many may leave in a process. */
#ifdef __SANITIZE_ADDRESS__
/* The sanitizer keeps freed memory for long, and tells of leaks itself. */
enum { GROWTH_KB = 1 << 20 };
#else
enum { GROWTH_KB = 1024 };
#endif

static void check_flat(const struct e2e_run *run, const char *who,
	const struct e2e_usage *before, const struct e2e_usage *after)
{
	char what[256];

	snprintf(what, sizeof(what),
		"%s keeps nothing: fds %u before, %u after, shared mappings %u "
		"and %u, KiB %lu and %lu",
		who, before->fds, after->fds, before->shared, after->shared,
		before->anonymous_kb, after->anonymous_kb);
	e2e_check(run,
		after->fds <= before->fds && after->shared <= before->shared &&
			after->anonymous_kb <=
				before->anonymous_kb + GROWTH_KB,
		what);
}

/* Look once a second at fences that nobody holds: so does the supervisor. */
static void await_standins(const struct e2e_run *run, unsigned int count)
{
	long long deadline = e2e_now_ms() + PATIENCE_MS;

	while (e2e_count_standins() != count && e2e_now_ms() < deadline)
		usleep(10000);
	e2e_check(run, e2e_count_standins() == count,
		"as many stand-ins have names as there are fences");
}

/* The status line for SIGUSR1, as far as it tells how many are there. */
static void await_status(struct relay_host *host, const char *status)
{
	long long deadline = e2e_now_ms() + PATIENCE_MS;

	for (;;) {
		kill(host->run.pid, SIGUSR1);
		usleep(20000);
		e2e_look(&host->run);
		if (strstr(host->run.errors, status))
			return;
		e2e_check(&host->run, e2e_now_ms() < deadline, status);
		usleep(200000);
	}
}

static void make_and_drop(const char *isolate)
{
	char fences[32];
	struct e2e_run run = {.wrapped = true,
		.options = {relay_option(), isolate},
		.command = {e2e_client("fence-client"), fences, "--pause"}};
	struct e2e_usage supervisor[2], daemon[2];
	const char *soak = getenv("FF_SOAK_FENCES");
	long count = soak && atol(soak) > FENCES ? atol(soak) : FENCES;
	struct relay_host host;
	pid_t pid;

	snprintf(fences, sizeof(fences), "--fences=%ld", count);
	run.patience_s = count / 100;
	relay_host_start(&host, NULL);
	e2e_start(&run);
	e2e_await(&run, "pause: start");
	e2e_go_on(&run);
	/* One fence has been swapped, and stays until the end. */
	e2e_await(&run, "pause: middle");
	pid = e2e_child_of(run.pid);
	await_standins(&run, 1);
	e2e_usage(pid, &supervisor[0]);
	e2e_usage(host.run.pid, &daemon[0]);
	e2e_go_on(&run);
	e2e_await(&run, "pause: end");
	await_standins(&run, 1);
	await_status(&host, "guests 1, fences 1,");
	e2e_usage(pid, &supervisor[1]);
	e2e_usage(host.run.pid, &daemon[1]);
	check_flat(&run, "the supervisor", &supervisor[0], &supervisor[1]);
	check_flat(&run, "the host's end", &daemon[0], &daemon[1]);
	e2e_go_on(&run);
	e2e_finish(&run);
	e2e_check(&run, e2e_exited(&run, 0) && strstr(run.output, "OK\n"),
		"the client is content");
	e2e_check(&run, !*run.errors, "nobody complains");
	/* The first, one to warm up, and those. */
	e2e_check(&run, e2e_number(e2e_event(&run, "exit", 0), "swaps") ==
		count + 2, "all were swapped");
	await_status(&host, "guests 0, fences 0,");
	relay_host_stop(&host);
}

RELAY_SOAK_TEST(fences, thousands_leave_nothing_behind, FF_TEST_XORG_FENCES)
{
	make_and_drop(NULL);
}

/* There the host's end, too, has the files open. */
RELAY_SOAK_TEST(fences, isolated_they_leave_nothing_either,
	FF_TEST_XORG_FENCES)
{
	make_and_drop("--isolate");
}

E2E_TEST(fences, over_a_thousand_live_at_once, FF_TEST_XORG_FENCES)
{
	char last[32], count[16], status[64];
	struct e2e_run run = {.wrapped = true,
		.options = {relay_option(), "--isolate"},
		.command = {e2e_client("fence-exec"), count, "sh", "-c",
			RELAY_JOIN, "sh", e2e_client("fence-peer"), "--ping",
			RELAY_JOIN_ROUNDS, "--timeout=30", "/proc/self/fd/100",
			last}};
	struct relay_host host;

	snprintf(count, sizeof(count), "%d", ALIVE);
	snprintf(last, sizeof(last), "/proc/self/fd/%d", 100 + ALIVE - 1);
	snprintf(status, sizeof(status), "guests 1, fences %d,", ALIVE);
	relay_host_start(&host, NULL);
	e2e_start(&run);
	e2e_await(&run, "ready\n");
	await_standins(&run, ALIVE);
	await_status(&host, status);
	relay_join(&run, "--pong");
	relay_host_stop(&host);
}

/* Each has what it must have. Returns how many had this direction. */
static unsigned int check_wakes(const struct relay_pair *pair,
	const char *direction, const char *comm, bool has_pid)
{
	const struct e2e_run *run = &pair->client;
	unsigned int count = 0;
	json_t *event;

	for (size_t i = 0; (event = e2e_event(run, "wake", i)); i++) {
		const char *fence = e2e_text(event, "fence");

		e2e_check(run,
			!strcmp(fence, relay_name(pair->fences[0])) ||
				!strcmp(fence, relay_name(pair->fences[1])),
			"the fence is one of the two");
		if (strcmp(e2e_text(event, "direction"), direction))
			continue;
		count++;
		e2e_check(run, e2e_number(event, "count") > 0 &&
			e2e_number(event, "count") <= INT_MAX,
			"it is for some sleepers");
		e2e_check(run, !strcmp(e2e_text(event, "comm"), comm) &&
			has_pid == (e2e_number(event, "pid") > 0) &&
			has_pid == (e2e_number(event, "tid") > 0),
			"it tells who woke");
	}
	return count;
}

E2E_TEST(fences, the_log_tells_of_each_wake, FF_TEST_XORG_FENCES)
{
	static struct relay_pair pair;
	struct relay_host host;
	unsigned int to_host, from_host;
	json_t *exit;

	relay_host_start(&host, NULL);
	pair.client.options[0] = relay_option();
	pair.client.options[1] = "--isolate";
	relay_play(&pair, "--ping", "--pong", 300, "--delay=20");
	relay_finish(&pair, 300);
	relay_host_stop(&host);
	to_host = check_wakes(&pair, "to_host", "fence-peer", true);
	from_host = check_wakes(&pair, "from_host", "", false);
	e2e_check(&pair.client, to_host > 30 && from_host > 30,
		"there were many of both");
	e2e_check(&pair.client,
		e2e_count(&pair.client, "wake", "event", "") ==
			to_host + from_host,
		"there were no others");
	exit = e2e_event(&pair.client, "exit", 0);
	e2e_check(&pair.client,
		e2e_number(exit, "wakes_to_host") == to_host &&
			e2e_number(exit, "wakes_from_host") == from_host,
		"the exit event counts the same");
	e2e_check_log(&pair.client, 2, 0, 0);
}
