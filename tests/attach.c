/* SPDX-License-Identifier: MIT */
/*
 * fenceferry attach comes and goes, and clients notice nothing.
 */
#include "attach.h"
#include "process.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void start(struct e2e_run *client, const char *pause)
{
	client->setting = COEXIST_SETTING;
	e2e_start(client);
	if (pause)
		e2e_await(client, pause);
}

/* As an ordinary user too, in the middle of 10,000 rounds. */
E2E_TEST(attach, loses_no_round_however_it_ends, FF_TEST_XORG_FENCES)
{
	static const int signals[] = { SIGTERM, SIGKILL, SIGHUP, SIGKILL };
	struct e2e_run client = { .command = { e2e_client("fence-client"),
		"--pause", "--rounds=10000", "--threads=64" } };
	struct attach attach;

	e2e_need_attach();
	start(&client, "pause: start");
	attach_to(&attach, client.pid, "-v");
	e2e_go_on(&client);
	e2e_await(&client, "pause: middle");
	attach_end(&attach, SIGINT);
	e2e_check(&attach.run, e2e_count(&attach.run, "crossing", "action",
		"swapped") == 1 && e2e_count(&attach.run, "attach", "reason",
		"new filter") == 1, "the fence was swapped");
	e2e_check(&attach.run, e2e_number(e2e_event(&attach.run, "attach", 0),
		"threads") == 65, "the threads are counted");
	e2e_check(&attach.run, attach_keeper(client.pid), "a keeper stays");
	e2e_go_on(&client);
	for (size_t i = 0; i < 4; i++) {
		attach_to(&attach, client.pid, NULL);
		e2e_check(&attach.run, strstr(attach.run.errors,
			"fences that were there before, and are left alone: "
			"mappings 1"), "the fence is found");
		usleep(20000);
		attach_end(&attach, signals[i]);
		e2e_check(&attach.run, e2e_count(&attach.run, "found",
			"reason", "swapped by an earlier attach or run") == 1,
			"the log has it");
	}
	attach_to(&attach, client.pid, NULL);
	e2e_await(&client, "pause: end");
	e2e_go_on(&client);
	attach_finish_client(&client);
	attach_finish(&attach);
	e2e_check(&client, strstr(client.output, "rounds: 10000,") &&
		strstr(client.output, "threads: 64, none disturbed\n"),
		"no round was lost, no thread disturbed");
}

/* What is not watched works, too: by the keeper's grace. */
E2E_TEST(attach, leaves_a_client_that_makes_fences, FF_TEST_XORG_FENCES)
{
	struct e2e_run client = { .command = { e2e_client("steps"),
		"pause=one", "fence=20", "memfd=5", "pause=two", "fence=20",
		"memfd=5", "pause=three", "fence=20", "memfd=5" } };
	struct coexist_strace strace;
	struct attach attach;

	e2e_need_attach();
	start(&client, "pause: one");
	/* The filter has more than that wants, for the attaches to come. */
	attach_to(&attach, client.pid, "--engine=off");
	e2e_go_on(&client);
	e2e_await(&client, "pause: two");
	attach_end(&attach, SIGINT);
	e2e_check(&attach.run, e2e_count(&attach.run, "crossing", "action",
		"left") == 25, "nothing is swapped, but all is seen");
	coexist_attach(&strace, client.pid, "strace");
	e2e_check(&strace.run, strace.begun, "strace can attach");
	coexist_detach(&strace, NULL);
	attach_to(&attach, client.pid, NULL);
	e2e_go_on(&client);
	e2e_await(&client, "pause: three");
	attach_end(&attach, SIGTERM);
	e2e_check(&attach.run, e2e_count(&attach.run, "swap", "engine",
		"notify") == 20 && e2e_count(&attach.run, "swap", "engine",
		"ptrace") == 5, "all are swapped while it is attached");
	e2e_go_on(&client);
	attach_finish_client(&client);
}

/* Two that ran already, one that is started later, and one that is left. */
E2E_TEST(attach, watches_children_and_daemons, FF_TEST_XORG_FENCES)
{
	struct e2e_run client = { .command = { "/bin/sh", "-c",
		"exec 3<&0; (\"$0\" pause=child fence=5 <&3 && "
		"\"$0\" fence=2 fork fence=1) & read line <&3; "
		"\"$0\" fence=3 daemon fence=4 || exit 1; wait; exit 7",
		e2e_client("steps") } };
	struct attach attach;

	e2e_need_attach();
	start(&client, "pause: child");
	attach_to(&attach, client.pid, NULL);
	e2e_go_on(&client);
	e2e_go_on(&client);
	e2e_finish_beside(&client);
	e2e_check(&client, e2e_exited(&client, 7), "its own status");
	attach_finish(&attach);
	e2e_check(&attach.run, e2e_number(e2e_event(&attach.run, "attach", 0),
		"processes") == 3, "the shell, its copy, and the client");
	e2e_check(&attach.run, e2e_count(&attach.run, "crossing", "action",
		"swapped") == 15, "all fences were swapped");
	attach_await_no_keeper(&client, client.pid);
}

/* By a second attach too, which finds it beside those that have our filter. */
E2E_TEST(attach, leaves_out_who_may_be_killed, FF_TEST_XORG_FENCES)
{
	struct e2e_run client = { .command = { "/bin/sh", "-c",
		"mkfifo \"$HOME/f\"; "
		"\"$0\" kill=mremap,seccomp pause=child fence=5 <\"$HOME/f\" & "
		"exec 4>\"$HOME/f\"; read line; \"$0\" memfd=3; echo first; "
		"read line; \"$0\" memfd=3; echo >&4; wait $! && echo OK",
		e2e_client("steps") } };
	struct attach attach;

	e2e_need_attach();
	start(&client, "pause: child");
	for (int i = 0; i < 2; i++) {
		attach_to(&attach, client.pid, NULL);
		e2e_check(&attach.run, strstr(attach.run.errors,
			"processes 1, threads 1 ") && strstr(attach.run.errors,
			"engine none: left out: pid "), "it says so");
		e2e_go_on(&client);
		if (i == 0) {
			e2e_await(&client, "first\n");
			attach_end(&attach, SIGINT);
		}
	}
	attach_finish_client(&client);
	attach_finish(&attach);
	e2e_check(&attach.run, e2e_count(&attach.run, "engine", "reason",
		"left out: ") == 1 && e2e_count(&attach.run, "crossing",
		"action", "swapped") == 3, "the others are served");
}

/* Whatever they install while nobody but the keeper is there. */
E2E_TEST(attach, again_kills_nobody_by_new_filters, FF_TEST_XORG_FENCES)
{
	struct e2e_run client = { .command = { e2e_client("steps"),
		"pause=one", "kill=mremap", "pause=two", "memfd=2",
		"fence=2" } };
	struct attach attach;

	e2e_need_attach();
	start(&client, "pause: one");
	attach_to(&attach, client.pid, NULL);
	attach_end(&attach, SIGINT);
	e2e_go_on(&client);
	e2e_await(&client, "pause: two");
	attach_to(&attach, client.pid, NULL);
	e2e_go_on(&client);
	attach_finish_client(&client);
	attach_finish(&attach);
	e2e_check(&attach.run, e2e_count(&attach.run, "crossing", "reason",
		"under a seccomp filter of its own") == 2 &&
		e2e_count(&attach.run, "swap", "engine", "notify") == 2,
		"no ptrace, but notify");
}

/* One that was stopped stays stopped. */
E2E_TEST(attach, leaves_one_stopped_that_was, FF_TEST_XORG_FENCES)
{
	struct e2e_run client = { .command = { e2e_client("steps"),
		"pause=one", "fence=5" } };
	struct attach attach;

	e2e_need_attach();
	start(&client, "pause: one");
	kill(client.pid, SIGSTOP);
	while (!ff_process_is_stopped(client.pid))
		usleep(1000);
	attach_to(&attach, client.pid, NULL);
	e2e_go_on(&client);
	usleep(20000);
	e2e_check(&client, ff_process_is_stopped(client.pid), "it is stopped");
	kill(client.pid, SIGCONT);
	attach_finish_client(&client);
	attach_finish(&attach);
	e2e_check(&attach.run, e2e_count(&attach.run, "crossing", "action",
		"swapped") == 5, "it goes on, and is watched");
}

/* As after nohup, or in the background of a script. */
E2E_TEST(attach, is_not_ended_by_what_it_is_to_ignore, FF_TEST_XVFB)
{
	struct e2e_run client = { .command = { "/bin/sh", "-c",
		"echo ready; read line; echo OK" } };
	struct attach attach;

	e2e_need_attach();
	start(&client, "ready");
	signal(SIGHUP, SIG_IGN);
	attach_to(&attach, client.pid, NULL);
	signal(SIGHUP, SIG_DFL);
	kill(attach.run.pid, SIGHUP);
	usleep(50000);
	e2e_check(&attach.run, !e2e_has_ended(&attach.run), "it lives");
	attach_end(&attach, SIGTERM);
	e2e_go_on(&client);
	attach_finish_client(&client);
}

/* Who asks for it has asked for it, though it is made a moment later. */
E2E_TEST(attach, prints_the_table_before_it_ends, FF_TEST_XVFB)
{
	struct e2e_run client = { .command = { "/bin/sh", "-c",
		"echo ready; read line; echo OK" } };
	struct attach attach;

	e2e_need_attach();
	start(&client, "ready");
	attach_to(&attach, client.pid, "--trace-fences");
	kill(attach.run.pid, SIGUSR1);
	attach_end(&attach, SIGINT);
	e2e_check(&attach.run, strstr(attach.run.errors,
		"nobody waits on a fence\n"), "it has told who waits");
	e2e_go_on(&client);
	attach_finish_client(&client);
}

/* It may wait for the names of call stacks; the client does not. */
E2E_TEST(attach, lets_go_before_it_waits_for_names, FF_TEST_XORG_FENCES)
{
	struct e2e_run client = { .command = { e2e_client("steps"),
		"pause=one", "fence=1", "pause=two", "fence=1", "pause=three" } };
	struct attach attach;
	pid_t names;

	e2e_need_attach();
	start(&client, "pause: one");
	attach_to(&attach, client.pid, "--backtrace");
	names = e2e_child_of(attach.run.pid);
	kill(names, SIGSTOP);
	e2e_go_on(&client);
	e2e_await(&client, "pause: two");
	kill(attach.run.pid, SIGINT);
	usleep(100000);
	e2e_go_on(&client);
	e2e_await(&client, "pause: three");
	e2e_check(&attach.run, !e2e_has_ended(&attach.run), "it waits");
	kill(names, SIGCONT);
	attach_end(&attach, SIGINT);
	e2e_go_on(&client);
	attach_finish_client(&client);
}

/* The keeper has nothing to look for in what was left well. */
E2E_TEST(attach, leaves_many_processes_at_once, FF_TEST_XORG_FENCES)
{
	struct e2e_run client = { .command = { "/bin/sh", "-c", "i=0; "
		"while [ $i -lt 60 ]; do i=$((i+1)); sleep 100 <&- & p=\"$p $!\"; "
		"done; \"$0\" pause=one fence=5 pause=two fence=1; kill $p; "
		"wait; echo OK", e2e_client("steps") } };
	struct attach attach = { 0 };
	long long begin_ms;

	e2e_need_attach();
	start(&client, "pause: one");
	attach_to(&attach, client.pid, NULL);
	attach_end(&attach, SIGINT);
	begin_ms = e2e_now_ms();
	e2e_go_on(&client);
	e2e_await(&client, "pause: two");
	e2e_check(&client, e2e_now_ms() - begin_ms < 2000, "it need not wait");
	e2e_go_on(&client);
	attach_finish_client(&client);
}

/* Interrupted again and again, it takes nobody's bells for calls to let go on. */
E2E_TEST(attach, of_many_processes_misses_no_bell, FF_TEST_XVFB)
{
	struct e2e_run client = { .command = { "/bin/sh", "-c", "i=0; "
		"while [ $i -lt 100 ]; do i=$((i+1)); sleep 100 <&- & p=\"$p $!\"; done; "
		"echo ready; read line; kill $p; wait; echo OK" } };
	struct attach attach = { 0 };

	e2e_need_attach();
	start(&client, "ready");
	attach_begin(&attach, client.pid);
	while (!attach_keeper(client.pid) && !e2e_has_ended(&attach.run))
		usleep(1000);
	for (e2e_look(&attach.run); !e2e_has_ended(&attach.run) &&
		!strstr(attach.run.errors, "attached to"); e2e_look(&attach.run))
		for (int i = 0; i < 20; i++) {
			kill(attach.run.pid, SIGALRM);
			usleep(100);
		}
	attach_await_text(&attach, "processes 101, threads 101 ");
	attach_end(&attach, SIGINT);
	e2e_check(&attach.run, !e2e_count(&attach.run, "engine", "reason",
		"left out: "), "nobody is left out");
	e2e_go_on(&client);
	attach_finish_client(&client);
}

E2E_TEST(attach, gets_another_keeper_if_one_dies, FF_TEST_XORG_FENCES)
{
	struct e2e_run client = { .command = { e2e_client("steps"),
		"pause=one", "fence=5", "pause=two", "fence=5" } };
	struct attach attach;
	pid_t keeper;

	e2e_need_attach();
	start(&client, "pause: one");
	attach_to(&attach, client.pid, NULL);
	keeper = attach_keeper(client.pid);
	e2e_check(&attach.run, keeper, "there is a keeper");
	/* What ends others ends it not. */
	kill(keeper, SIGTERM);
	kill(keeper, SIGHUP);
	kill(keeper, SIGINT);
	usleep(20000);
	e2e_check(&attach.run, attach_keeper(client.pid) == keeper,
		"it lives");
	kill(keeper, SIGKILL);
	attach_await_text(&attach, "the keeper died: pid ");
	e2e_check(&attach.run, attach_keeper(client.pid), "there is another");
	attach_end(&attach, SIGINT);
	e2e_go_on(&client);
	e2e_await(&client, "pause: two");
	attach_to(&attach, client.pid, NULL);
	e2e_go_on(&client);
	attach_finish_client(&client);
	attach_finish(&attach);
	e2e_check(&attach.run, e2e_count(&attach.run, "crossing", "action",
		"swapped") == 5, "attach works again");
}
