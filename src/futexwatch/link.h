/* SPDX-License-Identifier: MIT */
#ifndef FF_FUTEXWATCH_LINK_H
#define FF_FUTEXWATCH_LINK_H

#include "error.h"
#include "wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/un.h>

/* Where the relay's messages go through: unix sockets, vsock, character
 * devices. Nothing here blocks but ff_link_connect, with a deadline. */

enum ff_transport { FF_UNIX, FF_VSOCK, FF_CHAR };

enum ff_end { FF_GUEST, FF_HOST };

struct ff_address {
	enum ff_transport transport;
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	unsigned int cid, port;
};

/*
 * Understand unix:PATH, char:PATH and vsock:CID:PORT (at the host's end
 * vsock:PORT). unix:@NAME is an abstract socket. 0, or -EINVAL with *error
 * filled: it names the text and what is wrong with it.
 */
int ff_address_parse(const char *text, enum ff_end end,
	struct ff_address *address, struct ff_error *error);

/*
 * Connect, or open the device (a char: path that is a socket is connected to:
 * VMMs have such). Returns a non-blocking, close-on-exec fd; or -errno with
 * *error filled (nobody there, refused, permission: which, and the way out).
 * With timeout_ms 0 a vsock's fd may still be connecting: it polls POLLOUT when
 * it is done, and SO_ERROR tells how.
 */
int ff_link_connect(const struct ff_address *address, int timeout_ms,
	struct ff_error *error);

/*
 * Listen on a unix or vsock address. A unix socket that nobody listens on any
 * more is replaced; one that somebody does is -EADDRINUSE. Mode 0600. An fd as
 * above, or -errno with *error filled.
 */
int ff_link_listen(const struct ff_address *address, struct ff_error *error);

/* How many messages wait in each direction at most. */
#define FF_LINK_MESSAGES 64

/* A stream of messages. */
struct ff_link {
	int fd;
	/* On a unix socket: an fd may come with each NEW that has no name. */
	bool takes_fds;
	/* A device has no beginning and end of connections: what does not
	 * decode is skipped up to the next HELLO, and a HELLO may come in the
	 * middle of another message. */
	bool is_device;
	bool is_lost; /* skips up to the next HELLO; devices begin so */
	unsigned char in[FF_LINK_MESSAGES * FF_WIRE_SIZE];
	unsigned char out[FF_LINK_MESSAGES * FF_WIRE_SIZE];
	size_t in_start, in_size, out_start, out_size; /* bytes */
	/* One fd at a time in each direction: then neither of the two ends can
	 * fill the other's table. */
	int in_fd, taken_fd, out_fd;
	size_t in_fd_end; /* of its message, from in_start */
	size_t out_fd_at; /* beginning of its message, from out_start */
};

/* Take fd, which the link closes. */
void ff_link_init(struct ff_link *link, int fd, bool is_device);
void ff_link_close(struct ff_link *link);

/* Read what there is. 0; -ECONNRESET or another -errno: it has ended (what was
 * read before it can still be taken). */
int ff_link_fill(struct ff_link *link);

/*
 * Take a message: 1 if *message was filled, 0 if there is none whole. Never
 * from a device: -EPROTO: garbage; -EBADMSG: an fd came with a message that has
 * no use for one, or with one that has none came, or came several.
 */
int ff_link_take(struct ff_link *link, struct ff_wire *message);

/* The fd that came with the message taken last, which is the caller's then; it
 * is closed when the next is taken. -1: none; -EMFILE: there was no room. */
int ff_link_take_fd(struct ff_link *link);

/* Forget all that was read. */
void ff_link_skip(struct ff_link *link);

/* Put a message to be written. False if there is no room. */
bool ff_link_put(struct ff_link *link, const struct ff_wire *message);

/* The same with an fd, which is the link's then. There is no room either while
 * another one waits to be written. */
bool ff_link_put_fd(struct ff_link *link, const struct ff_wire *message,
	int fd);
size_t ff_link_room(const struct ff_link *link); /* messages */

/* Write what can be written without blocking. 0 or -errno: it has ended. */
int ff_link_flush(struct ff_link *link);

/* Is anything still to be written? */
bool ff_link_pending(const struct ff_link *link);

#endif
