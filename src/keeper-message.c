/* SPDX-License-Identifier: MIT */
#include "keeper.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define FDS_MAX (FF_KEPT_MAX + 1)

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

union control {
	char room[CMSG_SPACE(FDS_MAX * sizeof(int))];
	struct cmsghdr align;
};

int ff_keeper_send(int socket, const struct ff_keeper_message *message,
	const int *fds, size_t count)
{
	struct iovec iov = { (void *)(uintptr_t)message, sizeof(*message) };
	union control control = { 0 };
	struct msghdr header = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.room,
		.msg_controllen = CMSG_SPACE(count * sizeof(int)),
	};
	struct cmsghdr *cmsg;

	if (count) {
		cmsg = CMSG_FIRSTHDR(&header);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(count * sizeof(int));
		memcpy(CMSG_DATA(cmsg), fds, count * sizeof(int));
	} else {
		header.msg_control = NULL;
		header.msg_controllen = 0;
	}
	return sendmsg(socket, &header, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static void close_all(const int *fds, size_t count)
{
	for (size_t i = 0; i < count; i++)
		close(fds[i]);
}

int ff_keeper_receive(int socket, struct ff_keeper_message *message, int *fds,
	size_t *count)
{
	struct iovec iov = { message, sizeof(*message) };
	union control control = { 0 };
	struct msghdr header = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.room,
		.msg_controllen = sizeof(control.room),
	};
	int got[FDS_MAX];
	size_t room = *count, n = 0;
	struct cmsghdr *cmsg;
	ssize_t size;

	*count = 0;
	do {
		size = recvmsg(socket, &header, MSG_CMSG_CLOEXEC);
	} while (size < 0 && errno == EINTR);
	if (size <= 0)
		return size < 0 ? -errno : -EPIPE;
	cmsg = CMSG_FIRSTHDR(&header);
	if (cmsg && cmsg->cmsg_level == SOL_SOCKET &&
		cmsg->cmsg_type == SCM_RIGHTS) {
		n = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(got, CMSG_DATA(cmsg), n * sizeof(int));
	}
	if (size != sizeof(*message) || n > room ||
		header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
		close_all(got, n);
		return -EPROTO;
	}
	if (n)
		memcpy(fds, got, n * sizeof(int));
	*count = n;
	return 0;
}
