/* SPDX-License-Identifier: MIT */
#include "ward.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "client.h"

/* No pid. */
enum { ANSWER = 0x40000000, CALLS = 20, PATIENCE_MS = 5000 };

static int ward_socket, ward_listener;

/* Who traps getppid. */
static int install_filter(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof(code) / sizeof(*code), code};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -1;
	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
		SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
}

/* Until the parent ends: call when told to, and tell what came of it. Its own
 * listener it keeps, too. */
static _Noreturn void be_ward(int socket)
{
	int value = install_filter();

	while (write(socket, &value, sizeof(value)) == sizeof(value) &&
		read(socket, &value, sizeof(value)) == sizeof(value))
		value = (int)syscall(SYS_getppid);
	_exit(0);
}

static void *answer(void *unused)
{
	(void)unused;
	for (;;) {
		struct seccomp_notif call = {0};
		struct seccomp_notif_resp reply = {.val = ANSWER};

		if (ioctl(ward_listener, SECCOMP_IOCTL_NOTIF_RECV, &call))
			continue;
		reply.id = call.id;
		ioctl(ward_listener, SECCOMP_IOCTL_NOTIF_SEND, &reply);
	}
	return NULL;
}

void ff_ward_start(void)
{
	int pair[2], number = -1;
	pthread_t thread;
	pid_t child;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		ff_client_die("socketpair: %s", strerror(errno));
	child = fork();
	if (child < 0)
		ff_client_die("fork: %s", strerror(errno));
	if (!child) {
		close(pair[0]);
		be_ward(pair[1]);
	}
	close(pair[1]);
	ward_socket = pair[0];
	if (read(ward_socket, &number, sizeof(number)) != sizeof(number) ||
		number < 0)
		ff_client_die("the ward has no listener");
	ward_listener = (int)syscall(SYS_pidfd_getfd, pidfd_open(child, 0),
		number, 0);
	if (ward_listener < 0)
		ff_client_die("pidfd_getfd: %s", strerror(errno));
	if (pthread_create(&thread, NULL, answer, NULL))
		ff_client_die("no thread");
}

void ff_ward_check(void)
{
	struct pollfd fd = {.fd = ward_socket, .events = POLLIN};

	for (int i = 0; i < CALLS; i++) {
		int value = i;

		if (write(ward_socket, &value, sizeof(value)) !=
				sizeof(value) ||
			poll(&fd, 1, PATIENCE_MS) != 1)
			ff_client_die("the ward's call %d is not answered", i);
		if (read(ward_socket, &value, sizeof(value)) !=
				sizeof(value) || value != ANSWER)
			ff_client_die("the ward's call %d is answered by "
				"somebody else: %d", i, value);
	}
	printf("ward: all calls answered\n");
}
