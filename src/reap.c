/* SPDX-License-Identifier: MIT */
#include "reap.h"

#include "actor.h"
#include "clock.h"
#include "inject/stop.h"
#include "launch.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

/* How long after the last SIGUSR1 the table is made. */
#define TELL_NS 20000000u

static void tell_front(struct ff_supervisor *s, enum ff_news news, int status)
{
	if (s->front >= 0 && ff_launch_tell(s->front, news, status) < 0) {
		close(s->front);
		s->front = -1;
	}
}

/* Daemons that it left still need us; the front and standard error do not. */
static void stay_behind(struct ff_supervisor *s)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	close(s->front);
	s->front = -1;
	ff_eventlog_leave_stderr(s->crossings.log);
	if (null >= 0)
		dup2(null, STDERR_FILENO);
	if (null > STDERR_FILENO)
		close(null);
}

/*
 * The command has ended. It is told while it is a zombie: if we die in between,
 * it becomes the front's child, with its status.
 */
static void tell_end(struct ff_supervisor *s, const siginfo_t *info)
{
	struct ff_actor actor;
	int status = info->si_code == CLD_EXITED ?
		(info->si_status & 255) << 8 : info->si_status;

	ff_actor_find(info->si_pid, &actor);
	ff_eventlog_exit(s->crossings.log, &actor, status);
	ff_eventlog_flush(s->crossings.log);
	tell_front(s, FF_NEWS_ENDED, status);
	/* It may have been stopped before it was killed. */
	ff_launch_wake(s->front);
}

static void command_reaped(struct ff_supervisor *s)
{
	s->command = 0;
	if (!ff_listeners_have_hung_up(&s->listeners))
		stay_behind(s);
}

/* It stopped, or goes on: a wait that could reap it too might meet an end that
 * came meanwhile, which would then not be told. */
static void take_stop(struct ff_supervisor *s, pid_t pid)
{
	siginfo_t info = { 0 };
	int status;

	if (waitid(P_PID, (id_t)pid, &info,
			WSTOPPED | WCONTINUED | WNOHANG | __WALL) < 0 ||
		!info.si_pid)
		return;
	if (info.si_code == CLD_CONTINUED) {
		if (pid == s->command && s->front >= 0)
			ff_launch_wake(s->front);
		return;
	}
	status = info.si_status << 8 | 0x7f; /* as waitpid has it */
	if (!ff_release_straggler(pid, status) && pid == s->command &&
		!(status >> 16))
		tell_front(s, FF_NEWS_STOPPED, info.si_status);
}

/* Children, adopted ones too, and tracees that stopped too late. */
void ff_reap(struct ff_supervisor *s)
{
	for (;;) {
		siginfo_t info = { 0 };
		pid_t pid;

		if (waitid(P_ALL, 0, &info,
				WEXITED | WSTOPPED | WCONTINUED | WNOHANG |
					WNOWAIT | __WALL) < 0 || !info.si_pid)
			return;
		pid = info.si_pid;
		if (info.si_code != CLD_EXITED && info.si_code != CLD_KILLED &&
			info.si_code != CLD_DUMPED) {
			take_stop(s, pid);
			continue;
		}
		if (pid == s->command)
			tell_end(s, &info);
		if (waitpid(pid, NULL, WNOHANG | __WALL) <= 0)
			return;
		ff_policy_forget(&s->policy, pid);
		ff_crossings_forget(&s->crossings, pid);
		ff_futexes_forget(&s->futexes, pid);
		if (pid == s->command)
			command_reaped(s);
	}
}

/* Those that end an attach, unless we were started to ignore it (nohup): one that
 * is ignored and blocked is still to be read. */
static bool is_end(uint32_t sig)
{
	struct sigaction action;

	return (sig == SIGINT || sig == SIGTERM || sig == SIGHUP ||
		sig == SIGQUIT) && sigaction((int)sig, NULL, &action) == 0 &&
		action.sa_handler != SIG_IGN;
}

void ff_reap_signals(struct ff_supervisor *s, int signals)
{
	struct signalfd_siginfo info;
	bool is_asked = false;

	while (read(signals, &info, sizeof(info)) > 0) {
		if (s->attachment && is_end(info.ssi_signo))
			s->attachment->signal = (int)info.ssi_signo;
		is_asked |= info.ssi_signo == SIGUSR1 && s->tells_waits;
		/* That one too may have been sent to the whole group. */
		if (info.ssi_signo != SIGCHLD &&
			(info.ssi_code <= 0 || info.ssi_signo == SIGHUP))
			tell_front(s, FF_NEWS_SIGNAL, (int)info.ssi_signo);
	}
	/* Not now: until it is done the next signal would not be told of, and
	 * the front waits but a moment for word of one. */
	if (is_asked)
		s->tell_ns = ff_now_ns() + TELL_NS;
}
