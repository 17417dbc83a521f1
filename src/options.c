/* SPDX-License-Identifier: MIT */
#include "options.h"

#include <getopt.h>
#include <string.h>

void ff_option_complain(const struct ff_eventlog *log, const char *command,
	int option, const char *given)
{
	if (option == ':')
		ff_say(log, -1, "option '%s' wants a value (see fenceferry %s "
			"--help)", given, command);
	else if (option == '?' && optopt && !strncmp(given, "--", 2))
		ff_say(log, -1, "option '%s' takes no value (see fenceferry %s "
			"--help)", given, command);
	else if (option == '?' && optopt)
		ff_say(log, -1, "unknown option '-%c' (see fenceferry %s "
			"--help)", optopt, command);
	else if (option == '?')
		ff_say(log, -1, "unknown option '%s' (see fenceferry %s "
			"--help)", given, command);
}
