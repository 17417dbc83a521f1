/* SPDX-License-Identifier: MIT */
#include "reply.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

enum { PACKET = 32, ERROR = 0, REPLY = 1, GENERIC_EVENT = 35, SENT = 0x80 };

/* What is to be read, under one reading of its byte order. */
struct stream {
	const uint8_t *data;
	size_t size;
	bool swapped;
	bool strict; /* what is unused in a reply must be zero, as Xorg has it */
};

static uint16_t get16(const struct stream *s, const uint8_t *from)
{
	uint16_t value;

	memcpy(&value, from, sizeof(value));
	return s->swapped ? __builtin_bswap16(value) : value;
}

static uint32_t get32(const struct stream *s, const uint8_t *from)
{
	uint32_t value;

	memcpy(&value, from, sizeof(value));
	return s->swapped ? __builtin_bswap32(value) : value;
}

/* The bytes of the packet at offset, which is in data; 0: that is none. */
static size_t packet_bytes(const struct stream *s, size_t offset)
{
	const uint8_t *at = s->data + offset;
	uint8_t type = at[0];

	if (type == ERROR)
		return at[1] ? PACKET : 0;
	if (type == SENT + ERROR || type == SENT + REPLY)
		return 0;
	if (type != REPLY && (type & ~SENT) != GENERIC_EVENT)
		return PACKET;
	return PACKET + (size_t)get32(s, at + 4) * 4;
}

static bool is_zero(const uint8_t *at, size_t from, size_t to)
{
	while (from < to && !at[from])
		from++;
	return from == to;
}

static bool are_pixels(uint16_t width, uint16_t height, uint8_t depth,
	uint8_t bpp)
{
	return width && height && depth && depth <= bpp && bpp <= 128 &&
		bpp % 8 == 0;
}

/* DRI3.BufferFromPixmap: size, width, height, stride, depth, bpp. */
static bool is_buffer(const struct stream *s, const uint8_t *at)
{
	return get32(s, at + 8) && get16(s, at + 16) &&
		are_pixels(get16(s, at + 12), get16(s, at + 14), at[18],
			at[19]) &&
		(!s->strict || is_zero(at, 20, PACKET));
}

/* DRI3.BuffersFromPixmap: width, height, modifier, depth, bpp. */
static bool is_buffers(const struct stream *s, const uint8_t *at)
{
	return are_pixels(get16(s, at + 8), get16(s, at + 10), at[24],
			at[25]) &&
		(!s->strict || (is_zero(at, 12, 16) && is_zero(at, 26, PACKET)));
}

/* Which request has nothing but an fd in its reply? */
static const char *name_plain(enum ff_x11_goods goods)
{
	switch (goods) {
	case FF_X11_DEVICE:
		return "DRI3.Open";
	case FF_X11_WORD:
		return "DRI3.FDFromFence";
	case FF_X11_FILE:
		return "MIT-SHM.CreateSegment";
	default:
		return NULL;
	}
}

/* The request whose reply, with the first of these fds, stands at a packet
 * of whose bytes PACKET are there. NULL: it is none of those. */
static const char *name_reply(const struct stream *s, const uint8_t *at,
	const enum ff_x11_goods *goods, size_t nfds)
{
	uint8_t count = at[1];
	uint32_t units = get32(s, at + 4);

	if (at[0] != REPLY || !count || count > nfds)
		return NULL;
	for (unsigned i = 1; i < count; i++)
		if (goods[i] != goods[0])
			return NULL;
	/* strides and offsets; there are four planes at most */
	if (units)
		return units == count * 2u && count <= 4 &&
				goods[0] != FF_X11_DEVICE && is_buffers(s, at)
			? "DRI3.BuffersFromPixmap"
			: NULL;
	if (count > 1)
		return NULL;
	if (goods[0] != FF_X11_DEVICE && is_buffer(s, at))
		return "DRI3.BufferFromPixmap";
	if (s->strict && !is_zero(at, 8, PACKET))
		return NULL;
	return name_plain(goods[0]);
}

/* If the packet at offset is a reply to carry fds, give it its own: how many. */
static size_t take_fds(const struct stream *s, size_t offset,
	const enum ff_x11_goods *goods, size_t nfds, struct ff_x11_reply *out)
{
	const uint8_t *at = s->data + offset;
	const char *name = s->size - offset < PACKET ? NULL :
		name_reply(s, at, goods, nfds);

	if (!name)
		return 0;
	for (unsigned i = 0; i < at[1]; i++)
		out[i] = (struct ff_x11_reply){name, get16(s, at + 2), i};
	return at[1];
}

/* From packet to packet, the first being at the start. */
static bool walk(const struct stream *s, const enum ff_x11_goods *goods,
	size_t nfds, struct ff_x11_reply *out)
{
	size_t offset = 0, taken = 0, bytes;

	while (taken < nfds && s->size - offset >= PACKET) {
		taken += take_fds(s, offset, goods + taken, nfds - taken,
			out + taken);
		bytes = packet_bytes(s, offset);
		if (!bytes || bytes > s->size - offset)
			break;
		offset += bytes;
	}
	return taken == nfds;
}

/* Wherever packets begin: reading may have stopped inside one. */
static bool scan(const struct stream *s, const enum ff_x11_goods *goods,
	size_t nfds, struct ff_x11_reply *out)
{
	size_t offset = 0, taken = 0;

	while (taken < nfds && s->size - offset >= PACKET) {
		size_t count = take_fds(s, offset, goods + taken, nfds - taken,
			out + taken);

		taken += count;
		offset += count ? PACKET : 1;
	}
	return taken == nfds;
}

int ff_x11_find_replies(const void *data, size_t size,
	const enum ff_x11_goods *goods, size_t nfds, struct ff_x11_reply *out)
{
	static const struct {
		bool swapped, strict, anywhere;
	} ways[] = {
		{false, true, false},
		{true, true, false},
		{false, true, true},
		{true, true, true},
		{false, false, false},
		{true, false, false},
	};

	for (size_t i = 0; i < sizeof(ways) / sizeof(*ways); i++) {
		struct stream s = {data, size, ways[i].swapped,
			ways[i].strict};

		memset(out, 0, nfds * sizeof(*out));
		if (ways[i].anywhere ? scan(&s, goods, nfds, out)
				     : walk(&s, goods, nfds, out))
			return 0;
	}
	memset(out, 0, nfds * sizeof(*out));
	return -ENOMSG;
}
