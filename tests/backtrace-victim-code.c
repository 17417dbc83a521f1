/* SPDX-License-Identifier: MIT */
#include "backtrace-victim.h"

#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { FILE_SIZE = 16384, CODE_AT = 8192, DAMAGES = 8 };

/* A function that calls its argument. */
static const unsigned char code[] = {
#if defined(__x86_64__)
	0x48, 0x83, 0xec, 0x08, /* sub $8, %rsp */
	0xff, 0xd7,		/* call *%rdi */
	0x48, 0x83, 0xc4, 0x08, /* add $8, %rsp */
	0xc3,			/* ret */
#elif defined(__i386__)
	0x83, 0xec, 0x0c,	/* sub $12, %esp */
	0xff, 0x54, 0x24, 0x10, /* call *16(%esp) */
	0x83, 0xc4, 0x0c,	/* add $12, %esp */
	0xc3,			/* ret */
#elif defined(__aarch64__)
	0xfd, 0x7b, 0xbf, 0xa9, /* stp x29, x30, [sp, #-16]! */
	0x00, 0x00, 0x3f, 0xd6, /* blr x0 */
	0xfd, 0x7b, 0xc1, 0xa8, /* ldp x29, x30, [sp], #16 */
	0xc0, 0x03, 0x5f, 0xd6, /* ret */
#endif
};

static FRAME void called_by_code(void)
{
	send_one("code");
	done++;
}

/* Who follows frame pointers through the code, finds the caller of this. */
__attribute__((optimize("no-omit-frame-pointer"))) static FRAME void
call_code(void *at)
{
	void (*function)(void (*)(void));

	memcpy(&function, &at, sizeof(at));
	function(called_by_code);
	done++;
}

void do_jit(void)
{
	void *at = mmap(NULL, sizeof(code), PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		give_up("mmap");
	memcpy(at, code, sizeof(code));
	if (mprotect(at, sizeof(code), PROT_READ | PROT_EXEC))
		give_up("mprotect");
	__builtin___clear_cache(at, (char *)at + sizeof(code));
	call_code(at);
}

static void name_damaged(int number, char path[64])
{
	snprintf(path, 64, "/tmp/ff-test-damaged-%d-%d", getpid(), number);
}

/* This program, damaged so. */
static void damage(unsigned char bytes[FILE_SIZE], int number)
{
	unsigned int seed = (unsigned int)number;

	switch (number) {
	case 0: /* all but what says that it is ELF */
		memset(bytes + EI_NIDENT + 4, 0xff, CODE_AT / 2);
		break;
	case 1: /* its type, for which libraries relocate */
		bytes[EI_NIDENT] = ET_REL;
		break;
	case 2: /* its machine */
		bytes[EI_NIDENT + 2] ^= 1;
		break;
	case 3: /* not even that */
		memset(bytes, 0, EI_NIDENT);
		break;
	default: /* here and there */
		for (int i = 0; i < 200; i++) {
			seed = seed * 1103515245u + 12345u;
			bytes[20 + (seed >> 8) % 800] =
				(unsigned char)(seed >> 3);
		}
	}
}

/* It is executed from a file that has a name, by which it is found. */
static void *map_damaged(int number)
{
	static unsigned char bytes[FILE_SIZE];
	int self = open("/proc/self/exe", O_RDONLY), fd;
	char path[64];
	void *at;

	if (self < 0 || pread(self, bytes, FILE_SIZE, 0) != FILE_SIZE)
		give_up("open");
	close(self);
	damage(bytes, number);
	memcpy(bytes + CODE_AT, code, sizeof(code));
	name_damaged(number, path);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0700);
	if (fd < 0 || write(fd, bytes, FILE_SIZE) != FILE_SIZE)
		give_up(path);
	/* Some end before their headers say. */
	if (number % 2 && ftruncate(fd, CODE_AT + 4096))
		give_up("ftruncate");
	at = mmap(NULL, CODE_AT + 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE,
		fd, 0);
	if (at == MAP_FAILED)
		give_up("mmap");
	close(fd);
	return at;
}

void do_corrupt(void)
{
	for (int i = 0; i < DAMAGES; i++)
		call_code((char *)map_damaged(i) + CODE_AT);
	/* The files must be there when they are looked at. */
	puts("called");
	fflush(stdout);
	for (char byte = 0; byte != '\n' && read(STDIN_FILENO, &byte, 1) == 1;)
		;
	for (int i = 0; i < DAMAGES; i++) {
		char path[64];

		name_damaged(i, path);
		unlink(path);
	}
}
