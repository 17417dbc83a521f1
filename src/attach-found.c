/* SPDX-License-Identifier: MIT */
#include "attach-found.h"

#include "actor.h"
#include "standin.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MEMFD "/memfd:xshmfence"
#define DELETED " (deleted)"

/* A line of /proc/PID/maps. */
struct line {
	uint64_t start, end, ino;
	char permissions[8];
	char *path; /* without " (deleted)" */
};

static bool parse(char *text, struct line *line)
{
	size_t length;
	int path = 0;

	if (sscanf(text, "%" SCNx64 "-%" SCNx64 " %7s %*x %*s %" SCNu64 " %n",
			&line->start, &line->end, line->permissions,
			&line->ino, &path) < 4 || !path)
		return false;
	line->path = text + path;
	line->path[strcspn(line->path, "\n")] = '\0';
	length = strlen(line->path);
	if (length > strlen(DELETED) &&
		!strcmp(line->path + length - strlen(DELETED), DELETED))
		line->path[length - strlen(DELETED)] = '\0';
	return true;
}

/* Has the mapping a stand-in's name? Then what follows the directory. */
static const char *standin_name(const struct line *line, const char *shm_dir)
{
	const size_t length = strlen(shm_dir);
	const char *name = strrchr(line->path, '/');
	char nameless[32];

	if (!name || ff_standin_is_name(name + 1))
		return name ? name + 1 : NULL;
	/* Made without a name, in the shm dir. */
	snprintf(nameless, sizeof(nameless), "#%" PRIu64, line->ino);
	return !strncmp(line->path, shm_dir, length) &&
		line->path[length] == '/' &&
		!strcmp(line->path + length + 1, nameless) ? name + 1 : NULL;
}

static void tell(struct ff_eventlog *log, const struct ff_actor *actor,
	const struct line *line, const char *fence, const char *name,
	const char *reason)
{
	struct json_t *event = ff_event_new("found", actor);
	char address[24];

	snprintf(address, sizeof(address), "0x%" PRIx64, line->start);
	if (event) {
		ff_event_set_text(event, "fence", fence);
		ff_event_set_text(event, "name", name);
		ff_event_set_number(event, "size", line->end - line->start);
		ff_event_set_text(event, "address", address);
		ff_event_set_text(event, "action", "left");
		ff_event_set_text(event, "reason", reason);
		ff_eventlog_add(log, event);
	}
	ff_say(log, 1, "pid %d (%s) has fence %s at %s: it is left alone, for "
		"it was %s", actor->pid, actor->comm, fence, address, reason);
}

static bool look_at(struct ff_eventlog *log, const struct ff_actor *actor,
	const struct line *line, const char *shm_dir)
{
	const char *standin;
	char fence[64];

	if (line->permissions[3] != 's')
		return false;
	if (!strcmp(line->path, MEMFD)) {
		snprintf(fence, sizeof(fence), "memfd:%" PRIu64, line->ino);
		tell(log, actor, line, fence, "xshmfence", "made before attach "
			"(if it has not crossed yet, it is swapped when it "
			"does)");
		return true;
	}
	standin = standin_name(line, shm_dir);
	if (!standin)
		return false;
	tell(log, actor, line, standin, standin,
		"swapped by an earlier attach or run");
	return true;
}

unsigned int ff_attach_find_fences(const struct ff_ids *pids,
	const char *shm_dir, struct ff_eventlog *log)
{
	unsigned int found = 0;

	for (size_t i = 0; i < pids->count; i++) {
		struct ff_actor actor;
		char path[32], *text = NULL;
		struct line line;
		size_t size = 0;
		FILE *file;

		snprintf(path, sizeof(path), "/proc/%d/maps", pids->ids[i]);
		file = fopen(path, "re");
		if (!file)
			continue; /* it ended, or is not for us to see */
		ff_actor_find(pids->ids[i], &actor);
		while (getline(&text, &size, file) > 0)
			found += parse(text, &line) &&
				look_at(log, &actor, &line, shm_dir);
		free(text);
		fclose(file);
	}
	return found;
}
