/* SPDX-License-Identifier: MIT */
/*
 * memfd-calls: calls memfd_create in every way that programs may,
 * libxshmfence's among them, and prints what comes of it.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { PAGE = 4096, LONGEST = 249 };

static void print_result(const char *label, long result)
{
	struct stat st;
	int fd = (int)result;

	if (result < 0) {
		printf("%s: %s\n", label, strerrorname_np(errno));
		return;
	}
	if (fstat(fd, &st))
		memset(&st, 0, sizeof(st));
	printf("%s: fd %d, cloexec %d, flags %#x, size %ld, regular %d, links "
	       "%ld, mine %d\n",
		label, fd, fcntl(fd, F_GETFD), (unsigned int)fcntl(fd, F_GETFL),
		(long)st.st_size, S_ISREG(st.st_mode), (long)st.st_nlink,
		st.st_uid == geteuid() && st.st_gid == getegid());
}

static void try_call(const char *label, const char *name, unsigned long flags)
{
	long fd = syscall(SYS_memfd_create, name, flags);

	print_result(label, fd);
	if (fd >= 0)
		close((int)fd);
}

static void try_names(void)
{
	static char longest[LONGEST + 2];

	try_call(
		"libxshmfence's", "xshmfence", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	try_call("no flags", "xshmfence", 0);
	try_call("close-on-exec", "xshmfence", MFD_CLOEXEC);
	try_call("longer name", "xshmfence2", MFD_CLOEXEC);
	try_call("shorter name", "xshmfenc", MFD_CLOEXEC);
	try_call("no name", "", 0);
	memset(longest, 'x', LONGEST);
	try_call("longest name", longest, MFD_CLOEXEC);
	longest[LONGEST] = 'x';
	try_call("too long a name", longest, MFD_CLOEXEC);
}

static void try_flags(void)
{
	try_call("unknown flag", "xshmfence", 0x4000);
	try_call("unknown flag and others", "xshmfence", 0x4000 | MFD_CLOEXEC);
	try_call("huge pages", "xshmfence", MFD_HUGETLB | MFD_CLOEXEC);
	try_call("a size without huge pages", "xshmfence",
		MFD_CLOEXEC | MFD_HUGE_2MB);
#if __SIZEOF_LONG__ == 8
	try_call("above 32 bits", "xshmfence", 1UL << 40 | MFD_CLOEXEC);
#endif
}

/* A page with nothing behind it. */
static void try_addresses(void)
{
	char *page = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *end = page + PAGE;

	if (page == MAP_FAILED || munmap(end, PAGE))
		exit(1);
	memcpy(end - 9, "xshmfence", 9);
	try_call("name without an end", end - 9, MFD_CLOEXEC);
	memcpy(end - 10, "xshmfence", 10);
	try_call("name to the page's end", end - 10, MFD_CLOEXEC);
	try_call("shorter name to the page's end", end - 5, MFD_CLOEXEC);
	try_call("NULL", NULL, MFD_CLOEXEC);
	try_call("no address", (const char *)-1L, MFD_CLOEXEC);
}

static void try_numbers(void)
{
	struct rlimit limit, low;
	int first = open("/dev/null", O_RDONLY), last;

	for (last = first; last < first + 5;)
		last = dup(first);
	close(first + 2);
	try_call("lowest number", "xshmfence", MFD_CLOEXEC);
	first = (int)syscall(SYS_memfd_create, "xshmfence", MFD_CLOEXEC);
	getrlimit(RLIMIT_NOFILE, &limit);
	low = limit;
	low.rlim_cur = (rlim_t)last + 1;
	setrlimit(RLIMIT_NOFILE, &low);
	try_call("no number left", "xshmfence", MFD_CLOEXEC);
	try_call("no number left for another", "another", MFD_CLOEXEC);
	try_call("no number left, unknown flag", "xshmfence", 0x4000);
	try_call("no number left, no name", NULL, 0);
	setrlimit(RLIMIT_NOFILE, &limit);
	close(first);
}

/* It holds what is written to it, by whatever way. */
static void try_use(void)
{
	int fd = (int)syscall(
		SYS_memfd_create, "xshmfence", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int32_t *word, read = 0;

	if (ftruncate(fd, 4))
		exit(1);
	word = mmap(NULL, 4, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (word == MAP_FAILED)
		exit(1);
	printf("use: %d at first", *word);
	*word = 42;
	if (pread(fd, &read, 4, 0) != 4)
		exit(1);
	printf(", %d read", read);
	read = 43;
	if (pwrite(fd, &read, 4, 0) != 4)
		exit(1);
	printf(", %d written, offset %ld\n", *word,
		(long)lseek(fd, 0, SEEK_CUR));
	close(fd);
	munmap(word, 4);
}

int main(void)
{
	close_range(3, ~0U, 0);
	try_names();
	try_flags();
	try_addresses();
	try_numbers();
	try_use();
	puts("OK");
	return 0;
}
