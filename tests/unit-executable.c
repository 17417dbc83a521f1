/* SPDX-License-Identifier: MIT */
/* src/executable: which commands are refused before they are executed. */
#include "executable.h"

#include "unit-dir.h"

#include <criterion/criterion.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define TIMEOUT .timeout = 60

/* An executable file of unit_dir that has this content. */
static char *write_file(const char *name, const void *bytes, size_t size,
	mode_t mode)
{
	static char paths[4][128];
	static int next;
	char *path = paths[next++ % 4];
	int fd;

	snprintf(path, sizeof(paths[0]), "%s/%s", unit_dir, name);
	unlink(path);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0700);
	cr_assert(fd >= 0);
	cr_assert_eq(write(fd, bytes, size), (ssize_t)size);
	cr_assert(fchmod(fd, mode) == 0);
	close(fd);
	return path;
}

static char *write_head(const char *name, unsigned char class,
	unsigned char byte_order, uint16_t machine, mode_t mode)
{
	Elf32_Ehdr head = {
		.e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, class,
			byte_order, EV_CURRENT },
		.e_type = ET_EXEC,
		.e_machine = machine,
		.e_version = EV_CURRENT,
	};

	return write_file(name, &head, sizeof(head), mode);
}

static char *write_x32(const char *name)
{
	return write_head(name, ELFCLASS32, ELFDATA2LSB, EM_X86_64, 0700);
}

static void cleanup(void)
{
	remove_test_dir();
}

TestSuite(executable, .init = make_test_dir, .fini = cleanup, TIMEOUT);

Test(executable, x32_is_refused_in_words)
{
	struct ff_error error = { 0 };

	cr_expect_eq(ff_executable_check(write_x32("x32"), &error), -ENOEXEC);
	cr_expect_eq(error.err, ENOEXEC);
	cr_expect(strstr(error.text, "x32 program") != NULL, "%s", error.text);
	cr_expect(strstr(error.text, "(build it") != NULL, "%s", error.text);
}

Test(executable, all_else_is_not)
{
	static const unsigned char script[] = "#!/bin/sh\n";
	struct ff_error error = { 0 };
	const char *paths[] = {
		write_head("i386", ELFCLASS32, ELFDATA2LSB, EM_386, 0700),
		write_head("x86_64", ELFCLASS64, ELFDATA2LSB, EM_X86_64, 0700),
		write_head("order", ELFCLASS32, ELFDATA2MSB, EM_X86_64, 0700),
		write_file("script", script, sizeof(script) - 1, 0700),
	};

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		cr_expect_eq(ff_executable_check(paths[i], &error), 0, "%s",
			paths[i]);
	cr_expect_eq(ff_executable_check("/proc/self/exe", &error), 0);
	cr_expect_eq(ff_executable_check(write_file("short",
		ELFMAG "\1\1\1", 7, 0700), &error), 0);
	cr_expect_eq(ff_executable_check(write_file("empty", "", 0, 0700),
		&error), 0);
	cr_expect_eq(error.err, 0);
}

/* execvp tells what is wrong with those. */
Test(executable, what_cannot_be_executed_is_left_to_execvp)
{
	char path[128];
	struct ff_error error = { 0 };

	cr_expect_eq(ff_executable_check("", &error), 0);
	cr_expect_eq(ff_executable_check("fenceferry-no-such-command", &error),
		0);
	cr_expect_eq(ff_executable_check("/no/such/command", &error), 0);
	cr_expect_eq(ff_executable_check(unit_dir, &error), 0);
	cr_expect_eq(ff_executable_check(write_head("x32", ELFCLASS32,
		ELFDATA2LSB, EM_X86_64, 0600), &error), 0);
	snprintf(path, sizeof(path), "%s/fifo", unit_dir);
	cr_assert(mkfifo(path, 0700) == 0);
	cr_expect_eq(ff_executable_check(path, &error), 0);
}

/* The first in PATH that is an executable file. */
Test(executable, searches_as_execvp_does)
{
	char path[256];
	struct ff_error error = { 0 };

	write_x32("true");
	snprintf(path, sizeof(path), "/bin:%s", unit_dir);
	setenv("PATH", path, 1);
	cr_expect_eq(ff_executable_check("true", &error), 0);
	snprintf(path, sizeof(path), "/no/such/directory:%s:/bin", unit_dir);
	setenv("PATH", path, 1);
	cr_expect_eq(ff_executable_check("true", &error), -ENOEXEC);
	write_head("true", ELFCLASS32, ELFDATA2LSB, EM_X86_64, 0600);
	cr_expect_eq(ff_executable_check("true", &error), 0);
	/* An empty element, at the end too. */
	write_x32("fenceferry-x32");
	cr_assert(chdir(unit_dir) == 0);
	setenv("PATH", "/bin:", 1);
	cr_expect_eq(ff_executable_check("fenceferry-x32", &error), -ENOEXEC);
	setenv("PATH", "/bin", 1);
	cr_expect_eq(ff_executable_check("fenceferry-x32", &error), 0);
	unsetenv("PATH");
	cr_expect_eq(ff_executable_check("fenceferry-x32", &error), 0);
	cr_assert(chdir("/") == 0);
}

/* With the status of what cannot be executed, and without a try. */
Test(executable, run_does_not_execute_x32)
{
	const char *program = getenv("FENCEFERRY");
	char command[512], text[512] = "";
	FILE *output;
	int status;

	snprintf(command, sizeof(command), "%s run --engine=off %s 2>&1",
		program ? program : "./fenceferry", write_x32("x32"));
	output = popen(command, "re");
	cr_assert_not_null(output);
	cr_expect(fread(text, 1, sizeof(text) - 1, output) > 0);
	status = pclose(output);
	cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 126, "%x",
		status);
	cr_expect(strstr(text, "x32 program") != NULL, "%s", text);
}
