/* SPDX-License-Identifier: MIT */
#ifndef FF_MESSAGE_H
#define FF_MESSAGE_H

#include "fds.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* What a sendmsg, sendmmsg or socketcall of another process is to send, and what
 * a recvmsg or recvmmsg has room for. */

/* How much of a message's bytes are looked at. */
#define FF_MESSAGE_MAX_DATA (1u << 20)

struct ff_message {
	int fds[FF_FDS_MAX]; /* numbers in the sender */
	size_t fd_count;
	uint64_t iov;		     /* address of its iovec array */
	uint64_t iov_count;
};

/* A trapped call that sends messages, or receives them. */
struct ff_send {
	int socket;	   /* fd in the caller */
	uint64_t messages; /* address of the first msghdr or mmsghdr */
	unsigned int count;
	bool many; /* mmsghdr */
	unsigned int word; /* bytes of a pointer in the caller */
};

/*
 * Understand the call nr with args of the ABI audit_arch, made by tid.
 * Returns 0; -ENOSYS if it sends nothing, else -errno of reading its memory.
 */
int ff_send_parse(pid_t tid, uint32_t audit_arch, int nr,
	const uint64_t args[6], struct ff_send *send);

/* The same for calls that receive: *receive has no messages' fds or bytes yet,
 * but where they are to go. */
int ff_receive_parse(pid_t tid, uint32_t audit_arch, int nr,
	const uint64_t args[6], struct ff_send *receive);

/* How many bytes, and fds of one message, the call has room for. 0 or -errno of
 * reading its memory. (Of very many messages the first are looked at.) */
int ff_receive_room(pid_t tid, const struct ff_send *receive, size_t *bytes,
	size_t *fds);

/* Read message index of the call, its fds but not its bytes. 0 or -errno. */
int ff_message_read(pid_t tid, const struct ff_send *send, unsigned int index,
	struct ff_message *message);

/*
 * Read up to size bytes of what the message says. *total becomes its length,
 * which may be more. Returns how many were read, or -errno.
 */
ssize_t ff_message_data(pid_t tid, const struct ff_send *send,
	const struct ff_message *message, void *buffer, size_t size,
	size_t *total);

#endif
