/* SPDX-License-Identifier: MIT */
#include "e2e.h"

#include "count-fds.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { CHILD_MS = 20000 };

long long e2e_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* A file of /proc/PID; NULL if the process is gone. */
static FILE *open_proc(pid_t pid, const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	return fopen(path, "re");
}

/* The number after "key:" in /proc/PID/status, or -1. */
static long status_number(pid_t pid, const char *key)
{
	FILE *status = open_proc(pid, "status");
	size_t length = strlen(key);
	char line[256];
	long number = -1;

	while (status && fgets(line, sizeof(line), status))
		if (!strncmp(line, key, length) && line[length] == ':')
			number = strtol(line + length + 1, NULL, 10);
	if (status)
		fclose(status);
	return number;
}

long e2e_sleeps(pid_t pid)
{
	return status_number(pid, "voluntary_ctxt_switches");
}

/* The first of all processes that has this parent, and how many have it. */
static unsigned int find_child(pid_t parent, pid_t *child)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	unsigned int count = 0;

	cr_assert(proc, "/proc: %s", strerror(errno));
	while ((entry = readdir(proc))) {
		pid_t pid = atoi(entry->d_name);

		if (pid > 0 && status_number(pid, "PPid") == parent &&
			!count++)
			*child = pid;
	}
	closedir(proc);
	return count;
}

pid_t e2e_child_of(pid_t pid)
{
	long long deadline = e2e_now_ms() + CHILD_MS;
	unsigned int count;
	pid_t child = 0;

	while (!(count = find_child(pid, &child)) && e2e_now_ms() < deadline)
		usleep(10000);
	cr_assert_eq(count, 1, "pid %d has %u children, not one", pid, count);
	return child;
}

static bool parse_mapping(const char *line, struct e2e_mapping *mapping)
{
	mapping->path[0] = '\0';
	return sscanf(line, "%*x-%*x %*4s %*x %x:%x %llu %255[^\n]",
		       &mapping->major, &mapping->minor, &mapping->inode,
		       mapping->path) >= 3;
}

static bool is_shared(const struct e2e_mapping *mapping)
{
	return strstr(mapping->path, "/memfd:") ||
	       strstr(mapping->path, e2e_shm_dir());
}

void e2e_usage(pid_t pid, struct e2e_usage *usage)
{
	FILE *maps = open_proc(pid, "maps");
	struct e2e_mapping mapping;
	char line[512];
	long rss = status_number(pid, "RssAnon");

	cr_assert(maps && rss >= 0, "pid %d is gone", pid);
	usage->fds = (unsigned int)count_fds(pid);
	usage->anonymous_kb = (unsigned long)rss;
	usage->shared = 0;
	while (fgets(line, sizeof(line), maps))
		usage->shared +=
			parse_mapping(line, &mapping) && is_shared(&mapping);
	fclose(maps);
}

void e2e_read_mapping(
	const char *text, const char *label, struct e2e_mapping *mapping)
{
	const char *line = strstr(text, label);

	cr_assert(line && parse_mapping(line + strlen(label), mapping),
		"no mapping after \"%s\" in:\n%s", label, text);
}

bool e2e_find_mapping(pid_t pid, const struct e2e_mapping *wanted,
	struct e2e_mapping *mapping)
{
	FILE *maps = open_proc(pid, "maps");
	bool found = false;
	char line[512];

	cr_assert(maps, "pid %d is gone", pid);
	while (!found && fgets(line, sizeof(line), maps))
		found = parse_mapping(line, mapping) &&
			mapping->major == wanted->major &&
			mapping->minor == wanted->minor &&
			mapping->inode == wanted->inode;
	fclose(maps);
	return found;
}
