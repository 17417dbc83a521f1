/* SPDX-License-Identifier: MIT */
#include "e2e.h"

#include "process.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef FF_TEST_CLIENT_DIR
#define FF_TEST_CLIENT_DIR "tests/clients"
#endif

enum {
	ORDINARY_USER = 65534,
	AWAIT_MS = 40000,
	END_MS = 60000,
	STRAGGLERS_MS = 10000,
	TICK_US = 2000,
	MOST_RUNS = 16,
	MOST_ARGS = 2 * E2E_ARGS + 9,
	EXIT_UNUSABLE = 99, /* could not become the command */
};

const char *e2e_engine = "auto";

/* What a test has, to be cleaned up in any case. */
static struct {
	bool has_server, as_user;
	uid_t uid;
	struct ff_test_server server;
	char dir[PATH_MAX], shm[64];
	pid_t groups[MOST_RUNS]; /* of the runs */
	json_t *logs[MOST_RUNS];
	unsigned int run_count;
} test;

const struct ff_test_server *e2e_server(void)
{
	return &test.server;
}

const char *e2e_shm_dir(void)
{
	return test.shm;
}

const char *e2e_dir(void)
{
	return test.dir;
}

const char *e2e_fenceferry(void)
{
	static char path[PATH_MAX];
	const char *name = getenv("FENCEFERRY");

	if (!name || !*name)
		name = "./fenceferry";
	cr_assert(realpath(name, path), "%s: %s", name, strerror(errno));
	return path;
}

const char *e2e_client(const char *name)
{
	static char paths[4][PATH_MAX];
	static unsigned int next;
	char *path = paths[next++ % 4];

	snprintf(path, PATH_MAX, "%s/%s", FF_TEST_CLIENT_DIR, name);
	cr_assert(!access(path, X_OK), "%s: %s", path, strerror(errno));
	return path;
}

static void make_directory(char *path)
{
	cr_assert(mkdtemp(path), "%s: %s", path, strerror(errno));
	cr_assert(test.uid == geteuid() || !chown(path, test.uid, test.uid),
		"%s: %s", path, strerror(errno));
}

void e2e_begin(enum ff_test_server_kind kind, bool as_user)
{
	struct ff_test_server_options options = {.kind = kind};
	const char *parent = getenv("TMPDIR");
	struct ff_error error;

	if (!as_user && geteuid())
		cr_skip("to be run by root");
	test.as_user = as_user && !geteuid();
	test.uid = test.as_user ? ORDINARY_USER : geteuid();
	options.client_uid = test.uid;
	cr_assert(!ff_test_server_start(&test.server, &options, &error), "%s",
		error.text);
	test.has_server = true;
	ff_test_server_export(&test.server);
	snprintf(test.dir, sizeof(test.dir), "%s/ff-test-e2e-XXXXXX",
		parent && *parent == '/' ? parent : "/tmp");
	make_directory(test.dir);
	strcpy(test.shm, "/dev/shm/ff-test-e2e-XXXXXX");
	make_directory(test.shm);
	/* Whatever a command leaves behind comes to us. */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	signal(SIGPIPE, SIG_IGN);
}

static int remove_one(const char *path, const struct stat *st, int type,
	struct FTW *where)
{
	(void)st;
	(void)where;
	if (type == FTW_DP)
		rmdir(path);
	else
		unlink(path);
	return 0;
}

static void remove_directory(char *path)
{
	if (*path)
		nftw(path, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	*path = '\0';
}

/* Reap those of a process group until none is left, or for so long. */
static bool reap_group(pid_t group, int timeout_ms)
{
	long long deadline = e2e_now_ms() + timeout_ms;

	for (;;) {
		pid_t pid = waitpid(-group, NULL, WNOHANG);

		if (pid < 0 && errno == ECHILD)
			return true;
		if (pid > 0)
			continue;
		if (e2e_now_ms() > deadline)
			return false;
		usleep(TICK_US);
	}
}

void e2e_end(void)
{
	struct ff_error error;
	int rc = 0;

	for (unsigned int i = 0; i < test.run_count; i++) {
		/* No other process can have the number until all are reaped. */
		if (test.groups[i] && !kill(-test.groups[i], SIGKILL))
			reap_group(test.groups[i], STRAGGLERS_MS);
		json_decref(test.logs[i]);
	}
	test.run_count = 0;
	if (test.has_server)
		rc = ff_test_server_stop(&test.server, &error);
	test.has_server = false;
	remove_directory(test.shm);
	remove_directory(test.dir);
	cr_expect(!rc, "%s", error.text);
}

void e2e_need_root(void)
{
	if (!geteuid())
		return;
	/* A skipped test's .fini is not called. */
	e2e_end();
	cr_skip("to be run by root");
}

void e2e_need_attach(void)
{
	int scope = ff_process_ptrace_scope();

	if (scope < 1)
		return;
	e2e_end();
	cr_skip("kernel.yama.ptrace_scope is %d", scope);
}

static void run_path(const struct e2e_run *run, const char *name,
	char path[PATH_MAX])
{
	cr_assert(snprintf(path, PATH_MAX, "%s/%s", run->files, name) <
		PATH_MAX);
}

static void read_file(const struct e2e_run *run, const char *name, char *text)
{
	char path[PATH_MAX];
	FILE *file;

	run_path(run, name, path);
	file = fopen(path, "re");
	text[file ? fread(text, 1, E2E_TEXT - 1, file) : 0] = '\0';
	if (file)
		fclose(file);
}

void e2e_look(struct e2e_run *run)
{
	read_file(run, "output", run->output);
	read_file(run, "errors", run->errors);
}

/* A tmpfs that nobody else sees, of so many bytes, where stand-ins go. */
static int mount_tmpfs(const char *size)
{
	char data[64];

	snprintf(data, sizeof(data), "size=%s,mode=0777", size);
	if (unshare(CLONE_NEWNS) ||
		mount("", "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return -1;
	return mount("tmpfs", test.shm, "tmpfs", 0, data);
}

/* The hard limit stays as it is: the command can lift the soft one again. */
static int limit_files(unsigned long size)
{
	struct rlimit limit;

	if (!size)
		return 0;
	if (getrlimit(RLIMIT_FSIZE, &limit))
		return -1;
	limit.rlim_cur = size;
	return setrlimit(RLIMIT_FSIZE, &limit);
}

static int redirect(const struct e2e_run *run, const char *name, int fd)
{
	char path[PATH_MAX];
	int file;

	run_path(run, name, path);
	file = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
	return file < 0 ? -1 : dup2(file, fd);
}

/* Nothing of the user's desktop, nor of another run's, may matter. */
static void set_environment(const struct e2e_run *run)
{
	setenv("HOME", run->files, 1);
	setenv("XDG_RUNTIME_DIR", run->files, 1);
	setenv("DBUS_SESSION_BUS_ADDRESS", "disabled:", 1);
	setenv("NO_AT_BRIDGE", "1", 1);
	setenv("GSETTINGS_BACKEND", "memory", 1);
	setenv("LC_ALL", "C", 1);
	if (run->setting)
		putenv((char *)run->setting);
	if (run->display && *run->display)
		setenv("DISPLAY", run->display, 1);
	else if (run->display)
		unsetenv("DISPLAY");
}

/* The child's part. */
static _Noreturn void become(
	const struct e2e_run *run, const char **args, int input)
{
	struct ff_error error = {0};

	setpgid(0, 0);
	signal(SIGPIPE, SIG_DFL);
	if ((run->tmpfs_size && mount_tmpfs(run->tmpfs_size)) ||
		(test.as_user && ff_test_server_become(
					 &test.server, test.uid, &error)) ||
		limit_files(run->file_limit) ||
		dup2(input, STDIN_FILENO) < 0 ||
		redirect(run, "output", STDOUT_FILENO) < 0 ||
		redirect(run, "errors", STDERR_FILENO) < 0) {
		dprintf(STDERR_FILENO, "cannot become the command: %s %s\n",
			error.text, strerror(errno));
		_exit(EXIT_UNUSABLE);
	}
	set_environment(run);
	/* If the test is killed by its time limit. */
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	close_range(3, ~0U, 0);
	execvp(args[0], (char *const *)args);
	dprintf(STDERR_FILENO, "cannot execute %s: %s\n", args[0],
		strerror(errno));
	_exit(EXIT_UNUSABLE);
}

/* The whole command line, in static memory. */
static const char **compose(const struct e2e_run *run)
{
	static const char *args[MOST_ARGS];
	static char shm[80], log[PATH_MAX + 16], engine[32];
	size_t n = 0;

	/* Options of the test's come later, and win. */

	if (run->wrapped) {
		snprintf(shm, sizeof(shm), "--shm-dir=%s", test.shm);
		snprintf(log, sizeof(log), "--log=%s/log", run->files);
		snprintf(engine, sizeof(engine), "--engine=%s", e2e_engine);
		args[n++] = e2e_fenceferry();
		args[n++] = "run";
		args[n++] = shm;
		args[n++] = log;
		args[n++] = engine;
		for (size_t i = 0; run->options[i]; i++)
			args[n++] = run->options[i];
		args[n++] = "--";
	}
	for (size_t i = 0; run->command[i]; i++)
		args[n++] = run->command[i];
	args[n] = NULL;
	return args;
}

void e2e_start(struct e2e_run *run)
{
	const char **args;
	unsigned int slot = 0;
	int ends[2];

	/* Those that have ended, and left no log, make room. */
	while (slot < test.run_count && (test.groups[slot] || test.logs[slot]))
		slot++;
	cr_assert_lt(slot, MOST_RUNS);
	cr_assert(snprintf(run->files, sizeof(run->files), "%s/run-XXXXXX",
			  test.dir) < PATH_MAX);
	make_directory(run->files);
	args = compose(run);
	cr_assert(!pipe2(ends, O_CLOEXEC), "pipe: %s", strerror(errno));
	run->pid = fork();
	cr_assert(run->pid >= 0, "fork: %s", strerror(errno));
	if (!run->pid)
		become(run, args, ends[0]);
	setpgid(run->pid, run->pid);
	close(ends[0]);
	run->input = ends[1];
	test.groups[slot] = run->pid;
	test.run_count += slot == test.run_count;
}

/* Without the status being taken twice. */
bool e2e_has_ended(struct e2e_run *run)
{
	if (!run->ended)
		run->ended = waitpid(run->pid, &run->status, WNOHANG) ==
			     run->pid;
	return run->ended;
}

void e2e_await(struct e2e_run *run, const char *text)
{
	long long deadline = e2e_now_ms() + AWAIT_MS;

	for (;;) {
		bool ended = e2e_has_ended(run);

		e2e_look(run);
		if (strstr(run->output, text))
			return;
		e2e_check(run, !ended, text);
		e2e_check(run, e2e_now_ms() < deadline, text);
		usleep(TICK_US);
	}
}

void e2e_go_on(struct e2e_run *run)
{
	e2e_check(run, write(run->input, "\n", 1) == 1, "it still reads");
}

unsigned int e2e_count_standins(void)
{
	DIR *dir = opendir(test.shm);
	struct dirent *entry;
	unsigned int count = 0;

	cr_assert(dir, "%s: %s", test.shm, strerror(errno));
	while ((entry = readdir(dir)))
		count += strcmp(entry->d_name, ".") &&
			 strcmp(entry->d_name, "..");
	closedir(dir);
	return count;
}

void e2e_find_name(unsigned long long inode, char path[256])
{
	DIR *dir = opendir(test.shm);
	struct dirent *entry;

	cr_assert(dir, "%s: %s", test.shm, strerror(errno));
	*path = '\0';
	while ((entry = readdir(dir)))
		if (entry->d_ino == inode)
			snprintf(path, 256, "%s/%.100s", test.shm,
				entry->d_name);
	closedir(dir);
}

void e2e_finish_beside(struct e2e_run *run)
{
	long long deadline = e2e_now_ms() + END_MS + run->patience_s * 1000LL;
	char path[PATH_MAX];
	unsigned int i;

	close(run->input);
	while (!e2e_has_ended(run) && e2e_now_ms() < deadline)
		usleep(TICK_US);
	run->left_processes = !reap_group(run->pid, STRAGGLERS_MS);
	e2e_look(run);
	for (i = 0; test.groups[i] != run->pid;)
		i++;
	if (run->wrapped) {
		run_path(run, "log", path);
		e2e_read_log(run, path);
		test.logs[i] = run->log;
	}
	e2e_check(run, run->ended, "it ends in time");
	e2e_check(run, !run->left_processes, "it leaves no processes");
	test.groups[i] = 0;
}

void e2e_finish(struct e2e_run *run)
{
	e2e_finish_beside(run);
	e2e_check(run, !e2e_count_standins(), "nothing is in the shm dir");
}

void e2e_do(struct e2e_run *run)
{
	e2e_start(run);
	e2e_finish(run);
}

bool e2e_exited(const struct e2e_run *run, int status)
{
	return WIFEXITED(run->status) && WEXITSTATUS(run->status) == status;
}

_Noreturn void e2e_fail(const struct e2e_run *run, const char *what,
	const char *condition, const char *file, int line)
{
	/* No memory of its own: nothing here is returned from. */
	static char log[E2E_TEXT];

	json_dumpb(run->log, log, sizeof(log) - 1, JSON_COMPACT);
	cr_assert_fail("%s:%d: %s: not (%s)\n%s %s, %s, status %#x\n"
		       "output: %s\nerrors: %s\nlog: %s",
		file, line, what, condition, run->wrapped ? "wrapped" : "bare",
		run->command[0], run->ended ? "ended" : "not ended",
		(unsigned int)run->status, run->output, run->errors,
		log);
	abort();
}
