/* SPDX-License-Identifier: MIT */
/*
 * Bad input and surroundings: one line that says what, why and what to do, exit
 * status 125, and nothing left behind.
 */
#define _GNU_SOURCE 1
#include "manners.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* The job's one line must have this text and a hint in parentheses. */
static void expect_refusal(struct job *job, const char *text, const char *hint)
{
	const char *line, *start;

	job_wait(job);
	line = job->errors.data ? job->errors.data : "";
	check(job, !job->output.length, "standard output is the command's");
	check(job, !strncmp(line, "fenceferry: ", 12) &&
			strchr(line, '\n') == line + strlen(line) - 1,
		"one line is said");
	start = strstr(line, text);
	check(job, start != NULL, text);
	check(job, strstr(start, hint) && line[strlen(line) - 2] == ')',
		"it says what to do");
	job_end_with_status(job, 125);
}

struct refusal {
	const char *arguments[6];
	const char *text, *hint;
};

BOTH(refuses, bad_options)
{
	static const struct refusal refusals[] = {
		{{NULL}, "no command", "(see fenceferry --help)"},
		{{"walk", "true"}, "unknown command 'walk'",
			"(see fenceferry --help)"},
		{{"keep"}, "keep is no command for people",
			"(see fenceferry --help)"},
		{{"attach"}, "no process to attach to",
			"(see fenceferry attach --help)"},
		{{"run"}, "no command to run", "(see fenceferry run --help)"},
		{{"run", "--"}, "no command to run",
			"(see fenceferry run --help)"},
		{{"run", "--bogus", "true"}, "unknown option '--bogus'",
			"(see fenceferry run --help)"},
		{{"run", "--bogus=1", "true"}, "unknown option '--bogus=1'",
			"(see fenceferry run --help)"},
		{{"run", "-Z", "true"}, "unknown option '-Z'",
			"(see fenceferry run --help)"},
		{{"run", "-vZ", "true"}, "unknown option '-Z'",
			"(see fenceferry run --help)"},
		{{"run", "--quiet=5", "true"},
			"option '--quiet=5' takes no value",
			"(see fenceferry run --help)"},
		{{"run", "--isolate=5", "true"},
			"option '--isolate=5' takes no value",
			"(see fenceferry run --help)"},
		{{"run", "--engine"}, "option '--engine' wants a value",
			"(see fenceferry run --help)"},
		{{"run", "-e"}, "option '-e' wants a value",
			"(see fenceferry run --help)"},
		{{"run", "--engine=steam", "true"}, "unknown engine 'steam'",
			"(see fenceferry run --help)"},
		{{"run", "--engine=", "true"}, "unknown engine ''",
			"(see fenceferry run --help)"},
		{{"run", "-s", "all", "true"}, "unknown selection 'all'",
			"(see fenceferry run --help)"},
		{{"run", "--x-socket=relative", "true"}, "relative", "("},
		{{"run", "--log=/nonexistent/log", "true"},
			"cannot open the log /nonexistent/log: No such file",
			"(choose another file"},
	};

	for (size_t i = 0; i < sizeof(refusals) / sizeof(*refusals); i++) {
		const struct refusal *refusal = &refusals[i];
		struct job job = {.user = user};
		const char *argv[8] = {fenceferry()};

		for (size_t j = 0; refusal->arguments[j]; j++)
			argv[j + 1] = refusal->arguments[j];
		job_start(&job, argv);
		expect_refusal(&job, refusal->text, refusal->hint);
	}
}

/* The options end with the command. */
BOTH(refuses, no_option_of_the_command)
{
	struct job job = {.user = user};

	job_start(&job, (const char *const[]){fenceferry(), "run", "echo",
		"--bogus", "-e", "--", NULL});
	job_wait(&job);
	check(&job, !strcmp(job.output.data, "--bogus -e --\n"),
		"they are the command's");
	job_end_with_status(&job, 0);
}

/* Whether the display is there is between the client and X. */
BOTH(refuses, no_display_that_is_unset_or_dead)
{
	static const char *const displays[] = {"DISPLAY", "DISPLAY=",
		"DISPLAY=:4711", "DISPLAY=rubbish", "DISPLAY=/nonexistent",
		"DISPLAY=unix:/nonexistent.1", "DISPLAY=localhost:4711.0"};

	for (size_t i = 0; i < sizeof(displays) / sizeof(*displays); i++) {
		struct job job = {.user = user};
		const char *set = strchr(displays[i], '=') ? "A=b" : "-u";

		job_run_bare(&job, "env", set, displays[i], fenceferry(), "run",
			manners_victim(), "send");
		job_say(&job, "one\n");
		job_expect(&job, "one: sent\n");
		job_wait(&job);
		check(&job, !job.errors.length, "nothing is said");
		job_end_with_status(&job, 5);
	}
}

/* The shm dir. */

static void start_with_dir(struct job *job, const char *dir)
{
	job_start(job, (const char *const[]){fenceferry(), "run", "--shm-dir",
		dir, "echo", "ran", NULL});
}

BOTH(shm_dir, missing_is_said)
{
	struct job job = {.user = user};

	start_with_dir(&job, "/nonexistent/shm");
	expect_refusal(&job, "stand-ins in /nonexistent/shm: No such file",
		"(mount a tmpfs there, or choose another with --shm-dir)");
	start_with_dir(&job, "/etc/passwd");
	expect_refusal(&job, "stand-ins in /etc/passwd: Not a directory",
		"(mount a tmpfs there, or choose another with --shm-dir)");
}

BOTH(shm_dir, is_left_empty)
{
	struct place place = make_place("/dev/shm", user);
	struct job job = {.user = user};

	start_with_dir(&job, place.path);
	job_end_with_status(&job, 0);
	start_with_dir(&job, "/dev/null/no");
	job_end_with_status(&job, 125);
	cr_assert_eq(remove_place(&place), 0);
}

BOTH(shm_dir, is_of_no_concern_when_nothing_is_swapped)
{
	struct job job = {.user = user};

	job_start(&job, (const char *const[]){fenceferry(), "run",
		"--engine=off", "--shm-dir=/nonexistent", "true", NULL});
	job_end_with_status(&job, 0);
}

Test(shm_dir, not_writable_is_said_user, .timeout = TEST_TIMEOUT_S)
{
	struct place place = make_place("/dev/shm", true);
	struct job job = {.user = true};

	cr_assert(!chmod(place.path, 0555));
	start_with_dir(&job, place.path);
	expect_refusal(&job, ": Permission denied",
		"(make it writable, or choose another with --shm-dir)");
	cr_assert_eq(remove_place(&place), 0);
}

/* A tmpfs for the job alone. */
struct mount {
	const char *path, *options;
	unsigned long flags;
	bool fill;
	size_t fill_most; /* 0: until it is full */
};

static void fill(const struct mount *private)
{
	static const char page[4096];
	char path[128];
	size_t filled = 0;
	int fd;

	snprintf(path, sizeof(path), "%s/filler", private->path);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		_exit(99);
	while ((!private->fill_most || filled < private->fill_most) &&
		write(fd, page, sizeof(page)) > 0)
		filled += sizeof(page);
	close(fd);
}

static void mount_privately(void *data)
{
	const struct mount *private = data;

	if (unshare(CLONE_NEWNS) ||
		mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
		mount("none", private->path, "tmpfs", private->flags,
			private->options))
		_exit(98);
	if (private->fill)
		fill(private);
}

static bool can_mount(const struct mount *private)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		mount_privately((void *)private);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	return WIFEXITED(status) && !WEXITSTATUS(status);
}

static void shm_dir_mounted(bool user, const struct mount *how,
	const char *text, const char *hint)
{
	struct place place = make_place("/tmp", user);
	struct mount private = *how;
	struct job job = {.user = user, .setup = mount_privately,
		.data = &private};

	private.path = place.path;
	if (geteuid() || !can_mount(&private)) {
		remove_place(&place);
		cr_skip("mounting is not permitted");
	}
	start_with_dir(&job, place.path);
	expect_refusal(&job, text, hint);
	/* And what is in there: only the filler. */
	job_run_bare(&job, "sh", "-c", "\"$1\" run --shm-dir \"$2\" true; "
		"ls -A \"$2\"", "sh", fenceferry(), place.path);
	job_wait(&job);
	check(&job, !strcmp(job.output.data ? job.output.data : "",
			private.fill ? "filler\n" : ""),
		"no file is left");
	job_end(&job);
	remove_place(&place);
}

BOTH(shm_dir, full_is_said)
{
	const struct mount small = {.options = "size=16k,mode=1777",
		.fill = true};

	shm_dir_mounted(user, &small, ": No space left on device",
		"(make room there, or choose another with --shm-dir)");
}

BOTH(shm_dir, without_free_inodes_is_said)
{
	/* One is the root's, the other the filler's, which has room to spare. */
	const struct mount small = {.options = "size=1m,nr_inodes=2,mode=1777",
		.fill = true, .fill_most = 4096};

	shm_dir_mounted(user, &small, ": No space left on device",
		"(make room there, or choose another with --shm-dir)");
}

BOTH(shm_dir, read_only_is_said)
{
	const struct mount readonly = {.options = "mode=1777",
		.flags = MS_RDONLY};

	shm_dir_mounted(user, &readonly, ": Read-only file system",
		"(make it writable, or choose another with --shm-dir)");
}

/* The kernel, and what is around us. */

/* Answer seccomp(2) so, as an old kernel or a container does. */
static void answer_seccomp(void *data)
{
	const unsigned int answer = SECCOMP_RET_ERRNO | *(unsigned int *)data;
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_seccomp, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, answer),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog program = {4, code};

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		_exit(98);
}

BOTH(kernel, without_user_notification_is_said)
{
	static const unsigned int answers[] = {ENOSYS, EINVAL};

	for (size_t i = 0; i < 2; i++) {
		unsigned int answer = answers[i];
		struct job job = {.user = user, .setup = answer_seccomp,
			.data = &answer};

		job_run(&job, "echo", "ran");
		expect_refusal(&job, "this kernel has no seccomp user "
			"notification", "(Linux 5.5 or newer");
	}
}

BOTH(kernel, that_forbids_seccomp_is_said)
{
	static const unsigned int answers[] = {EPERM, EACCES};

	for (size_t i = 0; i < 2; i++) {
		unsigned int answer = answers[i];
		struct job job = {.user = user, .setup = answer_seccomp,
			.data = &answer};

		job_run(&job, "echo", "ran");
		expect_refusal(&job, "the seccomp filter is refused: ",
			"(does a container forbid seccomp(2)?)");
	}
}

BOTH(kernel, a_fenceferry_inside_another_is_said)
{
	struct job job = {.user = user};

	job_run(&job, fenceferry(), "run", "echo", "ran");
	expect_refusal(&job, "already under a seccomp filter with a listener",
		"(run fenceferry outside of");
}

/* A supervisor of another kind, which keeps its listener where we are. */
static void install_listener(void *data)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_swapon, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog program = {4, code};
	int listener;

	(void)data;
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	listener = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
		SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
	if (listener < 0 || fcntl(listener, F_SETFD, 0) < 0)
		_exit(98);
}

BOTH(kernel, another_listener_in_the_filter_chain_is_said)
{
	struct job job = {.user = user, .setup = install_listener};

	job_run(&job, "echo", "ran");
	expect_refusal(&job, "already under a seccomp filter with a listener",
		"(run fenceferry outside of");
}

static void calm(void *data)
{
	(void)data;
	calm_sanitizers();
}

/* Any number of fds that is too small for us is a clear end as well. */
BOTH(kernel, too_few_fds_are_said)
{
	for (int files = 3; files < 12; files++) {
		struct job job = {.user = user, .setup = calm};
		char script[64];
		bool ran;

		snprintf(script, sizeof(script),
			"ulimit -n %d; exec \"$@\"", files);
		job_run_bare(&job, "bash", "-c", script, "bash", fenceferry(),
			"run", "/bin/echo", "ran");
		job_wait(&job);
		ran = job.output.data && !strcmp(job.output.data, "ran\n");
		check(&job, WIFEXITED(job.status), "it exits");
		check(&job, ran ? !WEXITSTATUS(job.status) :
				WEXITSTATUS(job.status) >= 125,
			"it runs or it does not");
		check(&job, ran == !job.errors.length, "it says which");
		job_end(&job);
	}
}
