/* SPDX-License-Identifier: MIT */
/* src/process and src/vmas: the memory of a process. */
#include "forbid.h"
#include "process.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static size_t page;

static void set_page(void)
{
	page = (size_t)sysconf(_SC_PAGESIZE);
}

static int make_file(size_t size)
{
	int fd = memfd_create("unit-process", MFD_CLOEXEC);

	cr_assert(fd >= 0 && ftruncate(fd, (off_t)size) == 0);
	return fd;
}

static char *map(int fd, size_t pages, int protect, int flags, off_t offset)
{
	char *at = mmap(NULL, pages * page, protect, flags, fd, offset);

	cr_assert(at != MAP_FAILED);
	return at;
}

static uint64_t address(const void *at)
{
	return (uint64_t)(uintptr_t)at;
}

static const struct ff_vma *find_vma(const struct ff_vmas *vmas,
	const void *start)
{
	for (size_t i = 0; i < vmas->count; i++)
		if (vmas->vmas[i].start == address(start))
			return &vmas->vmas[i];
	return NULL;
}

/* One mapping of each kind, apart from each other. */
static void check_kinds(void)
{
	static const struct {
		int protect, flags;
		unsigned int want;
	} kinds[] = {
		{ PROT_READ | PROT_WRITE, MAP_SHARED,
			FF_VMA_READ | FF_VMA_WRITE | FF_VMA_SHARED },
		{ PROT_READ, MAP_SHARED, FF_VMA_READ | FF_VMA_SHARED },
		{ PROT_NONE, MAP_SHARED, FF_VMA_SHARED },
		{ PROT_READ | PROT_WRITE, MAP_PRIVATE,
			FF_VMA_READ | FF_VMA_WRITE },
		{ PROT_READ | PROT_EXEC, MAP_PRIVATE,
			FF_VMA_READ | FF_VMA_EXEC },
		{ PROT_NONE, MAP_PRIVATE, 0 },
	};
	int fd = make_file(16 * page);
	struct ff_vmas vmas = { 0 };
	struct stat st;
	char *at[6];

	fstat(fd, &st);
	for (size_t i = 0; i < 6; i++)
		at[i] = map(fd, i + 1, kinds[i].protect, kinds[i].flags,
			(off_t)(3 * i * page % (9 * page)));
	cr_assert_eq(ff_process_vmas(getpid(), &vmas), 0);
	for (size_t i = 1; i < vmas.count; i++)
		cr_assert(vmas.vmas[i].start >= vmas.vmas[i - 1].end &&
			vmas.vmas[i].end > vmas.vmas[i].start);
	for (size_t i = 0; i < 6; i++) {
		const struct ff_vma *vma = find_vma(&vmas, at[i]);

		cr_assert_not_null(vma, "kind %zu", i);
		cr_expect_eq(vma->end, address(at[i]) + (i + 1) * page);
		cr_expect_eq(vma->offset, 3 * i * page % (9 * page));
		cr_expect_eq(vma->flags, kinds[i].want, "kind %zu: %x", i,
			vma->flags);
		cr_expect(vma->dev == st.st_dev && vma->ino == st.st_ino);
	}
	ff_vmas_free(&vmas);
	cr_expect(!vmas.vmas && !vmas.count && !vmas.room);
}

Test(vmas, tell_of_every_kind, .init = set_page)
{
	check_kinds();
}

Test(vmas, tell_of_every_kind_without_query, .init = set_page)
{
	forbid_query();
	cr_assert_not(has_query());
	check_kinds();
}

/* Both ways see the same: more mappings than one read of the text holds. */
Test(vmas, text_and_query_agree, .init = set_page)
{
	struct ff_vmas query = { 0 }, text = { 0 };
	int fd = make_file(4096 * page);
	size_t own = 0;

	if (!has_query())
		cr_skip("PROCMAP_QUERY came with Linux 6.11");
	for (int i = 0; i < 2000; i++)
		map(fd, 1, i % 2 ? PROT_READ : PROT_READ | PROT_WRITE,
			i % 3 ? MAP_SHARED : MAP_PRIVATE,
			(off_t)((size_t)(i * 7 % 4096) * page));
	/* Both lists get their room before they are filled: what realloc maps
	 * would tell them apart. */
	query.room = text.room = 8192;
	query.vmas = calloc(query.room, sizeof(*query.vmas));
	text.vmas = calloc(text.room, sizeof(*text.vmas));
	cr_assert_eq(ff_process_vmas(getpid(), &query), 0);
	forbid_query();
	cr_assert_eq(ff_process_vmas(getpid(), &text), 0);
	/* x86's [vsyscall] is no mapping of the process. */
	while (own < text.count && text.vmas[own].start < 1ull << 63)
		own++;
	cr_assert(query.count > 2000 && own == query.count,
		"%zu and %zu mappings", query.count, own);
	for (size_t i = 0; i < own; i++) {
		const struct ff_vma *a = &query.vmas[i], *b = &text.vmas[i];

		cr_assert(a->start == b->start && a->offset == b->offset &&
				a->dev == b->dev && a->ino == b->ino &&
				a->flags == b->flags,
			"mapping %zu at %llx and %llx", i,
			(unsigned long long)a->start,
			(unsigned long long)b->start);
		/* The heap and the stack may have grown. */
		cr_assert(a->end == b->end || !a->ino);
	}
	ff_vmas_free(&query);
	ff_vmas_free(&text);
}

/* A list is set anew, not added to. */
Test(vmas, list_is_used_again, .init = set_page)
{
	struct ff_vmas vmas = { 0 };
	size_t first;

	cr_assert_eq(ff_process_vmas(getpid(), &vmas), 0);
	first = vmas.count;
	cr_assert_eq(ff_process_vmas(getpid(), &vmas), 0);
	cr_expect(vmas.count < first + 20);
	ff_vmas_free(&vmas);
}

Test(may_write, is_what_mprotect_would_say, .init = set_page)
{
	int fd = make_file(4 * page), readonly;
	char path[64], *writable, *fixed;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	readonly = open(path, O_RDONLY | O_CLOEXEC);
	cr_assert(readonly >= 0);
	writable = map(fd, 2, PROT_READ, MAP_SHARED, 0);
	fixed = map(readonly, 2, PROT_READ, MAP_SHARED, 0);
	cr_expect_eq(ff_process_vma_may_write(getpid(), address(writable)), 1);
	cr_expect_eq(ff_process_vma_may_write(getpid(), address(fixed)), 0);
	cr_expect(mprotect(writable, page, PROT_READ | PROT_WRITE) == 0);
	cr_expect(mprotect(fixed, page, PROT_READ | PROT_WRITE) < 0);
	cr_expect_eq(ff_process_vma_may_write(getpid(), address(writable)), 1);
	cr_expect_eq(ff_process_vma_may_write(getpid(), 0), -ENOENT);
}

/* Read is not copied; written is. */
static void check_private(size_t pages, int fd)
{
	char *at = map(fd, pages, PROT_READ | PROT_WRITE, MAP_PRIVATE, 0);
	unsigned char *copied = malloc(pages + 1);
	volatile char sum = 0;

	memset(copied, 7, pages + 1);
	cr_assert_eq(ff_process_private_pages(getpid(), address(at), pages,
		copied), 0);
	for (size_t i = 0; i < pages; i++)
		cr_assert_eq(copied[i], 0, "page %zu was not touched", i);
	cr_assert_eq(copied[pages], 7);
	for (size_t i = 0; i < pages; i += 2)
		sum += at[i * page];
	for (size_t i = 0; i < pages; i += 3)
		at[i * page] = 1;
	cr_assert_eq(ff_process_private_pages(getpid(), address(at), pages,
		copied), 0);
	for (size_t i = 0; i < pages; i++)
		cr_assert_eq(copied[i], i % 3 == 0, "page %zu", i);
	cr_assert_eq(copied[pages], 7);
	mprotect(at, pages * page, PROT_NONE);
	cr_assert_eq(ff_process_private_pages(getpid(), address(at), pages,
		copied), 0);
	for (size_t i = 0; i < pages; i++)
		cr_assert_eq(copied[i], i % 3 == 0, "page %zu, unreadable", i);
	free(copied);
	munmap(at, pages * page);
}

Test(private_pages, are_those_that_were_written, .init = set_page)
{
	int fd = make_file(2000 * page);

	check_private(1, fd);
	check_private(5, fd);
	check_private(512, fd);
	check_private(513, fd);
	check_private(1500, fd);
}

/* As a client of another user's is not, and ours as any user is. */
Test(private_pages, are_told_to_ordinary_users, .init = set_page)
{
	int fd = make_file(10 * page);

	if (geteuid())
		cr_skip("to be run by root");
	cr_assert(setresgid(65534, 65534, 65534) == 0);
	cr_assert(setresuid(65534, 65534, 65534) == 0);
	cr_assert(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) == 0);
	check_private(10, fd);
}

Test(private_pages, of_shared_mappings_are_none, .init = set_page)
{
	int fd = make_file(4 * page);
	char *at = map(fd, 4, PROT_READ | PROT_WRITE, MAP_SHARED, 0);
	unsigned char copied[4];

	memset(at, 1, 4 * page);
	cr_assert_eq(ff_process_private_pages(getpid(), address(at), 4,
		copied), 0);
	for (int i = 0; i < 4; i++)
		cr_expect_eq(copied[i], 0);
}

Test(memory, is_read_and_written_whole_or_not_at_all, .init = set_page)
{
	char *at = map(-1, 3, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS, 0);
	char buffer[64], *end = at + 2 * page;

	munmap(end, page);
	memset(at, 'a', 2 * page);
	cr_assert_eq(ff_process_read(getpid(), address(end - 64), buffer, 64),
		0);
	for (int i = 0; i < 64; i++)
		cr_assert_eq(buffer[i], 'a');
	cr_expect_eq(ff_process_read(getpid(), address(end - 63), buffer, 64),
		-EFAULT);
	cr_expect_eq(ff_process_read(getpid(), address(end), buffer, 1),
		-EFAULT);
	cr_expect_eq(ff_process_read(getpid(), 0, buffer, 0), 0,
		"nothing is nowhere");
	memset(buffer, 'b', 64);
	cr_assert_eq(ff_process_write(getpid(), address(at + page - 32),
		buffer, 64), 0);
	cr_expect(at[page - 33] == 'a' && at[page - 32] == 'b' &&
		at[page + 31] == 'b' && at[page + 32] == 'a');
	cr_expect_eq(ff_process_write(getpid(), address(end - 63), buffer, 64),
		-EFAULT);
	mprotect(at, page, PROT_READ);
	cr_expect_eq(ff_process_write(getpid(), address(at), buffer, 1),
		-EFAULT);
	cr_expect_eq(ff_process_write(getpid(), UINT64_MAX - 4, buffer, 1),
		-EFAULT);
}
