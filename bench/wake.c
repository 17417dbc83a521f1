/* SPDX-License-Identifier: MIT */
/* How long a wake takes from one side to the other: see README.md. */
#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"
#include "wake-figures.h"
#include "wake-pair.h"

/* What the command line says. */
struct options {
	const char *fenceferry; /* NULL: left out */
	int turns;		/* of each kind of order */
	bool keeps_apart;	/* client and peer, each on its processor */
};

#define TURN_ROUNDS 100 /* of an order */
#define TURN_MS 50

static char directory[] = "/dev/shm/ff-bench-XXXXXX";
static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
	interrupted = number;
}

/* Paced rounds: the notes' times. */
static int play_rounds(struct ff_wake_pair *pair, struct ff_wake_figures *f)
{
	struct ff_order order = {
		.kind = FF_ORDER_ROUNDS, .rounds = TURN_ROUNDS};

	if (pair->way == FF_WAY_ALONE)
		return 0;
	if (ff_pair_play(pair, &order, NULL, NULL))
		return -1;
	ff_figures_note(f, &pair->stage->notes, TURN_ROUNDS,
		pair->way != FF_WAY_NOTIFY);
	return 0;
}

/* What the client pays for calls. */
static int play_cost(struct ff_wake_pair *pair, struct ff_wake_figures *f)
{
	double ns;

	for (int call = 0; call < FF_CALLS; call++) {
		struct ff_order order = {.kind = FF_ORDER_COST,
			.msec = TURN_MS / 2,
			.call = (enum ff_wake_call)call};

		if (pair->way == FF_WAY_SOCKET)
			continue;
		if (ff_pair_play(pair, &order, &ns, NULL))
			return -1;
		ff_samples_add(&f->cost_ns[call], ns);
	}
	return 0;
}

/* How many there can be. */
static int play_rates(struct ff_wake_pair *pair, struct ff_wake_figures *f)
{
	struct ff_order rally = {.kind = FF_ORDER_RALLY, .rounds = 1000};
	struct ff_order flood = {.kind = FF_ORDER_FLOOD, .msec = TURN_MS};
	double client, peer;

	if (pair->way == FF_WAY_ALONE || pair->way == FF_WAY_NOTIFY)
		return 0;
	if (ff_pair_play(pair, &rally, &client, NULL))
		return -1;
	ff_samples_add(&f->rally, client);
	if (pair->way == FF_WAY_SOCKET)
		return 0;
	if (ff_pair_play(pair, &flood, &client, &peer))
		return -1;
	ff_samples_add(&f->wakes, client);
	ff_samples_add(&f->woken, peer / (TURN_MS / 1e3));
	return 0;
}

/* All pairs in turn; another begins each time. */
static int play_turns(struct ff_wake_pair *pair, int pairs, int turns,
	struct ff_wake_figures *figures,
	int (*play)(struct ff_wake_pair *, struct ff_wake_figures *))
{
	for (int i = 0; i < turns * pairs; i++) {
		struct ff_wake_pair *p = &pair[(i + i / pairs) % pairs];

		if (interrupted || play(p, &figures[p->way]))
			return -1;
	}
	return 0;
}

/* Everything with so many fences. */
static int run_count(const struct options *o, const char *self, uint32_t fences,
	struct ff_wake_figures *figures)
{
	struct ff_wake_start start = {.self = self,
		.fenceferry = o->fenceferry,
		.directory = directory,
		.fences = fences,
		.keeps_apart = o->keeps_apart};
	struct ff_wake_pair pair[FF_WAYS];
	int count = 0, failed = 0;

	for (int way = 0; way < FF_WAYS && !failed; way++) {
		bool wrapped = way == FF_WAY_FENCEFERRY || way == FF_WAY_ALONE;

		if (wrapped && !o->fenceferry)
			continue;
		failed = ff_pair_start(&pair[count], (enum ff_way)way, &start);
		count += !failed;
	}
	failed = failed ||
		 play_turns(pair, count, o->turns, figures, play_rounds) ||
		 play_turns(pair, count, o->turns / 10, figures, play_cost) ||
		 play_turns(pair, count, o->turns / 10, figures, play_rates);
	for (int i = 0; i < count; i++)
		if (ff_pair_stop(&pair[i], failed))
			failed = 1;
	return failed ? -1 : 0;
}

/* Remove our directory. What others should have removed is told. */
static int remove_directory(void)
{
	DIR *dir = opendir(directory);
	struct dirent *entry;
	int left = 0;

	while (dir && (entry = readdir(dir)))
		if (entry->d_name[0] != '.') {
			unlinkat(dirfd(dir), entry->d_name, 0);
			left++;
		}
	if (dir)
		closedir(dir);
	if (left && !interrupted)
		fprintf(stderr, "bench/wake: %d files were left behind\n",
			left);
	return rmdir(directory) || left;
}

static int usage(void)
{
	fprintf(stderr, "usage: bench/wake [--quick] [--free] "
			"[--without-fenceferry]\n"
			"FENCEFERRY names the program (./fenceferry)\n");
	return 2;
}

/* Run in a directory of our own, and leave none. */
static int run_in_directory(const struct options *o)
{
	static struct ff_wake_figures figures[FF_WAKE_COUNTS][FF_WAYS];
	static char self[4096];
	int failed = 0;

	/* a socket whose other end has died is an error of a call */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGINT, on_signal);
	signal(SIGTERM, on_signal);
	if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0 ||
		!mkdtemp(directory)) {
		perror("bench/wake");
		return 1;
	}
	for (int i = 0; i < FF_WAKE_COUNTS && !failed; i++)
		failed = run_count(o, self, ff_wake_counts[i], figures[i]);
	if (!failed)
		ff_figures_print(figures, o->fenceferry != NULL);
	if (remove_directory())
		failed = 1;
	return interrupted ? 128 + interrupted : failed ? 1 : 0;
}

int main(int argc, char **argv)
{
	struct options o = {.turns = 100, .keeps_apart = true};

	if (argc == 4 && !strcmp(argv[1], "--client"))
		return ff_wake_play(argv[3], (enum ff_way)atoi(argv[2]),
			FF_CLIENT, STDIN_FILENO, (struct ff_lines){-1, -1});
	o.fenceferry = getenv("FENCEFERRY");
	if (!o.fenceferry)
		o.fenceferry = "./fenceferry";
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--quick"))
			o.turns = 10;
		else if (!strcmp(argv[i], "--free"))
			o.keeps_apart = false;
		else if (!strcmp(argv[i], "--without-fenceferry"))
			o.fenceferry = NULL;
		else
			return usage();
	}
	if (o.fenceferry && access(o.fenceferry, X_OK)) {
		perror(o.fenceferry);
		return 1;
	}
	return run_in_directory(&o);
}
