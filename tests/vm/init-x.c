/* SPDX-License-Identifier: MIT */
/*
 * Just enough of an X server for a client that makes fences: it has DRI3, takes
 * file descriptors and closes them.
 */
#include "guest.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <xcb/dri3.h>
#include <xcb/xproto.h>

enum { DRI3_OPCODE = 149, FDS_MAX = 16 };

struct setup {
	xcb_setup_t setup;
	xcb_format_t format;
	xcb_screen_t screen;
	xcb_depth_t depth;
	xcb_visualtype_t visual;
};

static void close_fds(struct msghdr *message)
{
	struct cmsghdr *c;

	for (c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
		int fd;

		for (size_t i = CMSG_LEN(0); i < c->cmsg_len; i += sizeof(fd)) {
			memcpy(&fd, (char *)c + i, sizeof(fd));
			close(fd);
		}
	}
}

/* Read all of size bytes, or end. */
static void receive(int client, void *buffer, size_t size)
{
	char control[CMSG_SPACE(FDS_MAX * sizeof(int))];

	while (size) {
		struct iovec part = {buffer, size};
		struct msghdr message = {.msg_iov = &part,
			.msg_iovlen = 1,
			.msg_control = control,
			.msg_controllen = sizeof(control)};
		ssize_t n = recvmsg(client, &message, MSG_CMSG_CLOEXEC);

		if (n <= 0)
			_exit(0);
		close_fds(&message);
		buffer = (char *)buffer + n;
		size -= (size_t)n;
	}
}

static void transmit(int client, const void *bytes, size_t size)
{
	if (send(client, bytes, size, MSG_NOSIGNAL) != (ssize_t)size)
		_exit(0);
}

static void greet(int client)
{
	xcb_setup_request_t request;
	char authority[512];
	struct setup reply = {
		.setup = {.status = 1,
			.protocol_major_version = 11,
			.length = (sizeof(reply) - 8) / 4,
			.resource_id_base = 0x200000,
			.resource_id_mask = 0x1fffff,
			.maximum_request_length = 0xffff,
			.roots_len = 1,
			.pixmap_formats_len = 1,
			.min_keycode = 8,
			.max_keycode = 255},
		.format = {24, 32, 32, {0}},
		.screen = {.root = 0x100,
			.width_in_pixels = 640,
			.height_in_pixels = 480,
			.root_visual = 0x101,
			.root_depth = 24,
			.allowed_depths_len = 1},
		.depth = {.depth = 24, .visuals_len = 1},
		.visual = {.visual_id = 0x101,
			._class = XCB_VISUAL_CLASS_TRUE_COLOR,
			.bits_per_rgb_value = 8},
	};
	size_t rest;

	receive(client, &request, sizeof(request));
	rest = (request.authorization_protocol_name_len + 3u) / 4 * 4 +
		(request.authorization_protocol_data_len + 3u) / 4 * 4;
	if (rest > sizeof(authority))
		_exit(1);
	receive(client, authority, rest);
	transmit(client, &reply, sizeof(reply));
}

static void answer(int client, const unsigned char *request, uint16_t sequence)
{
	union {
		xcb_query_extension_reply_t extension;
		xcb_dri3_query_version_reply_t version;
		unsigned char bytes[32];
	} reply = {.extension = {.response_type = 1, .sequence = sequence}};

	switch (request[0]) {
	case XCB_QUERY_EXTENSION:
		if (request[4] == 4 && !memcmp(request + 8, "DRI3", 4)) {
			reply.extension.present = 1;
			reply.extension.major_opcode = DRI3_OPCODE;
		}
		break;
	case DRI3_OPCODE:
		if (request[1] != XCB_DRI3_QUERY_VERSION)
			return;
		reply.version.major_version = 1;
		break;
	case XCB_GET_INPUT_FOCUS:
		break;
	default:
		return;
	}
	transmit(client, &reply, sizeof(reply));
}

static _Noreturn void serve_client(int client)
{
	static unsigned char request[4 * 0x10000];
	uint16_t length;

	greet(client);
	for (uint16_t sequence = 1;; sequence++) {
		receive(client, request, 4);
		memcpy(&length, request + 2, sizeof(length));
		if (!length)
			_exit(1);
		receive(client, request + 4, 4u * length - 4);
		answer(client, request, sequence);
	}
}

static _Noreturn void serve(int listener)
{
	signal(SIGCHLD, SIG_IGN);
	for (;;) {
		int client = accept(listener, NULL, NULL);

		if (client >= 0 && fork() == 0)
			serve_client(client);
		close(client);
	}
}

void ff_guest_start_x(void)
{
	struct sockaddr_un address = {
		.sun_family = AF_UNIX, .sun_path = "/tmp/.X11-unix/X0"};
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	pid_t pid;

	mkdir("/tmp/.X11-unix", 01777);
	if (listener < 0 ||
		bind(listener, (struct sockaddr *)&address, sizeof(address)) <
			0 ||
		listen(listener, 16) < 0 ||
		chmod(address.sun_path, 0777) < 0)
		ff_guest_die("%s: %s", address.sun_path, strerror(errno));
	pid = fork();
	if (pid < 0)
		ff_guest_die("fork: %s", strerror(errno));
	if (pid == 0)
		serve(listener);
	close(listener);
}
