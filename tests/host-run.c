/* SPDX-License-Identifier: MIT */
#include "host-run.h"

#include "count-fds.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

uint64_t hr_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void hr_sleep_ms(unsigned int ms)
{
	struct timespec time = { ms / 1000, (long)(ms % 1000) * 1000000 };

	while (nanosleep(&time, &time) < 0 && errno == EINTR)
		;
}

static void remove_dir(const char *dir)
{
	DIR *stream = opendir(dir);
	struct dirent *entry;

	if (!stream)
		return;
	while ((entry = readdir(stream)))
		if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
			if (unlinkat(dirfd(stream), entry->d_name, 0) < 0)
				unlinkat(dirfd(stream), entry->d_name,
					AT_REMOVEDIR);
	closedir(stream);
	rmdir(dir);
}

static int guard_fd = -1;
static pid_t guard_pid;

/* A process that outlives a test which is killed, and removes what it made. */
static void start_guard(const char *dir)
{
	int ends[2];
	char byte;

	cr_assert(pipe2(ends, O_CLOEXEC) == 0);
	guard_pid = fork();
	cr_assert(guard_pid >= 0);
	if (guard_pid == 0) {
		setsid();
		/* Nobody else's pipes are to be held open by us. */
		for (int fd = 0; fd < 1024; fd++)
			if (fd != ends[0])
				close(fd);
		while (read(ends[0], &byte, 1) < 0)
			;
		remove_dir(dir);
		_exit(0);
	}
	close(ends[0]);
	guard_fd = ends[1];
}

void hr_make_dir(struct hr_daemon *daemon)
{
	*daemon = (struct hr_daemon){ 0 };
	strcpy(daemon->dir, "/dev/shm/ff-host-XXXXXX");
	cr_assert_not_null(mkdtemp(daemon->dir));
	start_guard(daemon->dir);
	snprintf(daemon->socket, sizeof(daemon->socket), "%s/s", daemon->dir);
	snprintf(daemon->err, sizeof(daemon->err), "%s/err", daemon->dir);
	snprintf(daemon->log, sizeof(daemon->log), "%s/log", daemon->dir);
}

static _Noreturn void run(const struct hr_daemon *daemon,
	const char *const environment[], const char *const options[],
	const int fds[])
{
	const char *program = getenv("FENCEFERRY"), *argv[40] = { 0 };
	int err, count = 0;
	sigset_t none;
	char pid[16];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	err = open(daemon->err, O_WRONLY | O_CREAT | O_APPEND, 0600);
	dup2(err, STDERR_FILENO);
	dup2(err, STDOUT_FILENO);
	for (int i = 0; fds && fds[i] >= 0; i++)
		fcntl(fds[i], F_DUPFD, 100 + i);
	for (int i = 0; fds && fds[i] >= 0; i++)
		dup2(100 + i, 3 + i);
	for (int fd = 100; fd < 120; fd++)
		close(fd);
	for (int i = 0; environment && environment[i]; i++)
		putenv(strdup(environment[i]));
	snprintf(pid, sizeof(pid), "%d", getpid());
	if (getenv("LISTEN_FDS"))
		setenv("LISTEN_PID", pid, 1);
	argv[count++] = program ? program : "./fenceferry";
	argv[count++] = "host";
	for (int i = 0; options && options[i] && count < 39; i++)
		argv[count++] = options[i];
	execv(argv[0], (char *const *)argv);
	fprintf(stderr, "%s: %s\n", argv[0], strerror(errno));
	_exit(126);
}

pid_t hr_spawn(const struct hr_daemon *daemon, const char *const environment[],
	const char *const options[], const int fds[])
{
	pid_t pid = fork();

	cr_assert(pid >= 0);
	if (pid == 0)
		run(daemon, environment, options, fds);
	return pid;
}

void hr_start(struct hr_daemon *daemon, const char *const options[])
{
	const char *all[30] = { "-d", daemon->dir, "-vv", "-o", daemon->log };
	uint64_t end = hr_now_ms() + HR_DEADLINE_MS;
	char address[64];
	int count = 5;

	snprintf(address, sizeof(address), "-lunix:%s", daemon->socket);
	all[count++] = address;
	for (int i = 0; options && options[i]; i++)
		all[count++] = options[i];
	daemon->pid = hr_spawn(daemon, NULL, all, NULL);
	for (;;) {
		char *said = hr_read_file(daemon->err);
		bool is_there = strstr(said, "started: waits by");

		if (!is_there && waitpid(daemon->pid, NULL, WNOHANG) != 0) {
			daemon->pid = 0;
			cr_assert_fail("it did not start: %s", said);
		}
		free(said);
		if (is_there)
			break;
		cr_assert(hr_now_ms() < end, "it does not start");
		hr_sleep_ms(5);
	}
	daemon->fds = count_fds(daemon->pid);
}

void hr_expect_no_leak(const struct hr_daemon *daemon)
{
	uint64_t end = hr_now_ms() + HR_DEADLINE_MS;

	while (count_fds(daemon->pid) != daemon->fds && hr_now_ms() < end)
		hr_sleep_ms(10);
	cr_expect_eq(count_fds(daemon->pid), daemon->fds, "fds leak");
}

void hr_stop(struct hr_daemon *daemon)
{
	uint64_t end = hr_now_ms() + HR_DEADLINE_MS;
	struct stat st;
	int status;
	pid_t pid;

	cr_assert(kill(daemon->pid, SIGTERM) == 0);
	while ((pid = waitpid(daemon->pid, &status, WNOHANG)) == 0 &&
		hr_now_ms() < end)
		hr_sleep_ms(5);
	if (pid != daemon->pid || !WIFEXITED(status) || WEXITSTATUS(status)) {
		char *said = hr_read_file(daemon->err);

		if (pid == daemon->pid)
			daemon->pid = 0;
		cr_assert_fail("SIGTERM did not end it with 0: %d, status %x: %s",
			(int)pid, (unsigned int)status, said);
	}
	daemon->pid = 0;
	cr_expect(lstat(daemon->socket, &st) < 0, "its socket is still there");
}

void hr_clean(struct hr_daemon *daemon)
{
	if (daemon->pid > 0) {
		kill(daemon->pid, SIGKILL);
		waitpid(daemon->pid, NULL, 0);
	}
	daemon->pid = 0;
	if (guard_fd < 0)
		return;
	close(guard_fd);
	waitpid(guard_pid, NULL, 0);
	guard_fd = -1;
}

char *hr_read_file(const char *path)
{
	FILE *file = fopen(path, "re");
	size_t size = 0, got;
	char *text = calloc(1, 1);

	cr_assert_not_null(text);
	if (!file)
		return text;
	do {
		text = realloc(text, size + 65536 + 1);
		cr_assert_not_null(text);
		got = fread(text + size, 1, 65536, file);
		size += got;
	} while (got);
	text[size] = '\0';
	fclose(file);
	return text;
}

static void expect_in_file(const char *path, const char *text)
{
	uint64_t end = hr_now_ms() + HR_DEADLINE_MS;

	for (;;) {
		char *content = hr_read_file(path);
		bool found = strstr(content, text);

		if (found || hr_now_ms() > end)
			cr_expect(found, "'%s' is not in: %.4000s", text,
				content);
		free(content);
		if (found || hr_now_ms() > end)
			return;
		hr_sleep_ms(10);
	}
}

void hr_expect_said(const struct hr_daemon *daemon, const char *text)
{
	expect_in_file(daemon->err, text);
}

void hr_expect_logged(const struct hr_daemon *daemon, const char *text)
{
	expect_in_file(daemon->log, text);
}

long hr_status_number(pid_t pid, const char *key)
{
	char path[32], *text, *at;
	long number;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	text = hr_read_file(path);
	at = strstr(text, key);
	cr_assert_not_null(at, "the daemon has died");
	number = strtol(at + strlen(key) + 1, NULL, 10);
	free(text);
	return number;
}

bool hr_is_sanitized(pid_t pid)
{
	char path[32], *maps;
	bool is_sanitized;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	maps = hr_read_file(path);
	is_sanitized = strstr(maps, "libasan");
	free(maps);
	return is_sanitized;
}

size_t hr_count_lines(const char *path)
{
	char *text = hr_read_file(path);
	size_t lines = 0;

	for (const char *c = text; *c; c++)
		lines += *c == '\n';
	free(text);
	return lines;
}
