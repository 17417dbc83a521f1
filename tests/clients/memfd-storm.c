/* SPDX-License-Identifier: MIT */
/*
 * memfd-storm: makes very many memfds as libxshmfence does, amid signals, in
 * many threads, while forking; each must bring one fd, and nothing else.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client.h"

enum { SIGNAL_US = 200, THREADS = 8, FORKS = 100 };

static const char usage_text[] =
	"Usage: memfd-storm signals|threads|fork|flow COUNT\n"
	"Make and close COUNT memfds: amid signals, in each of 8 threads, "
	"while forking,\n"
	"or (at least) until a line comes on standard input.\n";

static atomic_long signals;
static atomic_bool done;

static void count_signal(int sig)
{
	(void)sig;
	signals++;
}

static int create(void)
{
	int fd = memfd_create("xshmfence", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0)
		ff_client_die("memfd_create: %s", strerror(errno));
	if (fcntl(fd, F_GETFD) != FD_CLOEXEC)
		ff_client_die("fd %d: not close-on-exec", fd);
	return fd;
}

/* The next number that is free, which each call has to bring. */
static int lowest_fd(void)
{
	int fd = fcntl(0, F_DUPFD, 0);

	close(fd);
	return fd;
}

static void storm_of_signals(long count)
{
	struct sigaction action = {
		.sa_handler = count_signal, .sa_flags = SA_RESTART};
	struct itimerval often = {{0, SIGNAL_US}, {0, SIGNAL_US}}, never = {0};
	int expected = lowest_fd();

	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	/* As many signals as calls, however slow or fast they come. */
	for (long i = 0; i < count || signals < 1000; i++) {
		int fd = create();

		if (fd != expected)
			ff_client_die(
				"call %ld: fd %d, not %d", i, fd, expected);
		close(fd);
	}
	setitimer(ITIMER_REAL, &never, NULL);
}

static void *create_many(void *data)
{
	const long count = *(const long *)data;

	for (long i = 0; i < count; i++) {
		int fd = create();
		struct stat st;

		/* Nobody else's: nobody has written to it. */
		if (fstat(fd, &st) || st.st_size || ftruncate(fd, 4))
			ff_client_die("fd %d is another file", fd);
		close(fd);
	}
	return NULL;
}

static void storm_of_threads(long count)
{
	pthread_t threads[THREADS];

	for (int i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, create_many, &count))
			ff_client_die("no thread");
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
}

static void *create_until_done(void *data)
{
	(void)data;
	while (!done)
		close(create());
	return NULL;
}

static void storm_of_forks(long count)
{
	pthread_t thread;
	long one = 1;

	if (pthread_create(&thread, NULL, create_until_done, NULL))
		ff_client_die("no thread");
	for (long i = 0; i < FORKS; i++) {
		pid_t pid = fork();
		int status = 0;

		if (!pid) {
			create_many(&one);
			_exit(0);
		}
		create_many(&one);
		if (waitpid(pid, &status, 0) != pid || status)
			ff_client_die("the child ended with %#x",
				(unsigned int)status);
	}
	done = true;
	pthread_join(thread, NULL);
	create_many(&count);
}

static void print_file(const char *label, int fd)
{
	char link[256] = "", path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (readlink(path, link, sizeof(link) - 1) < 0)
		ff_client_die("%s: %s", path, strerror(errno));
	printf("%s: %s\n", label, link);
	close(fd);
}

/* Say of the last one, and of another, whether it is a memfd. */
static void flow(long count)
{
	struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
	char byte = 0;

	puts("flow");
	fflush(stdout);
	for (long i = 0; i < count || !poll(&input, 1, 0); i++)
		close(create());
	while (byte != '\n' && read(STDIN_FILENO, &byte, 1) == 1)
		;
	print_file("last", create());
	print_file("other", memfd_create("xshmfence2", 0));
}

int main(int argc, char **argv)
{
	size_t fds;
	long count;

	if (argc != 3) {
		fputs(usage_text, stderr);
		return FF_CLIENT_EXIT_USAGE;
	}
	count = ff_client_number("count", argv[2], 1, 10000000);
	fds = ff_client_count_fds();
	if (!strcmp(argv[1], "signals"))
		storm_of_signals(count);
	else if (!strcmp(argv[1], "threads"))
		storm_of_threads(count);
	else if (!strcmp(argv[1], "fork"))
		storm_of_forks(count);
	else
		flow(count);
	/* Whoever answers may die of it right then; who looks is told. */
	printf("fds: %zd too many\n", (ssize_t)(ff_client_count_fds() - fds));
	puts("OK");
	return 0;
}
