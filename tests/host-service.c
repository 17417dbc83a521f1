/* SPDX-License-Identifier: MIT */
/* fenceferry host as a service: signals, systemd, the command line. */
#include "host-run.h"

#include "count-fds.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static struct hr_daemon daemon_;

static void make_dir(void)
{
	hr_make_dir(&daemon_);
}

static void begin(void)
{
	hr_make_dir(&daemon_);
	hr_start(&daemon_, NULL);
}

static void clean(void)
{
	hr_clean(&daemon_);
}

#define DIRECTORY .init = make_dir, .fini = clean, .timeout = 120
#define DAEMON .init = begin, .fini = clean, .timeout = 120

static int listen_at(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(address.sun_path, path);
	cr_assert(fd >= 0 && bind(fd, (struct sockaddr *)&address,
		sizeof(address)) == 0 && listen(fd, 8) == 0);
	return fd;
}

Test(host_service, socket_is_its_users_own, DAEMON)
{
	struct stat st;

	cr_assert(stat(daemon_.socket, &st) == 0);
	cr_expect_eq(st.st_mode & 0777, 0600);
	hr_stop(&daemon_);
}

Test(host_service, sigusr1_asks_for_status, DAEMON)
{
	struct hr_honest honest = hr_honest(&daemon_);

	cr_assert(kill(daemon_.pid, SIGUSR1) == 0);
	hr_expect_said(&daemon_, "status: guests 1, fences 1,");
	hr_expect_logged(&daemon_, "\"event\":\"status\"");
	hr_expect_works(&honest);
	hr_leave(&honest);
	hr_stop(&daemon_);
}

Test(host_service, sighup_and_sigpipe_are_ignored, DAEMON)
{
	struct hr_honest honest = hr_honest(&daemon_);

	cr_assert(kill(daemon_.pid, SIGHUP) == 0);
	cr_assert(kill(daemon_.pid, SIGPIPE) == 0);
	hr_expect_works(&honest);
	hr_leave(&honest);
	hr_stop(&daemon_);
}

Test(host_service, sigint_stops_it_too, DAEMON)
{
	struct hr_honest honest = hr_honest(&daemon_);
	int status;

	cr_assert(kill(daemon_.pid, SIGINT) == 0);
	cr_assert(waitpid(daemon_.pid, &status, 0) == daemon_.pid);
	daemon_.pid = 0;
	cr_expect_eq(status, 0);
	hr_expect_end(honest.guest.fd);
	hr_leave(&honest);
}

/* Killed, it leaves its socket, which the next one replaces. */
Test(host_service, can_be_started_again_after_a_crash, DAEMON)
{
	struct hr_honest honest = hr_honest(&daemon_);

	cr_assert(kill(daemon_.pid, SIGKILL) == 0);
	cr_assert(waitpid(daemon_.pid, NULL, 0) == daemon_.pid);
	daemon_.pid = 0;
	cr_assert(unlink(daemon_.err) == 0);
	hr_start(&daemon_, NULL);
	hr_expect_end(honest.guest.fd);
	close(honest.guest.fd);
	honest.guest = hr_guest(&daemon_);
	hr_send_new(honest.guest.fd, 77, honest.fence.name);
	hr_expect(honest.guest.fd, FF_WIRE_ACCEPTED, 77, 0);
	hr_expect_works(&honest);
	hr_leave(&honest);
	hr_stop(&daemon_);
}

/* Sockets from 3 on, and where to tell that it is ready, as systemd does. */
Test(host_service, systemd_passes_sockets_and_is_notified, DIRECTORY)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int notify = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	char where[128], text[512];
	struct hr_honest honest;
	struct stat st;
	int fds[] = { listen_at(daemon_.socket), -1 };

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/notify",
		daemon_.dir);
	cr_assert(bind(notify, (struct sockaddr *)&address, sizeof(address)) ==
		0);
	cr_assert(setsockopt(notify, SOL_SOCKET, SO_RCVTIMEO,
		&(struct timeval){ HR_DEADLINE_MS / 1000, 0 },
		sizeof(struct timeval)) == 0);
	snprintf(where, sizeof(where), "NOTIFY_SOCKET=%s", address.sun_path);
	daemon_.pid = hr_spawn(&daemon_, (const char *const[]){ "LISTEN_FDS=1",
		where, NULL }, (const char *const[]){ "-d", daemon_.dir, "-v",
		NULL }, fds);
	memset(text, 0, sizeof(text));
	cr_assert(recv(notify, text, sizeof(text) - 1, 0) > 0);
	cr_expect(strstr(text, "READY=1") != NULL, "%s", text);
	close(fds[0]);
	honest = hr_honest(&daemon_);
	/* Once a second it tells how things stand. */
	while (!strstr(text, "guests 1, fences 1")) {
		memset(text, 0, sizeof(text));
		cr_assert(recv(notify, text, sizeof(text) - 1, 0) > 0);
	}
	hr_expect_works(&honest);
	daemon_.fds = count_fds(daemon_.pid) - 2; /* the guest's, a fence */
	hr_leave(&honest);
	hr_expect_no_leak(&daemon_);
	cr_assert(kill(daemon_.pid, SIGTERM) == 0);
	do {
		memset(text, 0, sizeof(text));
		cr_assert(recv(notify, text, sizeof(text) - 1, 0) > 0);
	} while (!strstr(text, "STOPPING=1"));
	cr_expect(waitpid(daemon_.pid, NULL, 0) == daemon_.pid);
	daemon_.pid = 0;
	/* The socket is systemd's. */
	cr_expect(stat(daemon_.socket, &st) == 0);
	close(notify);
}

/* It ends at once with 125, and says so. */
static void expect_failure(const char *const environment[],
	const char *const options[], const int fds[], const char *text)
{
	pid_t pid = hr_spawn(&daemon_, environment, options, fds);
	int status;

	daemon_.pid = pid;
	cr_assert(waitpid(pid, &status, 0) == pid);
	daemon_.pid = 0;
	cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 125, "%s: %x",
		text, (unsigned int)status);
	hr_expect_said(&daemon_, text);
	unlink(daemon_.err);
}

Test(host_service, other_fds_of_systemds_are_refused, DIRECTORY)
{
	int null[] = { open("/dev/null", O_RDWR | O_CLOEXEC), -1 };
	int pair[3] = { 0, 0, -1 };

	cr_assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) ==
		0);
	expect_failure((const char *const[]){ "LISTEN_FDS=1", NULL },
		(const char *const[]){ "-d", daemon_.dir, NULL }, null,
		"not a listening stream socket");
	expect_failure((const char *const[]){ "LISTEN_FDS=2", NULL },
		(const char *const[]){ "-d", daemon_.dir, NULL }, pair,
		"not a listening stream socket");
	close(null[0]);
	close(pair[0]);
	close(pair[1]);
}

Test(host_service, bad_options_are_told, DIRECTORY)
{
	static const struct {
		const char *options[4], *text;
	} cases[] = {
		{ { NULL }, "nowhere to listen (give an address with --listen" },
		{ { "-l", "nonsense" }, "fenceferry: address 'nonsense'" },
		{ { "-lunix:" }, "address" },
		{ { "--listen" }, "option '--listen' wants a value" },
		{ { "--quiet=1" }, "takes no value" },
		{ { "--nonsense" }, "unknown option '--nonsense'" },
		{ { "-z" }, "unknown option '-z'" },
		{ { "command" }, "'command' is too much" },
		{ { "--allow-uid=no such user" }, "a user's name or number" },
		{ { "--allow-uid=" }, "a user's name or number" },
		{ { "--allow-uid=-1" }, "a user's name or number" },
		{ { "--allow-uid=4294967295" }, "a user's name or number" },
		{ { "--allow-cid=0" }, "a CID" },
		{ { "--allow-cid=x" }, "a CID" },
		{ { "--waiters=x" }, "io_uring, waitv, threads or auto" },
		{ { "--max-fences=0" }, "a number from 1" },
		{ { "--max-rate=1x" }, "a number from 1" },
		{ { "-lunix:/dev/null/x" }, "cannot listen on unix:/dev/null/x" },
		{ { "-lunix:@ff-host-test", "-d", "/nonexistent" },
			"cannot open the shm dir /nonexistent" },
		{ { "-lunix:@ff-host-test", "-o", "/nonexistent/log" },
			"cannot open the log" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		expect_failure(NULL, cases[i].options, NULL, cases[i].text);
}

Test(host_service, taken_socket_is_told, DAEMON)
{
	char address[64], said[96];
	pid_t pid = daemon_.pid;
	struct hr_honest honest;

	snprintf(address, sizeof(address), "-lunix:%s", daemon_.socket);
	snprintf(said, sizeof(said), "cannot listen on unix:%s",
		daemon_.socket);
	expect_failure(NULL, (const char *const[]){ address, NULL }, NULL,
		said);
	daemon_.pid = pid;
	honest = hr_honest(&daemon_);
	hr_expect_works(&honest);
	hr_leave(&honest);
	hr_stop(&daemon_);
}

Test(host_service, help_is_told, DIRECTORY)
{
	int status;
	pid_t pid = hr_spawn(&daemon_, NULL, (const char *const[]){ "--help",
		NULL }, NULL);

	cr_assert(waitpid(pid, &status, 0) == pid);
	cr_expect_eq(status, 0);
	hr_expect_said(&daemon_, "Usage: fenceferry host");
}
