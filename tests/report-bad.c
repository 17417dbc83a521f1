/* SPDX-License-Identifier: MIT */
/*
 * fenceferry report, with logs that are none or hostile, and with places to
 * write to that do not take it.
 */
#include "report-run.h"
#include "unit-dir.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define WELL "{\"time\":1000,\"event\":\"exit\",\"pid\":5,\"tid\":5," \
	"\"comm\":\"c\",\"status\":0}\n"

#ifdef __SANITIZE_ADDRESS__
enum { MOST_KB = 2000000 };
#else
enum { MOST_KB = 40000 };
#endif

TestSuite(report_bad, .timeout = 60, .init = make_test_dir,
	.fini = remove_test_dir);

static const char *in_dir(const char *name)
{
	static char paths[4][128];
	static unsigned int next;
	char *path = paths[next++ % 4];

	snprintf(path, sizeof(paths[0]), "%s/%s", unit_dir, name);
	return path;
}

static void write_file(const char *path, const char *text, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	cr_assert(fd >= 0 && write(fd, text, strlen(text)) ==
		(ssize_t)strlen(text) && !fchmod(fd, mode));
	close(fd);
}

static void expect_file(const char *path, const char *text)
{
	char content[256] = "";
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	cr_assert(fd >= 0 && read(fd, content, sizeof(content) - 1) >= 0);
	close(fd);
	cr_assert_str_eq(content, text);
}

/* It ends with this status, having said that, and nothing else on standard
 * output. */
static void expect_refusal(const char *const args[], int status,
	const char *says)
{
	for (int as_user = 0; as_user < 2; as_user++) {
		struct report report = {.as_user = as_user};

		for (int i = 0; args[i]; i++)
			report.args[i] = args[i];
		report_do(&report);
		report_check(&report, report.status == status);
		report_check(&report, !*report.output);
		report_check(&report, !strncmp(report.errors, "fenceferry: ",
			12));
		cr_assert(strstr(report.errors, says), "no '%s' in %s", says,
			report.errors);
		report_free(&report);
	}
}

#define REFUSAL(status, says, ...) expect_refusal((const char *const[]){ \
	__VA_ARGS__, NULL}, status, says)

Test(report_bad, usage_is_refused)
{
	expect_refusal((const char *const[]){NULL}, 125, "no log to report on");
	REFUSAL(125, "one log is all", "a", "b");
	REFUSAL(125, "--json and --trace are two", "--json", "--trace=-", "a");
	REFUSAL(125, "unknown option '--yaml'", "--yaml", "a");
	REFUSAL(125, "'--trace' wants a value", "a", "--trace");
	REFUSAL(125, "'--json=1' takes no value", "--json=1", "a");
}

Test(report_bad, what_cannot_be_read_is_refused_with_the_cause)
{
	struct report report = {.as_user = true};

	REFUSAL(1, "No such file", in_dir("nothing"));
	REFUSAL(1, "Is a directory", unit_dir);
	REFUSAL(1, "Not a directory", "/dev/null/log");
	REFUSAL(1, "cannot open the log /?[31m?: ", "/\x1b[31m\xc2\x9b");
	write_file(in_dir("secret"), WELL, 0);
	report.args[0] = in_dir("secret");
	report_do(&report);
	report_check(&report, report.status == 1 && strstr(report.errors,
		"Permission denied"));
	report_free(&report);
}

Test(report_bad, what_is_no_log_is_refused)
{
	write_file(in_dir("text"), "Dear diary,\nno events today.\n", 0644);
	REFUSAL(1, "is no event log: none of its lines", in_dir("text"));
	write_file(in_dir("one"), "hello", 0644);
	REFUSAL(1, "is no event log", in_dir("one"));
	write_file(in_dir("json"), "[1, 2]\n{}\n\"event\"\n", 0644);
	REFUSAL(1, "is no event log", in_dir("json"));
	/* These have no end. */
	REFUSAL(1, "is no event log", "/dev/zero");
	REFUSAL(1, "is no event log", "/dev/urandom");
}

Test(report_bad, empty_log_is_said_to_be_empty)
{
	struct report report = {.args = {"/dev/null"}};

	report_do(&report);
	report_check(&report, !report.status && strstr(report.errors,
		"the log is empty") && strstr(report.output, "no events"));
	report_free(&report);
}

Test(report_bad, unfinished_line_is_said_and_left_out)
{
	static const char *const logs[] = {WELL "{\"time\":10",
		WELL "{\"time\":1000,\"event\":\"exit\"}", "{\"time\":10"};

	for (size_t i = 0; i < 3; i++) {
		struct report report;
		json_t *json;

		report_text(&report, "--json", logs[i]);
		report_check(&report, !report.status && strstr(report.errors,
			"the last line has no end, and was left out"));
		json = report_parse(&report);
		cr_expect_eq(report_number(json, "log.events"), i < 2);
		cr_expect(json_is_true(json_object_get(json_object_get(json,
			"log"), "unfinished")));
		json_decref(json);
		report_free(&report);
	}
}

Test(report_bad, broken_lines_are_named_and_the_rest_is_read)
{
	struct report report;
	json_t *json;

	report_text(&report, "--json", WELL "{\"time\":1000,\"ev\n"
		"{\"time\":NaN,\"event\":\"exit\"}\n"
		"{\"time\":\"noon\",\"event\":\"exit\"}\n" WELL
		"{\"time\":1e300,\"event\":\"exit\"}\n"
		"{\"time\":-1,\"event\":\"exit\"}\n"
		"{\"time\":1000,\"event\":{\"exit\":1}}\n\n" WELL);
	report_check(&report, !report.status);
	report_check(&report, strstr(report.errors, "-:2: left out: no JSON"));
	report_check(&report, strstr(report.errors, "-:4: left out: no event"));
	report_check(&report, strstr(report.errors, "-:7: left out: no event"));
	report_check(&report, !strstr(report.errors, "-:8:"));
	report_check(&report, strstr(report.errors,
		"7 of 10 lines are no events"));
	json = report_parse(&report);
	cr_expect_eq(report_number(json, "log.events"), 3);
	cr_expect_eq(report_number(json, "log.broken_lines"), 7);
	json_decref(json);
	report_free(&report);
}

/* head, count times a character, tail. */
static char *make_long(const char *head, char c, size_t count,
	const char *tail)
{
	size_t size = strlen(head);
	char *text = malloc(size + count + strlen(tail) + 1);

	cr_assert_not_null(text);
	memcpy(text, head, size);
	memset(text + size, c, count);
	strcpy(text + size + count, tail);
	return text;
}

Test(report_bad, deep_and_long_lines_are_broken_ones)
{
	char *deep = make_long(WELL, '[', 100000, "\n" WELL);
	char *long_line = make_long(WELL "{\"x\":\"", 'x', 8000000,
		"\"}\n" WELL);
	struct report report;

	report_text(&report, NULL, deep);
	report_check(&report, !report.status && strstr(report.errors, "-:2:") &&
		strstr(report.output, "2 events"));
	report_free(&report);
	report_text(&report, NULL, long_line);
	report_check(&report, !report.status && strstr(report.errors,
		"-:2: left out: longer than any event") &&
		strstr(report.output, "2 events"));
	report_free(&report);
	free(deep);
	free(long_line);
}

/* Each field of each event, of a type that it should not be. */
Test(report_bad, wrong_types_are_survived)
{
	static const char *const events[] = {"crossing", "swap", "engine",
		"wake", "fence", "wait", "found", "exit", "attach", "detach",
		"host", "peer", "status", "?"};
	static const char *const fields[] = {"pid", "tid", "comm", "display",
		"request", "action", "reason", "direction", "fence", "was",
		"engine", "stopped_us", "total_us", "state", "by", "made_by",
		"name", "begin", "waited_s", "ended", "resolution_s", "count",
		"status", "signal", "omitted", "backtrace"};
	static const char *const values[] = {"null", "-1", "1.5", "true",
		"\"\"", "\"x\"", "[]", "[[],null,{\"symbol\":[]},\"x\"]", "{}",
		"9223372036854775807", "-9223372036854775808", "1e300",
		"{\"a\":{\"b\":1}}"};
	static const char *const options[] = {NULL, "--json", "--trace=-"};
	const size_t most = 1 << 20;
	char *log = calloc(1, most), *end = log;

	for (size_t e = 0; e < sizeof(events) / sizeof(*events); e++)
		for (size_t v = 0; v < sizeof(values) / sizeof(*values); v++) {
			end += sprintf(end, "{\"time\":%zu,\"event\":\"%s\"",
				1000 + v, events[e]);
			for (size_t f = 0; f < sizeof(fields) /
					sizeof(*fields); f++)
				end += sprintf(end, ",\"%s\":%s", fields[f],
					values[(v + f * e) % 13]);
			end = stpcpy(end, "}\n");
			cr_assert(end - log < (long)most / 2);
		}
	for (size_t i = 0; i < 3; i++) {
		struct report report;

		report_text(&report, options[i], log);
		report_check(&report, !report.status && !*report.errors);
		if (i) {
			json_t *json = report_parse(&report);

			if (i == 2)
				report_check_trace(json, "X");
			json_decref(json);
		}
		report_free(&report);
	}
	free(log);
}

Test(report_bad, control_characters_never_reach_the_terminal)
{
	static const char *const fields[] = {"comm", "display", "request",
		"action", "reason", "fence", "engine", "state", "name",
		"ended", "by", "event"};
	static const char *const options[] = {NULL, "--json", "--trace=-"};
	static const char evil[] = "\\u001b]0;x\\u0007\\u007f\\u009b2J\\u202e"
		"\\r\\n\\b";
	char log[16384] = "", *end = log;

	for (size_t e = 0; e < 6; e++) {
		end += sprintf(end, "{\"time\":1000,\"pid\":7,\"tid\":7,"
			"\"event\":\"%s\"", (const char *[]){"crossing",
				"swap", "engine", "fence", "wait",
				"exit"}[e]);
		for (size_t f = 0; f < 11; f++)
			end += sprintf(end, ",\"%s\":\"%s\"", fields[f], evil);
		end += sprintf(end, ",\"backtrace\":[{\"symbol\":\"%s\","
			"\"module\":\"%s\",\"note\":\"%s\"}]}\n", evil, evil,
			evil);
	}
	end += sprintf(end, "{\"time\":1000,\"event\":\"%s\"}\n", evil);
	end = stpcpy(end, "\x1b[2J\x9b \x7f\n" WELL);
	for (size_t i = 0; i < 3; i++) {
		struct report report;

		report_text(&report, options[i], log);
		report_check(&report, !report.status);
		for (size_t n = 0; n < report.output_size; n++)
			cr_assert((report.output[n] >= ' ' &&
				report.output[n] != 127) ||
				report.output[n] == '\n', "%d at %zu",
				report.output[n], n);
		for (const char *c = report.errors; *c; c++)
			cr_assert((*c >= ' ' && *c != 127) || *c == '\n',
				"%d in: %s", *c, report.errors);
		report_free(&report);
	}
}

Test(report_bad, unwritable_trace_is_refused_before_the_log_is_read)
{
	/* Nobody would ever open its other end. */
	cr_assert(!mkfifo(in_dir("fifo"), 0666));
	mkdir(in_dir("dir"), 0755);
	REFUSAL(125, "Is a directory", "--trace", in_dir("dir"),
		in_dir("fifo"));
	REFUSAL(125, "No such file", "--trace=/nowhere/trace",
		in_dir("fifo"));
	REFUSAL(125, "Not a directory", "--trace=/dev/null/trace",
		in_dir("fifo"));
	REFUSAL(125, "No such file", "--trace=", in_dir("fifo"));
}

Test(report_bad, trace_of_others_is_refused)
{
	struct report report = {.as_user = true};

	write_file(in_dir("theirs"), "old", 0400);
	if (!geteuid())
		cr_assert(!chown(in_dir("theirs"), 1, 1));
	report.args[0] = "--trace";
	report.args[1] = in_dir("theirs");
	report.args[2] = "/dev/null";
	report_do(&report);
	report_check(&report, report.status == 125 && strstr(report.errors,
		"Permission denied"));
	report_free(&report);
	cr_expect_eq(count_test_files(), 1);
}

Test(report_bad, trace_is_whole_or_not_there)
{
	const char *trace = in_dir("trace");

	write_file(in_dir("log"), WELL, 0644);
	write_file(in_dir("none"), "none\n", 0644);
	write_file(trace, "old", 0666);
	REFUSAL(1, "is no event log", "--trace", trace, in_dir("none"));
	expect_file(trace, "old");
	REFUSAL(125, "No space left", "--trace=/dev/full", in_dir("log"));
	cr_expect_eq(count_test_files(), 3);
}

Test(report_bad, trace_does_not_replace_its_own_log)
{
	struct report report = {.args = {"--trace=-", in_dir("log")},
		.output_path = in_dir("log")};

	write_file(in_dir("log"), WELL, 0666);
	cr_assert(!symlink("log", in_dir("link")));
	REFUSAL(125, "it is the log itself", "--trace", in_dir("log"),
		in_dir("log"));
	REFUSAL(125, "it is the log itself", "--trace", in_dir("log"),
		in_dir("link"));
	report_do(&report);
	report_check(&report, report.status == 125 && strstr(report.errors,
		"it is the log itself"));
	report_free(&report);
	expect_file(in_dir("log"), WELL);
	cr_expect_eq(count_test_files(), 2);
}

Test(report_bad, full_disk_leaves_the_old_trace)
{
	size_t lines = 20000;
	char *log = malloc(lines * sizeof(WELL)), *end = log;
	struct report report = {.args = {"--trace", in_dir("trace"), "-"}};

	if (geteuid()) {
		free(log);
		cr_skip_test("only root has a small file system to fill");
	}
	for (size_t i = 0; i < lines; i++)
		end = stpcpy(end, WELL);
	write_file(in_dir("trace"), "old", 0644);
	report.input = log;
	report_do(&report);
	report_check(&report, report.status == 125 && strstr(report.errors,
		"No space left"));
	expect_file(in_dir("trace"), "old");
	cr_expect_eq(count_test_files(), 1);
	report_free(&report);
	free(log);
}

Test(report_bad, trace_replaces_what_a_link_leads_to)
{
	struct report report = {.args = {"--trace", in_dir("link"), "-"},
		.input = WELL};
	struct stat info;

	write_file(in_dir("trace"), "old", 0640);
	cr_assert(!symlink("trace", in_dir("link")));
	report_do(&report);
	report_check(&report, !report.status && !*report.output);
	cr_assert(!lstat(in_dir("link"), &info) && S_ISLNK(info.st_mode));
	cr_assert(!stat(in_dir("trace"), &info) && info.st_size > 100);
	cr_expect_eq(info.st_mode & 0777, 0640);
	cr_expect_eq(count_test_files(), 2);
	report_free(&report);
}

Test(report_bad, report_that_cannot_be_written_is_told)
{
	static const char *const options[] = {NULL, "--json", "--trace=-"};

	for (size_t i = 0; i < 3; i++) {
		struct report report = {.args = {"-", options[i]},
			.input = WELL, .output_path = "/dev/full"};

		report_do(&report);
		report_check(&report, report.status == 125 &&
			strstr(report.errors, "No space left"));
		report_free(&report);
	}
}

Test(report_bad, fifo_is_read_to_its_end)
{
	struct report report = {.args = {in_dir("fifo")}};
	pid_t writer;

	cr_assert(!mkfifo(in_dir("fifo"), 0666));
	writer = fork();
	cr_assert(writer >= 0);
	if (!writer) {
		int fd;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		alarm(30);
		fd = open(in_dir("fifo"), O_WRONLY);

		_exit(write(fd, WELL WELL, 2 * strlen(WELL)) < 0);
	}
	report_do(&report);
	report_check(&report, !report.status && strstr(report.output,
		"2 events"));
	report_free(&report);
}

/* 16 MiB that would fill all tables. */
Test(report_bad, memory_is_bounded)
{
	size_t lines = 40000, most = lines * 512;
	char *log = malloc(most), *end = log;
	struct report report = {.args = {"-"}};

	for (size_t i = 0; i < lines; i++)
		end += sprintf(end, "{\"time\":%zu,\"event\":\"%s\","
			"\"display\":\"%zu\",\"request\":\"%zu\","
			"\"reason\":\"%zu\",\"engine\":\"%zu\",\"tid\":%zu,"
			"\"waited_s\":2,\"pid\":%zu,\"backtrace\":["
			"{\"symbol\":\"%zu\",\"module\":\"%0200zu\"}]}\n",
			1000 + i, i % 4 ? i % 4 == 1 ? "swap" : i % 4 == 2 ?
				"engine" : "wait" : "crossing", i, i, i, i,
			i % 4000000 + 1, i + 1, i, i);
	cr_assert(end - log < (long)most);
	report.input = log;
	report_do(&report);
	report_check(&report, !report.status && strstr(report.output,
		"40000 events"));
	report_check(&report, strstr(report.output, "(others)"));
	report_check(&report, report.peak_kb < MOST_KB);
	report_free(&report);
	free(log);
}
