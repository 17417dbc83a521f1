/* SPDX-License-Identifier: MIT */
/*
 * Signals: what is sent to fenceferry, or to its process group, reaches the
 * command once; and it stops and goes on as the command does.
 */
#define _GNU_SOURCE 1
#include "manners.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

/* To be blocked by the command, so that none of them stops or ends it. */
static const int various[] = {SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2,
	SIGPIPE, SIGTERM, SIGCONT, SIGTSTP, SIGTTIN, SIGTTOU, SIGURG, SIGXCPU,
	SIGVTALRM, SIGPROF, SIGWINCH, SIGIO, SIGPWR};
/* Whoever is in the group and does not expect them dies of these. */
static const int faults[] = {SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV,
	SIGSYS, SIGALRM};

enum { VARIOUS = sizeof(various) / sizeof(*various),
	FAULTS = sizeof(faults) / sizeof(*faults), QUEUED = 50 };

static void start_counting(struct job *job)
{
	job_run(job, manners_victim(), "count");
	job_expect(job, "ready\n");
}

static void expect_signal(struct job *job, int sig, int value)
{
	char line[32];

	snprintf(line, sizeof(line), "<%d:%d>\n", sig, value);
	job_expect(job, line);
}

/* One last signal: then it must have counted so many before. */
static void expect_count(struct job *job, size_t count)
{
	const union sigval value = {.sival_int = 4711};

	check(job, !sigqueue(job->pid, SIGRTMAX, value), "it runs");
	expect_signal(job, SIGRTMAX, 4711);
	job_expect(job, "counted\n");
	check(job, job_count(job, "<") == count + 1, "none came twice");
	job_end_with_status(job, 0);
}

BOTH(signals, sent_to_fenceferry_reach_the_command_once)
{
	struct job job = {.user = user};

	start_counting(&job);
	for (size_t i = 0; i < VARIOUS; i++) {
		kill(job.pid, various[i]);
		expect_signal(&job, various[i], 0);
	}
	for (size_t i = 0; i < FAULTS; i++) {
		kill(job.pid, faults[i]);
		expect_signal(&job, faults[i], 0);
	}
	expect_count(&job, VARIOUS + FAULTS);
}

BOTH(signals, sent_to_the_process_group_reach_the_command_once)
{
	struct job job = {.user = user};

	start_counting(&job);
	for (size_t i = 0; i < VARIOUS; i++) {
		kill(-job.pid, various[i]);
		expect_signal(&job, various[i], 0);
	}
	expect_count(&job, VARIOUS);
}

/* The one by which a supervisor prints who waits is the command's, too. */
BOTH(signals, that_the_supervisor_obeys_reach_the_command_once)
{
	struct job job = {.user = user};

	job_start(&job, (const char *const[]){fenceferry(), "run",
		"--trace-fences", "--", manners_victim(), "count", NULL});
	job_expect(&job, "ready\n");
	for (int i = 0; i < QUEUED; i++) {
		kill(-job.pid, SIGUSR1);
		expect_signal(&job, SIGUSR1, 0);
	}
	expect_count(&job, QUEUED);
}

/* As fast as can be: none may be taken for another. */
BOTH(signals, sent_to_both_at_once_reach_the_command_once_each)
{
	struct job job = {.user = user};

	start_counting(&job);
	for (int i = 0; i < QUEUED; i++) {
		kill(-job.pid, SIGRTMIN + 1);
		kill(job.pid, SIGRTMIN + 2);
		kill(-job.pid, SIGRTMIN + 3);
	}
	for (int i = 0; i < QUEUED; i++)
		expect_signal(&job, SIGRTMIN + 3, 0);
	expect_count(&job, 3 * QUEUED);
}

BOTH(signals, keep_their_value_and_order)
{
	struct job job = {.user = user};

	start_counting(&job);
	for (int i = 0; i < QUEUED; i++)
		check(&job, !sigqueue(job.pid, SIGRTMIN + 1,
				(union sigval){.sival_int = 1000 + i}),
			"it is queued");
	for (int i = 0; i < QUEUED; i++)
		expect_signal(&job, SIGRTMIN + 1, 1000 + i);
	expect_count(&job, QUEUED);
}

/* A shell that is not its group's leader makes itself one. */
BOTH(signals, sent_to_the_group_reach_a_command_that_left_it)
{
	struct job job = {.user = user};

	job_run(&job, "setsid", manners_victim(), "count");
	job_expect(&job, "ready\n");
	kill(-job.pid, SIGUSR1);
	expect_signal(&job, SIGUSR1, 0);
	expect_count(&job, 1);
}

BOTH(signals, that_end_the_command_end_fenceferry)
{
	static const int ends[] = {SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGABRT,
		SIGALRM};

	for (size_t i = 0; i < 2 * sizeof(ends) / sizeof(*ends); i++) {
		struct job job = {.user = user};

		job_run(&job, "sh", "-c", "ulimit -c 0; echo on; exec sleep 60");
		job_expect(&job, "on\n");
		/* To it alone, and to the group, where all may end. */
		kill(i % 2 ? -job.pid : job.pid, ends[i / 2]);
		job_end_by_signal(&job, ends[i / 2]);
	}
}

/* However early: it is the command's. */
BOTH(signals, before_the_command_runs_are_not_lost)
{
	for (int i = 0; i < 120; i++) {
		struct job job = {.user = user};

		job_run(&job, "sleep", "60");
		usleep((unsigned int)(i / 2) * 100);
		kill(i % 2 ? -job.pid : job.pid, SIGTERM);
		job_end_by_signal(&job, SIGTERM);
	}
}

static void set_alarm(void *data)
{
	(void)data;
	alarm(1);
}

BOTH(signals, of_an_alarm_set_before_reach_the_command)
{
	struct job job = {.user = user, .setup = set_alarm};

	job_run(&job, "sleep", "60");
	job_end_by_signal(&job, SIGALRM);
}

/* Job control without a terminal. */

static void expect_stop(struct job *job, int sig)
{
	const long long deadline = now_ms() + PATIENCE_MS;
	int status;
	pid_t pid;

	while (!(pid = waitpid(job->pid, &status,
			WUNTRACED | WNOHANG)) && now_ms() < deadline)
		sleep_ms(2);
	check(job, pid == job->pid && WIFSTOPPED(status),
		"fenceferry stops with the command");
	check(job, WSTOPSIG(status) == sig, "it stops by the same signal");
}

BOTH(stops, with_the_command_and_goes_on_with_it)
{
	static const int signals[] = {SIGTSTP, SIGTTIN, SIGTTOU};
	struct job job = {.user = user};
	pid_t command;

	job_run(&job, manners_victim(), "send");
	job_expect_sent(&job);
	command = command_of(&job);
	for (size_t i = 0; i < 9; i++) {
		/* To fenceferry, to the group, to the command. */
		const pid_t to = (const pid_t[]){job.pid, -job.pid,
			command}[i % 3];

		kill(to, signals[i / 3]);
		expect_stop(&job, signals[i / 3]);
		wait_for_state(&job, command, 'T');
		kill(to, SIGCONT);
		job_expect_sent(&job);
		wait_for_state(&job, job.pid, 'S');
	}
	kill(command, SIGSTOP);
	expect_stop(&job, SIGSTOP);
	kill(job.pid, SIGCONT);
	job_expect_sent(&job);
	job_end_with_status(&job, 5);
}

/* SIGSTOP stops the supervisor too, which nobody else would wake. */
BOTH(stops, with_the_group_and_goes_on_alone)
{
	struct job job = {.user = user};
	pid_t command, supervisor;

	job_run(&job, manners_victim(), "send");
	job_expect_sent(&job);
	command = command_of(&job);
	supervisor = supervisor_of(&job);
	for (int i = 0; i < 10; i++) {
		kill(-job.pid, SIGSTOP);
		expect_stop(&job, SIGSTOP);
		wait_for_state(&job, command, 'T');
		wait_for_state(&job, supervisor, 'T');
		kill(i % 2 ? job.pid : -job.pid, SIGCONT);
		job_expect_sent(&job);
	}
	job_end_with_status(&job, 5);
}

/* However close together, nobody stays stopped. */
BOTH(stops, and_goes_on_at_once)
{
	struct job job = {.user = user};
	unsigned int seed = 1;

	job_run(&job, manners_victim(), "send");
	job_expect_sent(&job);
	for (int i = 0; i < 300; i++) {
		const pid_t to = i % 2 ? -job.pid : command_of(&job);
		int status;

		kill(to, SIGTSTP);
		seed = seed * 1103515245 + 12345;
		usleep((seed >> 16) % 400);
		kill(to, SIGCONT);
		if (i % 10)
			continue;
		job_expect_sent(&job);
		wait_for_state(&job, job.pid, 'S');
		while (waitpid(job.pid, &status, WUNTRACED | WNOHANG) > 0)
			;
	}
	job_expect_sent(&job);
	wait_for_state(&job, job.pid, 'S');
	job_end_with_status(&job, 5);
}

/* The other way: what stops it again is not undone by what came before. */
static void stop_again(bool user, int sig)
{
	struct job job = {.user = user};
	unsigned int seed = 1;
	pid_t command;

	job_run(&job, manners_victim(), "send");
	job_expect_sent(&job);
	command = command_of(&job);
	kill(-job.pid, sig);
	for (int i = 0; i < 300; i++) {
		wait_for_state(&job, command, 'T');
		wait_for_state(&job, job.pid, 'T');
		kill(-job.pid, SIGCONT);
		seed = seed * 1103515245 + 12345;
		usleep((seed >> 16) % 400);
		kill(-job.pid, sig);
		sleep_ms(3);
	}
	wait_for_state(&job, job.pid, 'T');
	sleep_ms(20);
	check(&job, state_of(command) == 'T', "it stays stopped");
	kill(-job.pid, SIGCONT);
	job_expect_sent(&job);
	job_end_with_status(&job, 5);
}

BOTH(stops, and_stops_again_at_once)
{
	stop_again(user, SIGTSTP);
}

BOTH(stops, and_is_stopped_again_at_once)
{
	stop_again(user, SIGSTOP);
}
