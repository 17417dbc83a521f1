/* SPDX-License-Identifier: MIT */
/*
 * What attach knows of its target before it touches it, and of filters that are
 * there; and who is stopped for no swap.
 */
#include "config.h"
#include "attach-target.h"
#include "attachment.h"
#include "clientfilter.h"
#include "filter.h"
#include "keeper.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define TIMEOUT .timeout = 20

Test(target, is_a_number_and_nothing_else, TIMEOUT)
{
	static const char *const bad[] = { "", " 1", "+1", "-1", "0", "1x",
		"0x10", "2147483648", "99999999999999999999", "self" };
	struct ff_error error;
	pid_t pid = 0;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_expect_eq(ff_target_parse(bad[i], &pid, &error), -EINVAL,
			"%s", bad[i]);
	cr_expect(!ff_target_parse("2147483647", &pid, &error));
	cr_expect_eq(pid, 2147483647);
}

/* Another program than this one; once it is executed. */
static pid_t start_sleep(void)
{
	int ends[2];
	char byte;
	pid_t pid;

	cr_assert(!pipe2(ends, O_CLOEXEC));
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execlp("sleep", "sleep", "60", NULL);
		_exit(127);
	}
	close(ends[1]);
	cr_assert_eq(read(ends[0], &byte, 1), 0);
	close(ends[0]);
	return pid;
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

Test(target, is_told_from_another_with_its_pid, TIMEOUT)
{
	const pid_t pid = start_sleep(), other = start_sleep();
	struct ff_birth first, again, other_birth;
	struct ff_error error;

	cr_expect(!ff_target_check(pid, &first, &error), "%s", error.text);
	cr_expect(!ff_target_check(pid, &again, &error));
	cr_expect(first.start == again.start && !first.is_kernel_thread);
	cr_expect(!ff_target_check(other, &other_birth, &error));
	cr_expect(other_birth.start >= first.start);
	end(pid);
	end(other);
	cr_expect_eq(ff_target_check(pid, &again, &error), -ESRCH);
}

Test(target, is_none_of_ours, TIMEOUT)
{
	struct ff_birth birth;
	struct ff_error error;

	cr_expect_eq(ff_target_check(getpid(), &birth, &error), -EINVAL);
	/* That executes what we do. */
	cr_expect_eq(ff_target_check(getppid(), &birth, &error), -EINVAL);
}

Test(filter_lacks, names_the_option_that_wants_more, TIMEOUT)
{
	const struct ff_filter_options none = { 0 };
	const struct ff_filter_options all = { .all_flags = true,
		.futexes = FF_FUTEXES_ALL, .memfds = true, .exits = true,
		.own_filters = true, .replies = true };
	struct ff_filter_options want = { 0 };

	cr_expect_null(ff_filter_lacks(&none, &none));
	cr_expect_null(ff_filter_lacks(&all, &none));
	cr_expect_null(ff_filter_lacks(&all, &all));
	want.futexes = FF_FUTEXES_WAKES;
	cr_expect_str_eq(ff_filter_lacks(&none, &want), "--relay");
	want.futexes = FF_FUTEXES_ALL;
	cr_expect_str_eq(ff_filter_lacks(&none, &want), "--trace-fences");
	want = (struct ff_filter_options){ .replies = true };
	cr_expect_str_eq(ff_filter_lacks(&none, &want), "--replies");
	want = (struct ff_filter_options){ .all_flags = true };
	cr_expect_str_eq(ff_filter_lacks(&none, &want), "--trap-all");
	want = (struct ff_filter_options){ .memfds = true };
	cr_expect_str_eq(ff_filter_lacks(&none, &want), "--engine");
}

/* The parent of one that was left out has our filter, its child has not. */
Test(attachment, knows_who_was_left_out, TIMEOUT)
{
	struct ff_ids done = { 0 }, left = { 0 };
	struct ff_attachment attachment = { .done = &done, .left = &left };
	struct ff_error error;
	int pipes[2];
	pid_t grandchild = 0, child;

	cr_assert(!pipe(pipes));
	child = fork();
	if (!child) {
		grandchild = fork();
		if (grandchild && write(pipes[1], &grandchild,
				sizeof(grandchild)) < 0)
			_exit(1);
		for (;;)
			pause();
	}
	cr_assert(read(pipes[0], &grandchild, sizeof(grandchild)) ==
		sizeof(grandchild));
	ff_ids_add(&done, getpid());
	cr_expect(!ff_attachment_may_hold(NULL, child, &error));
	cr_expect(!ff_attachment_may_hold(&attachment, child, &error));
	ff_ids_add(&left, child);
	cr_expect_eq(ff_attachment_may_hold(&attachment, child, &error),
		-EPERM);
	cr_expect_eq(ff_attachment_may_hold(&attachment, grandchild, &error),
		-EPERM);
	cr_expect(!ff_attachment_may_hold(&attachment, getpid(), &error));
	ff_ids_add(&done, grandchild);
	cr_expect(!ff_attachment_may_hold(&attachment, grandchild, &error));
	kill(grandchild, SIGKILL);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	ff_ids_free(&done);
	ff_ids_free(&left);
}

/* What the keeper and attach say to each other; and what is none of it. */
Test(keeper, takes_whole_messages_with_as_many_fds_as_fit, TIMEOUT)
{
	struct ff_keeper_message message = { .word = FF_KEEPER_TAKE,
		.index = 7 };
	int pair[2], fds[FF_KEPT_MAX + 1], before = dup(0);
	size_t count;

	close(before);
	cr_assert(!socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair));
	for (size_t i = 0; i <= FF_KEPT_MAX; i++)
		fds[i] = pair[0];
	cr_expect(!ff_keeper_send(pair[0], &message, fds, FF_KEPT_MAX + 1));
	memset(&message, 0, sizeof(message));
	count = FF_KEPT_MAX + 1;
	cr_expect(!ff_keeper_receive(pair[1], &message, fds, &count));
	cr_expect(message.index == 7 && count == FF_KEPT_MAX + 1);
	for (size_t i = 0; i < count; i++)
		close(fds[i]);
	/* More than is wanted: none stays open. */
	fds[0] = fds[1] = pair[0];
	cr_expect(!ff_keeper_send(pair[0], &message, fds, 2));
	count = 1;
	cr_expect_eq(ff_keeper_receive(pair[1], &message, fds, &count),
		-EPROTO);
	cr_expect_eq(count, 0);
	cr_expect(write(pair[0], "x", 1) == 1);
	count = 0;
	cr_expect_eq(ff_keeper_receive(pair[1], &message, NULL, &count),
		-EPROTO);
	close(pair[0]);
	cr_expect_eq(ff_keeper_receive(pair[1], &message, NULL, &count),
		-EPIPE);
	close(pair[1]);
	cr_expect_eq(dup(0), before, "all were closed");
}

static int bind_keeper(uint64_t start)
{
	struct sockaddr_un address;
	socklen_t length = ff_keeper_address(&address, getpid(), start);
	int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);

	cr_assert(!bind(fd, (struct sockaddr *)&address, length));
	cr_assert(!listen(fd, 0));
	return fd;
}

/* Memory as a keeper has it. */
static int make_memory(uint64_t start, size_t count)
{
	struct ff_kept kept = { .version = PACKAGE_VERSION,
		.size = sizeof(kept), .root = getpid(), .start = start,
		.count = count };
	int fd = memfd_create("kept", MFD_ALLOW_SEALING);

	cr_assert(write(fd, &kept, sizeof(kept)) == sizeof(kept));
	cr_assert(!fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW));
	return fd;
}

/* A child connects, and tells what it thinks of us. */
static pid_t find(uint64_t start, int result)
{
	pid_t child = fork();
	struct ff_keeper keeper = { .socket = -1 };
	int fds[FF_KEPT_MAX];
	struct ff_error error;
	size_t count = 7;

	if (!child)
		_exit(ff_keeper_find(&keeper, getppid(), start, fds, &count,
			&error) == result && !count ? 0 : 1);
	return child;
}

/* Root asks those of ordinary users. */
Test(keeper, gives_listeners_and_nothing_else, TIMEOUT)
{
	struct ff_keeper_message message = { .word = FF_KEEPER_READY };
	int fds[2], socket, status, null = open("/dev/null", O_RDWR);

	for (uint64_t count = 0; count < 2; count++) {
		int memory = make_memory(count, count), keeper =
			bind_keeper(count);
		pid_t child = find(count, count ? -EPROTO : 0);

		socket = accept(keeper, NULL, NULL);
		fds[0] = memory;
		fds[1] = null;
		cr_assert(!ff_keeper_send(socket, &message, fds, count + 1));
		cr_assert(waitpid(child, &status, 0) == child);
		cr_expect(!status, "with %d", (int)count);
		close(socket);
		close(keeper);
		close(memory);
	}
	close(null);
}

Test(keeper, that_answers_nobody_is_given_up, TIMEOUT)
{
	int keeper = bind_keeper(3), status;
	pid_t first = find(3, -ETIMEDOUT), second;
	struct pollfd fd = { .fd = keeper, .events = POLLIN };

	/* It waits in the queue, which is full, so that another is refused. */
	cr_assert(poll(&fd, 1, 5000) == 1);
	second = find(3, -EAGAIN);
	cr_assert(waitpid(second, &status, 0) == second);
	cr_expect(!status, "one is refused at once");
	cr_assert(waitpid(first, &status, 0) == first);
	cr_expect(!status, "one is answered in time, or gives up");
	close(keeper);
}

Test(lets_install, takes_more_than_a_swap, TIMEOUT)
{
	const struct sock_filter allow[] = {
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW) };
	const struct sock_filter refuse[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_seccomp, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW) };

	cr_expect(ff_filter_lets_install(allow, 1));
	cr_expect(ff_filter_is_harmless(refuse, 4));
	cr_expect(!ff_filter_lets_install(refuse, 4));
}
