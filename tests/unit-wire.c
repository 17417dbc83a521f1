/* SPDX-License-Identifier: MIT */
/*
 * src/futexwatch/wire: the relay's messages. They are spelled out byte by byte
 * from doc/protocol.md, not with the code's own constants.
 */
#include "futexwatch/wire.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#define NAME "fenceferry-0123abcd-0123456789abcdef"

/* Every field in a place of its own, so that a wrong place is seen. */
static const unsigned char hello[64] = "FFRY\1\0\0\0"
				       "\0\0\0\0\0\0\0\0"
				       "\1\0\0\0\x81\x82\x83\x84"
				       "GUESTguestGUEST!KERNELkernelK!!!";
static const unsigned char new_fence[64] =
	"FFRY\2\0\0\0"
	"\x01\x23\x45\x67\x89\xab\xcd\xef"
	"\x04\x22\x33\x44\x55\x66\x77\x88" NAME;
static const unsigned char accepted[64] = "FFRY\3\0\0\0\7";
static const unsigned char refused[64] = "FFRY\4\0\0\0"
					 "\7\0\0\0\0\0\0\0"
					 "\5";
static const unsigned char gone[64] = "FFRY\5\0\0\0\0\0\0\0\0\0\0\x80";
static const unsigned char wake[64] = "FFRY\6\0\0\0"
				      "\7\0\0\0\0\0\0\0"
				      "\xff\xff\xff\x7f";
static const unsigned char ping[64] = "FFRY\7\0\0\0\xff";
static const unsigned char pong[64] = "FFRY\x08\0\0\0\xff";

static const struct ff_wire meanings[] = {
	{.type = FF_WIRE_HELLO,
		.version = 1,
		.features = 0x84838281,
		.guest = {'G', 'U', 'E', 'S', 'T', 'g', 'u', 'e', 's', 't', 'G',
			'U', 'E', 'S', 'T', '!'},
		.kernel = {'K', 'E', 'R', 'N', 'E', 'L', 'k', 'e', 'r', 'n',
			'e', 'l', 'K', '!', '!', '!'}},
	{.type = FF_WIRE_NEW,
		.id = 0xefcdab8967452301,
		.offset = 0x8877665544332204,
		.name = NAME},
	{.type = FF_WIRE_ACCEPTED, .id = 7},
	{.type = FF_WIRE_REFUSED, .id = 7, .reason = FF_WIRE_NO_FILE},
	{.type = FF_WIRE_GONE, .id = 1ull << 63},
	{.type = FF_WIRE_WAKE, .id = 7, .count = 0x7fffffff},
	{.type = FF_WIRE_PING, .id = 255},
	{.type = FF_WIRE_PONG, .id = 255},
};
static const unsigned char *const messages[] = {
	hello, new_fence, accepted, refused, gone, wake, ping, pong};

enum { TYPES = sizeof(messages) / sizeof(*messages) };

static void assert_same(const struct ff_wire *is, const struct ff_wire *want)
{
	cr_assert_eq(is->type, want->type);
	cr_assert_eq(is->id, want->id);
	cr_assert_eq(is->version, want->version);
	cr_assert_eq(is->features, want->features);
	cr_assert_arr_eq(is->guest, want->guest, FF_WIRE_ID);
	cr_assert_arr_eq(is->kernel, want->kernel, FF_WIRE_ID);
	cr_assert_eq(is->offset, want->offset);
	cr_assert_arr_eq(is->name, want->name, FF_WIRE_NAME);
	cr_assert_eq(is->reason, want->reason);
	cr_assert_eq(is->count, want->count);
}

/* What decoding says of a message with size bytes at offset changed. */
static int decode_with(const unsigned char *message, size_t offset,
	const void *bytes, size_t size)
{
	unsigned char changed[64];
	struct ff_wire out;

	memcpy(changed, message, sizeof(changed));
	memcpy(changed + offset, bytes, size);
	return ff_wire_decode(changed, &out);
}

Test(wire, messages_are_decoded, .timeout = 10)
{
	for (int i = 0; i < TYPES; i++) {
		struct ff_wire out;

		memset(&out, 0xa5, sizeof(out));
		cr_assert_eq(
			ff_wire_decode(messages[i], &out), 0, "type %d", i + 1);
		assert_same(&out, &meanings[i]);
	}
}

Test(wire, messages_are_encoded, .timeout = 10)
{
	for (int i = 0; i < TYPES; i++) {
		unsigned char out[64];

		memset(out, 0xa5, sizeof(out));
		ff_wire_encode(&meanings[i], out);
		cr_assert_arr_eq(out, messages[i], 64, "type %d", i + 1);
	}
}

Test(wire, fields_of_other_types_are_not_encoded, .timeout = 10)
{
	struct ff_wire full = {
		.type = FF_WIRE_PING,
		.id = 255,
		.version = 2,
		.features = 3,
		.offset = 4,
		.name = "name",
		.reason = FF_WIRE_BUSY,
		.count = 5,
	};
	unsigned char out[64];

	ff_wire_encode(&full, out);
	cr_assert_arr_eq(out, ping, 64);
}

Test(wire, another_magic_number_is_refused, .timeout = 10)
{
	for (int i = 0; i < TYPES; i++)
		for (size_t at = 0; at < 4; at++)
			cr_assert_eq(
				decode_with(messages[i], at, "f", 1), -EPROTO);
}

Test(wire, unknown_types_are_refused, .timeout = 10)
{
	for (unsigned int type = 0; type < 65536; type++) {
		const unsigned char bytes[2] = {
			(unsigned char)type, (unsigned char)(type >> 8)};

		if (type == 0 || type > 8)
			cr_assert_eq(decode_with(pong, 4, bytes, 2), -EPROTO,
				"type %u", type);
	}
}

/* Every byte that has no meaning in a message. */
Test(wire, bytes_without_a_meaning_must_be_zero, .timeout = 10)
{
	static const size_t ends[TYPES] = {56, 64, 16, 20, 16, 20, 16, 16};

	for (int i = 0; i < TYPES; i++) {
		cr_assert_eq(decode_with(messages[i], 6, "\1", 1), -EPROTO);
		cr_assert_eq(decode_with(messages[i], 7, "\1", 1), -EPROTO);
		for (size_t at = ends[i]; at < 64; at++)
			cr_assert_eq(decode_with(messages[i], at, "\x80", 1),
				-EPROTO, "type %d, byte %zu", i + 1, at);
	}
	for (size_t at = 8; at < 16; at++)
		cr_assert_eq(decode_with(hello, at, "\1", 1), -EPROTO);
}

Test(wire, name_must_end_and_have_nothing_behind_its_end, .timeout = 10)
{
	static const char letters[] =
		"0123456789012345678901234567890123456789";
	struct ff_wire out;
	unsigned char bytes[64];

	cr_assert_eq(decode_with(new_fence, 24, letters, 39), 0);
	cr_assert_eq(decode_with(new_fence, 24, letters, 40), -EPROTO);
	cr_assert_eq(decode_with(new_fence, 24 + 5, "\0", 1), -EPROTO);
	cr_assert_eq(decode_with(new_fence, 63, "\1", 1), -EPROTO);

	/* Nor is one encoded that has no end. */
	memcpy(&out, &meanings[1], sizeof(out));
	memcpy(out.name, letters, 40);
	ff_wire_encode(&out, bytes);
	cr_assert_eq(ff_wire_decode(bytes, &out), 0);
	cr_assert_eq(strlen(out.name), 39);
}

Test(wire, numbers_out_of_range_are_refused, .timeout = 10)
{
	cr_assert_eq(decode_with(wake, 16, "\1\0\0\0", 4), 0);
	cr_assert_eq(decode_with(wake, 16, "\0\0\0\0", 4), -EPROTO);
	cr_assert_eq(decode_with(wake, 16, "\0\0\0\x80", 4), -EPROTO);
	cr_assert_eq(decode_with(wake, 16, "\xff\xff\xff\xff", 4), -EPROTO);

	cr_assert_eq(decode_with(refused, 16, "\1", 1), 0);
	cr_assert_eq(decode_with(refused, 16, "\12", 1), 0);
	cr_assert_eq(decode_with(refused, 16, "\0", 1), -EPROTO);
	cr_assert_eq(decode_with(refused, 16, "\13", 1), -EPROTO);
	cr_assert_eq(decode_with(refused, 16, "\1\1", 2), -EPROTO);

	cr_assert_eq(decode_with(new_fence, 16, "\0", 1), 0);
	for (const char *odd = "\1\2\3\5\xff"; *odd; odd++)
		cr_assert_eq(decode_with(new_fence, 16, odd, 1), -EPROTO);
}

Test(wire, fences_have_an_id_and_guests_have_none, .timeout = 10)
{
	static const char zero[8], one[8] = "\1";
	static const unsigned char *const of_fences[] = {
		new_fence, accepted, gone, wake};

	for (size_t i = 0; i < 4; i++)
		cr_assert_eq(decode_with(of_fences[i], 8, zero, 8), -EPROTO);
	cr_assert_eq(decode_with(hello, 8, one, 8), -EPROTO);
	/* REFUSED with 0 is about the guest; pings count as they like. */
	cr_assert_eq(decode_with(refused, 8, zero, 8), 0);
	cr_assert_eq(decode_with(ping, 8, zero, 8), 0);
	cr_assert_eq(decode_with(pong, 8, zero, 8), 0);
}

/* So that either end can tell the other's version, whatever else changed. */
Test(wire, hello_of_another_version_tells_its_version, .timeout = 10)
{
	static const uint32_t versions[] = {0, 2, 0xffffffff};
	unsigned char bytes[64];

	for (size_t i = 0; i < 3; i++) {
		struct ff_wire want = {
			.type = FF_WIRE_HELLO, .version = versions[i]};
		struct ff_wire out;

		memset(bytes, 0xff, sizeof(bytes));
		memcpy(bytes, hello, 16);
		for (int byte = 0; byte < 4; byte++)
			bytes[16 + byte] =
				(unsigned char)(versions[i] >> 8 * byte);
		cr_assert_eq(ff_wire_decode(bytes, &out), 0);
		for (size_t at = 0; at < 16; at++)
			cr_assert_eq(
				decode_with(bytes, at, "\x80", 1), -EPROTO);
		assert_same(&out, &want);
	}
}

Test(wire, whatever_decodes_encodes_to_the_same_bytes, .timeout = 60)
{
	unsigned int state = 1, good = 0;

	/* Of messages with a few bytes changed. */
	for (unsigned int round = 0; round < 2000000; round++) {
		unsigned char bytes[64], again[64];
		struct ff_wire message;

		memcpy(bytes, messages[round % TYPES], 64);
		for (unsigned int i = 0; i < 1 + round / TYPES % 3; i++) {
			state = state * 1664525 + 1013904223;
			bytes[state >> 16 & 63] = (unsigned char)(state >> 24);
		}
		if (ff_wire_decode(bytes, &message))
			continue;
		if (message.type == FF_WIRE_HELLO && message.version != 1)
			continue;
		good++;
		ff_wire_encode(&message, again);
		cr_assert_arr_eq(again, bytes, 64);
	}
	cr_assert_gt(good, 1000);
}

Test(wire, every_reason_has_a_text_of_its_own, .timeout = 10)
{
	for (int i = 0; i <= FF_WIRE_FAILED + 1; i++) {
		const char *text = ff_wire_reason_text((enum ff_wire_reason)i);

		cr_assert_not_null(text);
		cr_assert_gt(strlen(text), 0);
		for (int j = FF_WIRE_BAD_VERSION; j < i; j++)
			cr_assert_str_neq(text,
				ff_wire_reason_text((enum ff_wire_reason)j));
	}
}
