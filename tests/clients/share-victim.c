/* SPDX-License-Identifier: MIT */
/*
 * share-victim: waits on a fence in another thread than the one that sends, or
 * in another process. The server is a socket of its own. It is built without
 * tables by which to unwind.
 */
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static volatile int32_t *fence;
static int peer;

static void give_up(const char *what)
{
	fprintf(stderr, "share-victim: %s: %s\n", what, strerror(errno));
	_exit(1);
}

static void connect_to(const char *path)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	int listener = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(name.sun_path, sizeof(name.sun_path), "%s", path);
	peer = socket(AF_UNIX, SOCK_STREAM, 0);
	unlink(path);
	if (bind(listener, (struct sockaddr *)&name, sizeof(name)) ||
		listen(listener, 1) ||
		connect(peer, (struct sockaddr *)&name, sizeof(name)))
		give_up("connect");
}

static void send_fd(int fd)
{
	struct iovec iov = {(char[]){'x'}, 1};
	union {
		char room[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {.room = {0}};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control.room,
		.msg_controllen = sizeof(control.room)};

	control.align.cmsg_level = SOL_SOCKET;
	control.align.cmsg_type = SCM_RIGHTS;
	control.align.cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(&control.align), &fd, sizeof(fd));
	if (sendmsg(peer, &message, 0) != 1)
		give_up("sendmsg");
}

static int make_memfd(const char *name)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0 || ftruncate(fd, sizeof(*fence)))
		give_up("memfd_create");
	return fd;
}

static void *wait_once(void *timeout)
{
	syscall(SYS_futex, fence, FUTEX_WAIT, -1, timeout, NULL, 0);
	return NULL;
}

static void *wait_for_trigger(void *unused)
{
	while (*fence != 1)
		wait_once(unused);
	return NULL;
}

static pthread_t start(void *(*run)(void *), void *context)
{
	pthread_t thread;

	errno = pthread_create(&thread, NULL, run, context);
	if (errno)
		give_up("pthread_create");
	return thread;
}

/* A child sends what it shares with the process that waits. */
static void by_child(void)
{
	int other = make_memfd("other"), status;
	pthread_t thread = start(wait_for_trigger, NULL);
	pid_t child;

	usleep(50000);
	child = fork();
	if (!child) {
		send_fd(other);
		_exit(0);
	}
	if (waitpid(child, &status, 0) != child || status)
		give_up("the child");
	usleep(200000);
	*fence = 1;
	syscall(SYS_futex, fence, FUTEX_WAKE, 1, NULL, NULL, 0);
	pthread_join(thread, NULL);
}

/* A thread waits and ends; later its process does. */
static void by_thread(void)
{
	struct timespec timeout = {.tv_nsec = 20000000};

	pthread_join(start(wait_once, &timeout), NULL);
	sleep(2);
	wait_once(&timeout);
}

/* A trigger without a wake: whoever waits does so until he is woken after all. */
static void by_loss(void)
{
	pthread_t thread = start(wait_for_trigger, NULL);
	char line[16];

	usleep(50000);
	*fence = 1;
	printf("lost: %d\n", getpid());
	fflush(stdout);
	if (read(STDIN_FILENO, line, sizeof(line)) < 0)
		give_up("read");
	if (syscall(SYS_futex, fence, FUTEX_WAKE, 1, NULL, NULL, 0) == 1)
		puts("it waited");
	pthread_join(thread, NULL);
}

int main(int argc, char **argv)
{
	int fd = make_memfd("xshmfence");

	if (argc != 3) {
		fputs("Usage: share-victim SOCKET child|thread|lost\n", stderr);
		return 2;
	}
	fence = mmap(NULL, sizeof(*fence), PROT_READ | PROT_WRITE, MAP_SHARED,
		fd, 0);
	if (fence == MAP_FAILED)
		give_up("mmap");
	*fence = -1;
	connect_to(argv[1]);
	send_fd(fd);
	close(fd);
	if (!strcmp(argv[2], "child"))
		by_child();
	else if (!strcmp(argv[2], "lost"))
		by_loss();
	else
		by_thread();
	puts("OK");
	return 0;
}
