/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

/* realloc for programs that have nothing to lose but figures. */
static void *grow(void *memory, size_t count, size_t size)
{
	void *grown = reallocarray(memory, count, size);

	if (!grown) {
		perror("bench: out of memory");
		abort();
	}
	return grown;
}

void ff_samples_add(struct ff_samples *samples, double value)
{
	if (samples->count == samples->room) {
		samples->room = samples->room ? samples->room * 2 : 256;
		samples->value = grow(
			samples->value, samples->room, sizeof(*samples->value));
	}
	samples->value[samples->count++] = value;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double ff_samples_percentile(struct ff_samples *samples, double percent)
{
	size_t rank;

	if (!samples->count)
		return NAN;
	qsort(samples->value, samples->count, sizeof(*samples->value), compare);
	rank = (size_t)ceil(percent / 100 * (double)samples->count);
	return samples->value[rank ? rank - 1 : 0];
}

double ff_samples_median(struct ff_samples *samples)
{
	return ff_samples_percentile(samples, 50);
}

void ff_samples_clear(struct ff_samples *samples)
{
	free(samples->value);
	*samples = (struct ff_samples){0};
}

int ff_end_child(pid_t child, pid_t also, int deadline_ms, int *status)
{
	struct pollfd end = {.events = POLLIN};
	int killed = 0;

	end.fd = (int)syscall(SYS_pidfd_open, child, 0);
	if (poll(&end, 1, deadline_ms) != 1) {
		killed = -1;
		if (also)
			kill(also, SIGKILL);
		kill(child, SIGKILL);
	}
	close(end.fd);
	waitpid(child, status, 0);
	return killed;
}

void ff_table_row(struct ff_table *table)
{
	table->row = grow(table->row, table->rows + 1, sizeof(*table->row));
	memset(table->row[table->rows++], 0, sizeof(*table->row));
	table->columns = 0;
}

void ff_table_text(struct ff_table *table, const char *format, ...)
{
	va_list args;

	if (!table->rows || table->columns == FF_TABLE_COLUMNS)
		abort();
	va_start(args, format);
	vsnprintf(table->row[table->rows - 1][table->columns++], FF_TABLE_CELL,
		format, args);
	va_end(args);
}

void ff_table_number(struct ff_table *table, double value, int decimals)
{
	if (isnan(value))
		ff_table_text(table, "-");
	else
		ff_table_text(table, "%.*f", decimals, value);
}

/* The width of the widest cell of a column. */
static int width_of(const struct ff_table *table, size_t column)
{
	size_t widest = 0;

	for (size_t r = 0; r < table->rows; r++) {
		size_t width = strlen(table->row[r][column]);

		if (width > widest)
			widest = width;
	}
	return (int)widest;
}

void ff_table_print(struct ff_table *table, size_t left)
{
	int width[FF_TABLE_COLUMNS];

	for (size_t c = 0; c < FF_TABLE_COLUMNS; c++)
		width[c] = width_of(table, c);
	for (size_t r = 0; r < table->rows; r++) {
		for (size_t c = 0; c < FF_TABLE_COLUMNS && width[c]; c++)
			printf("%s%*s", c ? "  " : "",
				c < left ? -width[c] : width[c],
				table->row[r][c]);
		putchar('\n');
	}
	fflush(stdout);
	free(table->row);
	*table = (struct ff_table){0};
}
