/* SPDX-License-Identifier: MIT */
#ifndef FF_BENCH_CROSSING_H
#define FF_BENCH_CROSSING_H

#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

/* How a fence's fd goes to an X server: a server that is nothing but the other
 * end of a socket. */

/* A message with one fd, as libxcb sends DRI3's FenceFromFD. It is not to be
 * moved. */
struct ff_parcel {
	struct msghdr header;
	struct iovec part;
	uint8_t request[16];
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
};

void ff_parcel_init(struct ff_parcel *parcel, int fd);

/* Both ends of a connection whose peer's address is path, which is gone when
 * this returns. 0 or -1. */
int ff_connect_pair(const char *path, int end[2]);

/* Take the fd that crossed, without blocking; -1 if none came. */
int ff_receive_fd(int socket);

#endif
