/* SPDX-License-Identifier: MIT */
#include "clock.h"
#include "link.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

/* How long another one that just starts to listen is waited for. */
enum { LOCK_TIMEOUT_MS = 1000 };

/* As people write it. */
struct text {
	char text[sizeof(((struct ff_address *)0)->path) + 16];
};

static struct text to_text(const struct ff_address *address)
{
	struct text to;

	if (address->transport != FF_VSOCK)
		snprintf(to.text, sizeof(to.text), "%s:%s",
			address->transport == FF_UNIX ? "unix" : "char",
			address->path);
	else if (address->cid == VMADDR_CID_ANY)
		snprintf(to.text, sizeof(to.text), "vsock:%u", address->port);
	else
		snprintf(to.text, sizeof(to.text), "vsock:%u:%u", address->cid,
			address->port);
	return to;
}

/* A number of decimal digits only, from least up to but not UINT_MAX, which
 * means "any" in both of vsock's fields. */
static bool parse_number(
	const char *text, size_t size, unsigned int least, unsigned int *number)
{
	unsigned long long value = 0;

	if (size == 0 || size > 10)
		return false;
	for (size_t i = 0; i < size; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		value = value * 10 + (unsigned int)(text[i] - '0');
	}
	if (value < least || value >= UINT_MAX)
		return false;
	*number = (unsigned int)value;
	return true;
}

static bool parse_cid(const char *text, size_t size, unsigned int *cid)
{
	if (size == 4 && memcmp(text, "host", 4) == 0) {
		*cid = VMADDR_CID_HOST;
		return true;
	}
	if (size == 5 && memcmp(text, "local", 5) == 0) {
		*cid = VMADDR_CID_LOCAL;
		return true;
	}
	return parse_number(text, size, 1, cid);
}

static int parse_vsock(const char *text, const char *rest, enum ff_end end,
	struct ff_address *address, struct ff_error *error)
{
	const char *colon = strchr(rest, ':');
	const char *port = rest;

	address->cid = VMADDR_CID_ANY;
	if (end == FF_HOST && colon)
		return ff_fail(error, EINVAL,
			"address '%.100s': a host listens on vsock:PORT "
			"(leave the CID out; --allow-cid says who may connect)",
			text);
	if (end == FF_GUEST) {
		if (!colon)
			return ff_fail(error, EINVAL,
				"address '%.100s': no CID (write "
				"vsock:CID:PORT; the host's CID is 2)",
				text);
		if (!parse_cid(rest, (size_t)(colon - rest), &address->cid))
			return ff_fail(error, EINVAL,
				"address '%.100s': not a CID (a number from 1 "
				"to 4294967294, 'host' or 'local')",
				text);
		port = colon + 1;
	}
	if (!parse_number(port, strlen(port), 1, &address->port))
		return ff_fail(error, EINVAL,
			"address '%.100s': not a port (a number from 1 to "
			"4294967294)",
			text);
	return 0;
}

static int parse_path(const char *text, const char *rest,
	struct ff_address *address, struct ff_error *error)
{
	size_t size = strlen(rest);

	if (size == 0 || strcmp(rest, "@") == 0)
		return ff_fail(
			error, EINVAL, "address '%.100s': no path", text);
	if (size >= sizeof(address->path))
		return ff_fail(error, EINVAL,
			"address '%.60s...': %zu bytes of path, and the kernel "
			"takes %zu (use a shorter one)",
			text, size, sizeof(address->path) - 1);
	memcpy(address->path, rest, size + 1);
	return 0;
}

int ff_address_parse(const char *text, enum ff_end end,
	struct ff_address *address, struct ff_error *error)
{
	struct ff_address parsed = {0};
	int rc;

	if (strncmp(text, "vsock:", 6) == 0) {
		parsed.transport = FF_VSOCK;
		rc = parse_vsock(text, text + 6, end, &parsed, error);
	} else if (strncmp(text, "unix:", 5) == 0) {
		parsed.transport = FF_UNIX;
		rc = parse_path(text, text + 5, &parsed, error);
	} else if (strncmp(text, "char:", 5) == 0) {
		parsed.transport = FF_CHAR;
		rc = parse_path(text, text + 5, &parsed, error);
	} else {
		return ff_fail(error, EINVAL,
			"address '%.100s': of no kind that is known (write "
			"unix:PATH, %s or char:PATH)",
			text, end == FF_HOST ? "vsock:PORT" : "vsock:CID:PORT");
	}
	if (!rc)
		*address = parsed;
	return rc;
}

/* A sockaddr of any kind. */
struct where {
	union {
		struct sockaddr any;
		struct sockaddr_un un;
		struct sockaddr_vm vm;
	};
	socklen_t size;
};

static struct where to_where(const struct ff_address *address)
{
	struct where where = {0};
	size_t size = strlen(address->path);

	if (address->transport == FF_VSOCK) {
		where.vm.svm_family = AF_VSOCK;
		where.vm.svm_cid = address->cid;
		where.vm.svm_port = address->port;
		where.size = sizeof(where.vm);
		return where;
	}
	where.un.sun_family = AF_UNIX;
	memcpy(where.un.sun_path, address->path, size);
	where.size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size);
	if (address->path[0] == '@' && address->transport == FF_UNIX)
		where.un.sun_path[0] = '\0';
	else
		where.size++;
	return where;
}

/* What an errno means where, and what to do about it. */
struct hint {
	int err;
	const char *why;
};

static const struct hint socket_hints[] = {
	{ENOENT, "nobody is there: no such socket (start 'fenceferry host' "
		 "with this address first)"},
	{ECONNREFUSED, "nobody listens there (is 'fenceferry host' running?)"},
	{EACCES, "permission denied (the host's end lets in its own user, "
		 "and those of --allow-uid that can get to the socket)"},
	{EPERM, "permission denied (a security module forbids it)"},
	{ETIMEDOUT, "no answer in time (is 'fenceferry host' hanging?)"},
	{EAGAIN, "no answer in time (is 'fenceferry host' hanging?)"},
	{EPROTOTYPE, "a socket of another type, not fenceferry's (see who "
		     "listens there)"},
	{ENOTDIR, "part of the path is not a directory (look at the path)"},
	{ENOTSOCK, "not a socket (look at the path)"},
	{0, NULL},
};

static const struct hint vsock_hints[] = {
	{EAFNOSUPPORT, "this kernel has no vsock (load the module vsock)"},
	{EPROTONOSUPPORT, "this kernel's vsock has no streams (load the "
			  "module of its transport)"},
	{ENODEV, "no way to that CID (a guest needs a vsock device in its "
		 "VMM; CID 1 the module vsock_loopback)"},
	{ENETUNREACH, "no way to that CID (a guest needs a vsock device in "
		      "its VMM; CID 1 the module vsock_loopback)"},
	{ECONNRESET, "refused: nobody listens on that port (is 'fenceferry "
		     "host' running?)"},
	{ECONNREFUSED, "refused: nobody listens on that port (is 'fenceferry "
		       "host' running?)"},
	{ETIMEDOUT, "no answer in time (is there a machine of that CID, and "
		    "'fenceferry host' in it?)"},
	{EACCES, "permission denied (ports below 1024 are the "
		 "administrator's)"},
	{EADDRINUSE, "somebody else listens there (is another 'fenceferry "
		     "host' running?)"},
	{0, NULL},
};

static const struct hint device_hints[] = {
	{ENOENT, "no such device (give the VMM a port of that name; see "
		 "/dev/virtio-ports)"},
	{EACCES, "permission denied (make the device its user's, for "
		 "instance by a udev rule)"},
	{EPERM, "permission denied (a security module or a container "
		"forbids it)"},
	{EBUSY, "somebody else has it open (a virtio port has one user at a "
		"time; look with fuser)"},
	{ENXIO, "no device behind it (is its driver loaded?)"},
	{ENODEV, "no device behind it (is its driver loaded?)"},
	{ENOTCONN, "nobody is at the other end (let the VMM connect, or start "
		   "'fenceferry host' there)"},
	{ENOTTY, "neither a character device nor a socket (look at the path)"},
	{0, NULL},
};

static const struct hint listen_hints[] = {
	{EADDRINUSE, "somebody else listens there (is another 'fenceferry "
		     "host' running?)"},
	{EEXIST, "something is there that is not a socket (remove it, or "
		 "choose another path)"},
	{ENOENT, "no such directory (make it first)"},
	{ENOTDIR, "no such directory (look at the path)"},
	{EACCES, "permission denied in its directory (choose another path)"},
	{EPERM, "the old socket there is somebody else's (choose another "
		"path)"},
	{EROFS, "the file system is read-only (choose another path)"},
	{0, NULL},
};

static int fail_with_hint(const struct ff_address *address, const char *what,
	int err, const struct hint *hints, struct ff_error *error)
{
	struct text text = to_text(address);

	for (; hints->why; hints++)
		if (hints->err == err)
			return ff_fail(error, err, "cannot %s %s: %s", what,
				text.text, hints->why);
	return ff_fail(
		error, err, "cannot %s %s: %s", what, text.text, strerror(err));
}

static int new_socket(const struct where *where)
{
	int fd = socket(where->any.sa_family,
		SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	return fd < 0 ? -errno : fd;
}

/* Wait for a connection that is under way. 0 or -errno. */
static int wait_connected(int fd, uint64_t end_ns)
{
	struct pollfd pollfd = {.fd = fd, .events = POLLOUT};
	int err = 0, rc;
	socklen_t size = sizeof(err);

	do
		rc = poll(&pollfd, 1, ff_ms_until(end_ns));
	while (rc < 0 && errno == EINTR);
	if (rc < 0)
		return -errno;
	if (rc == 0)
		return -ETIMEDOUT;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &size))
		return -errno;
	return -err;
}

/* 0 or -errno. */
static int connect_socket(int fd, const struct where *where, int timeout_ms)
{
	uint64_t end_ns = ff_now_ns() + (uint64_t)timeout_ms * 1000000u;

	while (connect(fd, &where->any, where->size)) {
		if (errno == EINPROGRESS)
			return timeout_ms ? wait_connected(fd, end_ns) : 0;
		/* A unix socket's queue is full: nothing to poll for. */
		if (errno != EAGAIN || !ff_ms_until(end_ns))
			return -errno;
		poll(NULL, 0, 10);
	}
	return 0;
}

static int open_socket(const struct ff_address *address, int timeout_ms,
	struct ff_error *error)
{
	struct where where = to_where(address);
	struct stat st;
	int fd = new_socket(&where);
	int rc;

	if (fd >= 0) {
		rc = connect_socket(fd, &where, timeout_ms);
		if (!rc)
			return fd;
		close(fd);
	} else {
		rc = fd;
	}
	/* The kernel says so of any file that is not a socket. */
	if (rc == -ECONNREFUSED && where.any.sa_family == AF_UNIX &&
		where.un.sun_path[0] && stat(where.un.sun_path, &st) == 0 &&
		!S_ISSOCK(st.st_mode))
		rc = -ENOTSOCK;
	return fail_with_hint(address, "connect to", -rc,
		address->transport == FF_VSOCK ? vsock_hints : socket_hints,
		error);
}

/* A serial line shall hand on all bytes as they are. */
static int make_raw(int fd)
{
	struct termios termios;

	if (tcgetattr(fd, &termios))
		return 0; /* not a terminal */
	cfmakeraw(&termios);
	termios.c_cflag |= CLOCAL | CREAD;
	return tcsetattr(fd, TCSANOW, &termios) ? -errno : 0;
}

/* An fd or -errno. */
static int open_device(const char *path)
{
	struct pollfd pollfd = {.fd = -1};
	struct stat st;
	int fd = open(path, O_RDWR | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	int rc;

	if (fd < 0)
		return -errno;
	rc = fstat(fd, &st) ? -errno : S_ISCHR(st.st_mode) ? 0 : -ENOTTY;
	if (!rc)
		rc = make_raw(fd);
	pollfd.fd = fd;
	if (!rc && poll(&pollfd, 1, 0) > 0 && pollfd.revents & POLLHUP)
		rc = -ENOTCONN;
	if (!rc)
		return fd;
	close(fd);
	return rc;
}

int ff_link_connect(const struct ff_address *address, int timeout_ms,
	struct ff_error *error)
{
	struct stat st;
	int fd;

	if (address->transport != FF_CHAR)
		return open_socket(address, timeout_ms, error);
	/* Only devices are opened: a fifo or a file might take it amiss. */
	if (stat(address->path, &st))
		fd = -errno;
	else if (S_ISSOCK(st.st_mode))
		return open_socket(address, timeout_ms, error);
	else
		fd = S_ISCHR(st.st_mode) ? open_device(address->path) : -ENOTTY;
	if (fd < 0)
		return fail_with_hint(
			address, "open", -fd, device_hints, error);
	return fd;
}

/*
 * Hold off others that begin to listen in this directory: between bind and
 * listen a socket looks like one that nobody listens on. As well as it can be
 * done: an fd, or -1.
 */
static int lock_directory(const char *path)
{
	uint64_t end_ns = ff_now_ns() + LOCK_TIMEOUT_MS * 1000000ull;
	char dir[sizeof(((struct ff_address *)0)->path)];
	const char *slash = strrchr(path, '/');
	int fd;

	snprintf(dir, sizeof(dir), "%.*s", slash ? (int)(slash - path) + 1 : 1,
		slash ? path : ".");
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	while (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) && ff_ms_until(end_ns))
		poll(NULL, 0, 10);
	return fd;
}

/* Remove a socket file that nobody listens on. 0 or -errno. */
static int remove_stale(const struct where *where)
{
	struct stat st;
	int fd, rc;

	if (lstat(where->un.sun_path, &st))
		return -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	fd = new_socket(where);
	if (fd < 0)
		return fd;
	rc = connect_socket(fd, where, 0);
	close(fd);
	if (rc != -ECONNREFUSED)
		return -EADDRINUSE;
	return unlink(where->un.sun_path) ? -errno : 0;
}

/* 0 or -errno. */
static int bind_and_listen(int fd, const struct where *where)
{
	bool is_file = where->any.sa_family == AF_UNIX && where->un.sun_path[0];
	int rc;

	/* bind(2) gives the file this mode: at no time has it another. */
	if (is_file && fchmod(fd, 0600))
		return -errno;
	rc = bind(fd, &where->any, where->size) ? -errno : 0;
	if (rc == -EADDRINUSE && is_file) {
		rc = remove_stale(where);
		if (!rc && bind(fd, &where->any, where->size))
			rc = -errno;
	}
	if (!rc && listen(fd, SOMAXCONN))
		rc = -errno;
	return rc;
}

int ff_link_listen(const struct ff_address *address, struct ff_error *error)
{
	struct where where = to_where(address);
	int fd = new_socket(&where);
	int lock_fd = -1;
	int rc = fd;

	if (fd >= 0) {
		if (address->transport == FF_UNIX && address->path[0] != '@')
			lock_fd = lock_directory(address->path);
		rc = bind_and_listen(fd, &where);
		if (lock_fd >= 0)
			close(lock_fd);
	}
	if (!rc)
		return fd;
	if (fd >= 0)
		close(fd);
	return fail_with_hint(address, "listen on", -rc,
		address->transport == FF_VSOCK ? vsock_hints : listen_hints,
		error);
}
