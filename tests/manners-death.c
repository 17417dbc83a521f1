/* SPDX-License-Identifier: MIT */
/*
 * Who outlives whom: daemons the command, the command the supervisor and the
 * front; and that in the end nothing is left, after one run or hundreds.
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

static bool is_alive(pid_t pid)
{
	char state = state_of(pid);

	return state && state != 'Z' && state != 'X';
}

/* The daemon that the victim "daemon" left. */
struct daemon {
	struct place place;
	pid_t pid;
};

static void find_daemon(struct job *job, struct daemon *daemon)
{
	char path[96], text[256];

	snprintf(path, sizeof(path), "%s/pid", daemon->place.path);
	wait_for_file(job, path, text);
	daemon->pid = atoi(text);
	check(job, is_alive(daemon->pid), "the daemon lives");
}

/* It sends now, and ends: then nobody is left. */
static void end_daemon(struct job *job, struct daemon *daemon)
{
	char path[96], text[256];

	check(job, is_alive(daemon->pid), "the daemon still lives");
	snprintf(path, sizeof(path), "%s/go", daemon->place.path);
	close(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
	snprintf(path, sizeof(path), "%s/result", daemon->place.path);
	wait_for_file(job, path, text);
	check(job, !strcmp(text, "0\n"), "its sendmsg works");
	job_end(job);
	remove_place(&daemon->place);
}

/* With these options of ours. */
static void leave_daemon(bool user, const char *option)
{
	struct daemon daemon = {.place = make_place("/tmp", user)};
	struct job job = {.user = user};

	job_start(&job, (const char *const[]){fenceferry(), "run", option,
		manners_victim(), "daemon", daemon.place.path, NULL});
	/* Its streams end although the daemon lives, and so does it. */
	job_wait(&job);
	check(&job, WIFEXITED(job.status) && WEXITSTATUS(job.status) == 3,
		"the command's status comes at once");
	find_daemon(&job, &daemon);
	end_daemon(&job, &daemon);
}

BOTH(daemons, outlive_the_command_and_hold_nobody_up)
{
	leave_daemon(user, "--quiet");
}

BOTH(daemons, outlive_a_log_on_standard_error)
{
	leave_daemon(user, "--log=-");
}

BOTH(daemons, outlive_a_command_that_logs_nothing)
{
	leave_daemon(user, "--engine=off");
}

BOTH(daemons, of_a_killed_supervisor_go_on_sending)
{
	struct daemon daemon = {.place = make_place("/tmp", user)};
	struct job job = {.user = user};

	job_run(&job, "sh", "-c", "\"$1\" daemon \"$2\"; echo on; read x; "
		"exit 6", "sh", manners_victim(), daemon.place.path);
	job_expect(&job, "on\n");
	find_daemon(&job, &daemon);
	kill(supervisor_of(&job), SIGKILL);
	job_expect_error(&job, "fenceferry: the supervisor died: ");
	job_wait(&job);
	check(&job, WIFEXITED(job.status) && WEXITSTATUS(job.status) == 6,
		"the command's status comes at once");
	end_daemon(&job, &daemon);
}

BOTH(daemons, are_not_counted_among_background_jobs_of_a_script)
{
	struct job job = {.user = user};
	long long start = now_ms();

	job_run(&job, "sh", "-c", "sleep 20 <&- >&- 2>&- & exit 0");
	job_wait(&job);
	check(&job, now_ms() - start < 15000, "it does not wait for it");
	check(&job, WIFEXITED(job.status) && !WEXITSTATUS(job.status),
		"the status is the script's");
	/* It is our grandchild, by way of the supervisor that stayed. */
	kill(child_of(&job, child_of(&job, getpid())), SIGTERM);
	job_end(&job);
}

/* Death. */

BOTH(death, of_the_supervisor_leaves_the_command_alone)
{
	struct job job = {.user = user};

	job_run(&job, manners_victim(), "send");
	job_expect_sent(&job);
	kill(supervisor_of(&job), SIGKILL);
	for (int i = 0; i < 20; i++)
		job_expect_sent(&job);
	job_expect_error(&job, "fenceferry: the supervisor died: the command "
		"goes on, without swaps\n");
	job_end_with_status(&job, 5);
}

/* In the middle of a storm of calls that wait for its answer. */
BOTH(death, of_the_supervisor_answers_calls_under_way)
{
	for (int i = 0; i < 10; i++) {
		struct job job = {.user = user};

		job_run(&job, "sh", "-c", "for i in 1 2 3 4; do yes | head -2000"
			" | \"$1\" send >/dev/null & done; echo on; wait; "
			"echo done", "sh", manners_victim());
		job_expect(&job, "on\n");
		usleep((unsigned int)i * 3000);
		kill(supervisor_of(&job), SIGKILL);
		job_expect(&job, "done\n");
		job_end_with_status(&job, 0);
	}
}

BOTH(death, of_the_supervisor_leaves_signals_and_job_control)
{
	struct job job = {.user = user};
	pid_t command;
	int status;

	job_run(&job, manners_victim(), "send");
	job_expect_sent(&job);
	command = command_of(&job);
	kill(supervisor_of(&job), SIGKILL);
	job_expect_error(&job, "died");
	kill(job.pid, SIGTSTP);
	wait_for_state(&job, command, 'T');
	wait_for_state(&job, job.pid, 'T');
	check(&job, waitpid(job.pid, &status, WUNTRACED) == job.pid &&
			WIFSTOPPED(status) && WSTOPSIG(status) == SIGTSTP,
		"it stops with the command");
	kill(job.pid, SIGCONT);
	job_expect_sent(&job);
	kill(job.pid, SIGTERM);
	job_end_by_signal(&job, SIGTERM);
}

/* Its message must not become a SIGPIPE that is handed on. */
BOTH(death, of_the_supervisor_with_nobody_to_tell)
{
	struct job job = {.user = user};

	job_run(&job, manners_victim(), "send");
	job_expect_sent(&job);
	close(job.err);
	job.err = -1;
	kill(supervisor_of(&job), SIGKILL);
	for (int i = 0; i < 20; i++)
		job_expect_sent(&job);
	job_end_with_status(&job, 5);
}

/* At any time of its life: there is an end, and it is said what happened. */
BOTH(death, of_the_supervisor_at_any_time)
{
	for (int i = 0; i < 80; i++) {
		struct job job = {.user = user};
		bool ran;

		job_run(&job, "sh", "-c", "echo ran; read x; exit 5");
		kill(supervisor_of(&job), SIGKILL);
		if (i % 2)
			usleep((unsigned int)i * 20);
		job_wait(&job);
		ran = job.output.data && !strcmp(job.output.data, "ran\n");
		check(&job, WIFEXITED(job.status) &&
				WEXITSTATUS(job.status) == (ran ? 5 : 125),
			"it ran or it did not");
		check(&job, ran || job.errors.length, "a failure is said");
		job_end(&job);
	}
}

/* strace delays the supervisor's waits: there is time between one that looks and
 * one that takes. */
BOTH(death, of_a_command_that_has_just_gone_on_is_seen)
{
	enum { DELAY_MS = 300 };
	struct job job = {.user = user}, tracer = {0};
	char pid[16];
	pid_t command;

	job_run(&job, "sh", "-c", "echo ready; exec sleep 60");
	job_expect(&job, "ready\n");
	command = command_of(&job);
	snprintf(pid, sizeof(pid), "%d", supervisor_of(&job));
	job_run_bare(&tracer, "strace", "-o", "/dev/null", "-e",
		"inject=waitid,wait4:delay_enter=300000", "-p", pid);
	job_expect_error(&tracer, " attached\n");
	kill(command, SIGSTOP);
	wait_for_state(&job, job.pid, 'T');
	sleep_ms(4 * DELAY_MS); /* it has looked for more */
	kill(command, SIGCONT);
	sleep_ms(DELAY_MS + DELAY_MS / 2);
	kill(command, SIGKILL);
	job_wait(&job);
	job_wait(&tracer);
	job_end(&tracer);
	job_end_by_signal(&job, SIGKILL);
}

BOTH(death, of_the_front_leaves_the_command_alone)
{
	struct job job = {.user = user};
	pid_t supervisor;

	job_run(&job, manners_victim(), "send");
	job_expect_sent(&job);
	supervisor = supervisor_of(&job);
	kill(job.pid, SIGKILL);
	wait_for_state(&job, job.pid, 'Z');
	for (int i = 0; i < 20; i++)
		job_expect_sent(&job);
	check(&job, is_alive(supervisor), "the supervisor goes on");
	job_wait(&job);
	check(&job, WIFSIGNALED(job.status) && WTERMSIG(job.status) == SIGKILL,
		"its status is its own");
	check(&job, !job.errors.length, "nothing is said");
	job_end(&job);
}

/* Many. */

BOTH(stress, three_hundred_one_after_the_other)
{
	for (int i = 0; i < 300; i++) {
		struct job job = {.user = user};

		job_run(&job, "true");
		job_end_with_status(&job, 0);
	}
}

BOTH(stress, sixteen_at_once)
{
	for (int round = 0; round < 4; round++) {
		struct job jobs[16];

		for (int i = 0; i < 16; i++) {
			jobs[i] = (struct job){.user = user};
			job_run(&jobs[i], manners_victim(), "send");
		}
		for (int i = 0; i < 16; i++)
			job_expect_sent(&jobs[i]);
		for (int i = 0; i < 16; i++) {
			job_wait(&jobs[i]);
			check(&jobs[i], WIFEXITED(jobs[i].status) &&
					WEXITSTATUS(jobs[i].status) == 5,
				"each has its status");
		}
		for (int i = 0; i < 16; i++)
			job_end(&jobs[i]);
	}
}

/* The command's children are more than one message queue can hold. */
BOTH(stress, two_hundred_children_of_one_command)
{
	struct job job = {.user = user};

	job_run(&job, "sh", "-c", "for i in $(seq 200); do echo a | \"$1\" send"
		" & done; wait; exit 8", "sh", manners_victim());
	job_wait(&job);
	check(&job, job_count(&job, "a: sent\n") == 200, "all have sent");
	job_end_with_status(&job, 8);
}
