/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer target: the relay's messages and their framing. The input is a
 * byte, eight that say in what pieces it is read and written, and the stream.
 * The byte's bits: it comes from a device; fds are taken; they come as they
 * should not.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

/* What stands in for the kernel. */
static ssize_t piece_read(int fd, void *buffer, size_t size);
static ssize_t piece_send(int fd, const void *bytes, size_t size, int flags);
struct msghdr;
static ssize_t piece_recvmsg(int fd, struct msghdr *header, int flags);
static ssize_t piece_sendmsg(int fd, const struct msghdr *header, int flags);
static int piece_close(int fd);

#include <sys/socket.h>
#include <unistd.h>
#define read piece_read
#define send piece_send
#define recvmsg piece_recvmsg
#define sendmsg piece_sendmsg
#define close piece_close
#include "fds.c"
#include "futexwatch/link.c"
#undef read
#undef send
#undef recvmsg
#undef sendmsg
#undef close

enum { PIECES = 8, MAX_MESSAGES = 64, STREAM_MAX = 64 * FF_WIRE_SIZE };
enum { FROM_DEVICE = 1, TAKES_FDS = 2, FDS_ASTRAY = 4 };
/* The number of an fd tells with what it came. */
enum { FIRST_FD = 1000, LAST_FD = FIRST_FD + STREAM_MAX };

static const uint8_t *pieces;
static size_t next_piece;
static const uint8_t *stream;
static size_t stream_size;
static uint8_t *written;
static size_t written_size;
static size_t stream_at;
/* What was sent at once with an fd; 0: without. And whether it has arrived. */
static uint16_t sent_with[STREAM_MAX];
static bool has_arrived[LAST_FD - FIRST_FD];
static bool is_open[LAST_FD - FIRST_FD];
static unsigned int open_fds;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int condition)
{
	if (!condition)
		abort();
}

static size_t take_piece(size_t most)
{
	size_t piece = pieces ? pieces[next_piece++ % PIECES] : most;

	return piece < most ? piece : most;
}

static ssize_t piece_read(int fd, void *buffer, size_t size)
{
	size_t piece = take_piece(size < stream_size ? size : stream_size);

	(void)fd;
	if (!stream_size)
		return 0;
	if (!piece) {
		errno = EAGAIN;
		return -1;
	}
	memcpy(buffer, stream, piece);
	stream += piece;
	stream_size -= piece;
	return (ssize_t)piece;
}

static ssize_t piece_send(int fd, const void *bytes, size_t size, int flags)
{
	size_t piece = take_piece(size);

	(void)fd;
	must(flags & MSG_NOSIGNAL);
	if (!piece) {
		errno = EAGAIN;
		return -1;
	}
	memcpy(written + written_size, bytes, piece);
	written_size += piece;
	return (ssize_t)piece;
}

/* Where the kernel stops: behind what was sent with an fd that it hands out. */
static size_t count_readable(size_t most, uint16_t *brings)
{
	const uint16_t *with = sent_with + stream_at;
	size_t size = 0;

	*brings = 0;
	for (; size < most; size++) {
		if (*brings && with[size] != *brings)
			break;
		if (with[size] && !has_arrived[with[size]])
			*brings = with[size];
	}
	return size;
}

static void open_fd(int fd)
{
	must(!is_open[fd - FIRST_FD]);
	is_open[fd - FIRST_FD] = true;
	open_fds++;
}

static int piece_close(int fd)
{
	must(fd >= FIRST_FD && fd < LAST_FD && is_open[fd - FIRST_FD]);
	is_open[fd - FIRST_FD] = false;
	open_fds--;
	return 0;
}

static ssize_t piece_recvmsg(int fd, struct msghdr *header, int flags)
{
	size_t room = header->msg_controllen, size;
	struct cmsghdr *rights = CMSG_FIRSTHDR(header);
	int number;
	uint16_t brings;

	must(flags & MSG_CMSG_CLOEXEC && header->msg_iovlen == 1);
	size = header->msg_iov->iov_len;
	size = take_piece(size < stream_size ? size : stream_size);
	size = count_readable(size, &brings);
	header->msg_controllen = 0;
	header->msg_flags = 0;
	if (stream_size && !size) {
		errno = EAGAIN;
		return -1;
	}
	if (brings) {
		has_arrived[brings] = true;
		/* Now and then there are two, or there is no room. */
		if (room < CMSG_LEN(sizeof(int)) || brings % 16 >= 14)
			header->msg_flags = MSG_CTRUNC;
	}
	if (brings && room >= CMSG_LEN(sizeof(int)) && brings % 16 < 15) {
		number = FIRST_FD + brings;
		open_fd(number);
		rights->cmsg_level = SOL_SOCKET;
		rights->cmsg_type = SCM_RIGHTS;
		rights->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(rights), &number, sizeof(number));
		header->msg_controllen = room;
	}
	(void)fd;
	memcpy(header->msg_iov->iov_base, stream, size);
	stream += size;
	stream_at += size;
	stream_size -= size;
	return (ssize_t)size;
}

static ssize_t piece_sendmsg(int fd, const struct msghdr *header, int flags)
{
	struct cmsghdr *rights = CMSG_FIRSTHDR(header);
	int number;

	must(rights && rights->cmsg_type == SCM_RIGHTS);
	memcpy(&number, CMSG_DATA(rights), sizeof(number));
	must(header->msg_iov->iov_len == FF_WIRE_SIZE);
	must(is_open[number - FIRST_FD]);
	must((size_t)(number - FIRST_FD) * FF_WIRE_SIZE == written_size);
	return piece_send(fd, header->msg_iov->iov_base, FF_WIRE_SIZE, flags);
}

static bool is_nameless(const uint8_t *bytes)
{
	struct ff_wire message;

	return !ff_wire_decode(bytes, &message) &&
	       message.type == FF_WIRE_NEW && !message.name[0];
}

/* Fds as they should come: with part of the message at least, and nothing
 * behind it. Or as they should not. */
static void place_fds(int kind, const uint8_t *data, size_t size,
	const uint8_t *in_pieces)
{
	uint16_t number = 0;

	memset(sent_with, 0, sizeof(sent_with));
	if (kind & FDS_ASTRAY) {
		for (size_t at = in_pieces[0]; at < size; number++) {
			size_t length = 1u + in_pieces[number % PIECES];

			for (; length && at < size; length--)
				sent_with[at++] = number + 1;
			at += in_pieces[(number + 3) % PIECES];
		}
		return;
	}
	for (size_t at = 0; at + FF_WIRE_SIZE <= size; at += FF_WIRE_SIZE) {
		size_t length = 1u + in_pieces[number % PIECES] % FF_WIRE_SIZE;

		if (!(kind & TAKES_FDS) || !is_nameless(data + at))
			continue;
		number++;
		if (number % 16 == 14 || number % 16 == 15)
			number += 2; /* these come to nothing */
		for (size_t i = 0; i < length; i++)
			sent_with[at + i] = number;
	}
}

static void check_decode(const uint8_t *bytes)
{
	/* On the heap, so that the sanitizer sees the end. */
	unsigned char *again = malloc(FF_WIRE_SIZE);
	unsigned char *copy = malloc(FF_WIRE_SIZE);
	struct ff_wire message;

	must(again && copy);
	memcpy(copy, bytes, FF_WIRE_SIZE);
	if (!ff_wire_decode(copy, &message)) {
		ff_wire_encode(&message, again);
		must(memchr(message.name, '\0', FF_WIRE_NAME) != NULL);
		must(ff_wire_reason_text(message.reason) != NULL);
		must(memcmp(copy, again,
			     message.type == FF_WIRE_HELLO &&
					     message.version != FF_WIRE_VERSION
				     ? 20
				     : FF_WIRE_SIZE) == 0);
	}
	free(again);
	free(copy);
}

/* The message that was taken has the fd that it should. */
static void check_fd(struct ff_link *link, int kind,
	const struct ff_wire *message, unsigned int *nameless)
{
	bool wants_fd = (kind & TAKES_FDS) && !(kind & FROM_DEVICE) &&
		message->type == FF_WIRE_NEW && !message->name[0];
	int fd = ff_link_take_fd(link);

	must(open_fds <= 2);
	must(wants_fd ? fd >= FIRST_FD || fd == -EMFILE : fd == -1);
	if (!wants_fd)
		return;
	++*nameless;
	if (*nameless % 16 == 14 || *nameless % 16 == 15)
		*nameless += 2;
	must(kind & FDS_ASTRAY || fd == FIRST_FD + (int)*nameless);
	if (fd >= 0 && *nameless % 2) /* or it is left to the link */
		piece_close(fd);
	else
		link->taken_fd = fd;
}

/* Take all there is in these pieces: how many, and by what it ended. */
static size_t take_all(struct ff_link *link, int kind, const uint8_t *data,
	size_t size, const uint8_t *in_pieces, struct ff_wire *messages,
	int *end)
{
	unsigned int nameless = 0;
	size_t count = 0;
	int rc, filled;

	pieces = in_pieces;
	next_piece = 0;
	stream = data;
	stream_at = 0;
	stream_size = size;
	memset(has_arrived, 0, sizeof(has_arrived));
	do {
		filled = ff_link_fill(link);
		must(filled == 0 || filled == -ECONNRESET);
		while ((rc = ff_link_take(link, &messages[count])) == 1) {
			check_fd(link, kind, &messages[count], &nameless);
			must(++count < MAX_MESSAGES);
		}
		must(link->in_size < FF_WIRE_SIZE || rc < 0);
		must(open_fds <= 1);
	} while (filled == 0 && rc == 0);
	*end = rc;
	ff_link_close(link);
	must(!open_fds);
	return count;
}

/* What is taken does not depend on the pieces in which it came. */
static size_t check_take(int kind, const uint8_t *data, size_t size,
	const uint8_t *in_pieces, struct ff_wire *messages)
{
	struct ff_link *link = malloc(sizeof(*link));
	struct ff_wire *others = calloc(MAX_MESSAGES, sizeof(*others));
	bool is_device = kind & FROM_DEVICE;
	int end, other_end;
	size_t count;

	must(link && others);
	ff_link_init(link, -1, is_device);
	link->takes_fds = kind & TAKES_FDS;
	count = take_all(link, kind, data, size, in_pieces, messages, &end);
	ff_link_init(link, -1, is_device);
	link->takes_fds = kind & TAKES_FDS;
	/* But fds astray may be told of earlier or later. */
	if (is_device || !(kind & FDS_ASTRAY)) {
		must(count == take_all(link, kind, data, size, NULL, others,
			&other_end));
		must(end == other_end);
		for (size_t i = 0; i < count; i++)
			must(memcmp(&messages[i], &others[i],
				     sizeof(*messages)) == 0);
	}
	must(!is_device || end == 0);
	must(!is_device || !count || messages[0].type == FF_WIRE_HELLO);
	free(others);
	free(link);
	return count;
}

/* With an fd, if it is such a message. */
static bool put_one(struct ff_link *link, const struct ff_wire *message,
	size_t number)
{
	int fd = FIRST_FD + (int)number;

	if (message->type != FF_WIRE_NEW || message->name[0])
		return ff_link_put(link, message);
	open_fd(fd);
	if (ff_link_put_fd(link, message, fd))
		return true;
	piece_close(fd);
	return false;
}

/* What is put is written, whole and in order. */
static void check_put(const struct ff_wire *messages, size_t count)
{
	struct ff_link *link = malloc(sizeof(*link));
	size_t put = 0;

	written = malloc(count * FF_WIRE_SIZE + 1);
	must(link && written);
	written_size = 0;
	next_piece = 0;
	ff_link_init(link, -1, false);
	while (put < count || ff_link_pending(link)) {
		if (put < count && put_one(link, &messages[put], put))
			put++;
		else
			must(put == count || !ff_link_room(link) || open_fds);
		must(open_fds <= 1);
		must(ff_link_flush(link) == 0);
	}
	must(written_size == count * FF_WIRE_SIZE && !open_fds);
	for (size_t i = 0; i < count; i++) {
		unsigned char bytes[FF_WIRE_SIZE];

		ff_wire_encode(&messages[i], bytes);
		must(memcmp(written + i * FF_WIRE_SIZE, bytes, FF_WIRE_SIZE) ==
			0);
	}
	free(written);
	free(link);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ff_wire *messages;
	uint8_t in_pieces[PIECES];
	size_t count;
	int kind;

	if (size < 1 + PIECES ||
		size > 1 + PIECES + (MAX_MESSAGES - 1) * FF_WIRE_SIZE)
		return 0;
	kind = data[0];
	memcpy(in_pieces, data + 1, PIECES);
	if (!in_pieces[0]) /* or nothing would ever go on */
		in_pieces[0] = 1;
	data += 1 + PIECES;
	size -= 1 + PIECES;
	for (size_t at = 0; at + FF_WIRE_SIZE <= size; at += FF_WIRE_SIZE)
		check_decode(data + at);

	messages = calloc(MAX_MESSAGES, sizeof(*messages));
	must(messages != NULL);
	place_fds(kind, data, size, in_pieces);
	count = check_take(kind, data, size, in_pieces, messages);
	pieces = in_pieces;
	check_put(messages, count);
	free(messages);
	return 0;
}
