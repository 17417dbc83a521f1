/* SPDX-License-Identifier: MIT */
#include "symbols/trace.h"

#include "eventlog.h"
#include "fds.h"

#include <errno.h>
#include <grp.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

/* Longer than this no event may take: then we die, and the supervisor writes
 * what is left. */
#define EVENT_S 10

/* A string of so many bytes, or NULL. */
static char *read_text(int file, uint32_t size)
{
	char *text = size && size <= FF_SYMBOLS_TEXT_MAX ? malloc(size + 1) :
		NULL;

	if (text && read(file, text, size) != (ssize_t)size) {
		free(text);
		return NULL;
	}
	if (text)
		text[size] = '\0';
	return text;
}

/* The object in line with the stack added. */
static char *add_stack(const char *line, const json_t *frames, const char *by,
	const char *end)
{
	json_t *more = json_object();
	size_t size = strlen(line);
	char *added, *text = NULL;

	json_object_set(more, "backtrace", (json_t *)(uintptr_t)frames);
	ff_event_set_text(more, "backtrace_by", by);
	if (end)
		ff_event_set_text(more, "backtrace_end", end);
	added = json_dumps(more, JSON_COMPACT);
	if (added && size && asprintf(&text, "%.*s,%s", (int)size - 1, line,
			added + 1) < 0)
		text = NULL;
	free(added);
	json_decref(more);
	return text;
}

static void write_log(int log_fd, const char *line)
{
	static bool is_failing;
	struct iovec parts[2] = { { (char *)(uintptr_t)line, strlen(line) },
		{ (char[]){ '\n' }, 1 } };
	bool failed = writev(log_fd, parts, 2) < 0;

	if (failed && !is_failing)
		dprintf(STDERR_FILENO, "fenceferry: cannot write to the log: "
			"%s (events are lost until that ends)\n",
			strerror(errno));
	is_failing = failed;
}

static void write_event(int log_fd, const struct ff_snapshot *snapshot,
	const char *line, const char *text)
{
	const char *by = snapshot->how == FF_SNAPSHOT_PTRACE ? "ptrace" :
		"proc", *end;
	json_t *frames;
	char *more;

	if (ff_symbols_name(snapshot, &frames, &end) < 0)
		_exit(1);
	if (line) {
		more = add_stack(line, frames, by, end);
		write_log(log_fd, more ? more : line);
		free(more);
	}
	if (text) {
		more = ff_symbols_print(frames, end);
		dprintf(STDERR_FILENO, "fenceferry: %s\n%s", text,
			more ? more : "");
		free(more);
	}
	json_decref(frames);
}

static void serve_event(int log_fd, int file,
	const struct ff_symbols_message *message)
{
	struct ff_snapshot *snapshot = ff_snapshot_read(file);
	char *line = read_text(file, message->line_size);
	char *text = read_text(file, message->text_size);

	/* What cannot be is a bug: the supervisor then writes it. */
	if (!snapshot || (!line && message->line_size) ||
		(!text && message->text_size))
		_exit(1);
	write_event(log_fd, snapshot, line, text);
	free(line);
	free(text);
	ff_snapshot_unref(snapshot);
}

void ff_symbols_serve(int socket, int log_fd, struct ff_symbols_ledger *ledger)
{
	struct ff_symbols_message message;
	int file, count;

	if (geteuid() == 0 && setgroups(0, NULL) < 0 && errno != EPERM)
		_exit(1);
	while ((count = ff_fds_receive(socket, &message, sizeof(message),
			&file, 1)) >= 0) {
		if (!count)
			file = -1;
		if (!message.number) {
			dup2(STDIN_FILENO, STDERR_FILENO);
			continue;
		}
		alarm(EVENT_S);
		serve_event(log_fd, file, &message);
		alarm(0);
		if (file >= 0)
			close(file);
		ledger->written = message.number;
	}
	_exit(0);
}
