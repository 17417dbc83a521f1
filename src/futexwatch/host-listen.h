/* SPDX-License-Identifier: MIT */
#ifndef FF_FUTEXWATCH_HOST_LISTEN_H
#define FF_FUTEXWATCH_HOST_LISTEN_H

#include "host.h"

/* How guests get to the host's end. */

/* Listen on all addresses. 0, or -errno with *error filled. */
int ff_host_listen(struct ff_host *host, struct ff_error *error);

/* Close all, and remove what files were made. */
void ff_host_unlisten(struct ff_host *host);

/* Somebody may have connected. */
void ff_host_accept(struct ff_host *host, struct ff_host_listener *listener,
	uint64_t now);

/* Open a device, or connect to a VMM's socket. */
void ff_host_open_char(struct ff_host *host, struct ff_host_listener *listener,
	uint64_t now);

/* The link of a char: address has ended. */
void ff_host_lost_char(struct ff_host_listener *listener, uint64_t now);

#endif
