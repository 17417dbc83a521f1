/* SPDX-License-Identifier: MIT */
#include "report.h"

#include "eventlog.h"
#include "exit.h"
#include "options.h"
#include "report-live.h"
#include "report-outfile.h"
#include "report-print.h"
#include "report-text.h"
#include "report-trace.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

static const char usage[] =
	"Usage: fenceferry report [OPTION...] LOG\n"
	"       fenceferry report --live [OPTION...] [PID]\n"
	"Tell what an event log (--log of fenceferry run, attach or host) says; "
	"- is\n"
	"standard input.\n"
	"\n"
	"      --json         one JSON object instead of tables for people\n"
	"      --trace=FILE   write a trace for Perfetto or chrome://tracing "
	"there\n"
	"                     instead; - is standard output\n"
	"      --live         no log: who waits for a fence now (see report "
	"--live --help)\n"
	"  -h, --help         print this\n"
	"\n"
	"Exit status: 0; 1 if LOG cannot be read, or is no event log; 125 for "
	"all else\n"
	"that goes wrong.\n";

enum { OPTION_JSON = 256, OPTION_TRACE };

/* So many broken lines are shown. */
enum { SHOWN_LINES = 5 };

static const struct option long_options[] = {
	{ "json", no_argument, NULL, OPTION_JSON },
	{ "trace", required_argument, NULL, OPTION_TRACE },
	{ "help", no_argument, NULL, 'h' },
	{ 0 },
};

/* For messages alone. */
static const struct ff_eventlog say;

struct report {
	const char *path, *trace_path;
	bool as_json;
	struct ff_log log;
	struct ff_sum sum;
	struct ff_trace *trace;
};

/* Everything from the command line. 0; 1 if --help was all; -1 refused. */
static int parse(struct report *report, int argc, char **argv)
{
	int option;

	opterr = 0;
	while ((option = getopt_long(argc, argv, ":h", long_options, NULL)) !=
		-1) {
		ff_option_complain(&say, "report", option, argv[optind - 1]);
		if (option == 'h')
			return fputs(usage, stdout) < 0 || fflush(stdout) ?
				-1 : 1;
		else if (option == OPTION_JSON)
			report->as_json = true;
		else if (option == OPTION_TRACE)
			report->trace_path = optarg;
		else
			return -1;
	}
	if (optind + 1 != argc) {
		ff_say(&say, -1, optind == argc ? "no log to report on (see "
			"fenceferry report --help)" : "one log is all that "
			"report takes (see fenceferry report --help)");
		return -1;
	}
	if (report->as_json && report->trace_path) {
		ff_say(&say, -1, "--json and --trace are two things (leave "
			"one out)");
		return -1;
	}
	report->path = argv[optind];
	return 0;
}

static void take_event(void *context, const struct ff_log_event *event)
{
	struct report *report = context;

	ff_sum_add(&report->sum, event);
	if (report->trace)
		ff_trace_add(report->trace, event);
}

static void take_broken_line(void *context, uint64_t line, const char *why)
{
	struct report *report = context;
	char clean[2][512];

	if (report->log.broken_lines > SHOWN_LINES)
		return;
	ff_text_clean(clean[0], sizeof(clean[0]), report->path);
	ff_text_clean(clean[1], sizeof(clean[1]), why);
	ff_say(&say, 0, "%s:%llu: left out: %s", clean[0],
		(unsigned long long)line, clean[1]);
}

/* What there was beside events. */
static void tell_troubles(const struct report *report)
{
	const struct ff_log *log = &report->log;

	if (log->broken_lines > SHOWN_LINES)
		ff_say(&say, 0, "%llu of %llu lines are no events, and were "
			"left out", (unsigned long long)log->broken_lines,
			(unsigned long long)log->lines);
	if (log->is_unfinished)
		ff_say(&say, 0, "the last line has no end, and was left out: "
			"the log is still being written, or was cut short");
	if (!log->events && !log->is_unfinished)
		ff_say(&say, 0, "the log is empty");
}

/* Of the terminal, if it is one; else 0. */
static unsigned int find_columns(void)
{
	struct winsize size;
	const char *columns = getenv("COLUMNS");

	if (!isatty(STDOUT_FILENO))
		return 0;
	if (!ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) && size.ws_col >= 40)
		return size.ws_col;
	return columns && atoi(columns) >= 40 ? (unsigned int)atoi(columns) :
		80;
}

/* Write what was asked for. 0, or -1 after a message. */
static int write_it(struct report *report)
{
	const struct ff_log_facts facts = {
		.path = report->path,
		.lines = report->log.lines,
		.broken_lines = report->log.broken_lines,
		.is_unfinished = report->log.is_unfinished,
	};
	struct ff_error error;
	int err = 0;

	if (report->trace) {
		err = ff_trace_end(report->trace, &report->sum.waits,
			report->sum.last_us, report->path, &error);
		report->trace = NULL;
		if (err)
			ff_say(&say, -1, "%s", error.text);
		return err;
	}
	if (report->as_json)
		err = ff_report_json(stdout, &report->sum, &facts);
	else
		ff_report_print(stdout, &report->sum, &facts, find_columns());
	err = err ? ENOMEM : ff_stream_error(stdout);
	if (err)
		ff_say(&say, -1, "cannot write the report: %s (write it "
			"somewhere else)", strerror(err));
	return err ? -1 : 0;
}

/* Is the trace to be written where the log is read from? */
static bool is_own_log(const char *trace_path, int log_fd)
{
	struct stat log, trace;

	if (fstat(log_fd, &log) < 0 || !S_ISREG(log.st_mode))
		return false;
	if (!strcmp(trace_path, "-") ? fstat(STDOUT_FILENO, &trace) < 0 :
			stat(trace_path, &trace) < 0)
		return false;
	return log.st_dev == trace.st_dev && log.st_ino == trace.st_ino;
}

/* Returns the exit status. */
static int make(struct report *report)
{
	struct ff_error error;
	int fd, err;

	if (report->trace_path) {
		report->trace = ff_trace_begin(report->trace_path, &error);
		if (!report->trace) {
			ff_say(&say, -1, "%s", error.text);
			return FF_EXIT_FAILURE;
		}
	}
	fd = ff_log_open(report->path, &error);
	if (fd < 0) {
		ff_say(&say, -1, "%s", error.text);
		return 1;
	}
	if (report->trace && is_own_log(report->trace_path, fd)) {
		close(fd);
		ff_say(&say, -1, "cannot write the trace to %s: it is the log "
			"itself (name another file)", report->path);
		return FF_EXIT_FAILURE;
	}
	report->log.event = take_event;
	report->log.broken = take_broken_line;
	report->log.context = report;
	err = ff_log_read(&report->log, fd, report->path, &error);
	close(fd);
	if (err < 0) {
		ff_say(&say, -1, "%s", error.text);
		return 1;
	}
	tell_troubles(report);
	return write_it(report) ? FF_EXIT_FAILURE : 0;
}

/* --live is another thing, with options of its own. */
static bool is_live(int argc, char **argv)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (!strcmp(argv[i], "--live"))
			return true;
	return false;
}

int ff_report(int argc, char **argv)
{
	struct report *report = calloc(1, sizeof(*report));
	int parsed, status;

	if (is_live(argc, argv)) {
		free(report);
		return ff_report_live(argc, argv);
	}
	if (!report) {
		ff_say(&say, -1, "out of memory");
		return FF_EXIT_FAILURE;
	}
	ff_sum_init(&report->sum);
	parsed = parse(report, argc, argv);
	status = parsed ? parsed < 0 ? FF_EXIT_FAILURE : 0 : make(report);
	ff_trace_drop(report->trace);
	ff_sum_free(&report->sum);
	free(report);
	return status;
}
