/* SPDX-License-Identifier: MIT */
#include "host-listen.h"

#include "clock.h"
#include "compat.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#define MS UINT64_C(1000000)

enum {
	ACCEPTS_A_TURN = 16,
	BACKOFF_MIN_MS = 50,
	BACKOFF_MAX_MS = 5000,
	/* How long not to accept when there are no fds. */
	PAUSE_MS = 500,
};

static struct ff_host_listener *add(struct ff_host *host)
{
	struct ff_host_listener *listener;

	if (host->listener_count == FF_HOST_LISTENERS_MAX)
		return NULL;
	listener = &host->listeners[host->listener_count++];
	*listener = (struct ff_host_listener){ .fd = -1,
		.backoff_ms = BACKOFF_MIN_MS };
	return listener;
}

bool ff_host_add_address(struct ff_host *host,
	const struct ff_address *address)
{
	struct ff_host_listener *listener = add(host);

	if (listener)
		listener->address = *address;
	return listener;
}

bool ff_host_add_socket(struct ff_host *host, int fd)
{
	struct ff_host_listener *listener = add(host);

	if (!listener)
		return false;
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	listener->is_passed = true;
	listener->fd = fd;
	return true;
}

/* Others are let in by what the kernel says of them, so they may get as far as
 * to be asked. */
static int open_to_others(const struct ff_host *host,
	struct ff_host_listener *listener, struct ff_error *error)
{
	const char *path = listener->address.path;

	if (listener->address.transport != FF_UNIX || path[0] == '@')
		return 0;
	listener->has_file = lstat(path, &listener->file) == 0;
	if (host->peers.admission.uid_count == 0)
		return 0;
	if (fchmodat(AT_FDCWD, path, 0666, AT_SYMLINK_NOFOLLOW) < 0)
		return ff_fail(error, errno, "cannot let other users connect "
			"to unix:%s: chmod: %s (choose another path with "
			"--listen)", path, strerror(errno));
	return 0;
}

int ff_host_listen(struct ff_host *host, struct ff_error *error)
{
	int err = 0;

	for (size_t i = 0; i < host->listener_count && !err; i++) {
		struct ff_host_listener *listener = &host->listeners[i];

		if (listener->is_passed ||
			listener->address.transport == FF_CHAR)
			continue;
		listener->fd = ff_link_listen(&listener->address, error);
		err = listener->fd < 0 ? listener->fd :
			open_to_others(host, listener, error);
	}
	return err;
}

static void remove_file(const struct ff_host_listener *listener)
{
	struct stat st;

	if (listener->has_file && lstat(listener->address.path, &st) == 0 &&
		st.st_ino == listener->file.st_ino &&
		st.st_dev == listener->file.st_dev)
		unlink(listener->address.path);
}

void ff_host_unlisten(struct ff_host *host)
{
	for (size_t i = 0; i < host->listener_count; i++) {
		struct ff_host_listener *listener = &host->listeners[i];

		remove_file(listener);
		if (listener->fd >= 0)
			close(listener->fd);
		listener->fd = -1;
	}
	host->listener_count = 0;
}

/* A socket that systemd listens on may ask for these, and what comes of them
 * would be taken for fds that are lost (link.c). */
static void refuse_credentials(int fd)
{
	static const int off;

	setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &off, sizeof(off));
	setsockopt(fd, SOL_SOCKET, SO_PASSSEC, &off, sizeof(off));
	setsockopt(fd, SOL_SOCKET, SO_PASSPIDFD, &off, sizeof(off));
}

void ff_host_accept(struct ff_host *host, struct ff_host_listener *listener,
	uint64_t now)
{
	struct ff_identity who;

	for (int i = 0; i < ACCEPTS_A_TURN; i++) {
		int fd = accept4(listener->fd, NULL, NULL,
			SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd < 0 && (errno == EMFILE || errno == ENFILE ||
			errno == ENOMEM || errno == ENOBUFS)) {
			ff_hostlog_unaccepted(host->peers.log, errno);
			listener->retry_ns = now + PAUSE_MS * MS;
		}
		if (fd < 0)
			return;
		if (ff_identify_socket(fd, &who) < 0) {
			close(fd);
			continue;
		}
		if (who.transport == FF_UNIX)
			refuse_credentials(fd);
		ff_peer_new(&host->peers, fd, &who);
	}
}

static void back_off(struct ff_host_listener *listener, uint64_t now)
{
	listener->retry_ns = now + listener->backoff_ms * MS;
	listener->backoff_ms *= 2;
	if (listener->backoff_ms > BACKOFF_MAX_MS)
		listener->backoff_ms = BACKOFF_MAX_MS;
}

void ff_host_open_char(struct ff_host *host, struct ff_host_listener *listener,
	uint64_t now)
{
	struct ff_eventlog *log = &host->peers.log->events;
	struct ff_identity who;
	struct ff_error error;
	int fd = ff_link_connect(&listener->address, 0, &error);

	if (fd >= 0) {
		if (listener->is_told)
			ff_say(log, 0, "char:%s is there now",
				listener->address.path);
		listener->is_told = false;
		ff_identify_char(&listener->address, &who);
		listener->peer = ff_peer_new(&host->peers, fd, &who);
	} else if (!listener->is_told) {
		ff_say(log, 0, "%s; will try again", error.text);
		listener->is_told = true;
	}
	if (!listener->peer)
		back_off(listener, now);
}

void ff_host_lost_char(struct ff_host_listener *listener, uint64_t now)
{
	/* One that lived is asked again soon. */
	if (listener->peer->began_ns + BACKOFF_MAX_MS * MS < now)
		listener->backoff_ms = BACKOFF_MIN_MS;
	listener->peer = NULL;
	back_off(listener, now);
}
