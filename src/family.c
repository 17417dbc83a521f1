/* SPDX-License-Identifier: MIT */
#include "family.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statfs.h>
#include <sys/sysinfo.h>
#include <unistd.h>

/*
 * Has any process or thread of the machine begun or ended? The last pid given
 * out tells, and the number of them, in case it came round.
 */
static bool same_processes(struct ff_family *family)
{
	char text[128];
	struct statfs fs;
	struct sysinfo info;
	const char *last_pid;
	ssize_t n;
	bool same;

	if (family->loadavg <= 0)
		family->loadavg = open("/proc/loadavg", O_RDONLY | O_CLOEXEC);
	/* Containers put a file of their own there, which may lag behind. */
	if (fstatfs(family->loadavg, &fs) < 0 || fs.f_type != PROC_SUPER_MAGIC)
		return false;
	n = pread(family->loadavg, text, sizeof(text) - 1, 0);
	if (n <= 0 || sysinfo(&info) < 0)
		return false;
	text[n] = '\0';
	last_pid = strrchr(text, ' ');
	n = last_pid ? atoi(last_pid) : 0;
	same = n && n == family->last_pid &&
		info.procs == family->process_count;
	family->last_pid = (pid_t)n;
	family->process_count = info.procs;
	return same;
}

static void remove_us(struct ff_ids *pids)
{
	for (size_t i = 0; i < pids->count; i++)
		if (pids->ids[i] == getpid())
			pids->ids[i] = pids->ids[--pids->count];
}

int ff_family_list(struct ff_family *family, const struct ff_ids **pids)
{
	int err;

	*pids = &family->processes;
	if (same_processes(family))
		return 0;
	err = ff_process_descendants(family->root, &family->processes);
	remove_us(&family->processes);
	if (!err && family->root != getpid())
		err = ff_ids_add(&family->processes, family->root);
	if (err)
		family->last_pid = 0;
	return err;
}

void ff_family_free(struct ff_family *family)
{
	if (family->loadavg > 0)
		close(family->loadavg);
	family->loadavg = 0;
	ff_ids_free(&family->processes);
}
