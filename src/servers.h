/* SPDX-License-Identifier: MIT */
#ifndef FF_SERVERS_H
#define FF_SERVERS_H

#include "x11/connection.h"
#include "x11/opcodes.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* The X servers that the client talks to, and which of its sockets lead there. */

struct ff_server {
	struct ff_server *next;
	char display[FF_X11_DISPLAY_SIZE];
	bool known; /* opcodes were told */
	uint64_t asked_ns; /* when last asked, CLOCK_MONOTONIC; 0 never */
	struct ff_x11_opcodes opcodes;
};

/* Sockets seen, by inode: sockfs hands out each number once in a long while. */
#define FF_SOCKETS_MAX 256

struct ff_servers {
	const struct ff_x11_match *match;
	struct ff_server *list;
	struct ff_socket {
		ino_t ino;
		struct ff_server *server; /* NULL: no X server */
	} sockets[FF_SOCKETS_MAX];
	size_t next_socket;
};

/*
 * The server at the other end of fd in process pid (or any thread of it); NULL
 * if it is none, or not connected, or not to be seen.
 */
struct ff_server *ff_servers_find(struct ff_servers *servers, pid_t pid,
	int fd);

/*
 * What the server calls its extensions: asked once, of the server itself,
 * with the authority file of process pid. Zeroes while it does not answer; it
 * is asked again later then.
 */
const struct ff_x11_opcodes *ff_server_opcodes(struct ff_server *server,
	pid_t pid);

void ff_servers_free(struct ff_servers *servers);

#endif
