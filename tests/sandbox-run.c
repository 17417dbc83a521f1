/* SPDX-License-Identifier: MIT */
#include "sandbox.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xcb/xcb.h>

void sandbox_check_ok(const struct e2e_run *run)
{
	e2e_check(run, e2e_exited(run, 0), "the command is content");
	e2e_check(run, strstr(run->output, "OK\n"), "the client says so");
	e2e_check(run, !strstr(run->errors, "the supervisor died"),
		"the supervisor lives");
}

/* How many crossings each engine swaps. */
static void check_engine(struct e2e_run *run, const char *engine,
	unsigned int notified, unsigned int swapped, unsigned int left)
{
	run->wrapped = true;
	run->options[0] = engine;
	e2e_do(run);
	sandbox_check_ok(run);
	e2e_check_log(run, notified + swapped, left, 0);
	e2e_check(run, e2e_count(run, "swap", "engine", "notify") == notified,
		"so many by notify");
	e2e_check(run, !strstr(run->errors, "could not be"),
		"nothing is complained of");
}

void sandbox_check_served(
	const struct e2e_run *run, unsigned int fences, unsigned int memfds)
{
	struct e2e_run wrapped = *run;

	check_engine(&wrapped, "--engine=ptrace", 0, fences + memfds, 0);
	wrapped = *run;
	check_engine(&wrapped, "--engine=notify", fences, 0, memfds);
	wrapped = *run;
	check_engine(&wrapped, "--engine=auto", fences, memfds, 0);
}

void sandbox_open_server(void)
{
	xcb_connection_t *x = xcb_connect(NULL, NULL);
	xcb_generic_error_t *error = xcb_request_check(x,
		xcb_set_access_control_checked(x, XCB_ACCESS_CONTROL_DISABLE));

	cr_assert(!xcb_connection_has_error(x) && !error,
		"the server cannot be opened");
	xcb_disconnect(x);
}

const char *sandbox_copy(const char *from, const char *name, unsigned int mode)
{
	static char path[PATH_MAX + 64];
	int in = open(from, O_RDONLY | O_CLOEXEC), out;
	struct stat st;

	snprintf(path, sizeof(path), "%s/%s", e2e_dir(), name);
	out = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0700);
	cr_assert(in >= 0 && out >= 0 && !fstat(in, &st), "%s: %s", path,
		strerror(errno));
	while (sendfile(out, in, NULL, (size_t)st.st_size) > 0)
		;
	cr_assert(lseek(in, 0, SEEK_CUR) == st.st_size && !fchmod(out, mode),
		"%s: %s", path, strerror(errno));
	close(in);
	close(out);
	return path;
}
