/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <stdio.h>

#include "wake-figures.h"
#include "wake-pair.h"

const uint32_t ff_wake_counts[FF_WAKE_COUNTS] = {1, FF_WAKE_FENCES};

/* 0 stands for nobody who slept. */
static void note(
	struct ff_samples *us, const uint32_t *ns, uint32_t count, size_t *late)
{
	for (uint32_t i = 0; i < count; i++) {
		if (ns[i])
			ff_samples_add(us, ns[i] / 1e3);
		*late += !ns[i];
	}
}

void ff_figures_note(struct ff_wake_figures *f,
	const struct ff_wake_notes *notes, uint32_t rounds, bool has_peer)
{
	size_t none = 0;

	note(&f->call_us, notes->call_ns, rounds, &none);
	if (!has_peer)
		return;
	note(&f->wake_us[0], notes->to_host_ns, rounds, &f->late);
	note(&f->wake_us[1], notes->from_host_ns, rounds, &f->late);
}

static void add_titles(
	struct ff_table *table, const char *const *title, size_t count)
{
	ff_table_row(table);
	for (size_t i = 0; i < count; i++)
		ff_table_text(table, "%s", title[i]);
}

/* One notification and one hop: what no relay of trapped calls can do
 * without. */
static double floor_of(struct ff_wake_figures *f)
{
	return ff_samples_median(&f[FF_WAY_NOTIFY].call_us) +
	       ff_samples_median(&f[FF_WAY_SOCKET].wake_us[0]);
}

/* A row of the wakes' table; us NULL: the floor. */
static void add_wakes(struct ff_table *table, struct ff_wake_figures *f,
	int direction, const char *name, struct ff_samples *us)
{
	double median = us ? ff_samples_median(us) : floor_of(f);
	struct ff_samples *plain = &f[FF_WAY_PLAIN].wake_us[direction];
	struct ff_samples *threads = &f[FF_WAY_THREADS].wake_us[direction];

	ff_table_text(table, "%s", name);
	if (us)
		ff_table_text(table, "%zu", us->count);
	else
		ff_table_text(table, "-");
	ff_table_number(table, median, 1);
	ff_table_number(table, us ? ff_samples_percentile(us, 99) : NAN, 1);
	ff_table_number(table, median / ff_samples_median(plain), 2);
	ff_table_number(table, median / ff_samples_median(threads), 2);
	ff_table_number(table, median / floor_of(f), 2);
}

/* All rows of one count of fences. */
static void add_count(struct ff_table *table, struct ff_wake_figures *f,
	uint32_t fences, int ways, int direction)
{
	for (int i = 0; i < ways + 3; i++) {
		ff_table_row(table);
		ff_table_text(table, "%u", fences);
		if (i < ways)
			add_wakes(table, f, direction, ff_way_name[i],
				&f[i].wake_us[direction]);
		else if (i == ways)
			add_wakes(table, f, direction,
				ff_way_name[FF_WAY_NOTIFY],
				&f[FF_WAY_NOTIFY].call_us);
		else if (i == ways + 1)
			add_wakes(table, f, direction,
				ff_way_name[FF_WAY_SOCKET],
				&f[FF_WAY_SOCKET].wake_us[0]);
		else
			add_wakes(table, f, direction, "floor: the sum of both",
				NULL);
	}
}

static void print_wakes(
	struct ff_wake_figures figures[][FF_WAYS], int ways, int direction)
{
	static const char *const title[] = {"fences", "way", "wakes",
		"median us", "p99 us", "/ plain", "/ threads", "/ floor"};
	struct ff_table table = {0};

	printf("%s\n\n", direction
				 ? "\nfrom the host's trigger to the return of "
				   "the client that waits"
				 : "from the client's trigger to the return of "
				   "the host's waiter");
	add_titles(&table, title, sizeof(title) / sizeof(*title));
	for (int i = 0; i < FF_WAKE_COUNTS; i++)
		add_count(
			&table, figures[i], ff_wake_counts[i], ways, direction);
	ff_table_print(&table, 2);
}

/* What the client pays. */
static void print_cost(struct ff_wake_figures *f, bool has_fenceferry)
{
	static const char *const name[FF_CALLS] = {"futex wake, private",
		"futex wake, shared, no fence", "futex wake, a fence"};
	static const enum ff_way ways[] = {FF_WAY_PLAIN, FF_WAY_NOTIFY,
		FF_WAY_THREADS, FF_WAY_ALONE, FF_WAY_FENCEFERRY};
	int count = has_fenceferry ? 5 : 3;
	struct ff_table table = {0};

	printf("\nwhat the client's call takes, in us: many in a row with "
	       "nobody waiting, and one with somebody\n\n");
	ff_table_row(&table);
	ff_table_text(&table, "call");
	for (int i = 0; i < count; i++)
		ff_table_text(&table, "%s", i ? ff_way_name[ways[i]] : "bare");
	for (int call = 0; call < FF_CALLS; call++) {
		ff_table_row(&table);
		ff_table_text(&table, "%s", name[call]);
		for (int i = 0; i < count; i++)
			ff_table_number(&table,
				ff_samples_median(&f[ways[i]].cost_ns[call]) /
					1e3,
				2);
	}
	ff_table_row(&table);
	ff_table_text(&table, "a fence that somebody waits on");
	for (int i = 0; i < count; i++)
		ff_table_number(
			&table, ff_samples_median(&f[ways[i]].call_us), 2);
	ff_table_print(&table, 1);
}

static void print_rates(struct ff_wake_figures figures[][FF_WAYS], int ways)
{
	static const char *const title[] = {
		"fences", "way", "rounds / s", "flood: wakes / s", "woken / s"};
	struct ff_table table = {0};

	printf("\nhow many: rounds there and back without a pause; and a "
	       "client that wakes without waiting\n\n");
	add_titles(&table, title, sizeof(title) / sizeof(*title));
	for (int i = 0; i < FF_WAKE_COUNTS; i++)
		for (int way = 0; way < ways; way++) {
			struct ff_wake_figures *f = &figures[i][way];

			ff_table_row(&table);
			ff_table_text(&table, "%u", ff_wake_counts[i]);
			ff_table_text(&table, "%s", ff_way_name[way]);
			ff_table_number(
				&table, ff_samples_median(&f->rally), 0);
			ff_table_number(
				&table, ff_samples_median(&f->wakes), 0);
			ff_table_number(
				&table, ff_samples_median(&f->woken), 0);
		}
	ff_table_print(&table, 2);
}

/* Wakes that tell nothing: their share should be small. */
static void print_late(struct ff_wake_figures figures[][FF_WAYS])
{
	size_t late = 0, count = 0;

	for (int i = 0; i < FF_WAKE_COUNTS; i++)
		for (int way = 0; way < FF_WAYS; way++) {
			late += figures[i][way].late;
			count += figures[i][way].wake_us[0].count +
				 figures[i][way].wake_us[1].count;
		}
	if (late)
		printf("\nleft out: %zu wakes of %zu, with nobody asleep\n",
			late, late + count);
}

void ff_figures_print(struct ff_wake_figures figures[FF_WAKE_COUNTS][FF_WAYS],
	bool has_fenceferry)
{
	int ways = has_fenceferry ? FF_WAY_FENCEFERRY + 1 : FF_WAY_FENCEFERRY;

	print_wakes(figures, ways, 0);
	print_wakes(figures, ways, 1);
	print_cost(figures[0], has_fenceferry);
	print_rates(figures, ways);
	print_late(figures);
	if (has_fenceferry)
		printf("\naim: / threads not above 1.00, then / floor near "
		       "1.00\n");
}
