/* SPDX-License-Identifier: MIT */
/*
 * hang-client: waits in one thread for a fence that nobody triggers, by
 * functions with known names, while another thread uses fences that work.
 */
#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>
#include <X11/xshmfence.h>
#include <xcb/dri3.h>
#include <xcb/sync.h>

#include "client.h"

/* Each a frame of its own, in every build. */
#define FRAME __attribute__((noinline, noclone))

struct options {
	long rounds, hold_s;
	int release;
};

struct fence {
	xcb_sync_fence_t id;
	struct xshmfence *shm;
};

struct client {
	struct options options;
	xcb_connection_t *x;
	xcb_screen_t *screen;
	struct fence hanging;
	sem_t is_sent;	 /* the waiter's fence: one flush may send all fds */
	volatile int frames;
};

static const char usage_text[] =
	"Usage: hang-client [OPTION]...\n"
	"Wait for a fence that nobody triggers.\n"
	"  --rounds=N      rounds of the thread that does not hang (default 10)\n"
	"  --hold=SECONDS  end after so long (default: never)\n"
	"  --release       trigger the fence when a line, or the end, comes on\n"
	"                  standard input\n"
	"Exit status: 0 if the fence was triggered in the end, or after --hold; "
	"1 if\n"
	"something was wrong, 2 bad usage.\n";

static void parse_options(int argc, char **argv, struct options *options)
{
	static const struct option table[] = {
		{"rounds", required_argument, NULL, 'r'},
		{"hold", required_argument, NULL, 'H'},
		{"release", no_argument, NULL, 'R'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	int c, index = 0;

	options->rounds = 10;
	while ((c = getopt_long(argc, argv, "h", table, &index)) != -1) {
		if (c == 'r')
			options->rounds = ff_client_number(
				"rounds", optarg, 1, 100000000);
		else if (c == 'H')
			options->hold_s =
				ff_client_number("hold", optarg, 1, 86400);
		else if (c == 'R')
			options->release = 1;
		else {
			fputs(usage_text, c == 'h' ? stdout : stderr);
			exit(c == 'h' ? 0 : FF_CLIENT_EXIT_USAGE);
		}
	}
	if (optind < argc) {
		fprintf(stderr, "hang-client: %s: not an option\n%s",
			argv[optind], usage_text);
		exit(FF_CLIENT_EXIT_USAGE);
	}
}

/* Inlined into whoever sends a fence: a call stack is to show it. */
static inline __attribute__((always_inline)) void
send_fence(struct client *client, struct fence *fence, int fd)
{
	fence->id = xcb_generate_id(client->x);
	xcb_dri3_fence_from_fd(
		client->x, client->screen->root, fence->id, 0, fd);
	if (xcb_flush(client->x) <= 0)
		ff_client_die("the connection to the X server broke");
}

static FRAME void make_fence(struct client *client, struct fence *fence)
{
	int fd = xshmfence_alloc_shm();

	if (fd < 0)
		ff_client_die("xshmfence_alloc_shm: %s", strerror(errno));
	fence->shm = xshmfence_map_shm(fd);
	if (!fence->shm)
		ff_client_die("xshmfence_map_shm: %s", strerror(errno));
	send_fence(client, fence, fd);
}

static FRAME void destroy_fence(struct client *client, struct fence *fence)
{
	xcb_sync_destroy_fence(client->x, fence->id);
	xcb_flush(client->x);
	xshmfence_unmap_shm(fence->shm);
}

/* The frame's fence, which only --release triggers. */
static FRAME void wait_for_frame(struct client *client)
{
	if (xshmfence_await(client->hanging.shm))
		ff_client_die("xshmfence_await: %s", strerror(errno));
	client->frames++;
}

static FRAME void draw_frame(struct client *client)
{
	make_fence(client, &client->hanging);
	sem_post(&client->is_sent);
	printf("waiting: thread %d\n", gettid());
	fflush(stdout);
	wait_for_frame(client);
	client->frames++;
}

static FRAME void *render_thread(void *context)
{
	struct client *client = context;

	prctl(PR_SET_NAME, "waiter");
	draw_frame(client);
	destroy_fence(client, &client->hanging);
	return client;
}

static FRAME void do_round(struct client *client)
{
	struct fence fence;

	make_fence(client, &fence);
	xcb_sync_trigger_fence(client->x, fence.id);
	xcb_flush(client->x);
	if (xshmfence_await(fence.shm))
		ff_client_die("xshmfence_await: %s", strerror(errno));
	destroy_fence(client, &fence);
}

static FRAME void *work_thread(void *context)
{
	struct client *client = context;
	char line[64];

	prctl(PR_SET_NAME, "worker");
	while (sem_wait(&client->is_sent) && errno == EINTR)
		;
	for (long i = 0; i < client->options.rounds; i++)
		do_round(client);
	printf("worker: %ld rounds\n", client->options.rounds);
	fflush(stdout);
	if (!client->options.release)
		return client;
	if (read(STDIN_FILENO, line, sizeof(line)) < 0)
		ff_client_die("standard input: %s", strerror(errno));
	xcb_sync_trigger_fence(client->x, client->hanging.id);
	xcb_flush(client->x);
	return client;
}

static FRAME void join(pthread_t thread)
{
	int err = pthread_join(thread, NULL);

	if (err)
		ff_client_die("pthread_join: %s", strerror(err));
}

static void start(pthread_t *thread, void *(*run)(void *), void *context)
{
	int err = pthread_create(thread, NULL, run, context);

	if (err)
		ff_client_die("pthread_create: %s", strerror(err));
}

static void leave(int sig)
{
	(void)sig;
	_exit(0);
}

int main(int argc, char **argv)
{
	static struct client client;
	pthread_t waiter, worker;

	parse_options(argc, argv, &client.options);
	if (client.options.hold_s) {
		signal(SIGALRM, leave);
		alarm((unsigned int)client.options.hold_s);
	}
	client.x = ff_client_connect(&client.screen);
	ff_client_require(client.x, &xcb_dri3_id, "DRI3");
	ff_client_require(client.x, &xcb_sync_id, "SYNC");
	sem_init(&client.is_sent, 0, 0);
	start(&waiter, render_thread, &client);
	start(&worker, work_thread, &client);
	join(worker);
	join(waiter);
	ff_client_finish(client.x);
	xcb_disconnect(client.x);
	puts("OK");
	return 0;
}
