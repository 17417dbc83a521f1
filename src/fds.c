/* SPDX-License-Identifier: MIT */
#include "fds.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

union control {
	char room[CMSG_SPACE(FF_FDS_MAX * sizeof(int))];
	struct cmsghdr align;
};

ssize_t ff_fds_send(int socket, const void *bytes, size_t size, const int *fds,
	size_t count, int flags)
{
	struct iovec iov = { (void *)(uintptr_t)bytes, size };
	struct msghdr header = { .msg_iov = &iov, .msg_iovlen = 1 };
	union control control = { 0 };
	ssize_t sent;

	if (count > FF_FDS_MAX)
		return -EINVAL;
	if (count) {
		header.msg_control = control.room;
		header.msg_controllen = CMSG_SPACE(count * sizeof(int));
		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		control.align.cmsg_len = CMSG_LEN(count * sizeof(int));
		memcpy(CMSG_DATA(&control.align), fds, count * sizeof(int));
	}
	do {
		sent = sendmsg(socket, &header, flags | MSG_NOSIGNAL);
	} while (sent < 0 && errno == EINTR);
	return sent < 0 ? -errno : sent;
}

/* The fds of a message that has come, to fds. How many. */
static size_t take_fds(struct msghdr *header, int *fds)
{
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(header);
	size_t size;

	if (!cmsg || cmsg->cmsg_level != SOL_SOCKET ||
		cmsg->cmsg_type != SCM_RIGHTS)
		return 0;
	size = cmsg->cmsg_len - CMSG_LEN(0);
	memcpy(fds, CMSG_DATA(cmsg), size);
	return size / sizeof(int);
}

int ff_fds_receive(int socket, void *bytes, size_t size, int *fds, size_t room)
{
	struct iovec iov = { bytes, size };
	struct msghdr header = { .msg_iov = &iov, .msg_iovlen = 1 };
	union control control = { 0 };
	size_t count;
	ssize_t got;

	if (room > FF_FDS_MAX)
		room = FF_FDS_MAX;
	/* With CMSG_SPACE there would be room for one more. */
	if (room) {
		header.msg_control = control.room;
		header.msg_controllen = CMSG_LEN(room * sizeof(int));
	}
	do {
		got = recvmsg(socket, &header, MSG_CMSG_CLOEXEC);
	} while (got < 0 && errno == EINTR);
	if (got <= 0)
		return got < 0 ? -errno : -EPIPE;
	count = take_fds(&header, fds);
	if ((size_t)got == size &&
		!(header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)))
		return (int)count;
	while (count)
		close(fds[--count]);
	return header.msg_flags & MSG_TRUNC || (size_t)got != size ? -EPROTO :
								     -EMFILE;
}
