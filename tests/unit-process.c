/* SPDX-License-Identifier: MIT */
/* src/process: processes, threads and fds, of this process and of children. */
#include "process.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* A child that has done prepare and waits to be killed. */
static pid_t start_child(void (*prepare)(void))
{
	int ready[2];
	char byte;
	pid_t pid;

	cr_assert(pipe(ready) == 0);
	pid = fork();
	cr_assert(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		prepare();
		if (write(ready[1], "", 1) != 1)
			_exit(1);
		for (;;)
			poll(NULL, 0, -1);
	}
	cr_assert(read(ready[0], &byte, 1) == 1);
	close(ready[0]);
	close(ready[1]);
	return pid;
}

static void end_child(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void nothing(void)
{
}

/* The id of a process that was, and is not. */
static pid_t dead_pid(void)
{
	pid_t pid = start_child(nothing);

	end_child(pid);
	return pid;
}

static bool is_gone(int err)
{
	return err == -ESRCH || err == -ENOENT;
}

static uint64_t bit(int sig)
{
	return 1ull << (sig - 1);
}

Test(status, tells_of_this_process)
{
	struct ff_status status;

	cr_assert_eq(ff_process_status(getpid(), &status), 0);
	cr_expect_eq(status.tgid, getpid());
	cr_expect_eq(status.tracer, 0);
	cr_expect_eq(status.uid, geteuid());
	cr_expect_eq(status.gid, getegid());
	cr_expect_eq(status.state, 'R');
}

static void on_signal(int sig)
{
	(void)sig;
}

static void handle_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGRTMAX);
	sigprocmask(SIG_SETMASK, &set, NULL);
	signal(SIGUSR1, on_signal);
	signal(SIGCHLD, on_signal);
	raise(SIGUSR1);
	kill(getpid(), SIGRTMAX);
	prctl(PR_SET_NAME, "Uid: 7 (x) Tgid");
}

Test(status, tells_of_signals_and_name)
{
	pid_t pid = start_child(handle_signals);
	struct ff_status status;

	cr_assert_eq(ff_process_status(pid, &status), 0);
	cr_expect_eq(status.pending, bit(SIGUSR1) | bit(SIGRTMAX),
		"of the thread and of the process");
	cr_expect_eq(status.blocked, bit(SIGUSR1) | bit(SIGRTMAX));
	cr_expect(status.caught & bit(SIGUSR1));
	cr_expect(status.caught & bit(SIGCHLD));
	cr_expect_not(status.caught & bit(SIGUSR2));
	cr_expect_str_eq(status.comm, "Uid: 7 (x) Tgid");
	cr_expect_eq(status.tgid, pid);
	cr_expect_eq(status.uid, geteuid());
	end_child(pid);
}

static void take_file_ids(void)
{
	setfsgid(2345);
	setfsuid(1234);
}

Test(status, uid_is_the_one_files_are_made_with)
{
	struct ff_status status;
	pid_t pid;

	if (geteuid())
		cr_skip("to be run by root");
	pid = start_child(take_file_ids);
	cr_assert_eq(ff_process_status(pid, &status), 0);
	cr_expect_eq(status.uid, 1234);
	cr_expect_eq(status.gid, 2345);
	end_child(pid);
}

Test(status, counts_how_often_the_thread_blocked)
{
	struct ff_status before, after;

	cr_assert_eq(ff_process_status(getpid(), &before), 0);
	for (int i = 0; i < 10; i++)
		poll(NULL, 0, 20);
	cr_assert_eq(ff_process_status(getpid(), &after), 0);
	cr_expect(after.switches >= before.switches + 10);
}

/* The list of groups comes before the signals, and is as long as it likes. */
static void join_groups(void)
{
	gid_t groups[1000];

	for (gid_t i = 0; i < 1000; i++)
		groups[i] = 1000000000 + i;
	if (setgroups(1000, groups) < 0)
		_exit(1);
	handle_signals();
}

Test(status, many_groups_hide_nothing)
{
	struct ff_status status;
	pid_t pid;

	if (geteuid())
		cr_skip("to be run by root");
	pid = start_child(join_groups);
	cr_assert_eq(ff_process_status(pid, &status), 0);
	cr_expect_eq(status.blocked, bit(SIGUSR1) | bit(SIGRTMAX));
	cr_expect_eq(status.pending, bit(SIGUSR1) | bit(SIGRTMAX));
	end_child(pid);
}

Test(status, tells_the_tracer_and_the_state)
{
	pid_t pid = start_child(nothing);
	struct ff_status status;

	/* It says that it is there, then goes to sleep. */
	do {
		cr_assert_eq(ff_process_status(pid, &status), 0);
	} while (status.state == 'R');
	cr_expect_eq(status.tracer, 0);
	cr_expect_eq(status.state, 'S');
	cr_assert(ptrace(PTRACE_SEIZE, pid, 0, 0) == 0);
	cr_assert(ptrace(PTRACE_INTERRUPT, pid, 0, 0) == 0);
	cr_assert(waitpid(pid, NULL, 0) == pid);
	cr_assert_eq(ff_process_status(pid, &status), 0);
	cr_expect_eq(status.tracer, getpid());
	cr_expect_eq(status.state, 't');
	kill(pid, SIGKILL);
	waitid(P_PID, (id_t)pid, &(siginfo_t){ 0 }, WEXITED | WNOWAIT);
	cr_assert_eq(ff_process_status(pid, &status), 0);
	cr_expect_eq(status.state, 'Z');
	end_child(pid);
}

Test(process, what_is_gone_is_gone_for_all)
{
	pid_t pid = dead_pid();
	struct ff_ids ids = { 0 };
	struct ff_vmas vmas = { 0 };
	struct ff_status status;
	struct ff_fdinfo info;
	unsigned char copied;
	char byte;

	cr_expect(is_gone(ff_process_status(pid, &status)));
	cr_expect(is_gone(ff_process_threads(pid, &ids)));
	cr_expect(is_gone(ff_process_count_threads(pid)));
	cr_expect(is_gone(ff_process_fds(pid, &ids)));
	cr_expect(is_gone(ff_process_fdinfo(pid, 0, &info)));
	cr_expect(is_gone(ff_process_vmas(pid, &vmas)));
	cr_expect(is_gone(ff_process_vma_may_write(pid, 0)));
	cr_expect(is_gone(ff_process_private_pages(pid, 0, 1, &copied)));
	cr_expect(is_gone(ff_process_read(pid, 0x1000, &byte, 1)));
	cr_expect(is_gone(ff_process_write(pid, 0x1000, &byte, 1)));
	cr_expect_null(ff_process_getenv(pid, "PATH"));
	/* Nothing is below what is gone: no error. */
	cr_expect_eq(ff_process_descendants(pid, &ids), 0);
	cr_expect_eq(ids.count, 0);
}

Test(ids, grow_and_are_found)
{
	struct ff_ids ids = { 0 };

	cr_expect_not(ff_ids_has(&ids, 0));
	for (int i = 0; i < 1000; i++)
		cr_assert_eq(ff_ids_add(&ids, 3 * i), 0);
	cr_assert_eq(ids.count, 1000);
	cr_expect(ff_ids_has(&ids, 0) && ff_ids_has(&ids, 2997));
	cr_expect_not(ff_ids_has(&ids, 1));
	ff_ids_free(&ids);
	cr_expect(!ids.ids && !ids.count && !ids.room);
}

/* A thread that tells its id and waits. */
static void *tell_and_wait(void *fd)
{
	pid_t tid = (pid_t)syscall(SYS_gettid);

	if (write(*(int *)fd, &tid, sizeof(tid)) != sizeof(tid))
		abort();
	for (;;)
		poll(NULL, 0, -1);
}

Test(threads, are_listed_once)
{
	enum { COUNT = 100 };
	struct ff_ids tids = { 0 };
	pid_t told[COUNT];
	pthread_t thread;
	int fds[2];

	cr_assert(pipe(fds) == 0);
	cr_assert_eq(ff_process_threads(getpid(), &tids),
		ff_process_count_threads(getpid()));
	cr_assert(ff_ids_has(&tids, getpid()));
	for (int i = 0; i < COUNT; i++) {
		cr_assert(!pthread_create(&thread, NULL, tell_and_wait,
			&fds[1]));
		cr_assert(read(fds[0], &told[i], sizeof(pid_t)) ==
			sizeof(pid_t));
	}
	cr_assert_eq(ff_process_threads(getpid(), &tids), COUNT,
		"only the new ones are added");
	for (int i = 0; i < COUNT; i++) {
		struct ff_status status;

		cr_assert(ff_ids_has(&tids, told[i]));
		cr_assert_eq(ff_process_status(told[i], &status), 0);
		cr_assert_eq(status.tgid, getpid());
	}
	cr_assert_eq(ff_process_threads(getpid(), &tids), 0);
	cr_assert_eq(ff_process_count_threads(getpid()), (int)tids.count);
	ff_ids_free(&tids);
}

/* Forks, and tells the child's id. */
static void *fork_and_tell(void *fd)
{
	pid_t pid = start_child(nothing);

	if (write(*(int *)fd, &pid, sizeof(pid)) != sizeof(pid))
		abort();
	for (;;)
		poll(NULL, 0, -1);
}

static int told[2];

static void fork_from_a_thread(void)
{
	pthread_t thread;

	pthread_create(&thread, NULL, fork_and_tell, &told[1]);
	pthread_join(thread, NULL);
}

/* A child whose thread forks a grandchild, and a child of our own thread. */
Test(descendants, are_found_whatever_thread_forked_them, .timeout = 20)
{
	struct ff_ids pids = { 0 };
	pid_t child, grandchild, of_thread;
	pthread_t thread;

	cr_assert(pipe(told) == 0);
	child = fork();
	cr_assert(child >= 0);
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		fork_from_a_thread();
		_exit(1);
	}
	cr_assert(read(told[0], &grandchild, sizeof(pid_t)) == sizeof(pid_t));
	cr_assert(!pthread_create(&thread, NULL, fork_and_tell, &told[1]));
	cr_assert(read(told[0], &of_thread, sizeof(pid_t)) == sizeof(pid_t));
	cr_assert_eq(ff_process_descendants(getpid(), &pids), 0);
	cr_expect_eq(pids.count, 3);
	cr_expect(ff_ids_has(&pids, child));
	cr_expect(ff_ids_has(&pids, grandchild));
	cr_expect(ff_ids_has(&pids, of_thread));
	cr_expect_not(ff_ids_has(&pids, getpid()));
	cr_assert_eq(ff_process_descendants(child, &pids), 0);
	cr_expect_eq(pids.count, 1, "the list is set, not added to");
	cr_expect(ff_ids_has(&pids, grandchild));
	kill(grandchild, SIGKILL);
	end_child(child);
	end_child(of_thread);
	ff_ids_free(&pids);
}

/* So many that /proc tells of them in several reads. */
Test(descendants, many_are_all_found, .timeout = 60)
{
	enum { COUNT = 3000 };
	struct ff_ids pids = { 0 };
	static pid_t children[COUNT];
	int missing = 0, err;

	for (int i = 0; i < COUNT; i++) {
		children[i] = fork();
		cr_assert(children[i] >= 0);
		if (children[i] == 0)
			_exit(0); /* a zombie is a child */
	}
	err = ff_process_descendants(getpid(), &pids);
	for (int i = 0; i < COUNT; i++) {
		missing += !ff_ids_has(&pids, children[i]);
		waitpid(children[i], NULL, 0);
	}
	cr_expect_eq(err, 0);
	cr_expect_eq(missing, 0, "%d are missing", missing);
	cr_expect_eq(pids.count, COUNT);
	ff_ids_free(&pids);
}

Test(fds, are_those_that_are_open)
{
	int high = fcntl(0, F_DUPFD, 700), other = dup(0);
	struct ff_ids fds = { 0 };
	size_t closed = 0;

	cr_assert(ff_process_fds(getpid(), &fds) >= 3);
	cr_expect(ff_ids_has(&fds, high));
	cr_expect(ff_ids_has(&fds, other));
	for (size_t i = 0; i < fds.count; i++)
		closed += fcntl(fds.ids[i], F_GETFD) < 0;
	cr_expect_eq(closed, 1, "the one that the list was read from");
	ff_ids_free(&fds);
}

Test(fds, of_a_child_are_exactly_its_own)
{
	pid_t pid = start_child(nothing);
	struct ff_ids fds = { 0 };
	size_t open = 0;

	cr_assert(ff_process_fds(pid, &fds) > 0);
	for (int fd = 0; fd < 1024; fd++) {
		char path[64];
		bool is_open;

		snprintf(path, sizeof(path), "/proc/%d/fd/%d", pid, fd);
		is_open = readlink(path, (char[1]){ 0 }, 1) >= 0;
		open += is_open;
		cr_expect_eq(ff_ids_has(&fds, fd), is_open, "fd %d", fd);
	}
	cr_expect_eq(fds.count, open);
	end_child(pid);
	ff_ids_free(&fds);
}

Test(fdinfo, tells_flags_and_offset)
{
	char path[] = "/tmp/unit-process-XXXXXX";
	int fd = mkostemp(path, O_APPEND | O_CLOEXEC), other;
	struct ff_fdinfo info;

	cr_assert(fd >= 0);
	other = open(path, O_RDONLY | O_NONBLOCK);
	unlink(path);
	cr_assert(lseek(fd, 0x123456789, SEEK_SET) == 0x123456789);
	cr_assert_eq(ff_process_fdinfo(getpid(), fd, &info), 0);
	cr_expect_eq(info.offset, 0x123456789);
	cr_expect_eq(info.flags & (O_ACCMODE | O_APPEND | O_CLOEXEC |
		O_NONBLOCK), O_RDWR | O_APPEND | O_CLOEXEC);
	cr_assert_eq(ff_process_fdinfo(getpid(), other, &info), 0);
	cr_expect_eq(info.offset, 0);
	cr_expect_eq(info.flags & (O_ACCMODE | O_APPEND | O_CLOEXEC |
		O_NONBLOCK), O_RDONLY | O_NONBLOCK);
	close(fd);
	cr_expect_eq(ff_process_fdinfo(getpid(), fd, &info), -ENOENT);
	cr_expect_eq(ff_process_fdinfo(getpid(), -1, &info), -ENOENT);
}

static pid_t start_with_environment(const char **environment)
{
	int ready[2];
	char byte;
	pid_t pid;

	cr_assert(pipe2(ready, O_CLOEXEC) == 0);
	pid = fork();
	if (pid == 0) {
		const char *args[] = { "sleep", "60", NULL };

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execve("/bin/sleep", (char **)(uintptr_t)args,
			(char **)(uintptr_t)environment);
		_exit(127);
	}
	close(ready[1]);
	/* Closed when it has its new memory. */
	cr_assert(read(ready[0], &byte, 1) == 0);
	close(ready[0]);
	return pid;
}

Test(getenv, finds_the_variable_and_no_other)
{
	static char large[100000] = "LARGE=";
	const char *environment[] = { "DISPLAYS=:1", "MY_DISPLAY=:2", "DISPLAY",
		large, "EMPTY=", "DISPLAY=:3=x", "DISPLAY=:4", NULL };
	char *value;
	pid_t pid;

	memset(large + 6, 'x', sizeof(large) - 7);
	pid = start_with_environment(environment);
	value = ff_process_getenv(pid, "DISPLAY");
	cr_assert_not_null(value);
	cr_expect_str_eq(value, ":3=x");
	free(value);
	value = ff_process_getenv(pid, "EMPTY");
	cr_assert_not_null(value);
	cr_expect_str_eq(value, "");
	free(value);
	value = ff_process_getenv(pid, "LARGE");
	cr_assert_not_null(value);
	cr_expect_eq(strlen(value), sizeof(large) - 7);
	free(value);
	cr_expect_null(ff_process_getenv(pid, "DISP"));
	cr_expect_null(ff_process_getenv(pid, "XAUTHORITY"));
	end_child(pid);
}
