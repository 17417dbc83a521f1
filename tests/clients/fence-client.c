/* SPDX-License-Identifier: MIT */
/*
 * fence-client: does with fences what Mesa's DRI3 loader does, and checks that
 * every one of them works.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>
#include <X11/xshmfence.h>
#include <xcb/dri3.h>
#include <xcb/present.h>
#include <xcb/sync.h>

#include "client.h"
#include "idle.h"
#include "ward.h"

#define WIDTH 64
#define HEIGHT 64
#define WORK_SIZE 512

struct options {
	long rounds, presents, fences, hold_s, threads, timeout_s;
	int maps, duplicate, busy, pause, ward;
};

struct client {
	struct options options;
	xcb_connection_t *x;
	xcb_screen_t *screen;
	xcb_pixmap_t work;
	xcb_gcontext_t gc;
};

struct fence {
	xcb_sync_fence_t id;
	struct xshmfence *shm;
	int duplicate; /* fd, or -1 */
};

static const char usage_text[] =
	"Usage: fence-client [OPTION]...\n"
	"Share fences with the X server by DRI3 and check that they work.\n"
	"  --rounds=N       reset, trigger and await one fence N times\n"
	"  --busy           have the server draw before it triggers: rounds "
	"sleep\n"
	"  --present=N      present a pixmap N times, await its idle fence\n"
	"  --fences=N       make, use and destroy N fences, look for leaks\n"
	"  --threads=N      with N idle threads (in futex, nanosleep, read)\n"
	"  --duplicate      keep a duplicate of the first fence's fd, and "
	"check it\n"
	"  --maps           show the fence's mapping before and after it "
	"crosses\n"
	"  --hold=SECONDS   keep the first fence for so long before the end\n"
	"  --ward           with a child in a sandbox of this program's own\n"
	"  --pause          wait for a line on standard input before the first "
	"fence,\n"
	"                   after its first use, and before the end\n"
	"  --timeout=SECONDS  how long a step may take (default 10)\n"
	"One round if none of --rounds, --present, --fences is given.\n"
	"Exit status: 0 if all was well, 1 if not, 2 bad usage, 3 stalled.\n";

static void parse_options(int argc, char **argv, struct options *options)
{
	static const struct option table[] = {
		{"rounds", required_argument, NULL, 'r'},
		{"present", required_argument, NULL, 'p'},
		{"fences", required_argument, NULL, 'f'},
		{"threads", required_argument, NULL, 't'},
		{"hold", required_argument, NULL, 'H'},
		{"timeout", required_argument, NULL, 'T'},
		{"busy", no_argument, NULL, 'b'},
		{"duplicate", no_argument, NULL, 'd'},
		{"maps", no_argument, NULL, 'm'},
		{"pause", no_argument, NULL, 'P'},
		{"ward", no_argument, NULL, 'w'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	int c, index = 0;

	options->timeout_s = 10;
	while ((c = getopt_long(argc, argv, "h", table, &index)) != -1) {
		const char *name = table[index].name;

		if (c == 'r')
			options->rounds =
				ff_client_number(name, optarg, 1, 100000000);
		else if (c == 'p')
			options->presents =
				ff_client_number(name, optarg, 1, 1000000);
		else if (c == 'f')
			options->fences =
				ff_client_number(name, optarg, 1, 1000000);
		else if (c == 't')
			options->threads =
				ff_client_number(name, optarg, 1, 4096);
		else if (c == 'H')
			options->hold_s =
				ff_client_number(name, optarg, 1, 86400);
		else if (c == 'T')
			options->timeout_s =
				ff_client_number(name, optarg, 1, 3600);
		else if (c == 'b')
			options->busy = 1;
		else if (c == 'd')
			options->duplicate = 1;
		else if (c == 'm')
			options->maps = 1;
		else if (c == 'P')
			options->pause = 1;
		else if (c == 'w')
			options->ward = 1;
		else {
			fputs(usage_text, c == 'h' ? stdout : stderr);
			exit(c == 'h' ? 0 : FF_CLIENT_EXIT_USAGE);
		}
	}
	if (optind < argc) {
		fprintf(stderr, "fence-client: %s: not an option\n%s",
			argv[optind], usage_text);
		exit(FF_CLIENT_EXIT_USAGE);
	}
	if (!options->rounds && !options->presents && !options->fences)
		options->rounds = 1;
}

/* A fence's word is all that its mapping holds. */
static const volatile int32_t *word_of(const struct fence *fence)
{
	return (const volatile int32_t *)fence->shm;
}

/* As Mesa does: mapped first, then sent; xcb closes the fd. */
static struct fence make_fence(struct client *client, int duplicate)
{
	struct fence fence = {.duplicate = -1};
	int fd = xshmfence_alloc_shm();

	if (fd < 0)
		ff_client_die("xshmfence_alloc_shm: %s", strerror(errno));
	fence.shm = xshmfence_map_shm(fd);
	if (!fence.shm)
		ff_client_die("xshmfence_map_shm: %s", strerror(errno));
	if (duplicate) {
		fence.duplicate = fcntl(fd, F_DUPFD_CLOEXEC, 0);
		if (fence.duplicate < 0)
			ff_client_die("dup: %s", strerror(errno));
	}
	if (client->options.maps)
		ff_client_print_mapping("fence before crossing", fence.shm);
	fence.id = xcb_generate_id(client->x);
	if (client->options.maps)
		printf("fence's xid: %u\n", fence.id);
	xcb_dri3_fence_from_fd(
		client->x, client->screen->root, fence.id, 0, fd);
	return fence;
}

static void destroy_fence(struct client *client, struct fence *fence)
{
	xcb_sync_destroy_fence(client->x, fence->id);
	xshmfence_unmap_shm(fence->shm);
	if (fence->duplicate >= 0)
		close(fence->duplicate);
}

/* The server's hand on the word, by way of its own mapping. */
static void use_fence(struct client *client, struct fence *fence)
{
	xshmfence_reset(fence->shm);
	xcb_sync_trigger_fence(client->x, fence->id);
	xcb_flush(client->x);
	if (xshmfence_await(fence->shm))
		ff_client_die("xshmfence_await: %s", strerror(errno));
	if (!xshmfence_query(fence->shm))
		ff_client_die("await ended, but the fence is not triggered");
}

/*
 * Whether the duplicate is still the file that is mapped: by its inode, and by
 * what the word reads through it. The server has just triggered the fence.
 */
static void check_duplicate(struct fence *fence)
{
	struct ff_client_mapping mapping;
	struct stat st;
	int32_t word = 0;

	if (fence->duplicate < 0)
		return;
	ff_client_mapping(fence->shm, &mapping);
	if (fstat(fence->duplicate, &st))
		ff_client_die("fstat: %s", strerror(errno));
	if (st.st_ino != mapping.inode || st.st_dev != mapping.device)
		ff_client_die(
			"the duplicate is inode %lu of %u:%u, but mapped is %s",
			(unsigned long)st.st_ino, major(st.st_dev),
			minor(st.st_dev), mapping.text);
	if (pread(fence->duplicate, &word, sizeof(word), 0) != sizeof(word) ||
		word != 1)
		ff_client_die(
			"the fence is triggered, the duplicate reads %d", word);
	xshmfence_reset(fence->shm);
	if (pread(fence->duplicate, &word, sizeof(word), 0) != sizeof(word) ||
		word)
		ff_client_die(
			"the fence is reset, the duplicate reads %d", word);
	printf("duplicate: same inode %lu, same content\n",
		(unsigned long)mapping.inode);
}

/* How often this thread has gone to sleep: here, in await's futex only. */
static long count_sleeps(void)
{
	struct rusage usage;

	getrusage(RUSAGE_THREAD, &usage);
	return usage.ru_nvcsw;
}

/*
 * Something to draw on that keeps the server busy for a while. Without it the
 * server has often triggered the fence before the client comes to await it.
 */
static void make_work(struct client *client)
{
	client->work = xcb_generate_id(client->x);
	client->gc = xcb_generate_id(client->x);
	xcb_create_pixmap(client->x, client->screen->root_depth, client->work,
		client->screen->root, WORK_SIZE, WORK_SIZE);
	xcb_create_gc(client->x, client->gc, client->work, 0, NULL);
}

static void do_round(struct client *client, struct fence *fence)
{
	const xcb_rectangle_t all = {0, 0, WORK_SIZE, WORK_SIZE};

	if (client->options.busy)
		xcb_poly_fill_rectangle(
			client->x, client->work, client->gc, 1, &all);
	use_fence(client, fence);
}

static void do_rounds(struct client *client, struct fence *fence)
{
	struct timespec start, end;
	long i, sleeps = count_sleeps();
	double us;

	make_work(client);
	clock_gettime(CLOCK_MONOTONIC, &start);
	for (i = 1; i <= client->options.rounds; i++) {
		ff_client_watch(client->x, client->options.timeout_s, "round",
			i, word_of(fence));
		do_round(client, fence);
	}
	clock_gettime(CLOCK_MONOTONIC, &end);
	sleeps = count_sleeps() - sleeps;
	us = (end.tv_sec - start.tv_sec) * 1e6 +
	     (end.tv_nsec - start.tv_nsec) / 1e3;
	ff_client_check(client->x);
	printf("rounds: %ld, %.1f us each, %ld slept\n", client->options.rounds,
		us / client->options.rounds, sleeps);
	xcb_free_gc(client->x, client->gc);
	xcb_free_pixmap(client->x, client->work);
}

static uint32_t pixel_of(struct client *client, xcb_drawable_t drawable)
{
	xcb_get_image_reply_t *reply = xcb_get_image_reply(client->x,
		xcb_get_image(client->x, XCB_IMAGE_FORMAT_Z_PIXMAP, drawable,
			WIDTH / 2, HEIGHT / 2, 1, 1, 0xffffff),
		NULL);
	uint32_t pixel;

	if (!reply || xcb_get_image_data_length(reply) < (int)sizeof(pixel)) {
		ff_client_check(client->x);
		ff_client_die("GetImage gave nothing");
	}
	memcpy(&pixel, xcb_get_image_data(reply), sizeof(pixel));
	free(reply);
	if (xcb_get_setup(client->x)->image_byte_order !=
		(__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__))
		pixel = __builtin_bswap32(pixel);
	return pixel & 0xffffff;
}

/* One frame: draw, present, await the idle fence, look at the window. */
static void present_once(struct client *client, struct fence *idle,
	xcb_window_t window, xcb_pixmap_t pixmap, xcb_gcontext_t gc,
	uint32_t serial)
{
	const xcb_rectangle_t all = {0, 0, WIDTH, HEIGHT};
	uint32_t colour = serial * 0x010307 & 0xffffff, seen;

	xcb_change_gc(client->x, gc, XCB_GC_FOREGROUND, &colour);
	xcb_poly_fill_rectangle(client->x, pixmap, gc, 1, &all);
	xshmfence_reset(idle->shm);
	xcb_present_pixmap(client->x, window, pixmap, serial, 0, 0, 0, 0, 0, 0,
		idle->id, XCB_PRESENT_OPTION_NONE, 0, 0, 0, 0, NULL);
	xcb_flush(client->x);
	if (xshmfence_await(idle->shm))
		ff_client_die("xshmfence_await: %s", strerror(errno));
	seen = pixel_of(client, window);
	if (seen != colour)
		ff_client_die(
			"frame %u is idle, but the window shows %06x, not %06x",
			serial, seen, colour);
}

static void do_presents(struct client *client, struct fence *idle)
{
	const uint32_t values[] = {1}; /* override-redirect */
	xcb_connection_t *x = client->x;
	xcb_window_t window = xcb_generate_id(x);
	xcb_pixmap_t pixmap = xcb_generate_id(x);
	xcb_gcontext_t gc = xcb_generate_id(x);
	long i;

	if (client->screen->root_depth != 24)
		ff_client_die("the screen has depth %d; this needs 24",
			client->screen->root_depth);
	xcb_create_window(x, XCB_COPY_FROM_PARENT, window, client->screen->root,
		0, 0, WIDTH, HEIGHT, 0, XCB_WINDOW_CLASS_INPUT_OUTPUT,
		XCB_COPY_FROM_PARENT, XCB_CW_OVERRIDE_REDIRECT, values);
	xcb_map_window(x, window);
	xcb_create_pixmap(x, 24, pixmap, window, WIDTH, HEIGHT);
	xcb_create_gc(x, gc, pixmap, 0, NULL);
	for (i = 1; i <= client->options.presents; i++) {
		ff_client_watch(x, client->options.timeout_s, "present", i,
			word_of(idle));
		present_once(client, idle, window, pixmap, gc, (uint32_t)i);
	}
	xcb_free_gc(x, gc);
	xcb_free_pixmap(x, pixmap);
	xcb_destroy_window(x, window);
	ff_client_finish(x);
	printf("presents: %ld\n", client->options.presents);
}

/* The whole life of fence number i. */
static void do_fence(struct client *client, long i)
{
	struct fence fence = make_fence(client, 0);

	ff_client_watch(client->x, client->options.timeout_s, "fence", i,
		word_of(&fence));
	use_fence(client, &fence);
	ff_client_watch(client->x, client->options.timeout_s,
		"destroying fence", i, NULL);
	destroy_fence(client, &fence);
}

static void do_fences(struct client *client)
{
	size_t fds, mappings, fds_after, mappings_after;
	long i;

	/* Not counted: it warms up the libraries. */
	do_fence(client, 0);
	ff_client_finish(client->x);
	fds = ff_client_count_fds();
	mappings = ff_client_count_mappings();
	for (i = 1; i <= client->options.fences; i++)
		do_fence(client, i);
	ff_client_finish(client->x);
	fds_after = ff_client_count_fds();
	mappings_after = ff_client_count_mappings();
	printf("fences: %ld, fds %zu before, %zu after, mappings %zu before, "
	       "%zu after\n",
		client->options.fences, fds, fds_after, mappings,
		mappings_after);
	if (fds_after != fds || mappings_after != mappings)
		ff_client_die("the fences have left something behind");
}

/* Let whoever watches this program take its time. */
static void take_pause(struct client *client, const char *where)
{
	if (!client->options.pause)
		return;
	ff_client_watch(client->x, 0, where, 0, NULL);
	ff_client_pause(where);
}

static void do_work(struct client *client)
{
	struct fence fence;

	take_pause(client, "start");
	fence = make_fence(client, client->options.duplicate);
	ff_client_watch(client->x, client->options.timeout_s,
		"first use of fence", 1, word_of(&fence));
	use_fence(client, &fence);
	if (client->options.maps)
		ff_client_print_mapping("fence after crossing", fence.shm);
	/* The next ones need not be shown. */
	client->options.maps = 0;
	check_duplicate(&fence);
	take_pause(client, "middle");
	if (client->options.rounds)
		do_rounds(client, &fence);
	if (client->options.presents)
		do_presents(client, &fence);
	if (client->options.fences)
		do_fences(client);
	ff_client_watch(client->x, 0, "hold", 0, NULL);
	fflush(stdout);
	if (client->options.hold_s)
		sleep((unsigned int)client->options.hold_s);
	take_pause(client, "end");
	check_duplicate(&fence);
	destroy_fence(client, &fence);
	ff_client_finish(client->x);
}

int main(int argc, char **argv)
{
	struct client client = {0};

	parse_options(argc, argv, &client.options);
	ff_client_watch(NULL, client.options.timeout_s, "connecting", 1, NULL);
	client.x = ff_client_connect(&client.screen);
	ff_client_require(client.x, &xcb_sync_id, "SYNC");
	ff_client_require(client.x, &xcb_present_id, "Present");
	ff_client_require(client.x, &xcb_dri3_id, "DRI3");
	/* The versions must be agreed on before anything else is asked. */
	free(xcb_sync_initialize_reply(
		client.x, xcb_sync_initialize(client.x, 3, 1), NULL));
	free(xcb_present_query_version_reply(
		client.x, xcb_present_query_version(client.x, 1, 0), NULL));
	free(xcb_dri3_query_version_reply(
		client.x, xcb_dri3_query_version(client.x, 1, 0), NULL));
	if (client.options.ward)
		ff_ward_start();
	ff_idle_start(client.options.threads);
	do_work(&client);
	ff_idle_check(client.options.threads);
	if (client.options.ward)
		ff_ward_check();
	xcb_disconnect(client.x);
	puts("OK");
	return 0;
}
