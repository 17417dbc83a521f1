/* SPDX-License-Identifier: MIT */
#ifndef FF_DOCTOR_XREQUEST_H
#define FF_DOCTOR_XREQUEST_H

#include <stdbool.h>
#include <xcb/xcb.h>

/* The few requests of X extensions that the doctor makes: for these libxcb's
 * own libraries of them are not needed. */

struct ff_x_version {
	bool is_there;
	unsigned int major, minor;
};

struct ff_x_version ff_x_ask_dri3(xcb_connection_t *c);
struct ff_x_version ff_x_ask_sync(xcb_connection_t *c);
struct ff_x_version ff_x_ask_present(xcb_connection_t *c);
struct ff_x_version ff_x_ask_shm(xcb_connection_t *c);

/*
 * Hand fd, which is taken, to the server as an untriggered fence, have it
 * triggered and destroyed, and wait until that is done. 0; the X error's code;
 * or -1: the connection is broken.
 */
int ff_x_trigger_fence(xcb_connection_t *c, int fd);

#endif
