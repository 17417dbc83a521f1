/* SPDX-License-Identifier: MIT */
#ifndef FF_TEST_SANDBOX_H
#define FF_TEST_SANDBOX_H

#include "e2e.h"

/* Clients in sandboxes of others, or of their own. */

/* Say OK, status 0, the supervisor lives, and every line of the log is good. */
void sandbox_check_ok(const struct e2e_run *run);

/*
 * Run the command of *run under each engine, which must serve it as it serves a
 * client without a sandbox. The command makes so many fences and other memfds
 * that cross.
 */
void sandbox_check_served(
	const struct e2e_run *run, unsigned int fences, unsigned int memfds);

/* Anybody may use the server, without the authority file. */
void sandbox_open_server(void);

/* Copy a file into the test's directory; its path, in static memory. */
const char *sandbox_copy(const char *from, const char *name, unsigned int mode);

#endif
