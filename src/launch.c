/* SPDX-License-Identifier: MIT */
#include "launch.h"

#include "executable.h"
#include "exit.h"
#include "fds.h"
#include "front.h"
#include "notify.h"
#include "process.h"
#include "symbols.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* How the child tells its parent how far it got. */
struct report {
	int listener; /* its fd number in the child; -1: failed */
	int error;    /* errno of execvp, 0 if it was not that */
	bool is_there; /* what could not be executed, all the same */
	char text[256];
};

/* How long a child may take to execute until we look whether it stopped. */
#define EXECUTE_MS 50

/* How often, and how many times, the front is asked to go on. */
#define WAKE_MS 10
#define WAKE_TRIES 100

/* FF_NEWS_STOPPED that the front did not yet answer by going on. */
static unsigned int stops_told;

int ff_launch_tell(int front, enum ff_news news, int status)
{
	struct ff_front_message message = { news, status };
	/* A stopped front reads nothing: do not wait for it with a mere
	 * signal, of which it has its own copy. */
	int flags = news == FF_NEWS_SIGNAL ? MSG_NOSIGNAL | MSG_DONTWAIT :
					     MSG_NOSIGNAL;

	stops_told += news == FF_NEWS_STOPPED;
	if (send(front, &message, sizeof(message), flags) < 0)
		return errno == EAGAIN ? 0 : -errno;
	return 0;
}

void ff_launch_wake(int front)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);

	if (front < 0 ||
		getsockopt(front, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
		return;
	for (int i = 0; stops_told && i < WAKE_TRIES; i++) {
		struct pollfd fd = { .fd = front, .events = POLLIN };
		char answer;
		ssize_t n;

		poll(&fd, 1, WAKE_MS);
		n = recv(front, &answer, 1, MSG_DONTWAIT);
		if (n == 0)
			return; /* it is gone */
		if (n > 0)
			stops_told--;
		else if (ff_process_is_stopped(peer.pid))
			kill(peer.pid, SIGCONT);
	}
	stops_told = 0;
}

/* The listener and the pidfd go to the front, for the time after us. */
static int tell_started(int front, int listener, int pidfd, pid_t command)
{
	struct ff_front_message message = { FF_NEWS_STARTED, command };
	const int fds[2] = { listener, pidfd };
	ssize_t sent = ff_fds_send(front, &message, sizeof(message), fds, 2, 0);

	return sent < 0 ? (int)sent : 0;
}

/* The child's side: filter, wait, execute. write and read are not trapped. */
static void become_command(const struct ff_launch *launch,
	const struct ff_front_signals *original, int channel)
{
	struct report report = { 0 };
	struct ff_error error;
	char go;

	/* pidfd_getfd needs it where our file cannot be read. */
	prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
	report.listener = ff_filter_install(&launch->filter, &error);
	if (report.listener < 0) {
		report.listener = -1;
		memcpy(report.text, error.text, sizeof(report.text));
	}
	if (write(channel, &report, sizeof(report)) != sizeof(report) ||
		report.listener < 0 || read(channel, &go, 1) != 1)
		_exit(FF_EXIT_FAILURE);
	/* A trapped call: by its id our heir will know those of others. */
	syscall(SYS_sendmsg, -1, NULL, 0);
	/* Patched libxshmfences then make no memfd, but a file in /dev/shm. */
	setenv("XSHMFENCE_NO_MEMFD", "1", 1);
	/* What came meanwhile comes now, and ends us as it would the command. */
	ff_front_restore_signals(original);
	execvp(launch->argv[0], launch->argv);
	report = (struct report){ .listener = -1, .error = errno };
	/* The supervisor is in another directory. */
	report.is_there = ff_executable_is_there(launch->argv[0]);
	if (write(channel, &report, sizeof(report)) < 0)
		_exit(FF_EXIT_FAILURE);
	_exit(report.error == ENOENT ? FF_EXIT_NOT_FOUND :
				       FF_EXIT_CANNOT_EXECUTE);
}

static void refuse(const struct ff_launch *launch, int front, int status,
	const char *text)
{
	ff_say(launch->log, -1, "%s", text);
	ff_launch_tell(front, FF_NEWS_FAILED, status);
	/* It may have been stopped with the child. */
	ff_launch_wake(front);
}

/* Read what the child has to say. 1: a report; 0: it executes the command. */
static int get_report(int channel, struct report *report)
{
	ssize_t n;

	do {
		n = read(channel, report, sizeof(*report));
	} while (n < 0 && errno == EINTR);
	return n == sizeof(*report);
}

void ff_launch_leave_command(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct ff_ids fds = { 0 };

	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
		close(null);
	}
	ff_process_fds(getpid(), &fds);
	for (size_t i = 0; i < fds.count; i++)
		if (fds.ids[i] > STDERR_FILENO &&
			fcntl(fds.ids[i], F_GETFD) == 0)
			close(fds.ids[i]);
	ff_ids_free(&fds);
	if (chdir("/") < 0)
		return; /* then a file system stays busy, no more */
}

/* The child's own, before it executes. */
static void let_first_call_go_on(int listener, struct ff_legacy *legacy)
{
	struct ff_notification first;

	if (ff_notify_receive(listener, &first) < 0)
		return;
	legacy->last_received = first.id;
	ff_notify_continue(listener, first.id);
}

/* Wait until it executes. True if it cannot; then *report tells. */
static bool fails_to_execute(int front, int channel, pid_t command,
	int listener, struct ff_legacy *legacy, struct report *report)
{
	/* In this order: what the command itself calls is trapped after the
	 * channel was closed, and so seen with that. It is not for us. */
	struct pollfd fds[2] = {
		{ .fd = listener, .events = POLLIN },
		{ .fd = channel, .events = POLLIN },
	};

	while (poll(fds, 2, EXECUTE_MS) <= 0 || !fds[1].revents) {
		siginfo_t info = { 0 };

		if (fds[0].revents & POLLIN)
			let_first_call_go_on(listener, legacy);
		/* Ctrl-Z may come as early as that. */
		if (waitid(P_PID, (id_t)command, &info,
				WSTOPPED | WNOHANG) == 0 && info.si_pid)
			ff_launch_tell(front, FF_NEWS_STOPPED, info.si_status);
		fds[0].revents = fds[1].revents = 0;
	}
	return get_report(channel, report);
}

static const char *execute_hint(const struct report *report)
{
	switch (report->error) {
	case ENOENT:
		return report->is_there ? " (it is there: is its interpreter "
			"or loader installed?)" :
			" (is it installed, and in $PATH?)";
	case EACCES:
		return " (is it a program, and executable for you?)";
	case ENOEXEC:
		return " (is it a program for this machine?)";
	default:
		return "";
	}
}

/*
 * What came between drop_pending_signals and the fork, we have and the command
 * has not: it is for the front to hand on, too. What came later the command has
 * kept, for it blocks all until it is told to execute; and of a group the kernel
 * signals the youngest first.
 */
static void drop_unshared_signals(pid_t command)
{
	const struct timespec now = { 0 };
	struct ff_status status;
	sigset_t ours, unshared;

	sigemptyset(&unshared);
	if (sigpending(&ours) < 0 || ff_process_status(command, &status) < 0)
		return;
	for (int sig = 1; sig < NSIG; sig++)
		if (sig != SIGCHLD && sigismember(&ours, sig) == 1 &&
			!(status.pending >> (sig - 1) & 1))
			sigaddset(&unshared, sig);
	while (sigtimedwait(&unshared, NULL, &now) > 0)
		;
}

/* Take the listener from the child and let it execute. The listener, -1. */
static int start(const struct ff_launch *launch, int front, int channel,
	pid_t command, struct ff_legacy *legacy)
{
	int pidfd = pidfd_open(command, 0), listener;
	struct report report;
	char text[512];

	if (!get_report(channel, &report)) {
		refuse(launch, front, FF_EXIT_FAILURE,
			"the child ended before it could run the command");
		return -1;
	}
	if (report.listener < 0) {
		refuse(launch, front, FF_EXIT_FAILURE, report.text);
		return -1;
	}
	listener = pidfd < 0 ? -1 : pidfd_getfd(pidfd, report.listener, 0);
	if (listener < 0) {
		snprintf(text, sizeof(text), "cannot get the seccomp listener "
			"from the child: %s (Linux 5.6 or newer, and "
			"kernel.yama.ptrace_scope below 2, are needed)",
			strerror(errno));
		refuse(launch, front, FF_EXIT_FAILURE, text);
		return -1;
	}
	drop_unshared_signals(command);
	tell_started(front, listener, pidfd, command);
	close(pidfd);
	if (write(channel, "g", 1) != 1 ||
		!fails_to_execute(front, channel, command, listener, legacy,
			&report))
		return listener;
	snprintf(text, sizeof(text), "cannot execute %.300s: %s%s",
		launch->argv[0], strerror(report.error),
		execute_hint(&report));
	refuse(launch, front, report.error == ENOENT ? FF_EXIT_NOT_FOUND :
		FF_EXIT_CANNOT_EXECUTE, text);
	close(listener);
	return -1;
}

/* A signal that came before the command was there is for the front to hand
 * on: let it not find the same with us, as one that the whole group got. */
static void drop_pending_signals(void)
{
	const struct timespec now = { 0 };
	sigset_t set;

	ff_front_signal_set(&set);
	while (sigtimedwait(&set, NULL, &now) > 0)
		;
}

static int fail_to_start(const struct ff_launch *launch, int front,
	const char *what, int err)
{
	char text[256];

	snprintf(text, sizeof(text), "cannot %s: %s (is a limit reached? see "
		"ulimit -a)", what, strerror(err));
	refuse(launch, front, FF_EXIT_FAILURE, text);
	return FF_EXIT_FAILURE;
}

/* The supervisor's whole life. Returns its exit status. */
static int supervise(const struct ff_launch *launch,
	const struct ff_front_signals *original, int front,
	struct ff_legacy *legacy)
{
	int channel[2], listener, err;
	struct ff_error error;
	pid_t command;

	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, channel) < 0)
		return fail_to_start(launch, front, "make a socket", errno);
	if (launch->prepare(launch->context, &error) < 0) {
		refuse(launch, front, FF_EXIT_FAILURE, error.text);
		return FF_EXIT_FAILURE;
	}
	drop_pending_signals();
	command = fork();
	if (command < 0)
		return fail_to_start(launch, front, "fork", errno);
	if (!command) {
		close(channel[0]);
		close(front);
		become_command(launch, original, channel[1]);
	}
	close(channel[1]);
	/* Sent to the group it would end us; inject sets its own handler. */
	signal(SIGALRM, SIG_IGN);
	ff_launch_leave_command();
	listener = start(launch, front, channel[0], command, legacy);
	close(channel[0]);
	if (listener < 0) {
		waitpid(command, NULL, 0);
		return FF_EXIT_FAILURE;
	}
	err = launch->supervise(listener, front, command, legacy,
		launch->context);
	if (err)
		ff_say(launch->log, -1, "the supervisor fails: %s",
			strerror(-err));
	return err ? FF_EXIT_FAILURE : 0;
}

int ff_launch(const struct ff_launch *launch)
{
	struct ff_front_signals original;
	struct ff_legacy *legacy;
	pid_t supervisor;
	int pair[2];

	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	legacy = mmap(NULL, sizeof(*legacy), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (legacy == MAP_FAILED) {
		ff_say(launch->log, -1, "cannot map memory: %s (is a limit "
			"reached? see ulimit -a)", strerror(errno));
		return FF_EXIT_FAILURE;
	}
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
		ff_say(launch->log, -1, "cannot make a socket: %s (is a limit "
			"reached? see ulimit -a)", strerror(errno));
		return FF_EXIT_FAILURE;
	}
	legacy->oldest_held = UINT64_MAX;
	ff_front_take_signals(&original);
	supervisor = fork();
	if (supervisor < 0) {
		ff_say(launch->log, -1, "cannot fork: %s (is a limit reached? "
			"see ulimit -a)", strerror(errno));
		return FF_EXIT_FAILURE;
	}
	if (!supervisor) {
		close(pair[0]);
		_exit(supervise(launch, &original, pair[1], legacy));
	}
	close(pair[1]);
	if (launch->symbols)
		ff_symbols_leave(launch->symbols);
	ff_launch_leave_command();
	return ff_front(pair[0], supervisor, legacy, launch);
}
