/* SPDX-License-Identifier: MIT */
/* How much longer --backtrace holds a client: see README.md. */
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"
#include "swap-log.h"
#include "swap-setting.h"

/* Between two rounds: meanwhile the last one's frames are named. */
#define PAUSE_US 4000

#define SETS 4

/* What is measured, each without and with --backtrace. */
static const struct {
	const char *name, *engine;
} ways[] = {
	{"swap", "ptrace"}, /* all threads are held in any case */
	{"left, by ptrace", "off"}, /* the sender is stopped for it */
	{"left, without ptrace", "notify"}, /* it is not */
};

#define WAYS (sizeof(ways) / sizeof(*ways))

static const unsigned thread_counts[] = {1, 64};
#define COUNTS (sizeof(thread_counts) / sizeof(*thread_counts))

/* Without and with. */
static struct figures {
	struct ff_samples call_us, stopped_us;
} figures[COUNTS][WAYS][2];

static char directory[] = "/tmp/ff-bench-XXXXXX";
static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
	interrupted = number;
}

static void name_log(char log[64], int i)
{
	snprintf(log, 64, "%s/log-%d", directory, i);
}

/* Both in turn, and each first as often as the other. */
static int play_rounds(struct ff_client client[2], int rounds,
	struct figures f[2])
{
	for (int number = 0; number < rounds; number++)
		for (int i = 0; i < 2; i++) {
			int one = (number + i) % 2;
			struct ff_round round;

			usleep(PAUSE_US);
			if (interrupted ||
				ff_client_play(&client[one], false, &round))
				return -1;
			/* The first is not like the others. */
			if (number)
				ff_samples_add(&f[one].call_us,
					(double)round.ns / 1e3);
		}
	return 0;
}

/* By fenceferry's own clock. */
static int read_stops(const char *log, int rounds, struct figures *f)
{
	struct ff_samples all = {0};
	long swaps = ff_read_swap_log(log, &all);

	for (long i = 1; i < swaps; i++)
		ff_samples_add(&f->stopped_us, all.value[i]);
	ff_samples_clear(&all);
	if (swaps == rounds || (swaps == 0 && rounds))
		return 0;
	fprintf(stderr, "bench/backtrace: %d rounds, but %ld swaps\n", rounds,
		swaps);
	return -1;
}

static int run_set(const char *self, const char *fenceferry, int rounds,
	size_t at, size_t way)
{
	struct ff_start start = {.self = self,
		.fenceferry = fenceferry,
		.directory = directory,
		.threads = thread_counts[at],
		.placing = "spread",
		.engine = ways[way].engine};
	struct figures *f = figures[at][way];
	struct ff_client client[2];
	char log[64];
	int count, failed;

	for (count = 0; count < 2; count++) {
		name_log(log, count);
		start.log = log;
		start.backtrace = count;
		if (ff_client_start(&client[count], FF_FENCEFERRY, &start))
			break;
	}
	failed = count < 2 || play_rounds(client, rounds, f);
	for (int i = 0; i < count; i++)
		failed |= ff_client_stop(&client[i], failed);
	for (int i = 0; i < 2; i++) {
		name_log(log, i);
		failed = failed || read_stops(log, rounds, &f[i]);
		unlink(log);
	}
	return failed ? -1 : 0;
}

static void print_row(struct ff_table *table, size_t at, size_t way, bool stops)
{
	struct ff_samples *without = stops ? &figures[at][way][0].stopped_us
					   : &figures[at][way][0].call_us;
	struct ff_samples *with = stops ? &figures[at][way][1].stopped_us
					: &figures[at][way][1].call_us;
	double one = ff_samples_median(without);
	double other = ff_samples_median(with);

	ff_table_row(table);
	ff_table_text(table, "%u", thread_counts[at]);
	ff_table_text(table, "%s", ways[way].name);
	ff_table_text(table, stops ? "stopped" : "sendmsg");
	ff_table_text(table, "%zu", with->count);
	ff_table_number(table, one, 1);
	ff_table_number(table, other, 1);
	ff_table_number(table, other - one, 1);
	ff_table_number(table, other / one, 2);
	ff_table_number(table, ff_samples_percentile(with, 99) /
		ff_samples_percentile(without, 99), 2);
}

static void print_figures(void)
{
	static const char *const title[] = {"threads", "what crosses", "time",
		"rounds", "without us", "with us", "more us", "ratio",
		"p99's ratio"};
	struct ff_table table = {0};

	ff_table_row(&table);
	for (size_t i = 0; i < sizeof(title) / sizeof(*title); i++)
		ff_table_text(&table, "%s", title[i]);
	for (size_t at = 0; at < COUNTS; at++)
		for (size_t way = 0; way < WAYS; way++) {
			print_row(&table, at, way, false);
			if (!strcmp(ways[way].engine, "ptrace"))
				print_row(&table, at, way, true);
		}
	ff_table_print(&table, 3);
}

static int run(const char *self, const char *fenceferry, int rounds)
{
	for (int set = 0; set < SETS; set++)
		for (size_t at = 0; at < COUNTS; at++)
			for (size_t way = 0; way < WAYS; way++)
				if (run_set(self, fenceferry, rounds, at, way))
					return interrupted ? 128 + interrupted
							   : 1;
	print_figures();
	return 0;
}

int main(int argc, char **argv)
{
	const char *fenceferry = getenv("FENCEFERRY");
	static char self[4096];
	int rounds = 200, status;

	if (argc == 5 && !strcmp(argv[1], "--client"))
		return ff_swap_client((unsigned)atoi(argv[2]), argv[3],
			!strcmp(argv[4], "spread"));
	if (argc == 2 && !strcmp(argv[1], "--quick")) {
		rounds = 40;
	} else if (argc > 1) {
		fprintf(stderr, "usage: bench/backtrace [--quick]\n"
				"FENCEFERRY names the program "
				"(./fenceferry)\n");
		return 2;
	}
	fenceferry = fenceferry ? fenceferry : "./fenceferry";
	signal(SIGPIPE, SIG_IGN);
	signal(SIGINT, on_signal);
	signal(SIGTERM, on_signal);
	if (access(fenceferry, X_OK) ||
		readlink("/proc/self/exe", self, sizeof(self) - 1) < 0 ||
		!mkdtemp(directory)) {
		perror(fenceferry);
		return 1;
	}
	status = run(self, fenceferry, rounds);
	rmdir(directory);
	return status;
}
