/* SPDX-License-Identifier: MIT */
/* A relay that cannot be had is an error before the command runs. */
#include "relay.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "futexwatch/wire.h"

enum { EXIT_OURS = 125 };

/* Where a file of the test's is. */
static const char *path_of(const char *name)
{
	static char paths[8][PATH_MAX];
	static unsigned int next;
	char *path = paths[next++ % 8];

	snprintf(path, PATH_MAX, "%s/%s", e2e_dir(), name);
	return path;
}

/* With these options the command does not run, and both texts are said. */
static void check_refused(const char *option, const char *option2,
	const char *text, const char *text2)
{
	const char *mark = path_of("mark");
	struct e2e_run run = {.wrapped = true, .options = {option, option2},
		.command = {"touch", mark}};

	e2e_do(&run);
	e2e_check(&run, e2e_exited(&run, EXIT_OURS), text);
	e2e_check(&run, !strncmp(run.errors, "fenceferry: ", 12), text);
	e2e_check(&run, strstr(run.errors, text), text);
	e2e_check(&run, strstr(run.errors, text2), text2);
	e2e_check(&run, !*run.output, "standard output is the command's");
	e2e_check(&run, access(mark, F_OK), "the command did not run");
}

E2E_TEST(trouble, a_malformed_address_is_refused, FF_TEST_XVFB)
{
	static const char *const addresses[] = {"", "unix", "unix:",
		"/tmp/socket", "tcp:1:2", "vsock:2", "vsock:2:", "vsock:x:5",
		"vsock:2:5x", "vsock:2:4294967296", "vsock:-1:5", "char:"};
	char option[128];

	for (size_t i = 0; i < sizeof(addresses) / sizeof(*addresses); i++) {
		snprintf(option, sizeof(option), "--relay=%s", addresses[i]);
		check_refused(option, NULL, addresses[i], "address '");
	}
}

E2E_TEST(trouble, so_is_a_path_that_is_too_long, FF_TEST_XVFB)
{
	char option[256] = "--relay=unix:/";

	memset(option + strlen(option), 'x', 150);
	check_refused(option, NULL, "use a shorter one", "unix:/xxx");
}

/* Newer libxshmfences are asked for files instead of memfds, relay or not. */
E2E_TEST(trouble, files_are_asked_for_in_any_case, FF_TEST_XVFB)
{
	struct e2e_run run = {.wrapped = true, .options = {"--isolate"},
		.setting = "XSHMFENCE_NO_MEMFD=0",
		.command = {"sh", "-c", "echo \"[$XSHMFENCE_NO_MEMFD]\""}};

	e2e_do(&run);
	e2e_check(&run, !strcmp(run.output, "[1]\n"), "it is set");
}

E2E_TEST(trouble, the_relay_wants_swaps, FF_TEST_XVFB)
{
	check_refused(relay_option(), "--engine=off", "--relay",
		"--engine=off");
	check_refused("--isolate", "--engine=off", "--isolate",
		"--engine=off");
}

/* A socket at the address, of us; listens if backlog is not negative. */
static int make_socket(int backlog)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s",
		path_of("relay"));
	unlink(address.sun_path);
	cr_assert(fd >= 0 && !bind(fd, (struct sockaddr *)&address,
		sizeof(address)), "%s: %s", address.sun_path, strerror(errno));
	cr_assert(backlog < 0 || !listen(fd, backlog));
	cr_assert(!chmod(address.sun_path, 0666));
	return fd;
}

E2E_TEST(trouble, nobody_there_is_an_error_at_the_start, FF_TEST_XVFB)
{
	char path[PATH_MAX];
	int fd;

	strcpy(path, path_of("relay"));
	check_refused(relay_option(), NULL, "nobody is there", path);
	check_refused("--relay=char:/dev/virtio-ports/none", NULL,
		"no such device", "/dev/virtio-ports/none");
	fd = make_socket(-1);
	check_refused(relay_option(), NULL, "nobody listens there", path);
	close(fd);
	check_refused(relay_option(), NULL, "nobody listens there", path);
	unlink(path);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
	cr_assert(fd >= 0);
	close(fd);
	check_refused(relay_option(), NULL, path, "(");
}

/* As root there are no permissions to lack. */
Test(trouble, so_is_a_socket_that_is_not_ours, .fini = e2e_end,
	.timeout = E2E_TIMEOUT_S)
{
	int fd;

	e2e_begin(FF_TEST_XVFB, true);
	fd = make_socket(8);
	cr_assert(!chmod(path_of("relay"), 0));
	check_refused(relay_option(), NULL, "permission denied",
		"--allow-uid");
	close(fd);
}

/* A host's end that says what it is told to. */
struct fake {
	int listener;
	unsigned int count; /* of messages that answer the hello */
	struct ff_wire answers[2];
	bool garbage, stays;
	pthread_t thread;
};

static void *serve_one(void *argument)
{
	struct fake *fake = argument;
	unsigned char bytes[FF_WIRE_SIZE], guest[FF_WIRE_ID];
	int fd = accept4(fake->listener, NULL, NULL, SOCK_CLOEXEC);
	struct ff_wire hello;

	if (recv(fd, bytes, sizeof(bytes), MSG_WAITALL) == sizeof(bytes) &&
		!ff_wire_decode(bytes, &hello) && hello.type == FF_WIRE_HELLO)
		memcpy(guest, hello.guest, sizeof(guest));
	else
		fake->count = 0;
	for (unsigned int i = 0; i < fake->count; i++) {
		memcpy(fake->answers[i].guest, guest, sizeof(guest));
		ff_wire_encode(&fake->answers[i], bytes);
		if (fake->garbage)
			memset(bytes, 'x', sizeof(bytes));
		if (send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL) < 0)
			break;
	}
	/* Until it is left. */
	while (fake->stays && recv(fd, bytes, sizeof(bytes), 0) > 0)
		;
	close(fd);
	return NULL;
}

static void check_fake(struct fake *fake, const char *text, const char *text2)
{
	fake->listener = make_socket(8);
	cr_assert(!pthread_create(&fake->thread, NULL, serve_one, fake));
	check_refused(relay_option(), NULL, text, text2);
	pthread_join(fake->thread, NULL);
	close(fake->listener);
}

E2E_TEST(trouble, so_is_another_version, FF_TEST_XVFB)
{
	struct fake fake = {.count = 2, .stays = true, .answers = {
		{.type = FF_WIRE_HELLO, .version = FF_WIRE_VERSION + 41},
		{.type = FF_WIRE_REFUSED, .reason = FF_WIRE_BAD_VERSION},
	}};
	char text[32];

	snprintf(text, sizeof(text), "%d", FF_WIRE_VERSION + 41);
	check_fake(&fake, "version", text);
}

E2E_TEST(trouble, so_is_a_host_that_lets_nobody_in, FF_TEST_XVFB)
{
	struct fake refuses = {.count = 1, .stays = true, .answers = {
		{.type = FF_WIRE_REFUSED, .reason = FF_WIRE_NOT_ALLOWED},
	}};
	struct fake is_busy = {.count = 1, .stays = true, .answers = {
		{.type = FF_WIRE_REFUSED, .reason = FF_WIRE_BUSY},
	}};

	check_fake(&refuses, "refuses us",
		ff_wire_reason_text(FF_WIRE_NOT_ALLOWED));
	check_fake(&is_busy, "refuses us", ff_wire_reason_text(FF_WIRE_BUSY));
}

E2E_TEST(trouble, so_is_one_that_is_no_host, FF_TEST_XVFB)
{
	struct fake leaves = {.count = 0};
	struct fake babbles = {.count = 1, .garbage = true, .stays = true,
		.answers = {{.type = FF_WIRE_HELLO, .version = 1}}};

	check_fake(&leaves, "the relay", "closed the connection");
	check_fake(&babbles, "the relay", "protocol");
}

/* It takes five seconds: once is enough. */
Test(trouble, so_is_one_that_does_not_answer, .fini = e2e_end,
	.timeout = E2E_TIMEOUT_S)
{
	struct fake fake = {.stays = true};

	e2e_begin(FF_TEST_XVFB, true);
	check_fake(&fake, "the relay", "does not answer");
}

/* The host's end itself refuses other users: only root can become one. */
Test(trouble, the_host_lets_in_its_own_user_only, .fini = e2e_end,
	.timeout = E2E_TIMEOUT_S)
{
	struct relay_host host;
	struct e2e_run run = {0};

	e2e_begin(FF_TEST_XVFB, false);
	relay_host_start(&host, NULL);
	cr_assert(!chmod(e2e_dir(), 0755) && !chmod(e2e_shm_dir(), 0777) &&
		!chmod(path_of("relay"), 0666));
	run = (struct e2e_run){.command = {"setpriv", "--reuid=65534",
		"--regid=65534", "--clear-groups", e2e_fenceferry(), "run",
		host.shm_dir, relay_option(), "touch", path_of("mark")}};
	e2e_do(&run);
	e2e_check(&run, e2e_exited(&run, EXIT_OURS), "it is refused");
	e2e_check(&run, strstr(run.errors,
		ff_wire_reason_text(FF_WIRE_NOT_ALLOWED)), "it says why");
	kill(host.run.pid, SIGTERM);
	e2e_finish(&host.run);
	e2e_check(&host.run, strstr(host.run.errors, "uid 65534") &&
		strstr(host.run.errors, "refused: "), "so does the host's end");
}
