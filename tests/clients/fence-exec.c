/* SPDX-License-Identifier: MIT */
/*
 * fence-exec: makes fences that it shares with the X server, as a client does,
 * and becomes another program, which need know nothing of X: the fences are its
 * files /proc/self/fd/100 and so on.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <X11/xshmfence.h>
#include <xcb/dri3.h>

#include "client.h"

enum { FIRST_FD = 100, TIMEOUT_S = 30, MOST = 100000 };

static const char usage_text[] =
	"Usage: fence-exec COUNT COMMAND [ARG...]\n"
	"Share COUNT fences with the X server, print \"first fence: \" and "
	"\"last fence: \"\n"
	"with their mappings, then \"ready\", and execute COMMAND, with all "
	"their fds from\n"
	"100 on.\n"
	"Exit status: COMMAND's; 1 if something failed, 2 bad usage, 3 "
	"stalled.\n";

/* Its fds need room. */
static void raise_limit(void)
{
	struct rlimit limit;

	if (!getrlimit(RLIMIT_NOFILE, &limit)) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

/* As Mesa does: mapped first, then sent; xcb closes the fd. */
static const struct xshmfence *make_fence(
	xcb_connection_t *x, const xcb_screen_t *screen, int number)
{
	int fd = xshmfence_alloc_shm();
	const struct xshmfence *fence;

	if (fd < 0)
		ff_client_die("xshmfence_alloc_shm: %s", strerror(errno));
	fence = xshmfence_map_shm(fd);
	if (!fence)
		ff_client_die("xshmfence_map_shm: %s", strerror(errno));
	if (dup2(fd, number) < 0)
		ff_client_die("dup2 to %d: %s", number, strerror(errno));
	xcb_dri3_fence_from_fd(x, screen->root, xcb_generate_id(x), 0, fd);
	return fence;
}

int main(int argc, char **argv)
{
	const struct xshmfence *first = NULL, *last = NULL;
	xcb_screen_t *screen;
	xcb_connection_t *x;
	long count;

	if (argc < 3) {
		fputs(usage_text, stderr);
		return FF_CLIENT_EXIT_USAGE;
	}
	count = ff_client_number("count", argv[1], 1, MOST);
	raise_limit();
	ff_client_watch(NULL, TIMEOUT_S, "connecting", 1, NULL);
	x = ff_client_connect(&screen);
	ff_client_require(x, &xcb_dri3_id, "DRI3");
	free(xcb_dri3_query_version_reply(
		x, xcb_dri3_query_version(x, 1, 0), NULL));
	for (long i = 0; i < count; i++) {
		ff_client_watch(x, TIMEOUT_S, "fence", i + 1, NULL);
		last = make_fence(x, screen, FIRST_FD + (int)i);
		first = first ? first : last;
	}
	ff_client_finish(x);
	ff_client_print_mapping("first fence", first);
	ff_client_print_mapping("last fence", last);
	puts("ready");
	fflush(stdout);
	ff_client_watch(x, 0, "command", 0, NULL);
	/* So the server keeps its fences. */
	fcntl(xcb_get_file_descriptor(x), F_SETFD, 0);
	execvp(argv[2], argv + 2);
	ff_client_die("%s: %s", argv[2], strerror(errno));
}
