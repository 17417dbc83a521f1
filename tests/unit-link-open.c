/* SPDX-License-Identifier: MIT */
/* src/futexwatch/link: how one comes to be. */
#include "clock.h"
#include "futexwatch/link.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

enum { NOBODY = 65534, TIMEOUT_MS = 20000 };

static char dir[64];
static struct ff_error error;

static void make_dir(void)
{
	strcpy(dir, "/tmp/unit-link-XXXXXX");
	cr_assert_not_null(mkdtemp(dir));
}

/* As one who is not root: then permissions count. */
static void become_nobody(void)
{
	if (geteuid() == 0)
		cr_assert_eq(seteuid(NOBODY), 0);
}

static void be_oneself(void)
{
	cr_assert_eq(seteuid(getuid()), 0);
}

static void remove_dir(void)
{
	char command[100];

	be_oneself();
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	cr_assert_eq(system(command), 0);
}

#define DIRECTORY .init = make_dir, .fini = remove_dir, .timeout = 60

static const char *in_dir(const char *name)
{
	static char path[100];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

/* The address of what is called name in the directory, or of anything. */
static struct ff_address address_of(const char *kind, const char *name)
{
	struct ff_address address;
	char text[200];

	snprintf(text, sizeof(text), "%s:%s", kind,
		strcmp(kind, "vsock") == 0 || strchr("/@", name[0])
			? name
			: in_dir(name));
	memset(&error, 0, sizeof(error));
	cr_assert_eq(ff_address_parse(text, FF_GUEST, &address, &error), 0,
		"%s", error.text);
	return address;
}

static struct ff_address unix_address(const char *name)
{
	return address_of("unix", name);
}

static int try_connect(struct ff_address address)
{
	memset(&error, 0, sizeof(error));
	return ff_link_connect(&address, TIMEOUT_MS, &error);
}

static int try_listen(struct ff_address address)
{
	memset(&error, 0, sizeof(error));
	return ff_link_listen(&address, &error);
}

static int must_connect(struct ff_address address)
{
	int fd = try_connect(address);

	cr_assert_geq(fd, 0, "%s", error.text);
	return fd;
}

static int must_listen(struct ff_address address)
{
	int fd = try_listen(address);

	cr_assert_geq(fd, 0, "%s", error.text);
	return fd;
}

/* An error that names the address, says words, and has a way out. */
static void assert_error(int rc, int err, const char *name, const char *words)
{
	cr_assert_eq(rc, -err, "%d: %s", rc, error.text);
	cr_assert_eq(error.err, err);
	cr_assert_not_null(strstr(error.text, name), "%s", error.text);
	cr_assert_not_null(strstr(error.text, words), "%s", error.text);
	cr_assert_eq(error.text[strlen(error.text) - 1], ')', "%s", error.text);
}

/* Bytes go through, unchanged and both ways. */
static void assert_bytes_pass(int a, int b)
{
	unsigned char sent[256], got[256];

	for (int i = 0; i < 256; i++)
		sent[i] = (unsigned char)i;
	for (int way = 0; way < 2; way++) {
		size_t size = 0;

		cr_assert_eq(write(way ? a : b, sent, sizeof(sent)),
			(ssize_t)sizeof(sent));
		while (size < sizeof(got)) {
			struct pollfd pollfd = {
				.fd = way ? b : a, .events = POLLIN};
			ssize_t rc;

			cr_assert_eq(poll(&pollfd, 1, TIMEOUT_MS), 1);
			rc = read(pollfd.fd, got + size, sizeof(got) - size);
			cr_assert_gt(rc, 0);
			size += (size_t)rc;
		}
		cr_assert_arr_eq(got, sent, sizeof(got));
	}
}

static void assert_manners(int fd)
{
	cr_assert(fcntl(fd, F_GETFL) & O_NONBLOCK);
	cr_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
}

static int must_accept(int listener)
{
	struct pollfd pollfd = {.fd = listener, .events = POLLIN};
	int fd;

	cr_assert_eq(poll(&pollfd, 1, TIMEOUT_MS), 1);
	fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	cr_assert_geq(fd, 0);
	return fd;
}

static void assert_carries(int listener, struct ff_address address)
{
	int guest = must_connect(address);
	int host = must_accept(listener);

	assert_manners(guest);
	assert_bytes_pass(guest, host);
	close(guest);
	close(host);
}

Test(link_open, unix_sockets_carry_messages, DIRECTORY)
{
	int listener = must_listen(unix_address("relay"));

	assert_manners(listener);
	assert_carries(listener, unix_address("relay"));
}

Test(link_open, abstract_sockets_leave_no_file, DIRECTORY)
{
	char name[64];
	int listener;

	snprintf(name, sizeof(name), "@fenceferry-unit-link-%d", getpid());
	listener = must_listen(unix_address(name));
	cr_assert_neq(access(name, F_OK), 0);
	assert_carries(listener, unix_address(name));
	assert_error(try_listen(unix_address(name)), EADDRINUSE, name,
		"somebody else");
	close(listener);
	assert_error(try_connect(unix_address(name)), ECONNREFUSED, name,
		"nobody listens");
}

Test(link_open, unix_socket_is_its_owners_whatever_the_umask, DIRECTORY)
{
	static const mode_t masks[] = {0, 022, 077};
	struct stat st;

	for (size_t i = 0; i < 3; i++) {
		int fd;

		umask(masks[i]);
		fd = must_listen(unix_address("relay"));
		cr_assert_eq(stat(in_dir("relay"), &st), 0);
		cr_assert_eq(st.st_mode, S_IFSOCK | 0600);
		cr_assert_eq(umask(masks[i]), masks[i]);
		close(fd);
	}
}

Test(link_open, socket_that_nobody_listens_on_is_replaced, DIRECTORY)
{
	close(must_listen(unix_address("relay")));
	cr_assert_eq(access(in_dir("relay"), F_OK), 0);
	assert_carries(
		must_listen(unix_address("relay")), unix_address("relay"));
}

Test(link_open, socket_that_somebody_listens_on_is_not_replaced, DIRECTORY)
{
	int listener = must_listen(unix_address("relay"));

	assert_error(try_listen(unix_address("relay")), EADDRINUSE,
		in_dir("relay"), "somebody else");
	/* The question came as a connection, too. */
	close(must_accept(listener));
	assert_carries(listener, unix_address("relay"));
}

Test(link_open, what_is_not_a_socket_is_not_replaced, DIRECTORY)
{
	close(open(in_dir("file"), O_CREAT | O_WRONLY, 0600));
	cr_assert_eq(symlink("gone", in_dir("link")), 0);
	cr_assert_eq(mkdir(in_dir("dir"), 0700), 0);
	assert_error(try_listen(unix_address("file")), EEXIST, in_dir("file"),
		"not a socket");
	assert_error(try_listen(unix_address("link")), EEXIST, in_dir("link"),
		"not a socket");
	assert_error(try_listen(unix_address("dir")), EEXIST, in_dir("dir"),
		"not a socket");
	cr_assert_neq(access(in_dir("gone"), F_OK), 0);
}

/* Of many that begin at once, over a stale socket, one must stay. */
Test(link_open, one_of_many_gets_the_address, DIRECTORY)
{
	enum { MANY = 12, ROUNDS = 20 };

	for (int round = 0; round < ROUNDS; round++) {
		int gate[2], ready[2], winners = 0, status;
		pid_t pids[MANY];
		char byte = 0;

		cr_assert_eq(pipe(gate), 0);
		cr_assert_eq(pipe(ready), 0);
		for (int i = 0; i < MANY; i++) {
			pids[i] = fork();
			if (pids[i] == 0) {
				struct ff_address address =
					unix_address("relay");
				int fd;

				close(gate[1]);
				if (read(gate[0], &byte, 1) < 0)
					_exit(9);
				fd = ff_link_listen(&address, &error);
				if (write(ready[1], "x", 1) < 0)
					_exit(9);
				close(ready[1]);
				/* Stay until all have tried. */
				while (fd >= 0 && read(ready[0], &byte, 1) > 0)
					;
				_exit(fd >= 0 ? 0 : fd == -EADDRINUSE ? 1 : 2);
			}
		}
		close(gate[0]);
		close(gate[1]);
		close(ready[0]);
		close(ready[1]);
		for (int i = 0; i < MANY; i++) {
			cr_assert_eq(waitpid(pids[i], &status, 0), pids[i]);
			cr_assert(WIFEXITED(status));
			cr_assert_lt(WEXITSTATUS(status), 2);
			winners += WEXITSTATUS(status) == 0;
		}
		cr_assert_eq(winners, 1, "round %d: %d", round, winners);
	}
}

Test(link_open, nobody_there_is_told_in_words, DIRECTORY)
{
	int fd;

	assert_error(try_connect(unix_address("gone")), ENOENT, in_dir("gone"),
		"nobody is there");
	fd = must_listen(unix_address("stale"));
	close(fd);
	assert_error(try_connect(unix_address("stale")), ECONNREFUSED,
		in_dir("stale"), "nobody listens");
	close(open(in_dir("file"), O_CREAT | O_WRONLY, 0600));
	assert_error(try_connect(unix_address("file")), ENOTSOCK,
		in_dir("file"), "not a socket");
	assert_error(try_connect(unix_address("file/relay")), ENOTDIR,
		in_dir("file/relay"), "not a directory");
}

Test(link_open, socket_of_another_type_is_told_in_words, DIRECTORY)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	strcpy(un.sun_path, in_dir("log"));
	cr_assert_eq(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	assert_error(try_connect(unix_address("log")), EPROTOTYPE,
		in_dir("log"), "another type");
	assert_error(try_listen(unix_address("log")), EADDRINUSE, in_dir("log"),
		"somebody else");
}

Test(link_open, missing_permission_is_told_in_words, DIRECTORY)
{
	must_listen(unix_address("relay"));
	cr_assert_eq(chmod(in_dir("relay"), 0), 0);
	cr_assert_eq(chmod(dir, 0555), 0);
	become_nobody();
	assert_error(try_connect(unix_address("relay")), EACCES,
		in_dir("relay"), "permission denied");
	assert_error(try_listen(unix_address("other")), EACCES, in_dir("other"),
		"permission denied");
	/* As far as one may know: somebody has it. */
	assert_error(try_listen(unix_address("relay")), EADDRINUSE,
		in_dir("relay"), "somebody else");
	be_oneself();
	cr_assert_eq(chmod(dir, 0700), 0);
}

Test(link_open, listening_needs_a_directory, DIRECTORY)
{
	close(open(in_dir("file"), O_CREAT | O_WRONLY, 0600));
	assert_error(try_listen(unix_address("gone/relay")), ENOENT,
		in_dir("gone/relay"), "no such directory");
	assert_error(try_listen(unix_address("file/relay")), ENOTDIR,
		in_dir("file/relay"), "no such directory");
}

/* A host that accepts nobody, and whose queue is full: its fd. */
static int listen_without_room(struct ff_address address)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int rc = 0;

	strcpy(un.sun_path, address.path);
	cr_assert_eq(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	cr_assert_eq(listen(fd, 1), 0);
	for (int i = 0; i < 10 && rc >= 0; i++)
		rc = ff_link_connect(&address, 0, &error);
	assert_error(rc, EAGAIN, address.path, "no answer in time");
	return fd;
}

Test(link_open, connect_keeps_its_deadline, DIRECTORY)
{
	struct ff_address address = unix_address("relay");
	uint64_t start_ns;

	listen_without_room(address);
	start_ns = ff_now_ns();
	assert_error(ff_link_connect(&address, 200, &error), EAGAIN,
		address.path, "no answer in time");
	cr_assert_geq(ff_now_ns() - start_ns, 200000000u);
}

Test(link_open, connect_waits_for_room, DIRECTORY)
{
	struct ff_address address = unix_address("relay");
	int fd = listen_without_room(address);
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		poll(NULL, 0, 100);
		_exit(accept(fd, NULL, NULL) < 0);
	}
	must_connect(address);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert_eq(status, 0);
}

Test(link_open, serial_lines_hand_on_all_bytes, DIRECTORY)
{
	struct ff_address address;
	char name[64];
	int master, slave, fd;

	cr_assert_eq(openpty(&master, &slave, name, NULL, NULL), 0);
	address = address_of("char", name);
	fd = must_connect(address);
	assert_manners(fd);
	cr_assert_neq(ioctl(fd, TIOCGPGRP, &(pid_t){0}), 0,
		"it has become the controlling terminal");
	assert_bytes_pass(fd, master);
}

Test(link_open, terminal_without_another_end_is_told_in_words, DIRECTORY)
{
	char name[64];
	int master, slave, rc;

	cr_assert_eq(openpty(&master, &slave, name, NULL, NULL), 0);
	close(master);
	rc = try_connect(address_of("char", name));
	cr_assert_lt(rc, 0);
	cr_assert_not_null(strstr(error.text, name), "%s", error.text);
}

Test(link_open, device_in_use_is_told_in_words, DIRECTORY)
{
	char name[64];
	int master, slave;

	cr_assert_eq(openpty(&master, &slave, name, NULL, NULL), 0);
	cr_assert_eq(ioctl(slave, TIOCEXCL), 0);
	if (geteuid() == 0)
		cr_assert_eq(fchown(slave, NOBODY, (gid_t)-1), 0);
	become_nobody();
	assert_error(try_connect(address_of("char", name)), EBUSY, name,
		"somebody else has it open");
}

Test(link_open, only_devices_and_sockets_are_opened, DIRECTORY)
{
	close(open(in_dir("file"), O_CREAT | O_WRONLY, 0600));
	cr_assert_eq(mkfifo(in_dir("fifo"), 0600), 0);
	assert_error(try_connect(address_of("char", "file")), ENOTTY,
		in_dir("file"), "neither");
	assert_error(try_connect(address_of("char", "fifo")), ENOTTY,
		in_dir("fifo"), "neither");
	assert_error(
		try_connect(address_of("char", dir)), ENOTTY, dir, "neither");
	assert_error(try_connect(address_of("char", "gone")), ENOENT,
		in_dir("gone"), "no such device");
}

/* What a VMM makes of a virtio-serial port on the host. */
Test(link_open, socket_is_connected_to_where_a_device_may_be, DIRECTORY)
{
	int listener = must_listen(unix_address("port"));

	assert_carries(listener, address_of("char", "port"));
	close(listener);
	assert_error(try_connect(address_of("char", "port")), ECONNREFUSED,
		in_dir("port"), "nobody listens");
}

/* Whichever error this kernel gives: it has vsock, or not, or no way there. */
Test(link_open, vsock_without_a_host_is_told_in_words, .timeout = 60)
{
	const char *to = "vsock:3000000000:4294967000";
	int rc = try_connect(address_of("vsock", "3000000000:4294967000"));

	assert_error(rc, -rc, to, "vsock:3000000000:4294967000: ");
}

Test(link_open, vsock_carries_messages, .timeout = 60)
{
	struct ff_address address;
	int probe = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_vm vm = {
		.svm_family = AF_VSOCK,
		.svm_cid = VMADDR_CID_LOCAL,
		.svm_port = VMADDR_PORT_ANY,
	};
	int listener;

	if (probe < 0)
		cr_skip_test("this kernel has no vsock");
	if (bind(probe, (struct sockaddr *)&vm, sizeof(vm)))
		cr_skip_test("this kernel has no loopback for vsock");

	cr_assert_eq(
		ff_address_parse("vsock:4294960001", FF_HOST, &address, &error),
		0);
	listener = must_listen(address);
	assert_manners(listener);
	assert_error(try_listen(address), EADDRINUSE, "vsock:4294960001",
		"somebody else");
	assert_carries(listener, address_of("vsock", "local:4294960001"));
	close(listener);
	assert_error(try_connect(address_of("vsock", "1:4294960001")),
		ECONNRESET, "vsock:1:4294960001", "nobody listens");
}
