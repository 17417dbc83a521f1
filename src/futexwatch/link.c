/* SPDX-License-Identifier: MIT */
#include "link.h"

#include "fds.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { NO_FD = -1 };

void ff_link_init(struct ff_link *link, int fd, bool is_device)
{
	link->fd = fd;
	link->takes_fds = false;
	link->is_device = is_device;
	/* Nobody knows in what message of whom a device is just now. */
	link->is_lost = is_device;
	link->in_start = link->in_size = 0;
	link->out_start = link->out_size = 0;
	link->in_fd = link->taken_fd = link->out_fd = NO_FD;
}

static void drop_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = NO_FD;
}

void ff_link_close(struct ff_link *link)
{
	drop_fd(&link->fd);
	drop_fd(&link->in_fd);
	drop_fd(&link->taken_fd);
	drop_fd(&link->out_fd);
	ff_link_init(link, -1, link->is_device);
}

/* Move what is in a buffer to its beginning. */
static void pack(unsigned char *buffer, size_t *start, size_t size)
{
	if (*start)
		memmove(buffer, buffer + *start, size);
	*start = 0;
}

/* How many bytes to read: while an fd waits to be taken, up to the end of its
 * message at most, for the next one may bring another. */
static size_t count_wanted(const struct ff_link *link)
{
	if (link->in_fd == NO_FD)
		return sizeof(link->in) - link->in_size;
	return link->in_fd_end > link->in_size ?
		link->in_fd_end - link->in_size : 0;
}

/*
 * An fd has come, or was lost on the way. It came with the last byte that was
 * read: a sender sends nothing behind its message along with it, and the kernel
 * reads up to the end of what was sent with an fd, no further (unix(7)).
 */
static void note_fd(struct ff_link *link, struct msghdr *header, size_t got)
{
	size_t size = link->in_size + got;
	struct cmsghdr *rights = CMSG_FIRSTHDR(header);
	int fd = NO_FD;

	if (rights && rights->cmsg_level == SOL_SOCKET &&
		rights->cmsg_type == SCM_RIGHTS)
		memcpy(&fd, CMSG_DATA(rights), sizeof(fd));
	if (header->msg_flags & MSG_CTRUNC && fd < 0 && link->takes_fds)
		fd = -EMFILE;
	else if (header->msg_flags & MSG_CTRUNC || link->in_fd != NO_FD) {
		drop_fd(&fd);
		fd = -EBADMSG;
	}
	drop_fd(&link->in_fd);
	link->in_fd = fd;
	link->in_fd_end = (size + FF_WIRE_SIZE - 1) / FF_WIRE_SIZE *
		FF_WIRE_SIZE;
}

/* Devices have no fds to bring. Without room for control messages the kernel
 * drops them itself, and says that it did. */
static ssize_t read_some(struct ff_link *link, size_t size)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	void *to = link->in + link->in_size;
	struct iovec iov = { to, size };
	struct msghdr header = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t got;

	if (link->is_device)
		return read(link->fd, to, size);
	if (link->takes_fds) {
		header.msg_control = &control;
		header.msg_controllen = CMSG_LEN(sizeof(int));
	}
	got = recvmsg(link->fd, &header, MSG_CMSG_CLOEXEC);
	if (got > 0 && (header.msg_controllen ||
		header.msg_flags & MSG_CTRUNC))
		note_fd(link, &header, (size_t)got);
	return got;
}

int ff_link_fill(struct ff_link *link)
{
	size_t wanted = count_wanted(link);
	ssize_t got;

	pack(link->in, &link->in_start, link->in_size);
	if (!wanted)
		return 0;
	do
		got = read_some(link, wanted);
	while (got < 0 && errno == EINTR);
	if (got == 0)
		return -ECONNRESET;
	if (got < 0)
		return errno == EAGAIN ? 0 : -errno;
	link->in_size += (size_t)got;
	return 0;
}

static void drop(struct ff_link *link, size_t bytes)
{
	link->in_start += bytes;
	link->in_size -= bytes;
}

/*
 * Take a message from a device, where a peer may have ended in mid-message and
 * the next one begun: the start of a HELLO tells, wherever it is.
 */
static int take_from_device(struct ff_link *link, struct ff_wire *message)
{
	static const unsigned char start[] = {
		'F', 'F', 'R', 'Y', FF_WIRE_HELLO, 0};

	for (; link->in_size >= FF_WIRE_SIZE; drop(link, 1)) {
		const unsigned char *at = link->in + link->in_start;

		if (!ff_wire_decode(at, message) &&
			(!link->is_lost || message->type == FF_WIRE_HELLO) &&
			!memmem(at + 1, FF_WIRE_SIZE - 1, start,
				sizeof(start))) {
			link->is_lost = false;
			drop(link, FF_WIRE_SIZE);
			return 1;
		}
		link->is_lost = true;
	}
	return 0;
}

/* Has this message, the next one, the fd that it should have? Then that is
 * taken, too. 0 or -EBADMSG. */
static int take_its_fd(struct ff_link *link, const struct ff_wire *message)
{
	bool has_fd = link->in_fd != NO_FD && link->in_fd_end == FF_WIRE_SIZE;
	bool wants_fd = link->takes_fds && message->type == FF_WIRE_NEW &&
		!message->name[0];

	if (has_fd != wants_fd || (has_fd && link->in_fd == -EBADMSG))
		return -EBADMSG;
	if (has_fd) {
		link->taken_fd = link->in_fd;
		link->in_fd = NO_FD;
	} else if (link->in_fd != NO_FD) {
		link->in_fd_end -= FF_WIRE_SIZE;
	}
	return 0;
}

int ff_link_take(struct ff_link *link, struct ff_wire *message)
{
	drop_fd(&link->taken_fd);
	if (link->is_device)
		return take_from_device(link, message);
	if (link->in_size < FF_WIRE_SIZE)
		return 0;
	if (ff_wire_decode(link->in + link->in_start, message))
		return -EPROTO;
	if (take_its_fd(link, message))
		return -EBADMSG;
	drop(link, FF_WIRE_SIZE);
	return 1;
}

int ff_link_take_fd(struct ff_link *link)
{
	int fd = link->taken_fd;

	link->taken_fd = NO_FD;
	return fd;
}

void ff_link_skip(struct ff_link *link)
{
	drop_fd(&link->in_fd);
	link->in_start = link->in_size = 0;
}

size_t ff_link_room(const struct ff_link *link)
{
	return (sizeof(link->out) - link->out_size) / FF_WIRE_SIZE;
}

bool ff_link_put(struct ff_link *link, const struct ff_wire *message)
{
	if (!ff_link_room(link))
		return false;
	if (sizeof(link->out) - link->out_start - link->out_size < FF_WIRE_SIZE)
		pack(link->out, &link->out_start, link->out_size);
	ff_wire_encode(message, link->out + link->out_start + link->out_size);
	link->out_size += FF_WIRE_SIZE;
	return true;
}

bool ff_link_put_fd(struct ff_link *link, const struct ff_wire *message,
	int fd)
{
	size_t at = link->out_size;

	if (link->out_fd != NO_FD || !ff_link_put(link, message))
		return false;
	link->out_fd = fd;
	link->out_fd_at = at;
	return true;
}

/* Write without SIGPIPE, whatever fd is. */
static ssize_t write_some(int fd, const void *bytes, size_t size)
{
	ssize_t written;

	do {
		written = send(fd, bytes, size, MSG_NOSIGNAL);
		if (written < 0 && errno == ENOTSOCK)
			written = write(fd, bytes, size);
	} while (written < 0 && errno == EINTR);
	return written;
}

/* The message that an fd goes with, and nothing behind it. */
static ssize_t write_fd(struct ff_link *link)
{
	ssize_t written = ff_fds_send(link->fd, link->out + link->out_start,
		FF_WIRE_SIZE, &link->out_fd, 1, 0);

	if (written > 0)
		drop_fd(&link->out_fd);
	if (written >= 0)
		return written;
	errno = (int)-written;
	return -1;
}

/* Up to a message that has an fd, or that one. */
static ssize_t write_next(struct ff_link *link)
{
	size_t size = link->out_size;
	ssize_t written;

	if (link->out_fd != NO_FD && !link->out_fd_at)
		return write_fd(link);
	if (link->out_fd != NO_FD)
		size = link->out_fd_at;
	written = write_some(link->fd, link->out + link->out_start, size);
	if (written > 0 && link->out_fd != NO_FD)
		link->out_fd_at -= (size_t)written;
	return written;
}

int ff_link_flush(struct ff_link *link)
{
	while (link->out_size) {
		ssize_t written = write_next(link);

		if (written < 0)
			return errno == EAGAIN ? 0 : -errno;
		if (written == 0)
			return 0;
		link->out_start += (size_t)written;
		link->out_size -= (size_t)written;
	}
	link->out_start = 0;
	return 0;
}

bool ff_link_pending(const struct ff_link *link)
{
	return link->out_size > 0;
}
