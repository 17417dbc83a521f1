/* SPDX-License-Identifier: MIT */
#include "report-live.h"

#include "exit.h"
#include "inject/snapshot.h"
#include "live-print.h"
#include "options.h"
#include "process.h"
#include "refusal.h"
#include "symbols.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <grp.h>
#include <jansson.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char usage[] =
	"Usage: fenceferry report --live [OPTION...] [PID]\n"
	"Tell who waits on a fence now, for how long, and where in its code: in "
	"process\n"
	"PID and those below it, or in all that a fenceferry watches.\n"
	"\n"
	"      --json    one JSON object instead of a table\n"
	"  -h, --help    print this\n"
	"\n"
	"Exit status: 0 if all could be looked at; 1 if not; 125 if not even "
	"that could be\n"
	"found out.\n";

enum { OPTION_JSON = 256, OPTION_LIVE };

static const struct option long_options[] = {
	{ "live", no_argument, NULL, OPTION_LIVE },
	{ "json", no_argument, NULL, OPTION_JSON },
	{ "help", no_argument, NULL, 'h' },
	{ 0 },
};

struct report {
	bool as_json;
	pid_t pid; /* 0: all that a fenceferry watches */
	struct ff_ids pids;
	struct ff_live live;
	json_t *unseen; /* whom it was not to see, for --json */
};

/* How long is looked again at what the kernel does not tell the time of. */
#define AGAIN_NS 100000000u

/* For messages alone. */
static const struct ff_eventlog say;

static int parse_pid(struct report *report, const char *text)
{
	char *end;
	long pid;

	errno = 0;
	pid = strtol(text, &end, 10);
	if (!isdigit((unsigned char)*text) || errno || *end || pid <= 0 ||
		pid > INT_MAX) {
		ff_say(&say, -1, "'%s' is no process id (see fenceferry report "
			"--live --help)", text);
		return -1;
	}
	report->pid = (pid_t)pid;
	return 0;
}

/* Everything from the command line. 0; 1 if --help was all; -1 refused. */
static int parse(struct report *report, int argc, char **argv)
{
	int option;

	opterr = 0;
	optind = 1;
	while ((option = getopt_long(argc, argv, ":h", long_options, NULL)) !=
		-1) {
		ff_option_complain(&say, "report --live", option,
			argv[optind - 1]);
		if (option == 'h')
			return fputs(usage, stdout) < 0 || fflush(stdout) ?
				-1 : 1;
		else if (option == OPTION_JSON)
			report->as_json = true;
		else if (option != OPTION_LIVE)
			return -1;
	}
	if (optind < argc && parse_pid(report, argv[optind++]) < 0)
		return -1;
	if (optind < argc) {
		ff_say(&say, -1, "'%s' is too much: there is one PID to look "
			"at (see fenceferry report --live --help)",
			argv[optind]);
		return -1;
	}
	return 0;
}

/* A process that cannot be looked at. */
static void note_unseen(struct report *report, pid_t pid, const char *why)
{
	json_t *object = json_object();

	ff_say(&say, 0, "%s", why);
	ff_event_set_number(object, "pid", (uint64_t)pid);
	ff_event_set_text(object, "reason", why);
	json_array_append_new(report->unseen, object);
}

static int add_family(struct ff_ids *pids, pid_t root)
{
	struct ff_ids below = { 0 };
	int err = ff_process_descendants(root, &below);

	if (!err && !ff_ids_has(pids, root))
		err = ff_ids_add(pids, root);
	for (size_t i = 0; !err && i < below.count; i++)
		if (!ff_ids_has(pids, below.ids[i]))
			err = ff_ids_add(pids, below.ids[i]);
	ff_ids_free(&below);
	return err;
}

/* Of a thread, which `top -H` shows as well, its process is meant. */
static pid_t process_of(pid_t pid)
{
	struct ff_status status;

	return ff_process_status(pid, &status) == 0 && status.tgid > 0 ?
		status.tgid : pid;
}

/* Whom to look at. 0, or -errno with *error filled. */
static int list_pids(struct report *report, struct ff_error *error)
{
	struct ff_ids watchers = { 0 };
	int err;

	if (report->pid) {
		err = ff_refuse_look(report->pid, error);
		if (!err)
			err = add_family(&report->pids,
				process_of(report->pid));
	} else {
		err = ff_find_watchers(&watchers);
		for (size_t i = 0; !err && i < watchers.count; i++)
			err = add_family(&report->pids, watchers.ids[i]);
		if (!err && !watchers.count)
			err = ff_fail(error, ESRCH, "no fenceferry runs here "
				"that one could see (name a PID)");
		ff_ids_free(&watchers);
		if (!err || err == -ESRCH)
			return err;
	}
	if (err && !error->err)
		ff_fail(error, -err, "cannot list processes: %s",
			strerror(-err));
	return err;
}

static void look(struct report *report, struct ff_waits *waits, bool is_first)
{
	for (size_t i = 0; i < report->pids.count; i++) {
		pid_t pid = report->pids.ids[i];
		struct ff_error error;
		int err = ff_waits_add(waits, pid);

		if (err && err != -ESRCH && is_first) {
			ff_explain_look(pid, err, &error);
			note_unseen(report, pid, error.text);
		}
	}
}

static bool waits_still(const struct ff_waits *waits,
	const struct ff_wait *before)
{
	for (size_t i = 0; i < waits->count; i++)
		if (waits->list[i].actor.tid == before->actor.tid &&
			waits->list[i].address == before->address)
			return true;
	return false;
}

/* Where the kernel does not tell since when: at least since the first look. */
static void look_again(struct report *report)
{
	struct ff_waits *waits = &report->live.waits, again = { 0 };
	bool wants = false;

	for (size_t i = 0; i < waits->count; i++)
		wants |= !waits->list[i].has_time;
	if (!wants)
		return;
	nanosleep(&(struct timespec){ .tv_nsec = AGAIN_NS }, NULL);
	look(report, &again, false);
	for (size_t i = 0; i < waits->count; i++)
		if (!waits->list[i].has_time &&
			waits_still(&again, &waits->list[i]))
			waits->list[i].waited_ns = AGAIN_NS;
	ff_waits_free(&again);
}

/* Name what was taken. False: it is cut, and another try is worth it. */
static bool name_stack(struct ff_live *live, size_t i,
	struct ff_snapshot *snapshot)
{
	const char *end = NULL;
	json_t *frames = NULL;

	if (!snapshot || ff_symbols_name(snapshot, &frames, &end) < 0)
		return false;
	json_decref(live->stacks[i]);
	free(live->ends[i]);
	live->stacks[i] = frames;
	live->ends[i] = end ? strdup(end) : NULL;
	return !end;
}

/*
 * What the threads do. Without a stop if that tells all: whoever is stopped waits
 * anew, as far as the scheduler is asked later; and would wait no longer if the
 * word is another by now. One that another traces is not stopped, and what can be
 * told is told.
 */
static void take_stacks(struct ff_live *live)
{
	/* Root's groups are no client's (ff_symbols_name). */
	if (geteuid() == 0 && setgroups(0, NULL) < 0 && errno != EPERM)
		return;
	live->stacks = calloc(live->waits.count + 1, sizeof(*live->stacks));
	live->ends = calloc(live->waits.count + 1, sizeof(*live->ends));
	for (size_t i = 0; live->stacks && live->ends && i < live->waits.count;
		i++) {
		const struct ff_wait *wait = &live->waits.list[i];
		const struct ff_actor *actor = &wait->actor;
		const bool may_stop = wait->has_value &&
			wait->value == wait->expected;
		struct ff_hold hold = { 0 };
		struct ff_snapshot *snapshot = ff_snapshot_peek(actor->pid,
			actor->tid, 0, NULL);
		bool interrupted;

		if (!name_stack(live, i, snapshot) && may_stop) {
			ff_snapshot_unref(snapshot);
			snapshot = ff_snapshot_stop(&hold, actor->pid,
				actor->tid, &interrupted, NULL);
			ff_hold_free(&hold);
			name_stack(live, i, snapshot);
		}
		ff_snapshot_unref(snapshot);
	}
}

static int print(struct report *report)
{
	json_t *object;
	int failed;

	if (!report->as_json && !report->live.waits.count &&
		json_array_size(report->unseen)) {
		fputs("nobody who could be looked at waits on a fence\n",
			stdout);
		errno = EIO;
		return fflush(stdout) || ferror(stdout) ? -1 : 0;
	}
	if (!report->as_json)
		return ff_live_print(&report->live, stdout);
	object = json_pack("{s:o,s:O}", "waits",
		ff_live_make_json(&report->live), "unseen", report->unseen);
	failed = json_dumpf(object, stdout, JSON_INDENT(2));
	json_decref(object);
	putchar('\n');
	errno = EIO;
	return fflush(stdout) || ferror(stdout) || failed ? -1 : 0;
}

int ff_report_live(int argc, char **argv)
{
	struct report report = { 0 };
	struct ff_error error = { 0 };
	int parsed = parse(&report, argc, argv), status = 0;

	if (parsed)
		return parsed < 0 ? FF_EXIT_FAILURE : 0;
	report.unseen = json_array();
	if (list_pids(&report, &error) < 0) {
		ff_say(&say, -1, "%s", error.text);
		status = 1;
	} else {
		look(&report, &report.live.waits, true);
		look_again(&report);
		ff_waits_find_names(&report.live.waits, "/dev/shm");
		ff_live_sort(&report.live.waits);
		take_stacks(&report.live);
		status = json_array_size(report.unseen) ? 1 : 0;
		if (print(&report) < 0) {
			ff_say(&say, -1, "cannot write what was found: %s",
				strerror(errno));
			status = FF_EXIT_FAILURE;
		}
	}
	json_decref(report.unseen);
	ff_live_free(&report.live);
	ff_ids_free(&report.pids);
	return status;
}
