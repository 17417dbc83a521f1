/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer target: the relay's messages and their framing. The input is a
 * byte whose lowest bit says whether it comes from a device, eight that say in
 * what pieces it is read and written, and the stream.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

/* What stands in for the kernel. */
static ssize_t piece_read(int fd, void *buffer, size_t size);
static ssize_t piece_send(int fd, const void *bytes, size_t size, int flags);

#include <sys/socket.h>
#include <unistd.h>
#define read piece_read
#define send piece_send
#include "futexwatch/link.c"
#undef read
#undef send

enum { PIECES = 8, MAX_MESSAGES = 64 };

static const uint8_t *pieces;
static size_t next_piece;
static const uint8_t *stream;
static size_t stream_size;
static uint8_t *written;
static size_t written_size;

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

/* Take all there is in these pieces: how many, and by what it ended. */
static size_t take_all(struct ff_link *link, const uint8_t *data, size_t size,
	const uint8_t *in_pieces, struct ff_wire *messages, int *end)
{
	size_t count = 0;
	int rc, filled;

	pieces = in_pieces;
	next_piece = 0;
	stream = data;
	stream_size = size;
	do {
		filled = ff_link_fill(link);
		must(filled == 0 || filled == -ECONNRESET);
		while ((rc = ff_link_take(link, &messages[count])) == 1)
			must(++count < MAX_MESSAGES);
		must(link->in_size < FF_WIRE_SIZE || rc == -EPROTO);
	} while (filled == 0 && rc == 0);
	*end = rc;
	return count;
}

/* What is taken does not depend on the pieces in which it came. */
static size_t check_take(bool is_device, const uint8_t *data, size_t size,
	const uint8_t *in_pieces, struct ff_wire *messages)
{
	struct ff_link *link = malloc(sizeof(*link));
	struct ff_wire *others = calloc(MAX_MESSAGES, sizeof(*others));
	int end, other_end;
	size_t count;

	must(link && others);
	ff_link_init(link, -1, is_device);
	count = take_all(link, data, size, in_pieces, messages, &end);
	ff_link_init(link, -1, is_device);
	must(count == take_all(link, data, size, NULL, others, &other_end));
	must(end == other_end);
	must(!is_device || end == 0);
	must(!is_device || !count || messages[0].type == FF_WIRE_HELLO);
	for (size_t i = 0; i < count; i++)
		must(memcmp(&messages[i], &others[i], sizeof(*messages)) == 0);
	free(others);
	free(link);
	return count;
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
		if (put < count && ff_link_put(link, &messages[put]))
			put++;
		else
			must(put == count || !ff_link_room(link));
		must(ff_link_flush(link) == 0);
	}
	must(written_size == count * FF_WIRE_SIZE);
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
	bool is_device;
	size_t count;

	if (size < 1 + PIECES ||
		size > 1 + PIECES + (MAX_MESSAGES - 1) * FF_WIRE_SIZE)
		return 0;
	is_device = data[0] & 1;
	memcpy(in_pieces, data + 1, PIECES);
	if (!in_pieces[0]) /* or nothing would ever go on */
		in_pieces[0] = 1;
	data += 1 + PIECES;
	size -= 1 + PIECES;
	for (size_t at = 0; at + FF_WIRE_SIZE <= size; at += FF_WIRE_SIZE)
		check_decode(data + at);

	messages = calloc(MAX_MESSAGES, sizeof(*messages));
	must(messages != NULL);
	count = check_take(is_device, data, size, in_pieces, messages);
	pieces = in_pieces;
	check_put(messages, count);
	free(messages);
	return 0;
}
