/* SPDX-License-Identifier: MIT */
/*
 * To be preloaded into QEMU: where it maps the file $FF_PAGES_FILE, which is
 * the guest's /dev/shm, each page of the mapping is a file of its own,
 * $FF_PAGES_DIR/N. So the guest's file that lies in page N is at the same time
 * a whole file of the host's, whatever that is called later on.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { PAGE = 4096 };

void *mmap64(void *address, size_t size, int protection, int flags, int fd,
	off64_t offset);

static void *map(void *address, size_t size, int protection, int flags, int fd,
	off64_t offset)
{
	return (void *)syscall(
		SYS_mmap, address, size, protection, flags, fd, offset);
}

static _Noreturn void fail(const char *what)
{
	perror(what);
	abort();
}

/* Put one file, with what the page holds, over the page. */
static void replace_page(const char *dir, size_t number, char *at)
{
	char path[4096], content[PAGE];
	int fd;

	snprintf(path, sizeof(path), "%s/%zu", dir, number);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, PAGE) < 0)
		fail(path);
	memcpy(content, at, PAGE);
	for (size_t i = 0; i < PAGE; i++)
		if (content[i]) {
			if (pwrite(fd, content, PAGE, 0) != PAGE)
				fail(path);
			break;
		}
	if (map(at, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd,
		    0) != at)
		fail("mmap");
	close(fd);
}

static int is_the_file(int fd)
{
	const char *path = getenv("FF_PAGES_FILE");
	struct stat wanted, st;

	return path && !stat(path, &wanted) && !fstat(fd, &st) &&
		st.st_dev == wanted.st_dev && st.st_ino == wanted.st_ino;
}

void *mmap64(void *address, size_t size, int protection, int flags, int fd,
	off64_t offset)
{
	char *at = map(address, size, protection, flags, fd, offset);
	const char *dir = getenv("FF_PAGES_DIR");

	if (at == MAP_FAILED || fd < 0 || offset || !dir || !is_the_file(fd))
		return at;
	for (size_t done = 0; done < size; done += PAGE)
		replace_page(dir, done / PAGE, at + done);
	return at;
}
