/* SPDX-License-Identifier: MIT */
/*
 * backtrace-victim: sends memfds to a socket of its own, from places that it
 * knows, and prints what a call stack must be: names, lines and, by
 * backtrace(3), addresses.
 */
#include "backtrace-victim.h"

#include <errno.h>
#include <execinfo.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

enum { TRUTH_MAX = 64, THREADS = 3, CROWD = 40, PAIRS = 100 };

static int peer, one_more;
static int gives_way; /* a signal may end a call for good */
volatile int done; /* for what follows a call, so that it is none in the end */

void give_up(const char *what)
{
	fflush(stdout);
	fprintf(stderr, "backtrace-victim: %s: %s\n", what, strerror(errno));
	_exit(1);
}

/* It connects to itself: nobody needs to read what it sends. */
static void connect_to(const char *path)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	int listener = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(name.sun_path, sizeof(name.sun_path), "%s", path);
	peer = socket(AF_UNIX, SOCK_STREAM, 0);
	unlink(path);
	if (listener < 0 || peer < 0 ||
		bind(listener, (struct sockaddr *)&name, sizeof(name)) ||
		listen(listener, 8) ||
		connect(peer, (struct sockaddr *)&name, sizeof(name)))
		give_up("connect");
}

/* The last function of ours, called where its line says. */
FRAME void send_memfd(int memfd)
{
	struct iovec iov = { (char[]){ 'x' }, 1 };
	union {
		char room[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { 0 };
	struct msghdr message = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.room,
		.msg_controllen = sizeof(control.room),
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&message);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &memfd, sizeof(int));
	while (sendmsg(peer, &message, 0) != 1 && !gives_way)
		if (errno != EINTR)
			give_up("sendmsg");
	done++;
}

/* One that is not like the others. */
FRAME int make_memfd(const char *name)
{
	int fd;

	/* The filter traps it, and a signal can end that. */
	do {
		fd = memfd_create(name, MFD_CLOEXEC);
	} while (fd < 0 && errno == EINTR);
	if (fd < 0 || ftruncate(fd, 64 + one_more++))
		give_up("memfd_create");
	return fd;
}

/* Return addresses, from the caller's caller on, as the C library finds them. */
static FRAME void print_truth(const char *name)
{
	void *addresses[TRUTH_MAX];
	int count = backtrace(addresses, TRUTH_MAX);

	flockfile(stdout);
	printf("truth %s:", name);
	for (int i = 2; i < count; i++)
		printf(" %p", addresses[i]);
	puts("");
	fflush(stdout);
	funlockfile(stdout);
	done++;
}

static void expect(const char *function, int line)
{
	printf("expect %s backtrace-victim.c:%d\n", function, line);
	fflush(stdout);
}

FRAME void send_one(const char *name)
{
	int memfd = make_memfd(name);

	print_truth(name);
	send_memfd(memfd);
	close(memfd);
	done++;
}

/* --- simply --- */

static inline __attribute__((always_inline)) void inlined_step(int say)
{
	if (say)
		expect("inlined_step", __LINE__ + 1);
	send_one("plain");
	done++;
}

static FRAME void middle_step(int say)
{
	if (say)
		expect("middle_step", __LINE__ + 1);
	inlined_step(say);
	done++;
}

static FRAME void outer_step(int say)
{
	if (say)
		expect("outer_step", __LINE__ + 1);
	middle_step(say);
	done++;
}

static void do_plain(void)
{
	outer_step(1);
}

/* --- threads --- */

static pthread_barrier_t barrier;

static FRAME void send_together(const char *name)
{
	pthread_barrier_wait(&barrier);
	for (int i = 0; i < 3; i++)
		send_one(name);
	done++;
}

static FRAME void *first_thread(void *context)
{
	send_together("first");
	done++;
	return context;
}

static FRAME void *second_thread(void *context)
{
	send_together("second");
	done++;
	return context;
}

static FRAME void *third_thread(void *context)
{
	send_together("third");
	done++;
	return context;
}

static void do_threads(void)
{
	static void *(*const runs[THREADS])(void *) = { first_thread,
		second_thread, third_thread };
	pthread_t threads[THREADS];

	pthread_barrier_init(&barrier, NULL, THREADS);
	for (int i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, runs[i], NULL))
			give_up("pthread_create");
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
}

/* --- many at once: how often does one have to wait for a call? --- */

static long most_waits;

static FRAME void send_in_crowd(int fd)
{
	struct rusage before, after;
	long waits;

	getrusage(RUSAGE_THREAD, &before);
	send_memfd(fd);
	getrusage(RUSAGE_THREAD, &after);
	waits = after.ru_nvcsw - before.ru_nvcsw;
	flockfile(stdout);
	if (waits > most_waits)
		most_waits = waits;
	funlockfile(stdout);
}

static FRAME void *crowd_thread(void *context)
{
	pthread_barrier_wait(&barrier);
	for (int i = 0; i < 3; i++)
		send_in_crowd(STDIN_FILENO);
	done++;
	return context;
}

static void do_crowd(void)
{
	pthread_t threads[CROWD];

	pthread_barrier_init(&barrier, NULL, CROWD);
	for (int i = 0; i < CROWD; i++)
		if (pthread_create(&threads[i], NULL, crowd_thread, NULL))
			give_up("pthread_create");
	for (int i = 0; i < CROWD; i++)
		pthread_join(threads[i], NULL);
	printf("waits: %ld\n", most_waits);
}

/* --- in a handler --- */

static void handle(int sig)
{
	send_one("handler");
	done += sig;
}

static FRAME void raise_it(void)
{
	kill(getpid(), SIGUSR1);
	done++;
}

static void do_signal(void)
{
	signal(SIGUSR1, handle);
	raise_it();
}

/* --- calls that signals end, of two functions in turn --- */

static void ignore(int sig)
{
	(void)sig;
}

static FRAME void even_sender(int memfd)
{
	send_memfd(memfd);
	done++;
}

/* As large, but no function that compilers take for the same. */
static FRAME void odd_sender(int memfd)
{
	send_memfd(memfd);
	done--;
}

static void do_interrupted(void)
{
	const struct itimerval never = { 0 };
	struct sigaction action = { .sa_handler = ignore };

	gives_way = 1;
	sigaction(SIGALRM, &action, NULL);
	for (int i = 0; i < PAIRS; i++) {
		/* However slow the machine, some calls end by themselves. */
		const int us = 400 << i % 6;
		const struct itimerval often = { { 0, us }, { 0, us } };
		int even = make_memfd("even"), odd = make_memfd("odd");

		setitimer(ITIMER_REAL, &often, NULL);
		even_sender(even);
		odd_sender(odd);
		close(even);
		close(odd);
	}
	setitimer(ITIMER_REAL, &never, NULL);
}

/* --- with more stack than is copied --- */

static FRAME void go_down(int depth)
{
	volatile char room[2048];

	room[0] = (char)depth;
	if (depth)
		go_down(depth - 1);
	else
		send_one("deep");
	done += room[0];
}

static void do_deep(void)
{
	go_down(50);
}

/* --- and then end at once --- */

static void do_exit(void)
{
	int memfd = make_memfd("last");

	print_truth("last");
	send_memfd(memfd);
	kill(getpid(), SIGKILL);
}

/* --- its own file is gone --- */

static void own_path(char path[4096])
{
	ssize_t size = readlink("/proc/self/exe", path, 4095);

	if (size < 0)
		give_up("readlink");
	path[size] = '\0';
}

static void do_deleted(void)
{
	char path[4096];

	own_path(path);
	unlink(path);
	outer_step(0);
}

static void do_replaced(void)
{
	char path[4096];
	FILE *file;

	own_path(path);
	unlink(path);
	file = fopen(path, "we");
	if (!file || fputs("not at all a program\n", file) < 0 ||
		fclose(file))
		give_up("replace");
	outer_step(0);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} modes[] = {
		{ "plain", do_plain }, { "threads", do_threads },
		{ "crowd", do_crowd },
		{ "signal", do_signal }, { "interrupted", do_interrupted },
		{ "deep", do_deep }, { "exit", do_exit },
		{ "deleted", do_deleted }, { "replaced", do_replaced },
		{ "jit", do_jit }, { "corrupt", do_corrupt },
	};

	if (argc != 3) {
		fputs("Usage: backtrace-victim SOCKET MODE\n", stderr);
		return 2;
	}
	/* It loads a library the first time. */
	print_truth("none");
	connect_to(argv[1]);
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		if (strcmp(modes[i].name, argv[2]) != 0)
			continue;
		modes[i].run();
		puts("OK");
		return 0;
	}
	fprintf(stderr, "backtrace-victim: %s: no such mode\n", argv[2]);
	return 2;
}
