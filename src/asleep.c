/* SPDX-License-Identifier: MIT */
#include "asleep.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* The beginning of a file of /proc, as text. 0 or -errno. */
static int read_head(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), err = 0;
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read(fd, text, size - 1);
	if (n < 0)
		err = -errno;
	close(fd);
	text[n < 0 ? 0 : n] = '\0';
	return err;
}

/* "se.exec_start   :   24427731.256952", in milliseconds. */
static int read_exec_start(const char *path, uint64_t *ns)
{
	char text[1024], *field, *end;
	int err = read_head(path, text, sizeof(text));

	if (err)
		return err;
	field = strstr(text, "se.exec_start");
	field = field ? strchr(field, ':') : NULL;
	if (!field)
		return -EPROTO;
	*ns = strtoull(field + 1, &end, 10) * 1000000u;
	if (*end == '.')
		*ns += strtoull(end + 1, NULL, 10);
	return 0;
}

/* The 39th field of stat; the second one ends with the last parenthesis. */
static int read_processor(pid_t tid, unsigned int *processor)
{
	char path[32], text[1024], *field;
	int err;

	snprintf(path, sizeof(path), "/proc/%d/stat", tid);
	err = read_head(path, text, sizeof(text));
	if (err)
		return err;
	field = strrchr(text, ')');
	for (int i = 2; field && i < 39; i++)
		field = strchr(field + 1, ' ');
	if (!field)
		return -EPROTO;
	*processor = (unsigned int)strtoul(field + 1, NULL, 10);
	return 0;
}

/* Our own, which is new when we have just slept. */
static int read_now(unsigned int processor, uint64_t *ns)
{
	const struct timespec moment = { .tv_nsec = 1000 };
	cpu_set_t before, one;
	int err;

	if (sched_getaffinity(0, sizeof(before), &before) < 0)
		return -errno;
	CPU_ZERO(&one);
	if (processor >= CPU_SETSIZE)
		return -ENODATA;
	CPU_SET(processor, &one);
	if (sched_setaffinity(0, sizeof(one), &one) < 0)
		return -ENODATA;
	nanosleep(&moment, NULL);
	err = read_exec_start("/proc/thread-self/sched", ns);
	sched_setaffinity(0, sizeof(before), &before);
	return err;
}

int ff_asleep(pid_t tid, uint64_t *ns)
{
	uint64_t then_ns, now_ns;
	unsigned int processor;
	char path[32];
	int err = read_processor(tid, &processor);

	snprintf(path, sizeof(path), "/proc/%d/sched", tid);
	if (!err)
		err = read_exec_start(path, &then_ns);
	if (!err)
		err = read_now(processor, &now_ns);
	if (!err)
		*ns = now_ns > then_ns ? now_ns - then_ns : 0;
	return err;
}
