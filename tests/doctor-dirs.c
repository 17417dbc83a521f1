/* SPDX-License-Identifier: MIT */
/* fenceferry doctor with shm dirs of all kinds, without /proc, and with a relay. */
#include "doctor-report.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The last --shm-dir counts. */

E2E_TEST(doctor, shm_dir_that_is_not_there_is_missing, FF_TEST_XVFB)
{
	struct e2e_run run = { 0 };

	doctor_consult(&run, "--shm-dir=/nonexistent");
	e2e_check(&run, e2e_exited(&run, 1), "it does not work");
	report_expect(&run, "shm dir", "missing", "No such file or directory: "
		"mount a tmpfs there, or choose another with --shm-dir)");
	report_expect(&run, "shared mapping", "", "");
	report_works(&run, "run --engine=notify", "missing");
	report_works(&run, "run --engine=auto", "missing");
}

E2E_TEST(doctor, shm_dir_that_we_may_not_write_to_is_missing, FF_TEST_XVFB)
{
	struct e2e_run run = { 0 };

	doctor_consult(&run, "--shm-dir=/sys");
	e2e_check(&run, e2e_exited(&run, 1), "it does not work");
	report_expect(&run, "shm dir", "missing", "Permission denied: make it "
		"writable");
}

Test(doctor, limit_on_file_sizes_is_told, .fini = e2e_end,
	.timeout = E2E_TIMEOUT_S)
{
	struct e2e_run run = { 0 };

	e2e_begin(FF_TEST_XVFB, true);
	doctor_by_shell(&run, "(ulimit -f 0; exec \"$@\") | cat");
	report_expect(&run, "shm dir", "missing", "File too large: raise the "
		"limit on file sizes, ulimit -f)");
}

/* Mounted where nobody else sees it. */
static void consult_in_mount(struct e2e_run *run, const char *what)
{
	char script[400];

	snprintf(script, sizeof(script), "mount -t tmpfs none \"$0\" && "
		"cd \"$0\" && mkdir lower upper work && { mount %s \"$0\" || "
		"exit 77; } && \"$@\"", what);
	doctor_command(run, (const char *const[]){ "unshare", "-m",
		"--propagation=private", NULL });
	doctor_by_shell(run, script);
	if (e2e_exited(run, 77)) {
		e2e_end();
		cr_skip("no such file system here: %s", what);
	}
}

#define ROOT_TEST(name) \
	static void name(void); \
	Test(doctor, name, .fini = e2e_end, .timeout = E2E_TIMEOUT_S) \
	{ \
		e2e_begin(FF_TEST_XVFB, false); \
		name(); \
	} \
	static void name(void)

ROOT_TEST(shm_dir_that_is_read_only_is_missing)
{
	struct e2e_run run = { 0 };

	consult_in_mount(&run, "-t tmpfs -o ro none");
	e2e_check(&run, e2e_exited(&run, 1), "it does not work");
	report_expect(&run, "shm dir", "missing", "Read-only file system: make "
		"it writable");
}

ROOT_TEST(shm_dir_that_is_full_is_missing)
{
	struct e2e_run run = { 0 };

	/* One inode, which is the directory's. */
	consult_in_mount(&run, "-t tmpfs -o nr_inodes=1 none");
	e2e_check(&run, e2e_exited(&run, 1), "it does not work");
	report_expect(&run, "shm dir", "missing", "No space left on device: "
		"make room there");
}

ROOT_TEST(shm_dir_with_little_room_is_degraded)
{
	struct e2e_run run = { 0 };

	consult_in_mount(&run, "-t tmpfs -o size=64k none");
	e2e_check(&run, e2e_exited(&run, 0), "it works");
	report_expect(&run, "room", "degraded", "make room there");
	report_works(&run, "run --engine=auto", "degraded");
}

ROOT_TEST(shm_dir_that_is_no_memory_is_degraded)
{
	struct e2e_run run = { 0 };

	consult_in_mount(&run, "-t overlay -o "
		"lowerdir=lower,upperdir=upper,workdir=work none");
	e2e_check(&run, e2e_exited(&run, 0), "it works");
	report_expect(&run, "shm dir", "degraded", "is overlay, ");
	report_expect(&run, "shared mapping", "ok", "");
	report_works(&run, "run --engine=auto", "degraded");
}

/* The kernel's files about processes are away. */
ROOT_TEST(without_proc_nothing_goes)
{
	struct e2e_run run = { .display = "" };

	doctor_command(&run, (const char *const[]){ "unshare", "-m",
		"--propagation=private", NULL });
	doctor_by_shell(&run, "umount -l /proc && \"$@\"");
	e2e_check(&run, e2e_exited(&run, 1), "it does not work");
	report_expect(&run, "children", "missing", "mount /proc");
	report_expect(&run, "ptrace", "missing", "mount /proc");
	report_works(&run, "run --engine=auto", "missing");
}

/* As if Yama said so; before is a command to run the doctor by, or "". */
static void consult_with_scope(struct e2e_run *run, int scope,
	const char *before)
{
	char script[300];

	snprintf(script, sizeof(script), "mount -t tmpfs none /proc/sys/kernel "
		"&& mkdir /proc/sys/kernel/yama && echo %d "
		">/proc/sys/kernel/yama/ptrace_scope && %s \"$@\"", scope,
		before);
	doctor_command(run, (const char *const[]){ "unshare", "-m",
		"--propagation=private", NULL });
	doctor_by_shell(run, script);
}

ROOT_TEST(ptrace_scope_is_explained)
{
	struct e2e_run one = { 0 }, two = { 0 }, two_user = { 0 };
	struct e2e_run three = { 0 };

	consult_with_scope(&one, 1, "");
	e2e_check(&one, e2e_exited(&one, 0), "it works");
	report_expect(&one, "ptrace scope", "ok", "1: only ancestors");
	consult_with_scope(&two, 2, "");
	e2e_check(&two, e2e_exited(&two, 0), "it works");
	report_expect(&two, "ptrace scope", "ok", "2: only those with CAP");
	consult_with_scope(&two_user, 2, "setpriv --reuid=65534 --regid=65534 "
		"--clear-groups");
	e2e_check(&two_user, e2e_exited(&two_user, 1), "it does not work");
	report_expect(&two_user, "ptrace scope", "missing", "ptrace_scope=1, or "
		"run as root");
	consult_with_scope(&three, 3, "");
	e2e_check(&three, e2e_exited(&three, 1), "it does not work");
	report_expect(&three, "ptrace scope", "missing", "3: nobody may trace");
	report_works(&three, "run --engine=notify", "missing");
}

E2E_TEST(doctor, relay_is_tried, FF_TEST_XVFB)
{
	struct e2e_run nobody = { .display = "" }, run = { .display = "" };
	struct e2e_run host = { 0 };
	char relay[PATH_MAX], listen[PATH_MAX], shm[100];
	long long deadline = e2e_now_ms() + 30000;
	struct stat st;

	snprintf(relay, sizeof(relay), "--relay=unix:%s/nobody", e2e_dir());
	doctor_consult(&nobody, relay);
	e2e_check(&nobody, e2e_exited(&nobody, 1), "with it run does not work");
	report_expect(&nobody, "relay", "missing", "start 'fenceferry host'");
	report_works(&nobody, "run --relay", "missing");
	report_works(&nobody, "run --engine=auto", "ok");

	snprintf(listen, sizeof(listen), "--listen=unix:%s/relay", e2e_dir());
	snprintf(shm, sizeof(shm), "--shm-dir=%s", e2e_shm_dir());
	doctor_command(&host, (const char *const[]){ e2e_fenceferry(), "host",
		listen, shm, NULL });
	e2e_start(&host);
	while (stat(strchr(listen, '/'), &st) < 0 && e2e_now_ms() < deadline)
		usleep(2000);
	snprintf(relay, sizeof(relay), "--relay=%s", strstr(listen, "unix:"));
	doctor_consult(&run, relay);
	kill(host.pid, SIGTERM);
	e2e_finish(&host);
	report_expect(&run, "relay", "ok", "a fenceferry host in this kernel");
	report_works(&run, "run --relay", "ok");
	e2e_check(&run, e2e_exited(&run, 0), "it works");
}
