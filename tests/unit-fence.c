/* SPDX-License-Identifier: MIT */
/* src/fence: the registry of fences, and who holds them. */
#include "fence.h"

#include "fds.h"
#include "unit-dir.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define DIRECTORY .init = make_test_dir, .fini = remove_test_dir, .timeout = 60

static struct ff_fences fences;

static struct ff_fence *add(void)
{
	struct ff_standin standin;
	struct ff_error error = { 0 };
	struct ff_fence *fence;

	cr_assert_eq(ff_standin_create(unit_dir, unit_dir_fd, 4, geteuid(),
		getegid(), true, &standin, &error), 0, "%s", error.text);
	fence = ff_fences_add(&fences, &standin, &error);
	cr_assert_not_null(fence, "%s", error.text);
	cr_expect_eq(standin.fd, -1, "it has moved");
	return fence;
}

static int open_again(const struct ff_fence *fence, int flags)
{
	int fd = open(fence->standin.path, flags | O_CLOEXEC);

	cr_assert(fd >= 0, "%s: %s", fence->standin.path, strerror(errno));
	return fd;
}

Test(fence, is_found_by_its_place_and_by_its_id, DIRECTORY)
{
	struct ff_fence *all[200];
	struct stat st;

	ff_fences_init(&fences, unit_dir_fd, true);
	cr_expect_null(ff_fences_find(&fences, 1, 2, 0));
	cr_expect_null(ff_fences_by_id(&fences, 1));
	for (size_t i = 0; i < 200; i++)
		all[i] = add();
	cr_expect_eq(count_test_files(), 200, "all have their names");
	for (size_t i = 0; i < 200; i += 2)
		ff_fences_remove(&fences, all[i]);
	cr_expect_eq(count_test_files(), 100);
	cr_expect_eq(fences.count, 100);
	for (size_t i = 1; i < 200; i += 2) {
		cr_assert(stat(all[i]->standin.path, &st) == 0);
		cr_expect_eq(ff_fences_find(&fences, st.st_dev, st.st_ino, 0),
			all[i]);
		cr_expect_null(ff_fences_find(&fences, st.st_dev, st.st_ino,
			4));
		cr_expect_null(ff_fences_find(&fences, st.st_dev + 1,
			st.st_ino, 0));
		cr_expect_eq(all[i]->id, i + 1);
		cr_expect_eq(ff_fences_by_id(&fences, i + 1), all[i]);
		cr_expect_null(ff_fences_by_id(&fences, i));
	}
	cr_expect_null(ff_fences_by_id(&fences, 201));
	cr_expect_eq(add()->id, 201, "never used twice");
	ff_fences_free(&fences);
	cr_expect_eq(count_test_files(), 0);
	cr_expect_eq(fences.count, 0);
	cr_expect_null(ff_fences_by_id(&fences, 2));
}

Test(fence, that_cannot_be_registered_changes_nothing, DIRECTORY)
{
	struct ff_standin standin = { .fd = -1, .path = "/dir/name" };
	struct ff_error error = { 0 };

	ff_fences_init(&fences, unit_dir_fd, true);
	cr_expect_null(ff_fences_add(&fences, &standin, &error));
	cr_expect_eq(error.err, EBADF);
	cr_expect(strstr(error.text, "/dir/name") != NULL, "%s", error.text);
	cr_expect_str_eq(standin.path, "/dir/name", "it has not moved");
	cr_expect_eq(fences.count, 0);
	ff_fences_free(&fences);
}

/* Whether or not those count that can but read it. */
static void expect_held(const struct ff_fence *fence, bool held, bool written)
{
	cr_expect_eq(ff_fence_is_held(fence, false), held);
	cr_expect_eq(ff_fence_is_held(fence, true), written);
}

Test(held, by_an_fd, DIRECTORY)
{
	static const int modes[] = { O_RDONLY, O_WRONLY, O_RDWR };
	struct ff_fence *fence;

	ff_fences_init(&fences, unit_dir_fd, true);
	fence = add();
	expect_held(fence, false, false);
	for (size_t i = 0; i < 3; i++) {
		int fd = open_again(fence, modes[i]);
		int copy = dup(fd);

		expect_held(fence, true, true);
		close(fd);
		expect_held(fence, true, true);
		close(copy);
		expect_held(fence, false, false);
	}
	ff_fences_free(&fences);
}

Test(held, by_a_mapping, DIRECTORY)
{
	struct ff_fence *fence;
	void *page;
	int fd;

	ff_fences_init(&fences, unit_dir_fd, true);
	fence = add();
	fd = open_again(fence, O_RDWR);
	page = mmap(NULL, 4, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	cr_assert(page != MAP_FAILED);
	close(fd);
	expect_held(fence, true, true);
	munmap(page, 4);
	expect_held(fence, false, false);
	ff_fences_free(&fences);
}

Test(held, by_an_fd_on_its_way, DIRECTORY)
{
	struct ff_fence *fence;
	int pair[2], fd;

	ff_fences_init(&fences, unit_dir_fd, true);
	fence = add();
	fd = open_again(fence, O_RDWR);
	cr_assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) ==
		0);
	cr_assert_eq(ff_fds_send(pair[0], "", 1, &fd, 1, 0), 1);
	close(fd);
	expect_held(fence, true, true);
	close(pair[0]);
	close(pair[1]);
	expect_held(fence, false, false);
	ff_fences_free(&fences);
}

/* A child that has mapped it; it ends when *hold is closed. */
static pid_t start_holder(const struct ff_fence *fence, int *hold)
{
	int ready[2], wait[2];
	pid_t pid;
	char byte;

	cr_assert(pipe(ready) == 0 && pipe(wait) == 0);
	pid = fork();
	cr_assert(pid >= 0);
	if (pid == 0) {
		int fd = open(fence->standin.path, O_RDWR);
		void *page = mmap(NULL, 4, PROT_READ | PROT_WRITE, MAP_SHARED,
			fd, 0);

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(fd);
		close(wait[1]);
		close(ready[0]);
		if (page == MAP_FAILED || write(ready[1], "", 1) != 1)
			_exit(1);
		_exit(read(wait[0], &byte, 1) == 0 ? 0 : 1);
	}
	close(ready[1]);
	close(wait[0]);
	cr_assert_eq(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	*hold = wait[1];
	return pid;
}

Test(held, by_a_child, DIRECTORY)
{
	struct ff_fence *fence;
	int hold, status;
	pid_t pid;

	ff_fences_init(&fences, unit_dir_fd, true);
	fence = add();
	pid = start_holder(fence, &hold);
	expect_held(fence, true, true);
	close(hold);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_expect_eq(status, 0);
	expect_held(fence, false, false);
	ff_fences_free(&fences);
}

/* Others open it by its name while we look again and again: we neither die of
 * it nor are they refused. */
Test(held, is_asked_while_others_open_it, DIRECTORY)
{
	struct ff_fence *fence;
	int status;
	pid_t pid;

	ff_fences_init(&fences, unit_dir_fd, true);
	fence = add();
	pid = fork();
	cr_assert(pid >= 0);
	if (pid == 0) {
		for (int i = 0; i < 20000; i++) {
			int fd = open(fence->standin.path, O_RDWR);

			if (fd < 0)
				_exit(1);
			close(fd);
		}
		_exit(0);
	}
	while (waitpid(pid, &status, WNOHANG) == 0)
		ff_fence_is_held(fence, false);
	cr_expect_eq(status, 0);
	expect_held(fence, false, false);
	ff_fences_free(&fences);
}

static size_t gone_count;

static void count_gone(void *context, struct ff_fence *fence)
{
	ff_fences_remove(context, fence);
	gone_count++;
}

static size_t sweep(size_t max)
{
	size_t before = gone_count;
	size_t found = ff_fences_sweep(&fences, max, count_gone, &fences);

	cr_expect_eq(gone_count - before, found);
	return found;
}

Test(sweep, comes_to_all_in_turn, DIRECTORY)
{
	struct ff_fence *all[100];
	int fds[100];

	ff_fences_init(&fences, unit_dir_fd, true);
	cr_expect_eq(sweep(10), 0);
	for (int i = 0; i < 100; i++) {
		all[i] = add();
		fds[i] = open_again(all[i], O_RDWR);
	}
	cr_expect_eq(sweep(SIZE_MAX), 0);
	for (int i = 0; i < 100; i += 3)
		close(fds[i]);
	for (int i = 0; i < 10; i++)
		sweep(10);
	cr_expect_eq(fences.count, 66);
	cr_expect_eq(count_test_files(), 66, "their names are gone");
	for (int i = 0; i < 100; i++)
		cr_expect_eq(ff_fences_by_id(&fences, (uint64_t)i + 1) != NULL,
			i % 3 != 0);
	for (int i = 0; i < 100; i++)
		if (i % 3)
			close(fds[i]);
	cr_expect_eq(sweep(SIZE_MAX), 66, "each once");
	cr_expect_eq(count_test_files(), 0);
	ff_fences_free(&fences);
}

/* Is it locked, as another's sweep would find it? */
static bool is_locked(const struct ff_fence *fence)
{
	int fd = open_again(fence, O_RDONLY);
	bool locked = flock(fd, LOCK_EX | LOCK_NB) < 0;

	close(fd);
	return locked;
}

Test(sweep, does_not_take_the_host_for_a_holder, DIRECTORY)
{
	struct ff_fence *fence;
	int host, client;
	uint32_t value;

	ff_fences_init(&fences, unit_dir_fd, true);
	fence = add();
	host = open_again(fence, O_RDONLY);
	client = open_again(fence, O_RDWR);
	cr_expect_eq(sweep(1), 0);
	fences.host_reads = true;
	cr_expect_eq(sweep(1), 0, "the client has it");
	cr_expect(is_locked(fence));
	cr_expect_eq(ff_fence_read(fence, &value), 0);
	cr_expect_eq(ff_fence_wake(fence, 1), 0);
	expect_held(fence, true, true);
	close(client);
	expect_held(fence, true, false);
	cr_expect(is_locked(fence));
	cr_expect_eq(sweep(1), 1);
	cr_expect_eq(count_test_files(), 0);
	close(host);
	ff_fences_free(&fences);
}

/* It opens those that it was told of. */
Test(sweep, leaves_what_the_host_is_about_to_open, DIRECTORY)
{
	struct ff_fence *fence;

	ff_fences_init(&fences, unit_dir_fd, true);
	fences.host_reads = true;
	fence = add();
	fence->state = FF_FENCE_TOLD;
	cr_expect_eq(sweep(1), 0);
	fence->state = FF_FENCE_ACCEPTED;
	cr_expect_eq(sweep(1), 1);
	ff_fences_free(&fences);
}

/* In between nobody's sweep of the directory can take the file. */
Test(sweep, never_lets_the_lock_go, DIRECTORY)
{
	pid_t pid;

	ff_fences_init(&fences, unit_dir_fd, true);
	fences.host_reads = true;
	pid = fork();
	cr_assert(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			ff_standin_sweep(unit_dir_fd);
	}
	for (int i = 0; i < 3000; i++) {
		struct ff_fence *fence = add();
		int fd = open(fence->standin.path, O_RDWR | O_CLOEXEC);

		cr_assert(fd >= 0, "round %d", i);
		ff_fences_sweep(&fences, 1, count_gone, &fences);
		cr_assert(fence->is_reader);
		cr_assert(access(fence->standin.path, F_OK) == 0, "round %d",
			i);
		close(fd);
		ff_fences_remove(&fences, fence);
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	ff_fences_free(&fences);
	cr_expect_eq(count_test_files(), 0);
}

/* A child that waits on it, and how often it was woken. */
static pid_t start_waiter(const struct ff_fence *fence)
{
	pid_t pid = fork();

	cr_assert(pid >= 0);
	if (pid == 0) {
		struct timespec timeout = { 20, 0 };
		int fd = open(fence->standin.path, O_RDWR);
		void *word = mmap(NULL, 4, PROT_READ | PROT_WRITE, MAP_SHARED,
			fd, 0);

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(word == MAP_FAILED || syscall(SYS_futex, word,
			FUTEX_WAIT, 0, &timeout, NULL, 0) < 0);
	}
	return pid;
}

Test(fence, wake_reaches_another_process, DIRECTORY)
{
	struct ff_fence *fence;
	int status, woken = 0;
	pid_t pids[2];

	ff_fences_init(&fences, unit_dir_fd, true);
	fence = add();
	cr_expect_eq(ff_fence_wake(fence, INT_MAX), 0, "nobody waits");
	for (int i = 0; i < 2; i++)
		pids[i] = start_waiter(fence);
	while (woken == 0) {
		woken = ff_fence_wake(fence, 1);
		cr_assert(woken == 0 || woken == 1);
		usleep(1000);
	}
	while (woken < 2) {
		int more = ff_fence_wake(fence, UINT32_MAX);

		cr_assert(more >= 0);
		woken += more;
		usleep(1000);
	}
	for (int i = 0; i < 2; i++) {
		cr_assert_eq(waitpid(pids[i], &status, 0), pids[i]);
		cr_expect_eq(status, 0);
	}
	ff_fences_free(&fences);
}

Test(fence, word_is_read, DIRECTORY)
{
	struct ff_fence *fence;
	uint32_t value = 1;
	int fd;

	ff_fences_init(&fences, unit_dir_fd, true);
	fence = add();
	cr_expect_eq(ff_fence_read(fence, &value), 0);
	cr_expect_eq(value, 0);
	fd = open_again(fence, O_RDWR);
	value = 0x12345678;
	cr_assert_eq(pwrite(fd, &value, 4, 0), 4);
	value = 0;
	cr_expect_eq(ff_fence_read(fence, &value), 0);
	cr_expect_eq(value, 0x12345678);
	close(fd);
	ff_fences_free(&fences);
}

Test(fence, truncated_one_does_no_harm, DIRECTORY)
{
	struct ff_fence *fence;
	uint32_t value;
	int fd;

	ff_fences_init(&fences, unit_dir_fd, true);
	fence = add();
	fd = open_again(fence, O_RDWR);
	cr_assert(ftruncate(fd, 0) == 0);
	cr_expect_eq(ff_fence_read(fence, &value), -EFAULT);
	cr_expect_eq(ff_fence_wake(fence, 1), -EFAULT);
	cr_expect_eq(sweep(1), 0);
	close(fd);
	cr_expect_eq(sweep(1), 1);
	ff_fences_free(&fences);
}

Test(fence, hundred_thousand_leave_nothing, DIRECTORY)
{
	size_t room, buckets;

	ff_fences_init(&fences, unit_dir_fd, true);
	ff_fences_remove(&fences, add());
	room = fences.room;
	buckets = fences.buckets;
	for (int i = 0; i < 100000; i++) {
		struct ff_fence *fence = add();
		int fd = open_again(fence, O_RDWR);

		ff_fences_sweep(&fences, 4, count_gone, &fences);
		close(fd);
	}
	cr_expect(fences.count <= 4, "%zu", fences.count);
	sweep(SIZE_MAX);
	cr_expect_eq(fences.count, 0);
	cr_expect_eq(gone_count, 100000);
	cr_expect_eq(count_test_files(), 0);
	cr_expect_eq(fences.room, room);
	cr_expect_eq(fences.buckets, buckets);
	cr_expect(dup(0) < 20, "no fd is left");
	ff_fences_free(&fences);
}
