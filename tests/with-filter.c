/* SPDX-License-Identifier: MIT */
/*
 * with-filter: run a command under a seccomp filter, or write the filter.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "clients/client.h"
#include "clients/steps.h"

static const char usage_text[] =
	"Usage: with-filter errno|kill CALL[,CALL...] COMMAND [ARG...]\n"
	"       with-filter errno|kill CALL[,CALL...] >FILE\n"
	"Run COMMAND with a seccomp filter by which these calls fail with "
	"EPERM, or end\n"
	"the process by SIGSYS. Without COMMAND, write the filter.\n";

int main(int argc, char **argv)
{
	enum ff_steps_action action = FF_STEPS_ERRNO;

	if (argc < 3 || (strcmp(argv[1], "errno") && strcmp(argv[1], "kill"))) {
		fputs(usage_text, stderr);
		return FF_CLIENT_EXIT_USAGE;
	}
	if (!strcmp(argv[1], "kill"))
		action = FF_STEPS_KILL;
	if (argc == 3) {
		ff_steps_export_filter(action, argv[2], STDOUT_FILENO);
		return 0;
	}
	ff_steps_filter(action, argv[2]);
	execvp(argv[3], argv + 3);
	ff_client_die("%s: %s", argv[3], strerror(errno));
}
