/* SPDX-License-Identifier: MIT */
#include "attach.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATIENCE_MS = 20000, TICK_US = 2000 };

void attach_begin(struct attach *attach, pid_t pid)
{
	static unsigned int count;
	struct e2e_run *run = &attach->run;
	char name[32];
	size_t n = 0;

	memset(run, 0, sizeof(*run));
	snprintf(attach->pid, sizeof(attach->pid), "%d", pid);
	snprintf(attach->shm_dir, sizeof(attach->shm_dir), "--shm-dir=%s",
		e2e_shm_dir());
	snprintf(name, sizeof(name), "attach-%u", count++);
	snprintf(attach->log, sizeof(attach->log), "--log=%s",
		coexist_path(name));
	run->setting = COEXIST_SETTING;
	run->command[n++] = attach->binary ? attach->binary : e2e_fenceferry();
	run->command[n++] = "attach";
	run->command[n++] = attach->shm_dir;
	run->command[n++] = attach->log;
	for (size_t i = 0; attach->options[i]; i++)
		run->command[n++] = attach->options[i];
	run->command[n] = attach->pid;
	e2e_start(run);
}

void attach_await_text(struct attach *attach, const char *text)
{
	const long long deadline = e2e_now_ms() + PATIENCE_MS;

	for (;;) {
		bool ended = e2e_has_ended(&attach->run);

		e2e_look(&attach->run);
		if (strstr(attach->run.errors, text))
			return;
		e2e_check(&attach->run, !ended, text);
		e2e_check(&attach->run, e2e_now_ms() < deadline, text);
		usleep(TICK_US);
	}
}

void attach_await(struct attach *attach)
{
	attach_await_text(attach, "fenceferry: attached to pid ");
}

void attach_to(struct attach *attach, pid_t pid, const char *option)
{
	*attach = (struct attach){ .options = { option } };
	attach_begin(attach, pid);
	attach_await(attach);
}

static void read_log(struct attach *attach)
{
	e2e_read_log(&attach->run, attach->log + strlen("--log="));
}

void attach_end(struct attach *attach, int sig)
{
	struct e2e_run *run = &attach->run;

	e2e_check(run, !kill(run->pid, sig), "it lives");
	e2e_finish_beside(run);
	read_log(attach);
	if (sig == SIGKILL)
		return;
	e2e_check(run, e2e_exited(run, 0), "it ends well");
	e2e_check(run, strstr(run->errors, "fenceferry: detached from pid "),
		"it says so");
	e2e_check(run, e2e_count(run, "detach", "reason", "SIG") == 1,
		"the log says so");
}

void attach_finish(struct attach *attach)
{
	struct e2e_run *run = &attach->run;

	e2e_finish_beside(run);
	read_log(attach);
	e2e_check(run, e2e_exited(run, 0), "it ends well");
	e2e_check(run, e2e_count(run, "detach", "reason", "the client ended") ==
		1, "the log says why");
}

void attach_refused(struct attach *attach, pid_t pid, const char *text)
{
	struct e2e_run *run = &attach->run;

	attach_begin(attach, pid);
	e2e_finish_beside(run);
	e2e_check(run, e2e_exited(run, 125), "it fails");
	e2e_check(run, strstr(run->errors, "fenceferry: "), "it says why");
	e2e_check(run, strstr(run->errors, text), text);
}

/* Is that a keeper's command line, about pid? */
static bool keeps(const char *keeper, pid_t pid)
{
	char path[280], text[128] = "", want[64];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%s/cmdline", keeper);
	file = fopen(path, "re");
	if (!file)
		return false;
	for (size_t i = 0, n = fread(text, 1, sizeof(text) - 1, file); i < n;
		i++)
		text[i] = text[i] ? text[i] : ' ';
	fclose(file);
	snprintf(want, sizeof(want), "fenceferry keep (lets calls of pid %d "
		"through)", pid);
	return strstr(text, want);
}

pid_t attach_keeper(pid_t pid)
{
	DIR *dir = opendir("/proc");
	struct dirent *entry;
	pid_t found = 0;

	while (dir && !found && (entry = readdir(dir)))
		if (keeps(entry->d_name, pid))
			found = atoi(entry->d_name);
	if (dir)
		closedir(dir);
	return found;
}

void attach_await_no_keeper(const struct e2e_run *run, pid_t pid)
{
	const long long deadline = e2e_now_ms() + PATIENCE_MS;

	while (attach_keeper(pid)) {
		e2e_check(run, e2e_now_ms() < deadline,
			"the keeper ends with the client");
		usleep(TICK_US);
	}
}

void attach_finish_client(struct e2e_run *client)
{
	const pid_t pid = client->pid;

	e2e_finish_beside(client);
	coexist_check_ok(client);
	attach_await_no_keeper(client, pid);
	e2e_check(client, !e2e_count_standins(), "nothing is in the shm dir");
}
