/* SPDX-License-Identifier: MIT */
#include "steps.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <X11/xshmfence.h>
#include <xcb/dri3.h>
#include <xcb/shm.h>
#include <xcb/sync.h>

#include "client.h"

enum { WIDTH = 64, HEIGHT = 32, PIXELS = WIDTH * HEIGHT, TIMEOUT_S = 60 };

static struct {
	xcb_connection_t *x;
	xcb_screen_t *screen;
	xcb_pixmap_t pixmap;
	xcb_gcontext_t gc;
	uint32_t pictures; /* drawn so far: each is another */
} client;

/* What both kinds of work need. */
static void connect_once(void)
{
	ff_client_watch(client.x, TIMEOUT_S, "connecting", 1, NULL);
	if (client.x)
		return;
	client.x = ff_client_connect(&client.screen);
	if (client.screen->root_depth != 24)
		ff_client_die("the screen has depth %d; this needs 24",
			client.screen->root_depth);
	client.pixmap = xcb_generate_id(client.x);
	client.gc = xcb_generate_id(client.x);
	xcb_create_pixmap(client.x, 24, client.pixmap, client.screen->root,
		WIDTH, HEIGHT);
	xcb_create_gc(client.x, client.gc, client.pixmap, 0, NULL);
	ff_client_finish(client.x);
}

void ff_steps_forget_connection(void)
{
	if (client.x)
		close(xcb_get_file_descriptor(client.x));
	client.x = NULL;
}

/* As fence-client does it, and Mesa. */
static void do_fence(long number)
{
	int fd = xshmfence_alloc_shm();
	struct xshmfence *fence;
	xcb_sync_fence_t id;

	if (fd < 0)
		ff_client_die("xshmfence_alloc_shm: %s", strerror(errno));
	fence = xshmfence_map_shm(fd);
	if (!fence)
		ff_client_die("xshmfence_map_shm: %s", strerror(errno));
	id = xcb_generate_id(client.x);
	ff_client_watch(client.x, TIMEOUT_S, "fence", number,
		(const volatile int32_t *)fence);
	xcb_dri3_fence_from_fd(client.x, client.screen->root, id, 0, fd);
	xshmfence_reset(fence);
	xcb_sync_trigger_fence(client.x, id);
	xcb_flush(client.x);
	if (xshmfence_await(fence) || !xshmfence_query(fence))
		ff_client_die("fence %ld is not triggered: %s", number,
			strerror(errno));
	xcb_sync_destroy_fence(client.x, id);
	xshmfence_unmap_shm(fence);
	ff_client_watch(client.x, 0, "between fences", number, NULL);
}

static void need_fences(void)
{
	connect_once();
	ff_client_require(client.x, &xcb_sync_id, "SYNC");
	ff_client_require(client.x, &xcb_dri3_id, "DRI3");
	free(xcb_sync_initialize_reply(
		client.x, xcb_sync_initialize(client.x, 3, 1), NULL));
	free(xcb_dri3_query_version_reply(
		client.x, xcb_dri3_query_version(client.x, 1, 0), NULL));
}

void ff_steps_fences(long count)
{
	need_fences();
	for (long i = 1; i <= count; i++)
		do_fence(i);
	ff_client_watch(client.x, TIMEOUT_S, "the fences' end", count, NULL);
	ff_client_finish(client.x);
	ff_client_watch(client.x, 0, "after fences", count, NULL);
}

long ff_steps_flow(void)
{
	struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
	long count = 0;
	char byte = 0;

	need_fences();
	/* Others shall have a processor, too. */
	while (!poll(&input, 1, 1))
		do_fence(++count);
	ff_client_finish(client.x);
	while (byte != '\n' && read(STDIN_FILENO, &byte, 1) == 1)
		;
	return count;
}

static void draw(uint32_t *pixels)
{
	uint32_t seed = ++client.pictures * 0x85ebca6bu;

	for (uint32_t i = 0; i < PIXELS; i++)
		pixels[i] = (i * 0x9e3779b1u ^ seed) & 0xffffff;
}

/* What the server has taken from the memory is what we have drawn there. */
static void compare(
	xcb_shm_seg_t segment, const uint32_t *pixels, const char *when)
{
	xcb_get_image_reply_t *reply;
	const uint32_t *seen;

	xcb_shm_put_image(client.x, client.pixmap, client.gc, WIDTH, HEIGHT, 0,
		0, WIDTH, HEIGHT, 0, 0, 24, XCB_IMAGE_FORMAT_Z_PIXMAP, 0,
		segment, 0);
	reply = xcb_get_image_reply(client.x,
		xcb_get_image(client.x, XCB_IMAGE_FORMAT_Z_PIXMAP,
			client.pixmap, 0, 0, WIDTH, HEIGHT, ~0U),
		NULL);
	ff_client_check(client.x);
	if (!reply || xcb_get_image_data_length(reply) != PIXELS * 4)
		ff_client_die("GetImage gave no picture");
	seen = (const uint32_t *)(const void *)xcb_get_image_data(reply);
	for (int i = 0; i < PIXELS; i++)
		if ((seen[i] & 0xffffff) != pixels[i])
			ff_client_die("%s: pixel %d is %06x, not %06x", when, i,
				seen[i] & 0xffffff, pixels[i]);
	free(reply);
}

/* What is to be done when a memfd is mapped, before it is sent. */
static void (*before_crossing)(void);

static void do_memfd(long number)
{
	int fd = memfd_create("steps", MFD_CLOEXEC);
	xcb_shm_seg_t segment = xcb_generate_id(client.x);
	uint32_t *pixels;

	if (fd < 0 || ftruncate(fd, PIXELS * 4))
		ff_client_die("memfd: %s", strerror(errno));
	pixels = mmap(
		NULL, PIXELS * 4, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (pixels == MAP_FAILED)
		ff_client_die("mmap: %s", strerror(errno));
	ff_client_watch(client.x, TIMEOUT_S, "memfd", number, NULL);
	draw(pixels);
	if (before_crossing)
		before_crossing();
	xcb_shm_attach_fd(client.x, segment, fd, 0);
	compare(segment, pixels, "drawn before it crossed");
	draw(pixels);
	compare(segment, pixels, "drawn after it crossed");
	xcb_shm_detach(client.x, segment);
	ff_client_finish(client.x);
	munmap(pixels, PIXELS * 4);
	ff_client_watch(client.x, 0, "between memfds", number, NULL);
}

static struct {
	const char *calls;
	pid_t pid;
} sharer;

static void start_sharer(void)
{
	int ends[2];
	char byte;

	if (pipe(ends))
		ff_client_die("pipe: %s", strerror(errno));
	sharer.pid = fork();
	if (sharer.pid < 0)
		ff_client_die("fork: %s", strerror(errno));
	if (!sharer.pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		ff_steps_filter(FF_STEPS_KILL, sharer.calls);
		if (write(ends[1], "", 1) == 1)
			pause();
		_exit(1);
	}
	if (read(ends[0], &byte, 1) != 1)
		ff_client_die("the sharer is not ready");
	close(ends[0]);
	close(ends[1]);
}

void ff_steps_memfd_with_sharer(const char *calls)
{
	int status;

	sharer.calls = calls;
	before_crossing = start_sharer;
	ff_steps_memfds(1);
	before_crossing = NULL;
	if (waitpid(sharer.pid, &status, WNOHANG))
		ff_client_die("the sharer has died: status %#x", status);
	kill(sharer.pid, SIGKILL);
	waitpid(sharer.pid, NULL, 0);
}

void ff_steps_memfds(long count)
{
	connect_once();
	ff_client_require(client.x, &xcb_shm_id, "MIT-SHM");
	for (long i = 1; i <= count; i++)
		do_memfd(i);
}
