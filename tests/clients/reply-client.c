/* SPDX-License-Identifier: MIT */
/*
 * reply-client: an X client that has the server send it fds, and uses them. It
 * prints "arrived: REQUEST INODE SIZE" for each.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <X11/xshmfence.h>
#include <xcb/dri3.h>
#include <xcb/shm.h>
#include <xcb/sync.h>

#include "client.h"

enum { WIDTH = 64, HEIGHT = 32, BYTES = WIDTH * HEIGHT * 4, TIMEOUT_S = 60 };

static const char usage_text[] =
	"Usage: reply-client [OPTION...]\n"
	"  --rounds=N   ask for each kind N times (default 1)\n"
	"  --no-fences  only what every server has\n"
	"  --goods      the device and buffers, too\n"
	"  --read=HOW   plain; slow: byte by byte; peek: look before;\n"
	"               dup: from a duplicate of the socket\n"
	"Exit status: 0 if all was well, 1 if not, 2 bad usage, 3 stalled.\n";

static const char *const ways[] = {"plain", "slow", "peek", "dup", NULL};
enum { PLAIN, SLOW, PEEK, DUP };

static struct {
	long rounds;
	int no_fences, goods, way;
	xcb_connection_t *x;
	xcb_screen_t *screen;
} client = {.rounds = 1};

static ssize_t call_recvmsg(int fd, struct msghdr *message, int flags)
{
#ifdef BY_SOCKETCALL /* i386: 17 is recvmsg */
	return syscall(SYS_socketcall, 17, (long[]){fd, (long)message, flags});
#else
	return syscall(SYS_recvmsg, fd, message, flags);
#endif
}

/* Look at the message, and close what that brings. */
static void peek(int fd, const struct msghdr *message, int flags)
{
	union {
		char room[CMSG_SPACE(16 * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct msghdr copy = {
		.msg_iov = message->msg_iov,
		.msg_iovlen = message->msg_iovlen,
		.msg_control = control.room,
		.msg_controllen = sizeof(control.room),
	};
	struct cmsghdr *cmsg;

	if (call_recvmsg(fd, &copy, flags | MSG_PEEK) < 0)
		return;
	cmsg = CMSG_FIRSTHDR(&copy);
	for (size_t at = CMSG_LEN(0); cmsg && at < cmsg->cmsg_len;
		at += sizeof(int))
		close(*(int *)(void *)((char *)cmsg + at));
}

/* What libxcb calls, and not the C library's. */
ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
	struct iovec first = message->msg_iov[0];
	struct msghdr copy = *message;
	int source = fd;
	ssize_t got;

	if (client.way == SLOW && first.iov_len > 1) {
		first.iov_len = 1;
		copy.msg_iov = &first;
		copy.msg_iovlen = 1;
	}
	if (client.way == PEEK)
		peek(fd, message, flags);
	if (client.way == DUP)
		source = dup(fd);
	got = call_recvmsg(source, &copy, flags);
	if (source != fd) {
		int error = errno;

		close(source);
		errno = error;
	}
	message->msg_controllen = copy.msg_controllen;
	message->msg_flags = copy.msg_flags;
	return got;
}

static void parse_options(int argc, char **argv)
{
	static const struct option options[] = {
		{"rounds", required_argument, NULL, 'n'},
		{"no-fences", no_argument, &client.no_fences, 1},
		{"goods", no_argument, &client.goods, 1},
		{"read", required_argument, NULL, 'r'}, {0}};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'n')
			client.rounds = ff_client_number(
				"rounds", optarg, 1, 1000000);
		else if (option == 'r')
			while (ways[client.way] &&
				strcmp(ways[client.way], optarg))
				client.way++;
		if (option == '?' || !ways[client.way])
			break;
	}
	if (option == -1 && optind == argc)
		return;
	fputs(usage_text, stderr);
	exit(FF_CLIENT_EXIT_USAGE);
}

static void arrived(const char *request, int fd)
{
	struct stat st;

	if (fd < 0 || fstat(fd, &st))
		ff_client_die("%s gave no fd", request);
	printf("arrived: %s %llu %lld\n", request,
		(unsigned long long)st.st_ino, (long long)st.st_size);
}

/* The fence id, mapped from what the server sends. */
static struct xshmfence *get_fence(xcb_sync_fence_t id)
{
	xcb_dri3_fd_from_fence_reply_t *reply = xcb_dri3_fd_from_fence_reply(
		client.x,
		xcb_dri3_fd_from_fence(client.x, client.screen->root, id),
		NULL);
	struct xshmfence *fence;
	int fd;

	ff_client_check(client.x);
	if (!reply || reply->nfd != 1)
		ff_client_die("FDFromFence gave no fd");
	fd = xcb_dri3_fd_from_fence_reply_fds(client.x, reply)[0];
	arrived("DRI3.FDFromFence", fd);
	fence = xshmfence_map_shm(fd);
	if (!fence)
		ff_client_die("the server's fence cannot be mapped: %s",
			strerror(errno));
	close(fd);
	free(reply);
	return fence;
}

static void await(xcb_sync_fence_t id, struct xshmfence *fence, long number)
{
	ff_client_watch(client.x, TIMEOUT_S, "fence", number,
		(const volatile int32_t *)fence);
	xshmfence_reset(fence);
	xcb_sync_trigger_fence(client.x, id);
	xcb_flush(client.x);
	if (xshmfence_await(fence) || !xshmfence_query(fence))
		ff_client_die("fence %ld is not triggered", number);
	ff_client_watch(client.x, TIMEOUT_S, "replies", number, NULL);
}

/* One that the server makes, and one that it gives back. */
static void do_fences(long number)
{
	xcb_sync_fence_t id = xcb_generate_id(client.x);
	struct xshmfence *fence, *ours;
	int fd;

	xcb_sync_create_fence(client.x, client.screen->root, id, 0);
	fence = get_fence(id);
	await(id, fence, number);
	xcb_sync_destroy_fence(client.x, id);
	xshmfence_unmap_shm(fence);

	fd = xshmfence_alloc_shm();
	ours = fd < 0 ? NULL : xshmfence_map_shm(fd);
	if (!ours)
		ff_client_die("no fence: %s", strerror(errno));
	id = xcb_generate_id(client.x);
	xcb_dri3_fence_from_fd(client.x, client.screen->root, id, 0, fd);
	fence = get_fence(id);
	await(id, fence, number);
	if (!xshmfence_query(ours))
		ff_client_die("what came back is not the fence that was sent");
	xcb_sync_destroy_fence(client.x, id);
	xshmfence_unmap_shm(fence);
	xshmfence_unmap_shm(ours);
}

static xcb_pixmap_t make_pixmap(uint16_t width)
{
	xcb_pixmap_t pixmap = xcb_generate_id(client.x);

	xcb_create_pixmap(client.x, 24, pixmap, client.screen->root, width,
		HEIGHT);
	return pixmap;
}

/* Draw in the segment; what the server then has must be that. */
static void compare(xcb_shm_seg_t segment, uint32_t *pixels)
{
	xcb_pixmap_t pixmap = make_pixmap(WIDTH);
	xcb_gcontext_t gc = xcb_generate_id(client.x);
	xcb_get_image_reply_t *reply;
	const uint32_t *seen;

	for (uint32_t i = 0; i < WIDTH * HEIGHT; i++)
		pixels[i] = (i * 0x9e3779b1u ^ segment) & 0xffffff;
	xcb_create_gc(client.x, gc, pixmap, 0, NULL);
	xcb_shm_put_image(client.x, pixmap, gc, WIDTH, HEIGHT, 0, 0, WIDTH,
		HEIGHT, 0, 0, 24, XCB_IMAGE_FORMAT_Z_PIXMAP, 0, segment, 0);
	reply = xcb_get_image_reply(client.x,
		xcb_get_image(client.x, XCB_IMAGE_FORMAT_Z_PIXMAP, pixmap, 0,
			0, WIDTH, HEIGHT, ~0U),
		NULL);
	ff_client_check(client.x);
	if (!reply || xcb_get_image_data_length(reply) != BYTES)
		ff_client_die("GetImage gave no picture");
	seen = (const uint32_t *)(const void *)xcb_get_image_data(reply);
	for (int i = 0; i < WIDTH * HEIGHT; i++)
		if ((seen[i] & 0xffffff) != pixels[i])
			ff_client_die("pixel %d is %06x, not %06x", i,
				seen[i] & 0xffffff, pixels[i]);
	free(reply);
	xcb_free_gc(client.x, gc);
	xcb_free_pixmap(client.x, pixmap);
}

static void do_segment(void)
{
	xcb_shm_seg_t segment = xcb_generate_id(client.x);
	xcb_shm_create_segment_reply_t *reply = xcb_shm_create_segment_reply(
		client.x,
		xcb_shm_create_segment(client.x, segment, BYTES, 0), NULL);
	uint32_t *pixels;
	int fd;

	ff_client_check(client.x);
	if (!reply || reply->nfd != 1)
		ff_client_die("CreateSegment gave no fd");
	fd = xcb_shm_create_segment_reply_fds(client.x, reply)[0];
	arrived("MIT-SHM.CreateSegment", fd);
	pixels = mmap(
		NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (pixels == MAP_FAILED)
		ff_client_die("mmap: %s", strerror(errno));
	close(fd);
	free(reply);
	compare(segment, pixels);
	xcb_shm_detach(client.x, segment);
	munmap(pixels, BYTES);
}

static void do_device(void)
{
	xcb_dri3_open_reply_t *reply = xcb_dri3_open_reply(client.x,
		xcb_dri3_open(client.x, client.screen->root, 0), NULL);
	int fd;

	if (!reply || reply->nfd != 1)
		ff_client_die("Open gave no fd");
	fd = xcb_dri3_open_reply_fds(client.x, reply)[0];
	arrived("DRI3.Open", fd);
	close(fd);
	free(reply);
}

/* A pixmap that has one plane in the server, and one that has two. */
static void do_buffers(void)
{
	xcb_pixmap_t one = make_pixmap(WIDTH), two = make_pixmap(2 * WIDTH);
	xcb_dri3_buffer_from_pixmap_reply_t *buffer =
		xcb_dri3_buffer_from_pixmap_reply(client.x,
			xcb_dri3_buffer_from_pixmap(client.x, one), NULL);
	xcb_dri3_buffers_from_pixmap_reply_t *buffers =
		xcb_dri3_buffers_from_pixmap_reply(client.x,
			xcb_dri3_buffers_from_pixmap(client.x, two), NULL);
	int *fds;

	if (!buffer || buffer->nfd != 1 || !buffers || buffers->nfd != 2)
		ff_client_die("pixmaps gave no fds");
	fds = xcb_dri3_buffer_from_pixmap_reply_fds(client.x, buffer);
	arrived("DRI3.BufferFromPixmap", fds[0]);
	close(fds[0]);
	fds = xcb_dri3_buffers_from_pixmap_reply_fds(client.x, buffers);
	for (int i = 0; i < 2; i++) {
		arrived("DRI3.BuffersFromPixmap", fds[i]);
		close(fds[i]);
	}
	free(buffer);
	free(buffers);
	xcb_free_pixmap(client.x, one);
	xcb_free_pixmap(client.x, two);
}

static void connect_to_server(void)
{
	ff_client_watch(NULL, TIMEOUT_S, "connecting", 1, NULL);
	client.x = ff_client_connect(&client.screen);
	if (client.screen->root_depth != 24)
		ff_client_die("the screen has depth %d; this needs 24",
			client.screen->root_depth);
	ff_client_require(client.x, &xcb_shm_id, "MIT-SHM");
	if (client.no_fences)
		return;
	ff_client_require(client.x, &xcb_sync_id, "SYNC");
	ff_client_require(client.x, &xcb_dri3_id, "DRI3");
	free(xcb_sync_initialize_reply(
		client.x, xcb_sync_initialize(client.x, 3, 1), NULL));
	free(xcb_dri3_query_version_reply(
		client.x, xcb_dri3_query_version(client.x, 1, 2), NULL));
}

int main(int argc, char **argv)
{
	size_t fds;

	parse_options(argc, argv);
	connect_to_server();
	fds = ff_client_count_fds();
	for (long i = 1; i <= client.rounds; i++) {
		ff_client_watch(client.x, TIMEOUT_S, "replies", i, NULL);
		do_segment();
		if (!client.no_fences)
			do_fences(i);
		if (client.goods) {
			do_device();
			do_buffers();
		}
	}
	ff_client_finish(client.x);
	if (ff_client_count_fds() != fds)
		ff_client_die("%zu fds, and %zu before", ff_client_count_fds(),
			fds);
	ff_client_watch(client.x, 0, "after all", 0, NULL);
	xcb_disconnect(client.x);
	puts("OK");
	return 0;
}
