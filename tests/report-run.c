/* SPDX-License-Identifier: MIT */
#include "report-run.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ORDINARY_USER = 65534, DEADLINE_S = 30, MOST_OUTPUT = 16 << 20 };

struct stream {
	int fd;
	char *text;
	size_t size;
};

static void become(const struct report *report, int input, int output,
	int errors)
{
	const char *path = getenv("FENCEFERRY");
	const char *argv[REPORT_ARGS + 3] = {path && *path ? path : "./fenceferry",
		"report"};
	int file;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (int i = 0; report->args[i]; i++)
		argv[i + 2] = report->args[i];
	if (report->output_path) {
		file = open(report->output_path, O_WRONLY);
		dup2(file, 1);
	} else
		dup2(output, 1);
	dup2(input, 0);
	dup2(errors, 2);
	if (report->as_user && !geteuid() &&
		(setgid(ORDINARY_USER) < 0 || setuid(ORDINARY_USER) < 0))
		_exit(99);
	execv(argv[0], (char **)argv);
	_exit(99);
}

static void read_some(struct stream *stream)
{
	ssize_t size;

	stream->text = realloc(stream->text, stream->size + 65537);
	cr_assert(stream->text && stream->size < MOST_OUTPUT);
	size = read(stream->fd, stream->text + stream->size, 65536);
	if (size > 0)
		stream->size += (size_t)size;
	else if (!size || errno != EINTR) {
		close(stream->fd);
		stream->fd = -1;
	}
	stream->text[stream->size] = '\0';
}

/* Give it its input, and take what it writes, until it has closed both. */
static void converse(const struct report *report, pid_t pid, int input,
	struct stream streams[2])
{
	size_t left = report->input ? report->input_size ? report->input_size :
		strlen(report->input) : 0;
	const char *text = report->input;
	time_t end = time(NULL) + DEADLINE_S;

	while (streams[0].fd >= 0 || streams[1].fd >= 0) {
		struct pollfd fds[] = {{streams[0].fd, POLLIN, 0},
			{streams[1].fd, POLLIN, 0},
			{left ? input : -1, POLLOUT, 0}};

		if (time(NULL) > end) {
			kill(pid, SIGKILL);
			cr_assert_fail("it does not end");
		}
		poll(fds, 3, 1000);
		for (int i = 0; i < 2; i++)
			if (fds[i].revents)
				read_some(&streams[i]);
		if (left && fds[2].revents) {
			ssize_t size = write(input, text, left);

			left = size < 0 ? 0 : left - (size_t)size;
			text += size < 0 ? 0 : size;
		}
		if (!left && input >= 0) {
			close(input);
			input = -1;
		}
	}
	if (input >= 0)
		close(input);
}

void report_do(struct report *report)
{
	int in[2], out[2], err[2], status;
	struct stream streams[2];
	struct rusage usage;
	pid_t pid;

	signal(SIGPIPE, SIG_IGN);
	cr_assert(!pipe2(in, O_CLOEXEC) && !pipe2(out, O_CLOEXEC) &&
		!pipe2(err, O_CLOEXEC));
	fcntl(in[1], F_SETFL, O_NONBLOCK);
	pid = fork();
	cr_assert(pid >= 0);
	if (!pid)
		become(report, in[0], out[1], err[1]);
	close(in[0]);
	close(out[1]);
	close(err[1]);
	streams[0] = (struct stream){.fd = out[0]};
	streams[1] = (struct stream){.fd = err[0]};
	converse(report, pid, in[1], streams);
	cr_assert_eq(wait4(pid, &status, 0, &usage), pid);
	report->status = WIFEXITED(status) ? WEXITSTATUS(status) :
		256 + WTERMSIG(status);
	report->peak_kb = usage.ru_maxrss;
	report->output = streams[0].text;
	report->output_size = streams[0].size;
	report->errors = streams[1].text;
}

void report_free(struct report *report)
{
	free(report->output);
	free(report->errors);
}

void report_text(struct report *report, const char *option, const char *log)
{
	memset(report, 0, sizeof(*report));
	report->input = log;
	report->args[0] = "-";
	report->args[1] = option;
	report_do(report);
}

json_t *report_parse(const struct report *report)
{
	json_error_t error;
	json_t *json = json_loadb(report->output, report->output_size,
		JSON_REJECT_DUPLICATES, &error);

	report_check(report, json != NULL);
	return json;
}

static json_t *find(json_t *json, const char *path)
{
	char copy[128], *rest = copy;
	const char *part;

	cr_assert_lt(strlen(path), sizeof(copy));
	strcpy(copy, path);
	while ((part = strsep(&rest, ".")))
		json = json_is_array(json) ? json_array_get(json,
			strtoul(part, NULL, 10)) : json_object_get(json, part);
	return json;
}

long long report_number(json_t *json, const char *path)
{
	json_t *value = find(json, path);

	return json_is_integer(value) ? json_integer_value(value) : -1;
}

const char *report_string(json_t *json, const char *path)
{
	const char *text = json_string_value(find(json, path));

	return text ? text : "";
}
