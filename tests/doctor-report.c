/* SPDX-License-Identifier: MIT */
#include "doctor-report.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

/* "state  check: ..." */
static bool parse_line(const char *line, char state[16], char check[64])
{
	return sscanf(line, "%15[a-z] %63[^:\n]:", state, check) == 2;
}

static const char *next_line(const char *line)
{
	const char *end = strchr(line, '\n');

	return end ? end + 1 : line + strlen(line);
}

/* The line of the check; NULL if there is none. */
static const char *find(const struct e2e_run *run, const char *wanted,
	char state[16])
{
	char check[64];

	for (const char *line = run->output; *line; line = next_line(line))
		if (parse_line(line, state, check) && !strcmp(check, wanted))
			return line;
	return NULL;
}

const char *report_state(const struct e2e_run *run, const char *check)
{
	static char state[16];

	return find(run, check, state) ? state : "";
}

const char *report_line(const struct e2e_run *run, const char *check)
{
	static char text[1024];
	char state[16];
	const char *line = find(run, check, state);

	snprintf(text, sizeof(text), "%.*s", line ?
		(int)(next_line(line) - line) : 0, line ? line : "");
	return text;
}

unsigned int report_count(const struct e2e_run *run, const char *wanted)
{
	char state[16], check[64];
	unsigned int count = 0;

	for (const char *line = run->output; *line; line = next_line(line))
		count += parse_line(line, state, check) &&
			!strcmp(state, wanted);
	return count;
}

void report_expect(const struct e2e_run *run, const char *check,
	const char *state, const char *text)
{
	const char *line = report_line(run, check);

	cr_assert_str_eq(report_state(run, check), state,
		"'%s' is to be %s: %s\n%s%s", check, state, line, run->output,
		run->errors);
	cr_assert(strstr(line, text), "no '%s' in: %s", text, line);
}

void doctor_command(struct e2e_run *run, const char *const words[])
{
	size_t n = 0;

	while (n < E2E_ARGS && run->command[n])
		n++;
	for (; *words; words++) {
		cr_assert_lt(n, E2E_ARGS - 1);
		run->command[n++] = *words;
	}
	run->command[n] = NULL;
}

void doctor_consult(struct e2e_run *run, const char *option)
{
	char shm[100];

	snprintf(shm, sizeof(shm), "--shm-dir=%s", e2e_shm_dir());
	doctor_command(run, (const char *const[]){ e2e_fenceferry(), "doctor",
		shm, option, NULL });
	e2e_do(run);
}

void report_works(const struct e2e_run *run, const char *use,
	const char *state)
{
	report_expect(run, use, state, !strcmp(state, "missing") ?
		"does not work (see '" : "works");
}

void doctor_by_shell(struct e2e_run *run, const char *script)
{
	doctor_command(run, (const char *const[]){ "sh", "-c", script,
		e2e_shm_dir(), NULL });
	doctor_consult(run, NULL);
}
