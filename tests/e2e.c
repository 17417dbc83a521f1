/* SPDX-License-Identifier: MIT */
/*
 * Whole sessions: our own client, which does with fences what Mesa does, under
 * fenceferry on a real X server.
 */
#include "e2e.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ROUNDS = 10000, PATIENCE_MS = 10000, SETTLED_US = 100000 };

/* What 1,000 swaps may leave in the supervisor: less than 1 KiB each. */
#ifdef __SANITIZE_ADDRESS__
/* The sanitizer keeps freed memory for long, and tells of leaks itself. */
enum { GROWTH_KB = 65536 };
#else
enum { GROWTH_KB = 512 };
#endif

__attribute__((constructor)) static void choose_engine(void)
{
	e2e_engine = "ptrace";
}

/* The client was content, and fenceferry had nothing to say. */
static void check_content(const struct e2e_run *run)
{
	e2e_check(run, e2e_exited(run, 0), "the client is content");
	e2e_check(run, strstr(run->output, "OK\n"), "the client says so");
	e2e_check(run, !*run->errors, "nobody complains");
}

/* Crossing number index is that of a fence, which the client says is xid. */
static void check_fence(const struct e2e_run *run, size_t index, long long xid)
{
	json_t *crossing = e2e_event(run, "crossing", index);

	e2e_check(run, !strcmp(e2e_text(crossing, "kind"), "memfd"),
		"the kind is memfd");
	e2e_check(run, !strcmp(e2e_text(crossing, "name"), "xshmfence"),
		"the name is libxshmfence's");
	e2e_check(run, e2e_number(crossing, "size") == 4,
		"the size is a word's");
	e2e_check(run,
		!strcmp(e2e_text(crossing, "request"), "DRI3.FenceFromFD"),
		"the request is known");
	e2e_check(run,
		!strcmp(e2e_text(crossing, "display"), e2e_server()->display),
		"the display is the server's");
	e2e_check(run, !strcmp(e2e_text(crossing, "comm"), "fence-client"),
		"the client is named");
	if (xid >= 0)
		e2e_check(run, e2e_number(crossing, "xid") == xid,
			"the xid is the client's");
}

/* How many clients were content. */
static unsigned int count_content(const struct e2e_run *run)
{
	const char *at = run->output;
	unsigned int count = 0;

	while ((at = strstr(at, "OK\n"))) {
		at++;
		count++;
	}
	return count;
}

/* What the client has printed for its first fence. */
static long long printed_xid(const struct e2e_run *run)
{
	static const char label[] = "fence's xid: ";
	const char *line = strstr(run->output, label);

	e2e_check(run, line, "the client prints its xid");
	return atoll(line + strlen(label));
}

/* Where the first fence was, before or after it crossed. */
static void fence_mapping(const struct e2e_run *run, const char *when,
	struct e2e_mapping *mapping)
{
	char label[64];

	snprintf(label, sizeof(label), "fence %s crossing: ", when);
	e2e_read_mapping(run->output, label, mapping);
}

E2E_TEST(fences, ten_thousand_rounds_after_a_swap, FF_TEST_XORG_FENCES)
{
	struct e2e_run run = {.wrapped = true,
		.command = {e2e_client("fence-client"), "--rounds=10000",
			"--busy", "--maps"}};
	json_t *swap;
	const char *slept;

	e2e_do(&run);
	check_content(&run);
	e2e_check_log(&run, 1, 0, 0);
	check_fence(&run, 0, printed_xid(&run));
	swap = e2e_event(&run, "swap", 0);
	e2e_check(&run,
		e2e_number(swap, "fds") == 1 &&
			e2e_number(swap, "mappings") == 1 &&
			e2e_number(swap, "processes") == 1 &&
			e2e_number(swap, "threads") == 1,
		"one of each was swapped");
	/* Rounds that find the fence triggered prove nothing of wake-ups. */
	slept = strstr(run.output, "us each, ");
	e2e_check(&run, slept && atol(strchr(slept, ',') + 1) > ROUNDS / 10,
		"the client slept in its rounds");
}

/* Whether the second state has nothing that the first had not. */
static bool keeps_nothing(
	const struct e2e_usage *before, const struct e2e_usage *after)
{
	return after->fds <= before->fds && after->shared <= before->shared;
}

static void check_same(const struct e2e_run *run, const char *who,
	const struct e2e_usage *before, const struct e2e_usage *after)
{
	char what[256];

	snprintf(what, sizeof(what),
		"%s keeps nothing: fds %u before, %u after, shared mappings %u "
		"before, %u after",
		who, before->fds, after->fds, before->shared, after->shared);
	e2e_check(run, keeps_nothing(before, after), what);
}

/* A server gets round to closing a connection when it has the time. */
static void look_when_settled(pid_t pid, struct e2e_usage *usage)
{
	long long deadline = e2e_now_ms() + PATIENCE_MS;
	struct e2e_usage before;

	e2e_usage(pid, usage);
	do {
		before = *usage;
		usleep(SETTLED_US);
		e2e_usage(pid, usage);
	} while ((before.fds != usage->fds || before.shared != usage->shared) &&
		 e2e_now_ms() < deadline);
}

static void check_server_forgets(
	const struct e2e_run *run, const struct e2e_usage *before)
{
	long long deadline = e2e_now_ms() + PATIENCE_MS;
	struct e2e_usage after;

	do {
		usleep(10000);
		e2e_usage(e2e_server()->pid, &after);
	} while (!keeps_nothing(before, &after) && e2e_now_ms() < deadline);
	check_same(run, "the server", before, &after);
}

E2E_TEST(fences, a_thousand_leave_nothing_behind, FF_TEST_XORG_FENCES)
{
	struct e2e_run run = {.wrapped = true,
		.command = {e2e_client("fence-client"), "--fences=1000",
			"--pause"}};
	struct e2e_usage server[3], supervisor[2];
	const pid_t server_pid = e2e_server()->pid;
	pid_t supervisor_pid;

	look_when_settled(server_pid, &server[0]);
	e2e_start(&run);
	e2e_await(&run, "pause: start");
	e2e_go_on(&run);
	/* One fence has been swapped, and stays until the end. */
	e2e_await(&run, "pause: middle");
	supervisor_pid = e2e_child_of(run.pid);
	look_when_settled(server_pid, &server[1]);
	look_when_settled(supervisor_pid, &supervisor[0]);
	e2e_check(&run, server[1].shared == 1, "the server maps one fence");
	e2e_check(&run, !supervisor[0].shared, "the supervisor maps none");
	e2e_go_on(&run);
	e2e_await(&run, "pause: end");
	look_when_settled(server_pid, &server[2]);
	look_when_settled(supervisor_pid, &supervisor[1]);
	check_same(&run, "the server", &server[1], &server[2]);
	check_same(&run, "the supervisor", &supervisor[0], &supervisor[1]);
	e2e_check(&run,
		supervisor[1].anonymous_kb <=
			supervisor[0].anonymous_kb + GROWTH_KB,
		"the supervisor does not grow");
	e2e_check(&run, !e2e_count_standins(), "no stand-in has a name");
	e2e_go_on(&run);
	e2e_finish(&run);
	/* It compares its own fds and mappings before and after. */
	check_content(&run);
	/* The first, one to warm up, and the thousand. */
	e2e_check_log(&run, 1002, 0, 0);
	for (size_t i = 0; i < 1002; i++)
		check_fence(&run, i, -1);
	check_server_forgets(&run, &server[0]);
}

/*
 * Run the client of a run up to its end, look at the server's mapping of the
 * fence, and let it go. True if both have the same file; *mapping is it.
 */
static bool compare_sides(struct e2e_run *run, struct e2e_mapping *mapping)
{
	struct e2e_mapping theirs;
	bool same;

	e2e_start(run);
	e2e_await(run, "pause: start");
	e2e_go_on(run);
	e2e_await(run, "pause: middle");
	fence_mapping(run, "after", mapping);
	same = e2e_find_mapping(e2e_server()->pid, mapping, &theirs) &&
	       !strcmp(theirs.path, mapping->path);
	e2e_go_on(run);
	e2e_await(run, "pause: end");
	e2e_finish(run);
	check_content(run);
	return same;
}

E2E_TEST(fences, the_server_maps_the_clients_standin, FF_TEST_XORG_FENCES)
{
	struct e2e_run run = {.wrapped = true,
		.command = {e2e_client("fence-client"), "--maps", "--pause",
			"--rounds=100"}};
	struct e2e_mapping before, after;

	e2e_check(&run, compare_sides(&run, &after), "both map the same file");
	fence_mapping(&run, "before", &before);
	e2e_check(&run, !strncmp(before.path, "/memfd:xshmfence", 16),
		"before, it is a memfd");
	e2e_check(&run,
		!strncmp(after.path, e2e_shm_dir(), strlen(e2e_shm_dir())),
		"afterwards, it is a file in the shm dir");
	e2e_check(&run, before.inode != after.inode, "it is another file");
	e2e_check_log(&run, 1, 0, 0);
}

/* The control: without a swap the server has mapped the client's memfd. */
static void check_memfd(struct e2e_run *run)
{
	struct e2e_mapping before, after;

	e2e_check(run, compare_sides(run, &after), "both map the same file");
	fence_mapping(run, "before", &before);
	e2e_check(run,
		!strncmp(after.path, "/memfd:xshmfence", 16) &&
			before.inode == after.inode &&
			before.major == after.major &&
			before.minor == after.minor,
		"it is the memfd that it was");
}

E2E_TEST(control, bare_the_server_maps_the_clients_memfd, FF_TEST_XORG_FENCES)
{
	struct e2e_run run = {.command = {e2e_client("fence-client"), "--maps",
				      "--pause", "--rounds=100"}};

	check_memfd(&run);
}

E2E_TEST(control, engine_off_watches_the_memfd_cross, FF_TEST_XORG_FENCES)
{
	struct e2e_run run = {.wrapped = true, .options = {"--engine=off"},
		.command = {e2e_client("fence-client"), "--maps", "--pause",
			"--rounds=100"}};

	check_memfd(&run);
	e2e_check_log(&run, 0, 1, 0);
	check_fence(&run, 0, printed_xid(&run));
	e2e_check(&run,
		e2e_count(&run, "crossing", "reason", "engine off") == 1,
		"the log says why");
}

E2E_TEST(fences, present_idles_them, FF_TEST_XORG_FENCES)
{
	struct e2e_run run = {.wrapped = true,
		.command = {e2e_client("fence-client"), "--present=200"}};

	e2e_do(&run);
	check_content(&run);
	e2e_check(&run, strstr(run.output, "presents: 200\n"),
		"200 frames were presented");
	e2e_check_log(&run, 1, 0, 0);
}

/* The client itself sees that no idle thread's call has been interrupted. */
static void swap_among_threads(const char *option, long long threads)
{
	struct e2e_run run = {.wrapped = true,
		.command = {e2e_client("fence-client"), option, "--duplicate",
			"--rounds=1000", "--fences=20"}};

	e2e_do(&run);
	check_content(&run);
	e2e_check_log(&run, 22, 0, 0);
	e2e_check(&run,
		e2e_number(e2e_event(&run, "swap", 0), "threads") ==
			threads + 1,
		"all threads were stopped");
	e2e_check(&run, e2e_number(e2e_event(&run, "swap", 0), "fds") == 2,
		"the duplicate was swapped too");
	e2e_check(&run, strstr(run.output, ", none disturbed\n"),
		"the threads noticed nothing");
}

E2E_TEST(fences, swapped_among_8_idle_threads, FF_TEST_XORG_FENCES)
{
	swap_among_threads("--threads=8", 8);
}

E2E_TEST(fences, swapped_among_64_idle_threads, FF_TEST_XORG_FENCES)
{
	swap_among_threads("--threads=64", 64);
}

/* A shell's script, with "$0" for the client. */
static void run_script(struct e2e_run *run, const char *script)
{
	run->wrapped = true;
	run->command[0] = "sh";
	run->command[1] = "-c";
	run->command[2] = script;
	run->command[3] = e2e_client("fence-client");
	e2e_do(run);
}

E2E_TEST(fences, two_clients_at_once, FF_TEST_XORG_FENCES)
{
	struct e2e_run run = {0};
	json_t *first;

	run_script(&run,
		"\"$0\" --rounds=2000 --fences=200 --busy & a=$!\n"
		"\"$0\" --rounds=2000 --fences=200 --busy & b=$!\n"
		"wait $a && wait $b");
	check_content(&run);
	e2e_check(&run, count_content(&run) == 2, "both are content");
	e2e_check_log(&run, 404, 0, 0);
	first = json_object_get(e2e_event(&run, "crossing", 0), "pid");
	for (size_t i = 1; i < 404; i++)
		if (!json_equal(first,
			    json_object_get(
				    e2e_event(&run, "crossing", i), "pid")))
			return;
	e2e_check(&run, false, "the log tells of two processes");
}

E2E_TEST(fences, clients_of_any_generation, FF_TEST_XORG_FENCES)
{
	struct e2e_run run = {0};
	json_t *exit;

	/* The outer shell's last word keeps it from becoming the inner. */
	run_script(&run,
		"sh -c '\"$0\" --rounds=100; (\"$0\" --rounds=100); exit 5' "
		"\"$0\"; exit $?");
	e2e_check(&run, e2e_exited(&run, 5), "the status comes through");
	e2e_check(&run, count_content(&run) == 2, "both are content");
	e2e_check_log(&run, 2, 0, 0);
	exit = e2e_event(&run, "exit", 0);
	e2e_check(&run,
		e2e_number(exit, "status") == 5 &&
			e2e_number(exit, "pid") !=
				e2e_number(e2e_event(&run, "crossing", 0),
					"pid"),
		"the command is not the client");
}

E2E_TEST(fences, select_fence_swaps_them, FF_TEST_XORG_FENCES)
{
	struct e2e_run run = {.wrapped = true, .options = {"--select=fence"},
		.command = {e2e_client("fence-client"), "--rounds=100",
			"--maps"}};
	struct e2e_mapping after;

	e2e_do(&run);
	check_content(&run);
	e2e_check_log(&run, 1, 0, 0);
	fence_mapping(&run, "after", &after);
	e2e_check(&run,
		!strncmp(after.path, e2e_shm_dir(), strlen(e2e_shm_dir())),
		"it is a file in the shm dir");
}
