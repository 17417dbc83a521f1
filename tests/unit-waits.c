/* SPDX-License-Identifier: MIT */
/* src/waits: who waits on a fence, seen from outside. */
#include "unit-dir.h"
#include "waits.h"

#include "arch/arch.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/audit.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define NAME "fenceferry-01234567-0123456789abcdef"

enum { TICK_US = 1000, TICKS = 5000 };

static pid_t child;
static int file; /* without a name, in the test's directory */
static char nameless[32];

static _Noreturn void wait_on_file(void)
{
	uint32_t *word = mmap(NULL, 4, PROT_READ | PROT_WRITE, MAP_SHARED,
		file, 0);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (word != MAP_FAILED)
		syscall(SYS_futex, word, FUTEX_WAIT, 0, NULL, NULL, 0);
	_exit(1);
}

static void begin(void)
{
	struct stat st;

	make_test_dir();
	file = open(unit_dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	cr_assert(file >= 0 && ftruncate(file, 4) == 0);
	cr_assert_eq(fstat(file, &st), 0);
	snprintf(nameless, sizeof(nameless), "#%" PRIuMAX,
		(uintmax_t)st.st_ino);
	child = fork();
	cr_assert(child >= 0);
	if (!child)
		wait_on_file();
}

static void end(void)
{
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	remove_test_dir();
}

TestSuite(waits, .init = begin, .fini = end, .timeout = 20);

/* Look until it waits. */
static void look(struct ff_waits *waits)
{
	for (int i = 0; !waits->count && i < TICKS; i++) {
		cr_assert_eq(ff_waits_add(waits, child), 0);
		usleep(TICK_US);
	}
	cr_assert_eq(waits->count, 1);
	cr_assert_eq(waits->list[0].actor.tid, child);
	cr_assert(waits->list[0].has_value && !waits->list[0].value);
}

Test(waits, on_a_file_that_got_a_name_bear_that)
{
	char path[32], other[80];
	struct ff_waits waits = { 0 };

	look(&waits);
	cr_assert_str_eq(waits.list[0].fence, nameless);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	cr_assert_eq(linkat(AT_FDCWD, path, unit_dir_fd, "other",
		AT_SYMLINK_FOLLOW), 0);
	ff_waits_find_names(&waits, unit_dir);
	cr_assert_str_eq(waits.list[0].fence, nameless);
	cr_assert_eq(linkat(AT_FDCWD, path, unit_dir_fd, NAME,
		AT_SYMLINK_FOLLOW), 0);
	ff_waits_find_names(&waits, "/proc");
	snprintf(other, sizeof(other), "%s/none", unit_dir);
	ff_waits_find_names(&waits, other);
	cr_assert_str_eq(waits.list[0].fence, nameless);
	ff_waits_find_names(&waits, unit_dir);
	cr_assert_str_eq(waits.list[0].fence, NAME);
	ff_waits_free(&waits);
}

/* Where the file was made there is now a file system of which nobody answers for
 * anything. */
Test(waits, are_seen_where_a_file_system_hangs)
{
	int fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	struct ff_waits waits = { 0 };
	char options[64];

	snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,"
		"group_id=0", fuse);
	if (geteuid() || fuse < 0 || mount("none", unit_dir, "fuse", 0,
			options) < 0)
		cr_skip("to be run by root, with FUSE");
	look(&waits);
	cr_assert_str_eq(waits.list[0].fence, nameless);
	ff_waits_free(&waits);
	close(fuse);
	umount2(unit_dir, MNT_DETACH);
}

static uint32_t abi_of(const char *program)
{
	pid_t pid = fork();
	uint32_t abi;
	int status;

	cr_assert(pid >= 0);
	if (!pid) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		execl(program, program, (char *)NULL);
		_exit(1);
	}
	cr_assert(waitpid(pid, &status, 0) == pid && WIFSTOPPED(status));
	abi = ff_waits_abi(pid);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return abi;
}

Test(waits, have_the_numbers_of_their_program)
{
	cr_expect_eq(abi_of("/proc/self/exe"), ff_arch_native()->audit_arch);
#ifdef VICTIM32_DIR
	cr_expect_eq(abi_of(VICTIM32_DIR "/swap-victim"), AUDIT_ARCH_I386);
#endif
}
