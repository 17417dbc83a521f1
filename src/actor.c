/* SPDX-License-Identifier: MIT */
#include "actor.h"

#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct {
	pid_t tid, pid;
	ino_t ino; /* of /proc/TID: no later thread has the same */
} known[FF_ACTORS_MAX];
static size_t next; /* to be forgotten; counts up */

/* It may change: exec, prctl. */
static int read_comm(pid_t tid, char comm[16])
{
	char path[32];
	ssize_t size;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/comm", tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	size = read(fd, comm, 16);
	close(fd);
	if (size <= 0)
		return -ESRCH;
	comm[size - 1] = '\0'; /* a newline */
	return 0;
}

static int find_unknown(pid_t tid, ino_t ino, struct ff_actor *actor)
{
	struct ff_status status;
	int err = ff_process_status(tid, &status);

	if (err)
		return err;
	actor->pid = status.tgid;
	memcpy(actor->comm, status.comm, sizeof(actor->comm));
	known[next % FF_ACTORS_MAX].tid = tid;
	known[next % FF_ACTORS_MAX].pid = status.tgid;
	known[next++ % FF_ACTORS_MAX].ino = ino;
	return 0;
}

int ff_actor_find(pid_t tid, struct ff_actor *actor)
{
	char path[32];
	struct stat st;

	*actor = (struct ff_actor){ .pid = tid, .tid = tid };
	snprintf(path, sizeof(path), "/proc/%d", tid);
	if (stat(path, &st) < 0)
		return -errno;
	for (size_t i = 0; i < FF_ACTORS_MAX; i++)
		if (known[i].tid == tid && known[i].ino == st.st_ino) {
			actor->pid = known[i].pid;
			return read_comm(tid, actor->comm);
		}
	return find_unknown(tid, st.st_ino, actor);
}
