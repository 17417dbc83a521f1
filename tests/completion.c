/* SPDX-License-Identifier: MIT */
/*
 * Completion: bash has the file of ours loaded, and is asked what it makes of
 * the beginnings of command lines; or somebody types, and presses Tab.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TEXT = 65536, PATIENCE_MS = 20000, MOST = 64 };

#define BASH_FILE FF_COMPLETION_DIR "/bash/fenceferry"
#define BASH_COMPLETION "/usr/share/bash-completion/bash_completion"

/* As Readline asks: each line is completed, and what comes of it printed
 * between bars. */
static const char ask[] =
	"source \"$1\"; shift\n"
	"for line; do\n"
	"	COMP_LINE=$line COMP_POINT=${#line} COMPREPLY=()\n"
	"	_fenceferry fenceferry\n"
	"	printf '|'\n"
	"	printf '%s|' \"${COMPREPLY[@]}\"\n"
	"	printf '\\n'\n"
	"done\n";

/* Where fenceferry is: it must be found by its name. */
static void set_path(void)
{
	const char *name = getenv("FENCEFERRY"), *old = getenv("PATH");
	char program[PATH_MAX], path[3 * PATH_MAX];

	cr_assert(realpath(name && *name ? name : "./fenceferry", program),
		"fenceferry: %s", strerror(errno));
	*strrchr(program, '/') = '\0';
	snprintf(path, sizeof(path), "%s:%s", program, old);
	setenv("PATH", path, 1);
	setenv("LC_ALL", "C.UTF-8", 1);
}

/* What a program prints on standard output; its status, as waitpid has it. */
static int run(const char *const *argv, char text[TEXT])
{
	size_t used = 0;
	ssize_t got;
	int out[2], status;
	pid_t child;

	cr_assert_eq(pipe2(out, O_CLOEXEC), 0);
	child = fork();
	if (!child) {
		alarm(PATIENCE_MS / 1000);
		if (dup2(out[1], STDOUT_FILENO) >= 0)
			execvp(argv[0], (char *const *)argv);
		_exit(127);
	}
	close(out[1]);
	while ((got = read(out[0], text + used, TEXT - 1 - used)) > 0)
		used += (size_t)got;
	text[used] = '\0';
	close(out[0]);
	cr_assert_eq(waitpid(child, &status, 0), child);
	return status;
}

/* What these lines are completed to: a line of text each. */
static void complete(const char *const *lines, char text[TEXT])
{
	const char *argv[MOST + 8] = {"bash", "--norc", "--noprofile", "-c",
		ask, "bash", BASH_FILE};
	size_t n = 7;

	while (*lines)
		argv[n++] = *lines++;
	cr_assert_eq(run(argv, text), 0, "bash is content");
}

static bool has_word(const char *text, const char *word)
{
	const size_t length = strlen(word);
	const char *at = text;

	while ((at = strstr(at, word))) {
		if (at > text && at[-1] == '|' && at[length] == '|')
			return true;
		at++;
	}
	return false;
}

Test(completion, of_commands_values_and_operands, .timeout = 60)
{
	static const char *const cases[][2] = {
		{"fenceferry h", "|host|"},
		{"fenceferry --v", "|--version|"},
		{"fenceferry run --eng", "|--engine=|"},
		{"fenceferry run --engine=", "|auto|notify|ptrace|off|"},
		{"fenceferry run --engine n", "|notify|"},
		{"fenceferry run -e n", "|notify|"},
		{"fenceferry run -qvve o", "|off|"},
		{"fenceferry run --select=", "|memfd|fence|"},
		{"fenceferry run --isol", "|--isolate|"},
		/* which attach refuses */
		{"fenceferry attach --isol", "||"},
		{"fenceferry run --relay=", "|unix:|vsock:|char:|"},
		{"fenceferry run --relay=char:/dev/nul", "|/dev/null|"},
		{"fenceferry run -r unix:/dev/nul", "|/dev/null|"},
		{"fenceferry run --relay=vsock:", "||"},
		{"fenceferry run --shm-dir=/dev/sh", "|/dev/shm|"},
		{"fenceferry run --shm-dir=/dev/nul", "||"},
		{"fenceferry run -o /dev/nul", "|/dev/null|"},
		{"fenceferry run --engine=off fencefer", "|fenceferry|"},
		{"fenceferry run -v -- fencefer", "|fenceferry|"},
		{"fenceferry run cat /dev/nul", "|/dev/null|"},
		/* what belongs to the command */
		{"fenceferry run cat --eng", "||"},
		{"fenceferry run -- cat --eng", "||"},
		{"fenceferry host --waiters=w", "|waitv|"},
		{"fenceferry host -l uni", "|unix:|"},
		{"fenceferry doctor --js", "|--json|"},
		{"fenceferry report /dev/nul", "|/dev/null|"},
		{"fenceferry report --trace=/dev/nul", "|/dev/null|"},
		{"fenceferry nonsense --", "||"},
	};
	enum { COUNT = sizeof(cases) / sizeof(*cases) };
	const char *lines[COUNT + 1] = {NULL};
	char text[TEXT], *line = text;

	set_path();
	for (size_t i = 0; i < COUNT; i++)
		lines[i] = cases[i][0];
	complete(lines, text);
	for (size_t i = 0; i < COUNT; i++) {
		char *next = strchr(line, '\n');

		cr_assert(next, "%s: no answer", cases[i][0]);
		*next = '\0';
		/* a command may be there more than once */
		if (strstr(cases[i][0], "fencefer") &&
			!strcmp(cases[i][1], "|fenceferry|"))
			cr_expect(has_word(line, "fenceferry"), "%s: %s",
				cases[i][0], line);
		else
			cr_expect_str_eq(line, cases[i][1], "%s: %s, not %s",
				cases[i][0], line, cases[i][1]);
		line = next + 1;
	}
}

Test(completion, of_processes, .timeout = 60)
{
	static const char *const lines[] = {"fenceferry attach ", NULL};
	char text[TEXT], pid[16];
	siginfo_t info;
	pid_t zombie = fork();

	if (!zombie)
		_exit(0);
	set_path();
	snprintf(pid, sizeof(pid), "%d", getpid());
	cr_assert_eq(waitid(P_PID, (id_t)zombie, &info, WEXITED | WNOWAIT), 0);
	complete(lines, text);
	cr_expect(has_word(text, pid), "%s is not among %s", pid, text);
	snprintf(pid, sizeof(pid), "%d", zombie);
	cr_expect(!has_word(text, pid), "the zombie %s is among %s", pid, text);
	waitpid(zombie, NULL, 0);
}

/* Each option that a help tells of, and no other, in words of "--name|" or
 * "--name=|". */
static void options_of_help(const char *help, char words[TEXT])
{
	size_t used = 0;

	words[used++] = '|';
	while (help) {
		const char *at = help + strspn(help, " ");
		size_t length;

		if (at > help && at[0] == '-' && at[1] != '-' && at[2] == ',')
			at += 4;
		length = strspn(at, "abcdefghijklmnopqrstuvwxyz-");
		length += at[length] == '=';
		if (at > help && !strncmp(at, "--", 2)) {
			memcpy(words + used, at, length);
			used += length;
			words[used++] = '|';
		}
		help = strchr(help, '\n');
		help = help ? help + 1 : NULL;
	}
	words[used] = '\0';
}

/* The commands that fenceferry --help tells of. */
static size_t list_commands(char commands[MOST][32])
{
	static const char *const argv[] = {"fenceferry", "--help", NULL};
	static const char label[] = "\n  fenceferry ";
	char help[TEXT], *at = help;
	size_t count = 0;

	cr_assert_eq(run(argv, help), 0);
	while ((at = strstr(at, label)) && count < MOST) {
		at += strlen(label);
		if (sscanf(at, "%31[a-z]", commands[count]) == 1 &&
			(!count || strcmp(commands[count],
				commands[count - 1])))
			count++;
	}
	cr_assert(count >= 3, "there are commands");
	return count;
}

Test(completion, of_each_option_that_there_is, .timeout = 60)
{
	char commands[MOST][32], help[TEXT], expected[TEXT], text[TEXT];
	char line[64];
	const char *const lines[] = {line, NULL};
	size_t count;

	set_path();
	count = list_commands(commands);
	for (size_t i = 0; i < count; i++) {
		const char *const argv[] = {
			"fenceferry", commands[i], "--help", NULL};
		char *live;

		cr_assert_eq(run(argv, help), 0);
		options_of_help(help, expected);
		cr_assert(has_word(expected, "--help"), "%s", help);
		snprintf(line, sizeof(line), "fenceferry %.31s --",
			commands[i]);
		complete(lines, text);
		*strchr(text, '\n') = '\0';
		/* which has a help of its own */
		live = strstr(text, "--live|");
		if (live && !strstr(expected, "--live|"))
			memmove(live, live + 7, strlen(live + 7) + 1);
		cr_expect_str_eq(text, expected, "%s: %s, not %s", line, text,
			expected);
	}
	complete((const char *const[]){"fenceferry ", NULL}, text);
	for (size_t i = 0; i < count; i++)
		cr_expect(has_word(text, commands[i]), "%s", commands[i]);
}

/* Read from a terminal until it shows this. */
static bool await(int terminal, const char *wanted, char text[TEXT])
{
	struct pollfd ready = {terminal, POLLIN, 0};
	size_t used = 0;

	while (!strstr(text, wanted) && used < TEXT - 1 &&
		poll(&ready, 1, PATIENCE_MS) == 1) {
		ssize_t got = read(terminal, text + used, TEXT - 1 - used);

		if (got <= 0)
			break;
		used += (size_t)got;
		text[used] = '\0';
	}
	return strstr(text, wanted);
}

/* Type into a shell that was told to load the completion by this line. */
static void type(const char *const *shell, const char *load, const char *typed,
	const char *wanted)
{
	char text[TEXT] = "", line[2 * PATH_MAX];
	int terminal, status;
	pid_t child = forkpty(&terminal, NULL, NULL, NULL);

	cr_assert(child >= 0);
	if (!child) {
		setenv("TERM", "dumb", 1);
		setenv("INPUTRC", "/dev/null", 1);
		execvp(shell[0], (char *const *)shell);
		_exit(127);
	}
	snprintf(line, sizeof(line), "%s; echo loa''ded\n", load);
	cr_assert(write(terminal, line, strlen(line)) > 0);
	cr_assert(await(terminal, "loaded", text), "%s: %s", shell[0], text);
	*text = '\0';
	cr_assert(write(terminal, typed, strlen(typed)) > 0);
	cr_expect(await(terminal, wanted, text), "%s: no %s in %s", shell[0],
		wanted, text);
	kill(child, SIGKILL);
	close(terminal);
	waitpid(child, &status, 0);
}

static const char *const bash[] = {"bash", "--norc", "--noprofile", NULL};

/* All that is typed is completed, or the command would not be understood. */
#define LOAD_BASH "PS1=; source " BASH_FILE
#define TYPED "fenceferry ru\t--eng\to\t--sel\tf\t--isol\t--help\n"

Test(completion, by_typing_in_bash, .timeout = 60)
{
	set_path();
	type(bash, LOAD_BASH, "fenceferry doc\t--js\t--he\t\n",
		"fenceferry doctor [OPTION...]");
	type(bash, LOAD_BASH, TYPED, "Usage: fenceferry run");
	type(bash, LOAD_BASH,
		"fenceferry run --eng\tof\t-- basena\t--help\n",
		"Usage: basename");
}

Test(completion, by_typing_in_bash_with_bash_completion, .timeout = 60)
{
	if (access(BASH_COMPLETION, R_OK))
		cr_skip("there is no bash-completion");
	set_path();
	type(bash, "source " BASH_COMPLETION "; " LOAD_BASH, TYPED,
		"Usage: fenceferry run");
	type(bash, "source " BASH_COMPLETION "; " LOAD_BASH,
		"fenceferry run --eng\tof\tbasena\t--help\n",
		"Usage: basename");
}

Test(completion, by_typing_in_zsh, .timeout = 60)
{
	static const char *const zsh[] = {"zsh", "-f", "-i", NULL};
	static const char load[] =
		"PS1=; fpath=(" FF_COMPLETION_DIR "/zsh $fpath); autoload -U "
		"compinit; compinit -D -u";
	char text[TEXT];

	if (run((const char *const[]){"zsh", "-f", "-c", "", NULL}, text))
		cr_skip("there is no zsh");
	set_path();
	type(zsh, load, "fenceferry doc\t--js\t--he\t\n",
		"fenceferry doctor [OPTION...]");
	type(zsh, load, "fenceferry ru\t--eng\tof\t--sel\tf\t--isol\t--help\n",
		"Usage: fenceferry run");
	type(zsh, load, "fenceferry run --eng\tof\t basena\t --help\n",
		"Usage: basename");
}
