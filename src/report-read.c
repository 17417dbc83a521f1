/* SPDX-License-Identifier: MIT */
#include "report-read.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	PIECE = 64 * 1024,
	/* What has no event in so much is no log. */
	GIVE_UP_LINES = 100000,
	GIVE_UP_BYTES = 64 * 1024 * 1024,
	/* PID_MAX_LIMIT of Linux. */
	MOST_PID = 4194304,
};

/* The year 2286: no time of an event, in seconds, lies beyond. */
static const double most_seconds = 1e10;

int ff_log_open(const char *path, struct ff_error *error)
{
	struct stat stat;
	int fd = !strcmp(path, "-") ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3) :
		open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	int err = 0;

	if (fd < 0)
		return ff_fail(error, errno, "cannot open the log %s: %s "
			"(name a file that fenceferry --log has written)",
			path, strerror(errno));
	if (fstat(fd, &stat) < 0)
		err = errno;
	else if (S_ISDIR(stat.st_mode))
		err = EISDIR;
	else if (S_ISBLK(stat.st_mode))
		err = ENOTSUP;
	if (!err)
		return fd;
	close(fd);
	return ff_fail(error, err, "cannot read the log %s: %s (name a file "
		"that fenceferry --log has written)", path,
		err == ENOTSUP ? "it is a block device" : strerror(err));
}

const char *ff_log_text(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

int64_t ff_log_integer(const json_t *object, const char *key, int64_t fallback)
{
	const json_t *value = json_object_get(object, key);

	return json_is_integer(value) ? json_integer_value(value) : fallback;
}

int64_t ff_log_seconds(const json_t *object, const char *key,
	int64_t fallback_us)
{
	const json_t *value = json_object_get(object, key);
	double seconds = json_number_value(value);

	if (!json_is_number(value) || !(seconds >= 0) ||
		seconds > most_seconds)
		return fallback_us;
	return (int64_t)(seconds * 1e6 + 0.5);
}

static int64_t take_pid(const json_t *object, const char *key)
{
	int64_t pid = ff_log_integer(object, key, 0);

	return pid > 0 && pid <= MOST_PID ? pid : 0;
}

static void complain(struct ff_log *log, const char *why)
{
	log->broken_lines++;
	if (log->broken)
		log->broken(log->context, log->lines, why);
}

/* Take a whole line, without its end. */
static void take_line(struct ff_log *log, const char *text, size_t size)
{
	struct ff_log_event event = { .line = log->lines };
	json_error_t error;
	char why[sizeof(error.text) + 32];

	event.object = json_loadb(text, size, 0, &error);
	if (!event.object) {
		snprintf(why, sizeof(why), "no JSON object: %s", error.text);
		complain(log, why);
		return;
	}
	event.name = ff_log_text(event.object, "event");
	event.time_us = ff_log_seconds(event.object, "time", -1);
	event.pid = take_pid(event.object, "pid");
	event.tid = take_pid(event.object, "tid");
	event.comm = ff_log_text(event.object, "comm");
	if (!json_is_object(event.object))
		complain(log, "no JSON object");
	else if (!*event.name)
		complain(log, "no event: it has no name");
	else if (event.time_us < 0)
		complain(log, "no event: it has no time, or an impossible one");
	else {
		log->events++;
		log->event(log->context, &event);
	}
	json_decref(event.object);
}

/* Add to the line that has begun. */
static void keep(struct ff_log *log, const char *bytes, size_t size)
{
	if (log->is_skipping || !size)
		return;
	if (log->used + size > log->room) {
		size_t room = 2 * (log->used + size) < FF_LOG_LINE ?
			2 * (log->used + size) : FF_LOG_LINE;
		char *text = log->used + size > FF_LOG_LINE ? NULL :
			realloc(log->text, room);

		if (!text) {
			log->is_skipping = true;
			return;
		}
		log->text = text;
		log->room = room;
	}
	memcpy(log->text + log->used, bytes, size);
	log->used += size;
}

void ff_log_feed(struct ff_log *log, const char *bytes, size_t size)
{
	log->size += size;
	while (size) {
		const char *end = memchr(bytes, '\n', size);
		size_t length = end ? (size_t)(end - bytes) : size;

		keep(log, bytes, length);
		if (!end)
			return;
		log->lines++;
		if (log->is_skipping)
			complain(log, "longer than any event");
		else if (log->used)
			take_line(log, log->text, log->used);
		else
			complain(log, "empty");
		log->is_skipping = false;
		log->used = 0;
		bytes = end + 1;
		size -= length + 1;
	}
}

void ff_log_end(struct ff_log *log)
{
	log->is_unfinished = log->used || log->is_skipping;
	log->is_braced = log->used && log->text[0] == '{';
	free(log->text);
	log->text = NULL;
	log->used = log->room = 0;
	log->is_skipping = false;
}

/* So much of it, and no event? */
static bool is_hopeless(const struct ff_log *log)
{
	return !log->events && (log->lines >= GIVE_UP_LINES ||
		log->size >= GIVE_UP_BYTES);
}

int ff_log_read(struct ff_log *log, int fd, const char *path,
	struct ff_error *error)
{
	char *piece = malloc(PIECE);
	ssize_t size = -1;

	errno = ENOMEM;
	while (piece && !is_hopeless(log)) {
		do
			size = read(fd, piece, PIECE);
		while (size < 0 && errno == EINTR);
		if (size <= 0)
			break;
		ff_log_feed(log, piece, (size_t)size);
	}
	free(piece);
	if (size < 0) {
		int err = errno;

		ff_log_end(log);
		return ff_fail(error, err, "cannot read the log %s: %s (is it "
			"a file that fenceferry --log has written?)", path,
			strerror(err));
	}
	ff_log_end(log);
	if (!log->events && (log->lines ||
			(log->is_unfinished && !log->is_braced)))
		return ff_fail(error, EINVAL, "%s is no event log: %s is an "
			"event (name a file that fenceferry --log has written)",
			path, log->lines > 1 ? "none of its lines" :
			"nothing in it");
	return 0;
}
