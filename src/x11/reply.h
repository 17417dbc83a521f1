/* SPDX-License-Identifier: MIT */
#ifndef FF_X11_REPLY_H
#define FF_X11_REPLY_H

#include <stddef.h>
#include <stdint.h>

/* What an fd that a server sent leads to. */
enum ff_x11_goods {
	FF_X11_OTHER,
	FF_X11_DEVICE,
	FF_X11_WORD, /* a file of 4 bytes */
	FF_X11_FILE, /* of another size */
	FF_X11_DMABUF,
};

/* What carries one fd. */
struct ff_x11_reply {
	const char *name;  /* static, of the request; NULL: not known */
	uint16_t sequence; /* the request's; its bytes may be the other way
			    * round if no length tells the byte order */
	unsigned index;	   /* which of the reply's fds, from 0 */
};

/*
 * Find the reply that carries each of nfds fds that a server sent. data is
 * what is to be read there first: size bytes with no alignment, which may
 * begin and end inside a packet. goods and out are in the order of the fds.
 *
 * A reply names its request by a sequence number alone, so that this goes by
 * the shape: the number of fds, the length, the fields and what the fds are.
 * A reply to RANDR's CreateLease looks like one to DRI3.Open, and its fd too;
 * it is called that. Where several replies have the shape, the name is right
 * all the same, for it follows from what the fd is.
 *
 * Returns 0 if replies were found for all fds; else -ENOMSG, with every name
 * NULL.
 */
int ff_x11_find_replies(const void *data, size_t size,
	const enum ff_x11_goods *goods, size_t nfds, struct ff_x11_reply *out);

#endif
