/* SPDX-License-Identifier: MIT */
#include "keeper.h"

#include "clock.h"
#include "exit.h"
#include "heir.h"
#include "inject/install.h"
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* How long, and how often, a process is asked for the listener that was about to
 * appear there; and how long if the thread lacks a processor. */
#define RESCUE_NS 300000000ull
#define RESCUE_RUNNABLE_NS 3000000000ull
#define RESCUE_MS 5

struct keep {
	struct ff_kept *kept;
	int memory;	/* its fd */
	int connection; /* to an attach; -1: none */
	pid_t attacher; /* who is connected */
	int socket;	/* where they connect */
	int listeners[FF_KEPT_MAX]; /* -1: hung up */
	/* After the death of an attach: see ff_kept.announced. */
	uint64_t rescue_ns; /* since when; 0: there is nothing to fetch */
	int rescue_pidfd;
};

static size_t count_alive(const struct keep *keep)
{
	size_t alive = 0;

	for (size_t i = 0; i < keep->kept->count; i++)
		alive += keep->listeners[i] >= 0;
	return alive;
}

static void drop_listener(struct keep *keep, size_t index)
{
	close(keep->listeners[index]);
	keep->listeners[index] = -1;
}

static struct pollfd look_at(int fd, short events)
{
	struct pollfd pollfd = { .fd = fd, .events = events };

	poll(&pollfd, 1, 0);
	return pollfd;
}

/* One that was hung up is of no more use. Only between two attaches. */
static void compact(struct keep *keep)
{
	struct ff_kept *kept = keep->kept;
	size_t count = 0;

	for (size_t i = 0; i < kept->count; i++) {
		if (keep->listeners[i] < 0)
			continue;
		keep->listeners[count] = keep->listeners[i];
		kept->listeners[count++] = kept->listeners[i];
	}
	kept->count = count;
}

static void add_listener(struct keep *keep, size_t index, pid_t pid, int fd)
{
	struct ff_kept *kept = keep->kept;

	/* Written by an attach before it told us; by us after its death. */
	kept->listeners[index].pid = pid;
	keep->listeners[index] = fd;
	if (index >= kept->count)
		kept->count = index + 1;
}

/* Must the thread have made its call by now, if it was about to? */
static bool is_through(const struct keep *keep)
{
	const uint64_t passed_ns = ff_now_ns() - keep->rescue_ns;
	struct ff_status status;

	if (ff_process_status(keep->kept->announced_by, &status) < 0)
		return true;
	if (status.state == 'T' || status.state == 't')
		return false; /* it will when it goes on */
	return passed_ns > (status.state == 'R' ? RESCUE_RUNNABLE_NS :
						  RESCUE_NS);
}

/* The attach died when a listener was about to appear there: by its number it is
 * known from those that the process may have of its own. */
static void rescue(struct keep *keep)
{
	struct ff_kept *kept = keep->kept;
	int number = -1, fd = -1;
	bool has_called = ff_install_result(kept->announced,
		kept->announced_at, &number);

	if (has_called && number >= 0 && kept->count < FF_KEPT_MAX)
		fd = pidfd_getfd(keep->rescue_pidfd, number, 0);
	if (fd >= 0 && ff_keeper_is_listener(fd)) {
		kept->listeners[kept->count].legacy =
			(struct ff_legacy){ .oldest_held = UINT64_MAX };
		add_listener(keep, kept->count, kept->announced, fd);
	} else if (fd >= 0) {
		close(fd);
	}
	if (has_called || is_through(keep)) {
		close(keep->rescue_pidfd);
		keep->rescue_ns = 0;
		kept->announced = 0;
	}
}

/* The attach has gone, by itself or not: what it left is ours. */
static void take_over(struct keep *keep)
{
	struct ff_kept *kept = keep->kept;

	close(keep->connection);
	keep->connection = -1;
	for (size_t i = 0; i < kept->count; i++) {
		struct ff_legacy *legacy = &kept->listeners[i].legacy;

		if (keep->listeners[i] >= 0 && legacy->last_received)
			ff_heir_answer(keep->listeners[i], legacy);
		*legacy = (struct ff_legacy){ .oldest_held = UINT64_MAX };
	}
	if (!kept->announced)
		return;
	keep->rescue_pidfd = pidfd_open(kept->announced, 0);
	if (keep->rescue_pidfd >= 0)
		keep->rescue_ns = ff_now_ns();
	else
		kept->announced = 0;
}

static void hear(struct keep *keep)
{
	struct ff_keeper_message message;
	size_t count = 1;
	int fd = -1;
	int err = ff_keeper_receive(keep->connection, &message, &fd, &count);

	if (!err && message.word == FF_KEEPER_TAKE && count == 1 &&
		message.index < FF_KEPT_MAX && ff_keeper_is_listener(fd)) {
		add_listener(keep, message.index, message.pid, fd);
		keep->kept->announced = 0;
		message.word = FF_KEEPER_TAKEN;
		ff_keeper_send(keep->connection, &message, NULL, 0);
		return;
	}
	if (count)
		close(fd);
	if (err)
		take_over(keep);
}

/* Somebody connected. */
static void welcome(struct keep *keep)
{
	int fds[FF_KEPT_MAX + 1], fd = accept4(keep->socket, NULL, NULL,
		SOCK_CLOEXEC);
	struct ff_keeper_message message = { .pid = getpid() };
	struct ucred peer;
	socklen_t size = sizeof(peer);

	if (fd < 0)
		return;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0 ||
		(peer.uid != geteuid() && peer.uid != 0)) {
		message.word = FF_KEEPER_REFUSED;
		message.err = EPERM;
	} else if (keep->connection >= 0) {
		message.word = FF_KEEPER_REFUSED;
		message.err = EBUSY;
		message.pid = keep->attacher;
	}
	if (message.word == FF_KEEPER_REFUSED) {
		ff_keeper_send(fd, &message, NULL, 0);
		close(fd);
		return;
	}
	compact(keep);
	fds[0] = keep->memory;
	memcpy(fds + 1, keep->listeners, keep->kept->count * sizeof(int));
	message.word = FF_KEEPER_READY;
	if (ff_keeper_send(fd, &message, fds, keep->kept->count + 1) < 0) {
		close(fd);
		return;
	}
	keep->connection = fd;
	keep->attacher = peer.pid;
}

enum { POLL_CONNECTION, POLL_SOCKET, POLL_LISTENERS };

/* While an attach is connected, it receives them. */
static short wanted_events(const struct keep *keep)
{
	return (short)(keep->connection < 0 ? POLLIN : 0);
}

/* Let calls go on, one of each listener; forget those that hung up. */
static void serve(struct keep *keep, const struct pollfd *fds, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct pollfd now;

		if (keep->listeners[i] < 0 || !fds[i].revents)
			continue;
		/* To receive what is no longer there would block. */
		now = look_at(keep->listeners[i], wanted_events(keep));
		if (now.revents & POLLHUP && !(now.revents & POLLIN))
			drop_listener(keep, i);
		else if (now.revents & POLLIN)
			ff_heir_serve(keep->listeners[i], now.revents);
	}
}

static void work(struct keep *keep)
{
	struct pollfd fds[POLL_LISTENERS + FF_KEPT_MAX] = {
		{ .fd = keep->connection, .events = POLLIN },
		{ .fd = keep->rescue_ns ? -1 : keep->socket,
			.events = POLLIN },
	};
	size_t count = keep->kept->count;

	for (size_t i = 0; i < count; i++)
		fds[POLL_LISTENERS + i] = (struct pollfd){
			.fd = keep->listeners[i],
			.events = wanted_events(keep),
		};
	if (poll(fds, POLL_LISTENERS + count,
			keep->rescue_ns ? RESCUE_MS : -1) < 0)
		return;
	if (fds[POLL_CONNECTION].revents)
		hear(keep);
	serve(keep, fds + POLL_LISTENERS, count);
	if (keep->rescue_ns)
		rescue(keep);
	/* With nothing to keep we end, and who connects begins anew. */
	if (fds[POLL_SOCKET].revents &&
		(keep->connection >= 0 || count_alive(keep)))
		welcome(keep);
}

/* Bind, and say so. 0 or -errno. */
static int open_socket(struct keep *keep)
{
	struct ff_keeper_message message = { .word = FF_KEEPER_READY,
		.pid = getpid() };
	struct sockaddr_un address;
	socklen_t length = ff_keeper_address(&address, keep->kept->root,
		keep->kept->start);

	keep->socket = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (keep->socket < 0 || bind(keep->socket, (struct sockaddr *)&address,
					length) < 0 ||
		listen(keep->socket, 4) < 0)
		message.err = errno;
	ff_keeper_send(keep->connection, &message, NULL, 0);
	return -message.err;
}

int ff_keep(void)
{
	static struct keep keep = { .memory = STDOUT_FILENO };
	struct ucred peer;
	socklen_t size = sizeof(peer);

	keep.kept = mmap(NULL, sizeof(*keep.kept), PROT_READ | PROT_WRITE,
		MAP_SHARED, keep.memory, 0);
	if (keep.kept == MAP_FAILED || getsockopt(keep.connection, SOL_SOCKET,
			SO_PEERCRED, &peer, &size) < 0) {
		fprintf(stderr, "fenceferry: keep is no command for people: "
			"fenceferry attach starts it (see fenceferry "
			"--help)\n");
		return FF_EXIT_FAILURE;
	}
	/* Those on fd 0 and 1 are to be closed and passed on like others. */
	keep.connection = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
	keep.memory = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
	dup2(STDERR_FILENO, STDIN_FILENO);
	dup2(STDERR_FILENO, STDOUT_FILENO);
	keep.attacher = peer.pid;
	prctl(PR_SET_NAME, "fenceferry-keep");
	/* Who means to end the client with these has to end it: it cannot live
	 * without us. */
	signal(SIGHUP, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	if (keep.connection < 0 || keep.memory < 0 || open_socket(&keep) < 0)
		return FF_EXIT_FAILURE;
	while (keep.connection >= 0 || keep.rescue_ns || count_alive(&keep))
		work(&keep);
	return 0;
}
