/* SPDX-License-Identifier: MIT */
/*
 * fenceferry run --backtrace: what the stacks say, compared with what the
 * clients know of themselves.
 */
#include "backtrace.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Ways to trace, and what the events say of them. */
static const struct {
	const char *engine, *by;
} ways[] = { { "ptrace", "ptrace" }, { "notify", "proc" },
	{ "off", "ptrace" } };

enum { WAYS = sizeof(ways) / sizeof(ways[0]) };

static const int both[] = {
	64,
#ifdef HAS_32
	32,
#endif
};

#define BOTH (sizeof(both) / sizeof(both[0]))

static void check_plain(const struct e2e_run *run, const char *by)
{
	json_t *event = e2e_event(run, "crossing", 0);
	char name[64], place[64];
	int lines = 0;

	backtrace_check_whole(run, event, by);
	e2e_check(run,
		strstr(backtrace_names(event),
			"send_memfd < send_one < ~inlined_step < middle_step < "
			"outer_step < do_plain < main < "),
		"the functions are named, the inlined one too");
	for (const char *at = run->output; (at = strstr(at, "expect ")); at++) {
		e2e_check(run, sscanf(at, "expect %60s %60s", name, place) == 2,
			"the client tells lines");
		e2e_check(run, backtrace_has_line(event, name, place), place);
		lines++;
	}
	e2e_check(run, lines == 3, "of three functions");
}

E2E_TEST(backtrace, is_that_of_the_client_in_every_engine, FF_TEST_XVFB)
{
	for (size_t i = 0; i < BOTH; i++)
		for (size_t j = 0; j < WAYS; j++) {
			struct e2e_run run;
			json_t *frame, *swap;

			backtrace_do(&run, both[i], ways[j].engine, "plain");
			e2e_check(&run, e2e_exited(&run, 0), "it is content");
			check_plain(&run, ways[j].by);
			swap = e2e_event(&run, "swap", 0);
			if (swap)
				backtrace_check_whole(&run, swap, "ptrace");
			frame = backtrace_frame(e2e_event(&run, "crossing", 0),
				"middle_step", 0);
			e2e_check(&run,
				strstr(e2e_text(frame, "module"),
					"/backtrace-victim"),
				"the module is named");
			e2e_check(&run,
				strlen(e2e_text(frame, "build_id")) == 40,
				"and its build");
			e2e_check(&run, e2e_number(frame, "offset") > 0,
				"and the place in the function");
		}
}

E2E_TEST(backtrace, is_of_the_thread_that_sends, FF_TEST_XVFB)
{
	for (size_t j = 0; j < WAYS; j++) {
		struct e2e_run run;
		json_t *event;
		size_t i = 0;

		backtrace_do(&run, 64, ways[j].engine, "threads");
		e2e_check(&run, e2e_exited(&run, 0), "it is content");
		for (; (event = e2e_event(&run, "crossing", i)); i++) {
			char names[128];
			unsigned int truth;

			/* Each by the name of its thread's function. */
			snprintf(names, sizeof(names), "send_memfd < send_one "
				"< send_together < %.20s_thread < ",
				e2e_text(event, "name"));
			e2e_check(&run,
				strstr(backtrace_names(event), names), names);
			backtrace_compare(&run, event, &truth);
		}
		e2e_check(&run, i == 9, "nine crossings");
	}
}

E2E_TEST(backtrace, goes_on_below_a_signal_handler, FF_TEST_XVFB)
{
	for (size_t i = 0; i < BOTH; i++)
		for (size_t j = 0; j < 2; j++) {
			struct e2e_run run;
			json_t *event;

			backtrace_do(&run, both[i], ways[j].engine, "signal");
			event = e2e_event(&run, "crossing", 0);
			backtrace_check_whole(&run, event, ways[j].by);
			e2e_check(&run,
				strstr(backtrace_names(event),
					" < kill < raise_it < do_signal < "
					"main < "),
				"what the signal interrupted is there");
		}
}

E2E_TEST(backtrace, ends_where_code_was_made_at_run_time, FF_TEST_XVFB)
{
	for (size_t i = 0; i < BOTH; i++)
		for (size_t j = 0; j < 2; j++) {
			struct e2e_run run;
			json_t *event, *frame;
			unsigned int truth;

			backtrace_do(&run, both[i], ways[j].engine, "jit");
			event = e2e_event(&run, "crossing", 0);
			e2e_check(&run,
				backtrace_compare(&run, event, &truth) == 2,
				"the code's caller is not guessed");
			frame = backtrace_frame(event, "called_by_code", 1);
			e2e_check(&run,
				strstr(e2e_text(frame, "note"), "JIT") &&
					json_is_null(json_object_get(frame,
						"module")),
				"the code is shown as what it is");
			e2e_check(&run,
				strstr(e2e_text(event, "backtrace_end"),
					"no information"),
				"and the end is explained");
		}
}

E2E_TEST(backtrace, of_a_stripped_program_has_addresses, FF_TEST_XVFB)
{
	for (size_t j = 0; j < WAYS; j++) {
		struct e2e_run run;
		json_t *event, *frame;

		backtrace_do(&run, 0, ways[j].engine, "plain");
		event = e2e_event(&run, "crossing", 0);
		backtrace_check_whole(&run, event, ways[j].by);
		e2e_check(&run,
			strstr(backtrace_names(event),
				"sendmsg < ? < ? < ? < ? < ? < ? < "),
			"no names");
		frame = backtrace_frame(event, "sendmsg", 1);
		e2e_check(&run, !strcmp(e2e_text(frame, "note"), "stripped") &&
			e2e_number(frame, "offset") > 0,
			"but what they are, and where");
	}
}

E2E_TEST(backtrace, that_is_too_long_is_cut_and_says_so, FF_TEST_XVFB)
{
	struct e2e_run run;
	json_t *event;
	unsigned int truth;

	backtrace_do(&run, 64, "ptrace", "deep");
	event = e2e_event(&run, "crossing", 0);
	e2e_check(&run, strstr(e2e_text(event, "backtrace_end"), "64 KiB"),
		"it says where it ends");
	e2e_check(&run, backtrace_compare(&run, event, &truth) > 20,
		"but begins right");
}

/* Each thread is stopped once for a call at most, however many there are. */
E2E_TEST(backtrace, of_very_many_at_once_stops_nobody_twice, FF_TEST_XVFB)
{
	struct e2e_run run;
	const char *waits;

	backtrace_do(&run, 64, "ptrace", "crowd");
	e2e_check(&run, e2e_exited(&run, 0), "it is content");
	waits = strstr(run.output, "waits: ");
	/* For the answer, for the stop, for the answer again. */
	e2e_check(&run, waits && atoi(waits + 7) <= 10, "it is not stopped "
		"again and again");
	e2e_check(&run, e2e_count(&run, "crossing", "event", "") == 120 &&
		e2e_count(&run, "crossing", "backtrace_by", "ptrace") >= 1,
		"each call is told of");
}

/* A call may end by a signal after its stack was taken: two functions take turns
 * with the same arguments at the same place of the stack. */
E2E_TEST(backtrace, is_never_that_of_an_earlier_call, FF_TEST_XVFB)
{
	for (size_t j = 0; j < WAYS; j++) {
		struct e2e_run run;
		json_t *event;
		size_t i = 0, traced = 0;

		backtrace_do(&run, 64, ways[j].engine, "interrupted");
		e2e_check(&run, e2e_exited(&run, 0), "it is content");
		for (; (event = e2e_event(&run, "crossing", i)); i++) {
			const char *names = backtrace_names(event);
			char sender[64];

			/* By its size, for a stand-in has another name. */
			snprintf(sender, sizeof(sender),
				"sendmsg < send_memfd < %s_sender < "
				"do_interrupted",
				e2e_number(event, "size") % 2 ? "odd" : "even");
			/* There may be none; a wrong one never. Inside may be
			 * a function that is inlined. */
			e2e_check(&run,
				!*names || !strncmp(strchr(names, 's'), sender,
					strlen(sender)), sender);
			traced += *names != '\0';
		}
		e2e_check(&run, i >= 20 && traced >= 5, "many have one");
	}
}

/* Where the fences were made, and by which thread. */
static void check_creations(const struct e2e_run *run)
{
	json_t *event;
	size_t made = 0;

	for (size_t i = 0; (event = e2e_event(run, "fence", i)); i++) {
		if (strcmp(e2e_text(event, "state"), "created") != 0)
			continue;
		made++;
		e2e_check(run,
			strstr(backtrace_names(event),
				!strcmp(e2e_text(event, "comm"), "waiter") ?
					"xshmfence_alloc_shm < make_fence < "
					"draw_frame < render_thread < " :
					"xshmfence_alloc_shm < make_fence < "
					"do_round < work_thread < "),
			"the fence's creation has a stack");
	}
	e2e_check(run, made == 3, "of each fence");
}

E2E_TEST(backtrace, of_a_thread_that_hangs_leads_to_its_start,
	FF_TEST_XORG_FENCES)
{
	struct e2e_run run = {
		.wrapped = true,
		.options = { "--backtrace" },
		.command = { e2e_client("hang-client"), "--release",
			"--rounds=2" },
	};
	json_t *event;
	bool found = false;

	e2e_start(&run);
	e2e_await(&run, "worker: 2 rounds\n");
	e2e_finish(&run);
	e2e_check(&run, e2e_exited(&run, 0), "it is released");
	for (size_t i = 0; (event = e2e_event(&run, "swap", i)); i++) {
		if (strcmp(e2e_text(event, "comm"), "waiter") != 0)
			continue;
		found = true;
		e2e_check(&run,
			strstr(backtrace_names(event),
				"~send_fence < make_fence < draw_frame < "
				"render_thread < start_thread < "),
			"from the inlined function to the thread's");
		e2e_check(&run, !*e2e_text(event, "backtrace_end"),
			"it is whole");
		e2e_check(&run,
			strstr(e2e_text(backtrace_frame(event, "draw_frame",
				0), "file"), "hang-client.c"),
			"with its file");
	}
	e2e_check(&run, found, "the waiter's fence was swapped");
	check_creations(&run);
}

E2E_TEST(backtrace, is_printed_beneath_its_message, FF_TEST_XVFB)
{
	struct e2e_run run;
	const char *message;

	backtrace_do(&run, 64, "ptrace", "plain");
	e2e_check(&run, !*run.errors, "not unless asked for");
	run.options[3] = "-v";
	e2e_do(&run);
	message = strstr(run.errors, "swapped by ptrace");
	message = message ? strchr(message, '\n') : NULL;
	e2e_check(&run, message && !strncmp(message, "\n    #0  ", 9),
		"the stack is right beneath it");
	e2e_check(&run,
		strstr(run.errors, "outer_step+0x") &&
			strstr(run.errors, " in backtrace-victim at "
				"backtrace-victim.c:"),
		"with names and lines");
}
