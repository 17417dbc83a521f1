/* SPDX-License-Identifier: MIT */
#ifndef FF_OPTIONS_H
#define FF_OPTIONS_H

#include "eventlog.h"

/*
 * Say what is wrong with an option of `fenceferry COMMAND` for which
 * getopt_long, with opterr 0 and ":" first, has returned '?' or ':'. given is
 * argv[optind - 1]. Says nothing of any other option.
 */
void ff_option_complain(const struct ff_eventlog *log, const char *command,
	int option, const char *given);

#endif
