/* SPDX-License-Identifier: MIT */
#include "keeper.h"

#include "fds.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

_Static_assert(FF_KEPT_MAX + 1 <= FF_FDS_MAX, "one message has them all");

unsigned int ff_keeper_address(struct sockaddr_un *address, pid_t root,
	uint64_t start)
{
	int length;

	*address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	/* Abstract: behind a NUL, and with none at its end. */
	length = snprintf(address->sun_path + 1, sizeof(address->sun_path) - 1,
		"fenceferry/keep/%d/%llu", root, (unsigned long long)start);
	return (unsigned int)(offsetof(struct sockaddr_un, sun_path) + 1 +
		(size_t)length);
}

bool ff_keeper_is_listener(int fd)
{
	char path[32], target[64];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, target, sizeof(target) - 1);
	if (n < 0)
		return false;
	target[n] = '\0';
	return !strcmp(target, "anon_inode:seccomp notify");
}

int ff_keeper_send(int socket, const struct ff_keeper_message *message,
	const int *fds, size_t count)
{
	ssize_t sent = ff_fds_send(socket, message, sizeof(*message), fds,
		count, 0);

	return sent < 0 ? (int)sent : 0;
}

int ff_keeper_receive(int socket, struct ff_keeper_message *message, int *fds,
	size_t *count)
{
	int got = ff_fds_receive(socket, message, sizeof(*message), fds,
		*count);

	*count = got > 0 ? (size_t)got : 0;
	return got == -EMFILE ? -EPROTO : got < 0 ? got : 0;
}
