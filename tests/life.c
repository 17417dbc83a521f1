/* SPDX-License-Identifier: MIT */
/*
 * --trace-fences: what the log tells of fences and of those who wait on them.
 */
#include "life.h"
#include "relay.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ROUNDS = 1000 };

/* How each step of wait-victim ends its wait, which lasts 0.06 s. The thread is
 * looked at every 0.05 s at least; and the machine may be slow. */
static const struct {
	const char *step, *ended, *by;
} ends[] = {
	{"client", "triggered", "client"},
	{"timeout", "timeout", ""},
	{"deadline", "timeout", ""},
	{"signal", "interrupted", ""},
	{"death", "interrupted", ""}, /* by the signal, at first */
	{"exec", "gone", ""},
};
#define LASTS_S 0.06
#define SLOW_S 1.0

double life_real(json_t *event, const char *key)
{
	json_t *value = json_object_get(event, key);

	return json_is_number(value) ? json_number_value(value) : -1;
}

/* Event wait of this thread that ends so: number index of them. */
static json_t *find_end(const struct e2e_run *run, long tid, const char *ended,
	size_t index)
{
	json_t *event;

	for (size_t i = 0; (event = e2e_event(run, "wait", i)); i++)
		if (e2e_number(event, "tid") == tid &&
			!strcmp(e2e_text(event, "ended"), ended) && !index--)
			return event;
	return NULL;
}

/* The thread that waits in a step: the first, or the one that says so. */
static long find_thread(const struct e2e_run *run, const char *step)
{
	char label[32];
	const char *at, *other;

	snprintf(label, sizeof(label), "step %s: ", step);
	at = strstr(run->output, label);
	e2e_check(run, at, "the victim comes so far");
	other = strchr(at, '\n');
	return other && !strncmp(other, "\nwaits: ", 8) ? atol(other + 8) :
		atol(at + strlen(label));
}

static void check_ends(const struct e2e_run *run)
{
	size_t timeouts = 0;

	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		long tid = find_thread(run, ends[i].step);
		json_t *event = find_end(run, tid, ends[i].ended,
			strcmp(ends[i].ended, "timeout") ? 0 : timeouts++);
		double waited_s = life_real(event, "waited_s");
		double resolution_s = life_real(event, "resolution_s");

		e2e_check(run, event, ends[i].step);
		e2e_check(run, !strcmp(e2e_text(event, "by"), ends[i].by),
			ends[i].step);
		e2e_check(run, resolution_s >= 0 &&
			waited_s - resolution_s <= LASTS_S + SLOW_S &&
			waited_s >= LASTS_S / 4 && waited_s < LASTS_S +
				SLOW_S, ends[i].step);
		e2e_check(run, life_real(event, "begin") <=
			life_real(event, "time") - waited_s + 0.01,
			"it begins as long before as it lasts");
	}
}

/* Nothing is lost, nothing is told twice: calls as the victim has counted them,
 * and one for each of the other steps. */
static void check_counts(const struct e2e_run *run, unsigned int others)
{
	const char *at = strstr(run->output, "waits ");
	unsigned int waits = 0, wakes = 0, created, destroyed;

	e2e_check(run, at && sscanf(at, "waits %u, wakes %u", &waits,
		&wakes) == 2 && wakes == ROUNDS, "the rounds are done");
	e2e_check(run, e2e_count(run, "wait", "ended", "") == waits + others,
		"each wait is told of once");
	e2e_check(run, e2e_count(run, "fence", "by", "client") == wakes + 1,
		"each wake is told of");
	created = e2e_count(run, "fence", "state", "created");
	destroyed = e2e_count(run, "fence", "state", "destroyed");
	/* step others makes two more, of which one is no fence. */
	e2e_check(run, created == others + 3 && destroyed == created,
		"each fence is made and ends");
}

static void run_victim(const char *victim, const char *option)
{
	struct e2e_run run = {.wrapped = true,
		.options = {"--trace-fences", option},
		.command = {e2e_client(victim), "client", "rounds", "timeout",
			"deadline", "signal", "death", "others", "exec"}};

	e2e_do(&run);
	e2e_check(&run, e2e_exited(&run, 0), "the victim is content");
	check_ends(&run);
	check_counts(&run, sizeof(ends) / sizeof(ends[0]));
}

E2E_TEST(life, tells_how_each_wait_ends, FF_TEST_XVFB)
{
	run_victim("wait-victim", NULL);
	run_victim("wait-victim", "--isolate");
#ifdef __x86_64__
	run_victim("wait-victim32", NULL);
#endif
}

/* futex_waitv has no numbers of waits to compare. */
E2E_TEST(life, tells_of_waits_on_several_words, FF_TEST_XVFB)
{
	struct e2e_run run = {.wrapped = true, .options = {"--trace-fences"},
		.command = {e2e_client("wait-victim"), "waitv"}};
	json_t *event;

	e2e_do(&run);
	e2e_check(&run, e2e_exited(&run, 0), "the victim is content");
	event = e2e_event(&run, "wait", 0);
	e2e_check(&run, !strcmp(e2e_text(event, "by"), "client"),
		"the client has triggered it");
}

/* With a relay that is told at the end, for it has no name before it crosses. */
E2E_TEST(life, of_a_fence_that_never_crossed_has_its_stack, FF_TEST_XVFB)
{
	struct e2e_run run = {.wrapped = true,
		.options = {"--backtrace", "--isolate", relay_option()},
		.command = {e2e_client("wait-victim"), "timeout"}};
	struct relay_host host;
	json_t *event;

	relay_host_start(&host, NULL);
	e2e_do(&run);
	e2e_check(&run, e2e_exited(&run, 0), "the victim is content");
	relay_host_stop(&host);
	/* Its line may be written after that of its end. */
	for (size_t i = 0; (event = e2e_event(&run, "fence", i)); i++)
		if (!strcmp(e2e_text(event, "state"), "created"))
			break;
	/* Who makes a memfd is not stopped. */
	e2e_check(&run, json_array_size(json_object_get(event, "backtrace")) >
		2 || e2e_is_cut_by_sanitizer(event), "it leads to its caller");
}

static void run_sharing(struct e2e_run *run, const char *engine,
	const char *step)
{
	static char path[PATH_MAX], option[PATH_MAX + 16];

	snprintf(path, sizeof(path), "%s/socket", e2e_dir());
	snprintf(option, sizeof(option), "--x-socket=%s", path);
	*run = (struct e2e_run){.wrapped = true,
		.options = {"--trace-fences", engine, option},
		.command = {e2e_client("share-victim"), path, step}};
	e2e_do(run);
	e2e_check(run, e2e_exited(run, 0), "the victim is content");
}

/* Whoever is stopped for a swap, in whatever process, waits on. */
E2E_TEST(life, of_sharers_goes_on_through_a_swap, FF_TEST_XVFB)
{
	struct e2e_run run;

	run_sharing(&run, "--engine=auto", "child");
	/* The first one is the fence's own. */
	e2e_check(&run, e2e_number(e2e_event(&run, "swap", 1), "processes") ==
		2,
		"the parent takes part in the swap");
	e2e_check(&run, e2e_count(&run, "wait", "ended", "") == 1,
		"its wait is one");
	e2e_check(&run, !e2e_count(&run, "fence", "by", "server"),
		"no server has triggered it");
}

/* Each swap stops the thread; and in the end it may be woken, for all that were
 * may have missed a wake. */
E2E_TEST(life, of_one_wait_goes_on_through_many_swaps, FF_TEST_XORG_FENCES)
{
	struct e2e_run run = {.wrapped = true,
		.options = {"--trace-fences", "--engine=ptrace"},
		.command = {e2e_client("hang-client"), "--rounds=40",
			"--hold=1"}};
	unsigned int told = 0;
	json_t *event;

	e2e_do(&run);
	e2e_check(&run, e2e_exited(&run, 0), "the client is content");
	for (size_t i = 0; (event = e2e_event(&run, "wait", i)); i++)
		/* It may be told of after a second, before its end. */
		if (!strcmp(e2e_text(event, "comm"), "waiter") &&
			*e2e_text(event, "ended")) {
			told++;
			e2e_check(&run, !strcmp(e2e_text(event, "ended"),
				"gone"), "nobody triggers its fence");
		}
	e2e_check(&run, told == 1, "it waits once");
}

/* A fence that is only watched lives on when a thread that waited has ended. */
E2E_TEST(life, of_a_fence_is_longer_than_that_of_a_thread, FF_TEST_XVFB)
{
	struct e2e_run run;

	run_sharing(&run, "--engine=off", "thread");
	e2e_check(&run, e2e_count(&run, "wait", "ended", "timeout") == 2,
		"both waits are told of");
	e2e_check(&run, e2e_count(&run, "fence", "state", "destroyed") == 1 &&
		life_real(e2e_event(&run, "fence", 1), "alive_s") > 1.9,
		"it ends with its process");
}

/* With each engine, and for fences that stay memfds. */
static void run_rounds(const char *engine, const char *made_by)
{
	struct e2e_run run = {.wrapped = true,
		.options = {"--trace-fences", engine},
		.command = {e2e_client("fence-client"), "--rounds=1000",
			"--busy"}};
	json_t *created, *destroyed;
	unsigned int waits;

	e2e_do(&run);
	e2e_check(&run, e2e_exited(&run, 0) && strstr(run.output, "OK\n"),
		"no round is lost");
	created = e2e_event(&run, "fence", 0);
	e2e_check(&run, !strcmp(e2e_text(created, "state"), "created") &&
		!strcmp(e2e_text(created, "made_by"), made_by) &&
		!strcmp(e2e_text(created, "name"), "xshmfence"),
		"its making comes first");
	waits = e2e_count(&run, "wait", "ended", "");
	e2e_check(&run, waits > 0, "it waits");
	e2e_check(&run, e2e_count(&run, "wait", "by", "server") == waits,
		"the server ends the waits");
	e2e_check(&run, e2e_count(&run, "fence", "by", "server") == waits &&
		e2e_count(&run, "fence", "state", "reset") + 2 >= waits,
		"it is triggered and reset in turn");
	e2e_check(&run, e2e_count(&run, "fence", "state", "destroyed") == 1,
		"it ends");
	for (size_t i = 0; (destroyed = e2e_event(&run, "fence", i)); i++)
		e2e_check(&run, !strcmp(e2e_text(destroyed, "fence"),
			e2e_text(created, "fence")), "it is one fence");
}

E2E_TEST(life, follows_a_thousand_rounds, FF_TEST_XORG_FENCES)
{
	run_rounds("--engine=notify", "notify");
	run_rounds("--engine=ptrace", "ptrace");
	run_rounds("--engine=off", "client");
}

/* What costs the client nothing is told by default. */
E2E_TEST(life, tells_of_birth_and_end_by_default, FF_TEST_XORG_FENCES)
{
	struct e2e_run run = {.wrapped = true,
		.command = {e2e_client("fence-client"), "--rounds=10",
			"--busy", "--fences=20"}};

	e2e_do(&run);
	e2e_check(&run, e2e_exited(&run, 0), "the client is content");
	e2e_check(&run, e2e_count(&run, "fence", "state", "created") == 22,
		"all are made");
	e2e_check(&run, e2e_count(&run, "fence", "state", "destroyed") == 22,
		"all end");
	e2e_check(&run, !e2e_event(&run, "wait", 0), "no wait is trapped");
}

/* From the host's kernel, as it were: the relay's wake ends the wait. */
E2E_TEST(life, tells_of_triggers_by_the_host, FF_TEST_XORG_FENCES)
{
	struct e2e_run run = {.wrapped = true,
		.options = {"--trace-fences", "--isolate", relay_option()},
		.command = {e2e_client("fence-client"), "--rounds=1000",
			"--busy"}};
	struct relay_host host;
	const char *fence;
	json_t *event;

	relay_host_start(&host, NULL);
	e2e_do(&run);
	e2e_check(&run, e2e_exited(&run, 0), "the client is content");
	relay_host_stop(&host);
	e2e_check(&run, e2e_count(&run, "wait", "by", "host") > 0,
		"waits are ended by the host");
	e2e_check(&run, e2e_count(&run, "fence", "by", "host") >=
		e2e_count(&run, "wait", "by", "host"),
		"each time it is said to be triggered");
	event = e2e_event(&run, "fence", 0);
	fence = e2e_text(event, "fence");
	e2e_check(&run, !strcmp(e2e_text(event, "state"), "created") &&
		!strncmp(fence, "fenceferry-", 11),
		"it is told of by the name that it gets for the host");
	event = e2e_event(&run, "wake", 0);
	e2e_check(&run, !strcmp(e2e_text(event, "fence"), fence),
		"and that is its name in all events");
}
