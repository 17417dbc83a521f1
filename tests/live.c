/* SPDX-License-Identifier: MIT */
/* Where does it hang? A client of several threads, with a fence that nobody
 * triggers; and report --live, SIGUSR1 and the log, which tell. */
#include "life.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { HANG_MS = 20000 };

/* A hanging client, and what is known of it. */
struct hang {
	struct e2e_run run;
	pid_t tid, pid, supervisor;
	char pid_text[16];
};

/* A number of /proc/PID/status. */
static pid_t status_number(pid_t pid, const char *key)
{
	char path[32], line[128];
	size_t length = strlen(key);
	pid_t number = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	file = fopen(path, "r");
	while (file && fgets(line, sizeof(line), file))
		if (!strncmp(line, key, length) && line[length] == ':')
			number = atoi(line + length + 1);
	if (file)
		fclose(file);
	return number;
}

/* It hangs for more than a second, and the log has it. */
static void start_hang(struct hang *hang, const char *engine,
	const char *option)
{
	long long deadline = e2e_now_ms() + HANG_MS;

	*hang = (struct hang){.run = {.wrapped = true,
		.options = {"--trace-fences", engine, option},
		.command = {e2e_client("hang-client"), "--rounds=5",
			"--release"}}};
	e2e_start(&hang->run);
	e2e_await(&hang->run, "worker: 5 rounds\n");
	hang->tid = atoi(strstr(hang->run.output, "thread ") + 7);
	hang->pid = status_number(hang->tid, "Tgid");
	hang->supervisor = status_number(hang->pid, "PPid");
	snprintf(hang->pid_text, sizeof(hang->pid_text), "%d", hang->pid);
	while (!e2e_logged(&hang->run, "\"ended\":null")) {
		e2e_check(&hang->run, e2e_now_ms() < deadline,
			"the log has who waits for more than a second");
		usleep(10000);
	}
}

/* The stack is the client's, by its own names, to the thread's start. */
static void check_stack(const struct e2e_run *run, json_t *frames)
{
	static const char *const names[] = {"wait_for_frame", "draw_frame",
		"render_thread"};
	size_t i, found = 0;
	bool has_start = false;
	json_t *frame;

	json_array_foreach(frames, i, frame) {
		const char *symbol = e2e_text(frame, "symbol");

		has_start |= found == 3 && strstr(symbol, "clone");
		if (found < 3 && !strcmp(symbol, names[found])) {
			e2e_check(run, strstr(e2e_text(frame, "file"),
				"hang-client.c") &&
				e2e_number(frame, "line") > 0,
				"its frames have a place in the source");
			found++;
		}
	}
	e2e_check(run, found == 3, "it is the way to the wait");
	e2e_check(run, has_start, "it is whole");
}

static void run_report(struct e2e_run *report, const char *format,
	const char *pid)
{
	*report = (struct e2e_run){.command = {e2e_fenceferry(), "report",
		"--live", format ? format : pid, format ? pid : NULL}};
	e2e_start(report);
	e2e_finish_beside(report);
}

/* What report --live tells of the hanging client, in JSON. */
static void check_report(const struct hang *hang, const char *pid,
	const char *fence, bool since_begin)
{
	struct e2e_run report;
	json_t *all, *waits, *wait;
	double waited_s;
	size_t i = 0;

	run_report(&report, "--json", pid);
	all = json_loads(report.output, 0, NULL);
	waits = json_object_get(all, "waits");
	/* Without a PID there may be others, of other tests. */
	e2e_check(&report, !pid || (e2e_exited(&report, 0) &&
		json_array_size(waits) == 1), "one thread waits");
	while ((wait = json_array_get(waits, i++)) &&
		e2e_number(wait, "tid") != hang->tid)
		;
	e2e_check(&report, e2e_number(wait, "tid") == hang->tid &&
		e2e_number(wait, "pid") == hang->pid &&
		!strcmp(e2e_text(wait, "comm"), "waiter"), "the waiter");
	e2e_check(&report, !strcmp(e2e_text(wait, "fence"), fence),
		"on the fence that the log names");
	e2e_check(&report, e2e_number(wait, "value") == -1, "untriggered");
	waited_s = life_real(wait, "waited_s");
	e2e_check(&report, waited_s < HANG_MS / 1000 &&
		(!since_begin || waited_s >= 0.99), "for so long");
	check_stack(&report, json_object_get(wait, "backtrace"));
	json_decref(all);
}

static void check_table(const struct hang *hang, const char *fence)
{
	struct e2e_run report;
	char row[128];

	snprintf(row, sizeof(row), "waiter[%d]", hang->tid);
	run_report(&report, NULL, hang->pid_text);
	e2e_check(&report, e2e_exited(&report, 0), "it can look");
	e2e_check(&report, strstr(report.output, "FENCE") == report.output &&
		strstr(report.output, fence) && strstr(report.output, row),
		"the table names them");
	e2e_check(&report, strstr(report.output, "#2  wait_for_frame+") &&
		strstr(report.output, "hang-client.c:"), "and the stack");
	/* The same by the thread's id. */
	snprintf(row, sizeof(row), "%d", hang->tid);
	run_report(&report, NULL, row);
	snprintf(row, sizeof(row), "hang-client[%d]", hang->pid);
	e2e_check(&report, strstr(report.output, row), "its process");
}

/* SIGUSR1 to the supervisor. */
static void check_signal(struct hang *hang, const char *fence, bool traced)
{
	long long deadline = e2e_now_ms() + HANG_MS;
	char row[64];

	snprintf(row, sizeof(row), "waiter[%d]", hang->tid);
	e2e_check(&hang->run, !kill(hang->supervisor, SIGUSR1), "it lives");
	do {
		e2e_check(&hang->run, e2e_now_ms() < deadline,
			"the supervisor prints the table");
		usleep(10000);
		e2e_look(&hang->run);
	} while (!strstr(hang->run.errors, row) ||
		!strstr(hang->run.errors, fence) ||
		(traced && !strstr(hang->run.errors, "wait_for_frame+")));
}

/* Where the fence was made. */
static void check_birth(const struct e2e_run *run, const char *fence)
{
	const char *wanted[] = {"make_fence", "draw_frame", "render_thread"};
	size_t found = 0, i;
	json_t *event, *frame;

	for (size_t at = 0; (event = e2e_event(run, "fence", at)); at++)
		if (!strcmp(e2e_text(event, "fence"), fence) &&
			!strcmp(e2e_text(event, "state"), "created"))
			break;
	json_array_foreach(json_object_get(event, "backtrace"), i, frame) {
		if (found < 3 && !strcmp(e2e_text(frame, "symbol"),
				wanted[found]))
			found++;
	}
	e2e_check(run, found == 3, "its making has the way there");
}

static void end_hang(struct hang *hang, const char *fence, bool traced)
{
	json_t *event, *last = NULL;
	unsigned int open = 0;

	e2e_go_on(&hang->run);
	e2e_finish(&hang->run);
	e2e_check(&hang->run, e2e_exited(&hang->run, 0) &&
		strstr(hang->run.output, "OK\n"), "the client is content");
	for (size_t i = 0; (event = e2e_event(&hang->run, "wait", i)); i++) {
		if (e2e_number(event, "tid") != hang->tid)
			continue;
		e2e_check(&hang->run, !strcmp(e2e_text(event, "fence"), fence)
			&& (!last || life_real(event, "begin") ==
				life_real(last, "begin")), "it is one wait");
		if (json_is_null(json_object_get(event, "ended")) && !open++ &&
			traced)
			check_stack(&hang->run, json_object_get(event,
				"backtrace"));
		last = event;
	}
	if (traced)
		check_birth(&hang->run, fence);
	e2e_check(&hang->run, open == 2, "told of after a second, and at "
		"the signal");
	e2e_check(&hang->run, !strcmp(e2e_text(last, "ended"), "triggered") &&
		!strcmp(e2e_text(last, "by"), "server") &&
		life_real(last, "waited_s") >= 1, "ended by the server");
}

/* The fence that the log says that it waits on, in static memory. */
static const char *hanging_fence(const struct hang *hang)
{
	static char fence[128];
	char path[PATH_MAX + 8], line[32768], *at;
	FILE *file;

	*fence = '\0';
	snprintf(path, sizeof(path), "%s/log", hang->run.files);
	file = fopen(path, "r");
	while (file && fgets(line, sizeof(line), file)) {
		at = strstr(line, "\"ended\":null") ? strstr(line,
			"\"fence\":\"") : NULL;
		if (at)
			sscanf(at + 9, "%127[^\"]", fence);
	}
	if (file)
		fclose(file);
	e2e_check(&hang->run, *fence, "the log names the fence");
	return fence;
}

static void run_hang(const char *engine, bool traced)
{
	struct hang hang;
	const char *fence;
	char front[16];

	start_hang(&hang, engine, traced ? "--backtrace" : NULL);
	fence = hanging_fence(&hang);
	/* Whom --backtrace has stopped, began to wait anew for the scheduler. */
	check_report(&hang, hang.pid_text, fence, !traced);
	snprintf(front, sizeof(front), "%d", hang.run.pid);
	check_report(&hang, front, fence, !traced);
	check_report(&hang, NULL, fence, !traced);
	check_table(&hang, fence);
	check_signal(&hang, fence, traced);
	end_hang(&hang, fence, traced);
}

E2E_TEST(live, names_fence_thread_stack_and_time, FF_TEST_XORG_FENCES)
{
	run_hang("--engine=auto", true);
	run_hang("--engine=off", false);
}

/* A client that hangs already, and was not watched. */
E2E_TEST(live, attaches_to_a_client_that_hangs, FF_TEST_XORG_FENCES)
{
	long long deadline = e2e_now_ms() + HANG_MS;
	struct e2e_run client = {.command = {e2e_client("hang-client"),
		"--rounds=5", "--release"}};
	char log[PATH_MAX + 32], shm_dir[PATH_MAX], pid[16];
	struct e2e_run attach = {.command = {e2e_fenceferry(), "attach",
		"--trace-fences", "--backtrace", log, shm_dir, pid}};
	unsigned int open = 0;
	json_t *event;

	e2e_start(&client);
	e2e_await(&client, "worker: 5 rounds\n");
	snprintf(log, sizeof(log), "--log=%s/attach-log", e2e_dir());
	snprintf(shm_dir, sizeof(shm_dir), "--shm-dir=%s", e2e_shm_dir());
	snprintf(pid, sizeof(pid), "%d", client.pid);
	e2e_start(&attach);
	do { /* the stack comes after the event */
		e2e_check(&attach, e2e_now_ms() < deadline, "the log has it");
		usleep(10000);
		json_decref(attach.log);
		attach.log = NULL;
		if (access(log + 6, R_OK) == 0)
			e2e_read_log(&attach, log + 6);
	} while (!attach.log || !e2e_event(&attach, "wait", 0));
	kill(attach.pid, SIGUSR1);
	do {
		e2e_check(&attach, e2e_now_ms() < deadline, "it tells");
		usleep(10000);
		e2e_look(&attach);
	} while (!strstr(attach.errors, "waiter[") ||
		!strstr(attach.errors, "wait_for_frame+"));
	e2e_go_on(&client);
	e2e_finish_beside(&client);
	e2e_check(&client, e2e_exited(&client, 0), "the client is content");
	e2e_finish_beside(&attach);
	e2e_check(&attach, e2e_exited(&attach, 0), "attach ends with it");
	json_decref(attach.log);
	e2e_read_log(&attach, log + 6);
	check_stack(&attach, json_object_get(e2e_event(&attach, "wait", 0),
		"backtrace"));
	for (size_t i = 0; (event = e2e_event(&attach, "wait", i)); i++)
		if (json_is_null(json_object_get(event, "ended")))
			open++;
		else
			e2e_check(&attach, !strcmp(e2e_text(event, "by"),
				"server") && !strcmp(e2e_text(event, "fence"),
				e2e_text(e2e_event(&attach, "found", 0),
				"fence")), "the server has ended it");
	e2e_check(&attach, open == 2, "told of after a second, and at the "
		"signal");
}

/* A client's end triggers its fences, for the server destroys them. That is no
 * end of its waits. */
static void check_gone(const struct e2e_run *run, const char *fence)
{
	json_t *event, *last = NULL;

	for (size_t i = 0; (event = e2e_event(run, "wait", i)); i++)
		if (!strcmp(e2e_text(event, "comm"), "waiter") && (!fence ||
			!strcmp(e2e_text(event, "fence"), fence)))
			last = event;
	e2e_check(run, !strcmp(e2e_text(last, "ended"), "gone") &&
		!json_object_get(last, "by"), "who is dead was not woken");
	e2e_check(run, life_real(last, "waited_s") >= 1, "he waited for long");
}

E2E_TEST(live, tells_triggered_from_killed, FF_TEST_XORG_FENCES)
{
	struct e2e_run run = {.wrapped = true,
		.options = {"--trace-fences"},
		.command = {e2e_client("hang-client"), "--rounds=5",
			"--hold=2"}};
	struct hang hang;
	const char *fence;

	start_hang(&hang, "--engine=auto", NULL);
	fence = hanging_fence(&hang);
	e2e_check(&hang.run, !kill(hang.pid, SIGKILL), "it lives");
	e2e_finish(&hang.run);
	e2e_check(&hang.run, WIFSIGNALED(hang.run.status), "it is killed");
	check_gone(&hang.run, fence);
	e2e_do(&run);
	e2e_check(&run, e2e_exited(&run, 0), "it ends of its own accord");
	check_gone(&run, NULL);
}

/* What the server had triggered without the client being woken, shows. */
E2E_TEST(live, shows_a_wake_that_was_lost, FF_TEST_XORG_FENCES)
{
	struct e2e_run report, run = {.wrapped = true,
		.options = {"--isolate"},
		.command = {e2e_client("fence-client"), "--rounds=10",
			"--busy", "--timeout=3"}};
	char pid[16];

	e2e_start(&run);
	sleep(1);
	snprintf(pid, sizeof(pid), "%d", run.pid);
	run_report(&report, NULL, pid);
	e2e_finish(&run);
	e2e_check(&report,
		strstr(report.output, "1, no longer -1: it was not woken"),
		"the word is triggered, the thread waits");
	e2e_check(&run, e2e_exited(&run, 3), "the client hangs");
}

/* For its stack a thread is not stopped that would see the change then. */
E2E_TEST(live, does_not_mend_what_it_looks_at, FF_TEST_XORG_FENCES)
{
	struct e2e_run run = {.wrapped = true,
		.options = {"--isolate", "--backtrace", "--trace-fences"},
		.command = {e2e_client("fence-client"), "--rounds=10",
			"--busy", "--timeout=3"}};
	json_t *wait;

	e2e_do(&run);
	e2e_check(&run, e2e_exited(&run, 3), "the client hangs");
	wait = e2e_event(&run, "wait", 0);
	e2e_check(&run, wait && json_is_null(json_object_get(wait, "ended")) &&
		json_array_size(json_object_get(wait, "backtrace")) > 2,
		"its wait is told, and where");
	e2e_check(&run, e2e_number(wait, "expected") == -1 &&
		e2e_number(wait, "value") == 1, "it was triggered");
	wait = e2e_event(&run, "wait", 1);
	e2e_check(&run, !strcmp(e2e_text(wait, "ended"), "interrupted") ||
		!strcmp(e2e_text(wait, "ended"), "gone"),
		"nobody has woken it");
}

/* Where the kernel does not say when a thread ran last. */
Test(live, looks_twice_without_the_schedulers_word, .fini = e2e_end,
	.timeout = E2E_TIMEOUT_S)
{
	static const char hide[] = "mount --bind /dev/null /proc/$1/sched && "
		"exec \"$2\" report --live $1";
	struct e2e_run client = {.command = {e2e_client("wait-victim"),
		"hang"}};
	struct e2e_run report = {.command = {"unshare", "-m", "sh", "-c", hide,
		"sh"}};
	char tid[16];

	e2e_begin(FF_TEST_XVFB, false);
	e2e_start(&client);
	e2e_await(&client, "waits: ");
	usleep(300000);
	e2e_look(&client);
	snprintf(tid, sizeof(tid), "%d", atoi(strstr(client.output,
		"waits: ") + 7));
	report.command[6] = tid;
	report.command[7] = e2e_fenceferry();
	e2e_start(&report);
	e2e_finish_beside(&report);
	e2e_go_on(&client);
	e2e_finish_beside(&client);
	e2e_check(&report, e2e_exited(&report, 0) && strstr(report.output,
		"at least 0.100 s  -1\n"), "it says what it has seen");
}

static void check_refusal(const char *pid, const char *why, int status)
{
	struct e2e_run report;

	run_report(&report, NULL, pid);
	e2e_check(&report, e2e_exited(&report, status), pid);
	e2e_check(&report, strstr(report.errors, why), why);
	e2e_check(&report, !*report.output, "and there is no table");
}

E2E_TEST(live, refuses_what_has_no_fences, FF_TEST_XVFB)
{
	struct e2e_run report;
	char pid[16];
	pid_t child;

	check_refusal("12ab", "'12ab' is no process id", 125);
	check_refusal("-5", "unknown option '-5'", 125);
	check_refusal("0", "'0' is no process id", 125);
	check_refusal("+12", "'+12' is no process id", 125);
	check_refusal("99999999999", "is no process id", 125);
	check_refusal("4194303", "there is no process 4194303", 1);
	if (status_number(2, "PPid") == 0 && status_number(2, "Kthread") == 1)
		check_refusal("2", "is a kernel thread", 1);
	child = fork();
	if (!child)
		_exit(0);
	waitid(P_PID, (id_t)child, &(siginfo_t){0}, WEXITED | WNOWAIT);
	snprintf(pid, sizeof(pid), "%d", child);
	check_refusal(pid, "has ended: a zombie", 1);
	waitpid(child, NULL, 0);
	snprintf(pid, sizeof(pid), "%d", getpid());
	run_report(&report, NULL, pid);
	/* Ours, which an ordinary user may not look at. */
	e2e_check(&report, !strcmp(report.output, e2e_exited(&report, 0) ?
		"nobody waits on a fence\n" :
		"nobody who could be looked at waits on a fence\n"),
		"nobody waits");
}

/* Nor is a wake made up for that was lost, though the stack is cut. */
E2E_TEST(live, ends_no_wait_by_looking, FF_TEST_XVFB)
{
	static char path[PATH_MAX];
	struct e2e_run report, run = {
		.command = {e2e_client("share-victim"), path, "lost"}};

	snprintf(path, sizeof(path), "%s/socket", e2e_dir());
	e2e_start(&run);
	e2e_await(&run, "lost: ");
	usleep(150000); /* or it might be about to wake */
	run_report(&report, NULL, strtok(strstr(run.output, ": ") + 2, "\n"));
	e2e_check(&report, strstr(report.output, "it was not woken"),
		"it is told");
	e2e_go_on(&run);
	e2e_finish(&run);
	e2e_check(&run, strstr(run.output, "it waited\n"), "it waits still");
}

/* A user looks at what is another's. */
Test(live, refuses_what_is_another_users, .fini = e2e_end,
	.timeout = E2E_TIMEOUT_S)
{
	struct e2e_run report;
	char pid[16];

	e2e_begin(FF_TEST_XVFB, true);
	e2e_need_root();
	snprintf(pid, sizeof(pid), "%d", getpid());
	run_report(&report, NULL, pid);
	e2e_check(&report, e2e_exited(&report, 1) && strstr(report.errors,
		"is user 0's: it may not be looked at (look as root"),
		"why is told");
	e2e_check(&report, !strcmp(report.output, "nobody who could be looked "
		"at waits on a fence\n"), "and nothing that is not known");
}
