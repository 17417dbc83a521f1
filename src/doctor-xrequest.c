/* SPDX-License-Identifier: MIT */
#include "doctor-xrequest.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <xcb/xcbext.h>

/* Minor opcodes, as the protocols number them. */
enum {
	QUERY_VERSION = 0, /* SYNC calls it Initialize */
	DRI3_FENCE_FROM_FD = 4,
	SYNC_TRIGGER_FENCE = 15,
	SYNC_DESTROY_FENCE = 17,
};

static xcb_extension_t dri3 = { "DRI3", 0 }, sync_extension = { "SYNC", 0 };
static xcb_extension_t present = { "Present", 0 }, shm = { "MIT-SHM", 0 };

/* The number of a request whose fields, behind the header, are count words. fd
 * is taken, unless it is -1. */
static unsigned int send_request(xcb_connection_t *c,
	xcb_extension_t *extension, uint8_t opcode, bool has_reply,
	const uint32_t *fields, size_t count, int fd)
{
	const xcb_protocol_request_t request = {
		.count = 1,
		.ext = extension,
		.opcode = opcode,
		.isvoid = !has_reply,
	};
	uint32_t words[8] = { 0 };
	/* libxcb wants two more in front, for itself. */
	struct iovec parts[3] = { [2] = { words, 4 + 4 * count } };

	memcpy(words + 1, fields, 4 * count);
	return xcb_send_request_with_fds(c, XCB_REQUEST_CHECKED, parts + 2,
		&request, fd >= 0, &fd);
}

/* Two of the reply's bytes or words at offset 8. */
static struct ff_x_version ask(xcb_connection_t *c, xcb_extension_t *extension,
	const uint32_t *fields, size_t count, size_t size)
{
	const xcb_query_extension_reply_t *there =
		xcb_get_extension_data(c, extension);
	struct ff_x_version version = { 0 };
	xcb_generic_error_t *error = NULL;
	const uint8_t *reply;

	if (!there || !there->present)
		return version;
	reply = xcb_wait_for_reply(c, send_request(c, extension, QUERY_VERSION,
		true, fields, count, -1), &error);
	if (reply) {
		version.is_there = true;
		memcpy(&version.major, reply + 8, size);
		memcpy(&version.minor, reply + 8 + size, size);
	}
	free((void *)(uintptr_t)reply);
	free(error);
	return version;
}

struct ff_x_version ff_x_ask_dri3(xcb_connection_t *c)
{
	return ask(c, &dri3, (uint32_t[]){ 1, 4 }, 2, 4);
}

struct ff_x_version ff_x_ask_present(xcb_connection_t *c)
{
	return ask(c, &present, (uint32_t[]){ 1, 4 }, 2, 4);
}

struct ff_x_version ff_x_ask_sync(xcb_connection_t *c)
{
	const uint8_t wanted[4] = { 3, 1 };
	uint32_t field;

	memcpy(&field, wanted, 4);
	return ask(c, &sync_extension, &field, 1, 1);
}

struct ff_x_version ff_x_ask_shm(xcb_connection_t *c)
{
	return ask(c, &shm, (uint32_t[]){ 0 }, 0, 2);
}

/* 0, the error's code, or -1. */
static int check(xcb_connection_t *c, unsigned int sequence)
{
	xcb_void_cookie_t cookie = { sequence };
	xcb_generic_error_t *error = xcb_request_check(c, cookie);
	int code = error ? error->error_code : 0;

	free(error);
	return xcb_connection_has_error(c) ? -1 : code;
}

int ff_x_trigger_fence(xcb_connection_t *c, int fd)
{
	uint32_t fence = xcb_generate_id(c);
	const uint32_t from_fd[3] = {
		xcb_setup_roots_iterator(xcb_get_setup(c)).data->root, fence,
	};
	int err = check(c, send_request(c, &dri3, DRI3_FENCE_FROM_FD, false,
		from_fd, 3, fd));

	if (!err)
		err = check(c, send_request(c, &sync_extension,
			SYNC_TRIGGER_FENCE, false, &fence, 1, -1));
	if (!err)
		err = check(c, send_request(c, &sync_extension,
			SYNC_DESTROY_FENCE, false, &fence, 1, -1));
	return err;
}
