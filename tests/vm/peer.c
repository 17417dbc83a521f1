/* SPDX-License-Identifier: MIT */
#include "machine.h"

#include "clock.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define SECOND_NS 1000000000ull

enum { NAP_US = 5000 };

void vm_peer_start(struct vm *vm, struct vm_peer *peer, const char *name,
	const char *const argv[])
{
	pid_t self = getpid();
	int out;

	memset(peer, 0, sizeof(*peer));
	snprintf(peer->path, sizeof(peer->path), "%s/%s.out", vm->dir, name);
	peer->pid = fork();
	cr_assert(peer->pid >= 0);
	if (peer->pid)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	out = open(peer->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (getppid() != self || out < 0 || dup2(out, STDOUT_FILENO) < 0 ||
		dup2(out, STDERR_FILENO) < 0)
		_exit(126);
	close_range(STDERR_FILENO + 1, ~0U, 0);
	execvp(argv[0], (char *const *)argv);
	perror(argv[0]);
	_exit(127);
}

static void read_output(struct vm_peer *peer)
{
	int fd = open(peer->path, O_RDONLY | O_CLOEXEC);
	ssize_t n = 0;

	if (fd >= 0) {
		n = read(fd, peer->output, sizeof(peer->output) - 1);
		close(fd);
	}
	peer->output[n > 0 ? n : 0] = '\0';
}

/* Wait for its end, until the deadline: -1 then. */
static int wait_until(struct vm_peer *peer, uint64_t deadline_ns)
{
	int status;

	while (waitpid(peer->pid, &status, WNOHANG) == 0) {
		if (ff_now_ns() > deadline_ns)
			return -1;
		usleep(NAP_US);
	}
	peer->pid = 0;
	return WIFEXITED(status) ? WEXITSTATUS(status)
				 : 128 + WTERMSIG(status);
}

void vm_peer_wait_output(struct vm_peer *peer, const char *text, int timeout_s)
{
	uint64_t deadline = ff_now_ns() + (uint64_t)timeout_s * SECOND_NS;

	for (;;) {
		int ended = wait_until(peer, 0);

		read_output(peer);
		if (strstr(peer->output, text))
			return;
		cr_assert(ended < 0 && ff_now_ns() < deadline,
			"%s without \"%s\":\n%s", peer->path, text,
			peer->output);
		usleep(NAP_US);
	}
}

int vm_peer_wait_exit(struct vm_peer *peer, int timeout_s)
{
	int status = wait_until(
		peer, ff_now_ns() + (uint64_t)timeout_s * SECOND_NS);

	if (status < 0) {
		kill(peer->pid, SIGKILL);
		wait_until(peer, UINT64_MAX);
	}
	read_output(peer);
	cr_assert(status >= 0, "%s does not end:\n%s", peer->path,
		peer->output);
	return status;
}
