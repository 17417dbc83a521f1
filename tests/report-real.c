/* SPDX-License-Identifier: MIT */
/* fenceferry report on the logs of real runs. */
#include "e2e.h"
#include "report-run.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Run a client of five fences, and report on its log. */
static json_t *run_client(const char *engine, struct e2e_run *run,
	struct report *report, const char *option)
{
	static char path[PATH_MAX + 8];

	*run = (struct e2e_run){.wrapped = true, .options = {engine},
		.command = {e2e_client("fence-client"), "--rounds=20",
			"--fences=5"}};
	e2e_do(run);
	e2e_check(run, e2e_exited(run, 0), "the client is well");
	snprintf(path, sizeof(path), "%s/log", run->files);
	*report = (struct report){.args = {path, option}};
	report_do(report);
	report_check(report, !report->status && !*report->errors);
	return report_parse(report);
}

E2E_TEST(report_real, counts_what_the_run_counted, FF_TEST_XORG_FENCES)
{
	static const char *const engines[] = {"ptrace", "notify"};

	for (int i = 0; i < 2; i++) {
		struct report report;
		struct e2e_run run;
		char option[32];
		json_t *json;
		long long swaps;

		snprintf(option, sizeof(option), "--engine=%s", engines[i]);
		json = run_client(option, &run, &report, "--json");
		swaps = e2e_number(e2e_event(&run, "exit", 0), "swaps");
		cr_assert_gt(swaps, 4);
		cr_expect_eq(report_number(json, "crossings.0.swapped"), swaps);
		cr_expect_str_eq(report_string(json, "crossings.0.display"),
			e2e_server()->display);
		cr_expect_str_eq(report_string(json, "crossings.0.request"),
			"DRI3.FenceFromFD");
		cr_expect_str_eq(report_string(json, "swaps.0.engine"),
			engines[i]);
		cr_expect_eq(report_number(json, "swaps.0.count"), swaps);
		cr_expect(i == 1 || report_number(json,
			"swaps.0.stopped_us_median") > 0);
		cr_expect_eq(report_number(json, "ends.0.status"), 0);
		cr_expect_eq(report_number(json, "log.broken_lines"), 0);
		json_decref(json);
		report_free(&report);
	}
}

E2E_TEST(report_real, trace_has_the_swaps, FF_TEST_XORG_FENCES)
{
	struct report report;
	struct e2e_run run;
	json_t *trace = run_client("--engine=ptrace", &run, &report,
		"--trace=-");

	cr_expect_geq(report_check_trace(trace, "X"), 5);
	cr_expect(report_find(trace, "X", "swap by ptrace"));
	cr_expect(report_find(trace, "i", "crossing DRI3.FenceFromFD"));
	json_decref(trace);
	report_free(&report);
}

/* Run report on the log of a run that goes on, or has ended. */
static json_t *report_on(const struct e2e_run *run, struct report *report)
{
	static char path[PATH_MAX + 8];

	snprintf(path, sizeof(path), "%s/log", run->files);
	*report = (struct report){.args = {path, "--json"}};
	report_do(report);
	report_check(report, !report->status);
	return report_parse(report);
}

/* By wait_for_frame in the thread's render_thread, with files and lines. */
static void check_wait(const struct report *report, json_t *wait)
{
	json_t *stack = json_object_get(wait, "backtrace"), *frame;
	unsigned int found = 0;
	size_t i;

	report_check(report, wait != NULL);
	cr_expect_str_eq(report_string(wait, "comm"), "waiter");
	cr_expect_gt(json_real_value(json_object_get(wait, "waited_s")), 0.9);
	json_array_foreach(stack, i, frame) {
		const char *symbol = report_string(frame, "symbol");

		if (strcmp(symbol, "wait_for_frame") != 0 &&
			strcmp(symbol, "render_thread") != 0)
			continue;
		found++;
		cr_expect(strstr(report_string(frame, "file"),
			"hang-client.c"));
		cr_expect_gt(report_number(frame, "line"), 0);
	}
	cr_expect_eq(found, 2, "%s", json_dumps(stack, 0));
}

E2E_TEST(report_real, thread_that_hangs_is_named_while_it_does,
	FF_TEST_XORG_FENCES)
{
	struct e2e_run run = {.wrapped = true,
		.options = {"--trace-fences", "--backtrace"},
		.command = {e2e_client("hang-client"), "--release"}};
	struct report report;
	json_t *json, *wait, *waits;

	e2e_start(&run);
	e2e_await(&run, "worker: ");
	for (int i = 0; i < 500 && !e2e_logged(&run, "\"ended\":null"); i++)
		usleep(20000);
	json = report_on(&run, &report);
	waits = json_object_get(json, "waits");
	cr_expect_eq(json_array_size(json_object_get(waits, "not_ended")), 1);
	wait = json_array_get(json_object_get(waits, "not_ended"), 0);
	check_wait(&report, wait);
	cr_expect_str_eq(report_string(json, "fences.never_signalled.0.fence"),
		report_string(wait, "fence"));
	json_decref(json);
	report_free(&report);
	/* Its input ends: the fence is triggered. */
	e2e_finish(&run);
	e2e_check(&run, e2e_exited(&run, 0), "the client is well");
	json = report_on(&run, &report);
	waits = json_object_get(json, "waits");
	cr_expect_eq(json_array_size(json_object_get(waits, "not_ended")), 0);
	wait = json_array_get(json_object_get(waits, "longest"), 0);
	check_wait(&report, wait);
	cr_expect_str_eq(report_string(wait, "by"), "server");
	cr_expect_str_eq(report_string(json, "fences.never_signalled.0.fence"),
		"");
	json_decref(json);
	report_free(&report);
}

/* Attach to the client, with a log where its own would be, until that has so
 * many such lines. */
static void watch(const struct e2e_run *client, const char *text,
	unsigned int lines)
{
	char shm_dir[PATH_MAX + 16], log[PATH_MAX + 16], pid[16];
	struct e2e_run attach = {.command = {e2e_fenceferry(), "attach",
		"--trace-fences", log, shm_dir, pid}};

	snprintf(log, sizeof(log), "--log=%s/log", client->files);
	snprintf(shm_dir, sizeof(shm_dir), "--shm-dir=%s", e2e_shm_dir());
	snprintf(pid, sizeof(pid), "%d", client->pid);
	e2e_start(&attach);
	for (int i = 0; i < 500 && e2e_logged(client, text) < lines; i++)
		usleep(20000);
	kill(attach.pid, SIGINT);
	e2e_finish_beside(&attach);
	e2e_check(&attach, e2e_exited(&attach, 0), "it leaves");
}

static double real(json_t *object, const char *key)
{
	return json_number_value(json_object_get(object, key));
}

E2E_TEST(report_real, hang_is_told_of_until_it_was_left, FF_TEST_XORG_FENCES)
{
	struct e2e_run client = {.command = {e2e_client("hang-client"),
		"--rounds=5", "--release"}};
	json_t *json, *wait, *ends;
	struct report report;

	e2e_need_attach();
	e2e_start(&client);
	e2e_await(&client, "worker: 5 rounds\n");
	watch(&client, "\"ended\":null", 1);
	usleep(1000000);
	watch(&client, "\"attach\"", 2);
	json = report_on(&client, &report);
	wait = json_array_get(json_object_get(json_object_get(json, "waits"),
		"not_ended"), 0);
	ends = json_object_get(json, "ends");
	report_check(&report, json_array_size(ends) == 4 &&
		report_number(wait, "pid") == client.pid &&
		json_is_true(json_object_get(wait, "last")));
	report_check(&report, real(wait, "begin") + real(wait, "waited_s") <
		real(json_array_get(ends, 1), "time") + 0.01);
	json_decref(json);
	report_free(&report);
	e2e_go_on(&client);
	e2e_finish_beside(&client);
	e2e_check(&client, e2e_exited(&client, 0), "the client is content");
}
