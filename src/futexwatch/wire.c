/* SPDX-License-Identifier: MIT */
#include "wire.h"

#include <endian.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

static const unsigned char magic[4] = {'F', 'F', 'R', 'Y'};

/* Where the fields are. */
enum {
	TYPE = 4,
	ID = 8,
	VERSION = 16,
	FEATURES = 20,
	GUEST = 24,
	KERNEL = 40,
	OFFSET = 16,
	NAME = 24,
	REASON = 16,
	COUNT = 16,
};

static void put16(unsigned char *to, uint16_t value)
{
	value = htole16(value);
	memcpy(to, &value, sizeof(value));
}

static void put32(unsigned char *to, uint32_t value)
{
	value = htole32(value);
	memcpy(to, &value, sizeof(value));
}

static void put64(unsigned char *to, uint64_t value)
{
	value = htole64(value);
	memcpy(to, &value, sizeof(value));
}

static uint16_t get16(const unsigned char *from)
{
	uint16_t value;

	memcpy(&value, from, sizeof(value));
	return le16toh(value);
}

static uint32_t get32(const unsigned char *from)
{
	uint32_t value;

	memcpy(&value, from, sizeof(value));
	return le32toh(value);
}

static uint64_t get64(const unsigned char *from)
{
	uint64_t value;

	memcpy(&value, from, sizeof(value));
	return le64toh(value);
}

void ff_wire_encode(
	const struct ff_wire *message, unsigned char bytes[FF_WIRE_SIZE])
{
	memset(bytes, 0, FF_WIRE_SIZE);
	memcpy(bytes, magic, sizeof(magic));
	put16(bytes + TYPE, (uint16_t)message->type);
	put64(bytes + ID, message->id);
	switch (message->type) {
	case FF_WIRE_HELLO:
		put32(bytes + VERSION, message->version);
		put32(bytes + FEATURES, message->features);
		memcpy(bytes + GUEST, message->guest, FF_WIRE_ID);
		memcpy(bytes + KERNEL, message->kernel, FF_WIRE_ID);
		break;
	case FF_WIRE_NEW:
		put64(bytes + OFFSET, message->offset);
		memcpy(bytes + NAME, message->name,
			strnlen(message->name, FF_WIRE_NAME - 1));
		break;
	case FF_WIRE_REFUSED:
		put32(bytes + REASON, (uint32_t)message->reason);
		break;
	case FF_WIRE_WAKE:
		put32(bytes + COUNT, message->count);
		break;
	case FF_WIRE_ACCEPTED:
	case FF_WIRE_GONE:
	case FF_WIRE_PING:
	case FF_WIRE_PONG:
		break;
	}
}

/* Read the fields of a message whose type is known. Are they in range? */
static bool get_fields(const unsigned char *bytes, struct ff_wire *message)
{
	switch (message->type) {
	case FF_WIRE_HELLO:
		message->version = get32(bytes + VERSION);
		message->features = get32(bytes + FEATURES);
		memcpy(message->guest, bytes + GUEST, FF_WIRE_ID);
		memcpy(message->kernel, bytes + KERNEL, FF_WIRE_ID);
		return true;
	case FF_WIRE_NEW:
		message->offset = get64(bytes + OFFSET);
		memcpy(message->name, bytes + NAME, FF_WIRE_NAME);
		return message->id && message->offset % 4 == 0 &&
		       message->name[FF_WIRE_NAME - 1] == '\0';
	case FF_WIRE_REFUSED: {
		uint32_t reason = get32(bytes + REASON);

		message->reason = (enum ff_wire_reason)reason;
		return reason >= FF_WIRE_BAD_VERSION &&
		       reason <= FF_WIRE_FAILED;
	}
	case FF_WIRE_WAKE:
		message->count = get32(bytes + COUNT);
		return message->id && message->count > 0 &&
		       message->count <= INT_MAX;
	case FF_WIRE_ACCEPTED:
	case FF_WIRE_GONE:
		return message->id != 0;
	case FF_WIRE_PING:
	case FF_WIRE_PONG:
		return true;
	}
	return false;
}

int ff_wire_decode(
	const unsigned char bytes[FF_WIRE_SIZE], struct ff_wire *message)
{
	unsigned char again[FF_WIRE_SIZE];
	size_t known = FF_WIRE_SIZE;
	unsigned int type = get16(bytes + TYPE);

	memset(message, 0, sizeof(*message));
	if (memcmp(bytes, magic, sizeof(magic)) != 0 || type < FF_WIRE_HELLO ||
		type > FF_WIRE_PONG)
		return -EPROTO;
	message->type = (enum ff_wire_type)type;
	if (type != FF_WIRE_HELLO)
		message->id = get64(bytes + ID);
	if (type == FF_WIRE_HELLO &&
		get32(bytes + VERSION) != FF_WIRE_VERSION) {
		message->version = get32(bytes + VERSION);
		known = FEATURES;
	} else if (!get_fields(bytes, message)) {
		return -EPROTO;
	}
	/* What was not read must be what we would have written: 0. */
	ff_wire_encode(message, again);
	return memcmp(bytes, again, known) == 0 ? 0 : -EPROTO;
}

const char *ff_wire_reason_text(enum ff_wire_reason reason)
{
	switch (reason) {
	case FF_WIRE_BAD_VERSION:
		return "another version of the protocol";
	case FF_WIRE_NOT_ALLOWED:
		return "not allowed to connect";
	case FF_WIRE_BUSY:
		return "too many guests";
	case FF_WIRE_BAD_NAME:
		return "not the name of a stand-in";
	case FF_WIRE_NO_FILE:
		return "not in the host's shm dir";
	case FF_WIRE_BAD_FILE:
		return "not a file of the right type, owner and size";
	case FF_WIRE_TAKEN:
		return "already watched for another fence";
	case FF_WIRE_LIMIT:
		return "too many fences";
	case FF_WIRE_LOST:
		return "truncated since it was accepted";
	case FF_WIRE_FAILED:
		return "failed there, see the host's log";
	}
	return "unknown reason";
}
