/* SPDX-License-Identifier: MIT */
#ifndef FF_FUTEXWATCH_WIRE_H
#define FF_FUTEXWATCH_WIRE_H

#include <stdint.h>

/*
 * The relay's messages (doc/protocol.md): each 64 bytes, little-endian, first
 * the magic number; bytes without a meaning are 0. Pure: no I/O here.
 */

#define FF_WIRE_VERSION 1
#define FF_WIRE_SIZE 64
#define FF_WIRE_NAME 40 /* with the NUL */
#define FF_WIRE_ID 16	/* bytes of a guest's or a kernel's id */

enum ff_wire_type {
	FF_WIRE_HELLO = 1, /* both ways, before all else */
	FF_WIRE_NEW,	   /* to the host: a fence */
	FF_WIRE_ACCEPTED,  /* to the guest: it is watched from now on */
	FF_WIRE_REFUSED,   /* to the guest; with id 0: the guest itself */
	FF_WIRE_GONE,	   /* to the host: nobody holds it any more */
	FF_WIRE_WAKE,	   /* both ways */
	FF_WIRE_PING,	   /* to the host */
	FF_WIRE_PONG,	   /* to the guest, with the same id */
};

enum ff_wire_reason {
	FF_WIRE_BAD_VERSION = 1, /* not the host's, which its hello tells */
	FF_WIRE_NOT_ALLOWED,	 /* this user or machine may not connect */
	FF_WIRE_BUSY,		 /* too many guests */
	FF_WIRE_BAD_NAME,	 /* not a stand-in's */
	FF_WIRE_NO_FILE,	 /* not in the host's shm dir */
	FF_WIRE_BAD_FILE,	 /* type, owner or size */
	FF_WIRE_TAKEN,		 /* another guest's */
	FF_WIRE_LIMIT,		 /* too many fences */
	FF_WIRE_LOST,		 /* was accepted, and truncated since */
	FF_WIRE_FAILED,		 /* for a reason in the host's log */
};

/* In hello, from the guest: its futexes are a domain of their own even if its
 * kernel is the host's (--isolate). */
#define FF_WIRE_ISOLATED 1u
/* In both hellos: a NEW whose name is empty brings its file along, as an fd.
 * Only on unix sockets, within one kernel. */
#define FF_WIRE_FDS 2u

/* A message; what its type has no use for is 0. */
struct ff_wire {
	enum ff_wire_type type;
	uint64_t id; /* of the fence, chosen by the guest, not 0; of a ping */
	/* HELLO */
	uint32_t version, features;
	unsigned char guest[FF_WIRE_ID]; /* a random one for each guest */
	unsigned char kernel[FF_WIRE_ID]; /* its boot id */
	/* NEW */
	uint64_t offset; /* of the word, in bytes */
	char name[FF_WIRE_NAME]; /* empty: its fd comes along */
	/* REFUSED */
	enum ff_wire_reason reason;
	/* WAKE: how many at most; more than INT_MAX is not allowed */
	uint32_t count;
};

void ff_wire_encode(const struct ff_wire *message,
	unsigned char bytes[FF_WIRE_SIZE]);

/*
 * 0, or -EPROTO: wrong magic number, unknown type, a field out of its range, a
 * name that is not NUL-terminated, or bytes that are to be 0 and are not. Of a
 * HELLO with another version only its first 20 bytes are looked at, which are
 * the same in every version, and only the version is told.
 */
int ff_wire_decode(const unsigned char bytes[FF_WIRE_SIZE],
	struct ff_wire *message);

/* "not in the host's shm dir": for messages to people; never NULL. */
const char *ff_wire_reason_text(enum ff_wire_reason reason);

#endif
