/* SPDX-License-Identifier: MIT */
#include "attached.h"
#include "victim.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BEGIN = 'b', END = 'e', TEXT = 2048 };

static int helper = -1; /* a socket to it */

struct helper {
	const char *program;
	char shm_option[256], socket_option[256], pid[16];
	pid_t attach;
	int errors; /* to be read */
	char text[TEXT];
};

static _Noreturn void become(const struct helper *h, int errors)
{
	dup2(errors, STDERR_FILENO);
	execl(h->program, h->program, "attach", "--engine=ptrace",
		h->shm_option, h->socket_option, h->pid, (char *)NULL);
	dprintf(STDERR_FILENO, "%s: %s", h->program, strerror(errno));
	_exit(127);
}

/* Read what attach says until it has said this, or its end. */
static void read_until(struct helper *h, const char *what)
{
	size_t used = 0;
	ssize_t n;

	h->text[0] = '\0';
	while (!(what && strstr(h->text, what)) && used < TEXT - 1 &&
		(n = read(h->errors, h->text + used, TEXT - 1 - used)) > 0) {
		used += (size_t)n;
		h->text[used] = '\0';
	}
}

static void begin(struct helper *h)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		_exit(1);
	h->attach = fork();
	if (!h->attach)
		become(h, ends[1]);
	close(ends[1]);
	h->errors = ends[0];
	read_until(h, "fenceferry: attached to pid ");
}

static void end(struct helper *h)
{
	int status = -1;

	kill(h->attach, SIGINT);
	read_until(h, NULL);
	waitpid(h->attach, &status, 0);
	close(h->errors);
	if (status != 0)
		snprintf(h->text, TEXT, "attach ended with %#x", status);
}

static _Noreturn void help(struct helper *h, int channel)
{
	char what;

	alarm(60);
	prctl(PR_SET_NAME, "attacher");
	while (read(channel, &what, 1) == 1) {
		if (what == BEGIN)
			begin(h);
		else
			end(h);
		if (write(channel, h->text, TEXT) != TEXT)
			break;
	}
	_exit(0);
}

void attached_prepare(const char *program, const char *shm_dir,
	const char *socket)
{
	struct helper h = {.program = program};
	int pair[2];
	pid_t child;

	snprintf(h.shm_option, sizeof(h.shm_option), "--shm-dir=%s", shm_dir);
	snprintf(h.socket_option, sizeof(h.socket_option), "--x-socket=%s",
		socket);
	snprintf(h.pid, sizeof(h.pid), "%d", (int)getpid());
	victim_check(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair),
		"socketpair: %s", strerror(errno));
	child = fork();
	victim_check(child >= 0, "fork: %s", strerror(errno));
	if (!child) {
		close(pair[0]);
		if (fork() != 0)
			_exit(0);
		help(&h, pair[1]);
	}
	close(pair[1]);
	victim_check(waitpid(child, NULL, 0) == child, "waitpid");
	helper = pair[0];
}

/* Have it done, and look at what attach says. */
static void ask(char what, const char *want)
{
	char text[TEXT] = "";
	ssize_t n;

	victim_check(send(helper, &what, 1, MSG_NOSIGNAL) == 1 &&
			(n = recv(helper, text, TEXT, MSG_WAITALL)) == TEXT,
		"the helper has gone");
	victim_check(strstr(text, want), "attach: %s", text);
}

void attached_begin(void)
{
	ask(BEGIN, "fenceferry: attached to pid ");
}

void attached_end(void)
{
	ask(END, "fenceferry: detached from pid ");
}
