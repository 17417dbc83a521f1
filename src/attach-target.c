/* SPDX-License-Identifier: MIT */
#include "attach-target.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CAN_PTRACE (1ull << 19) /* CAP_SYS_PTRACE */

int ff_target_parse(const char *text, pid_t *pid, struct ff_error *error)
{
	char *end;
	long value;

	errno = 0;
	value = strtol(text, &end, 10);
	if (!isdigit((unsigned char)*text) || *end || errno || value < 1 ||
		value > INT_MAX)
		return ff_fail(error, EINVAL, "'%.40s' is no process id (give "
			"the number that ps shows)", text);
	*pid = (pid_t)value;
	return 0;
}

static int gone(pid_t pid, struct ff_error *error)
{
	return ff_fail(error, ESRCH, "there is no process %d (has it ended? is "
		"it in another pid namespace?)", pid);
}

/* Were we started by it, or by one below it? */
static bool is_ancestor(pid_t pid)
{
	struct ff_status status;
	pid_t at = getpid();

	while (at > 1 && at != pid && ff_process_status(at, &status) == 0)
		at = status.parent;
	return at == pid;
}

int ff_target_check_ourselves(pid_t pid, struct ff_error *error)
{
	struct ff_status ours;

	if (ff_process_status(getpid(), &ours) < 0 || !ours.seccomp ||
		!is_ancestor(pid))
		return 0;
	return ff_fail(error, EDEADLK, "fenceferry attach was started by "
		"process %d or one below it, and so is under its filter, and "
		"cannot answer its own calls (start it from elsewhere)", pid);
}

/* Is this a fenceferry run? */
static bool is_run(pid_t pid)
{
	char path[32], text[256];
	struct ff_status status;
	const char *argument;
	FILE *file;
	size_t n;

	if (ff_process_status(pid, &status) < 0 ||
		strncmp(status.comm, "fenceferry", 10) != 0)
		return false;
	snprintf(path, sizeof(path), "/proc/%d/cmdline", pid);
	file = fopen(path, "re");
	if (!file)
		return false;
	n = fread(text, 1, sizeof(text) - 1, file);
	fclose(file);
	text[n] = '\0';
	argument = text + strlen(text) + 1;
	return argument < text + n && !strcmp(argument, "run");
}

/* Does it execute what we do? */
static bool is_like_us(pid_t pid)
{
	char path[32];
	struct stat theirs, ours;

	snprintf(path, sizeof(path), "/proc/%d/exe", pid);
	return stat(path, &theirs) == 0 && stat("/proc/self/exe", &ours) == 0 &&
		theirs.st_dev == ours.st_dev && theirs.st_ino == ours.st_ino;
}

int ff_target_check(pid_t pid, struct ff_birth *birth, struct ff_error *error)
{
	struct ff_status status;

	if (ff_process_status(pid, &status) < 0 ||
		ff_process_birth(pid, birth) < 0) {
		/* With hidepid, /proc does not show those of others. */
		if (ff_process_exists(pid))
			return ff_fail(error, EACCES, "process %d cannot be "
				"seen in /proc (is that mounted with hidepid? "
				"run as root)", pid);
		return gone(pid, error);
	}
	if (status.tgid != pid)
		return ff_fail(error, EINVAL, "%d is a thread of process %d "
			"(attach to that)", pid, status.tgid);
	if (pid == getpid())
		return ff_fail(error, EINVAL, "process %d is fenceferry attach "
			"itself (give the client's)", pid);
	if (birth->is_kernel_thread)
		return ff_fail(error, EINVAL, "process %d (%s) is a kernel "
			"thread, and no X client", pid, status.comm);
	if (status.state == 'Z' || status.state == 'X')
		return ff_fail(error, ESRCH, "process %d (%s) has ended: it is "
			"a zombie", pid, status.comm);
	if (is_run(pid))
		return ff_fail(error, EINVAL, "process %d is fenceferry run "
			"itself, which watches its command already", pid);
	if (is_like_us(pid))
		return ff_fail(error, EINVAL, "process %d (%s) is fenceferry's "
			"own, and no X client (give the client's)", pid,
			status.comm);
	return 0;
}

static int explain_yama(pid_t pid, struct ff_error *error)
{
	int scope = ff_process_ptrace_scope();

	if (scope >= 3)
		return ff_fail(error, EPERM, "kernel.yama.ptrace_scope is %d: "
			"nobody may attach to a process until the next boot "
			"(start the client with fenceferry run "
			"--engine=notify)", scope);
	return scope < 1 ? 0 : ff_fail(error, EPERM,
		"kernel.yama.ptrace_scope is %d, and pid %d is no descendant "
		"(run as root, or start the client with fenceferry run)",
		scope, pid);
}

/* Is it in another namespace of this kind than we are? */
static bool is_elsewhere(pid_t pid, const char *kind)
{
	char path[48], theirs[64] = "", ours[64] = "";

	snprintf(path, sizeof(path), "/proc/%d/ns/%s", pid, kind);
	if (readlink(path, theirs, sizeof(theirs) - 1) < 0)
		return false;
	snprintf(path, sizeof(path), "/proc/self/ns/%s", kind);
	return readlink(path, ours, sizeof(ours) - 1) > 0 &&
		strcmp(ours, theirs) != 0;
}

static int explain_refusal(pid_t pid, const struct ff_status *status,
	struct ff_error *error)
{
	char path[32];
	struct stat st;
	int err;

	if (status->uid != geteuid())
		return ff_fail(error, EPERM, "process %d (%s) is of another "
			"user, %u (run as that one, or as root)", pid,
			status->comm, status->uid);
	err = explain_yama(pid, error);
	if (err)
		return err;
	/* The files of one that is not dumpable are root's. */
	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	if (stat(path, &st) == 0 && st.st_uid != status->uid)
		return ff_fail(error, EPERM, "process %d (%s) is not dumpable, "
			"by its own wish or since its program is set-user-ID "
			"or unreadable (run as root)", pid, status->comm);
	return 0;
}

static pid_t find_run(pid_t pid)
{
	struct ff_status status;

	while (ff_process_status(pid, &status) == 0 && status.parent > 1) {
		pid = status.parent;
		if (is_run(pid))
			return pid;
	}
	return 0;
}

/* The process whose keeper keeps pid, if that is below it: then attach to that
 * one goes on. */
static pid_t find_kept_ancestor(pid_t pid)
{
	FILE *file = fopen("/proc/net/unix", "re");
	char *line = NULL;
	size_t size = 0;
	pid_t found = 0;

	while (file && !found && getline(&line, &size, file) > 0) {
		const char *name = strstr(line, "@fenceferry/keep/");
		struct ff_status status;
		pid_t at = pid;
		int root;

		if (!name || sscanf(name, "@fenceferry/keep/%d/", &root) != 1)
			continue;
		while (ff_process_status(at, &status) == 0 && at != root)
			at = status.parent;
		/* Its own one is ours, just started. */
		found = at == root && at != pid ? root : 0;
	}
	free(line);
	if (file)
		fclose(file);
	return found;
}

/* Is it known who put it under a filter with a listener? 0 if not. */
static int explain_listener(pid_t pid, struct ff_error *error)
{
	pid_t other = find_run(pid);

	if (other)
		return ff_fail(error, EBUSY, "process %d is watched by "
			"fenceferry run already (supervisor pid %d)", pid,
			other);
	other = find_kept_ancestor(pid);
	return !other ? 0 : ff_fail(error, EBUSY, "process %d got its filter "
		"when pid %d was attached to (attach to that again)", pid,
		other);
}

int ff_target_explain(pid_t pid, int err, struct ff_error *error)
{
	struct ff_status status, ours, tracer;

	if (ff_process_status(pid, &status) < 0 || status.state == 'Z' ||
		status.state == 'X')
		return ff_fail(error, ESRCH, "process %d ended meanwhile", pid);
	if (err == -EOPNOTSUPP && status.seccomp) {
		int why = explain_listener(pid, error);

		return why ? why : err;
	}
	if (err != -EPERM && err != -EACCES && err != -EBUSY)
		return err;
	if (status.tracer && ff_process_status(status.tracer, &tracer) == 0)
		return ff_fail(error, EBUSY, "process %d (%s) is traced by pid "
			"%d (%s): end that first", pid, status.comm,
			status.tracer, tracer.comm);
	if (err == -EBUSY || ff_process_status(getpid(), &ours) < 0)
		return err;
	if (!(ours.capabilities & CAN_PTRACE)) {
		int why = explain_refusal(pid, &status, error);

		if (why)
			return why;
	}
	if (is_elsewhere(pid, "user") || is_elsewhere(pid, "pid"))
		return ff_fail(error, EPERM, "process %d (%s) is in another "
			"namespace, a container's (run as root outside of it, "
			"or fenceferry in there)", pid, status.comm);
	return err;
}

int ff_target_explain_listener(pid_t pid, struct ff_error *error)
{
	int err = explain_listener(pid, error);

	return err ? err : ff_fail(error, EBUSY, "process %d is under a "
		"seccomp filter with a listener already, and the kernel allows "
		"one (another supervisor's: a container's, or an earlier "
		"fenceferry's)", pid);
}
