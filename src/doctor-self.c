/* SPDX-License-Identifier: MIT */
/* Who and where we are, and what we may. */
#include "doctor-checkup.h"
#include "process.h"

#include <linux/capability.h>
#include <linux/seccomp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A single number in a file, or fallback. */
static long read_number(const char *path, long fallback)
{
	FILE *file = fopen(path, "re");
	long number;

	if (!file)
		return fallback;
	if (fscanf(file, "%ld", &number) != 1)
		number = fallback;
	fclose(file);
	return number;
}

static bool has_capability(unsigned int capability)
{
	struct __user_cap_header_struct header = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct data[2] = { 0 };

	return syscall(SYS_capget, &header, data) == 0 &&
		data[capability / 32].effective & 1u << capability % 32;
}

static void tell_user(struct ff_checkup *checkup)
{
	struct ff_finding *finding = ff_find(checkup, "user", FF_FOR_NOBODY,
		FF_OK, "uid %u, %s", geteuid(), has_capability(CAP_SYS_ADMIN) ?
		"with CAP_SYS_ADMIN" : "an ordinary one");

	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) > 0)
		ff_tell(finding->reason, "no_new_privs is set already: setuid "
			"programs gain nothing in any case");
}

/* Of all uids to the same ones: there is no namespace. */
static void tell_namespace(struct ff_checkup *checkup)
{
	unsigned long inside, outside, count;
	struct ff_finding *finding;
	FILE *file = fopen("/proc/self/uid_map", "re");

	if (!file)
		return;
	if (fscanf(file, "%lu %lu %lu", &inside, &outside, &count) != 3)
		inside = outside = count = 0;
	fclose(file);
	if (inside == 0 && outside == 0 && count == UINT32_MAX)
		return;
	finding = ff_find(checkup, "user namespace", FF_FOR_NOBODY, FF_OK,
		"one of its own: %lu uids from %lu, which are %lu outside",
		count, inside, outside);
	ff_tell(finding->reason, "a container or sandbox");
}

static void tell_filters(struct ff_checkup *checkup)
{
	struct ff_finding *finding;

	if (prctl(PR_GET_SECCOMP, 0, 0, 0, 0) != SECCOMP_MODE_FILTER)
		return;
	finding = ff_find(checkup, "seccomp filters", FF_FOR_NOBODY, FF_OK,
		"we are under some of others' already");
	ff_tell(finding->reason, "what they forbid, the other lines tell");
}

static void tell_scope(struct ff_checkup *checkup)
{
	static const char *const meanings[] = {
		"any process of the same user may trace",
		"only ancestors may trace, as fenceferry is one",
		"only those with CAP_SYS_PTRACE may trace",
		"nobody may trace",
	};
	long scope = read_number("/proc/sys/kernel/yama/ptrace_scope", -1);
	bool may = scope < 2 || (scope == 2 && has_capability(CAP_SYS_PTRACE));
	struct ff_finding *finding;

	if (scope < 0 || scope > 3) {
		ff_find(checkup, "ptrace scope", FF_FOR_NOBODY, FF_OK,
			"not restricted by Yama");
		return;
	}
	/* pidfd_getfd and process_vm_readv ask for the same right. */
	finding = ff_find(checkup, "ptrace scope", FF_FOR_RUN,
		may ? FF_OK : FF_MISSING, "%ld: %s", scope, meanings[scope]);
	if (may)
		return;
	ff_tell(finding->reason, "set by kernel.yama.ptrace_scope");
	if (scope == 2)
		ff_tell(finding->way_out, "sysctl kernel.yama.ptrace_scope=1, "
			"or run as root");
	else
		ff_tell(finding->way_out, "set it to 1 in /etc/sysctl.d, and "
			"boot: 3 stays until then");
}

static void tell_tracer(struct ff_checkup *checkup)
{
	struct ff_finding *finding;
	struct ff_status status;

	if (ff_process_status(getppid(), &status) < 0 || !status.tracer)
		return;
	finding = ff_find(checkup, "tracer", FF_FOR_NOBODY, FF_DEGRADED,
		"we are being traced by pid %d", status.tracer);
	ff_tell(finding->reason, "what it does, too, other lines tell");
	ff_tell(finding->way_out, "look again without it");
}

void ff_examine_user(struct ff_checkup *checkup)
{
	tell_user(checkup);
	tell_namespace(checkup);
	tell_filters(checkup);
	tell_tracer(checkup);
	tell_scope(checkup);
}

/* A fence takes an fd of fenceferry's, and a mapping in the client. */
enum { FDS_USUAL = 4096, FDS_OWN = 384, MAPS_USUAL = 65530 };

void ff_examine_limits(struct ff_checkup *checkup)
{
	long maps = read_number("/proc/sys/vm/max_map_count", MAPS_USUAL);
	struct ff_finding *finding;
	struct rlimit files = { 0 };

	getrlimit(RLIMIT_NOFILE, &files);
	finding = ff_find(checkup, "open files", FF_FOR_NOBODY,
		files.rlim_max < FDS_USUAL ? FF_DEGRADED : FF_OK,
		"up to %llu, one for each fence with a relay",
		(unsigned long long)files.rlim_max);
	if (finding->health != FF_OK) {
		ff_tell(finding->reason, "a host keeps %d for itself",
			FDS_OWN);
		ff_tell(finding->way_out, "raise the hard limit: ulimit -Hn");
	}
	finding = ff_find(checkup, "mappings a process", FF_FOR_NOBODY,
		maps < MAPS_USUAL ? FF_DEGRADED : FF_OK,
		"up to %ld, one for each fence in the client", maps);
	if (finding->health != FF_OK) {
		ff_tell(finding->reason, "less than usual");
		ff_tell(finding->way_out, "sysctl vm.max_map_count=%d",
			MAPS_USUAL);
	}
}
