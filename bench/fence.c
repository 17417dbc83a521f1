/* SPDX-License-Identifier: MIT */
/* How long it takes to make a fence and share it: see README.md. */
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"
#include "fence-setting.h"
#include "xorg/server.h"

/* One after the other, as a window gets them. */
#define FENCES_A_TURN 4

/* What the command line says. */
struct options {
	struct ff_fence_start start;
	double seconds; /* in all */
	int sets;	/* of processes */
};

/* What was measured with one setting. */
struct figures {
	struct ff_samples first_us; /* the whole, each process's first */
	struct ff_samples make_us;  /* all the others */
	struct ff_samples whole_us;
};

static struct figures figures[FF_FENCE_SETTINGS];
static struct ff_samples call_us, file_us; /* the references */
static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
	interrupted = number;
}

/* One client's turn. */
static int play(struct ff_fence_client_process *c, bool is_first)
{
	struct figures *f = &figures[c->setting];
	struct ff_fence_round round;

	for (int i = 0; i < FENCES_A_TURN; i++) {
		double whole_us;

		if (interrupted || ff_fence_play(c, &round))
			return -1;
		whole_us = (double)round.whole_ns / 1e3;
		if (is_first && !i) {
			ff_samples_add(&f->first_us, whole_us);
			continue;
		}
		ff_samples_add(&f->make_us, (double)round.make_ns / 1e3);
		ff_samples_add(&f->whole_us, whole_us);
		if (c->setting != FF_FENCE_TRAPPED)
			continue;
		ff_samples_add(&call_us, (double)round.call_ns / 1e3);
		ff_samples_add(&file_us, (double)round.file_ns / 1e3);
	}
	return 0;
}

/* One set of processes, one in each setting, which take turns. What came just
 * before matters: so every second turn goes the other way round. */
static int run_set(const struct options *o, double seconds)
{
	struct ff_fence_client_process client[FF_FENCE_SETTINGS];
	uint64_t end;
	int count = 0, failed = 0;

	for (int s = 0; s < FF_FENCE_SETTINGS && !failed; s++) {
		if (!ff_fence_has_setting((enum ff_fence_setting)s, &o->start))
			continue;
		failed = ff_fence_start(&client[count],
			(enum ff_fence_setting)s, &o->start);
		count += !failed;
	}
	end = ff_now_ns() + (uint64_t)(seconds * 1e9);
	for (long turn = 0; !failed && (turn < 8 || ff_now_ns() < end); turn++)
		for (int i = 0; i < count && !failed; i++)
			failed = play(
				&client[turn % 2 ? count - 1 - i : i], !turn);
	for (int i = 0; i < count; i++)
		if (ff_fence_stop(&client[i], failed))
			failed = -1;
	return failed;
}

/* One median divided by another; NAN if there is no such. */
static double ratio(struct ff_samples *a, struct ff_samples *b)
{
	return ff_samples_median(a) / ff_samples_median(b);
}

static void print_settings(void)
{
	static const char *const title[] = {"setting", "fences",
		"making, median us", "p99 us", "/ bare", "whole, median us",
		"p99 us", "/ bare", "first, median us", "/ bare"};
	struct figures *bare = &figures[FF_FENCE_BARE];
	struct ff_table table = {0};

	printf("making: xshmfence_alloc_shm; whole: until the server has "
	       "answered FenceFromFD\n\n");
	ff_table_row(&table);
	for (size_t i = 0; i < sizeof(title) / sizeof(*title); i++)
		ff_table_text(&table, "%s", title[i]);
	for (int s = 0; s < FF_FENCE_SETTINGS; s++) {
		struct figures *f = &figures[s];

		if (!f->whole_us.count)
			continue;
		ff_table_row(&table);
		ff_table_text(&table, "%s", ff_fence_setting_name[s]);
		ff_table_text(&table, "%zu", f->whole_us.count);
		ff_table_number(&table, ff_samples_median(&f->make_us), 1);
		ff_table_number(
			&table, ff_samples_percentile(&f->make_us, 99), 1);
		ff_table_number(&table, ratio(&f->make_us, &bare->make_us), 2);
		ff_table_number(&table, ff_samples_median(&f->whole_us), 1);
		ff_table_number(
			&table, ff_samples_percentile(&f->whole_us, 99), 1);
		ff_table_number(
			&table, ratio(&f->whole_us, &bare->whole_us), 2);
		ff_table_number(&table, ff_samples_median(&f->first_us), 1);
		ff_table_number(
			&table, ratio(&f->first_us, &bare->first_us), 2);
	}
	ff_table_print(&table, 1);
}

static void print_references(void)
{
	double call = ff_samples_median(&call_us);
	double file = ff_samples_median(&file_us);
	struct ff_table table = {0};

	printf("\n");
	ff_table_row(&table);
	ff_table_text(&table, "reference");
	ff_table_text(&table, "median us");
	ff_table_row(&table);
	ff_table_text(&table, "a trapped call that is let go");
	ff_table_number(&table, call, 1);
	ff_table_row(&table);
	ff_table_text(&table, "a file in /dev/shm, made and closed");
	ff_table_number(&table, file, 1);
	ff_table_row(&table);
	ff_table_text(&table, "both");
	ff_table_number(&table, call + file, 1);
	ff_table_print(&table, 1);
}

/* The figures that the aim is set in. */
static void print_summary(void)
{
	static const enum ff_fence_setting shown[] = {FF_FENCE_PTRACE,
		FF_FENCE_NOTIFY, FF_FENCE_AUTO, FF_FENCE_PATCHED};
	double both =
		ff_samples_median(&call_us) + ff_samples_median(&file_us);
	double bare = ff_samples_median(&figures[FF_FENCE_BARE].whole_us);
	struct ff_table table = {0};

	printf("\n");
	ff_table_row(&table);
	ff_table_text(&table, "setting");
	ff_table_text(&table, "making / both");
	ff_table_text(&table, "(whole - bare) / both");
	for (size_t i = 0; i < sizeof(shown) / sizeof(*shown); i++) {
		struct figures *f = &figures[shown[i]];

		if (!f->whole_us.count)
			continue;
		ff_table_row(&table);
		ff_table_text(&table, "%s%s", ff_fence_setting_name[shown[i]],
			shown[i] == FF_FENCE_NOTIFY
				? " (aim for making: at most 1.50)"
				: "");
		ff_table_number(
			&table, ff_samples_median(&f->make_us) / both, 2);
		ff_table_number(&table,
			(ff_samples_median(&f->whole_us) - bare) / both, 2);
	}
	ff_table_print(&table, 1);
}

/* Measure everything, then print. */
static int run(const struct options *o)
{
	for (int i = 0; i < o->sets; i++)
		if (run_set(o, o->seconds / o->sets))
			return 1;
	print_settings();
	print_references();
	if (o->start.fenceferry)
		print_summary();
	return 0;
}

/* With a server of our own. */
static int run_with_server(struct options *o)
{
	const struct ff_test_server_options options = {
		.kind = FF_TEST_XORG_FENCES, .client_uid = geteuid()};
	static char self[4096];
	struct ff_test_server server;
	struct ff_error error;
	int status;

	/* a socket whose other end has died is an error of a call */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGINT, on_signal);
	signal(SIGTERM, on_signal);
	if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0) {
		perror("bench/fence");
		return 1;
	}
	o->start.self = self;
	if (ff_test_server_start(&server, &options, &error)) {
		fprintf(stderr, "bench/fence: %s\n", error.text);
		return 1;
	}
	ff_test_server_export(&server);
	status = run(o);
	if (ff_test_server_stop(&server, &error)) {
		fprintf(stderr, "bench/fence: %s\n", error.text);
		status = 1;
	}
	return interrupted ? 128 + interrupted : status;
}

static int usage(void)
{
	fprintf(stderr,
		"usage: bench/fence [--quick] [--without-fenceferry] "
		"[--patched=DIR]\n"
		"FENCEFERRY names the program (./fenceferry); DIR has a "
		"libxshmfence.so.1 as\n"
		"tests/patched/fetch-libxshmfence builds it\n");
	return 2;
}

/* Is the library there? */
static const char *find_patched(const char *directory)
{
	static char path[PATH_MAX];
	char library[PATH_MAX + 32];

	snprintf(library, sizeof(library), "%s/libxshmfence.so.1", directory);
	if (!access(library, R_OK) && realpath(directory, path))
		return path;
	fprintf(stderr, "bench/fence: %s is not there: left out\n", library);
	return NULL;
}

int main(int argc, char **argv)
{
	struct options o = {.seconds = 24, .sets = 12};

	if (argc == 2 && !strcmp(argv[1], "--client"))
		return ff_fence_client();
	o.start.fenceferry = getenv("FENCEFERRY");
	if (!o.start.fenceferry)
		o.start.fenceferry = "./fenceferry";
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--quick"))
			o.seconds = 2, o.sets = 4;
		else if (!strcmp(argv[i], "--without-fenceferry"))
			o.start.fenceferry = NULL;
		else if (!strncmp(argv[i], "--patched=", 10))
			o.start.patched = find_patched(argv[i] + 10);
		else
			return usage();
	}
	if (o.start.fenceferry && access(o.start.fenceferry, X_OK)) {
		perror(o.start.fenceferry);
		return 1;
	}
	return run_with_server(&o);
}
