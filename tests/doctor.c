/* SPDX-License-Identifier: MIT */
/*
 * fenceferry doctor, in places that are well and others that are not. What
 * depends on the kernel's age may be degraded anywhere, and is not looked at.
 */
#include "doctor-report.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* LeakSanitizer wants to trace, too. */
#define NO_LSAN "ASAN_OPTIONS=detect_leaks=0"

E2E_TEST(doctor, all_is_well_with_a_server_that_has_fences, FF_TEST_XORG_FENCES)
{
	static const char *const checks[] = { "ptrace scope",
		"seccomp listener", "pidfd_getfd", "seccomp answers", "ptrace",
		"process memory", "children", "private pages", "shm dir",
		"files without names", "shared mapping", "file identity",
		"file leases", "X display", "X socket", "X DRI3", "X SYNC",
		"X Present", "X MIT-SHM", "X fences", "libxshmfence" };
	struct e2e_run run = { 0 };

	doctor_consult(&run, NULL);
	e2e_check(&run, e2e_exited(&run, 0) && !*run.errors, "it works");
	for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++)
		report_expect(&run, checks[i], "ok", "");
	e2e_check(&run, !report_count(&run, "missing"), "nothing is missing");
	report_expect(&run, "X display", "ok", e2e_server()->display);
	report_expect(&run, "shm dir", "ok", "is tmpfs");
	report_works(&run, "run --engine=auto", "ok");
}

E2E_TEST(doctor, server_without_dri3_is_told_and_run_works, FF_TEST_XVFB)
{
	struct e2e_run run = { 0 };

	doctor_consult(&run, NULL);
	e2e_check(&run, e2e_exited(&run, 0), "it works");
	report_expect(&run, "X display", "ok", e2e_server()->display);
	report_expect(&run, "X DRI3", "degraded", "does not have it");
	report_expect(&run, "X fences", "", "");
	report_expect(&run, "X MIT-SHM", "ok", "");
	report_works(&run, "run --engine=auto", "ok");
}

Test(doctor, without_a_display_the_rest_is_examined, .fini = e2e_end,
	.timeout = E2E_TIMEOUT_S)
{
	struct e2e_run none = { .display = "" }, dead = { .display = ":4711" };

	e2e_begin(FF_TEST_XVFB, true);
	doctor_consult(&none, NULL);
	e2e_check(&none, e2e_exited(&none, 0), "it works");
	report_expect(&none, "X display", "degraded", "$DISPLAY is not set");
	doctor_consult(&dead, NULL);
	e2e_check(&dead, e2e_exited(&dead, 0), "it works");
	report_expect(&dead, "X display", "degraded", "cannot connect to "
		":4711 (no X server answers there: ");
	e2e_check(&dead, !*dead.errors, "libxcb says nothing");
}

Test(doctor, server_that_refuses_us_is_quoted, .fini = e2e_end,
	.timeout = E2E_TIMEOUT_S)
{
	struct e2e_run run = { .setting = "XAUTHORITY=/dev/null" };

	e2e_begin(FF_TEST_XVFB, true);
	doctor_consult(&run, NULL);
	e2e_check(&run, e2e_exited(&run, 0) && !*run.errors, "it works");
	report_expect(&run, "X display", "degraded", "Authorization required");
}

/* Listen where clients of display connect to, and say nothing. */
static int open_silence(char display[32])
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t size = sizeof(address);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	cr_assert(fd >= 0 && !bind(fd, (struct sockaddr *)&address, size) &&
		!listen(fd, 5) &&
		!getsockname(fd, (struct sockaddr *)&address, &size));
	/* Ports from 6000 on are those of displays from 0 on. */
	cr_assert_gt(ntohs(address.sin_port), 6000);
	snprintf(display, 32, "127.0.0.1:%d", ntohs(address.sin_port) - 6000);
	return fd;
}

Test(doctor, server_that_never_answers_is_given_up, .fini = e2e_end,
	.timeout = E2E_TIMEOUT_S)
{
	char display[32];
	struct e2e_run run = { .display = display };
	int fd;

	e2e_begin(FF_TEST_XVFB, true);
	fd = open_silence(display);
	doctor_consult(&run, NULL);
	e2e_check(&run, e2e_exited(&run, 0), "it works");
	report_expect(&run, "X server", "degraded", "no end within");
	report_works(&run, "run --engine=auto", "ok");
	close(fd);
}

/* The harness sees to it that none of its processes stays. */
Test(doctor, killed_it_leaves_nothing, .fini = e2e_end,
	.timeout = E2E_TIMEOUT_S)
{
	char display[32];
	struct e2e_run run = {
		.display = display,
		.command = { e2e_fenceferry(), "doctor" },
	};
	int fd, peer;

	e2e_begin(FF_TEST_XVFB, true);
	fd = open_silence(display);
	e2e_start(&run);
	peer = accept(fd, NULL, NULL);
	cr_assert_geq(peer, 0);
	kill(run.pid, SIGKILL);
	e2e_finish(&run);
	e2e_check(&run, WIFSIGNALED(run.status), "it was killed");
	close(peer);
	close(fd);
}

/* The kernel allows one listener. And its own fence is swapped. */
E2E_TEST(doctor, inside_of_fenceferry_the_listener_is_missing,
	FF_TEST_XORG_FENCES)
{
	struct e2e_run run = { .wrapped = true };

	doctor_consult(&run, NULL);
	e2e_check(&run, e2e_exited(&run, 1), "it does not work");
	report_expect(&run, "seccomp listener", "missing", "already under a "
		"seccomp filter with a listener");
	report_expect(&run, "seccomp answers", "", "");
	report_expect(&run, "seccomp filters", "ok", "others");
	report_expect(&run, "ptrace", "ok", "");
	report_expect(&run, "X fences", "ok", "");
	report_works(&run, "run --engine=auto", "missing");
	report_works(&run, "run --relay", "missing");
	report_works(&run, "host", strcmp(report_state(&run, "host"), "ok") ?
		"degraded" : "ok");
	e2e_check_log(&run, 1, 0, 0);
}

static const char *ward(void)
{
	cr_assert_eq(access(DOCTOR_WARD, X_OK), 0, "%s", DOCTOR_WARD);
	return DOCTOR_WARD;
}

/* What is told where a system call fails with EPERM. */
static void forbid(const char *call, int status, const char *check,
	const char *state, const char *use)
{
	struct e2e_run run = { .display = "" };

	doctor_command(&run, (const char *const[]){ ward(), "forbid", call,
		NULL });
	doctor_consult(&run, NULL);
	e2e_check(&run, e2e_exited(&run, status), call);
	report_expect(&run, check, state, "");
	report_works(&run, use, state);
}

E2E_TEST(doctor, forbidden_ptrace_leaves_notify, FF_TEST_XVFB)
{
	struct e2e_run run = { .display = "", .setting = NO_LSAN };

	doctor_command(&run, (const char *const[]){ ward(), "forbid", "ptrace",
		NULL });
	doctor_consult(&run, NULL);
	e2e_check(&run, e2e_exited(&run, 0), "it works");
	report_expect(&run, "ptrace", "missing", "Operation not permitted");
	report_expect(&run, "seccomp listener", "ok", "");
	report_works(&run, "run --engine=ptrace", "missing");
	report_works(&run, "run --engine=notify", "ok");
	report_works(&run, "run --engine=auto", "degraded");
	report_works(&run, "run --isolate", "degraded");
}

E2E_TEST(doctor, forbidden_calls_are_found, FF_TEST_XVFB)
{
	forbid("seccomp", 1, "seccomp listener", "missing",
		"run --engine=auto");
	forbid("pidfd_getfd", 1, "pidfd_getfd", "missing",
		"run --engine=notify");
	forbid("process_vm_readv", 1, "process memory", "missing",
		"run --engine=auto");
	forbid("io_uring_setup", 0, "futex waits", "degraded", "host");
}

E2E_TEST(doctor, under_a_debugger_notify_is_left, FF_TEST_XVFB)
{
	struct e2e_run run = { .display = "", .setting = NO_LSAN };

	doctor_command(&run, (const char *const[]){ ward(), "trace", NULL });
	doctor_consult(&run, NULL);
	e2e_check(&run, e2e_exited(&run, 0), "it works");
	report_expect(&run, "tracer", "degraded", "being traced by pid ");
	report_expect(&run, "ptrace", "missing", "detach the debugger");
	report_works(&run, "run --engine=notify", "ok");
	report_works(&run, "run --engine=auto", "degraded");
}

Test(doctor, library_that_obeys_is_told_from_one_that_does_not, .fini = e2e_end,
	.timeout = E2E_TIMEOUT_S)
{
	struct e2e_run usual = { .display = "" }, patched = {
		.display = "",
		.setting = "LD_LIBRARY_PATH=" DOCTOR_PATCHED_DIR,
	};

	e2e_begin(FF_TEST_XVFB, true);
	doctor_consult(&usual, NULL);
	doctor_consult(&patched, NULL);
	report_expect(&patched, "libxshmfence", "ok", DOCTOR_PATCHED_DIR
		"/libxshmfence.so.1 (obeys XSHMFENCE_NO_MEMFD");
	cr_assert_null(strstr(report_line(&usual, "libxshmfence"),
		DOCTOR_PATCHED_DIR));
}

/* In JSON and for people: the same checks, in the same states. */
static void compare(struct e2e_run *text, struct e2e_run *json)
{
	json_t *object = json_loads(json->output, 0, NULL), *check, *use;
	unsigned int lines = report_count(text, "ok") +
		report_count(text, "degraded") + report_count(text, "missing");
	static const char *const uses[][2] = {
		{ "ptrace", "run --engine=ptrace" },
		{ "notify", "run --engine=notify" },
		{ "auto", "run --engine=auto" },
		{ "relay", "run --relay" },
		{ "isolate", "run --isolate" },
		{ "host", "host" },
	};
	size_t i;

	e2e_check(json, object && json->status == text->status, "it is JSON");
	json_array_foreach(json_object_get(object, "checks"), i, check) {
		report_expect(text, e2e_text(check, "check"),
			e2e_text(check, "state"), "");
		e2e_check(json, json_is_string(json_object_get(check,
			"reason")) && json_is_string(json_object_get(check,
			"way_out")), "a check is whole");
	}
	cr_assert_eq(i + 6, lines);
	for (i = 0; i < 6; i++) {
		use = json_object_get(json_object_get(object, "engines"),
			uses[i][0]);
		report_expect(text, uses[i][1], e2e_text(use, "state"), "");
	}
	json_decref(object);
}

E2E_TEST(doctor, json_tells_the_same, FF_TEST_XORG_FENCES)
{
	struct e2e_run runs[4] = { 0 };

	doctor_command(&runs[2], (const char *const[]){ ward(), "forbid",
		"seccomp", NULL });
	doctor_command(&runs[3], (const char *const[]){ ward(), "forbid",
		"seccomp", NULL });
	for (int i = 0; i < 4; i++)
		doctor_consult(&runs[i], i % 2 ? "--json" : NULL);
	compare(&runs[0], &runs[1]);
	e2e_check(&runs[1], e2e_exited(&runs[1], 0), "it works");
	compare(&runs[2], &runs[3]);
	e2e_check(&runs[3], e2e_exited(&runs[3], 1), "it does not work");
}

Test(doctor, what_cannot_be_written_is_an_error, .fini = e2e_end,
	.timeout = E2E_TIMEOUT_S)
{
	struct e2e_run text = { 0 }, json = { 0 }, help = { 0 };

	e2e_begin(FF_TEST_XVFB, true);
	doctor_by_shell(&text, "exec \"$@\" >/dev/full");
	e2e_check(&text, e2e_exited(&text, 125) && strstr(text.errors,
		"cannot write what was found: No space left"), "it is said");
	doctor_by_shell(&json, "exec \"$@\" --json >/dev/full");
	e2e_check(&json, e2e_exited(&json, 125) && strstr(json.errors,
		"cannot write what was found: "), "it is said");
	doctor_by_shell(&help, "exec \"$@\" --help >/dev/full");
	e2e_check(&help, e2e_exited(&help, 125), "it is an error");
}

Test(doctor, unknown_options_are_refused, .fini = e2e_end,
	.timeout = E2E_TIMEOUT_S)
{
	static const struct {
		const char *option, *complaint;
	} cases[] = {
		{ "--jason", "unknown option '--jason'" },
		{ "-z", "unknown option '-z'" },
		{ "--json=yes", "takes no value" },
		{ "--relay", "wants a value" },
		{ "--relay=carrier-pigeon", "carrier-pigeon" },
		{ "surplus", "'surplus' is too much" },
	};
	struct e2e_run help = { 0 };

	e2e_begin(FF_TEST_XVFB, true);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct e2e_run run = { 0 };

		doctor_consult(&run, cases[i].option);
		e2e_check(&run, e2e_exited(&run, 125) && !*run.output &&
			strstr(run.errors, cases[i].complaint),
			cases[i].complaint);
	}
	doctor_consult(&help, "--help");
	e2e_check(&help, e2e_exited(&help, 0) && strstr(help.output,
		"Usage: fenceferry doctor"), "help");
}
