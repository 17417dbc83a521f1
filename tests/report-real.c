/* SPDX-License-Identifier: MIT */
/* fenceferry report on the logs of real runs. */
#include "e2e.h"
#include "report-run.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

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
