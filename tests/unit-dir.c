/* SPDX-License-Identifier: MIT */
#include "unit-dir.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <unistd.h>

char unit_dir[64];
int unit_dir_fd = -1;

/* Removes it when the test's process and its children are gone, however that
 * came. */
static void start_janitor(void)
{
	int fds[2];
	pid_t pid;
	char byte;

	cr_assert(pipe2(fds, O_CLOEXEC) == 0);
	pid = fork();
	cr_assert(pid >= 0);
	if (pid)
		return;
	setsid();
	dup2(fds[0], 0);
	if (close_range(1, ~0u, 0) < 0)
		_exit(1);
	while (read(0, &byte, 1) < 0)
		;
	execlp("rm", "rm", "-rf", unit_dir, (char *)NULL);
	_exit(1);
}

void make_test_dir(void)
{
	/* A file system in memory in either case. */
	snprintf(unit_dir, sizeof(unit_dir), "%s/fenceferry-unit-XXXXXX",
		geteuid() && access("/dev/shm", W_OK) == 0 ? "/dev/shm" :
		"/tmp");
	cr_assert_not_null(mkdtemp(unit_dir));
	start_janitor();
	if (geteuid() == 0) {
		cr_assert(unshare(CLONE_NEWNS) == 0);
		cr_assert(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ==
			0);
		cr_assert(mount("none", unit_dir, "tmpfs", 0,
			"size=1m,mode=1777") == 0);
	}
	unit_dir_fd = open(unit_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	cr_assert(unit_dir_fd >= 0);
}

void remove_test_dir(void)
{
	char command[100];

	if (setresuid(0, 0, 0) == 0)
		umount2(unit_dir, MNT_DETACH);
	snprintf(command, sizeof(command), "rm -rf %s", unit_dir);
	cr_assert_eq(system(command), 0);
}

int count_test_files(void)
{
	DIR *stream = opendir(unit_dir);
	int count = -2; /* . and .. */

	cr_assert_not_null(stream);
	while (readdir(stream))
		count++;
	closedir(stream);
	return count;
}
