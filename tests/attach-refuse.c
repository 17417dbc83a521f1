/* SPDX-License-Identifier: MIT */
/*
 * What attach refuses, and that it says why.
 */
#include "attach.h"
#include "keeper.h"
#include "process.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* A command line that is refused, with this text. */
static void refuse(const char *first, const char *second, const char *text)
{
	struct e2e_run run = { .setting = COEXIST_SETTING,
		.command = { e2e_fenceferry(), "attach", first, second } };

	e2e_do(&run);
	e2e_check(&run, e2e_exited(&run, 125), "it fails");
	e2e_check(&run, !strncmp(run.errors, "fenceferry: ", 12) &&
		strstr(run.errors, text), text);
}

E2E_TEST(attach_refuses, what_is_no_client, FF_TEST_XVFB)
{
	struct e2e_run self = { .setting = COEXIST_SETTING, .command = {
		"/bin/sh", "-c", "exec \"$0\" attach $$", e2e_fenceferry() } };
	char text[32];
	pid_t zombie = fork();

	if (!zombie)
		_exit(0);
	waitid(P_PID, (id_t)zombie, &(siginfo_t){ 0 }, WEXITED | WNOWAIT);
	snprintf(text, sizeof(text), "%d", zombie);
	refuse(text, NULL, "it is a zombie");
	waitpid(zombie, NULL, 0);
	refuse(text, NULL, "there is no process");
	refuse("x12", NULL, "'x12' is no process id");
	refuse("12x", NULL, "is no process id");
	refuse("", NULL, "is no process id");
	refuse("0", NULL, "is no process id");
	refuse("4294967297", NULL, "is no process id");
	refuse("--", "-5", "is no process id");
	refuse(NULL, NULL, "no process to attach to");
	refuse("1", "2", "more than one process");
	refuse("--isolate", "1", "--isolate cannot be had by attach");
	refuse("--engine=off", "--relay=unix:/x", "no process to attach to");
	e2e_do(&self);
	e2e_check(&self, e2e_exited(&self, 125) && strstr(self.errors,
		" is fenceferry attach itself"), "it is not its own client");
}

/* The kernel's threads, where they are to be seen. */
Test(attach_refuses, kernel_threads, .timeout = E2E_TIMEOUT_S, .fini = e2e_end)
{
	FILE *file = fopen("/proc/2/comm", "re");
	char name[16] = "";

	if (file && !fgets(name, sizeof(name), file))
		*name = '\0';
	if (file)
		fclose(file);
	if (strcmp(name, "kthreadd\n") != 0)
		cr_skip("there is no kthreadd here");
	e2e_begin(FF_TEST_XVFB, false);
	refuse("2", NULL, "(kthreadd) is a kernel thread");
}

static void start_idle(struct e2e_run *client, const char *first)
{
	*client = (struct e2e_run){ .setting = COEXIST_SETTING, .command = {
		e2e_client("steps"), first, "pause=idle", "fence" } };
	e2e_start(client);
	e2e_await(client, "pause: idle");
}

E2E_TEST(attach_refuses, those_that_others_have, FF_TEST_XORG_FENCES)
{
	struct coexist_strace strace;
	struct e2e_run client;
	struct attach attach = { 0 }, other = { 0 };

	e2e_need_attach();
	start_idle(&client, "user");
	coexist_attach(&strace, client.pid, "strace");
	attach_refused(&attach, client.pid, " (strace): end that first");
	coexist_detach(&strace, NULL);
	attach_to(&attach, client.pid, NULL);
	attach_refused(&other, client.pid, "is attached to already, by "
		"fenceferry attach (pid ");
	attach_refused(&other, attach.run.pid, "(fenceferry) is fenceferry's "
		"own, and no X client");
	attach_refused(&other, attach_keeper(client.pid), "(fenceferry-keep) "
		"is fenceferry's own");
	attach_end(&attach, SIGINT);
	other.options[0] = "--trap-all";
	attach_refused(&other, client.pid, "an earlier attach, which had no "
		"--trap-all");
	other.options[0] = "--relay=unix:/nowhere";
	attach_refused(&other, client.pid, "an earlier attach, which had no "
		"--relay");
	e2e_check(&client, attach_keeper(client.pid), "the keeper lives on");
	e2e_go_on(&client);
	attach_finish_client(&client);
}

E2E_TEST(attach_refuses, those_that_run_watches, FF_TEST_XORG_FENCES)
{
	struct e2e_run run = { .wrapped = true, .setting = COEXIST_SETTING,
		.command = { e2e_client("steps"), "pause=idle", "fence" } };
	struct attach attach = { 0 };
	char text[96];

	e2e_need_attach();
	e2e_start(&run);
	e2e_await(&run, "pause: idle");
	snprintf(text, sizeof(text), "is watched by fenceferry run already "
		"(supervisor pid %d)", e2e_child_of(run.pid));
	attach_refused(&attach, coexist_command(&run), text);
	attach_refused(&attach, run.pid, "is fenceferry run itself, which "
		"watches its command already");
	attach_refused(&attach, e2e_child_of(run.pid),
		"is fenceferry run itself");
	e2e_go_on(&run);
	e2e_finish(&run);
	coexist_check_ok(&run);
	e2e_check_log(&run, 1, 0, 0);
}

/* A child of a client has its filter, but no keeper of its own. */
E2E_TEST(attach_refuses, children_of_those_attached_to, FF_TEST_XORG_FENCES)
{
	struct e2e_run client = { .setting = COEXIST_SETTING, .command = {
		e2e_client("steps"), "pause=one", "fork", "pause=two",
		"fence" } };
	struct attach attach, other = { 0 };
	char text[64];

	e2e_need_attach();
	e2e_start(&client);
	e2e_await(&client, "pause: one");
	attach_to(&attach, client.pid, NULL);
	e2e_go_on(&client);
	e2e_await(&client, "pause: two");
	snprintf(text, sizeof(text), "got its filter when pid %d was attached "
		"to", client.pid);
	attach_refused(&other, e2e_child_of(client.pid), text);
	e2e_go_on(&client);
	attach_finish_client(&client);
	attach_finish(&attach);
}

/* It would have to answer its own calls. */
E2E_TEST(attach_refuses, to_be_its_own_client, FF_TEST_XVFB)
{
	struct e2e_run shell = { .setting = COEXIST_SETTING, .command = {
		"/bin/sh", "-c", "echo ready; read line; \"$0\" attach $$; "
		"echo $?; read line; echo OK", e2e_fenceferry() } };
	struct attach attach;

	e2e_need_attach();
	e2e_start(&shell);
	e2e_await(&shell, "ready");
	attach_to(&attach, shell.pid, NULL);
	attach_end(&attach, SIGINT);
	e2e_go_on(&shell);
	e2e_await(&shell, "125\n");
	e2e_check(&shell, strstr(shell.errors, "cannot answer its own calls"),
		"it is refused");
	e2e_go_on(&shell);
	attach_finish_client(&shell);
}

E2E_TEST(attach_refuses, who_has_no_fd_free, FF_TEST_XVFB)
{
	struct e2e_run shell = { .setting = COEXIST_SETTING, .command = {
		"/bin/sh", "-c", "ulimit -n 3; echo ready; read line; echo OK" }
	};
	struct attach attach = { 0 };

	e2e_need_attach();
	e2e_start(&shell);
	e2e_await(&shell, "ready");
	attach_refused(&attach, shell.pid, "has no fd free");
	e2e_go_on(&shell);
	attach_finish_client(&shell);
}

/* Another attach is between its look for a keeper and its keeper. */
E2E_TEST(attach_refuses, what_another_begins_with, FF_TEST_XORG_FENCES)
{
	struct e2e_run client;
	struct attach attach = { 0 };
	struct ff_birth birth;
	struct sockaddr_un address;
	socklen_t length;
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	e2e_need_attach();
	start_idle(&client, "fence");
	cr_assert(!ff_process_birth(client.pid, &birth));
	length = ff_keeper_address(&address, client.pid, birth.start);
	cr_assert(fd >= 0 && !bind(fd, (struct sockaddr *)&address, length));
	attach_refused(&attach, client.pid, "another fenceferry attach has "
		"begun with pid ");
	close(fd);
	e2e_go_on(&client);
	attach_finish_client(&client);
}

/* Nobody answers for its calls any more, those of a new filter too. */
Test(attach_refuses, whose_keeper_was_killed, .timeout = E2E_TIMEOUT_S,
	.fini = e2e_end)
{
	struct e2e_run client;
	struct attach attach, other = { 0 };
	pid_t keeper;

	e2e_begin(FF_TEST_XORG_FENCES, false);
	e2e_need_attach();
	start_idle(&client, "fence");
	attach_to(&attach, client.pid, NULL);
	attach_end(&attach, SIGINT);
	keeper = attach_keeper(client.pid);
	e2e_check(&client, keeper > 0, "there is a keeper");
	kill(keeper, SIGKILL);
	attach_await_no_keeper(&client, client.pid);
	/* Only root can read what filters there are, and then tries. */
	attach_refused(&other, client.pid, geteuid() ? "cannot be read" :
		"whose listener is gone");
	kill(client.pid, SIGKILL);
	e2e_finish_beside(&client);
}

/* An ordinary user, and what is not his. */
Test(attach_refuses, what_an_ordinary_user_may_not, .timeout = E2E_TIMEOUT_S,
	.fini = e2e_end)
{
	struct e2e_run client;
	struct attach attach = { 0 };
	char pid[16];

	e2e_begin(FF_TEST_XORG_FENCES, true);
	e2e_need_attach();
	if (!geteuid()) {
		snprintf(pid, sizeof(pid), "%d", getpid());
		refuse(pid, NULL, "is of another user, 0 (run as that one, or "
			"as root)");
	}
	start_idle(&client, "undumpable");
	attach_refused(&attach, client.pid, "is not dumpable");
	e2e_go_on(&client);
	attach_finish_client(&client);
	start_idle(&client, "kill=seccomp");
	attach_refused(&attach, client.pid, "is under a seccomp filter of its "
		"own, which may kill it");
	e2e_go_on(&client);
	attach_finish_client(&client);
}

/* Root can read the filters of others, and tell one from the other. */
Test(attach_refuses, filters_that_kill, .timeout = E2E_TIMEOUT_S,
	.fini = e2e_end)
{
	static const char *const deadly[] = { "kill=seccomp", "kill=mremap",
		"one-kill=close" };
	struct e2e_run client;
	struct attach attach = { 0 };

	e2e_begin(FF_TEST_XORG_FENCES, false);
	for (size_t i = 0; i < 3; i++) {
		start_idle(&client, deadly[i]);
		attach_refused(&attach, client.pid, "is under a seccomp filter "
			"of its own that would kill it for our calls (start it "
			"with fenceferry run)");
		e2e_go_on(&client);
		attach_finish_client(&client);
	}
	/* What one thread is under must not come over all. */
	start_idle(&client, "one-kill=acct");
	attach_refused(&attach, client.pid, "under different seccomp filters");
	e2e_go_on(&client);
	attach_finish_client(&client);
	start_idle(&client, "errno=seccomp");
	attach_refused(&attach, client.pid, "may not install a seccomp filter");
	e2e_go_on(&client);
	attach_finish_client(&client);
	start_idle(&client, "kill=acct");
	attach_to(&attach, client.pid, NULL);
	e2e_go_on(&client);
	attach_finish_client(&client);
	attach_finish(&attach);
	e2e_check(&attach.run, e2e_count(&attach.run, "swap", "engine",
		"notify") == 1, "a harmless one is no hindrance");
}
