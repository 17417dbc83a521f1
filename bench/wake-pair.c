/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"
#include "wake-pair.h"
#include "wake-threads.h"

#define DEADLINE_MS 30000
#define HOST_MS 5000

const char *const ff_way_name[FF_WAYS] = {
	"plain futex",
	"thread per fence",
	"fenceferry",
	"fenceferry, no relay",
	"socket hop",
	"trapped, let go",
};

static int fail(const struct ff_wake_pair *pair, const char *what)
{
	fprintf(stderr, "bench/wake: %s: %s\n", ff_way_name[pair->way], what);
	return -1;
}

/* Fork a child that does not outlive us. */
static pid_t fork_child(void)
{
	pid_t parent = getpid(), child = fork();

	if (!child && (prctl(PR_SET_PDEATHSIG, SIGKILL) || getppid() != parent))
		_exit(1);
	return child;
}

/* The host's command line. */
static _Noreturn void become_host(
	const struct ff_wake_start *start, const char *relay)
{
	char listen[160], dir[160];

	snprintf(listen, sizeof(listen), "--listen=unix:%s", relay);
	snprintf(dir, sizeof(dir), "--shm-dir=%s", start->directory);
	execl(start->fenceferry, start->fenceferry, "host", "--quiet", listen,
		dir, (char *)NULL);
	_exit(127);
}

/* Start the host, and wait until it answers. */
static int start_host(
	struct ff_wake_pair *pair, const struct ff_wake_start *start)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), refused = 1;

	snprintf(address.sun_path, sizeof(address.sun_path), "%.90s-relay",
		pair->path);
	pair->carrier[0] = fork_child();
	if (!pair->carrier[0])
		become_host(start, address.sun_path);
	for (int i = 0; refused && i < HOST_MS; i++) {
		refused = connect(
			fd, (struct sockaddr *)&address, sizeof(address));
		if (refused)
			usleep(1000);
	}
	close(fd);
	return refused ? fail(pair, "the host does not answer") : 0;
}

static int open_lines(struct ff_wake_pair *pair)
{
	int end[2];

	for (int i = 0; i < 2; i++) {
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, end))
			return -1;
		pair->lines[i].out = end[0];
		pair->lines[!i].in = end[1];
	}
	return 0;
}

static void close_lines(struct ff_wake_pair *pair)
{
	for (int i = 0; i < 2; i++) {
		if (pair->lines[i].in >= 0)
			close(pair->lines[i].in);
		if (pair->lines[i].out >= 0)
			close(pair->lines[i].out);
	}
}

/* Both ends of the threads' relay, or just a line for messages. */
static int start_carriers(
	struct ff_wake_pair *pair, const struct ff_wake_start *start)
{
	if (pair->way == FF_WAY_FENCEFERRY)
		return start_host(pair, start);
	if (pair->way != FF_WAY_THREADS && pair->way != FF_WAY_SOCKET)
		return 0;
	if (open_lines(pair))
		return fail(pair, strerror(errno));
	for (int i = 0; pair->way == FF_WAY_THREADS && i < 2; i++) {
		pair->carrier[i] = fork_child();
		if (!pair->carrier[i])
			_exit(ff_threads_relay(pair->stage,
				      i ? FF_PEER : FF_CLIENT,
				      pair->lines[i]) != 0);
	}
	return 0;
}

/* Take over as the client, or what stands around it. */
static _Noreturn void become_client(const struct ff_wake_pair *pair,
	const struct ff_wake_start *start, int orders)
{
	char way[8], socket[160], relay[160], dir[160];
	const char *run[] = {start->fenceferry, "run", "--quiet", socket, dir,
		"--isolate", relay, "--"};
	const char *argv[16];
	int n = 0;

	snprintf(way, sizeof(way), "%d", (int)pair->way);
	snprintf(socket, sizeof(socket), "--x-socket=%s-X", pair->path);
	snprintf(relay, sizeof(relay), "--relay=unix:%s-relay", pair->path);
	snprintf(dir, sizeof(dir), "--shm-dir=%s", start->directory);
	for (int i = 0; pair->way != FF_WAY_NOTIFY && i < 8; i++)
		if (pair->way == FF_WAY_FENCEFERRY || (i != 5 && i != 6))
			argv[n++] = run[i];
	argv[n++] = start->self;
	argv[n++] = "--client";
	argv[n++] = way;
	argv[n++] = pair->path;
	argv[n] = NULL;
	if (pair->way == FF_WAY_NOTIFY)
		_exit(ff_supervise(ff_handle_nothing, (char *const *)argv,
			orders, orders, pair->stops));
	if (dup2(orders, STDIN_FILENO) < 0)
		_exit(126);
	signal(SIGPIPE, SIG_DFL);
	execv(argv[0], (char *const *)argv);
	_exit(127);
}

static bool is_wrapped(const struct ff_wake_pair *pair)
{
	return pair->way == FF_WAY_FENCEFERRY || pair->way == FF_WAY_ALONE ||
	       pair->way == FF_WAY_NOTIFY;
}

/* Wait for an answer, but not for ever. */
static int hear(struct ff_wake_pair *pair, struct ff_wake_player *player,
	struct ff_answer *answer)
{
	struct pollfd ready = {.fd = player->orders, .events = POLLIN};
	int got = poll(&ready, 1, DEADLINE_MS);

	if (got < 0)
		return errno == EINTR ? -1 : fail(pair, strerror(errno));
	if (!got)
		return fail(pair, player == &pair->client
					  ? "the client does not answer"
					  : "the peer does not answer");
	if (read(player->orders, answer, sizeof(*answer)) != sizeof(*answer))
		return fail(pair, pair->stops->error[0] ? pair->stops->error
							: "a player ended");
	if (answer->error[0])
		return fail(pair, answer->error);
	return 0;
}

/* Start a player, and wait until it is ready. */
static int start_player(struct ff_wake_pair *pair, enum ff_side side,
	const struct ff_wake_start *start)
{
	struct ff_wake_player *player =
		side == FF_CLIENT ? &pair->client : &pair->peer;
	struct ff_answer hello;
	int end[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, end))
		return fail(pair, strerror(errno));
	player->orders = end[0];
	player->child = fork_child();
	if (!player->child && side == FF_CLIENT && is_wrapped(pair))
		become_client(pair, start, end[1]);
	if (!player->child) {
		close(end[0]);
		_exit(ff_wake_play(pair->path, pair->way, side, end[1],
			pair->lines[side]));
	}
	close(end[1]);
	if (player->child < 0)
		return fail(pair, strerror(errno));
	if (hear(pair, player, &hello))
		return -1;
	player->pid = hello.pid;
	return 0;
}

/* Until each fence was woken in both directions: relays may be slow to hear of
 * one. */
static int warm_up(struct ff_wake_pair *pair, uint32_t fences)
{
	struct ff_order order = {
		.kind = FF_ORDER_RALLY, .rounds = fences + 100};

	return pair->way == FF_WAY_ALONE
		       ? 0
		       : ff_pair_play(pair, &order, NULL, NULL);
}

int ff_pair_start(struct ff_wake_pair *pair, enum ff_way way,
	const struct ff_wake_start *start)
{
	static int number;
	bool has_peer = way != FF_WAY_ALONE && way != FF_WAY_NOTIFY;

	*pair = (struct ff_wake_pair){
		.way = way, .lines = {{-1, -1}, {-1, -1}}};
	pair->client.orders = pair->peer.orders = -1;
	snprintf(pair->path, sizeof(pair->path), "%s/%d", start->directory,
		number++);
	pair->stage = ff_stage_make(pair->path, start->fences);
	if (!pair->stage)
		return -1;
	pair->stage->keeps_apart = start->keeps_apart;
	pair->stops = mmap(NULL, sizeof(*pair->stops), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (pair->stops == MAP_FAILED)
		abort();
	if (start_carriers(pair, start) ||
		start_player(pair, FF_CLIENT, start) ||
		(has_peer && start_player(pair, FF_PEER, start)) ||
		warm_up(pair, start->fences)) {
		ff_pair_stop(pair, 1);
		return -1;
	}
	return 0;
}

/* Tell a player. */
static int tell(struct ff_wake_pair *pair, const struct ff_wake_player *player,
	const struct ff_order *order)
{
	return send(player->orders, order, sizeof(*order), MSG_NOSIGNAL) ==
			       sizeof(*order)
		       ? 0
		       : fail(pair, "a player has gone");
}

int ff_pair_play(struct ff_wake_pair *pair, const struct ff_order *order,
	double *client, double *peer)
{
	struct ff_order told = *order, stop = {.kind = FF_ORDER_COUNT};
	bool both = pair->peer.child && order->kind != FF_ORDER_COST;
	struct ff_answer answer;

	told.first = pair->next;
	pair->next = (pair->next + order->rounds) % pair->stage->fences;
	if (both && (tell(pair, &pair->peer, &told) ||
			    hear(pair, &pair->peer, &answer)))
		return -1;
	if (tell(pair, &pair->client, &told) ||
		hear(pair, &pair->client, &answer))
		return -1;
	if (client)
		*client = answer.value;
	if (!both)
		return 0;
	if (order->kind == FF_ORDER_FLOOD && tell(pair, &pair->peer, &stop))
		return -1;
	if (hear(pair, &pair->peer, &answer))
		return -1;
	if (peer)
		*peer = answer.value;
	return 0;
}

/* End a player; gently, but for those that have failed. */
static int stop_player(
	struct ff_wake_pair *pair, struct ff_wake_player *player, int failed)
{
	const struct ff_order leave = {.kind = FF_ORDER_LEAVE};
	int status = 0;

	if (!failed && player->child)
		failed = tell(pair, player, &leave);
	if (player->orders >= 0)
		close(player->orders);
	if (player->child <= 0)
		return failed;
	if (failed && player->pid)
		kill(player->pid, SIGKILL);
	if (ff_end_child(player->child, player->pid,
		    failed ? 2000 : DEADLINE_MS, &status) &&
		!failed)
		failed = fail(pair, "does not end");
	if (!failed && pair->stops->error[0])
		failed = fail(pair, pair->stops->error);
	if (!failed && status)
		failed = fail(pair, "ended with an error");
	return failed;
}

int ff_pair_stop(struct ff_wake_pair *pair, int failed)
{
	int status;

	failed = stop_player(pair, &pair->client, failed);
	failed = stop_player(pair, &pair->peer, failed);
	close_lines(pair);
	for (int i = 0; i < 2; i++) {
		if (pair->carrier[i] <= 0)
			continue;
		kill(pair->carrier[i],
			pair->way == FF_WAY_FENCEFERRY ? SIGTERM : SIGKILL);
		if (ff_end_child(pair->carrier[i], 0, HOST_MS, &status))
			failed = fail(pair, "the host does not end");
		else if (!failed && pair->way == FF_WAY_FENCEFERRY && status)
			failed = fail(pair, "the host ended with an error");
	}
	ff_stage_close(pair->stage);
	munmap(pair->stops, sizeof(*pair->stops));
	unlink(pair->path);
	return failed ? -1 : 0;
}
