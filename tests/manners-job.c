/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE 1
#include "manners.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>

/* fds of ours begin here: those below are the job's. */
enum { FIRST_FD = 50 };

static const char *setting(const char *name, const char *otherwise)
{
	static char paths[2][PATH_MAX];
	char *path = paths[!strcmp(name, "FENCEFERRY")];
	const char *value = getenv(name);

	/* Absolute, for jobs in another directory. */
	if (!realpath(value && *value ? value : otherwise, path))
		cr_assert_fail("%s: %s", value ? value : otherwise,
			strerror(errno));
	return path;
}

const char *fenceferry(void)
{
	return setting("FENCEFERRY", "./fenceferry");
}

const char *manners_victim(void)
{
	return setting("MANNERS_VICTIM", "tests/manners-victim");
}

long long now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void sleep_ms(int ms)
{
	poll(NULL, 0, ms);
}

size_t list_children(pid_t pid, pid_t *children, size_t room)
{
	char path[64];
	size_t count = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", pid, pid);
	file = fopen(path, "re");
	while (file && count < room &&
		fscanf(file, "%d", &children[count]) == 1)
		count++;
	if (file)
		fclose(file);
	return count;
}

/* Who is orphaned by that comes to us, or to a subreaper that is next. */
static void end_everybody(void)
{
	for (int i = 0; i < 500; i++) {
		pid_t children[64];
		size_t count = list_children(getpid(), children, 64);

		while (count--)
			kill(children[count], SIGKILL);
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
		if (waitpid(-1, NULL, WNOHANG) < 0)
			return;
		sleep_ms(10);
	}
}

static void read_stat(pid_t pid, char *text, size_t size)
{
	char path[64];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? 0 : read(fd, text, size - 1);
	text[n > 0 ? n : 0] = '\0';
	if (fd >= 0)
		close(fd);
}

/* Their names and states, for who reads of a failure. */
static void tell_descendants(pid_t pid, int depth)
{
	pid_t children[64];
	size_t count = depth > 8 ? 0 : list_children(pid, children, 64);

	for (size_t i = 0; i < count; i++) {
		char text[64];

		read_stat(children[i], text, sizeof(text));
		cr_log_error("%*s%s", 2 * depth, "", text);
		tell_descendants(children[i], depth + 1);
	}
}

void job_fail(const struct job *job, const char *file, int line,
	const char *what, const char *condition)
{
	const int err = errno;

	tell_descendants(getpid(), 0);
	end_everybody();
	cr_log_error("%s:%d: %s: %s\nerrno: %s\nstatus: %#x\noutput: %s\n"
		"errors: %s", file, line, what, condition, strerror(err),
		(unsigned int)job->status,
		job->output.data ? job->output.data : "",
		job->errors.data ? job->errors.data : "");
	cr_assert_fail("%s", what);
	abort();
}

void make_pipe(int ends[2])
{
	int low[2];

	cr_assert(!pipe(low));
	for (int i = 0; i < 2; i++) {
		ends[i] = fcntl(low[i], F_DUPFD_CLOEXEC, FIRST_FD);
		close(low[i]);
	}
	cr_assert(ends[0] >= 0 && ends[1] >= 0);
}

static void __attribute__((noreturn)) become(const struct job *job,
	const char *const *argv, const int streams[3])
{
	sigset_t none;

	sigemptyset(&none);
	for (int sig = 1; sig < NSIG; sig++)
		signal(sig, SIG_DFL);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (!job->terminal)
		for (int i = 0; i < 3; i++)
			if (dup2(streams[i], i) < 0)
				_exit(99);
	/* Criterion's own fds are none of the job's. */
	close_range(3, FIRST_FD - 1, 0);
	if (job->kept_fd && dup2(job->kept_fd, KEPT_FD) < 0)
		_exit(99);
	close_range(FIRST_FD, ~0U, 0);
	if (job->setup)
		job->setup(job->data);
	if (job->user && !geteuid() &&
		(setgroups(0, NULL) ||
			setresgid(ORDINARY_USER, ORDINARY_USER, ORDINARY_USER) ||
			setresuid(ORDINARY_USER, ORDINARY_USER, ORDINARY_USER)))
		_exit(99);
	execvp(argv[0], (char *const *)argv);
	dprintf(STDERR_FILENO, "cannot execute %s: %s\n", argv[0],
		strerror(errno));
	_exit(99);
}

static void start_on_terminal(struct job *job, const char *const *argv)
{
	const struct winsize size = {.ws_row = 24, .ws_col = 80};
	int low;

	job->pid = forkpty(&low, NULL, NULL, &size);
	cr_assert(job->pid >= 0, "forkpty: %s", strerror(errno));
	if (!job->pid)
		become(job, argv, NULL);
	job->in = job->out = fcntl(low, F_DUPFD_CLOEXEC, FIRST_FD);
	job->err = -1;
	close(low);
}

void job_start(struct job *job, const char *const *argv)
{
	int in[2], out[2], err[2];

	/* Before fork: these fail a test, and are not for the child. */
	fenceferry();
	fflush(NULL);
	cr_assert(!prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0));
	signal(SIGPIPE, SIG_IGN);
	memset(&job->output, 0, sizeof(job->output));
	memset(&job->errors, 0, sizeof(job->errors));
	job->status = -1;
	if (job->terminal) {
		start_on_terminal(job, argv);
		return;
	}
	make_pipe(in);
	make_pipe(out);
	make_pipe(err);
	job->pid = fork();
	cr_assert(job->pid >= 0, "fork: %s", strerror(errno));
	if (!job->pid) {
		setpgid(0, 0);
		become(job, argv, (int[]){job->in_fd ? job->in_fd : in[0],
			out[1], err[1]});
	}
	setpgid(job->pid, job->pid);
	close(in[0]);
	close(out[1]);
	close(err[1]);
	job->in = in[1];
	job->out = out[0];
	job->err = err[0];
}

/* Take what is there; at the end close *fd. */
static void take(int *fd, struct text *text)
{
	ssize_t got;

	if (text->length + 65537 > text->room) {
		text->room = 2 * text->room + (1 << 17);
		text->data = realloc(text->data, text->room);
		cr_assert(text->data);
	}
	got = read(*fd, text->data + text->length, 65536);
	if (got < 0 && errno == EINTR)
		return;
	text->length += got > 0 ? (size_t)got : 0;
	text->data[text->length] = '\0';
	if (got > 0)
		return;
	close(*fd);
	*fd = -1;
}

/* Wait for something to read, and read it. False at the deadline. */
static bool follow(struct job *job, long long deadline)
{
	struct pollfd fds[2] = {
		{.fd = job->out, .events = POLLIN},
		{.fd = job->err, .events = POLLIN},
	};
	const long long left = deadline - now_ms();

	if (left <= 0 || poll(fds, 2, (int)left) == 0)
		return false;
	if (fds[0].revents) {
		const bool same = job->in == job->out;

		take(&job->out, &job->output);
		if (same && job->out < 0)
			job->in = -1;
	}
	if (fds[1].revents)
		take(&job->err, &job->errors);
	return true;
}

static void expect_in(struct job *job, struct text *text, const int *fd,
	const char *wanted)
{
	const long long deadline = now_ms() + PATIENCE_MS;

	for (;;) {
		char *found = text->length <= text->expected ? NULL :
			memmem(text->data + text->expected,
				text->length - text->expected, wanted,
				strlen(wanted));

		if (found) {
			text->expected = (size_t)(found - text->data) +
				strlen(wanted);
			return;
		}
		check(job, *fd >= 0 && follow(job, deadline), wanted);
	}
}

void job_expect(struct job *job, const char *text)
{
	expect_in(job, &job->output, &job->out, text);
}

void job_expect_sent(struct job *job)
{
	static int number;
	char line[32];

	snprintf(line, sizeof(line), "line %d\n", ++number);
	job_say(job, line);
	snprintf(line, sizeof(line), "line %d: sent\n", number);
	job_expect(job, line);
}

void job_expect_error(struct job *job, const char *text)
{
	expect_in(job, &job->errors, &job->err, text);
}

size_t job_count(const struct job *job, const char *text)
{
	const char *at = job->output.data;
	size_t count = 0;

	while (at && (at = strstr(at, text))) {
		count++;
		at += strlen(text);
	}
	return count;
}

void job_say(struct job *job, const char *text)
{
	check(job, write(job->in, text, strlen(text)) == (ssize_t)strlen(text),
		"the job takes input");
}

void calm_sanitizers(void)
{
	setenv("ASAN_OPTIONS", "detect_leaks=0:disable_coredump=0", 1);
}

void job_close_in(struct job *job)
{
	if (job->in >= 0 && job->in != job->out)
		close(job->in);
	job->in = -1;
}

void job_expect_end_of_output(struct job *job)
{
	const long long deadline = now_ms() + PATIENCE_MS;

	while (job->out >= 0)
		check(job, follow(job, deadline), "its output ends");
}

void job_drain(struct job *job)
{
	const long long deadline = now_ms() + PATIENCE_MS;

	while (job->out >= 0 || job->err >= 0)
		check(job, follow(job, deadline), "its streams end");
}

void job_wait(struct job *job)
{
	const long long deadline = now_ms() + PATIENCE_MS;
	pid_t pid;

	if (!job->pid)
		return;
	job_close_in(job);
	job_drain(job);
	while (!(pid = waitpid(job->pid, &job->status, WNOHANG)) &&
		now_ms() < deadline)
		sleep_ms(2);
	check(job, pid == job->pid, "the job ends");
	job->pid = 0;
}

void job_end(struct job *job)
{
	const long long deadline = now_ms() + PATIENCE_MS;
	pid_t pid;

	while ((pid = waitpid(-1, NULL, WNOHANG)) >= 0 && now_ms() < deadline)
		if (!pid)
			sleep_ms(2);
	check(job, pid < 0 && errno == ECHILD, "no process is left");
	free(job->output.data);
	free(job->errors.data);
	memset(&job->output, 0, sizeof(job->output));
	memset(&job->errors, 0, sizeof(job->errors));
}

void job_end_with_status(struct job *job, int status)
{
	job_wait(job);
	check(job, WIFEXITED(job->status) &&
			WEXITSTATUS(job->status) == status,
		"it exits with the expected status");
	job_end(job);
}

void job_end_by_signal(struct job *job, int sig)
{
	/* Before its input ends, which may be another way to end it. */
	job_drain(job);
	job_wait(job);
	check(job, WIFSIGNALED(job->status) && WTERMSIG(job->status) == sig,
		"it dies of the expected signal");
	check(job, !WCOREDUMP(job->status), "it dumps no core");
	job_end(job);
}

pid_t child_of(struct job *job, pid_t pid)
{
	const long long deadline = now_ms() + PATIENCE_MS;
	pid_t child;

	while (!list_children(pid, &child, 1)) {
		check(job, now_ms() < deadline, "it has a child");
		sleep_ms(2);
	}
	return child;
}

pid_t supervisor_of(struct job *job)
{
	return child_of(job, job->pid);
}

pid_t command_of(struct job *job)
{
	return child_of(job, supervisor_of(job));
}

char state_of(pid_t pid)
{
	char text[512], *end;

	read_stat(pid, text, sizeof(text));
	end = strrchr(text, ')');
	return end ? end[2] : 0;
}

void name_of(pid_t pid, char name[16])
{
	char text[512], *start;

	read_stat(pid, text, sizeof(text));
	start = strchr(text, '(');
	snprintf(name, 16, "%.*s", start ? (int)strcspn(start + 1, ")") : 0,
		start ? start + 1 : "");
}

void wait_for_state(struct job *job, pid_t pid, char state)
{
	const long long deadline = now_ms() + PATIENCE_MS;

	while (state_of(pid) != state) {
		check(job, now_ms() < deadline, "it gets into a state");
		sleep_ms(2);
	}
}
