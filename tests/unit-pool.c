/* SPDX-License-Identifier: MIT */
/* src/pool: stand-ins that are made while nobody waits; and names given late. */
#include "fence.h"
#include "pool.h"

#include "count-fds.h"
#include "unit-dir.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define DIRECTORY .init = make_test_dir, .fini = remove_test_dir

static struct ff_pool pool;

static void begin(void)
{
	pool = (struct ff_pool){ .dir = unit_dir, .dir_fd = unit_dir_fd };
}

static void fill(void)
{
	struct ff_error error;

	while (ff_pool_wants(&pool))
		cr_assert_eq(ff_pool_fill(&pool, &error), 0, "%s", error.text);
}

static struct ff_ready take(void)
{
	struct ff_ready ready;
	struct ff_error error;

	cr_assert_eq(ff_pool_take(&pool, &ready, &error), 0, "%s", error.text);
	return ready;
}

Test(pool, has_as_many_as_it_says_and_wants_no_more, DIRECTORY)
{
	struct ff_error error;

	begin();
	fill();
	cr_expect_eq(pool.count, FF_POOL_SIZE);
	cr_expect_eq(ff_pool_fill(&pool, &error), 0);
	cr_expect_eq(pool.count, FF_POOL_SIZE);
	ff_pool_drop(&pool, &(struct ff_ready){ .fd = -1, .standin.fd = -1 });
	ff_pool_free(&pool);
}

Test(pool, gives_empty_files_of_two_descriptions_and_no_name, DIRECTORY)
{
	struct ff_ready ready;
	struct stat ours, theirs;

	begin();
	fill();
	ready = take();
	cr_assert_eq(fstat(ready.standin.fd, &ours), 0);
	cr_assert_eq(fstat(ready.fd, &theirs), 0);
	cr_expect(ours.st_ino == theirs.st_ino && ours.st_dev == theirs.st_dev);
	cr_expect_eq(ours.st_ino, ready.standin.ino);
	cr_expect_eq(theirs.st_size, 0);
	cr_expect_eq(count_test_files(), 0);
	cr_expect_eq(fcntl(ready.fd, F_GETFL) & O_ACCMODE, O_RDWR);
	/* Offsets tell descriptions from duplicates. */
	cr_assert_eq(lseek(ready.fd, 3, SEEK_SET), 3);
	cr_expect_eq(lseek(ready.standin.fd, 0, SEEK_CUR), 0);
	ff_pool_drop(&pool, &ready);
	ff_pool_free(&pool);
}

Test(pool, makes_one_at_once_if_it_has_none, DIRECTORY)
{
	struct ff_ready ready;

	begin();
	ready = take();
	cr_expect_geq(ready.fd, 0);
	ff_pool_drop(&pool, &ready);
}

/* What is written to a file that was made larger must not be SIGBUS. */
Test(pool, has_room_for_a_page_in_each, DIRECTORY)
{
	struct ff_ready ready;
	struct stat st;
	long page = sysconf(_SC_PAGESIZE);

	begin();
	ready = take();
	cr_assert_eq(ftruncate(ready.fd, 4), 0);
	cr_assert_eq(fstat(ready.fd, &st), 0);
	cr_expect_geq(st.st_blocks * 512, page);
	ff_pool_drop(&pool, &ready);
}

Test(pool, leaves_no_fd_and_no_file, DIRECTORY)
{
	int before;

	begin();
	before = count_fds(getpid());
	for (int i = 0; i < 3; i++) {
		struct ff_ready ready;

		fill();
		ready = take();
		ff_pool_drop(&pool, &ready);
	}
	ff_pool_free(&pool);
	cr_expect_eq(count_fds(getpid()), before);
	cr_expect_eq(count_test_files(), 0);
}

Test(pool, that_cannot_says_why_and_does_not_try_for_ever, DIRECTORY)
{
	struct rlimit limit, none;
	struct ff_ready ready;
	struct ff_error error;

	begin();
	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = (struct rlimit){ 3, limit.rlim_max };
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	cr_expect_eq(ff_pool_take(&pool, &ready, &error), -EMFILE);
	cr_expect(strstr(error.text, "cannot make stand-ins"), "%s",
		error.text);
	cr_expect_not(ff_pool_wants(&pool));
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

Test(name, is_given_to_one_that_has_none_once, DIRECTORY)
{
	struct ff_ready ready;
	struct stat st;
	char name[256];

	begin();
	ready = take();
	cr_assert_eq(ff_standin_give_name(unit_dir, unit_dir_fd,
		&ready.standin), 0);
	snprintf(name, sizeof(name), "%s", ff_standin_name(&ready.standin));
	cr_expect(ff_standin_is_name(name), "%s", name);
	cr_assert_eq(fstatat(unit_dir_fd, name, &st, 0), 0);
	cr_expect_eq(st.st_ino, ready.standin.ino);
	cr_expect_eq(ff_standin_give_name(unit_dir, unit_dir_fd,
		&ready.standin), 0);
	cr_expect_str_eq(ff_standin_name(&ready.standin), name);
	cr_expect_eq(count_test_files(), 1);
	/* Our lock is known to sweeps by the name. */
	cr_expect_eq(ff_standin_sweep(unit_dir_fd), 0);
	ff_pool_drop(&pool, &ready);
	cr_expect_eq(count_test_files(), 0);
}

/* As patched libxshmfences make them: no name can be given. */
Test(name, is_refused_to_files_of_others, DIRECTORY)
{
	struct ff_standin other = { 0 };

	other.fd = openat(unit_dir_fd, ".", O_TMPFILE | O_EXCL | O_RDWR |
		O_CLOEXEC, 0600);
	cr_assert_geq(other.fd, 0);
	cr_expect_eq(ff_standin_give_name(unit_dir, unit_dir_fd, &other),
		-ENOENT);
	cr_expect_not(other.named);
	cr_expect_eq(count_test_files(), 0);
	close(other.fd);
}

static size_t gone_count;

static void count_gone(void *context, struct ff_fence *fence)
{
	gone_count++;
	ff_fences_remove(context, fence);
}

/* One that has not crossed yet is still to be populated, for which it must be
 * open for writing. */
Test(fence, that_is_new_stays_writable_until_it_crosses, DIRECTORY)
{
	struct ff_fences fences;
	struct ff_fence *fence;
	struct ff_ready ready;
	struct ff_error error;
	struct stat st;

	begin();
	ff_fences_init(&fences, unit_dir_fd, true);
	fences.host_reads = true;
	ready = take();
	fence = ff_fences_add(&fences, &ready.standin, &error);
	cr_assert(fence, "%s", error.text);
	fence->is_new = true;
	ff_fences_sweep(&fences, 1, count_gone, &fences);
	cr_expect_eq(gone_count, 0, "the client has it");
	cr_expect_eq(fcntl(fence->standin.fd, F_GETFL) & O_ACCMODE, O_RDWR);
	cr_assert_eq(ftruncate(ready.fd, 4), 0);
	cr_assert_eq(fallocate(ready.fd, FALLOC_FL_PUNCH_HOLE |
		FALLOC_FL_KEEP_SIZE, 0, 4096), 0);
	ff_fence_populate(fence);
	cr_assert_eq(fstat(ready.fd, &st), 0);
	cr_expect_gt(st.st_blocks, 0, "there is a page");
	fence->is_new = false;
	ff_fences_sweep(&fences, 1, count_gone, &fences);
	cr_expect_eq(fcntl(fence->standin.fd, F_GETFL) & O_ACCMODE, O_RDONLY);
	close(ready.fd);
	ff_fences_sweep(&fences, 1, count_gone, &fences);
	cr_expect_eq(gone_count, 1);
	ff_fences_free(&fences);
}
