/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE 1
#include "victim-run.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <jansson.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef VICTIM64_DIR
#define VICTIM64_DIR "tests/victims"
#endif
#ifndef VICTIM32_DIR
#define VICTIM32_DIR "tests/victims32"
#endif

enum { ORDINARY_USER = 65534, PATIENCE_MS = 60000, ENDING_MS = 5000,
	ARGS_MOST = 2 * RUN_ARGS + 16 };

/* Where one run happens. */
struct place {
	char dir[PATH_MAX];	/* socket, log, standard error */
	char shm[64];		/* stand-ins */
	char socket[PATH_MAX + 16], log[PATH_MAX + 16], errors[PATH_MAX + 16];
	char victim[PATH_MAX], program[PATH_MAX + 16];
	char socket_options[2][PATH_MAX + 32], log_option[PATH_MAX + 32];
	char shm_option[96];
};

/* A setting from the environment. */
static const char *setting(const char *name, const char *otherwise)
{
	const char *value = getenv(name);

	return value && *value ? value : otherwise;
}

const char *victim_run_fenceferry(void)
{
	return setting("FENCEFERRY", "./fenceferry");
}

const char *victim_run_fault_binary(void)
{
	return setting("FENCEFERRY_FAULT_BIN", "./fenceferry-fault");
}

/* Milliseconds since some time. */
static long long now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* The victim of these bits. */
static void name_victim(char *path, size_t size, int bits)
{
	snprintf(path, size, "%s/swap-victim", bits == 64 ?
		setting("VICTIM64_DIR", VICTIM64_DIR) :
		setting("VICTIM32_DIR", VICTIM32_DIR));
	cr_assert(!access(path, X_OK), "%s: %s", path, strerror(errno));
}

/* Directories that the user of the run owns, and the names in them. */
static void make_place(struct place *place, const struct victim_run *run)
{
	const uid_t owner = run->as_user && !geteuid() ? ORDINARY_USER :
							 geteuid();

	memset(place, 0, sizeof(*place));
	snprintf(place->dir, sizeof(place->dir), "%s/fenceferry-test-XXXXXX",
		setting("TMPDIR", "/tmp"));
	snprintf(place->shm, sizeof(place->shm),
		"/dev/shm/fenceferry-test-XXXXXX");
	cr_assert(mkdtemp(place->dir) && mkdtemp(place->shm),
		"cannot make directories: %s", strerror(errno));
	if (owner != geteuid())
		cr_assert(!chown(place->dir, owner, owner) &&
				!chown(place->shm, owner, owner), "chown: %s",
			strerror(errno));
	name_victim(place->victim, sizeof(place->victim), run->bits);
	strcpy(place->program, "--program=");
	if (run->other_program)
		name_victim(place->program + strlen(place->program), PATH_MAX,
			96 - run->bits);
	snprintf(place->socket, sizeof(place->socket), "%s/socket", place->dir);
	snprintf(place->log, sizeof(place->log), "%s/log", place->dir);
	snprintf(place->errors, sizeof(place->errors), "%s/errors", place->dir);
	snprintf(place->socket_options[0], sizeof(place->socket_options[0]),
		"--x-socket=%s", place->socket);
	snprintf(place->socket_options[1], sizeof(place->socket_options[1]),
		"--socket=%s", place->socket);
	snprintf(place->log_option, sizeof(place->log_option), "--log=%s",
		place->log);
	snprintf(place->shm_option, sizeof(place->shm_option), "--shm-dir=%s",
		place->shm);
}

/* Remove a directory of files. Returns how many there were. */
static unsigned remove_dir(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	unsigned count = 0;

	while (dir && (entry = readdir(dir))) {
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		count += !unlinkat(dirfd(dir), entry->d_name, 0);
	}
	if (dir)
		closedir(dir);
	rmdir(path);
	return count;
}

/* The command line of it all. */
static void compose(const char **args, const struct victim_run *run,
	const struct place *place)
{
	size_t n = 0;

	if (run->binary) {
		args[n++] = run->binary;
		args[n++] = "run";
		/* Whatever the memfds are called. */
		args[n++] = "--engine=ptrace";
		args[n++] = place->shm_option;
		args[n++] = place->log_option;
		args[n++] = place->socket_options[0];
		for (size_t i = 0; i < RUN_ARGS && run->options[i]; i++)
			args[n++] = run->options[i];
		args[n++] = "--";
	}
	args[n++] = place->victim;
	args[n++] = place->socket_options[1];
	args[n++] = place->shm_option;
	if (run->other_program)
		args[n++] = place->program;
	for (size_t i = 0; i < RUN_ARGS && run->args[i]; i++)
		args[n++] = run->args[i];
	args[n] = NULL;
}

/* The child's part. */
static void __attribute__((noreturn)) become(const char **args,
	const struct victim_run *run, const struct place *place, int output)
{
	int errors, nothing = open("/dev/null", O_RDONLY);

	setpgid(0, 0);
	if (run->as_user && !geteuid() &&
		(setgroups(0, NULL) ||
			setresgid(ORDINARY_USER, ORDINARY_USER, ORDINARY_USER) ||
			setresuid(ORDINARY_USER, ORDINARY_USER, ORDINARY_USER)))
		_exit(99);
	errors = open(place->errors, O_WRONLY | O_CREAT | O_APPEND, 0600);
	if (dup2(nothing, 0) < 0 || dup2(output, 1) < 0 || dup2(errors, 2) < 0)
		_exit(99);
	if (run->fault)
		setenv("FENCEFERRY_FAULT", run->fault, 1);
	else
		unsetenv("FENCEFERRY_FAULT");
	/* Criterion's own fds are none of the victim's. */
	close_range(3, ~0u, 0);
	execv(args[0], (char *const *)args);
	dprintf(2, "cannot execute %s: %s\n", args[0], strerror(errno));
	_exit(99);
}

/* Everything that is written to a pipe until nobody holds its other end. */
static bool drain(int fd, char *text, size_t size, long long deadline)
{
	size_t length = 0;

	for (;;) {
		struct pollfd ready = {.fd = fd, .events = POLLIN};
		char rest[512];
		const bool full = length + 1 >= size;
		long long left = deadline - now_ms();
		ssize_t got;

		text[length] = '\0';
		if (left <= 0 || poll(&ready, 1, (int)left) == 0)
			return false;
		got = read(fd, full ? rest : text + length,
			full ? sizeof(rest) : size - 1 - length);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return true;
		length += full ? 0 : (size_t)got;
	}
}

/*
 * Reap the child and, since orphans come to us, everybody that it left behind.
 * True if all of them have ended in time.
 */
static bool reap(pid_t pid, int *status, long long deadline)
{
	for (;;) {
		int one;
		pid_t ended = waitpid(-1, &one, WNOHANG);

		if (ended == pid)
			*status = one;
		if (ended < 0 && errno == ECHILD)
			return true;
		if (ended)
			continue;
		if (now_ms() > deadline)
			return false;
		usleep(2000);
	}
}

/* Run a command line to the end, or to the end of patience. */
static bool run_command(const char **args, const struct victim_run *run,
	const struct place *place, char *output, int *status)
{
	int ends[2];
	bool in_time;
	pid_t pid;

	*status = -1;
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	cr_assert(!pipe2(ends, O_CLOEXEC), "pipe: %s", strerror(errno));
	pid = fork();
	cr_assert(pid >= 0, "fork: %s", strerror(errno));
	if (!pid)
		become(args, run, place, ends[1]);
	setpgid(pid, pid);
	close(ends[1]);
	in_time = drain(ends[0], output, RUN_TEXT, now_ms() + PATIENCE_MS);
	close(ends[0]);
	if (in_time)
		in_time = reap(pid, status, now_ms() + ENDING_MS);
	if (!in_time) {
		kill(-pid, SIGKILL);
		reap(pid, status, now_ms() + ENDING_MS);
	}
	return in_time;
}

/* A string or nothing. */
static const char *text_of(json_t *event, const char *name)
{
	const char *text = json_string_value(json_object_get(event, name));

	return text ? text : "";
}

/* A crossing of a memfd; other kinds are not counted. */
static void count_crossing(struct victim_run *run, json_t *event)
{
	const char *action = text_of(event, "action");
	const char *reason = text_of(event, "reason");

	if (strcmp(text_of(event, "kind"), "memfd") != 0)
		return;
	/* Whatever is sent is a fence by its name. */
	if (!strstr(text_of(event, "name"), "xshmfence") ||
		!json_is_integer(json_object_get(event, "fd")) ||
		!json_is_integer(json_object_get(event, "size")))
		run->bad_events++;
	if (!strcmp(action, "swapped"))
		run->swapped++;
	else if (!strcmp(action, "left"))
		run->left++;
	else if (!strcmp(action, "failed"))
		run->failed++;
	else
		run->bad_events++;
	if (!strcmp(action, "failed") && !*reason)
		run->unexplained++;
	if (*reason)
		snprintf(run->reason, sizeof(run->reason), "%s", reason);
}

/* One event of the log. */
static void count_event(struct victim_run *run, json_t *event)
{
	const char *name = text_of(event, "event");

	if (!json_is_number(json_object_get(event, "time")))
		run->bad_events++;
	if (!strcmp(name, "crossing"))
		count_crossing(run, event);
	if (!strcmp(name, "swap")) {
		run->swaps++;
		if (strcmp(text_of(event, "engine"), "ptrace") != 0 ||
			json_integer_value(json_object_get(event, "fds")) < 1 ||
			json_integer_value(json_object_get(event,
				"processes")) < 1)
			run->bad_events++;
	}
	if (!strcmp(name, "exit")) {
		run->exits++;
		run->exit_swaps = (unsigned)json_integer_value(
			json_object_get(event, "swaps"));
		run->exit_failures = (unsigned)json_integer_value(
			json_object_get(event, "failures"));
	}
}

/* The log, line by line. */
static void read_log(struct victim_run *run, const char *path)
{
	FILE *file = fopen(path, "re");
	char *line = NULL;
	size_t size = 0;

	while (file && getline(&line, &size, file) > 0) {
		json_t *event = json_loads(line, 0, NULL);

		if (json_is_object(event))
			count_event(run, event);
		else
			run->bad_lines++;
		json_decref(event);
	}
	free(line);
	if (file)
		fclose(file);
}

/* A whole small file. */
static void read_text(const char *path, char *text, size_t size)
{
	FILE *file = fopen(path, "re");

	text[0] = '\0';
	if (!file)
		return;
	text[fread(text, 1, size - 1, file)] = '\0';
	fclose(file);
}

/* One more fenceferry, with nothing to do: does it tidy up? */
static void sweep(struct victim_run *run, const struct place *place)
{
	const char *args[] = {run->binary, "run", "--engine=ptrace",
		place->shm_option, "--",
		"/bin/true", NULL};
	struct victim_run quiet = *run;
	char output[RUN_TEXT];
	int status;

	quiet.fault = NULL;
	if (!run_command(args, &quiet, place, output, &status) || status)
		run->in_time = false;
}

/* All of it. */
void victim_run(struct victim_run *run)
{
	struct place place;
	const char *args[ARGS_MOST];
	const char *line;

	make_place(&place, run);
	compose(args, run, &place);
	run->in_time = run_command(args, run, &place, run->output,
		&run->status);
	line = strstr(run->output, "crossed ");
	run->crossed = line && sscanf(line, "crossed standin=%u memfd=%u",
		&run->standins, &run->memfds) == 2;
	if (run->sweep)
		sweep(run, &place);
	read_log(run, place.log);
	read_text(place.errors, run->errors, sizeof(run->errors));
	run->files_left = remove_dir(place.shm);
	remove_dir(place.dir);
}

/* Say everything. */
void victim_run_fail(const struct victim_run *run, const char *what,
	const char *condition)
{
	char command[1024] = "";

	for (size_t i = 0; i < RUN_ARGS && run->args[i]; i++) {
		strncat(command, " ", sizeof(command) - strlen(command) - 1);
		strncat(command, run->args[i],
			sizeof(command) - strlen(command) - 1);
	}
	cr_assert_fail("%s: not (%s)\n"
		       "victim: %d bits%s,%s%s%s\n"
		       "%s, status %#x, %u files left\n"
		       "log: %u swapped, %u left, %u failed, %u swap events, "
		       "%u bad lines, %u bad events; last reason: %s\n"
		       "output: %s\nerrors: %s",
		what, condition, run->bits, run->as_user ? ", user" : "",
		command, run->fault ? ", fault " : "",
		run->fault ? run->fault : "",
		run->in_time ? "ended" : "not ended in time",
		(unsigned)run->status, run->files_left, run->swapped, run->left,
		run->failed, run->swaps, run->bad_lines, run->bad_events,
		run->reason, run->output, run->errors);
	abort();
}
