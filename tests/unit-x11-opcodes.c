/* SPDX-License-Identifier: MIT */
/* src/x11/opcodes: asked of a real Xvfb, and of servers that say nothing. */
#include "x11/opcodes.h"

#include "count-fds.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <xcb/xcb.h>

#ifndef XVFB
#define XVFB "Xvfb" /* the build names the one that configure found */
#endif

/* A directory of our own; in it an authority file, and a socket. */
static char dir[] = "/tmp/fenceferry-x11-XXXXXX";
static char auth[64], sub[64], silent[80];

/* Write the cookie for the display of that number, "" for any. */
static void write_auth(const char *number)
{
	static const char family[] = "\xff\xff\0"; /* wild, no address */
	static const char cookie[] = "\0\x12MIT-MAGIC-COOKIE-1\0\x10"
				     "fenceferry-test!";
	FILE *file = fopen(auth, "w");

	cr_assert(file);
	cr_assert_eq(fwrite(family, sizeof(family), 1, file), 1);
	cr_assert_geq(
		fprintf(file, "%c%c%s", 0, (int)strlen(number), number), 2);
	cr_assert_eq(fwrite(cookie, sizeof(cookie) - 1, 1, file), 1);
	cr_assert_eq(fclose(file), 0);
}

static void make_dir(void)
{
	cr_assert(mkdtemp(dir));
	snprintf(auth, sizeof(auth), "%s/auth", dir);
	snprintf(sub, sizeof(sub), "%s/.X11-unix", dir);
	cr_assert_eq(mkdir(sub, 0700), 0);
	snprintf(silent, sizeof(silent), "%s/silent", sub);
	write_auth("");
}

static void remove_dir(void)
{
	unlink(auth);
	unlink(silent);
	rmdir(sub);
	rmdir(dir);
}

static pid_t xvfb;
static char display[16];

/* What Xvfb says on the fd of -displayfd: a number and a newline. */
static void read_display(int fd)
{
	char text[12] = "";
	ssize_t size;

	for (size_t length = 0; !strchr(text, '\n'); length += (size_t)size) {
		size = read(fd, text + length, sizeof(text) - 1 - length);
		cr_assert_gt(size, 0, "Xvfb does not start");
	}
	snprintf(display, sizeof(display), ":%d", atoi(text));
}

static void start_xvfb(void)
{
	pid_t parent = getpid();
	char number[12];
	int fds[2];

	make_dir();
	cr_assert_eq(pipe(fds), 0);
	snprintf(number, sizeof(number), "%d", fds[1]);
	xvfb = fork();
	cr_assert_geq(xvfb, 0);
	if (xvfb == 0) {
		/* It must not outlive a test that crashes. */
		prctl(PR_SET_PDEATHSIG, SIGTERM);
		if (getppid() != parent)
			_exit(1);
		dup2(open("/dev/null", O_RDWR), STDERR_FILENO);
		execlp(XVFB, XVFB, "-displayfd", number, "-noreset",
			"-nolisten", "tcp", "-screen", "0", "64x64x24", "-auth",
			auth, NULL);
		_exit(127);
	}
	close(fds[1]);
	read_display(fds[0]);
	close(fds[0]);
	write_auth(display + 1);
}

static void stop_xvfb(void)
{
	if (xvfb > 0) {
		kill(xvfb, SIGTERM);
		waitpid(xvfb, NULL, 0);
	}
	xvfb = 0;
	remove_dir();
}

/* A socket that takes connections and never says a word. */
static int listen_silently(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(address.sun_path, silent);
	cr_assert_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	cr_assert_eq(listen(fd, 8), 0);
	return fd;
}

static bool has_children(void)
{
	siginfo_t info;

	return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static uint8_t major_opcode(xcb_connection_t *c, const char *name)
{
	xcb_query_extension_reply_t *reply = xcb_query_extension_reply(
		c, xcb_query_extension(c, (uint16_t)strlen(name), name), NULL);
	uint8_t opcode;

	cr_assert(reply);
	opcode = reply->present ? reply->major_opcode : 0;
	free(reply);
	return opcode;
}

static xcb_connection_t *connect_client(void)
{
	xcb_connection_t *c;

	setenv("XAUTHORITY", auth, 1);
	c = xcb_connect(display, NULL);
	unsetenv("XAUTHORITY");
	cr_assert_eq(xcb_connection_has_error(c), 0);
	return c;
}

static void expect_true_opcodes(const struct ff_x11_opcodes *out)
{
	xcb_connection_t *c = connect_client();

	cr_expect_eq(out->mit_shm, major_opcode(c, "MIT-SHM"));
	cr_expect_eq(out->sync, major_opcode(c, "SYNC"));
	cr_expect_eq(out->present, major_opcode(c, "Present"));
	cr_expect_eq(out->dri3, major_opcode(c, "DRI3"));
	cr_expect_geq(out->mit_shm, 128);
	cr_expect_geq(out->sync, 128);
	xcb_disconnect(c);
}

Test(x11, query_learns_the_opcodes_of_a_server, .init = start_xvfb,
	.fini = stop_xvfb, .timeout = 60)
{
	struct ff_x11_opcodes out = {1, 1, 1, 1}, again = {1, 1, 1, 1};
	struct ff_error error = {0};
	int fds = count_fds(getpid());
	int rc = ff_x11_query_opcodes(display, auth, 20000, &out, &error);

	cr_assert_eq(rc, 0, "%s", error.text);
	cr_expect_eq(count_fds(getpid()), fds);
	expect_true_opcodes(&out);

	/* and with what the environment says */
	setenv("XAUTHORITY", auth, 1);
	rc = ff_x11_query_opcodes(display, NULL, 20000, &again, &error);
	cr_assert_eq(rc, 0, "%s", error.text);
	cr_expect_arr_eq(&again, &out, sizeof(out));
}

/* The cookie for number is right for the server behind name. */
static void expect_cookie(const char *name, const char *number)
{
	struct ff_x11_opcodes out = {0};
	struct ff_error error = {0};
	int rc;

	write_auth("none");
	rc = ff_x11_query_opcodes(name, auth, 20000, &out, &error);
	cr_expect_eq(rc, -EACCES, "%s: %s", name, error.text);
	write_auth(number);
	rc = ff_x11_query_opcodes(name, auth, 20000, &out, &error);
	cr_assert_eq(rc, 0, "%s: %s", name, error.text);
	write_auth(display + 1);
	expect_true_opcodes(&out);
}

Test(x11, query_finds_the_cookie_by_the_name_of_the_socket, .init = start_xvfb,
	.fini = stop_xvfb, .timeout = 60)
{
	char path[64], name[100];

	snprintf(path, sizeof(path), "/tmp/.X11-unix/X%s", display + 1);
	snprintf(name, sizeof(name), "unix:%s", path);
	expect_cookie(name, display + 1);
	snprintf(name, sizeof(name), "unix:@%s", path);
	expect_cookie(name, display + 1);
	/* under a name that has no number it is number 0, as for libxcb */
	cr_assert_eq(symlink(path, silent), 0);
	snprintf(name, sizeof(name), "unix:%s", silent);
	expect_cookie(name, "0");
}

Test(x11, query_survives_a_reaper_that_is_faster, .init = start_xvfb,
	.fini = stop_xvfb, .timeout = 60)
{
	struct ff_x11_opcodes out = {0};
	struct ff_x11_query query;

	cr_assert_eq(ff_x11_query_start(display, auth, &query, NULL), 0);
	cr_assert_eq(waitpid(query.pid, NULL, 0), query.pid);
	cr_assert_eq(ff_x11_query_finish(&query, 0, &out, NULL), 0);
	expect_true_opcodes(&out);
}

Test(x11, query_outlasts_a_grab_and_the_signals_of_the_terminal,
	.init = start_xvfb, .fini = stop_xvfb, .timeout = 60)
{
	struct ff_x11_opcodes out = {1, 2, 3, 4};
	xcb_connection_t *c = connect_client();
	struct ff_x11_query query;
	struct ff_error error = {0};

	xcb_grab_server(c);
	free(xcb_get_input_focus_reply(c, xcb_get_input_focus(c), NULL));
	cr_expect_eq(ff_x11_query_opcodes(display, auth, 200, &out, &error),
		-ETIMEDOUT);
	cr_expect_eq(out.dri3, 1);
	cr_expect_eq(out.present, 4);

	cr_assert_eq(ff_x11_query_start(display, auth, &query, NULL), 0);
	kill(query.pid, SIGINT);
	kill(query.pid, SIGTSTP);
	kill(query.pid, SIGHUP);
	xcb_ungrab_server(c);
	xcb_flush(c);
	cr_assert_eq(ff_x11_query_finish(&query, 20000, &out, &error), 0, "%s",
		error.text);
	expect_true_opcodes(&out);
	xcb_disconnect(c);
}

Test(x11, query_reports_a_refusal_and_keeps_standard_error_clean,
	.init = start_xvfb, .fini = stop_xvfb, .timeout = 60)
{
	struct ff_x11_opcodes out;
	struct ff_error error = {0};
	int saved = dup(STDERR_FILENO), rc;
	int file = memfd_create("stderr", MFD_CLOEXEC);

	dup2(file, STDERR_FILENO);
	rc = ff_x11_query_opcodes(display, "/dev/null", 20000, &out, &error);
	dup2(saved, STDERR_FILENO);
	cr_expect_eq(rc, -EACCES, "%d: %s", rc, error.text);
	cr_expect(strstr(error.text, "uthoriz"), "%s", error.text);
	cr_expect(strstr(error.text, display), "%s", error.text);
	cr_expect_null(strchr(error.text, '\n'));
	cr_expect_eq(lseek(file, 0, SEEK_END), 0);
}

Test(x11, query_of_a_silent_server_ends_in_time, .init = make_dir,
	.fini = remove_dir, .timeout = 60)
{
	struct ff_x11_opcodes out = {1, 2, 3, 4};
	struct ff_error error = {0};
	char name[100];
	int fds;
	int64_t start, took;

	close(listen_silently()); /* somebody was there */
	snprintf(name, sizeof(name), "unix:%s", silent);
	cr_expect_eq(ff_x11_query_opcodes(name, auth, 20000, &out, &error),
		-ECONNREFUSED, "%s", error.text);

	unlink(silent);
	listen_silently();
	fds = count_fds(getpid());
	start = now_ms();
	cr_expect_eq(ff_x11_query_opcodes(name, auth, 300, &out, &error),
		-ETIMEDOUT);
	took = now_ms() - start;
	cr_expect(took >= 290 && took < 5000, "%lld ms", (long long)took);
	cr_expect(strstr(error.text, silent));
	cr_expect_eq(error.err, ETIMEDOUT);
	cr_expect_eq(out.mit_shm, 2);
	cr_expect_eq(count_fds(getpid()), fds);
	cr_expect(!has_children());
}

Test(x11, query_of_no_server_fails_at_once)
{
	static const struct {
		const char *name;
		int rc;
	} table[] = {{"unix:/nonexistent/socket", -ENOENT},
		{"unix:@fenceferry-nonexistent", -ECONNREFUSED},
		{"nonsense", -EINVAL}};
	struct ff_x11_opcodes out;
	struct ff_error error;
	char name[200];

	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++)
		cr_expect_eq(ff_x11_query_opcodes(
				     table[i].name, NULL, 20000, &out, &error),
			table[i].rc, "%s", error.text);
	/* the longest name there is: it fails for want of a server only */
	memset(name, 'a', sizeof(name));
	memcpy(name, "unix:@", 6);
	name[5 + 108] = '\0';
	cr_expect_eq(ff_x11_query_opcodes(name, NULL, 20000, &out, &error),
		-ECONNREFUSED, "%s", error.text);
	memset(name, 'a', sizeof(name));
	name[sizeof(name) - 1] = '\0';
	cr_expect_eq(ff_x11_query_opcodes(name, NULL, 20000, &out, &error),
		-ENAMETOOLONG);
	cr_expect(!has_children());
}

Test(x11, query_can_be_given_up_and_leaves_the_signal_mask, .init = make_dir,
	.fini = remove_dir, .timeout = 60)
{
	sigset_t mask, after;
	struct ff_x11_query query;
	char name[100];
	int fds;
	pid_t pid;

	sigemptyset(&mask);
	sigaddset(&mask, SIGCHLD);
	sigprocmask(SIG_SETMASK, &mask, NULL);
	listen_silently();
	snprintf(name, sizeof(name), "unix:%s", silent);
	fds = count_fds(getpid());
	cr_assert_eq(ff_x11_query_start(name, auth, &query, NULL), 0);
	pid = query.pid;
	sigprocmask(SIG_BLOCK, NULL, &after);
	for (int sig = 1; sig < NSIG; sig++)
		cr_expect_eq(sigismember(&after, sig), sigismember(&mask, sig),
			"signal %d", sig);
	ff_x11_query_cancel(&query);
	cr_expect_eq(kill(pid, 0), -1);
	cr_expect(!has_children());
	cr_expect_eq(count_fds(getpid()), fds);
	ff_x11_query_cancel(&query); /* nothing left to end */
	cr_expect_eq(count_fds(getpid()), fds);
}

Test(x11, query_reports_a_child_that_died, .init = make_dir, .fini = remove_dir,
	.timeout = 60)
{
	struct ff_x11_opcodes out;
	struct ff_x11_query query;
	char name[100];

	listen_silently();
	snprintf(name, sizeof(name), "unix:%s", silent);
	cr_assert_eq(ff_x11_query_start(name, auth, &query, NULL), 0);
	kill(query.pid, SIGKILL);
	cr_expect_eq(ff_x11_query_finish(&query, 20000, &out, NULL), -EIO);
	cr_expect(!has_children());
}

Test(x11, query_dies_with_its_caller, .init = make_dir, .fini = remove_dir,
	.timeout = 60)
{
	struct ff_x11_query query;
	char name[100];
	pid_t caller, pid = 0;
	int fds[2], status = 0, listener = listen_silently(), peer;

	cr_assert_eq(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	cr_assert_eq(pipe(fds), 0);
	snprintf(name, sizeof(name), "unix:%s", silent);
	caller = fork();
	if (caller == 0) {
		if (ff_x11_query_start(name, auth, &query, NULL) ||
			write(fds[1], &query.pid, sizeof(pid)) != sizeof(pid))
			_exit(1);
		pause();
	}
	cr_assert_eq(read(fds[0], &pid, sizeof(pid)), sizeof(pid));
	/* it asks, so it has long said whom it dies with */
	peer = accept(listener, NULL, NULL);
	cr_assert_geq(peer, 0);
	kill(caller, SIGKILL);
	cr_assert_eq(waitpid(caller, NULL, 0), caller);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}
