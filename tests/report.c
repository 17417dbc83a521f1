/* SPDX-License-Identifier: MIT */
/*
 * fenceferry report, on logs that are well. tests/report-hang.log is one of a
 * client that waits for a fence that nobody signals, beside one that is.
 */
#include "report-run.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#define TIMEOUT .timeout = 60

TestSuite(report, TIMEOUT);

/* Run it on the log of the client that hangs. */
static void report_hang(struct report *report, const char *option)
{
	memset(report, 0, sizeof(*report));
	report->args[0] = REPORT_LOG;
	report->args[1] = option;
	report_do(report);
	report_check(report, !report->status && !*report->errors);
}

Test(report, names_who_waits_for_what_and_where)
{
	static const char *const expected[] = {
		"  hangs[4712] of process 4711 waits for fenceferry-b\n"
			"      for 8.60 s at least: no signal of it was seen\n"
			"      #0 ",
		" xshmfence_await+0x50 (libxshmfence.so.1)\n",
		" wait_idle+0xc [inlined] (app app.c:40)\n",
		" main+0x21 (app main.c:7)\n",
		"never signalled, as far as was seen\n  fenceferry-b (xshmfence), waits: 1\n",
		"         1        0        0  DRI3.FenceFromFD to :1\n",
		"0        1        0  MIT-SHM.CreateSegment from :1 (a reply)\n",
		"1  failed: traced by pid 4711 ?[31m\n",
		"1        1        1  wait_idle (app app.c:40)\n",
		"1  ptrace         300 us,     300 us     500 us, 500 us\n",
		"2  seen\n         2  made\n         1  made by an engine\n"
			"         1  crossed\n         2  waited for\n"
			"         8  signals by the client\n"
			"         1  wakes carried to the host\n"
			"         1  wakes carried from the host\n"
			"         1  destroyed\n",
		"16  triggered by the client\n",
		"median 4.02 ms, max 4.50 ms",
		"app[4711]: exit by signal 15\n",
	};
	struct report report;

	report_hang(&report, NULL);
	for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++)
		cr_assert(strstr(report.output, expected[i]), "no '%s' in\n%s",
			expected[i], report.output);
	report_free(&report);
}

Test(report, json_says_the_same)
{
	struct report report;
	json_t *json;

	report_hang(&report, "--json");
	json = report_parse(&report);
	cr_expect_eq(report_number(json, "log.events"), 44);
	cr_expect_eq(report_number(json, "log.broken_lines"), 0);
	cr_expect_str_eq(report_string(json, "crossings.0.request"),
		"DRI3.FenceFromFD");
	cr_expect_eq(report_number(json, "crossings.0.swapped"), 1);
	cr_expect_str_eq(report_string(json, "crossings.1.direction"),
		"from_server");
	cr_expect_eq(report_number(json, "swaps.0.stopped_us_median"), 300);
	cr_expect_eq(report_number(json, "fences.signalled_by.client"), 8);
	cr_expect_str_eq(report_string(json, "fences.never_signalled.0.fence"),
		"fenceferry-b");
	cr_expect_str_eq(report_string(json, "waits.not_ended.0.comm"),
		"hangs");
	cr_expect_str_eq(report_string(json,
		"waits.not_ended.0.backtrace.4.symbol"), "main");
	cr_expect_eq(report_number(json, "waits.ended.0.count"), 16);
	cr_expect_eq(report_number(json, "ends.0.signal"), 15);
	cr_expect_eq(report_number(json, "sites.0.waits"), 1);
	json_decref(json);
	report_free(&report);
}

Test(report, trace_has_tracks_spans_and_arrows)
{
	json_t *trace, *wait, *life;
	struct report report;

	report_hang(&report, "--trace=-");
	trace = report_parse(&report);
	cr_expect_eq(report_check_trace(trace, "s"), 16);
	/* 16 waits twice, two that is open; 8 triggers and 2 wakes; 2 lives;
	 * the swap. */
	cr_expect_eq(report_check_trace(trace, "X"), 32 + 2 + 10 + 2 + 1);
	wait = report_find(trace, "X", "waits for fenceferry-b");
	cr_expect_eq(report_number(wait, "dur"), 8600000);
	cr_expect_eq(report_number(wait, "ts"), 400000);
	cr_expect_eq(report_number(wait, "tid"), 4712);
	cr_expect(strstr(report_string(wait, "args.backtrace.4"), "main.c:7"));
	/* By its new name, from the beginning. */
	life = report_find(trace, "X", "fenceferry-a");
	cr_expect_eq(report_number(life, "ts"), 0);
	cr_expect_eq(report_number(life, "dur"), 8000000);
	cr_expect(!report_find(trace, "X", "memfd:77"));
	json_decref(trace);
	report_free(&report);
}

#define EVENT_OF(pid, tid, time, name, rest) \
	"{\"time\":" time ",\"event\":\"" name "\",\"pid\":" pid \
		",\"tid\":" tid ",\"comm\":\"c\"," rest "}\n"
#define WAIT_OF(pid, tid, time, begin, waited, ended, rest) \
	EVENT_OF(pid, tid, time, "wait", "\"fence\":\"f\",\"begin\":" begin \
		",\"waited_s\":" waited ",\"ended\":" ended rest)
#define EVENT(...) EVENT_OF("5", "6", __VA_ARGS__)
#define WAIT(...) WAIT_OF("5", "6", __VA_ARGS__)
#define STACK ",\"backtrace\":[{\"ip\":\"0x1\",\"symbol\":\"late\"," \
	"\"module\":\"/bin/c\"}]"

Test(report, line_that_comes_late_does_not_begin_a_wait_again)
{
	struct report report;
	json_t *json;

	report_text(&report, "--json",
		WAIT("1001.2", "1000", "1.2", "\"triggered\"",
			",\"by\":\"server\"")
		WAIT("1001", "1000", "1", "null", STACK));
	json = report_parse(&report);
	cr_expect_eq(json_array_size(json_object_get(json_object_get(json,
		"waits"), "not_ended")), 0);
	cr_expect_eq(report_number(json, "waits.ended.0.count"), 1);
	cr_expect_str_eq(report_string(json,
		"waits.longest.0.backtrace.0.symbol"), "late");
	cr_expect_eq(report_number(json, "fences.waited_for"), 1);
	cr_expect_eq(report_number(json, "fences.signalled_by.server"), 1);
	json_decref(json);
	report_free(&report);
}

Test(report, ten_longest_waits_are_told_longest_first)
{
	char log[8192] = "", line[256];
	struct report report;
	json_t *json;

	for (int i = 1; i <= 30; i++) {
		/* In an order that is none: 7 has no part of 31. */
		snprintf(line, sizeof(line), WAIT("%d", "%d", "0.%03d",
			"\"timeout\"", ""), 2000 + i, 2000 + i, i * 7 % 31);
		strcat(log, line);
	}
	report_text(&report, "--json", log);
	json = report_parse(&report);
	for (int i = 0; i < 10; i++) {
		double waited = json_real_value(json_object_get(json_array_get(
			json_object_get(json_object_get(json, "waits"),
				"longest"), (size_t)i), "waited_s"));
		cr_expect_float_eq(waited, (30 - i) / 1000.0, 1e-9, "%d: %f",
			i, waited);
	}
	cr_expect_eq(report_number(json, "waits.ended.0.count"), 30);
	json_decref(json);
	report_free(&report);
}

Test(report, run_that_ended_ends_its_waits)
{
	struct report report;

	report_text(&report, NULL, WAIT("1001", "1000", "1", "null", "")
		EVENT("1003", "exit", "\"status\":3")
		EVENT("1100", "engine", "\"engine\":\"none\""));
	report_check(&report, !report.status);
	report_check(&report, strstr(report.output, "waits for f\n"
		"      for 3.00 s at least: no signal of it was seen\n"));
	report_check(&report, strstr(report.output,
		"c[5]: exit with status 3\n"));
	report_free(&report);
}

struct open_wait {
	long long tid, begin_s, waited_s;
	bool is_last;
};

/* The log's waits that have not ended are these: a list that tid 0 ends. */
static void expect_open(const char *log, const struct open_wait *expected)
{
	struct report report;
	json_t *json, *open;
	size_t i;

	report_text(&report, "--json", log);
	report_check(&report, !report.status && !*report.errors);
	json = report_parse(&report);
	open = json_object_get(json_object_get(json, "waits"), "not_ended");
	for (i = 0; expected[i].tid; i++) {
		json_t *wait = json_array_get(open, i);

		report_check(&report, report_number(wait, "tid") ==
			expected[i].tid && json_real_value(json_object_get(wait,
				"begin")) == (double)expected[i].begin_s);
		report_check(&report, json_real_value(json_object_get(wait,
			"waited_s")) == (double)expected[i].waited_s);
		report_check(&report, json_is_true(json_object_get(wait,
			"last")) == expected[i].is_last);
	}
	report_check(&report, json_array_size(open) == i);
	json_decref(json);
	report_free(&report);
}

#define OPEN(log, ...) \
	expect_open(log, (const struct open_wait[]){__VA_ARGS__, {0}})

/* The command is a shell, say, that has left others in the background. */
Test(report, wait_outlives_the_end_of_another_process)
{
	static const char end[] = EVENT("1003", "exit", "\"status\":0")
		EVENT_OF("7", "7", "1060", "engine", "\"engine\":\"none\"");
	char log[2048];

	snprintf(log, sizeof(log), "%s%s",
		WAIT_OF("7", "8", "1001", "1000", "1", "null", "")
		WAIT_OF("5", "9", "1001", "1000", "1", "null", ""), end);
	OPEN(log, {8, 1000, 60, false}, {9, 1000, 3, true});
}

/* Of the processes that it watched beside the one that it was told, and of what
 * others watch: one log may be that of several at once. */
Test(report, wait_is_open_until_its_attach_ended)
{
	OPEN(EVENT("1000", "attach", "\"processes\":2")
		WAIT_OF("7", "8", "1001", "1000", "1", "null", "")
		WAIT_OF("5", "6", "1001", "1000", "1", "null", "")
		WAIT_OF("9", "9", "1001", "1000", "1", "null", "")
		WAIT_OF("7", "8", "1004", "1000", "4", "null", ",\"last\":true")
		EVENT("1005", "detach", "\"reason\":\"SIGINT\"")
		EVENT("1010", "attach", "\"processes\":2")
		WAIT_OF("5", "5", "1012", "1011", "1", "null", ",\"last\":true")
		EVENT("1012", "detach", "\"reason\":\"SIGINT\"")
		EVENT("1060", "attach", "\"processes\":2"),
		{8, 1000, 4, true}, {6, 1000, 5, true}, {9, 1000, 60, false},
		{5, 1011, 1, true});
}

/* They could not tell of their ends. */
Test(report, killed_attaches_are_over_when_there_is_another)
{
	OPEN(EVENT("1000", "attach", "\"processes\":2")
		WAIT_OF("5", "6", "1001", "1000", "1", "null", "")
		WAIT_OF("7", "8", "1002", "1000", "2", "null", "")
		WAIT_OF("9", "9", "1002", "1000", "2", "null", "")
		EVENT("1010", "attach", "\"processes\":2")
		WAIT_OF("7", "8", "1022", "1020", "2", "null", "")
		EVENT("1060", "status", "\"peers\":0"),
		{6, 1000, 1, true}, {8, 1000, 2, true}, {9, 1000, 60, false},
		{8, 1020, 40, false});
}

Test(report, lost_wake_shows_by_the_word)
{
	struct report report;
	json_t *json;

	report_text(&report, NULL, WAIT("1001", "1000", "1", "null",
		",\"expected\":-1,\"value\":1"));
	report_check(&report, !report.status);
	report_check(&report, strstr(report.output, "waits for f\n"
		"      for 1.00 s at least: its word is 1, no longer -1: it was "
		"not woken\n"));
	report_free(&report);
	report_text(&report, "--json", WAIT("1001", "1000", "1", "null",
		",\"expected\":-1,\"value\":1"));
	json = report_parse(&report);
	cr_expect_eq(report_number(json, "waits.not_ended.0.value"), 1);
	cr_expect_eq(report_number(json, "waits.not_ended.0.expected"), -1);
	json_decref(json);
	report_free(&report);
}

Test(report, wait_of_a_log_that_goes_on_lasts_until_its_last_event)
{
	struct report report;

	report_text(&report, NULL, WAIT("1001", "1000", "1", "null", "")
		EVENT("1060.5", "engine", "\"engine\":\"none\""));
	report_check(&report, strstr(report.output,
		"waits for f\n      for 1 min 0 s at least"));
	report_free(&report);
}

Test(report, without_signals_in_the_log_none_are_missed)
{
	struct report report;

	report_text(&report, NULL, EVENT("1000", "fence", "\"fence\":\"f\","
		"\"state\":\"created\",\"name\":\"xshmfence\""));
	report_check(&report, strstr(report.output, "no signals and waits are "
		"in this log: --trace-fences"));
	report_check(&report, !strstr(report.output, "never signalled"));
	report_free(&report);
}

Test(report, host_log_and_unknown_events_are_counted)
{
	struct report report;

	report_text(&report, NULL,
		EVENT("1000", "peer", "\"action\":\"refused\","
			"\"reason\":\"unix uid 7\"")
		EVENT("1001", "fence", "\"action\":\"accepted\","
			"\"fence\":\"f\",\"omitted\":12")
		EVENT("1002", "eclipse", "\"of\":[\"the\",\"sun\"]"));
	report_check(&report, strstr(report.output,
		"  1  peer refused: unix uid 7\n"));
	report_check(&report, strstr(report.output, "  1  fence accepted\n"));
	report_check(&report, strstr(report.output, "  1  eclipse\n"));
	report_check(&report, strstr(report.output, "12 events were too many"));
	report_free(&report);
}

/* The crossing's line, which has a stack, comes last. */
Test(report, fence_has_one_track_by_whatever_name)
{
	struct report report;
	json_t *trace;

	report_text(&report, "--trace=-",
		EVENT("1000", "fence", "\"fence\":\"f\",\"state\":\"created\"")
		EVENT("1001", "swap", "\"fence\":\"f\",\"was\":\"memfd:7\","
			"\"engine\":\"ptrace\",\"stopped_us\":5")
		EVENT("1000.5", "crossing", "\"fence\":\"memfd:7\"" STACK)
		EVENT("1002", "fence", "\"fence\":\"g\",\"state\":\"created\"")
		EVENT("1000.6", "crossing", "\"fence\":\"memfd:8\","
			"\"action\":\"swapped\"" STACK)
		EVENT("1003", "swap", "\"fence\":\"g\",\"was\":\"memfd:8\","
			"\"engine\":\"ptrace\",\"stopped_us\":5"));
	trace = report_parse(&report);
	report_check_trace(trace, "i");
	cr_expect(!report_find(trace, "X", "memfd:7"));
	cr_expect(!report_find(trace, "X", "memfd:8"));
	cr_expect_eq(report_number(report_find(trace, "i", "crosses"), "tid"),
		report_number(report_find(trace, "X", "f"), "tid"));
	json_decref(trace);
	report_free(&report);
}

Test(report, spans_that_come_late_find_their_place)
{
	struct report report;
	json_t *trace;

	report_text(&report, "--trace=-",
		WAIT("1003", "1002", "1", "\"triggered\"", "")
		EVENT("1001.5", "swap", "\"engine\":\"ptrace\","
			"\"stopped_us\":500000")
		WAIT("1001", "1000", "1", "\"triggered\"", ""));
	trace = report_parse(&report);
	cr_expect_eq(report_check_trace(trace, "X"), 5 + 1);
	cr_expect_eq(report_number(report_find(trace, "X", "swap by ptrace"),
		"tid"), 6);
	cr_expect_eq(report_number(report_find(trace, "X", "waits for f"),
		"tid"), 6);
	cr_expect(!report_find(trace, "M", "c (2)"));
	json_decref(trace);
	report_free(&report);
}

Test(report, overlapping_waits_get_lanes_of_their_own)
{
	struct report report;
	json_t *trace;

	report_text(&report, "--trace=-",
		WAIT("1003", "1001", "2", "\"triggered\"", "")
		WAIT("1004", "1000", "2", "\"timeout\"", "")
		WAIT("1005", "1002.5", "2", "\"gone\"", "")
		WAIT("1001", "999", "0.5", "\"gone\"", ""));
	trace = report_parse(&report);
	cr_expect_eq(report_check_trace(trace, "X"), 8 + 1);
	cr_expect_eq(report_number(trace, "otherData.spans_left_out"), 0);
	cr_expect_eq(report_number(trace, "otherData.epoch_us"), 999000000);
	json_decref(trace);
	report_free(&report);
}

/* Files' numbers begin anew with each boot, and each shm dir. */
Test(report, fences_of_the_same_name_are_two)
{
	struct report report;
	json_t *json;

	report_text(&report, "--json",
		EVENT("1000", "fence", "\"fence\":\"f\",\"state\":\"created\"")
		WAIT("1002", "1001", "1", "\"gone\"", "")
		EVENT("1003", "fence", "\"fence\":\"f\","
			"\"state\":\"destroyed\"")
		/* The line "created" may come late. */
		EVENT("1003", "fence", "\"fence\":\"g\","
			"\"state\":\"destroyed\"")
		EVENT("1002", "fence", "\"fence\":\"g\",\"state\":\"created\"")
		EVENT("2000", "fence", "\"fence\":\"f\",\"state\":\"created\"")
		EVENT("2001", "swap", "\"fence\":\"h\",\"was\":\"f\"")
		EVENT("2002", "fence", "\"fence\":\"h\","
			"\"state\":\"triggered\",\"by\":\"client\"")
		EVENT("3000", "swap", "\"fence\":\"i\",\"was\":\"f\""));
	json = report_parse(&report);
	cr_expect_eq(report_number(json, "fences.seen"), 4);
	cr_expect_eq(report_number(json, "fences.made"), 3);
	cr_expect_eq(report_number(json, "fences.destroyed"), 2);
	cr_expect_str_eq(report_string(json, "fences.never_signalled.0.fence"),
		"f");
	json_decref(json);
	report_free(&report);
}

/* That of a signal to fenceferry comes without one, and at once. */
Test(report, wait_has_a_site_if_its_stack_is_told_later)
{
	struct report report;
	json_t *json;

	report_text(&report, "--json",
		WAIT("1001.1", "1000", "1.1", "null", "")
		WAIT("1001", "1000", "1", "null", STACK)
		WAIT("1002", "1000", "2", "\"timeout\"", ""));
	json = report_parse(&report);
	cr_expect_str_eq(report_string(json, "sites.0.site"), "late (c)");
	cr_expect_eq(report_number(json, "sites.0.waits"), 1);
	json_decref(json);
	report_free(&report);
}

Test(report, signal_after_a_wait_was_left_is_none_in_it)
{
	struct report report;

	report_text(&report, NULL, WAIT("1001", "1000", "1", "null", "")
		EVENT("1003", "exit", "\"status\":3")
		EVENT("2000", "fence", "\"fence\":\"f\","
			"\"state\":\"triggered\",\"by\":\"client\""));
	report_check(&report, strstr(report.output,
		"for 3.00 s at least: it was signalled last 16 min 37 s after "
		"that\n"));
	report_free(&report);
}

Test(report, trace_of_a_host_has_what_became_of_its_fences)
{
	struct report report;
	json_t *trace;

	report_text(&report, "--trace=-",
		EVENT("1001", "fence", "\"action\":\"accepted\","
			"\"fence\":\"f\",\"peer\":\"unix uid 7\"")
		EVENT("1002", "fence", "\"action\":\"gone\",\"fence\":\"f\""));
	trace = report_parse(&report);
	cr_expect_eq(report_check_trace(trace, "i"), 2);
	cr_expect_str_eq(report_string(report_find(trace, "i", "accepted"),
		"args.peer"), "unix uid 7");
	cr_expect_eq(report_number(report_find(trace, "X", "f"), "dur"),
		1000000);
	json_decref(trace);
	report_free(&report);
}

Test(report, fence_that_attach_found_has_its_name)
{
	struct report report;
	json_t *json;

	report_text(&report, "--json", EVENT("1000", "found", "\"fence\":\"f\","
		"\"name\":\"xshmfence\",\"action\":\"left\"")
		EVENT("1000", "found", "\"fence\":\"g\"")
		WAIT("1002", "1001", "1.0", "null", ""));
	report_check(&report, !report.status);
	json = report_parse(&report);
	cr_expect_eq(report_number(json, "fences.seen"), 2);
	cr_expect_str_eq(report_string(json, "fences.never_signalled.0.name"),
		"xshmfence");
	json_decref(json);
	report_free(&report);
}
