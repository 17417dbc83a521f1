/* SPDX-License-Identifier: MIT */
/*
 * src/x11/reply: which reply brought this fd. The replies are spelled out byte
 * by byte from the protocol's description, not with its headers.
 */
#include "x11/reply.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define ZERO4 "\0\0\0\0"
#define ZERO8 ZERO4 ZERO4
#define ZERO24 ZERO8 ZERO8 ZERO8

/* DRI3.Open, DRI3.FDFromFence, MIT-SHM.CreateSegment: n fds, and no more. */
#define PLAIN_LE(n) "\1" n "\x34\x12" ZERO4 ZERO24
#define PLAIN_BE(n) "\1" n "\x12\x34" ZERO4 ZERO24
/* a server that leaves in the unused bytes what was there */
#define PLAIN_DIRTY "\1\1\x34\x12" ZERO4 "\xff\xff\xff\xff" ZERO4 ZERO8 ZERO8
/* size 8192, 64 x 32, stride 256, depth 24, bpp 32 */
#define BUFFER_LE                                                              \
	"\1\1\x35\x12" ZERO4 "\0\x20\0\0\x40\0\x20\0"                          \
	"\0\1\x18\x20" ZERO4 ZERO8
#define BUFFER_BE                                                              \
	"\1\1\x12\x35" ZERO4 "\0\0\x20\0\0\x40\0\x20"                          \
	"\1\0\x18\x20" ZERO4 ZERO8
/* 64 x 32, a modifier, depth 24, bpp 32; strides and offsets */
#define BUFFERS_HEAD "\x40\0\x20\0" ZERO4 "\1\0\0\0\0\0\0\1\x18\x20\0\0" ZERO4
#define BUFFERS_LE(n, units, lists)                                            \
	"\1" n "\x36\x12" units "\0\0\0" BUFFERS_HEAD lists
#define LISTS1 "\0\1\0\0" ZERO4
#define LISTS2 "\0\1\0\0\0\1\0\0" ZERO4 "\0\x20\0\0"
#define BUFFERS_BE2                                                            \
	"\1\2\x12\x36\0\0\0\4\0\x40\0\x20" ZERO4 "\1\0\0\0\0\0\0\1\x18\x20"    \
	"\0\0" ZERO4 "\0\0\1\0\0\0\1\0" ZERO4 "\0\0\x20\0"

/* What has no fds: GetInputFocus (revert to the pointer's root; window),
 * QueryPointer (on this screen), GetGeometry of depth 1, GetProperty of 8 bytes
 * in format 8, an error, Expose, a generic event of 8 bytes more. */
#define FOCUS "\1\1\x30\x12" ZERO4 "\1\0\x20\0" ZERO4 ZERO8 ZERO8
#define POINTER                                                                \
	"\1\1\x31\x12" ZERO4 "\1\0\0\0\2\0\x20\0\x40\0\x20\0\x40\0\x20\0\4\0"  \
	"\0\0" ZERO4
#define GEOMETRY                                                               \
	"\1\1\x32\x12" ZERO4 "\1\0\0\0\0\0\0\0\x40\0\x20\0" ZERO4 ZERO8
#define PROPERTY                                                               \
	"\1\x8\x33\x12\2\0\0\0\x1f\0\0\0" ZERO4 "\x8\0\0\0" ZERO4 ZERO8        \
	"\1\1aaaaaa"
#define MISTAKE "\0\x8\x30\x12" ZERO4 ZERO24
#define EXPOSE "\xc\0\x30\x12\1\0\x20\0" ZERO24
#define GENERIC "\x23\x95\x30\x12\2\0\0\0" ZERO24 "bbbbbbbb"

#define BYTES(text) (text), sizeof(text) - 1
#define GOODS(...)                                                             \
	(const enum ff_x11_goods[]){__VA_ARGS__},                              \
		sizeof((enum ff_x11_goods[]){__VA_ARGS__}) /                   \
			sizeof(enum ff_x11_goods)

static const char open_name[] = "DRI3.Open";
static const char fence_name[] = "DRI3.FDFromFence";
static const char segment_name[] = "MIT-SHM.CreateSegment";
static const char buffer_name[] = "DRI3.BufferFromPixmap";
static const char buffers_name[] = "DRI3.BuffersFromPixmap";

enum { MOST = 8 };
static struct ff_x11_reply found[MOST];

/*
 * Look in a copy whose last byte is the last before an inaccessible page, and
 * whose first has no particular alignment.
 */
static int find(const char *bytes, size_t size,
	const enum ff_x11_goods *goods, size_t nfds)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t room = (size + page) / page * page;
	char *map = mmap(NULL, room + page, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int rc;

	cr_assert_neq(map, MAP_FAILED);
	cr_assert_eq(mprotect(map + room, page, PROT_NONE), 0);
	if (size)
		memcpy(map + room - size, bytes, size);
	memset(found, 0xa5, sizeof(found));
	rc = ff_x11_find_replies(map + room - size, size, goods, nfds, found);
	munmap(map, room + page);
	for (size_t i = 0; rc && i < nfds; i++)
		cr_assert_null(found[i].name);
	cr_assert(rc == 0 || rc == -ENOMSG);
	return rc;
}

static void expect(size_t i, const char *name, unsigned sequence,
	unsigned index)
{
	cr_assert_not_null(found[i].name, "fd %zu: no name, not %s", i, name);
	cr_assert_str_eq(found[i].name, name);
	cr_assert_eq(found[i].sequence, sequence, "fd %zu: %#x, not %#x", i,
		found[i].sequence, sequence);
	cr_assert_eq(found[i].index, index);
}

/* One fd in a reply of its own. */
static void expect_one(const char *bytes, size_t size,
	enum ff_x11_goods goods, const char *name, unsigned sequence)
{
	cr_assert_eq(find(bytes, size, &goods, 1), 0, "%s", name);
	expect(0, name, sequence, 0);
}

static void expect_none(const char *bytes, size_t size,
	enum ff_x11_goods goods)
{
	cr_assert_eq(find(bytes, size, &goods, 1), -ENOMSG, "found %s",
		found[0].name);
}

Test(reply, what_the_fd_is_tells_the_request)
{
	expect_one(BYTES(PLAIN_LE("\1")), FF_X11_DEVICE, open_name, 0x1234);
	expect_one(BYTES(PLAIN_LE("\1")), FF_X11_WORD, fence_name, 0x1234);
	expect_one(BYTES(PLAIN_LE("\1")), FF_X11_FILE, segment_name, 0x1234);
	expect_none(BYTES(PLAIN_LE("\1")), FF_X11_DMABUF);
	expect_none(BYTES(PLAIN_LE("\1")), FF_X11_OTHER);
}

Test(reply, buffers_are_known_by_their_fields)
{
	expect_one(BYTES(BUFFER_LE), FF_X11_DMABUF, buffer_name, 0x1235);
	/* software drivers may have none of those */
	expect_one(BYTES(BUFFER_LE), FF_X11_FILE, buffer_name, 0x1235);
	expect_one(BYTES(BUFFERS_LE("\1", "\2", LISTS1)), FF_X11_DMABUF,
		buffers_name, 0x1236);
	cr_assert_eq(find(BYTES(BUFFERS_LE("\2", "\4", LISTS2)),
			GOODS(FF_X11_DMABUF, FF_X11_DMABUF)), 0);
	expect(0, buffers_name, 0x1236, 0);
	expect(1, buffers_name, 0x1236, 1);
}

Test(reply, the_other_byte_order_is_understood)
{
	cr_assert_eq(find(BYTES(BUFFER_BE), GOODS(FF_X11_DMABUF)), 0);
	cr_assert_str_eq(found[0].name, buffer_name);
	cr_assert_eq(find(BYTES(BUFFERS_BE2),
			GOODS(FF_X11_DMABUF, FF_X11_DMABUF)), 0);
	expect(1, buffers_name, 0x1236, 1);
	/* a length tells the order, and then it holds for all */
	cr_assert_eq(find(BYTES(BUFFERS_BE2 PLAIN_BE("\1")),
			GOODS(FF_X11_DMABUF, FF_X11_DMABUF, FF_X11_WORD)), 0);
	expect(2, fence_name, 0x1234, 0);
}

Test(reply, no_buffer_is_seen_in_what_cannot_be_one)
{
	/* width 0; more bits of depth than a pixel has; seven bits a pixel */
	expect_none(BYTES("\1\1\x35\x12" ZERO4 "\0\x20\0\0\0\0\x20\0\0\1\x18"
			  "\x20" ZERO4 ZERO8), FF_X11_DMABUF);
	expect_none(BYTES("\1\1\x35\x12" ZERO4 "\0\x20\0\0\x40\0\x20\0\0\1\x21"
			  "\x20" ZERO4 ZERO8), FF_X11_DMABUF);
	expect_none(BYTES("\1\1\x35\x12" ZERO4 "\0\x20\0\0\x40\0\x20\0\0\1\1"
			  "\7" ZERO4 ZERO8), FF_X11_DMABUF);
	/* more planes than there are; a length that is not theirs */
	cr_assert_eq(find(BYTES(BUFFERS_LE("\5", "\xa", LISTS2 LISTS2 LISTS1)),
			GOODS(FF_X11_DMABUF, FF_X11_DMABUF, FF_X11_DMABUF,
				FF_X11_DMABUF, FF_X11_DMABUF)), -ENOMSG);
	expect_none(BYTES(BUFFERS_LE("\1", "\3", LISTS1 ZERO4)),
		FF_X11_DMABUF);
	expect_none(BYTES(BUFFERS_LE("\1", "\2", LISTS1)), FF_X11_DEVICE);
}

Test(reply, others_before_it_are_passed)
{
	expect_one(BYTES(EXPOSE FOCUS GENERIC MISTAKE PROPERTY POINTER GEOMETRY
				PLAIN_LE("\1") FOCUS),
		FF_X11_WORD, fence_name, 0x1234);
	expect_one(BYTES(PROPERTY GENERIC POINTER GEOMETRY BUFFER_LE EXPOSE),
		FF_X11_DMABUF, buffer_name, 0x1235);
	expect_none(BYTES(EXPOSE PROPERTY GENERIC MISTAKE), FF_X11_WORD);
}

Test(reply, several_in_one_stream_take_their_fds_in_order)
{
	cr_assert_eq(find(BYTES(FOCUS PLAIN_LE("\1") BUFFERS_LE("\2", "\4",
					LISTS2) POINTER BUFFER_LE
				PLAIN_LE("\1")),
			GOODS(FF_X11_FILE, FF_X11_DMABUF, FF_X11_DMABUF,
				FF_X11_DMABUF, FF_X11_DEVICE)), 0);
	expect(0, segment_name, 0x1234, 0);
	expect(1, buffers_name, 0x1236, 0);
	expect(2, buffers_name, 0x1236, 1);
	expect(3, buffer_name, 0x1235, 0);
	expect(4, open_name, 0x1234, 0);
}

Test(reply, all_fds_have_a_reply_or_none)
{
	cr_assert_eq(find(BYTES(PLAIN_LE("\1")),
			GOODS(FF_X11_WORD, FF_X11_WORD)), -ENOMSG);
	cr_assert_eq(find(BYTES(PLAIN_LE("\2")),
			GOODS(FF_X11_WORD, FF_X11_WORD)), -ENOMSG);
	cr_assert_eq(find(BYTES(PLAIN_LE("\1") PLAIN_LE("\1")),
			GOODS(FF_X11_WORD, FF_X11_OTHER)), -ENOMSG);
	expect_none(BYTES(PLAIN_LE("\0")), FF_X11_WORD);
	expect_none(BYTES(BUFFERS_LE("\2", "\4", LISTS2)), FF_X11_DMABUF);
	/* planes of one picture are of one kind */
	cr_assert_eq(find(BYTES(BUFFERS_LE("\2", "\4", LISTS2)),
			GOODS(FF_X11_DMABUF, FF_X11_FILE)), -ENOMSG);
}

Test(reply, reading_may_have_stopped_inside_a_packet)
{
	static const char before[] = PROPERTY PROPERTY PLAIN_LE("\1");

	/* From each place on, to the last where the reply is whole. */
	for (size_t from = 0; from <= sizeof(before) - 1 - 32; from++)
		expect_one(before + from, sizeof(before) - 1 - from,
			FF_X11_WORD, fence_name, 0x1234);
	for (size_t from = sizeof(before) - 32; from < sizeof(before); from++)
		expect_none(before + from, sizeof(before) - 1 - from,
			FF_X11_WORD);
}

Test(reply, what_is_to_be_read_may_end_anywhere)
{
	static const char bytes[] = FOCUS GENERIC BUFFERS_LE("\1", "\2", LISTS1);
	const size_t whole = 32 + 40 + 32; /* without the lists */

	for (size_t size = 0; size < whole; size++)
		expect_none(bytes, size, FF_X11_DMABUF);
	for (size_t size = whole; size < sizeof(bytes); size++)
		expect_one(bytes, size, FF_X11_DMABUF, buffers_name, 0x1236);
}

Test(reply, unused_bytes_need_not_be_zero)
{
	expect_one(BYTES(EXPOSE PLAIN_DIRTY), FF_X11_FILE, segment_name,
		0x1234);
	/* but if they are somewhere, it is that one */
	expect_one(BYTES(FOCUS POINTER PLAIN_LE("\1")), FF_X11_FILE,
		segment_name, 0x1234);
}

Test(reply, lengths_beyond_all_memory_are_the_end)
{
	expect_none(BYTES("\1\0\0\0\xff\xff\xff\xff" ZERO24 FOCUS),
		FF_X11_OTHER);
	expect_one(BYTES("\1\0\0\0\xff\xff\xff\x7f" ZERO24 PLAIN_LE("\1")),
		FF_X11_WORD, fence_name, 0x1234);
	expect_none(BYTES("\x23\0\0\0\xff\xff\xff\xff" ZERO24), FF_X11_WORD);
}
