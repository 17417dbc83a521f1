/* SPDX-License-Identifier: MIT */
/*
 * fence-peer: one end of a game of triggering and awaiting fences. It makes the
 * fences and shows them to an X server, as a client does, or finds them in
 * files, as what runs at the host's end of a relay does.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <X11/xshmfence.h>
#include <xcb/dri3.h>

#include "client.h"

#define SHM "/dev/shm/"

enum { FENCES_MAX = 3, NO_FENCE = -1, SLEEPERS_MAX = 16 };

enum role { NO_ROLE, AWAIT, TRIGGER, PING, PONG };

struct options {
	enum role role;
	long rounds, sleepers, timeout_s, delay_us, settle_ms, storm_us;
	int make;
};

struct fence {
	struct xshmfence *shm;
	const volatile int32_t *word; /* all that its mapping holds */
};

struct game {
	struct options options;
	struct fence fences[FENCES_MAX];
	int count;
	long round, sleeps, wakes;
	uint64_t random;
	xcb_connection_t *x; /* NULL without --make */
};

static const char usage_text[] =
	"Usage: fence-peer [OPTION]... ROLE FILE...\n"
	"       fence-peer [OPTION]... ROLE --make\n"
	"Play rounds with fences against another fence-peer: in FILEs, which "
	"are waited\n"
	"for, or in memory made here, sent to the X server, and shown on "
	"standard output\n"
	"as \"fence N: PID START-END INODE PATH\".\n"
	"  --await          await the fence, reset it\n"
	"  --trigger        trigger the fence whenever it was reset\n"
	"  --ping           trigger the first fence, await and reset the "
	"second\n"
	"  --pong           await and reset the first, trigger the second\n"
	"  --rounds=N       so many times (default 1)\n"
	"  --delay=US       before each trigger, a random time up to this\n"
	"  --settle=MS      trigger only when the other has awaited this long\n"
	"  --sleepers=N     then have N threads wait on one more fence, and "
	"wake one\n"
	"                   after the other, with a further round behind each\n"
	"  --storm=US       meanwhile take a signal every so often, with a "
	"handler that\n"
	"                   lacks SA_RESTART; for --trigger\n"
	"  --timeout=SECONDS  how long a step may take (default 10)\n"
	"Exit status: 0 if all was well, 1 if not, 2 bad usage, 3 stalled.\n";

static const struct option long_options[] = {
	{"await", no_argument, NULL, 'a'},
	{"trigger", no_argument, NULL, 't'},
	{"ping", no_argument, NULL, 'i'},
	{"pong", no_argument, NULL, 'o'},
	{"make", no_argument, NULL, 'm'},
	{"rounds", required_argument, NULL, 'r'},
	{"delay", required_argument, NULL, 'd'},
	{"settle", required_argument, NULL, 's'},
	{"sleepers", required_argument, NULL, 'S'},
	{"timeout", required_argument, NULL, 'T'},
	{"storm", required_argument, NULL, 'g'},
	{"help", no_argument, NULL, 'h'},
	{0},
};

static _Noreturn void refuse_usage(const char *what)
{
	fprintf(stderr, "fence-peer: %s\n%s", what, usage_text);
	exit(FF_CLIENT_EXIT_USAGE);
}

static int fences_needed(const struct options *options)
{
	return 1 + (options->role == PING || options->role == PONG) +
		(options->sleepers > 0);
}

static void take_option(struct options *options, int c, const char *name)
{
	switch (c) {
	case 'a':
		options->role = AWAIT;
		break;
	case 't':
		options->role = TRIGGER;
		break;
	case 'i':
		options->role = PING;
		break;
	case 'o':
		options->role = PONG;
		break;
	case 'm':
		options->make = 1;
		break;
	case 'r':
		options->rounds = ff_client_number(name, optarg, 1, 1000000000);
		break;
	case 'd':
		options->delay_us = ff_client_number(name, optarg, 0, 1000000);
		break;
	case 's':
		options->settle_ms = ff_client_number(name, optarg, 0, 60000);
		break;
	case 'S':
		options->sleepers =
			ff_client_number(name, optarg, 1, SLEEPERS_MAX);
		break;
	case 'T':
		options->timeout_s = ff_client_number(name, optarg, 1, 3600);
		break;
	case 'g':
		options->storm_us = ff_client_number(name, optarg, 20, 900000);
		break;
	case 'h':
		fputs(usage_text, stdout);
		exit(0);
	default:
		refuse_usage("unknown option");
	}
}

static void parse_options(int argc, char **argv, struct options *options)
{
	int c, index = 0;

	options->rounds = 1;
	options->timeout_s = 10;
	while ((c = getopt_long(argc, argv, "h", long_options, &index)) != -1)
		take_option(options, c, long_options[index].name);
	if (options->role == NO_ROLE)
		refuse_usage("no role given");
	if (argc - optind != (options->make ? 0 : fences_needed(options)))
		refuse_usage("the wrong number of files for this role");
}

static void watch(const struct game *game, const char *what, int fence)
{
	ff_client_watch(NULL, (unsigned int)game->options.timeout_s, what,
		game->round,
		fence == NO_FENCE ? NULL : game->fences[fence].word);
}

static void nap_us(long us)
{
	struct timespec time = {us / 1000000, us % 1000000 * 1000};

	while (nanosleep(&time, &time) < 0 && errno == EINTR)
		;
}

static void add_fence(struct game *game, int fd)
{
	struct fence *fence = &game->fences[game->count];

	fence->shm = xshmfence_map_shm(fd);
	if (!fence->shm)
		ff_client_die("xshmfence_map_shm: %s", strerror(errno));
	fence->word = (const volatile int32_t *)fence->shm;
	game->count++;
}

static void open_fence(struct game *game, const char *path)
{
	int fd;

	watch(game, "opening file", NO_FENCE);
	while ((fd = open(path, O_RDWR | O_CLOEXEC)) < 0) {
		if (errno != ENOENT)
			ff_client_die("%s: %s", path, strerror(errno));
		nap_us(10000);
	}
	add_fence(game, fd);
	close(fd);
}

/* Maps do not know a name that a file without one was given later. */
static void show_name(const char *path, unsigned long inode)
{
	DIR *dir = strncmp(path, SHM "#", strlen(SHM "#")) ? NULL :
		opendir(SHM);
	struct dirent *entry;

	while (dir && (entry = readdir(dir)) && entry->d_ino != inode)
		;
	if (dir && entry)
		printf(SHM "%s\n", entry->d_name);
	else
		printf("%s\n", path);
	if (dir)
		closedir(dir);
}

/* Where it is, now that it has crossed. */
static void show_fence(const struct game *game, int i)
{
	struct ff_client_mapping mapping;
	uintptr_t start, end;
	int path = 0;

	ff_client_mapping(game->fences[i].shm, &mapping);
	if (sscanf(mapping.text,
		    "%" SCNxPTR "-%" SCNxPTR " %*s %*s %*s %*s %n", &start,
		    &end, &path) != 2)
		ff_client_die("cannot read \"%s\"", mapping.text);
	printf("fence %d: %d %" PRIxPTR "-%" PRIxPTR " %lu ", i + 1, getpid(),
		start, end, (unsigned long)mapping.inode);
	show_name(mapping.text + path, (unsigned long)mapping.inode);
}

static void make_fences(struct game *game)
{
	xcb_screen_t *screen;
	xcb_connection_t *x;
	int i, fd, wanted = fences_needed(&game->options);

	watch(game, "connecting", NO_FENCE);
	x = ff_client_connect(&screen);
	game->x = x;
	ff_client_require(x, &xcb_dri3_id, "DRI3");
	free(xcb_dri3_query_version_reply(
		x, xcb_dri3_query_version(x, 1, 0), NULL));
	for (i = 0; i < wanted; i++) {
		fd = xshmfence_alloc_shm();
		if (fd < 0)
			ff_client_die("xshmfence_alloc_shm: %s",
				strerror(errno));
		add_fence(game, fd);
		xcb_dri3_fence_from_fd(
			x, screen->root, xcb_generate_id(x), 0, fd);
	}
	ff_client_finish(x);
	for (i = 0; i < wanted; i++)
		show_fence(game, i);
	fflush(stdout);
}

/* A number below limit, of xorshift64. */
static long draw(struct game *game, long limit)
{
	game->random ^= game->random << 13;
	game->random ^= game->random >> 7;
	game->random ^= game->random << 17;
	return (long)(game->random % (uint64_t)limit);
}

static void await_fence(struct game *game, int i)
{
	struct fence *fence = &game->fences[i];

	watch(game, "awaiting in round", i);
	game->sleeps += *fence->word != 1;
	if (xshmfence_await(fence->shm))
		ff_client_die("xshmfence_await: %s", strerror(errno));
	if (*fence->word != 1 || !xshmfence_query(fence->shm))
		ff_client_die("await ended in round %ld, and the word is %d",
			game->round, *fence->word);
	xshmfence_reset(fence->shm);
}

static void trigger_fence(struct game *game, int i)
{
	struct fence *fence = &game->fences[i];
	int32_t word;

	if (game->options.delay_us)
		nap_us(draw(game, game->options.delay_us + 1));
	word = *fence->word;
	/* 0: reset; -1: and somebody sleeps on it. */
	if (word != 0 && word != -1)
		ff_client_die("to be triggered in round %ld, the word is %d",
			game->round, word);
	game->wakes += word == -1;
	/* In a storm the trapped wake may fail; Mesa would not even look. */
	if (xshmfence_trigger(fence->shm) &&
		(errno != EINTR || !game->options.storm_us))
		ff_client_die("xshmfence_trigger: %s", strerror(errno));
}

/* Wait, without a fence for that, until the other has seen the last trigger. */
static void wait_for_reset(struct game *game, int i)
{
	const volatile int32_t *word = game->fences[i].word;
	int tries = 0;

	watch(game, "waiting for the reset in round", i);
	while (*word == 1 || (game->options.settle_ms && *word != -1)) {
		if (++tries < 100)
			sched_yield();
		else
			nap_us(20);
	}
	nap_us(game->options.settle_ms * 1000);
}

static void play_round(struct game *game)
{
	game->round++;
	switch (game->options.role) {
	case AWAIT:
		await_fence(game, 0);
		break;
	case TRIGGER:
		wait_for_reset(game, 0);
		trigger_fence(game, 0);
		break;
	case PING:
		if (game->options.settle_ms)
			wait_for_reset(game, 0);
		trigger_fence(game, 0);
		await_fence(game, 1);
		break;
	case PONG:
		await_fence(game, 0);
		if (game->options.settle_ms)
			wait_for_reset(game, 1);
		trigger_fence(game, 1);
		break;
	case NO_ROLE:
		break;
	}
}

struct sleepers {
	uint32_t *word;
	pthread_t threads[SLEEPERS_MAX];
	pid_t tids[SLEEPERS_MAX]; /* 0: not there yet */
	int started, woken;
};

static void *sleep_on_word(void *context)
{
	struct sleepers *sleepers = context;
	int i = __atomic_fetch_add(&sleepers->started, 1, __ATOMIC_SEQ_CST);

	__atomic_store_n(
		&sleepers->tids[i], (pid_t)gettid(), __ATOMIC_SEQ_CST);
	while (syscall(SYS_futex, sleepers->word, FUTEX_WAIT, 0, NULL, NULL,
		       0) < 0)
		if (errno != EINTR)
			ff_client_die("futex: %s", strerror(errno));
	__atomic_add_fetch(&sleepers->woken, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

/* Is the thread inside the system call futex? */
static int is_asleep(pid_t tid)
{
	char path[64], line[32] = "";
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%d/syscall", tid);
	file = fopen(path, "re");
	if (!file)
		ff_client_die("%s: %s", path, strerror(errno));
	if (!fgets(line, sizeof(line), file))
		line[0] = '\0';
	fclose(file);
	return line[0] >= '0' && line[0] <= '9' && atol(line) == SYS_futex;
}

static void start_sleepers(struct game *game, struct sleepers *sleepers)
{
	long i;

	watch(game, "getting the sleepers to sleep after round", NO_FENCE);
	for (i = 0; i < game->options.sleepers; i++)
		if (pthread_create(&sleepers->threads[i], NULL, sleep_on_word,
			    sleepers))
			ff_client_die("pthread_create fails");
	for (i = 0; i < game->options.sleepers; i++) {
		pid_t *tid = &sleepers->tids[i];

		while (!__atomic_load_n(tid, __ATOMIC_SEQ_CST) ||
			!is_asleep(*tid))
			nap_us(1000);
	}
}

static void check_woken(struct sleepers *sleepers, long wanted)
{
	int woken = __atomic_load_n(&sleepers->woken, __ATOMIC_SEQ_CST);

	if (woken != wanted)
		ff_client_die("%d sleepers are awake after %ld wakes of one",
			woken, wanted);
}

/*
 * A wake of one wakes exactly one. The round behind it takes the same way as an
 * echo of the wake would, and comes later.
 */
static void wake_sleepers(struct game *game)
{
	struct sleepers sleepers = {
		.word = (uint32_t *)game->fences[game->count - 1].shm};
	long i, woken;

	start_sleepers(game, &sleepers);
	check_woken(&sleepers, 0);
	for (i = 1; i <= game->options.sleepers; i++) {
		woken = syscall(SYS_futex, sleepers.word, FUTEX_WAKE, 1, NULL,
			NULL, 0);
		if (woken != 1)
			ff_client_die("FUTEX_WAKE of one returns %ld", woken);
		watch(game, "waiting for a sleeper after round", NO_FENCE);
		while (__atomic_load_n(&sleepers.woken, __ATOMIC_SEQ_CST) < i)
			nap_us(1000);
		play_round(game);
		check_woken(&sleepers, i);
	}
	for (i = 0; i < game->options.sleepers; i++)
		pthread_join(sleepers.threads[i], NULL);
	printf("sleepers: %ld, woken one by one\n", game->options.sleepers);
}

static void on_signal(int sig)
{
	(void)sig;
}

/* It goes on to the end. */
static void start_storm(long every_us)
{
	const struct itimerspec every = {
		.it_value.tv_nsec = every_us * 1000,
		.it_interval.tv_nsec = every_us * 1000,
	};
	struct sigevent event = {
		.sigev_notify = SIGEV_SIGNAL,
		.sigev_signo = SIGUSR1,
	};
	struct sigaction action = {.sa_handler = on_signal};
	timer_t timer;

	sigaction(SIGUSR1, &action, NULL);
	if (timer_create(CLOCK_MONOTONIC, &event, &timer) ||
		timer_settime(timer, 0, &every, NULL))
		ff_client_die("no timer: %s", strerror(errno));
}

int main(int argc, char **argv)
{
	struct game game = {.random = 0x9e3779b97f4a7c15u ^ (uint64_t)getpid()};

	parse_options(argc, argv, &game.options);
	if (game.options.make)
		make_fences(&game);
	for (; optind < argc; optind++)
		open_fence(&game, argv[optind]);
	if (game.options.storm_us)
		start_storm(game.options.storm_us);
	while (game.round < game.options.rounds)
		play_round(&game);
	if (game.options.sleepers)
		wake_sleepers(&game);
	watch(&game, "ending after round", NO_FENCE);
	printf("rounds: %ld, sleeps %ld, wakes %ld\nOK\n", game.round,
		game.sleeps, game.wakes);
	if (game.x)
		xcb_disconnect(game.x);
	return 0;
}
