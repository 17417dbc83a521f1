/* SPDX-License-Identifier: MIT */
#include "fence-client.h"

#include <X11/xshmfence.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xcb/dri3.h>
#include <xcb/sync.h>

#include "bench.h"
#include "clients/client.h"

#define TIMEOUT_S 20

/* A memfd's file system is none that is mounted. */
static uint8_t memory_on(dev_t device)
{
	struct stat shm;

	if (stat("/dev/shm", &shm))
		ff_client_die("/dev/shm: %s", strerror(errno));
	return shm.st_dev == device ? FF_FENCE_FILE : FF_FENCE_MEMFD;
}

/* What a fence by notification does not do without. */
static void take_references(struct ff_fence_round *round)
{
	uint64_t start = ff_now_ns();
	int fd;

	if (sendmsg(-1, NULL, 0) != -1 || errno != EBADF)
		ff_client_die("sendmsg did something");
	round->call_ns = ff_now_ns() - start;
	start = ff_now_ns();
	fd = open("/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, 4) || fallocate(fd, 0, 0, 4) || close(fd))
		ff_client_die("cannot make a file: %s", strerror(errno));
	round->file_ns = ff_now_ns() - start;
}

/* Make one and send it: as Mesa does, but for the checking. */
static struct xshmfence *make_fence(xcb_connection_t *x, xcb_window_t root,
	xcb_sync_fence_t id, struct ff_fence_round *round)
{
	xcb_generic_error_t *error;
	struct ff_client_mapping mapping;
	struct xshmfence *shm;
	struct stat made;
	uint64_t start;
	int fd;

	start = ff_now_ns();
	fd = xshmfence_alloc_shm();
	round->make_ns = ff_now_ns() - start;
	if (fd < 0 || fstat(fd, &made))
		ff_client_die("xshmfence_alloc_shm: %s", strerror(errno));
	shm = xshmfence_map_shm(fd);
	if (!shm)
		ff_client_die("xshmfence_map_shm: %s", strerror(errno));
	error = xcb_request_check(
		x, xcb_dri3_fence_from_fd_checked(x, root, id, 0, fd));
	round->whole_ns = ff_now_ns() - start;
	if (error)
		ff_client_die("FenceFromFD: error %d", error->error_code);
	ff_client_mapping(shm, &mapping);
	round->made = memory_on(made.st_dev);
	round->crossed = memory_on(mapping.device);
	return shm;
}

/* Is it the server's, too? */
static void use_fence(
	xcb_connection_t *x, xcb_sync_fence_t id, struct xshmfence *shm)
{
	xcb_sync_trigger_fence(x, id);
	xcb_flush(x);
	if (xshmfence_await(shm) || !xshmfence_query(shm))
		ff_client_die("the server does not trigger the fence");
}

static void play_round(
	xcb_connection_t *x, xcb_window_t root, struct ff_fence_round *round)
{
	xcb_sync_fence_t id = xcb_generate_id(x);
	struct xshmfence *shm = make_fence(x, root, id, round);

	use_fence(x, id, shm);
	xcb_sync_destroy_fence(x, id);
	xshmfence_unmap_shm(shm);
	ff_client_finish(x);
}

int ff_fence_client(void)
{
	struct ff_fence_round round = {.pid = getpid()};
	xcb_screen_t *screen;
	xcb_connection_t *x;
	char ask;

	ff_client_watch(NULL, TIMEOUT_S, "connecting", 1, NULL);
	x = ff_client_connect(&screen);
	ff_client_require(x, &xcb_sync_id, "SYNC");
	ff_client_require(x, &xcb_dri3_id, "DRI3");
	free(xcb_sync_initialize_reply(
		x, xcb_sync_initialize(x, 3, 1), NULL));
	free(xcb_dri3_query_version_reply(
		x, xcb_dri3_query_version(x, 1, 0), NULL));
	for (long i = 1;; i++) {
		ff_client_watch(x, 0, "waiting", i, NULL);
		if (write(STDOUT_FILENO, &round, sizeof(round)) !=
			sizeof(round))
			return 1;
		if (read(STDIN_FILENO, &ask, 1) != 1)
			break;
		ff_client_watch(x, TIMEOUT_S, "fence", i, NULL);
		round = (struct ff_fence_round){.pid = getpid()};
		if (ask == FF_FENCE_REFERENCES)
			take_references(&round);
		play_round(x, screen->root, &round);
	}
	xcb_disconnect(x);
	return 0;
}
