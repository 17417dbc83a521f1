/* SPDX-License-Identifier: MIT */
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "crossing.h"

int ff_connect_pair(const char *path, int end[2])
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int bad = 1;

	end[0] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listening < 0 || end[0] < 0 ||
		strlen(path) >= sizeof(addr.sun_path))
		return -1;
	strcpy(addr.sun_path, path);
	if (!bind(listening, (struct sockaddr *)&addr, sizeof(addr))) {
		bad = listen(listening, 1) ||
		      connect(end[0], (struct sockaddr *)&addr, sizeof(addr));
		unlink(path);
	}
	end[1] = bad ? -1 : accept4(listening, NULL, NULL, SOCK_CLOEXEC);
	close(listening);
	return end[1] < 0 ? -1 : 0;
}

void ff_parcel_init(struct ff_parcel *p, int fd)
{
	/* opcode, minor, length in units of 4 bytes (little-endian) */
	*p = (struct ff_parcel){.request = {149, 4, 4}};
	p->part = (struct iovec){p->request, sizeof(p->request)};
	p->header.msg_iov = &p->part;
	p->header.msg_iovlen = 1;
	p->header.msg_control = p->control.bytes;
	p->header.msg_controllen = sizeof(p->control.bytes);
	*CMSG_FIRSTHDR(&p->header) = (struct cmsghdr){
		.cmsg_level = SOL_SOCKET,
		.cmsg_type = SCM_RIGHTS,
		.cmsg_len = CMSG_LEN(sizeof(int)),
	};
	memcpy(CMSG_DATA(CMSG_FIRSTHDR(&p->header)), &fd, sizeof(fd));
}

int ff_receive_fd(int socket)
{
	struct ff_parcel p;
	struct cmsghdr *c;
	int fd = -1;

	ff_parcel_init(&p, -1);
	if (recvmsg(socket, &p.header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT) !=
		sizeof(p.request))
		return -1;
	c = CMSG_FIRSTHDR(&p.header);
	if (c && c->cmsg_type == SCM_RIGHTS)
		memcpy(&fd, CMSG_DATA(c), sizeof(fd));
	return fd;
}
