/* SPDX-License-Identifier: MIT */
#include "front.h"

#include "exit.h"
#include "fds.h"
#include "heir.h"
#include "process.h"
#include "symbols.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* How long the supervisor may take to tell of a signal, and to end; and the
 * kernel to stop a whole group. */
#define GROUP_MS 20
#define GROUP_STOP_MS 1
#define GOODBYE_MS 1000
#define LAST_MS 5

struct front {
	const struct ff_legacy *legacy;
	int supervisor; /* socket; -1 once it is gone */
	int listener, pidfd; /* -1 until the command started */
	pid_t supervisor_pid, command;
	/* How many of each the supervisor told of that we did not yet get;
	 * below 0, how many it has yet to tell. */
	int told[NSIG];
	const struct ff_launch *launch;
	int stop_signal; /* by which the command stopped, or 0 */
	unsigned int stops_told; /* by the supervisor, not yet answered */
	bool ended, ran;
	int wait_status; /* of the command, if it ran */
	int exit_status; /* ours, if it did not */
};

void ff_front_signal_set(sigset_t *set)
{
	sigfillset(set);
	sigdelset(set, SIGSEGV);
	sigdelset(set, SIGBUS);
	sigdelset(set, SIGILL);
	sigdelset(set, SIGFPE);
	sigdelset(set, SIGTRAP);
	sigdelset(set, SIGSYS);
	sigdelset(set, SIGABRT);
	sigdelset(set, SIGALRM); /* inject's tick */
}

void ff_front_take_signals(struct ff_front_signals *original)
{
	struct sigaction action = { .sa_handler = SIG_DFL };
	sigset_t set;

	ff_front_signal_set(&set);
	sigprocmask(SIG_BLOCK, &set, &original->mask);
	sigaction(SIGCHLD, &action, &original->child);
}

void ff_front_restore_signals(const struct ff_front_signals *original)
{
	sigaction(SIGCHLD, &original->child, NULL);
	sigprocmask(SIG_SETMASK, &original->mask, NULL);
}

/* Read one message, and the fds that come with it. False at the end. */
static bool receive(struct front *front, struct ff_front_message *message)
{
	int fds[2];
	int count = ff_fds_receive(front->supervisor, message,
		sizeof(*message), fds, 2);

	/* It closed with an answer of ours unread; what it said is still
	 * there, behind that error. */
	if (count == -ECONNRESET)
		count = ff_fds_receive(front->supervisor, message,
			sizeof(*message), fds, 2);
	if (count == 2) {
		front->listener = fds[0];
		front->pidfd = fds[1];
	}
	/* Without them it is a message still. */
	return count >= 0 || count == -EMFILE;
}

static void lose_supervisor(struct front *front)
{
	close(front->supervisor);
	front->supervisor = -1;
	if (front->ended)
		return;
	/* Its locks go with its last fd. */
	waitpid(front->supervisor_pid, NULL, 0);
	front->supervisor_pid = -1;
	/* Its first call is made, and noted, before it executes. */
	if (front->pidfd < 0 || !front->legacy->last_received) {
		/* The child, if there is one yet, finds out and ends too; or
		 * waits for an answer. */
		if (front->pidfd >= 0)
			pidfd_send_signal(front->pidfd, SIGKILL, NULL, 0);
		ff_say(front->launch->log, -1,
			"the supervisor died before the command ran");
		front->exit_status = FF_EXIT_FAILURE;
		front->ended = true;
		return;
	}
	ff_say(front->launch->log, -1,
		"the supervisor died: the command goes on, without swaps");
	front->launch->bereave(front->launch->context);
	ff_heir_answer(front->listener, front->legacy);
}

static bool is_pending(int sig)
{
	sigset_t pending;

	return sigpending(&pending) == 0 && sigismember(&pending, sig);
}

/* Stop by a signal that is blocked, until SIGCONT. */
static void stop_by(int sig)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, sig);
	signal(sig, SIG_DFL); /* fails for SIGSTOP, which needs it not */
	raise(sig);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	sigprocmask(SIG_BLOCK, &set, NULL);
}

/* We go on: the supervisor waits for that. */
static void answer_stops(struct front *front)
{
	for (; front->stops_told; front->stops_told--)
		if (front->supervisor >= 0)
			send(front->supervisor, "", 1,
				MSG_NOSIGNAL | MSG_DONTWAIT);
}

/*
 * As the command stopped, so that the shell sees the job stop; its SIGCONT is
 * for all, and may have come before. To be called when no signal is left to be
 * read, which might make the command go on. A command that made itself a group
 * of its own, as a shell does, had the terminal, and would not get it back: the
 * shell gives it to our group.
 * The supervisor is told when we go on: if the command went on before we
 * stopped, nobody but it would ever wake us.
 */
static void stop(struct front *front)
{
	int terminal = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
	pid_t group = getpgid(front->command);
	bool had_terminal = terminal >= 0 && group > 0 &&
		group != getpgrp() && tcgetpgrp(terminal) == group;

	/* Somebody may have been quicker, with it or with us. */
	if (!is_pending(SIGCONT) && ff_process_is_stopped(front->command))
		stop_by(front->stop_signal);
	if (had_terminal && tcgetpgrp(terminal) == getpgrp())
		tcsetpgrp(terminal, group);
	if (terminal >= 0)
		close(terminal);
	front->stop_signal = 0;
	answer_stops(front);
}

/*
 * The supervisor got this signal too. If it is no real-time signal, several
 * may be one for us: what we have not, we have had.
 */
static void on_told(struct front *front, int sig, int current)
{
	if (front->told[sig] < 0 || sig >= SIGRTMIN)
		front->told[sig]++;
	else if (sig == current || is_pending(sig))
		front->told[sig] = 1;
}

/* Read what the supervisor says, while we look at this signal, if any. */
static void on_message(struct front *front, int current)
{
	struct ff_front_message message;

	if (!receive(front, &message)) {
		lose_supervisor(front);
		return;
	}
	switch (message.news) {
	case FF_NEWS_STARTED:
		front->command = message.status;
		break;
	case FF_NEWS_STOPPED:
		front->stop_signal = message.status;
		front->stops_told++;
		break;
	case FF_NEWS_SIGNAL:
		on_told(front, message.status, current);
		break;
	case FF_NEWS_ENDED:
		front->ran = front->ended = true;
		front->wait_status = message.status;
		break;
	case FF_NEWS_FAILED:
		front->ended = true;
		front->exit_status = message.status;
		break;
	}
}

/* Take what the supervisor has to say. Has it seen this signal? */
static bool was_told(struct front *front, int sig, int timeout_ms)
{
	struct pollfd fd = { .events = POLLIN };

	while (front->told[sig] <= 0) {
		fd.fd = front->supervisor;
		if (front->supervisor < 0 || poll(&fd, 1, timeout_ms) <= 0)
			return false;
		on_message(front, sig);
		timeout_ms = 0;
	}
	front->told[sig]--;
	return true;
}

/*
 * Was it sent to the whole process group? Then the supervisor, to which nobody
 * sends signals, got it, and the command too if it still is in the group. The
 * kernel signals the youngest of a group first: what we have, the supervisor
 * has had. So it has told of it, or not yet read it, or is between the two and
 * runs.
 */
static bool sent_to_group(struct front *front,
	const struct signalfd_siginfo *info)
{
	const int sig = (int)info->ssi_signo;

	if (getpgid(front->command) != getpgrp())
		return false;
	/* The terminal's keys always mean the group; its hang-up may be for a
	 * session's leader alone, and an alarm is no terminal's. */
	if (info->ssi_code > 0 && sig != SIGALRM && sig != SIGHUP)
		return true;
	for (int waited_ms = 0; waited_ms < GROUP_MS; waited_ms++) {
		struct ff_status status;
		bool seen = ff_process_status(front->supervisor_pid,
			&status) == 0;

		if (was_told(front, sig, 0))
			return true;
		if (front->supervisor < 0)
			break;
		if (seen && status.pending >> (sig - 1) & 1) {
			/* Not real-time: one may be all that came. */
			if (front->told[sig] == 0 || sig >= SIGRTMIN)
				front->told[sig]--;
			return true;
		}
		if (seen && (status.state == 'S' || status.state == 'T'))
			return false;
		if (was_told(front, sig, 1))
			return true;
	}
	/* Nobody to ask: the terminal and its keys mean the group. */
	return front->supervisor < 0 && info->ssi_code > 0 && sig != SIGALRM;
}

static void hand_on(const struct front *front,
	const struct signalfd_siginfo *from)
{
	siginfo_t info = {
		.si_signo = (int)from->ssi_signo,
		.si_code = SI_QUEUE,
	};

	info.si_pid = (pid_t)from->ssi_pid;
	info.si_uid = from->ssi_uid;
	info.si_value.sival_ptr = (void *)(uintptr_t)from->ssi_ptr;
	pidfd_send_signal(front->pidfd, (int)from->ssi_signo,
		from->ssi_code == SI_QUEUE ? &info : NULL, 0);
}

/* The command is ours once the supervisor is gone. */
static void on_child(struct front *front)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG | WUNTRACED)) > 0) {
		if (pid != front->command || front->ended)
			continue;
		if (WIFSTOPPED(status)) {
			front->stop_signal = WSTOPSIG(status);
			continue;
		}
		front->ran = front->ended = true;
		front->wait_status = status;
	}
}

/* A stop signal takes away a SIGCONT that we had not read, and the other way:
 * what the supervisor told of it must not be taken for word of the next. */
static void forget_lost(struct front *front)
{
	for (int sig = 1; sig < SIGRTMIN; sig++)
		if (front->told[sig] > 0 && !is_pending(sig))
			front->told[sig] = 0;
}

/* Each of SIGCONT and the stop signals takes the other away where it has not
 * been read: the supervisor may have missed it so, and the last one counts. If
 * a stop came after a SIGCONT, only another of these made us go on. */
static bool is_undone(int sig)
{
	switch (sig) {
	case SIGCONT:
		return is_pending(SIGTSTP) || is_pending(SIGTTIN) ||
			is_pending(SIGTTOU) || is_pending(SIGCONT);
	case SIGTSTP:
	case SIGTTIN:
	case SIGTTOU:
		return is_pending(SIGCONT);
	default:
		return false;
	}
}

/* A supervisor that was stopped with the group would answer nobody. */
static void wake_supervisor(struct front *front)
{
	if (!ff_process_is_stopped(front->supervisor_pid))
		return;
	front->told[SIGCONT] = -1;
	kill(front->supervisor_pid, SIGCONT);
}

/*
 * What the terminal sends reaches the whole foreground group, the command
 * with us. What is sent to us alone is meant for the command; so is the alarm
 * of a timer that was set before we were executed, and the hang-up that only a
 * session's leader gets.
 */
static void on_signal(struct front *front, int signals)
{
	struct signalfd_siginfo info;
	bool alone;

	forget_lost(front);
	if (read(signals, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo == SIGCHLD) {
		on_child(front);
		return;
	}
	/* SIGPIPE of our own message; the supervisor's SIGCONT. */
	if ((pid_t)info.ssi_pid == getpid() ||
		(pid_t)info.ssi_pid == front->supervisor_pid)
		return;
	/* A SIGCONT for the group would have woken the supervisor. */
	alone = info.ssi_signo == SIGCONT && front->supervisor >= 0 &&
		ff_process_is_stopped(front->supervisor_pid);
	if ((sent_to_group(front, &info) && !alone) || front->ended)
		return;
	/* Unless the group is just being stopped again, we last of all. */
	if (info.ssi_signo == SIGCONT)
		poll(NULL, 0, GROUP_STOP_MS);
	if (is_undone((int)info.ssi_signo))
		return;
	hand_on(front, &info);
	if (info.ssi_signo == SIGCONT && front->supervisor >= 0)
		wake_supervisor(front);
}

/* End as the command did. */
static int end(const struct front *front)
{
	const struct rlimit no_core = { 0, 0 };
	sigset_t set;
	int sig;

	if (!front->ran)
		return front->exit_status;
	if (!WIFSIGNALED(front->wait_status))
		return WEXITSTATUS(front->wait_status);
	sig = WTERMSIG(front->wait_status);
	/* It was not we who crashed; the limit is not for piped core dumps. */
	setrlimit(RLIMIT_CORE, &no_core);
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	signal(sig, SIG_DFL);
	sigemptyset(&set);
	sigaddset(&set, sig);
	raise(sig);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	return 128 + sig;
}

/* The supervisor ends now, unless it closes its socket to stay for others. */
static void say_goodbye(struct front *front)
{
	struct pollfd fds[2] = {
		{ .fd = front->supervisor, .events = POLLIN },
		{ .fd = pidfd_open(front->supervisor_pid, 0),
			.events = POLLIN },
	};
	struct ff_front_message message;
	/* It may wait for its call stacks to be written. */
	int timeout_ms = GOODBYE_MS +
		(front->launch->symbols ? FF_SYMBOLS_LAST_MS : 0);

	while (poll(fds, 1, timeout_ms) > 0 && receive(front, &message))
		;
	poll(fds + 1, 1, LAST_MS);
	waitpid(front->supervisor_pid, NULL, WNOHANG);
}

int ff_front(int supervisor_socket, pid_t supervisor,
	const struct ff_legacy *legacy, const struct ff_launch *launch)
{
	struct front front = {
		.legacy = legacy,
		.supervisor = supervisor_socket,
		.listener = -1,
		.pidfd = -1,
		.supervisor_pid = supervisor,
		.launch = launch,
	};
	int signals;
	sigset_t set;

	/* All: somebody may send us faults and alarms too. */
	sigfillset(&set);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signals = signalfd(-1, &set, SFD_CLOEXEC);
	while (!front.ended) {
		bool alone = front.supervisor < 0;
		/* Before the command is there, signals wait for it. */
		struct pollfd fds[3] = {
			{ .fd = front.pidfd < 0 ? -1 : signals,
				.events = POLLIN },
			{ .fd = front.supervisor, .events = POLLIN },
			{ .fd = alone ? front.listener : -1, .events = POLLIN },
		};
		if (poll(fds, 3, front.stop_signal ? 0 : -1) < 0)
			continue;
		if (front.stop_signal && !fds[0].revents && !fds[1].revents)
			stop(&front);
		if (fds[1].revents)
			on_message(&front, 0);
		if (fds[0].revents)
			on_signal(&front, signals);
		if (fds[2].revents &&
			!ff_heir_serve(front.listener, fds[2].revents)) {
			close(front.listener);
			front.listener = -1;
		}
	}
	answer_stops(&front);
	if (front.supervisor < 0 && front.listener >= 0)
		ff_heir_stay(front.listener);
	else if (front.supervisor >= 0)
		say_goodbye(&front);
	if (launch->symbols)
		ff_symbols_end(launch->symbols, front.supervisor < 0);
	return end(&front);
}
