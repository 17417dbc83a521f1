/* SPDX-License-Identifier: MIT */
#ifndef FF_FUTEXWATCH_HOST_H
#define FF_FUTEXWATCH_HOST_H

#include "error.h"
#include "link.h"
#include "peer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

/*
 * The host's end of the relay: a loop of one thread around listening sockets,
 * guests and the waiters.
 */

#define FF_HOST_LISTENERS_MAX 64

/* Where guests come from. */
struct ff_host_listener {
	struct ff_address address;
	bool is_passed; /* a listening socket of somebody else's */
	int fd; /* listening; -1 for a char: address */
	bool is_polled;
	uint64_t retry_ns; /* FF_CHAR: when to open it again, if there is no
			      peer; else when to accept again; 0: now */
	/* FF_CHAR */
	struct ff_peer *peer;
	unsigned int backoff_ms;
	bool is_told; /* that nobody is there */
	/* FF_UNIX: our file, to be removed */
	bool has_file;
	struct stat file;
};

struct ff_host_ops {
	void *context;
	int signal_fd;
	/* signal_fd is readable. False: it is time to stop. */
	bool (*signalled)(void *context);
	/* Other numbers than before, told once a second at most. */
	void (*changed)(void *context, size_t guests, size_t fences);
};

struct ff_host {
	struct ff_host_listener listeners[FF_HOST_LISTENERS_MAX];
	size_t listener_count;
	struct ff_peers peers; /* whose limits, log, dir_fd and admission are
				  set before ff_host_open */
	struct ff_host_ops ops;
	int epoll_fd;
	uint32_t polled[FF_PEERS_MAX]; /* events asked for; 0: not polled */
	size_t told_guests, told_fences;
	uint64_t told_ns;
};

/* Add an address, or a listening socket that becomes ours. False: too many. */
bool ff_host_add_address(struct ff_host *host,
	const struct ff_address *address);
bool ff_host_add_socket(struct ff_host *host, int fd);

/* Begin to listen. 0, or -errno with *error filled. */
int ff_host_open(struct ff_host *host, enum ff_waiters_kind kind,
	struct ff_error *error);

/* Serve until it is time to stop. 0 or -errno. */
int ff_host_serve(struct ff_host *host);

/* Part from all; to be called after a failed open, too. */
void ff_host_close(struct ff_host *host);

size_t ff_host_guests(const struct ff_host *host);

#endif
