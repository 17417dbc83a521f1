/* SPDX-License-Identifier: MIT */
#ifndef FF_FDS_H
#define FF_FDS_H

#include <stddef.h>
#include <sys/types.h>

/*
 * Messages with fds, by unix sockets, between processes that are all ours. What
 * the client sends is read by message.h and replies.h. Nothing is allocated:
 * both may be called after a fork.
 */

#define FF_FDS_MAX 253 /* SCM_MAX_FD: no message carries more */

/*
 * Send size bytes, and with them count fds, which stay the caller's. flags are
 * sendmsg's, beside MSG_NOSIGNAL. Returns how many bytes went, all but on a
 * stream that has no room for more, or -errno; a signal does not end it.
 */
ssize_t ff_fds_send(int socket, const void *bytes, size_t size, const int *fds,
	size_t count, int flags);

/*
 * Receive a message of size bytes, with room for so many fds at most: they are
 * the caller's, and close-on-exec. Returns how many came, or -errno, and then
 * no fd stays open: -EPIPE: the other end is closed; -EPROTO: a message of
 * another size; -EMFILE: the message has come, and had more fds than there was
 * room for, here or in the process's table. A signal does not end it.
 */
int ff_fds_receive(int socket, void *bytes, size_t size, int *fds, size_t room);

#endif
