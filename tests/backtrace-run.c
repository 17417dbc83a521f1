/* SPDX-License-Identifier: MIT */
#include "backtrace.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATIENCE_MS = 20000, TICK_US = 2000, TRUTH_MAX = 64 };

/* Static: the run is looked at after it has ended. */
static char victim[PATH_MAX], socket_path[PATH_MAX], socket_option[PATH_MAX + 16],
	engine_option[32];

static void prepare(struct e2e_run *run, const char *engine, const char *mode)
{
	snprintf(socket_path, sizeof(socket_path), "%s/socket", e2e_dir());
	snprintf(socket_option, sizeof(socket_option), "--x-socket=%s",
		socket_path);
	snprintf(engine_option, sizeof(engine_option), "--engine=%s", engine);
	*run = (struct e2e_run){
		.wrapped = true,
		.options = { "--backtrace", socket_option, engine_option },
		.command = { victim, socket_path, mode },
		/* Where libgcc_s is loaded from, for backtrace(3). */
		.setting = "LD_BIND_NOW=1",
	};
}

void backtrace_do(struct e2e_run *run, int bits, const char *engine,
	const char *mode)
{
	snprintf(victim, sizeof(victim), "%s%s", BACKTRACE_VICTIM,
		bits == 32 ? "-32" : bits == 0 ? "-stripped" : "");
	prepare(run, engine, mode);
	e2e_do(run);
}

void backtrace_start_copy(struct e2e_run *run, const char *engine,
	const char *mode)
{
	int from = open(BACKTRACE_VICTIM, O_RDONLY | O_CLOEXEC), to;
	struct stat st;

	snprintf(victim, sizeof(victim), "%s/victim", e2e_dir());
	unlink(victim);
	to = open(victim, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
	cr_assert(from >= 0 && to >= 0 && !fstat(from, &st));
	cr_assert_eq(sendfile(to, from, NULL, (size_t)st.st_size),
		st.st_size);
	close(from);
	close(to);
	prepare(run, engine, mode);
	e2e_start(run);
}

static json_t *frames_of(json_t *event)
{
	return json_object_get(event, "backtrace");
}

static bool is_inlined(const json_t *frame)
{
	return json_is_true(json_object_get(frame, "inlined"));
}

const char *backtrace_names(json_t *event)
{
	static char text[BACKTRACE_TEXT];
	json_t *frame;
	size_t i, used = 0;

	text[0] = '\0';
	json_array_foreach(frames_of(event), i, frame) {
		const char *name = e2e_text(frame, "symbol");

		if (used < sizeof(text))
			used += (size_t)snprintf(text + used,
				sizeof(text) - used, "%s%s%s",
				i ? " < " : "", is_inlined(frame) ? "~" : "",
				*name ? name : "?");
	}
	return text;
}

json_t *backtrace_frame(json_t *event, const char *name, size_t index)
{
	json_t *frame;
	size_t i;

	json_array_foreach(frames_of(event), i, frame)
		if (!strcmp(e2e_text(frame, "symbol"), name))
			return json_array_get(frames_of(event), i + index);
	return NULL;
}

bool backtrace_has_line(json_t *event, const char *name, const char *place)
{
	json_t *frame;
	size_t i;

	json_array_foreach(frames_of(event), i, frame) {
		const char *file = e2e_text(frame, "file");
		const char *slash = strrchr(file, '/');
		char here[512];

		snprintf(here, sizeof(here), "%.400s:%lld",
			slash ? slash + 1 : file, e2e_number(frame, "line"));
		if (!strcmp(e2e_text(frame, "symbol"), name) &&
			!strcmp(here, place))
			return true;
	}
	return false;
}

/* "truth NAME: 0x... 0x...": the last line of this name. */
static unsigned int read_truth(const struct e2e_run *run, const char *name,
	unsigned long long truth[TRUTH_MAX])
{
	char start[128];
	const char *line = NULL;
	unsigned int count = 0;
	char *end;

	snprintf(start, sizeof(start), "truth %s:", name);
	for (const char *at = run->output; (at = strstr(at, start)); at++)
		line = at;
	if (!line)
		return 0;
	for (line += strlen(start); *line == ' ' && count < TRUTH_MAX;
		line = end)
		truth[count++] = strtoull(line + 1, &end, 16);
	return count;
}

unsigned int backtrace_compare(const struct e2e_run *run, json_t *event,
	unsigned int *truth)
{
	unsigned long long addresses[TRUTH_MAX];
	unsigned int count = 0;
	bool is_outer = false;
	json_t *frame;
	size_t i, sent = 0;

	*truth = read_truth(run, e2e_text(event, "name"), addresses);
	e2e_check(run, *truth, "the client has told where it is");
	/* Of stripped ones nothing is known but where they are. */
	json_array_foreach(frames_of(event), i, frame) {
		unsigned long long ip = strtoull(e2e_text(frame, "ip"), NULL,
			16);

		if (is_inlined(frame))
			continue;
		if (!is_outer && ip == addresses[0]) {
			is_outer = true;
			sent = i;
		}
		if (!is_outer)
			continue;
		e2e_check(run, count < *truth && ip == addresses[count],
			"no address is wrong");
		count++;
	}
	e2e_check(run, !is_outer || sent <= 5, "nothing is made up inside");
	return count;
}

void backtrace_check_whole(const struct e2e_run *run, json_t *event,
	const char *by)
{
	unsigned int truth;

	e2e_check(run, !strcmp(e2e_text(event, "backtrace_by"), by), by);
	e2e_check(run, !*e2e_text(event, "backtrace_end"),
		"the stack is not cut");
	e2e_check(run, backtrace_compare(run, event, &truth) == truth,
		"it goes as far as the client's own");
}

pid_t backtrace_symbols_process(const struct e2e_run *run)
{
	long long deadline = e2e_now_ms() + PATIENCE_MS;

	for (;;) {
		char path[64], comm[32] = "";
		FILE *children, *file;
		pid_t found = 0, pid;

		snprintf(path, sizeof(path), "/proc/%d/task/%d/children",
			run->pid, run->pid);
		children = fopen(path, "re");
		while (children && fscanf(children, "%d", &pid) == 1) {
			snprintf(path, sizeof(path), "/proc/%d/comm", pid);
			file = fopen(path, "re");
			if (file && fgets(comm, sizeof(comm), file) &&
				!strcmp(comm, "ff-symbols\n"))
				found = pid;
			if (file)
				fclose(file);
		}
		if (children)
			fclose(children);
		if (found)
			return found;
		e2e_check(run, e2e_now_ms() < deadline,
			"the process that names frames is there");
		usleep(TICK_US);
	}
}
