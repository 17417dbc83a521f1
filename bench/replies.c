/* SPDX-License-Identifier: MIT */
/* What --replies costs those who receive messages: see README.md. */
#include <math.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <xcb/shm.h>
#include <xcb/xcb.h>

#include "bench.h"
#include "measured.h"
#include "xorg/server.h"

/* Round trips between two looks at the clock. */
#define BATCH 32
#define MESSAGE 128

enum trip { SOCKET, X, X_FD, TRIPS };

static const char *const trip_name[TRIPS] = {
	"a message and its answer, no X",
	"X: GetInputFocus",
	"X: CreateSegment, with its fd",
};

static int end[2];
static xcb_connection_t *x;

static bool send_message(int fd)
{
	char bytes[MESSAGE] = {0};
	struct iovec part = {bytes, sizeof(bytes)};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};

	return sendmsg(fd, &message, MSG_NOSIGNAL) == MESSAGE;
}

/* As libdbus does it. */
static bool receive_message(int fd)
{
	struct pollfd ready = {fd, POLLIN, 0};
	char bytes[MESSAGE];
	union {
		char room[CMSG_SPACE(16 * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec part = {bytes, sizeof(bytes)};
	struct msghdr message = {
		.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = control.room,
		.msg_controllen = sizeof(control.room),
	};

	return poll(&ready, 1, 10000) == 1 &&
	       recvmsg(fd, &message, MSG_CMSG_CLOEXEC) == MESSAGE;
}

/* In a child: to its parent's end. */
static _Noreturn void be_peer(void)
{
	close(end[0]);
	while (receive_message(end[1]) && send_message(end[1]))
		;
	_exit(0);
}

static bool ask_focus(void)
{
	void *reply = xcb_get_input_focus_reply(
		x, xcb_get_input_focus(x), NULL);

	free(reply);
	return reply != NULL;
}

static bool get_segment(void)
{
	xcb_shm_seg_t segment = xcb_generate_id(x);
	xcb_shm_create_segment_reply_t *reply = xcb_shm_create_segment_reply(
		x, xcb_shm_create_segment(x, segment, 4096, 0), NULL);
	bool good = reply && reply->nfd == 1;

	if (good)
		close(xcb_shm_create_segment_reply_fds(x, reply)[0]);
	xcb_shm_detach(x, segment);
	free(reply);
	return good;
}

static bool make_trip(enum trip trip)
{
	switch (trip) {
	case SOCKET:
		return send_message(end[0]) && receive_message(end[0]);
	case X:
		return ask_focus();
	default:
		return get_segment();
	}
}

/* The median of many batches, in us a trip; NAN when one fails. */
static double measure(enum trip trip, double seconds)
{
	struct ff_samples us = {0};
	uint64_t last = ff_now_ns() + (uint64_t)(seconds * 1e9), start, now;
	double median;

	do {
		bool good = true;

		start = ff_now_ns();
		for (int i = 0; i < BATCH; i++)
			good = good && make_trip(trip);
		now = ff_now_ns();
		if (!good) {
			ff_samples_clear(&us);
			return NAN;
		}
		ff_samples_add(&us, (double)(now - start) / 1e3 / BATCH);
	} while (now < last || us.count < 5);
	median = ff_samples_median(&us);
	ff_samples_clear(&us);
	return median;
}

/* The measured process: its figures go to standard output. */
static int be_measured(double seconds)
{
	double us[TRIPS];
	pid_t peer;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, end))
		return 1;
	peer = fork();
	if (!peer)
		be_peer();
	close(end[1]);
	x = xcb_connect(NULL, NULL);
	if (peer < 0 || xcb_connection_has_error(x))
		return 1;
	for (int trip = 0; trip < TRIPS; trip++) {
		us[trip] = measure((enum trip)trip, seconds);
		if (isnan(us[trip])) {
			fprintf(stderr, "bench/replies: %s: failed\n",
				trip_name[trip]);
			return 1;
		}
	}
	close(end[0]);
	waitpid(peer, NULL, 0);
	xcb_disconnect(x);
	return ff_measured_tell(us, TRIPS) < 0;
}

int main(int argc, char **argv)
{
	const struct ff_test_server_options options = {
		.kind = FF_TEST_XVFB, .client_uid = geteuid()};
	const char *given = getenv("FENCEFERRY");
	const char *fenceferry = given ? given : "./fenceferry";
	static struct ff_measured measured;
	struct ff_test_server server;
	struct ff_error error;
	bool quick = argc == 2 && !strcmp(argv[1], "--quick");
	int status;

	if (argc == 3 && !strcmp(argv[1], "--measured"))
		return be_measured(atof(argv[2]));
	if (argc > 1 && !quick) {
		fprintf(stderr, "usage: bench/replies [--quick]\n"
				"FENCEFERRY names the program (./fenceferry)\n");
		return 2;
	}
	measured = (struct ff_measured){
		.program = "bench/replies",
		.setting = {
			{"bare"},
			{"fenceferry run --engine=off", {fenceferry, "run",
				"--engine=off", "--"}},
			{"the same, --replies", {fenceferry, "run",
				"--engine=off", "--replies", "--log=/dev/null",
				"--"}},
		},
		.settings = 3,
		.thing = trip_name,
		.things = TRIPS,
	};
	if (ff_test_server_start(&server, &options, &error)) {
		fprintf(stderr, "bench/replies: %s\n", error.text);
		return 1;
	}
	ff_test_server_export(&server);
	status = ff_measured_run(&measured, quick ? 3 : 9,
			 quick ? "0.1" : "0.2") < 0;
	if (!status)
		ff_measured_print(&measured, "round trip", "us");
	if (ff_test_server_stop(&server, &error)) {
		fprintf(stderr, "bench/replies: %s\n", error.text);
		status = 1;
	}
	return status;
}
