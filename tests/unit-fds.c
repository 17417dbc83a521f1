/* SPDX-License-Identifier: MIT */
/* src/fds: messages that have fds with them. */
#include "fds.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAIR .init = make_pair, .fini = close_pair, .timeout = 60

static int pair[2];

static void make_pair(void)
{
	cr_assert(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair));
}

static void close_pair(void)
{
	close(pair[0]);
	close(pair[1]);
}

/* Send "text" with so many fds. */
static void send_text(size_t count)
{
	int fds[FF_FDS_MAX];

	for (size_t i = 0; i < count; i++)
		fds[i] = pair[1];
	cr_assert_eq(ff_fds_send(pair[0], "text", 4, fds, count, 0), 4);
}

/* The lowest number that is free. */
static int next_fd(void)
{
	int fd = dup(pair[0]);

	close(fd);
	return fd;
}

Test(fds, come_with_their_message, PAIR)
{
	static const size_t counts[] = { 0, 1, 2, 3, FF_FDS_MAX };
	int fds[FF_FDS_MAX];
	char text[4];

	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		send_text(counts[i]);
		memset(text, 0, sizeof(text));
		cr_expect_eq(ff_fds_receive(pair[1], text, 4, fds, counts[i]),
			(int)counts[i]);
		cr_expect(!memcmp(text, "text", 4));
		for (size_t k = 0; k < counts[i]; k++) {
			cr_expect_eq(fcntl(fds[k], F_GETFD), FD_CLOEXEC);
			close(fds[k]);
		}
	}
}

Test(fds, that_need_not_come_are_not_missed, PAIR)
{
	char text[4];
	int fds[2];

	send_text(1);
	cr_assert_eq(ff_fds_receive(pair[1], text, 4, fds, 2), 1);
	close(fds[0]);
	send_text(0);
	cr_expect_eq(ff_fds_receive(pair[1], text, 4, fds, 2), 0);
}

/* An odd number has room for another behind it. */
Test(fds, beyond_the_room_leave_none_open, PAIR)
{
	int before = next_fd(), fds[3];

	for (size_t room = 0; room <= 3; room++) {
		char text[4] = { 0 };

		send_text(room + 1);
		cr_expect_eq(ff_fds_receive(pair[1], text, 4, fds, room),
			-EMFILE, "room for %zu", room);
		cr_expect(!memcmp(text, "text", 4), "it has come");
		cr_expect_eq(next_fd(), before);
	}
}

Test(fds, beyond_the_limit_leave_none_open, PAIR)
{
	int before = next_fd(), fds[2];
	struct rlimit limit;
	char text[4] = { 0 };

	cr_assert(!getrlimit(RLIMIT_NOFILE, &limit));
	limit.rlim_cur = (rlim_t)before + 1;
	cr_assert(!setrlimit(RLIMIT_NOFILE, &limit));
	send_text(2);
	cr_expect_eq(ff_fds_receive(pair[1], text, 4, fds, 2), -EMFILE);
	cr_expect(!memcmp(text, "text", 4), "it has come");
	cr_expect_eq(next_fd(), before);
}

Test(message, of_another_size_is_none, PAIR)
{
	int before = next_fd(), fds[2];
	char text[5];

	send_text(2);
	cr_expect_eq(ff_fds_receive(pair[1], text, 5, fds, 2), -EPROTO);
	send_text(2);
	cr_expect_eq(ff_fds_receive(pair[1], text, 3, fds, 2), -EPROTO);
	cr_expect_eq(next_fd(), before);
}

Test(message, does_not_come_from_a_closed_end, PAIR)
{
	char text[4];

	shutdown(pair[0], SHUT_WR);
	cr_expect_eq(ff_fds_receive(pair[1], text, 4, NULL, 0), -EPIPE);
	close(pair[0]);
	cr_expect_eq(ff_fds_send(pair[1], "text", 4, NULL, 0, 0), -EPIPE);
	pair[0] = -1;
}

/* As the front finds its supervisor's last words. */
Test(message, is_behind_the_error_of_an_answer_that_nobody_read, PAIR)
{
	char text[4];
	int fd;

	cr_assert_eq(ff_fds_send(pair[1], "x", 1, NULL, 0, 0), 1);
	send_text(1);
	close(pair[0]);
	pair[0] = -1;
	cr_expect_eq(ff_fds_receive(pair[1], text, 4, &fd, 1), -ECONNRESET);
	cr_expect_eq(ff_fds_receive(pair[1], text, 4, &fd, 1), 1);
	close(fd);
}

Test(message, without_room_is_not_waited_for_if_so_wanted, PAIR)
{
	ssize_t sent;

	do {
		sent = ff_fds_send(pair[0], "text", 4, &pair[0], 1,
			MSG_DONTWAIT);
	} while (sent == 4);
	cr_expect_eq(sent, -EAGAIN);
}

static void ignore(int sig)
{
	(void)sig;
}

Test(message, is_waited_for_in_spite_of_signals, PAIR)
{
	const struct sigaction action = { .sa_handler = ignore };
	pid_t self = getpid(), child;
	char text[4];

	cr_assert(!sigaction(SIGUSR1, &action, NULL));
	child = fork();
	cr_assert(child >= 0);
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (int i = 0; i < 20; i++) {
			kill(self, SIGUSR1);
			usleep(5000);
		}
		_exit(ff_fds_send(pair[0], "text", 4, NULL, 0, 0) != 4);
	}
	cr_expect_eq(ff_fds_receive(pair[1], text, 4, NULL, 0), 0);
	waitpid(child, NULL, 0);
}
