/* SPDX-License-Identifier: MIT */
/*
 * The manners of fenceferry run: its exit status, and that the command inherits
 * what it would without us, no more and no less.
 */
#define _GNU_SOURCE 1
#include "manners.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* Exit status. */

BOTH(status, of_the_command_is_passed_through)
{
	static const int statuses[] = {0, 1, 7, 125, 126, 127, 128, 255};

	for (size_t i = 0; i < sizeof(statuses) / sizeof(*statuses); i++) {
		struct job job = {.user = user};
		char script[32];

		snprintf(script, sizeof(script), "exit %d", statuses[i]);
		job_run(&job, "sh", "-c", script);
		job_wait(&job);
		check(&job, !job.errors.length, "nothing is said");
		job_end_with_status(&job, statuses[i]);
	}
}

static void allow_cores(void *data)
{
	struct rlimit limit;

	(void)data;
	getrlimit(RLIMIT_CORE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_CORE, &limit);
}

/* job_end_by_signal sees that no core is dumped: the command's limit is 0. */
BOTH(status, death_by_a_signal_is_passed_through)
{
	const int signals[] = {SIGHUP, SIGINT, SIGQUIT, SIGILL, SIGTRAP,
		SIGABRT, SIGBUS, SIGFPE, SIGKILL, SIGUSR1, SIGSEGV, SIGPIPE,
		SIGALRM, SIGTERM, SIGXCPU, SIGSYS, SIGRTMIN, SIGRTMAX};

	for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++) {
		struct job job = {.user = user, .setup = allow_cores};
		char number[16];

		snprintf(number, sizeof(number), "%d", signals[i]);
		job_run(&job, manners_victim(), "die", number);
		job_wait(&job);
		check(&job, !job.errors.length, "nothing is said");
		job_end_by_signal(&job, signals[i]);
	}
}

static void set_path(void *data)
{
	(void)data;
	/* As env(1) does: a directory that may not be searched would make it
	 * a command that cannot be executed. */
	setenv("PATH", "/usr/bin:/bin", 1);
}

BOTH(status, of_a_command_that_does_not_exist_is_127)
{
	struct job job = {.user = user, .setup = set_path};

	job_run(&job, "/nonexistent/command", "argument");
	job_wait(&job);
	check(&job, !job.output.length &&
			!strcmp(job.errors.data, "fenceferry: cannot execute "
				"/nonexistent/command: No such file or "
				"directory (is it installed, and in $PATH?)\n"),
		"one line says so");
	job_end_with_status(&job, 127);
	job_run(&job, "nonexistent-command");
	job_end_with_status(&job, 127);
	/* It is in another directory. */
	job_run(&job, "bin/sh");
	job_wait(&job);
	check(&job, strstr(job.errors.data, "(is it installed, and in "
			"$PATH?)\n"), "it is not there");
	job_end_with_status(&job, 127);
}

BOTH(status, of_a_command_without_its_interpreter_is_127)
{
	static const char script[] = "#!/nonexistent/interpreter\n";
	struct job job = {.user = user};
	char path[] = "/tmp/ff-test-script-XXXXXX";
	int fd = mkstemp(path);

	cr_assert(fd >= 0 && !fchmod(fd, 0755) &&
		write(fd, script, sizeof(script) - 1) == sizeof(script) - 1);
	close(fd);
	for (int relative = 0; relative < 2; relative++) {
		if (relative)
			job_run_bare(&job, "/bin/sh", "-c", "cd /tmp && "
				"exec \"$0\" run -- \"./${1##*/}\"",
				fenceferry(), path);
		else
			job_run(&job, path);
		job_wait(&job);
		check(&job, strstr(job.errors.data, ": No such file or "
			"directory (it is there: is its interpreter or loader "
			"installed?)\n"), "it says what is not there");
		job_end_with_status(&job, 127);
	}
	unlink(path);
}

BOTH(status, of_a_command_that_cannot_be_executed_is_126)
{
	static const char *const commands[] = {"/etc/passwd", "/", "/dev/null"};

	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++) {
		struct job job = {.user = user};

		job_run(&job, commands[i]);
		job_wait(&job);
		check(&job, !job.output.length && !strncmp(job.errors.data,
				"fenceferry: cannot execute /", 28) &&
				strstr(job.errors.data, ": Permission denied ("),
			"one line says so");
		job_end_with_status(&job, 126);
	}
}

BOTH(status, generations_pass_it_on)
{
	struct job job = {.user = user};
	char script[512];

	snprintf(script, sizeof(script), "sh -c 'sh -c \"echo a | %s send; "
		"exit 9\"; exit $?'; exit $?", manners_victim());
	job_run(&job, "sh", "-c", script);
	job_wait(&job);
	check(&job, !strcmp(job.output.data, "a: sent\n"),
		"the great-grandchild sends");
	job_end_with_status(&job, 9);
}

/* What is inherited. */

enum { STATE_TEXT = 65536 };

/* Run the victim's "state" and read what it tells. */
static void get_state(struct job *job, bool bare, const char *const *arguments,
	char *text)
{
	struct place place = make_place("/tmp", job->user);
	const char *argv[32];
	char path[96];
	size_t n = 0;
	ssize_t size;
	int fd;

	snprintf(path, sizeof(path), "%s/state", place.path);
	if (!bare) {
		argv[n++] = fenceferry();
		argv[n++] = "run";
		argv[n++] = "--";
	}
	argv[n++] = manners_victim();
	argv[n++] = "state";
	argv[n++] = path;
	while (arguments && *arguments)
		argv[n++] = *arguments++;
	argv[n] = NULL;
	job_start(job, argv);
	job_wait(job);
	check(job, WIFEXITED(job->status) && !WEXITSTATUS(job->status),
		"the victim tells its state");
	fd = open(path, O_RDONLY | O_CLOEXEC);
	size = read(fd, text, STATE_TEXT - 1);
	check(job, size > 0, "there is a state");
	text[size] = '\0';
	close(fd);
	job_end(job);
	remove_place(&place);
}

/* Cut the line that begins so. False if there is none. */
static bool cut_line(char *text, const char *start)
{
	char *line = text;

	while (strncmp(line, start, strlen(start))) {
		line = strchr(line, '\n');
		if (!line || !*++line)
			return false;
	}
	memmove(line, strchr(line, '\n') + 1, strlen(strchr(line, '\n')));
	return true;
}

/* Both states must be the same but for what is promised. */
static void compare_states(struct job *job, const char *const *arguments)
{
	char *bare = malloc(STATE_TEXT), *wrapped = malloc(STATE_TEXT);

	cr_assert(bare && wrapped);
	get_state(job, true, arguments, bare);
	get_state(job, false, arguments, wrapped);
	cr_expect(cut_line(wrapped, "environment 'XSHMFENCE_NO_MEMFD=1'"));
	/* Without privileges a filter takes it. */
	cr_expect(cut_line(bare, "NoNewPrivs:\t0"));
	cr_expect(cut_line(wrapped, geteuid() || job->user ?
			"NoNewPrivs:\t1" : "NoNewPrivs:\t0"));
	cr_expect_str_eq(wrapped, bare);
	free(bare);
	free(wrapped);
}

/* Streams that are the same in two runs. */
static void set_usual(void *data)
{
	(void)data;
	dup2(STDIN_FILENO, STDOUT_FILENO);
	dup2(STDIN_FILENO, STDERR_FILENO);
	calm_sanitizers();
}

static void set_unusual(void *data)
{
	const struct rlimit files = {123, 456}, core = {4096, 8192};
	sigset_t set;

	set_usual(data);
	if (chdir("/usr/share") || nice(5) < 0)
		_exit(99);
	umask(027);
	setrlimit(RLIMIT_NOFILE, &files);
	setrlimit(RLIMIT_CORE, &core);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGRTMIN + 3);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGCHLD, SIG_IGN);
	signal(SIGTSTP, SIG_IGN);
	signal(SIGALRM, SIG_IGN);
	prctl(PR_SET_TIMERSLACK, 77777);
	clearenv();
	calm_sanitizers();
	setenv("PATH", "/usr/bin:/bin", 1);
	setenv("EMPTY", "", 1);
	setenv("EQUALS", "=a=b=", 1);
	setenv("LINES", "one\ttwo\x01\xff", 1);
}

BOTH(inherits, what_the_bare_command_inherits)
{
	static const char *const arguments[] = {"", "--", "-x", "--help",
		"run", "a b", "\xff\xfe", "*", NULL};
	struct job job = {.user = user, .setup = set_usual};
	int kept[2];

	job.in_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	make_pipe(kept);
	job.kept_fd = kept[1];
	compare_states(&job, NULL);
	job.setup = set_unusual;
	compare_states(&job, arguments);
	close(kept[0]);
	close(kept[1]);
	close(job.in_fd);
}

static void close_streams(void *data)
{
	const unsigned int which = *(unsigned int *)data;

	calm_sanitizers();
	for (int fd = 0; fd < 3; fd++)
		if (which >> fd & 1)
			close(fd);
}

/* Any of the eight ways; its fds are the same numbers, open and closed. */
BOTH(inherits, closed_streams_stay_closed)
{
	for (unsigned int which = 1; which < 8; which++) {
		struct job job = {.user = user, .setup = close_streams,
			.data = &which};
		char wrapped[STATE_TEXT];

		get_state(&job, false, NULL, wrapped);
		for (unsigned int fd = 0; fd < 3; fd++) {
			char start[16];

			snprintf(start, sizeof(start), "fd %u ", fd);
			cr_expect_eq(cut_line(wrapped, start),
				!(which >> fd & 1), "%s of %u", start, which);
		}
		cr_expect(!cut_line(wrapped, "fd "), "no other: %s", wrapped);
	}
}

/* A failure must say so even then, to nobody, with the right status. */
BOTH(inherits, closed_streams_do_not_confuse_failures)
{
	for (unsigned int which = 1; which < 8; which++) {
		struct job job = {.user = user, .setup = close_streams,
			.data = &which};

		job_run(&job, "/nonexistent/command");
		job_end_with_status(&job, 127);
		job_start(&job, (const char *const[]){fenceferry(), "run",
			"--engine=bad", "true", NULL});
		job_end_with_status(&job, 125);
		job_run(&job, "sh", "-c", "exit 7");
		job_end_with_status(&job, 7);
	}
}

/* Streams. */

enum { MUCH = 10 << 20 };

BOTH(streams, are_the_commands_byte_for_byte)
{
	struct job job = {.user = user};
	unsigned char *bytes = malloc(MUCH);
	FILE *file = tmpfile();
	unsigned int seed = 12345;

	cr_assert(bytes && file);
	for (size_t i = 0; i < MUCH; i++) {
		seed = seed * 1103515245 + 12345;
		bytes[i] = (unsigned char)(seed >> 16);
	}
	cr_assert(fwrite(bytes, MUCH, 1, file) == 1 && !fflush(file));
	rewind(file);
	job.in_fd = fcntl(fileno(file), F_DUPFD_CLOEXEC, 60);
	job_run(&job, "sh", "-c", "cat | cat");
	job_drain(&job);
	check(&job, job.output.length == MUCH &&
			!memcmp(job.output.data, bytes, MUCH),
		"what goes in comes out");
	check(&job, !job.errors.length, "nothing is said");
	job_end_with_status(&job, 0);
	close(job.in_fd);
	fclose(file);
	free(bytes);
}

/* Is the other end of every writer closed, within our patience? */
static void expect_end(struct job *job, int fd)
{
	const long long deadline = now_ms() + PATIENCE_MS;
	char byte;
	ssize_t n;

	check(job, !fcntl(fd, F_SETFL, O_NONBLOCK), "it is ours");
	while ((n = read(fd, &byte, 1)) < 0 && now_ms() < deadline)
		sleep_ms(2);
	check(job, n == 0, "a pipe that the command has closed ends");
}

BOTH(streams, and_other_pipes_end_when_the_command_closes_them)
{
	struct job job = {.user = user};
	int kept[2], in[2];
	char byte = 'x';

	make_pipe(kept);
	make_pipe(in);
	job.kept_fd = kept[1];
	job.in_fd = in[0];
	job_run(&job, "sh", "-c", "exec 7>&- 0<&- 1>&-; echo closed >&2; "
		"while :; do sleep 0.1; done");
	close(kept[1]);
	close(in[0]);
	job_expect_error(&job, "closed\n");
	expect_end(&job, kept[0]);
	job_expect_end_of_output(&job);
	/* SIGPIPE is ignored. */
	check(&job, write(in[1], &byte, 1) < 0 && errno == EPIPE,
		"nobody holds its input");
	check(&job, state_of(job.pid) && state_of(job.pid) != 'Z',
		"it still runs");
	kill(job.pid, SIGTERM);
	job_end_by_signal(&job, SIGTERM);
	close(kept[0]);
	close(in[1]);
}

BOTH(streams, help_and_version_go_to_standard_output)
{
	static const char *const arguments[][2] = {{"--help"}, {"--version"},
		{"run", "--help"}};

	for (size_t i = 0; i < 3; i++) {
		struct job job = {.user = user};

		job_start(&job, (const char *const[]){fenceferry(),
			arguments[i][0], arguments[i][1], NULL});
		job_wait(&job);
		check(&job, job.output.length && !job.errors.length,
			"it is told");
		job_end_with_status(&job, 0);
	}
}

static void write_to_full(void *data)
{
	int fd = open("/dev/full", O_WRONLY);

	(void)data;
	dup2(fd, STDOUT_FILENO);
	close(fd);
}

BOTH(streams, help_that_cannot_be_written_is_a_failure)
{
	struct job job = {.user = user, .setup = write_to_full};

	job_start(&job, (const char *const[]){fenceferry(), "run", "--help",
		NULL});
	job_end_with_status(&job, 125);
}
