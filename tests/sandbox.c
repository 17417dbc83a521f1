/* SPDX-License-Identifier: MIT */
/*
 * Clients in sandboxes of others: bubblewrap, chroot, another user, and away
 * from who started them.
 */
#include "sandbox.h"

#include <X11/Xauth.h>
#include <criterion/criterion.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { OTHER_USER = 65533, PATIENCE_MS = 40000 };

#define STEPS "fence=3", "memfd=3"

E2E_TEST(bubblewrap, with_namespaces_and_a_dev_of_its_own, FF_TEST_XORG_FENCES)
{
	struct e2e_run run = {
		.command = {"bwrap", "--ro-bind", "/", "/", "--dev", "/dev",
			"--proc", "/proc", "--unshare-all", "--share-net",
			e2e_client("steps"), STEPS}};

	sandbox_check_served(&run, 3, 3);
}

/* No program, no library, no /tmp, nothing but itself; and no network. */
E2E_TEST(bubblewrap, with_nothing_but_the_client, FF_TEST_XORG_FENCES)
{
	const char *authority = e2e_server()->authority;
	struct e2e_run run = {
		.command = {"bwrap", "--ro-bind", e2e_client("steps-static"),
			"/steps", "--ro-bind", authority, authority,
			"--ro-bind", "/tmp/.X11-unix", "/tmp/.X11-unix",
			"--dev", "/dev", "--unshare-all", "/steps", STEPS}};

	sandbox_check_served(&run, 3, 3);
}

E2E_TEST(bubblewrap, in_bubblewrap, FF_TEST_XORG_FENCES)
{
	struct e2e_run run = {
		.command = {"bwrap", "--dev-bind", "/", "/", "--dev", "/dev",
			"--unshare-user", "--unshare-ipc", "bwrap", "--ro-bind",
			"/", "/", "--dev", "/dev", "--unshare-all",
			"--share-net", e2e_client("steps"), STEPS}};

	sandbox_check_served(&run, 3, 3);
}

/* The filter is there before the client is. */
static void check_bwrap_filter(const char *action)
{
	struct e2e_run run = {
		.command = {"sh", "-c",
			"\"$1\" $0 openat,open >$4 && exec bwrap "
			"--ro-bind \"$2\" /steps --dev /dev --ro-bind "
			"/tmp/.X11-unix /tmp/.X11-unix --setenv HOME /none "
			"--unsetenv XAUTHORITY --unshare-all --seccomp 9 "
			"/steps $3 9<$4",
			action, TEST_WITH_FILTER, e2e_client("steps-static"),
			"fence=3 memfd=3", "filter"}};
	char filter[PATH_MAX];

	snprintf(filter, sizeof(filter), "%s/filter", e2e_dir());
	run.command[7] = filter;
	run.command[6] = "fence=3";
	sandbox_open_server();
	sandbox_check_served(&run, 3, 0);
	run.command[6] = "memfd=3";
	sandbox_check_served(&run, 0, 3);
}

E2E_TEST(bubblewrap, with_a_filter_that_refuses_openat, FF_TEST_XORG_FENCES)
{
	check_bwrap_filter("errno");
}

E2E_TEST(bubblewrap, with_a_filter_that_kills_on_openat, FF_TEST_XORG_FENCES)
{
	check_bwrap_filter("kill");
}

/* As from's, for the display of that number. */
static void copy_cookies(const char *from, const char *to, const char *number)
{
	FILE *in = fopen(from, "re"), *out = fopen(to, "we");
	Xauth *cookie;

	cr_assert(in && out, "%s, %s", from, to);
	while ((cookie = XauReadAuth(in))) {
		Xauth copy = *cookie;

		copy.number = (char *)(uintptr_t)number;
		copy.number_length = (unsigned short)strlen(number);
		cr_assert(XauWriteAuth(out, &copy));
		XauDisposeAuth(cookie);
	}
	fclose(in);
	cr_assert(fclose(out) == 0);
}

/* Where its cookie is, is in a mount namespace that we are not in. */
E2E_TEST(bubblewrap, with_a_cookie_of_its_own, FF_TEST_XORG_FENCES)
{
	struct e2e_run run = {.wrapped = true,
		.setting = "XAUTHORITY=/none",
		.command = {"bwrap", "--dev-bind", "/", "/", "--tmpfs", "/mnt",
			"--ro-bind", e2e_server()->authority, "/mnt/cookie",
			"--setenv", "XAUTHORITY", "/mnt/cookie",
			e2e_client("steps"), "fence=3"}};

	e2e_do(&run);
	sandbox_check_ok(&run);
	e2e_check(&run, e2e_count(&run, "crossing", "request",
		"DRI3.FenceFromFD") == 3, "the server was asked with it");
}

/* Under another number than ours, as flatpak has it. */
E2E_TEST(bubblewrap, with_a_display_of_its_own, FF_TEST_XORG_FENCES)
{
	char socket[64], cookie[PATH_MAX];
	struct e2e_run run = {.wrapped = true,
		.command = {"bwrap", "--dev-bind", "/", "/", "--tmpfs",
			"/tmp/.X11-unix", "--bind", socket,
			"/tmp/.X11-unix/X99", "--setenv", "DISPLAY", ":99",
			"--setenv", "XAUTHORITY", cookie, e2e_client("steps"),
			"fence=3"}};

	snprintf(socket, sizeof(socket), "/tmp/.X11-unix/X%s",
		e2e_server()->display + 1);
	snprintf(cookie, sizeof(cookie), "%s/cookie", e2e_dir());
	copy_cookies(e2e_server()->authority, cookie, "99");
	e2e_do(&run);
	sandbox_check_ok(&run);
	e2e_check(&run, e2e_count(&run, "crossing", "request",
		"DRI3.FenceFromFD") == 3, "the server was asked with ours");
}

Test(chroot, with_nothing_but_the_client, .fini = e2e_end,
	.timeout = E2E_TIMEOUT_S)
{
	struct e2e_run run = {.setting = "XAUTHORITY=/none",
		.command = {"chroot", e2e_dir(), "/steps", STEPS}};

	e2e_begin(FF_TEST_XORG_FENCES, false);
	sandbox_copy(e2e_client("steps-static"), "steps", 0755);
	sandbox_open_server();
	sandbox_check_served(&run, 3, 3);
}

/* fenceferry as root. */
Test(user, is_another_than_ours, .fini = e2e_end, .timeout = E2E_TIMEOUT_S)
{
	struct e2e_run run = {.setting = "XAUTHORITY=/none",
		.command = {"setpriv", "--reuid=65533", "--regid=65533",
			"--clear-groups", e2e_client("steps"), STEPS}};

	e2e_begin(FF_TEST_XORG_FENCES, false);
	sandbox_open_server();
	sandbox_check_served(&run, 3, 3);
}

static bool is_nosuid(const char *path)
{
	struct statvfs fs;

	return !statvfs(path, &fs) && fs.f_flag & ST_NOSUID;
}

/*
 * A program that belongs to another user, who it becomes: not under an ordinary
 * user's fenceferry, which has the kernel grant no new privileges.
 */
static void check_setuid(bool changes)
{
	const char *path =
		sandbox_copy(e2e_client("steps-static"), "steps", 0755);
	struct e2e_run bare = {.setting = "XAUTHORITY=/none",
		.command = {path, "user", STEPS}};
	struct e2e_run wrapped = bare;
	char expected[64];

	cr_assert(!chown(path, OTHER_USER, OTHER_USER) && !chmod(path, 04755));
	if (is_nosuid(path)) {
		e2e_end();
		cr_skip("setuid means nothing where %s is", path);
	}
	sandbox_open_server();
	snprintf(expected, sizeof(expected), "effective %d\n", OTHER_USER);
	e2e_do(&bare);
	sandbox_check_ok(&bare);
	e2e_check(&bare, strstr(bare.output, expected), "bare it changes");
	wrapped.wrapped = true;
	e2e_do(&wrapped);
	e2e_check(&wrapped, !strstr(wrapped.output, expected) == !changes,
		"wrapped as well, if the kernel grants it");
	bare = (struct e2e_run){
		.setting = "XAUTHORITY=/none", .command = {path, STEPS}};
	sandbox_check_served(&bare, 3, 3);
}

Test(user, changes_by_a_setuid_program, .fini = e2e_end,
	.timeout = E2E_TIMEOUT_S)
{
	e2e_begin(FF_TEST_XORG_FENCES, false);
	check_setuid(true);
}

Test(user, gets_no_new_privileges, .fini = e2e_end, .timeout = E2E_TIMEOUT_S)
{
	if (geteuid())
		cr_skip("to be run by root");
	e2e_begin(FF_TEST_XORG_FENCES, true);
	check_setuid(false);
}

E2E_TEST(daemon, is_served_when_the_command_has_ended, FF_TEST_XORG_FENCES)
{
	struct e2e_run run = {.wrapped = true,
		.command = {
			e2e_client("steps"), "daemon", "pause=daemon", STEPS}};

	long long deadline = e2e_now_ms() + PATIENCE_MS;

	e2e_start(&run);
	/* The command's end is no reason to stop waiting. */
	do {
		e2e_check(&run, e2e_now_ms() < deadline, "it is a daemon");
		usleep(1000);
		e2e_look(&run);
	} while (!e2e_has_ended(&run) || !strstr(run.output, "pause: daemon"));
	e2e_go_on(&run);
	e2e_finish(&run);
	sandbox_check_ok(&run);
	e2e_check(&run,
		e2e_count(&run, "swap", "engine", "notify") == 3 &&
			e2e_count(&run, "swap", "engine", "ptrace") == 3 &&
			e2e_count(&run, "crossing", "event", "") == 6,
		"the daemon's fences and other memfds were swapped");
}
