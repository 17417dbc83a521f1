/* SPDX-License-Identifier: MIT */
#include "config.h"
#include "keeper.h"

#include "clock.h"
#include "exit.h"
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* How long the keeper may take to say something. */
#define ANSWER_MS 5000

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW)

/* Wait for its answer. 0, or -errno with *error filled. */
static int hear(int socket, struct ff_keeper_message *message, int *fds,
	size_t *count, struct ff_error *error)
{
	const uint64_t end_ns = ff_now_ns() + ANSWER_MS * 1000000ull;
	struct pollfd fd = { .fd = socket, .events = POLLIN };
	int ready, err;

	do {
		ready = poll(&fd, 1, ff_ms_until(end_ns));
	} while (ready < 0 && errno == EINTR);
	if (ready > 0) {
		err = ff_keeper_receive(socket, message, fds, count);
	} else {
		err = -ETIMEDOUT;
		*count = 0;
	}
	return err ? ff_fail(error, -err, "the keeper does not answer: %s",
		err == -EPIPE ? "it ended" : strerror(-err)) : 0;
}

/* The memory that both will have. An fd, with *kept; or -errno. */
static int make_memory(pid_t root, uint64_t start,
	const struct ff_filter_options *filter, struct ff_kept **kept)
{
	int fd = memfd_create("fenceferry-keep", MFD_CLOEXEC |
		MFD_ALLOW_SEALING);

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, sizeof(**kept)) == 0 &&
		fcntl(fd, F_ADD_SEALS, SEALS) == 0)
		*kept = mmap(NULL, sizeof(**kept), PROT_READ | PROT_WRITE,
			MAP_SHARED, fd, 0);
	else
		*kept = MAP_FAILED;
	if (*kept == MAP_FAILED) {
		int err = -errno;

		close(fd);
		return err;
	}
	strcpy((*kept)->version, PACKAGE_VERSION);
	(*kept)->size = sizeof(**kept);
	(*kept)->root = root;
	(*kept)->start = start;
	(*kept)->filter = *filter;
	return fd;
}

/* The grandchild, nobody's child: with nothing of ours but the two. */
static _Noreturn void become_keeper(int socket, int memory, pid_t root)
{
	char what[64], name[] = "fenceferry", command[] = "keep";
	char *const argv[] = { name, command, what, NULL };
	char *const environment[] = { NULL };
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	sigset_t none;

	snprintf(what, sizeof(what), "(lets calls of pid %d through)", root);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	/* From above the streams, lest one be closed by the other's dup2. */
	socket = fcntl(socket, F_DUPFD_CLOEXEC, 3);
	memory = fcntl(memory, F_DUPFD_CLOEXEC, 3);
	if (socket < 0 || memory < 0 || dup2(socket, STDIN_FILENO) < 0 ||
		dup2(memory, STDOUT_FILENO) < 0 ||
		dup2(null, STDERR_FILENO) < 0 || chdir("/") < 0)
		_exit(FF_EXIT_FAILURE);
	close_range(STDERR_FILENO + 1, ~0U, 0);
	execve("/proc/self/exe", argv, environment);
	_exit(FF_EXIT_CANNOT_EXECUTE);
}

static int fork_keeper(int socket, int memory, pid_t root)
{
	pid_t child = fork();
	int status;

	if (child < 0)
		return -errno;
	if (!child) {
		setsid();
		if (fork() == 0)
			become_keeper(socket, memory, root);
		_exit(0);
	}
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

int ff_keeper_start(struct ff_keeper *keeper, pid_t root, uint64_t start,
	const struct ff_filter_options *filter, struct ff_error *error)
{
	struct ff_keeper_message message;
	int pair[2], memory, err;
	size_t count = 0;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return ff_fail(error, errno, "cannot make a socket: %s",
			strerror(errno));
	memory = make_memory(root, start, filter, &keeper->kept);
	err = memory < 0 ? memory : fork_keeper(pair[1], memory, root);
	close(pair[1]);
	if (memory >= 0)
		close(memory);
	keeper->socket = pair[0];
	if (err)
		ff_fail(error, -err, "cannot start the keeper: %s",
			strerror(-err));
	else
		err = hear(pair[0], &message, NULL, &count, error);
	if (!err && message.err == EADDRINUSE)
		err = ff_fail(error, message.err, "another fenceferry attach "
			"has begun with pid %d just now (try again)", root);
	else if (!err && message.err)
		err = ff_fail(error, message.err, "the keeper cannot bind its "
			"socket: %s", strerror(message.err));
	if (!err) {
		keeper->pid = message.pid;
		return 0;
	}
	if (memory >= 0)
		munmap(keeper->kept, sizeof(*keeper->kept));
	close(pair[0]);
	*keeper = (struct ff_keeper){ .socket = -1 };
	return err;
}

/* Whose is what answers by that name? Ours, root's, or if we are root, of the
 * user whose process it is about. */
static int check_peer(int socket, pid_t root, struct ff_error *error)
{
	struct ff_status status = { .uid = 0 };
	struct ucred peer;
	socklen_t size = sizeof(peer);

	if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
		return ff_fail(error, errno, "cannot tell whose keeper that "
			"is: %s", strerror(errno));
	ff_process_status(root, &status);
	if (peer.uid != 0 && peer.uid != geteuid() &&
		(geteuid() != 0 || peer.uid != status.uid))
		return ff_fail(error, EPERM, "pid %d, of user %u, claims to be "
			"the keeper of pid %d (end it if it is not)", peer.pid,
			peer.uid, root);
	return 0;
}

/* Map what it sent. */
static int map_memory(struct ff_keeper *keeper, int memory, pid_t root,
	uint64_t start, size_t count, struct ff_error *error)
{
	struct ff_kept *kept;
	struct stat st;

	if (fstat(memory, &st) < 0 || st.st_size != sizeof(*kept) ||
		(fcntl(memory, F_GET_SEALS) & SEALS) != SEALS)
		return ff_fail(error, EPROTO, "the keeper (pid %d) is of "
			"another fenceferry (use the one that attached first)",
			keeper->pid);
	kept = mmap(NULL, sizeof(*kept), PROT_READ | PROT_WRITE, MAP_SHARED,
		memory, 0);
	if (kept == MAP_FAILED)
		return ff_fail(error, errno, "cannot map memory: %s",
			strerror(errno));
	if (strncmp(kept->version, PACKAGE_VERSION, sizeof(kept->version)) ||
		kept->size != sizeof(*kept) || kept->root != root ||
		kept->start != start || kept->count != count) {
		munmap(kept, sizeof(*kept));
		return ff_fail(error, EPROTO, "the keeper (pid %d) is of "
			"another fenceferry (use the one that attached first)",
			keeper->pid);
	}
	keeper->kept = kept;
	return 0;
}

static int refuse(const struct ff_keeper_message *message, pid_t root,
	struct ff_error *error)
{
	if (message->err == EBUSY)
		return ff_fail(error, EBUSY, "pid %d is attached to already, "
			"by fenceferry attach (pid %d; end that first)", root,
			message->pid);
	return ff_fail(error, message->err, "the keeper of pid %d is of "
		"another user (run as that one, or as root)", root);
}

/* Whoever it is, what it sent must be listeners: we are to answer their calls. */
static int check_listeners(const struct ff_keeper *keeper, const int *fds,
	size_t count, struct ff_error *error)
{
	for (size_t i = 0; i < count; i++)
		if (!ff_keeper_is_listener(fds[i]))
			return ff_fail(error, EPROTO, "what pid %d keeps are no "
				"seccomp listeners (end it)", keeper->pid);
	return 0;
}

/* One that is full of others who connect is not waited for. */
static int connect_at_once(pid_t root, uint64_t start, struct ff_error *error)
{
	struct sockaddr_un address;
	socklen_t length = ff_keeper_address(&address, root, start);
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK,
		0), err;

	if (fd < 0)
		return ff_fail(error, errno, "cannot make a socket: %s",
			strerror(errno));
	if (connect(fd, (struct sockaddr *)&address, length) == 0 &&
		fcntl(fd, F_SETFL, 0) == 0)
		return fd;
	err = errno == ECONNREFUSED ? -ENOENT : ff_fail(error, errno,
		"cannot reach the keeper of pid %d: %s", root,
		strerror(errno));
	close(fd);
	return err;
}

int ff_keeper_find(struct ff_keeper *keeper, pid_t root, uint64_t start,
	int fds[FF_KEPT_MAX], size_t *listeners, struct ff_error *error)
{
	int all[FF_KEPT_MAX + 1], fd, err;
	size_t count = FF_KEPT_MAX + 1;
	struct ff_keeper_message message = { 0 };

	*listeners = 0;
	fd = connect_at_once(root, start, error);
	if (fd < 0)
		return fd;
	err = check_peer(fd, root, error);
	if (err)
		count = 0;
	else
		err = hear(fd, &message, all, &count, error);
	/* It had nothing to keep, and has ended. */
	if (err == -EPIPE || err == -ECONNRESET) {
		close(fd);
		return -ENOENT;
	}
	if (!err && message.word != FF_KEEPER_READY)
		err = refuse(&message, root, error);
	keeper->pid = message.pid;
	if (!err)
		err = map_memory(keeper, count ? all[0] : -1, root, start,
			count ? count - 1 : 0, error);
	if (!err)
		err = check_listeners(keeper, all + 1, count - 1, error);
	for (size_t i = err ? 0 : 1; i < count; i++)
		if (err)
			close(all[i]);
		else
			fds[i - 1] = all[i];
	if (!err)
		close(all[0]);
	else
		close(fd);
	keeper->socket = err ? -1 : fd;
	if (!err)
		*listeners = count - 1;
	return err;
}

int ff_keeper_add(struct ff_keeper *keeper, pid_t pid, int listener,
	struct ff_error *error)
{
	struct ff_keeper_message message = {
		.word = FF_KEEPER_TAKE,
		.pid = pid,
		.index = keeper->kept->count,
	};
	const size_t index = message.index;
	size_t count = 0;
	int err;

	if (index >= FF_KEPT_MAX)
		return ff_fail(error, E2BIG, "the keeper keeps no more than %d "
			"listeners", FF_KEPT_MAX);
	keeper->kept->listeners[index] = (struct ff_kept_listener){
		.pid = pid,
		.legacy.oldest_held = UINT64_MAX,
	};
	err = ff_keeper_send(keeper->socket, &message, &listener, 1);
	if (err)
		return ff_fail(error, -err, "the keeper cannot be told: %s",
			strerror(-err));
	err = hear(keeper->socket, &message, NULL, &count, error);
	if (!err && (message.word != FF_KEEPER_TAKEN || message.index != index))
		err = ff_fail(error, EPROTO, "the keeper says something else");
	return err ? err : (int)index;
}

void ff_keeper_leave(struct ff_keeper *keeper)
{
	if (keeper->socket >= 0)
		close(keeper->socket);
	if (keeper->kept)
		munmap(keeper->kept, sizeof(*keeper->kept));
	*keeper = (struct ff_keeper){ .socket = -1 };
}
