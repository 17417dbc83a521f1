/* SPDX-License-Identifier: MIT */
/*
 * src/futexwatch/place: which file an address lies in. Each test has two
 * forms: with PROCMAP_QUERY, where the kernel has it, and without.
 */
#include "futexwatch/place.h"

#include "forbid.h"
#include "process.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static long page;
static int file; /* of 8 pages */
static struct stat st;
static struct ff_places places;

static void set_up(void)
{
	page = sysconf(_SC_PAGESIZE);
	file = memfd_create("unit-place", MFD_CLOEXEC);
	cr_assert(file >= 0 && ftruncate(file, 8 * page) == 0);
	cr_assert(fstat(file, &st) == 0);
}

#define BOTH(name) \
	static void name(void); \
	Test(query, name, .init = set_up, .timeout = 60) \
	{ \
		if (!has_query()) \
			cr_skip_test("this kernel has no PROCMAP_QUERY"); \
		name(); \
		ff_places_free(&places); \
	} \
	Test(text, name, .init = set_up, .timeout = 60) \
	{ \
		forbid_query(); \
		cr_assert_not(has_query()); \
		name(); \
		ff_places_free(&places); \
	} \
	static void name(void)

static uint64_t address(const void *at)
{
	return (uint64_t)(uintptr_t)at;
}

static char *map(int flags, int first, int pages)
{
	char *at = mmap(NULL, (size_t)(pages * page), PROT_READ, flags, file,
		first * page);

	cr_assert(at != MAP_FAILED);
	return at;
}

static void expect_at(pid_t tid, const void *at, uint64_t offset)
{
	struct ff_place place = { 0 };

	cr_assert_eq(ff_places_find(&places, tid, address(at), &place), 0);
	cr_expect_eq(place.dev, st.st_dev);
	cr_expect_eq(place.ino, st.st_ino);
	cr_expect_eq(place.offset, offset, "%#lx is not %#lx",
		(unsigned long)place.offset, (unsigned long)offset);
}

static void expect_nothing(pid_t tid, const void *at)
{
	struct ff_place place;

	cr_expect_eq(ff_places_find(&places, tid, address(at), &place),
		-ENOENT);
}

BOTH(finds_the_offset_in_the_file)
{
	char *whole = map(MAP_SHARED, 0, 8), *part = map(MAP_SHARED, 5, 2);

	expect_at(getpid(), whole, 0);
	expect_at(getpid(), whole + 4, 4);
	expect_at(getpid(), whole + 8 * page - 4, (uint64_t)(8 * page - 4));
	expect_at(getpid(), part, (uint64_t)(5 * page));
	expect_at(getpid(), part + page + 8, (uint64_t)(6 * page + 8));
}

BOTH(sees_mappings_come_go_and_move)
{
	char *at = map(MAP_SHARED, 0, 2), *room, *moved;

	expect_at(getpid(), at, 0);
	room = mmap(NULL, (size_t)(4 * page), PROT_NONE,
		MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	cr_assert(room != MAP_FAILED);
	expect_nothing(getpid(), room);
	moved = mremap(at, (size_t)page, (size_t)page,
		MREMAP_MAYMOVE | MREMAP_FIXED, room + page);
	cr_assert(moved == room + page);
	expect_at(getpid(), moved + 4, 4);
	expect_nothing(getpid(), at);
	expect_at(getpid(), at + page, (uint64_t)page);
	cr_assert(mmap(moved, (size_t)page, PROT_READ, MAP_SHARED | MAP_FIXED,
		file, 3 * page) == moved);
	expect_at(getpid(), moved, (uint64_t)(3 * page));
	munmap(moved, (size_t)page);
	expect_nothing(getpid(), moved);
}

BOTH(refuses_what_is_private_or_of_no_file)
{
	static int variable;
	char *private = map(MAP_PRIVATE, 0, 8);

	expect_nothing(getpid(), private);
	expect_nothing(getpid(), &variable);
	expect_nothing(getpid(), &private);
	expect_nothing(getpid(), NULL);
	expect_nothing(getpid(), (void *)UINTPTR_MAX);
}

/* Of the whole address space the highest mapping and the lowest. */
BOTH(finds_what_is_first_and_what_is_last)
{
	struct ff_vmas list = { 0 };
	char *at;

	cr_assert_eq(ff_process_vmas(getpid(), &list), 0);
	at = mmap((char *)(uintptr_t)list.vmas[0].start - 4 * page,
		(size_t)page, PROT_READ, MAP_SHARED | MAP_FIXED_NOREPLACE,
		file, page);
	cr_assert(at != MAP_FAILED);
	expect_at(getpid(), at, (uint64_t)page);
	expect_nothing(getpid(), at - page);
	expect_nothing(getpid(), at + page);
	ff_vmas_free(&list);
}

/* Another process, which ends with us. What it does before it waits, act
 * says. */
static pid_t start(void (*act)(void *argument), void *argument)
{
	int done[2];
	pid_t pid;
	char byte;

	cr_assert(pipe(done) == 0);
	pid = fork();
	cr_assert(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (act)
			act(argument);
		if (write(done[1], "", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(done[1]);
	cr_assert_eq(read(done[0], &byte, 1), 1);
	close(done[0]);
	return pid;
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	cr_assert_eq(waitpid(pid, NULL, 0), pid);
}

static void map_other(void *argument)
{
	if (mmap(argument, (size_t)page, PROT_READ, MAP_SHARED | MAP_FIXED,
			file, 7 * page) != argument)
		_exit(1);
}

BOTH(knows_processes_apart_after_a_fork)
{
	char *at = map(MAP_SHARED, 0, 2);
	pid_t same, other;

	expect_at(getpid(), at, 0);
	same = start(NULL, NULL);
	other = start(map_other, at);
	for (int i = 0; i < 3; i++) {
		expect_at(same, at, 0);
		expect_at(other, at, (uint64_t)(7 * page));
		expect_at(getpid(), at, 0);
	}
	munmap(at, (size_t)(2 * page));
	expect_nothing(getpid(), at);
	expect_at(same, at + page, (uint64_t)page);
	end(same);
	end(other);
}

BOTH(asks_anew_after_an_exec)
{
	char *at = map(MAP_SHARED, 0, 2), path[32];
	int in[2], started[2], maps;
	struct ff_vma vma;
	char byte;
	pid_t pid;

	cr_assert(pipe2(in, O_CLOEXEC) == 0 && pipe2(started, O_CLOEXEC) == 0);
	pid = fork();
	cr_assert(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(in[0], 0);
		if (write(started[1], "", 1) == 1 &&
			read(in[0], &byte, 1) == 1)
			execlp("cat", "cat", NULL);
		_exit(1);
	}
	close(started[1]);
	cr_assert_eq(read(started[0], &byte, 1), 1);
	expect_at(pid, at, 0);
	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	maps = open(path, O_RDONLY | O_CLOEXEC);
	cr_assert_eq(ff_process_vma_at(maps, address(at), &vma), 0);
	cr_assert_eq(write(in[1], "", 1), 1);
	cr_assert_eq(read(started[0], &byte, 1), 0, "executed");
	cr_expect_eq(ff_process_vma_at(maps, address(at), &vma), -ESRCH);
	expect_nothing(pid, at);
	expect_nothing(pid, at);
	end(pid);
	close(maps);
	close(in[0]);
	close(in[1]);
	close(started[0]);
}

static int open_files(void)
{
	struct ff_ids fds = { 0 };
	int count;

	cr_assert(ff_process_fds(getpid(), &fds) >= 0);
	count = (int)fds.count;
	ff_ids_free(&fds);
	return count;
}

BOTH(says_so_when_the_process_is_gone)
{
	char *at = map(MAP_SHARED, 0, 2);
	pid_t pid = start(NULL, NULL);
	int before = open_files();
	struct ff_place place;

	expect_at(pid, at, 0);
	end(pid);
	for (int i = 0; i < 3; i++)
		cr_expect(ff_places_find(&places, pid, address(at), &place) <
			0);
	cr_expect_eq(open_files(), before, "nothing is held for it");
}

/* What a thread does that tells its number, until it is let go. */
struct thread {
	pthread_t thread;
	int tid[2], go[2];
};

static void *be_thread(void *argument)
{
	struct thread *thread = argument;
	pid_t tid = gettid();
	char byte;

	if (write(thread->tid[1], &tid, sizeof(tid)) != sizeof(tid) ||
		read(thread->go[0], &byte, 1) != 1)
		return NULL;
	return NULL;
}

static pid_t start_thread(struct thread *thread)
{
	pid_t tid;

	cr_assert(pipe(thread->tid) == 0 && pipe(thread->go) == 0);
	cr_assert_eq(pthread_create(&thread->thread, NULL, be_thread, thread),
		0);
	cr_assert_eq(read(thread->tid[0], &tid, sizeof(tid)), sizeof(tid));
	return tid;
}

static void end_thread(struct thread *thread)
{
	cr_assert_eq(write(thread->go[1], "", 1), 1);
	pthread_join(thread->thread, NULL);
	for (int i = 0; i < 2; i++) {
		close(thread->tid[i]);
		close(thread->go[i]);
	}
}

/* It may be another one's number by then, while the memory lives on. */
BOTH(does_not_answer_for_a_thread_that_has_ended)
{
	char *at = map(MAP_SHARED, 0, 2);
	struct thread thread;
	pid_t tid = start_thread(&thread);
	struct ff_place place;

	expect_at(tid, at, 0);
	expect_at(tid, at + 4, 4);
	end_thread(&thread);
	/* The number goes a moment after pthread_join returns. */
	while (syscall(SYS_tgkill, getpid(), tid, 0) == 0)
		sched_yield();
	cr_expect(ff_places_find(&places, tid, address(at), &place) < 0);
	expect_at(getpid(), at, 0);
}

BOTH(what_is_forgotten_is_asked_anew)
{
	char *at = map(MAP_SHARED, 0, 2);
	int before = open_files();
	pid_t pid = start(NULL, NULL);

	expect_at(pid, at, 0);
	ff_places_forget(&places, pid);
	cr_expect_eq(open_files(), before);
	ff_places_forget(&places, pid);
	ff_places_forget(&places, 12345);
	expect_at(pid, at, 0);
	ff_places_free(&places);
	cr_expect_eq(open_files(), before);
	end(pid);
}

/* More than are remembered, again and again. */
BOTH(holds_a_bounded_number_of_files)
{
	static struct thread threads[FF_PLACES_MAX + 20];
	static pid_t tids[FF_PLACES_MAX + 20];
	char *at = map(MAP_SHARED, 0, 2);
	int before;

	for (int i = 0; i < FF_PLACES_MAX + 20; i++)
		tids[i] = start_thread(&threads[i]);
	before = open_files();
	for (int round = 0; round < 3; round++)
		for (int i = 0; i < FF_PLACES_MAX + 20; i++)
			expect_at(tids[i], at + 4 * i, 4 * (uint64_t)i);
	cr_expect_leq(open_files(), before + 2 * FF_PLACES_MAX);
	ff_places_free(&places);
	cr_expect_eq(open_files(), before);
	for (int i = 0; i < FF_PLACES_MAX + 20; i++)
		end_thread(&threads[i]);
}

static void hide(void *argument)
{
	(void)argument;
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

/* What is not to be seen is not taken for what is not there. */
BOTH(says_so_when_it_may_not_look)
{
	char *at = map(MAP_SHARED, 0, 2);
	struct ff_place place;
	pid_t pid;

	if (geteuid() == 0)
		cr_assert(setresuid(65534, 65534, 65534) == 0);
	pid = start(hide, NULL);
	cr_expect_eq(ff_places_find(&places, pid, address(at), &place),
		-EACCES);
	end(pid);
}
