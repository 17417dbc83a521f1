/* SPDX-License-Identifier: MIT */
#include "attach.h"
#include "config.h"
#include "doctor.h"
#include "exit.h"
#include "host.h"
#include "keeper.h"
#include "report.h"
#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char usage[] =
	"Usage: fenceferry COMMAND ...\n"
	"Ferry fences between X11 clients and an X server in another kernel.\n"
	"\n"
	"  fenceferry run [OPTION...] [--] COMMAND [ARG...]   around a command\n"
	"  fenceferry attach [OPTION...] PID                  to one that "
	"runs already\n"
	"  fenceferry host [OPTION...]                        the other end of "
	"its relay\n"
	"  fenceferry report [OPTION...] LOG                  what an event log "
	"says\n"
	"  fenceferry doctor [OPTION...]                      what works here, "
	"and what not\n"
	"\n"
	"  fenceferry --help       print this\n"
	"  fenceferry --version    print the version\n"
	"\n"
	"Each of these tells its options with --help.\n";

/*
 * No file of ours may get the number of a standard stream that we were not
 * given. What stands there is close-on-exec: for the command it stays closed.
 */
static void reserve_streams(void)
{
	for (int fd = 0; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 && errno == EBADF &&
			open("/", O_PATH | O_DIRECTORY | O_CLOEXEC) < 0)
			return;
}

/* Write a text to standard output. Returns the exit status. */
static int print(const char *text)
{
	return fputs(text, stdout) < 0 || fflush(stdout) ? FF_EXIT_FAILURE : 0;
}

int main(int argc, char **argv)
{
	const char *command = argc > 1 ? argv[1] : NULL;

	reserve_streams();
	if (!command) {
		fprintf(stderr, "fenceferry: no command (see fenceferry "
				"--help)\n");
		return FF_EXIT_FAILURE;
	}
	if (!strcmp(command, "run"))
		return ff_run(argc - 1, argv + 1);
	if (!strcmp(command, "attach"))
		return ff_attach(argc - 1, argv + 1);
	if (!strcmp(command, "keep"))
		return ff_keep();
	if (!strcmp(command, "host"))
		return ff_host(argc - 1, argv + 1);
	if (!strcmp(command, "doctor"))
		return ff_doctor(argc - 1, argv + 1);
	if (!strcmp(command, "report"))
		return ff_report(argc - 1, argv + 1);
	if (!strcmp(command, "--help") || !strcmp(command, "-h"))
		return print(usage);
	if (!strcmp(command, "--version"))
		return print("fenceferry " PACKAGE_VERSION "\n");
	fprintf(stderr, "fenceferry: unknown command '%s' (see fenceferry "
			"--help)\n", command);
	return FF_EXIT_FAILURE;
}
