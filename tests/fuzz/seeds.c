/* SPDX-License-Identifier: MIT */
/* Write the fuzzers' first inputs into the directories DIR/wire, DIR/x11 and
 * DIR/reply. */
#include "futexwatch/wire.h"

#include <stdio.h>
#include <string.h>

static const char *dir;

static int save(const char *target, unsigned int number, const void *head,
	size_t head_size, const void *body, size_t body_size)
{
	char path[4096];
	FILE *file;
	int is_bad;

	snprintf(path, sizeof(path), "%s/%s/%02u", dir, target, number);
	file = fopen(path, "w");
	if (!file) {
		perror(path);
		return 1;
	}
	is_bad = fwrite(head, 1, head_size, file) != head_size ||
		 fwrite(body, 1, body_size, file) != body_size;
	return fclose(file) || is_bad;
}

/* All kinds of messages, each alone, then all in one stream. */
static int save_wire(void)
{
	static const struct ff_wire messages[] = {
		{.type = FF_WIRE_HELLO,
			.version = FF_WIRE_VERSION,
			.features = FF_WIRE_ISOLATED,
			.guest = "guest",
			.kernel = "kernel"},
		{.type = FF_WIRE_HELLO, .version = FF_WIRE_VERSION + 1},
		{.type = FF_WIRE_NEW,
			.id = 1,
			.offset = 4,
			.name = "fenceferry-0123abcd-0123456789abcdef"},
		{.type = FF_WIRE_NEW, .id = 2}, /* its fd comes along */
		{.type = FF_WIRE_ACCEPTED, .id = 1},
		{.type = FF_WIRE_REFUSED, .id = 2, .reason = FF_WIRE_NO_FILE},
		{.type = FF_WIRE_REFUSED, .reason = FF_WIRE_BAD_VERSION},
		{.type = FF_WIRE_WAKE, .id = 1, .count = 0x7fffffff},
		{.type = FF_WIRE_GONE, .id = 1},
		{.type = FF_WIRE_PING, .id = 7},
		{.type = FF_WIRE_PONG, .id = 7},
	};
	enum { COUNT = sizeof(messages) / sizeof(*messages) };
	static const unsigned char whole[9] = {
		0, 255, 255, 255, 255, 255, 255, 255, 255};
	static const unsigned char fds[9] = {2, 64, 1, 63, 0, 100, 255, 7, 3};
	static const unsigned char astray[9] = {
		6, 64, 1, 63, 0, 100, 255, 7, 3};
	static const unsigned char split[9] = {1, 64, 1, 63, 0, 100, 255, 7, 3};
	unsigned char bytes[COUNT * FF_WIRE_SIZE], row[16 * FF_WIRE_SIZE];
	unsigned int number = 0;

	for (unsigned int i = 0; i < 16; i++)
		ff_wire_encode(&(struct ff_wire){.type = i % 4 == 3 ?
				FF_WIRE_PING : FF_WIRE_NEW,
				.id = i + 1},
			row + i * FF_WIRE_SIZE);

	for (unsigned int i = 0; i < COUNT; i++) {
		ff_wire_encode(&messages[i], bytes + i * FF_WIRE_SIZE);
		if (save("wire", number++, whole, sizeof(whole),
			    bytes + i * FF_WIRE_SIZE, FF_WIRE_SIZE))
			return 1;
	}
	return save("wire", number++, whole, sizeof(whole), bytes,
		       sizeof(bytes)) ||
	       save("wire", number++, split, sizeof(split), bytes,
		       sizeof(bytes)) ||
	       /* with fds as they should come, and not */
	       save("wire", number++, fds, sizeof(fds), bytes,
		       sizeof(bytes)) ||
	       save("wire", number++, fds, sizeof(fds), row, sizeof(row)) ||
	       save("wire", number++, astray, sizeof(astray), row,
		       sizeof(row)) ||
	       /* from a device, with two messages cut */
	       save("wire", number++, split, sizeof(split), bytes + 40,
		       sizeof(bytes) - 40) ||
	       save("wire", number, split, sizeof(split),
		       bytes + 2 * FF_WIRE_SIZE + 30,
		       sizeof(bytes) - 2 * FF_WIRE_SIZE - 30);
}

/* A message of requests, of size bytes, with its fds. */
struct requests {
	unsigned char fds;
	unsigned char units_unread;
	const char *bytes;
	size_t size;
};

#define REQUESTS(fds, unread, text)                                            \
	{                                                                      \
		fds, unread, text, sizeof(text) - 1                            \
	}
#define FENCE "\x95\4\4\0\1\0\x20\0\2\0\x20\0\0\0\0\0"
#define ATTACH "\x82\6\3\0\6\0\x20\0\0\0\0\0"
#define MAP "\x08\0\2\0\1\0\x20\0"

static int save_x11(void)
{
	static const struct requests messages[] = {
		REQUESTS(1, 0, FENCE),
		REQUESTS(1, 0, "\x95\4\0\4\0\x20\0\1\0\x20\0\2\0\0\0\0"),
		/* with lengths of BIG-REQUESTS */
		REQUESTS(
			1, 0, "\x95\4\0\0\5\0\0\0\1\0\x20\0\2\0\x20\0\0\0\0\0"),
		REQUESTS(
			1, 0, "\x95\4\0\0\0\0\0\5\0\x20\0\1\0\x20\0\2\0\0\0\0"),
		REQUESTS(1, 0, ATTACH),
		REQUESTS(1, 0,
			"\x95\2\6\0\3\0\x20\0\1\0\x20\0\0\x20\0\0"
			"\x40\0\x20\0\0\1\x18\x20"),
		/* PixmapFromBuffers of two planes */
		REQUESTS(2, 0,
			"\x95\7\x10\0\4\0\x20\0\1\0\x20\0\2\0\0\0"
			"\x40\0\x20\0\0\1\0\0\0\0\0\0\0\1\0\0"
			"\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
			"\x18\x20\0\0\0\0\0\0\0\0\0\0"),
		REQUESTS(1, 0, "\x95\12\3\0\5\0\x20\0\1\0\x20\0"),
		REQUESTS(0, 0, MAP "\x95\0\3\0\1\0\0\0\2\0\0\0"),
		REQUESTS(2, 0, MAP FENCE MAP ATTACH MAP),
		REQUESTS(1, 2, FENCE MAP),
		REQUESTS(1, 16, FENCE "\x08\0\x10\0"),
	};
	unsigned int count = sizeof(messages) / sizeof(*messages);

	for (unsigned int i = 0; i < count; i++) {
		unsigned char head[] = {0x95, 0x82, 0x86, 0x94, messages[i].fds,
			messages[i].units_unread};

		if (save("x11", i, head, sizeof(head), messages[i].bytes,
			    messages[i].size))
			return 1;
	}
	return 0;
}

#define ZERO8 "\0\0\0\0\0\0\0\0"
#define PLAIN "\1\1\x34\x12\0\0\0\0" ZERO8 ZERO8 ZERO8
#define FOCUS "\1\1\x33\x12\0\0\0\0\1\0\x20\0\0\0\0\0" ZERO8 ZERO8
#define BUFFER                                                                 \
	"\1\1\x35\x12\0\0\0\0\0\x20\0\0\x40\0\x20\0\0\1\x18\x20\0\0\0\0"   \
	ZERO8
#define BUFFERS                                                                \
	"\1\2\x36\x12\4\0\0\0\x40\0\x20\0\0\0\0\0\1\0\0\0\0\0\0\1"         \
	"\x18\x20\0\0\0\0\0\0\0\1\0\0\0\1\0\0\0\0\0\0\0\x20\0\0"
#define PROPERTY                                                               \
	"\1\x8\x33\x12\1\0\0\0\x1f\0\0\0\0\0\0\0\4\0\0\0\0\0\0\0" ZERO8    \
	"abcd"
#define GENERIC "\x23\x95\x30\x12\1\0\0\0" ZERO8 ZERO8 ZERO8 "abcd"

/* fds, what they are, and what is to be read */
static int save_reply(void)
{
	static const struct {
		char head[9];
		const char *bytes;
		size_t size;
	} streams[] = {
#define STREAM(head, text) {head, text, sizeof(text) - 1}
		STREAM("\1\1", PLAIN),
		STREAM("\1\2", FOCUS PLAIN),
		STREAM("\1\3", GENERIC PROPERTY PLAIN FOCUS),
		STREAM("\1\4", BUFFER),
		STREAM("\2\4\4", PROPERTY BUFFERS),
		STREAM("\4\2\4\4\4", PLAIN BUFFERS FOCUS BUFFER),
		/* from within a packet */
		STREAM("\1\2", "abcde" PLAIN),
	};

	for (unsigned int i = 0; i < sizeof(streams) / sizeof(*streams); i++)
		if (save("reply", i, streams[i].head, sizeof(streams[i].head),
			    streams[i].bytes, streams[i].size))
			return 1;
	return 0;
}

int main(int argc, char **argv)
{
	if (argc != 2)
		return 2;
	dir = argv[1];
	return save_wire() || save_x11() || save_reply();
}
