/* SPDX-License-Identifier: MIT */
#include "link.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

void ff_link_init(struct ff_link *link, int fd, bool is_device)
{
	link->fd = fd;
	link->is_device = is_device;
	/* Nobody knows in what message of whom a device is just now. */
	link->is_lost = is_device;
	link->in_start = link->in_size = 0;
	link->out_start = link->out_size = 0;
}

void ff_link_close(struct ff_link *link)
{
	if (link->fd >= 0)
		close(link->fd);
	ff_link_init(link, -1, link->is_device);
}

/* Move what is in a buffer to its beginning. */
static void pack(unsigned char *buffer, size_t *start, size_t size)
{
	if (*start)
		memmove(buffer, buffer + *start, size);
	*start = 0;
}

int ff_link_fill(struct ff_link *link)
{
	ssize_t got;

	pack(link->in, &link->in_start, link->in_size);
	if (link->in_size == sizeof(link->in))
		return 0;
	do
		got = read(link->fd, link->in + link->in_size,
			sizeof(link->in) - link->in_size);
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

int ff_link_take(struct ff_link *link, struct ff_wire *message)
{
	if (link->is_device)
		return take_from_device(link, message);
	if (link->in_size < FF_WIRE_SIZE)
		return 0;
	if (ff_wire_decode(link->in + link->in_start, message))
		return -EPROTO;
	drop(link, FF_WIRE_SIZE);
	return 1;
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

int ff_link_flush(struct ff_link *link)
{
	while (link->out_size) {
		ssize_t written = write_some(
			link->fd, link->out + link->out_start, link->out_size);

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
