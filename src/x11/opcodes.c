/* SPDX-License-Identifier: MIT */
#include "opcodes.h"

#include "clock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <X11/Xauth.h>
#include <xcb/xcb.h>

/* What the child sends: in one write, so that it comes whole or not at all. */
struct answer {
	int err; /* 0, or why opcodes is empty */
	struct ff_x11_opcodes opcodes;
	char reason[128];
};
_Static_assert(sizeof(struct answer) <= PIPE_BUF, "a pipe may split it");

/*
 * The number of the display whose cookie a socket takes: the one in its
 * name, else 0, as for libxcb where a display is a path.
 */
static const char *get_number(const char *name)
{
	static const char usual[] = "/.X11-unix";
	const size_t length = sizeof(usual) - 1;
	const char *leaf = strrchr(name, '/');

	if (!leaf || (size_t)(leaf - name) < length || leaf[1] != 'X' ||
		memcmp(leaf - length, usual, length) != 0)
		return "0";
	return leaf + 2;
}

static int connect_socket(const char *name)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t length = strlen(name);
	int fd;

	/* Neither a path nor a name needs a NUL behind it. */
	if (length > sizeof(address.sun_path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(address.sun_path, name, length);
	if (name[0] == '@')
		address.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	length += offsetof(struct sockaddr_un, sun_path);
	if (connect(fd, (struct sockaddr *)&address, (socklen_t)length) < 0)
		return -1;
	return fd;
}

/*
 * Connect to "/PATH" or "@NAME", which xcb_connect does not understand (libxcb
 * 1.15: no paths; none: abstract names), with the cookie that it would send.
 * NULL with errno set if nobody is there.
 */
static xcb_connection_t *connect_by_name(const char *name)
{
	char cookie_type[] = "MIT-MAGIC-COOKIE-1";
	char *types[] = {cookie_type};
	const int lengths[] = {sizeof(cookie_type) - 1};
	const char *number = get_number(name);
	xcb_auth_info_t info;
	char host[256] = "";
	Xauth *auth;
	int fd = connect_socket(name);

	if (fd < 0)
		return NULL;
	gethostname(host, sizeof(host) - 1);
	auth = XauGetBestAuthByAddr(FamilyLocal, (unsigned short)strlen(host),
		host, (unsigned short)strlen(number), number, 1, types,
		lengths);
	if (!auth)
		return xcb_connect_to_fd(fd, NULL);
	info.namelen = auth->name_length;
	info.name = auth->name;
	info.datalen = auth->data_length;
	info.data = auth->data;
	return xcb_connect_to_fd(fd, &info);
}

/* Say why there is no connection; libxcb has written a refusal to fd 2. */
static void explain(struct answer *answer, int code)
{
	ssize_t size = pread(
		STDERR_FILENO, answer->reason, sizeof(answer->reason) - 1, 0);

	if (size > 0) {
		answer->err = EACCES;
		answer->reason[strcspn(answer->reason, "\n")] = '\0';
		for (char *c = answer->reason; *c; c++)
			if (*c < ' ' || *c > '~')
				*c = '?';
		return;
	}
	answer->err = code == XCB_CONN_CLOSED_PARSE_ERR ? EINVAL : ECONNREFUSED;
	snprintf(answer->reason, sizeof(answer->reason), "%s",
		answer->err == EINVAL ? "no such display name"
				      : "no X server answers there");
}

static void ask(const char *display, struct answer *answer)
{
	static const char *const names[] = {
		"DRI3", "MIT-SHM", "SYNC", "Present"};
	uint8_t *const opcodes[] = {&answer->opcodes.dri3,
		&answer->opcodes.mit_shm, &answer->opcodes.sync,
		&answer->opcodes.present};
	xcb_query_extension_cookie_t cookies[4];
	xcb_connection_t *c;
	int code;

	if (strncmp(display, "unix:/", 6) == 0 ||
		strncmp(display, "unix:@", 6) == 0)
		c = connect_by_name(display + 5);
	else
		c = xcb_connect(display, NULL);
	if (!c) {
		answer->err = errno;
		snprintf(answer->reason, sizeof(answer->reason), "%s",
			strerror(errno));
		return;
	}
	code = xcb_connection_has_error(c);
	if (code) {
		explain(answer, code);
		return;
	}
	for (int i = 0; i < 4; i++)
		cookies[i] = xcb_query_extension(
			c, (uint16_t)strlen(names[i]), names[i]);
	for (int i = 0; i < 4; i++) {
		xcb_query_extension_reply_t *reply =
			xcb_query_extension_reply(c, cookies[i], NULL);

		if (!reply) {
			explain(answer, XCB_CONN_ERROR);
			return;
		}
		*opcodes[i] = reply->present ? reply->major_opcode : 0;
		free(reply);
	}
}

/* The child. All signals are blocked: a Ctrl-C is for the command alone. */
static _Noreturn void run_child(
	const char *display, const char *xauthority, pid_t parent, int pipe_fd)
{
	struct answer answer = {0};
	int out, messages;

	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
		_exit(1);
	/* Standard error is the command's: what libxcb has to say there is
	 * caught, and becomes the reason. The pipe must not be in the way. */
	out = fcntl(pipe_fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	messages = memfd_create("fenceferry-xcb", MFD_CLOEXEC);
	if (out < 0 || messages < 0 || dup2(messages, STDERR_FILENO) < 0)
		_exit(1);
	if (xauthority && setenv("XAUTHORITY", xauthority, 1) < 0)
		_exit(1);
	ask(display, &answer);
	_exit(write(out, &answer, sizeof(answer)) != sizeof(answer));
}

/* Fork the child into *query, which holds the pipe's reading end. */
static int spawn(const char *display, const char *xauthority, int pipe_fd,
	struct ff_x11_query *query, struct ff_error *error)
{
	sigset_t all, before;
	pid_t parent = getpid();
	int err;

	/* Blocked before the fork, so that no handler of the caller's ever
	 * runs in the child. */
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	query->pid = fork();
	err = errno;
	if (query->pid == 0)
		run_child(display, xauthority, parent, pipe_fd);
	sigprocmask(SIG_SETMASK, &before, NULL);
	if (query->pid < 0)
		return ff_fail(error, err, "cannot fork: %s", strerror(err));

	/* The pid alone will not do: once the caller's loop has reaped the
	 * child, it may be somebody else's. */
	query->pidfd = pidfd_open(query->pid, 0);
	if (query->pidfd < 0) {
		err = errno;
		kill(query->pid, SIGKILL);
		waitpid(query->pid, NULL, 0);
		return ff_fail(
			error, err, "cannot open a pidfd: %s", strerror(err));
	}
	return 0;
}

int ff_x11_query_start(const char *display, const char *xauthority,
	struct ff_x11_query *query, struct ff_error *error)
{
	int fds[2], rc;

	*query = (struct ff_x11_query){.fd = -1, .pidfd = -1, .pid = -1};
	if (strlen(display) >= sizeof(query->display))
		return ff_fail(error, ENAMETOOLONG,
			"the display name '%.32s...' is too long", display);
	strcpy(query->display, display);
	if (pipe2(fds, O_CLOEXEC) < 0)
		return ff_fail(error, errno, "cannot make a pipe: %s",
			strerror(errno));
	rc = spawn(display, xauthority, fds[1], query, error);
	close(fds[1]);
	if (rc) {
		close(fds[0]);
		return rc;
	}
	query->fd = fds[0];
	return 0;
}

/* Read the answer; -ETIMEDOUT if none comes, -EIO if none will. */
static int receive(int fd, int timeout_ms, struct answer *answer)
{
	const uint64_t end_ns = ff_now_ns() +
		(uint64_t)(timeout_ms > 0 ? timeout_ms : 0) * 1000000u;
	struct pollfd p = {.fd = fd, .events = POLLIN};
	ssize_t size;

	for (;;) {
		int left_ms = ff_ms_until(end_ns);
		int n = poll(&p, 1, left_ms);

		if (n > 0)
			break;
		if (n == 0 && !left_ms)
			return -ETIMEDOUT;
		if (n < 0 && errno != EINTR)
			return -errno;
	}
	do
		size = read(fd, answer, sizeof(*answer));
	while (size < 0 && errno == EINTR);
	return size == sizeof(*answer) ? 0 : size < 0 ? -errno : -EIO;
}

void ff_x11_query_cancel(struct ff_x11_query *query)
{
	if (query->pidfd >= 0) {
		pidfd_send_signal(query->pidfd, SIGKILL, NULL, 0);
		/* ECHILD: the caller's loop was there first. */
		while (waitid(P_PIDFD, (id_t)query->pidfd, NULL, WEXITED) < 0 &&
			errno == EINTR)
			;
		close(query->pidfd);
	}
	if (query->fd >= 0)
		close(query->fd);
	query->fd = query->pidfd = -1;
	query->pid = -1;
}

int ff_x11_query_finish(struct ff_x11_query *query, int timeout_ms,
	struct ff_x11_opcodes *out, struct ff_error *error)
{
	struct answer answer;
	const char *reason;
	int rc = receive(query->fd, timeout_ms, &answer);

	ff_x11_query_cancel(query);
	if (!rc && !answer.err) {
		*out = answer.opcodes;
		return 0;
	}
	if (rc == -ETIMEDOUT)
		reason = "no answer in time";
	else if (rc == -EIO)
		reason = "the process that asked died";
	else
		reason = rc ? strerror(-rc) : answer.reason;
	return ff_fail(error, rc ? -rc : answer.err,
		"cannot ask display %s for its extensions: %s", query->display,
		reason);
}

int ff_x11_query_opcodes(const char *display, const char *xauthority,
	int timeout_ms, struct ff_x11_opcodes *out, struct ff_error *error)
{
	struct ff_x11_query query;
	int rc = ff_x11_query_start(display, xauthority, &query, error);

	return rc ? rc : ff_x11_query_finish(&query, timeout_ms, out, error);
}
