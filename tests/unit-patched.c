/* SPDX-License-Identifier: MIT */
/*
 * src/patched: libraries that are made for this test, and processes that map
 * them. This program itself has the variable's name among its constants.
 */
#include "patched.h"

#include "unit-dir.h"

#include <criterion/criterion.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define TIMEOUT .timeout = 60
#define NAME "libxshmfence.so.1"

static const char *const patched[] = {
	SHMFENCE_DIR "/patched/" NAME,
#ifdef HAS_32
	SHMFENCE_DIR "/patched32/" NAME,
#endif
};
static const char *const plain[] = {
	SHMFENCE_DIR "/plain/" NAME,
#ifdef HAS_32
	SHMFENCE_DIR "/plain32/" NAME,
#endif
};

static int judge(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), result;
	off_t offset;

	cr_assert(fd >= 0, "%s: %s", path, strerror(errno));
	offset = lseek(fd, 0, SEEK_CUR);
	result = ff_patched_file(fd);
	cr_expect_eq(lseek(fd, 0, SEEK_CUR), offset);
	close(fd);
	return result;
}

static char *in_dir(const char *name)
{
	static char paths[2][128];
	static int next;
	char *path = paths[next++ % 2];

	snprintf(path, sizeof(paths[0]), "%s/%s", unit_dir, name);
	return path;
}

static size_t read_file(const char *path, unsigned char *bytes, size_t room)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	cr_assert(fd >= 0, "%s: %s", path, strerror(errno));
	n = read(fd, bytes, room);
	cr_assert(n > 0 && (size_t)n < room);
	close(fd);
	return (size_t)n;
}

/* Always a new file, so that nothing is remembered of it. */
static void write_file(const char *path, const unsigned char *bytes,
	size_t size)
{
	int fd;

	unlink(path);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
	cr_assert(fd >= 0);
	cr_assert_eq(write(fd, bytes, size), (ssize_t)size);
	close(fd);
}

static void copy_file(const char *from, const char *to)
{
	static unsigned char bytes[256 << 10];

	write_file(to, bytes, read_file(from, bytes, sizeof(bytes)));
}

Test(patched, tells_libraries_apart, TIMEOUT)
{
	for (size_t i = 0; i < sizeof(patched) / sizeof(patched[0]); i++)
		for (int again = 0; again < 2; again++)
			cr_expect_eq(judge(patched[i]), 1, "%s", patched[i]);
	for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
		for (int again = 0; again < 2; again++)
			cr_expect_eq(judge(plain[i]), 0, "%s", plain[i]);
}

/* Without sections, only segments are left. */
static void copy_without_sections(const char *from, const char *to)
{
	static unsigned char bytes[256 << 10];
	size_t size = read_file(from, bytes, sizeof(bytes));
	Elf64_Ehdr head;

	memcpy(&head, bytes, sizeof(head));
	head.e_shoff = 0;
	head.e_shnum = head.e_shstrndx = 0;
	memcpy(bytes, &head, sizeof(head));
	write_file(to, bytes, size);
}

Test(patched, tells_libraries_without_sections_apart, TIMEOUT)
{
	make_test_dir();
	copy_without_sections(patched[0], in_dir(NAME));
	cr_expect_eq(judge(in_dir(NAME)), 1);
	copy_without_sections(plain[0], in_dir(NAME));
	cr_expect_eq(judge(in_dir(NAME)), 0);
	remove_test_dir();
}

/* A file of one segment, in which the name begins at an offset. */
static int judge_name_at(size_t offset, size_t size)
{
	static unsigned char bytes[256 << 10];
	const Elf64_Ehdr head = {
		.e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64,
			ELFDATA2LSB, EV_CURRENT },
		.e_type = ET_DYN,
		.e_machine = EM_X86_64,
		.e_version = EV_CURRENT,
		.e_phoff = sizeof(head),
		.e_ehsize = sizeof(head),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = 1,
	};
	const Elf64_Phdr segment = {
		.p_type = PT_LOAD, .p_flags = PF_R, .p_filesz = size,
	};

	memset(bytes, 'X', sizeof(bytes));
	memcpy(bytes, &head, sizeof(head));
	memcpy(bytes + sizeof(head), &segment, sizeof(segment));
	memcpy(bytes + offset, "XSHMFENCE_NO_MEMFD", 19);
	write_file(in_dir(NAME), bytes, size);
	return judge(in_dir(NAME));
}

/* Files are read in pieces, and the name may lie across two. */
Test(patched, finds_the_name_wherever_it_begins, TIMEOUT)
{
	const size_t piece = 64 << 10, size = 200 << 10;

	make_test_dir();
	for (size_t i = 0; i < 40; i++) {
		cr_expect_eq(judge_name_at(piece - i, size), 1, "%zu", i);
		cr_expect_eq(judge_name_at(2 * piece - i, size), 1, "%zu", i);
	}
	cr_expect_eq(judge_name_at(size - 19, size), 1);
	cr_expect_eq(judge_name_at(size - 18, size), 0); /* no NUL */
	remove_test_dir();
}

Test(patched, what_is_no_elf_file_is_said_to_be_none, TIMEOUT)
{
	make_test_dir();
	cr_expect_eq(judge("/dev/null"), -ENOEXEC);
	cr_expect_eq(judge(unit_dir), -ENOEXEC);
	cr_assert(mkfifo(in_dir("fifo"), 0600) == 0);
	cr_expect_eq(judge(in_dir("fifo")), -ENOEXEC);
	write_file(in_dir("empty"), NULL, 0);
	cr_expect_eq(judge(in_dir("empty")), -ENOEXEC);
	write_file(in_dir("text"), (const void *)"XSHMFENCE_NO_MEMFD", 19);
	cr_expect_eq(judge(in_dir("text")), -ENOEXEC);
	remove_test_dir();
}

/* A file that is changed is another file. */
Test(patched, forgets_what_a_file_was, TIMEOUT)
{
	const struct timespec times[2] = { { 1000, 0 }, { 1000, 0 } };
	unsigned char bytes[256 << 10];
	size_t size;
	int fd;

	make_test_dir();
	copy_file(plain[0], in_dir(NAME));
	cr_expect_eq(judge(in_dir(NAME)), 0);
	size = read_file(patched[0], bytes, sizeof(bytes));
	fd = open(in_dir(NAME), O_WRONLY | O_TRUNC | O_CLOEXEC);
	cr_assert_eq(write(fd, bytes, size), (ssize_t)size);
	cr_assert(futimens(fd, times) == 0);
	close(fd);
	cr_expect_eq(judge(in_dir(NAME)), 1);
	remove_test_dir();
}

/* However damaged: an answer, in time, and no more memory than it has. */
Test(patched, survives_damaged_files, TIMEOUT)
{
	static unsigned char good[256 << 10], bad[256 << 10];
	unsigned int answers[3] = { 0 };
	uint64_t state = 1;

	make_test_dir();
	for (unsigned int round = 0; round < 3000; round++) {
		const char *from = patched[round %
			(sizeof(patched) / sizeof(patched[0]))];
		size_t size = read_file(from, good, sizeof(good));
		int result;

		memcpy(bad, good, size);
		for (unsigned int i = 0; i < 1 + round % 8; i++) {
			size_t at;

			state = state * 6364136223846793005u + 1442695040888963407u;
			/* The headers are at the ends. */
			at = (size_t)(state >> 33) % 0x340;
			if (round & 8)
				at = size - 1 - at % size;
			bad[at] = (unsigned char)(state >> 24);
		}
		if (round % 3 == 0)
			size = (size_t)(state >> 33) % size;
		write_file(in_dir(NAME), bad, size);
		result = judge(in_dir(NAME));
		cr_assert(result == 0 || result == 1 || result == -ENOEXEC,
			"%d", result);
		answers[result < 0 ? 2 : result]++;
	}
	cr_expect(answers[0] > 10 && answers[1] > 10 && answers[2] > 10,
		"no: %u, yes: %u, no ELF file: %u", answers[0], answers[1],
		answers[2]);
	remove_test_dir();
}

/* Sections of any size, in a file that has room for them. */
Test(patched, does_not_read_for_ever, TIMEOUT)
{
	static unsigned char bytes[256 << 10];
	size_t size = read_file(plain[0], bytes, sizeof(bytes));
	Elf64_Ehdr head;

	make_test_dir();
	memcpy(&head, bytes, sizeof(head));
	for (unsigned int i = 1; i < head.e_shnum; i++) {
		Elf64_Shdr *section = (void *)(bytes + head.e_shoff +
			i * sizeof(*section));

		section->sh_type = SHT_PROGBITS;
		section->sh_flags = SHF_ALLOC;
		section->sh_offset = size;
		section->sh_size = 1ull << (i % 2 ? 41 : 62);
	}
	write_file(in_dir(NAME), bytes, size);
	cr_assert(truncate(in_dir(NAME), 1ll << 42) == 0);
	cr_expect_eq(judge(in_dir(NAME)), 0);
	/* A count of sections that is in the first one. */
	head.e_shnum = 0;
	memcpy(bytes, &head, sizeof(head));
	((Elf64_Shdr *)(void *)(bytes + head.e_shoff))->sh_size = 1ull << 20;
	write_file(in_dir(NAME), bytes, size);
	cr_assert(truncate(in_dir(NAME), 1ll << 42) == 0);
	cr_expect_eq(judge(in_dir(NAME)), -ENOEXEC);
	remove_test_dir();
}

/* --- processes --- */

/* A child that maps a file, or as NULL nothing, and is there. */
static pid_t start(const char *path)
{
	int ready[2], fd;
	pid_t pid;
	char byte;

	cr_assert(pipe(ready) == 0);
	pid = fork();
	cr_assert(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		fd = path ? open(path, O_RDONLY) : -1;
		if (path && (fd < 0 || mmap(NULL, 4096, PROT_READ, MAP_PRIVATE,
				fd, 0) == MAP_FAILED ||
				mmap(NULL, 4096, PROT_READ | PROT_EXEC,
				MAP_PRIVATE, fd, 0) == MAP_FAILED))
			_exit(1);
		if (write(ready[1], "", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(ready[1]);
	cr_assert_eq(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	return pid;
}

static void stop(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void expect(pid_t pid, int result, const char *path)
{
	char found[256] = "";

	cr_expect_eq(ff_patched_process(pid, found, sizeof(found)), result);
	cr_expect_str_eq(found, path);
	stop(pid);
}

Test(patched, finds_the_library_that_a_process_maps, TIMEOUT)
{
	for (size_t i = 0; i < sizeof(patched) / sizeof(patched[0]); i++)
		expect(start(patched[i]), 1, patched[i]);
	for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
		expect(start(plain[i]), 0, "");
}

/* As this one has it in it, by src/patched.c. */
Test(patched, takes_the_executable_if_there_is_no_library, TIMEOUT)
{
	char self[256] = "";
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	pid_t pid;

	cr_assert(n > 0);
	expect(start(NULL), 1, self);
	pid = start(NULL);
	cr_expect_eq(ff_patched_process(pid, NULL, 0), 1);
	cr_expect_eq(ff_patched_process(pid, self, 2), 1);
	cr_expect_str_eq(self, "/");
	stop(pid);
}

Test(patched, says_no_of_a_program_without, TIMEOUT)
{
	int ready[2];
	pid_t pid;
	char byte;

	cr_assert(pipe2(ready, O_CLOEXEC) == 0);
	pid = fork();
	if (pid == 0) {
		execlp("sleep", "sleep", "100", (char *)NULL);
		_exit(1);
	}
	close(ready[1]);
	cr_assert_eq(read(ready[0], &byte, 1), 0); /* it has begun */
	expect(pid, 0, "");
}

Test(patched, says_that_a_process_is_gone, TIMEOUT)
{
	pid_t pid = start(NULL);
	char path[8] = "";

	stop(pid);
	cr_expect_eq(ff_patched_process(pid, path, sizeof(path)), -ENOENT);
}

/* Only the mapping leads to it; for who may not go that way, nothing does. */
Test(patched, finds_a_library_that_was_replaced, TIMEOUT)
{
	char path[128], link[160] = "";
	bool may = geteuid() == 0;
	pid_t pid;

	make_test_dir();
	snprintf(path, sizeof(path), "%s", in_dir(NAME));
	copy_file(patched[0], path);
	pid = start(path);
	copy_file(plain[0], path);
	snprintf(link, sizeof(link), "%s (deleted)", path);
	expect(pid, may ? 1 : -ESTALE, may ? link : "");
	remove_test_dir();
}

/* A file is cut off that a process maps. */
Test(patched, survives_a_library_that_was_truncated, TIMEOUT)
{
	pid_t pid;

	make_test_dir();
	copy_file(patched[0], in_dir(NAME));
	pid = start(in_dir(NAME));
	cr_assert(truncate(in_dir(NAME), 0) == 0);
	expect(pid, -ENOEXEC, "");
	remove_test_dir();
}

static bool write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) ==
		(ssize_t)strlen(text);

	close(fd);
	return ok;
}

/* A mount namespace of its own, in a user namespace if need be. */
static bool enter_namespace(void)
{
	char uids[32], gids[32];

	snprintf(uids, sizeof(uids), "0 %u 1\n", geteuid());
	snprintf(gids, sizeof(gids), "0 %u 1\n", getegid());
	if (unshare(CLONE_NEWNS) < 0 &&
		(unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0 ||
			!write_text("/proc/self/uid_map", uids) ||
			!write_text("/proc/self/setgroups", "deny") ||
			!write_text("/proc/self/gid_map", gids)))
		return false;
	return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
		mount("none", "/tmp", "tmpfs", 0, "mode=1777") == 0;
}

/* Where the path is nothing to us. */
static void __attribute__((noreturn)) act_elsewhere(int ready)
{
	char bytes[64 << 10];
	int from = open(patched[0], O_RDONLY), to;
	ssize_t n = read(from, bytes, sizeof(bytes));

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (!enter_namespace())
		_exit(77);
	to = open("/tmp/" NAME, O_RDWR | O_CREAT, 0700);
	if (to < 0 || write(to, bytes, (size_t)n) != n ||
		mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, to, 0) == MAP_FAILED ||
		write(ready, "", 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

Test(patched, finds_a_library_in_another_mount_namespace, TIMEOUT)
{
	int ready[2], status;
	pid_t pid;
	char byte;

	cr_assert(pipe2(ready, O_CLOEXEC) == 0);
	pid = fork();
	if (pid == 0)
		act_elsewhere(ready[1]);
	close(ready[1]);
	if (read(ready[0], &byte, 1) == 0) {
		waitpid(pid, &status, 0);
		cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 77);
		cr_skip("no mount namespace is to be had");
	}
	expect(pid, 1, "/tmp/" NAME);
}
