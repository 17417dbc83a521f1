/* SPDX-License-Identifier: MIT */
#include "measured.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* Become the measured process in its setting. */
static _Noreturn void become(const struct ff_measured_setting *setting,
	const char *self, const char *seconds, int out)
{
	const size_t most = sizeof(setting->by) / sizeof(setting->by[0]);
	const char *argv[16];
	size_t n = 0;

	for (; n < most && setting->by[n]; n++)
		argv[n] = setting->by[n];
	argv[n++] = self;
	argv[n++] = setting->argument ? setting->argument : "--measured";
	argv[n++] = seconds;
	argv[n] = NULL;
	if (dup2(out, STDOUT_FILENO) >= 0)
		execvp(argv[0], (char *const *)argv);
	_exit(127);
}

/* Run it once. Returns 0, 1 if the setting's program is not there, or -1. */
static int run_once(const struct ff_measured *measured,
	const struct ff_measured_setting *setting, const char *self,
	const char *seconds, double *figures)
{
	const size_t size = measured->things * sizeof(*figures);
	int out[2], status;
	ssize_t got;
	pid_t child;

	if (pipe2(out, O_CLOEXEC))
		return -1;
	child = fork();
	if (!child)
		become(setting, self, seconds, out[1]);
	close(out[1]);
	got = read(out[0], figures, size);
	close(out[0]);
	if (child < 0 || waitpid(child, &status, 0) != child)
		return -1;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
		return 1;
	return status || got != (ssize_t)size ? -1 : 0;
}

int ff_measured_run(struct ff_measured *measured, int runs,
	const char *seconds)
{
	const size_t settings = measured->settings;
	double figures[FF_FIGURES_MAX];
	char self[4096] = "";

	if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0) {
		perror(measured->program);
		return -1;
	}
	for (size_t i = 0; i < (size_t)runs * settings; i++) {
		/* another order in every turn */
		size_t s = (i + i / settings) % settings;
		struct ff_measured_setting *setting = &measured->setting[s];
		int result = setting->left_out ? 0 : run_once(measured, setting,
			self, seconds, figures);

		if (result < 0 || (result && !setting->may_lack)) {
			fprintf(stderr, "%s: %s: failed\n", measured->program,
				setting->name);
			return -1;
		}
		if (result)
			fprintf(stderr, "%s: %s is not installed, and left "
				"out\n", measured->program, setting->name);
		setting->left_out |= result;
		for (size_t k = 0; !setting->left_out && k < measured->things;
			k++)
			ff_samples_add(&measured->figure[s][k], figures[k]);
	}
	return 0;
}

int ff_measured_tell(const double *figures, size_t things)
{
	const size_t size = things * sizeof(*figures);

	return write(STDOUT_FILENO, figures, size) == (ssize_t)size ? 0 : -1;
}

void ff_measured_print(struct ff_measured *measured, const char *thing,
	const char *unit)
{
	struct ff_table table = {0};

	ff_table_row(&table);
	ff_table_text(&table, "%s", thing);
	ff_table_text(&table, "setting");
	ff_table_text(&table, "%s", unit);
	ff_table_text(&table, "- bare, %s", unit);
	ff_table_text(&table, "/ bare");
	for (size_t k = 0; k < measured->things; k++)
		for (size_t s = 0; s < measured->settings; s++) {
			double value = ff_samples_median(
				&measured->figure[s][k]);
			double bare = ff_samples_median(
				&measured->figure[0][k]);

			if (measured->setting[s].left_out)
				continue;
			ff_table_row(&table);
			ff_table_text(&table, "%s", measured->thing[k]);
			ff_table_text(&table, "%s", measured->setting[s].name);
			ff_table_number(&table, value, 1);
			ff_table_number(&table, value - bare, 1);
			ff_table_number(&table, value / bare, 2);
		}
	ff_table_print(&table, 2);
}
