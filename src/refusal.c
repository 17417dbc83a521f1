/* SPDX-License-Identifier: MIT */
#include "refusal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What fenceferry's own processes are called, and the sockets by which a keeper
 * is found (attach): the number behind is the client's. */
#define OWN_COMM "fenceferry"
#define KEEPER_SOCKET "@fenceferry/keep/"

int ff_refuse_look(pid_t pid, struct ff_error *error)
{
	struct ff_status status;
	struct ff_birth birth;

	if (!ff_process_exists(pid) || ff_process_status(pid, &status) < 0 ||
		ff_process_birth(pid, &birth) < 0)
		return ff_fail(error, ESRCH, "there is no process %d (it may "
			"have ended, or be in another pid namespace)", pid);
	if (birth.is_kernel_thread)
		return ff_fail(error, ESRCH, "%d (%s) is a kernel thread: it "
			"has no fences", pid, status.comm);
	if (status.state == 'Z' && ff_process_count_threads(pid) <= 1)
		return ff_fail(error, ESRCH, "process %d (%s) has ended: a "
			"zombie, which its parent %d has not waited for", pid,
			status.comm, status.parent);
	return 0;
}

/* Does its command line ask for what makes a supervisor obey SIGUSR1? */
static bool obeys_signal(pid_t pid)
{
	char path[32], text[4096];
	bool obeys = false;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/cmdline", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);
	if (fd >= 0)
		close(fd);
	text[n > 0 ? n : 0] = '\0';
	for (const char *at = text; at < text + n && strcmp(at, "--");
		at += strlen(at) + 1)
		obeys |= !strcmp(at, "--backtrace") ||
			!strcmp(at, "--trace-fences") ||
			/* Among options that take no value. */
			(at[0] == '-' && at[1 + strspn(at + 1, "aqv")] == 'k');
	return obeys;
}

static bool is_own(pid_t pid)
{
	struct ff_status status;

	return ff_process_status(pid, &status) == 0 &&
		!strcmp(status.comm, OWN_COMM);
}

/* The nearest fenceferry that it is below, or 0. */
static pid_t find_supervisor(pid_t pid)
{
	struct ff_status status;

	while (pid > 1 && ff_process_status(pid, &status) == 0) {
		pid = status.parent;
		if (pid > 1 && is_own(pid))
			return pid;
	}
	return 0;
}

void ff_explain_look(pid_t pid, int err, struct ff_error *error)
{
	struct ff_status status = { 0 };
	pid_t supervisor = find_supervisor(pid);
	char way_out[96] = "look from outside of its container";

	if (err != -EPERM && err != -EACCES) {
		ff_fail(error, -err, "process %d cannot be looked at: %s", pid,
			err == -ENOSYS ? "this kernel has no /proc/PID/syscall "
			"(it needs CONFIG_HAVE_ARCH_TRACEHOOK)" :
			strerror(-err));
		return;
	}
	if (geteuid() != 0)
		snprintf(way_out, sizeof(way_out), "look as root");
	if (supervisor && obeys_signal(supervisor))
		snprintf(way_out, sizeof(way_out), "look as root, or send "
			"SIGUSR1 to its supervisor, pid %d, which may look",
			supervisor);
	ff_process_status(pid, &status);
	if (status.uid != geteuid())
		ff_fail(error, EPERM, "process %d (%s) is user %u's: it may "
			"not be looked at (%s)", pid, status.comm, status.uid,
			way_out);
	else if (ff_process_ptrace_scope() > 0)
		ff_fail(error, EPERM, "process %d (%s) may not be looked at: "
			"kernel.yama.ptrace_scope is %d (%s)", pid,
			status.comm, ff_process_ptrace_scope(), way_out);
	else
		ff_fail(error, EPERM, "process %d (%s) may not be looked at: "
			"it is not dumpable, confined, or in another user "
			"namespace (%s)", pid, status.comm, way_out);
}

static int add_once(struct ff_ids *pids, pid_t pid)
{
	return ff_ids_has(pids, pid) ? 0 : ff_ids_add(pids, pid);
}

/* Whom keepers keep, by the names of their sockets. */
static int add_kept(struct ff_ids *pids)
{
	FILE *file = fopen("/proc/net/unix", "re");
	char *line = NULL, *found;
	size_t room = 0;
	int err = 0;

	while (file && !err && getline(&line, &room, file) > 0) {
		found = strstr(line, KEEPER_SOCKET);
		if (found && atoi(found + strlen(KEEPER_SOCKET)) > 0)
			err = add_once(pids, atoi(found +
				strlen(KEEPER_SOCKET)));
	}
	free(line);
	if (file)
		fclose(file);
	return err;
}

int ff_find_watchers(struct ff_ids *pids)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	int err = 0;

	if (!proc)
		return -errno;
	while (!err && (entry = readdir(proc))) {
		pid_t pid = atoi(entry->d_name);

		if (pid > 0 && pid != getpid() && is_own(pid))
			err = add_once(pids, pid);
	}
	closedir(proc);
	return err ? err : add_kept(pids);
}
