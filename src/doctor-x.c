/* SPDX-License-Identifier: MIT */
/* The X server of $DISPLAY, asked as clients ask it. */
#include "doctor-checkup.h"
#include "doctor-xrequest.h"
#include "x11/connection.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* libxcb writes to standard error why a server refused us. */
static void read_complaint(int messages, char text[128])
{
	ssize_t size = pread(messages, text, 127, 0);

	text[size > 0 ? size : 0] = '\0';
	text[strcspn(text, "\n")] = '\0';
}

static void tell_none(struct ff_checkup *checkup, const char *display,
	int messages)
{
	struct ff_finding *finding = ff_find(checkup, "X display",
		FF_FOR_NOBODY, FF_DEGRADED, "cannot connect to %.64s", display);
	char complaint[128];

	read_complaint(messages, complaint);
	ff_tell(finding->reason, "%s", *complaint ? complaint :
		"no X server answers there");
	ff_tell(finding->way_out, "check $DISPLAY%s", *complaint ?
		" and $XAUTHORITY" : "");
}

/* As xdpyinfo tells it: 21.1.7; of the older ones 1.20.4. */
static void format_release(uint32_t release, char text[32])
{
	unsigned int major = release / 10000000;
	unsigned int minor = release / 100000 % 100;
	unsigned int patch = release / 1000 % 100;

	if (release >= 12100000)
		snprintf(text, 32, "%u.%u.%u", minor, patch, release % 1000);
	else
		snprintf(text, 32, "%u.%u.%u", major, minor, patch);
}

static void tell_server(struct ff_checkup *checkup, const char *display,
	xcb_connection_t *c)
{
	const xcb_setup_t *setup = xcb_get_setup(c);
	int length = xcb_setup_vendor_length(setup);
	char release[32];

	format_release(setup->release_number, release);
	ff_find(checkup, "X display", FF_FOR_NOBODY, FF_OK,
		"%.64s: %.*s, release %s", display, length ? length : 7,
		length ? xcb_setup_vendor(setup) : "unnamed", release);
}

/* Would run take this connection for one to an X server? */
static bool is_known(const char *display, const struct sockaddr_un *address,
	socklen_t length)
{
	struct ff_x11_match match = { 0 };
	char name[FF_X11_DISPLAY_SIZE];
	bool is;

	ff_x11_match_add_display(&match, display, NULL);
	is = ff_x11_is_server(&match, address, length, name);
	ff_x11_match_free(&match);
	return is;
}

static void tell_socket(struct ff_checkup *checkup, const char *display,
	xcb_connection_t *c)
{
	struct sockaddr_un address = { 0 };
	socklen_t length = sizeof(address);
	struct ff_finding *finding;
	const char *name = address.sun_path;

	getpeername(xcb_get_file_descriptor(c), (struct sockaddr *)&address,
		&length);
	if (is_known(display, &address, length)) {
		ff_find(checkup, "X socket", FF_FOR_NOBODY, FF_OK,
			"run knows it for an X server's");
		return;
	}
	finding = ff_find(checkup, "X socket", FF_FOR_NOBODY, FF_DEGRADED,
		"run does not know it for an X server's");
	if (address.sun_family == AF_UNIX) {
		ff_tell(finding->reason, "its name is no usual one: %s%.100s",
			*name ? "" : "@", *name ? name : name + 1);
		ff_tell(finding->way_out, "tell run by --x-socket");
	} else {
		ff_tell(finding->reason, "it is no unix socket, and no fds go "
			"through it");
		ff_tell(finding->way_out, "set DISPLAY to a local server");
	}
}

/* An extension: what is told of it, and what for lack of it. */
struct extension {
	const char *check;
	struct ff_x_version (*ask)(xcb_connection_t *c);
	unsigned int major, minor; /* at least */
	const char *lack, *way_out;
};

static const struct extension extensions[] = {
	{ "X DRI3", ff_x_ask_dri3, 1, 0, "GPU clients have no fences",
		"use an X server with DRI3: Xorg or Xwayland on a GPU" },
	{ "X SYNC", ff_x_ask_sync, 3, 1, "there are no fences", "" },
	{ "X Present", ff_x_ask_present, 1, 0,
		"GPU clients show pictures in other ways", "" },
	{ "X MIT-SHM", ff_x_ask_shm, 1, 2,
		"clients send no pictures in memfds", "" },
};

/* Does it have it? */
static bool tell_extension(struct ff_checkup *checkup, xcb_connection_t *c,
	const struct extension *extension)
{
	struct ff_x_version version = extension->ask(c);
	struct ff_finding *finding;
	bool is_there = version.is_there &&
		(version.major > extension->major ||
			(version.major == extension->major &&
				version.minor >= extension->minor));

	if (!version.is_there) {
		finding = ff_find(checkup, extension->check, FF_FOR_NOBODY,
			FF_DEGRADED, "the server does not have it");
		ff_tell(finding->reason, "%s", extension->lack);
		ff_tell(finding->way_out, "%s", extension->way_out);
		return false;
	}
	finding = ff_find(checkup, extension->check, FF_FOR_NOBODY,
		is_there ? FF_OK : FF_DEGRADED, "version %u.%u",
		version.major, version.minor);
	if (!is_there)
		ff_tell(finding->reason, "from %u.%u on it passes fds: %s",
			extension->major, extension->minor, extension->lack);
	return is_there;
}

/* A fence as clients have them, by a memfd; triggered by the server. */
static void tell_fence(struct ff_checkup *checkup, xcb_connection_t *c)
{
	int fd = memfd_create("fenceferry-doctor", MFD_CLOEXEC), err;
	_Atomic uint32_t *word = MAP_FAILED;
	struct ff_finding *finding;

	if (fd >= 0 && ftruncate(fd, sizeof(*word)) == 0)
		word = mmap(NULL, sizeof(*word), PROT_READ | PROT_WRITE,
			MAP_SHARED, fd, 0);
	if ((void *)word == MAP_FAILED)
		_exit(1);
	err = ff_x_trigger_fence(c, fd);
	if (!err && atomic_load(word) == 1) {
		ff_find(checkup, "X fences", FF_FOR_NOBODY, FF_OK,
			"the server took one, and triggered it");
		return;
	}
	finding = ff_find(checkup, "X fences", FF_FOR_NOBODY, FF_DEGRADED,
		"the server does not do what fences are for");
	if (err > 0)
		ff_tell(finding->reason, "DRI3.FenceFromFD fails with X error "
			"%d", err);
	else
		ff_tell(finding->reason, err ? "it broke the connection off" :
			"it says it triggered one, and the memory has not "
			"changed");
	ff_tell(finding->way_out, "use an X server on a GPU");
}

static void examine_server(struct ff_checkup *checkup, const char *display,
	xcb_connection_t *c)
{
	bool has[4];

	tell_server(checkup, display, c);
	tell_socket(checkup, display, c);
	for (size_t i = 0; i < 4; i++)
		has[i] = tell_extension(checkup, c, &extensions[i]);
	if (has[0] && has[1])
		tell_fence(checkup, c);
}

void ff_examine_display(struct ff_checkup *checkup)
{
	const char *display = getenv("DISPLAY");
	int messages = memfd_create("fenceferry-doctor", MFD_CLOEXEC);
	struct ff_finding *finding;
	xcb_connection_t *c;

	if (!display || !*display) {
		finding = ff_find(checkup, "X display", FF_FOR_NOBODY,
			FF_DEGRADED, "not looked at");
		ff_tell(finding->reason, "$DISPLAY is not set");
		ff_tell(finding->way_out, "set it to the clients'");
		return;
	}
	if (messages < 0 || dup2(messages, STDERR_FILENO) < 0)
		_exit(1);
	c = xcb_connect(NULL, NULL);
	if (xcb_connection_has_error(c))
		tell_none(checkup, display, messages);
	else
		examine_server(checkup, display, c);
	xcb_disconnect(c);
}
