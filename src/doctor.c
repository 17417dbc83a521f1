/* SPDX-License-Identifier: MIT */
#include "config.h"
#include "doctor.h"

#include "doctor-checkup.h"
#include "doctor-print.h"
#include "eventlog.h"
#include "exit.h"
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

static const char usage[] =
	"Usage: fenceferry doctor [OPTION...]\n"
	"Try what fenceferry needs here, and tell what there is, what is "
	"missing, and\n"
	"the way out.\n"
	"\n"
	"  -d, --shm-dir=DIR      where run is to put its files (default: "
	"/dev/shm)\n"
	"  -r, --relay=ADDR       a fenceferry host to connect to: unix:PATH,\n"
	"                         vsock:CID:PORT or char:PATH\n"
	"      --json             one JSON object instead of lines for people\n"
	"  -h, --help             print this\n"
	"\n"
	"Exit status: 0 if fenceferry run (with --relay, if that is given) works "
	"here,\n"
	"be it with less; 1 if it does not; 125 if this could not be found "
	"out.\n";

enum { OPTION_JSON = 256 };

static const struct option long_options[] = {
	{ "shm-dir", required_argument, NULL, 'd' },
	{ "relay", required_argument, NULL, 'r' },
	{ "json", no_argument, NULL, OPTION_JSON },
	{ "help", no_argument, NULL, 'h' },
	{ 0 },
};

static const struct ff_exam exams[] = {
	{ "kernel", FF_FOR_NOBODY, ff_examine_kernel },
	{ "user", FF_FOR_NOBODY, ff_examine_user },
	{ "seccomp listener", FF_FOR_RUN, ff_examine_listener },
	{ "ptrace", FF_FOR_PTRACE, ff_examine_ptrace },
	{ "other processes", FF_FOR_RUN, ff_examine_processes },
	{ "shm dir", FF_FOR_RUN, ff_examine_shm_dir },
	{ "futex waits", FF_FOR_HOST, ff_examine_futexes },
	{ "limits", FF_FOR_NOBODY, ff_examine_limits },
	{ "relay", FF_FOR_RELAY, ff_examine_relay },
	{ "X server", FF_FOR_NOBODY, ff_examine_display },
	{ "libxshmfence", FF_FOR_NOBODY, ff_examine_library },
};

/* For messages alone. */
static const struct ff_eventlog say;

/* Everything from the command line. 0; 1 if --help was all; -1 refused. */
static int parse(struct ff_checkup *checkup, bool *as_json, int argc,
	char **argv)
{
	struct ff_error error;
	int option;

	opterr = 0;
	while ((option = getopt_long(argc, argv, "+:d:r:h", long_options,
			NULL)) != -1) {
		ff_option_complain(&say, "doctor", option, argv[optind - 1]);
		if (option == 'h')
			return fputs(usage, stdout) < 0 || fflush(stdout) ?
				-1 : 1;
		else if (option == OPTION_JSON)
			*as_json = true;
		else if (option == 'd')
			checkup->shm_dir = optarg;
		else if (option != 'r')
			return -1;
		else if (ff_address_parse(optarg, FF_GUEST, &checkup->relay,
				&error) < 0) {
			ff_say(&say, -1, "%s", error.text);
			return -1;
		} else
			checkup->has_relay = true;
	}
	if (optind < argc) {
		ff_say(&say, -1, "'%s' is too much: doctor takes options only "
			"(see fenceferry doctor --help)", argv[optind]);
		return -1;
	}
	return 0;
}

/* Does not what was asked for work? */
static bool is_ill(const struct ff_checkup *checkup)
{
	const struct ff_finding *worst;

	return ff_checkup_use(checkup, checkup->has_relay ? FF_USE_RELAY :
		FF_USE_AUTO, &worst) == FF_MISSING;
}

int ff_doctor(int argc, char **argv)
{
	struct ff_checkup *checkup = ff_checkup_new();
	int status = FF_EXIT_FAILURE, parsed;
	bool as_json = false;

	if (!checkup) {
		ff_say(&say, -1, "out of memory");
		return FF_EXIT_FAILURE;
	}
	checkup->shm_dir = "/dev/shm";
	parsed = parse(checkup, &as_json, argc, argv);
	for (size_t i = 0; !parsed && i < sizeof(exams) / sizeof(exams[0]); i++)
		ff_checkup_run(checkup, &exams[i]);
	if (parsed > 0)
		status = 0;
	else if (!parsed && (as_json ? ff_print_json(checkup, stdout) :
					ff_print_text(checkup, stdout)))
		ff_say(&say, -1, "cannot write what was found: %s",
			strerror(errno));
	else if (!parsed)
		status = is_ill(checkup);
	ff_checkup_free(checkup);
	return status;
}
