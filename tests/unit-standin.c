/* SPDX-License-Identifier: MIT */
/* src/standin: files in the shm dir. */
#include "standin.h"

#include "forbid.h"
#include "unit-dir.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NOBODY = 65534 };

static void make_dir_as_root(void)
{
	if (geteuid())
		cr_skip("to be run by root");
	make_test_dir();
}

#define DIRECTORY .init = make_test_dir, .fini = remove_test_dir
#define ROOT_DIRECTORY .init = make_dir_as_root, .fini = remove_test_dir

/* A file system without O_TMPFILE, as far as this process can tell. */
static void forbid_tmpfile(void)
{
	forbid_argument(SYS_openat, 2, BPF_JSET, O_TMPFILE & ~O_DIRECTORY,
		EOPNOTSUPP);
}

/* For a while: remove_test_dir takes it back. */
static void become_nobody(void)
{
	cr_assert(setresgid(NOBODY, NOBODY, 0) == 0);
	cr_assert(setresuid(NOBODY, NOBODY, 0) == 0);
}

static struct ff_standin make(uint64_t size, bool named)
{
	struct ff_standin standin;
	struct ff_error error = { 0 };

	cr_assert_eq(ff_standin_create(unit_dir, unit_dir_fd, size, geteuid(),
		getegid(), named, &standin, &error), 0, "%s", error.text);
	cr_expect_eq(error.text[0], '\0', "untouched on success");
	return standin;
}

static struct ff_standin create(uint64_t size)
{
	return make(size, false);
}

/* Does somebody hold its lock, seen from another description? */
static bool is_locked(const struct ff_standin *standin)
{
	char path[64];
	bool locked;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", standin->fd);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	cr_assert(fd >= 0);
	locked = flock(fd, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK;
	close(fd);
	return locked;
}

static void check_file(const struct ff_standin *standin, uint64_t size)
{
	struct stat st;

	cr_assert(fstat(standin->fd, &st) == 0);
	cr_expect(S_ISREG(st.st_mode));
	cr_expect_eq(st.st_mode & 07777, 0600);
	cr_expect_eq((uint64_t)st.st_size, size);
	cr_expect((uint64_t)st.st_blocks * 512 >= size, "there is room");
	cr_expect(st.st_dev == standin->dev && st.st_ino == standin->ino);
	cr_expect_eq(st.st_nlink, standin->named ? 1 : 0);
	cr_expect_eq(fcntl(standin->fd, F_GETFL) & O_ACCMODE, O_RDWR);
	cr_expect_eq(fcntl(standin->fd, F_GETFD), FD_CLOEXEC);
	cr_expect(is_locked(standin));
}

Test(standin, has_no_name, DIRECTORY)
{
	static const uint64_t sizes[] = { 0, 1, 4, 4096, 4097, 500000 };

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct ff_standin standin = create(sizes[i]);
		char path[100];

		cr_expect_not(standin.named);
		check_file(&standin, sizes[i]);
		snprintf(path, sizeof(path), "%s/#%llu", unit_dir,
			(unsigned long long)standin.ino);
		cr_expect_str_eq(standin.path, path);
		cr_expect_eq(count_test_files(), 0);
		ff_standin_close(&standin, unit_dir_fd);
		cr_expect_eq(standin.fd, -1);
	}
}

/* Two that have names; the first loses it. */
static void check_names(bool named)
{
	struct ff_standin standin = make(5000, named), other = make(4, named);
	struct stat st;

	cr_expect(standin.named);
	check_file(&standin, 5000);
	cr_expect_eq(count_test_files(), 2);
	cr_expect(!strncmp(standin.path, unit_dir, strlen(unit_dir)));
	cr_expect(ff_standin_is_name(standin.path + strlen(unit_dir) + 1), "%s",
		standin.path);
	cr_expect_str_eq(ff_standin_name(&standin),
		standin.path + strlen(unit_dir) + 1);
	cr_assert(stat(standin.path, &st) == 0, "%s", standin.path);
	cr_expect_eq(st.st_ino, standin.ino);
	ff_standin_unlink(&standin, unit_dir_fd);
	cr_expect_not(standin.named);
	cr_expect(stat(standin.path, &st) < 0);
	check_file(&standin, 5000);
	cr_expect_eq(count_test_files(), 1, "the other one keeps its name");
	ff_standin_close(&standin, unit_dir_fd);
	ff_standin_close(&other, unit_dir_fd);
	cr_expect_eq(count_test_files(), 0);
}

Test(standin, without_tmpfile_has_a_name_until_unlinked, DIRECTORY)
{
	forbid_tmpfile();
	check_names(false);
}

Test(standin, has_a_name_where_that_is_wanted, DIRECTORY)
{
	check_names(true);
}

Test(standin, name_tells_the_boot, DIRECTORY)
{
	struct ff_standin standin = make(4, true);
	FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");
	unsigned char id[FF_BOOT_ID];
	char text[64] = "", again[64];

	cr_assert(file && fgets(text, sizeof(text), file));
	fclose(file);
	cr_assert_eq(ff_boot_id(id), 0);
	snprintf(again, sizeof(again), "%02x%02x%02x%02x-%02x%02x-%02x%02x-"
		"%02x%02x-%02x%02x%02x%02x%02x%02x\n", id[0], id[1], id[2],
		id[3], id[4], id[5], id[6], id[7], id[8], id[9], id[10],
		id[11], id[12], id[13], id[14], id[15]);
	cr_expect_str_eq(again, text);
	cr_expect(!strncmp(ff_standin_name(&standin) + 11, text, 8));
	ff_standin_close(&standin, unit_dir_fd);
}

Test(standin, names_are_known_from_others)
{
	static const char *const others[] = {
		"", "fenceferry", "fenceferry-", "fenceferry-01234567",
		"fenceferry-01234567-", "fenceferry-01234567-89abcdef0123456",
		"fenceferry-01234567-89abcdef012345678",
		"fenceferry-01234567-89abcdef0123456/",
		"fenceferry-01234567-89abcdef0123456G",
		"fenceferry-01234567-89ABCDEF01234567",
		"fenceferry-0123456-789abcdef01234567",
		"fenceferry-0123456g-89abcdef01234567",
		"fenceferry-01234567089abcdef01234567",
		"fenceferry-0123456789abcdef",
		"./fenceferry-01234567-89abcdef01234567",
		"Fenceferry-01234567-89abcdef01234567",
		" fenceferry-01234567-89abcdef01234567",
		"fenceferry-01234567-89abcdef01234567\n",
	};

	cr_expect(ff_standin_is_name("fenceferry-01234567-89abcdef01234567"));
	cr_expect(ff_standin_is_name("fenceferry-ffffffff-0000000000000000"));
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		cr_expect_not(ff_standin_is_name(others[i]), "%s", others[i]);
}

/* Longer than the log shows. */
Test(standin, in_a_long_path_loses_its_name_too, DIRECTORY)
{
	char path[512];
	struct ff_standin standin;
	struct ff_error error;
	int fd;

	snprintf(path, sizeof(path), "%s/%0200d", unit_dir, 7);
	cr_assert(mkdir(path, 0700) == 0);
	strcat(path, "/d");
	cr_assert(mkdir(path, 0700) == 0);
	fd = open(path, O_PATH | O_CLOEXEC);
	forbid_tmpfile();
	cr_assert_eq(ff_standin_create(path, fd, 4, geteuid(), getegid(),
		false, &standin, &error), 0);
	ff_standin_close(&standin, fd);
	cr_expect(rmdir(path) == 0, "the directory is empty again");
}

Test(standin, belongs_to_the_client, ROOT_DIRECTORY)
{
	struct ff_standin standin;
	struct ff_error error;
	struct stat st;

	cr_assert_eq(ff_standin_create(unit_dir, unit_dir_fd, 4, 1234, 2345,
		false, &standin, &error), 0);
	cr_assert(fstat(standin.fd, &st) == 0);
	cr_expect(st.st_uid == 1234 && st.st_gid == 2345);
	cr_expect_eq(st.st_mode & 07777, 0600);
	ff_standin_close(&standin, unit_dir_fd);
}

/* Nothing is left, and it is told what to do. */
static void check_refused(uint64_t size, int err, const char *hint)
{
	struct ff_standin standin;
	struct ff_error error = { 0 };

	cr_expect_eq(ff_standin_create(unit_dir, unit_dir_fd, size, geteuid(),
		getegid(), false, &standin, &error), -err);
	cr_expect_eq(error.err, err);
	cr_expect(strstr(error.text, unit_dir) &&
		strstr(error.text, strerror(err)) && strstr(error.text, hint) && strstr(error.text, "--shm-dir"),
		"%s", error.text);
	cr_expect_eq(standin.fd, -1);
	ff_standin_close(&standin, unit_dir_fd);
	cr_expect_eq(count_test_files(), 0);
}

Test(standin, full_file_system_is_told, ROOT_DIRECTORY)
{
	struct ff_standin standin;

	check_refused(2 << 20, ENOSPC, "make room");
	check_refused((16u << 20) + 1, ENOSPC, "make room");
	check_refused((uint64_t)1 << 40, ENOSPC, "make room");
	standin = create(1000 << 10);
	check_refused(100 << 10, ENOSPC, "make room");
	ff_standin_close(&standin, unit_dir_fd);
	forbid_tmpfile();
	check_refused(2 << 20, ENOSPC, "make room");
}

/* Beyond what is allocated at once: as sparse as the memfd may be. */
Test(standin, large_one_is_sparse, ROOT_DIRECTORY)
{
	struct ff_standin standin;
	struct stat st;

	cr_assert(mount(NULL, unit_dir, NULL, MS_REMOUNT, "size=64m") == 0);
	standin = create(32u << 20);
	cr_assert(fstat(standin.fd, &st) == 0);
	cr_expect_eq(st.st_size, 32 << 20);
	cr_expect_eq(st.st_blocks, 0);
	ff_standin_close(&standin, unit_dir_fd);
	standin = create(16u << 20);
	check_file(&standin, 16u << 20);
	ff_standin_close(&standin, unit_dir_fd);
}

Test(standin, size_that_no_file_has_is_refused, DIRECTORY)
{
	struct ff_standin standin;

	cr_expect(ff_standin_create(unit_dir, unit_dir_fd, UINT64_MAX,
		geteuid(), getegid(), false, &standin, NULL) < 0);
	cr_expect_eq(standin.fd, -1);
	cr_expect_eq(count_test_files(), 0);
}

Test(standin, read_only_directory_is_told, ROOT_DIRECTORY)
{
	cr_assert(mount(NULL, unit_dir, NULL, MS_REMOUNT | MS_RDONLY, NULL) ==
		0);
	check_refused(4, EROFS, "make it writable");
	forbid_tmpfile();
	check_refused(4, EROFS, "make it writable");
}

Test(standin, forbidden_directory_is_told, DIRECTORY)
{
	struct ff_error error = { 0 };

	cr_assert(chmod(unit_dir, 0555) == 0);
	if (geteuid() == 0)
		become_nobody();
	check_refused(4, EACCES, "make it writable");
	cr_expect_eq(ff_standin_open_dir(unit_dir, &error), -EACCES);
	cr_expect(strstr(error.text, "--shm-dir") != NULL, "%s", error.text);
}

Test(standin, limit_on_open_files_is_told, DIRECTORY)
{
	struct ff_standin standin;
	struct ff_error error = { 0 };
	struct rlimit before, none;

	cr_assert(!getrlimit(RLIMIT_NOFILE, &before));
	none = (struct rlimit){ 0, before.rlim_max };
	cr_assert(!setrlimit(RLIMIT_NOFILE, &none));
	cr_expect_eq(ff_standin_create(unit_dir, unit_dir_fd, 4, geteuid(),
		getegid(), false, &standin, &error), -EMFILE);
	cr_assert(!setrlimit(RLIMIT_NOFILE, &before));
	cr_expect(strstr(error.text, "ulimit -n"), "%s", error.text);
}

Test(open_dir, is_of_use_and_leaves_nothing, DIRECTORY)
{
	struct ff_error error = { 0 };
	struct ff_standin standin;
	int fd = ff_standin_open_dir(unit_dir, &error);

	cr_assert(fd >= 0, "%s", error.text);
	cr_expect_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
	cr_expect_eq(count_test_files(), 0);
	cr_assert_eq(ff_standin_create(unit_dir, fd, 4, geteuid(), getegid(),
		false, &standin, &error), 0);
	cr_expect_eq(ff_standin_sweep(fd), 0);
	ff_standin_close(&standin, fd);
	close(fd);
	forbid_tmpfile();
	fd = ff_standin_open_dir(unit_dir, &error);
	cr_assert(fd >= 0, "%s", error.text);
	cr_expect_eq(count_test_files(), 0);
}

Test(open_dir, what_is_missing_is_told, DIRECTORY)
{
	struct ff_error error = { 0 };
	char path[100];
	int fd;

	snprintf(path, sizeof(path), "%s/missing", unit_dir);
	cr_expect_eq(ff_standin_open_dir(path, &error), -ENOENT);
	cr_expect(error.err == ENOENT && strstr(error.text, path) &&
		strstr(error.text, "mount a tmpfs") &&
		strstr(error.text, "--shm-dir"), "%s", error.text);
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	cr_assert(fd >= 0);
	close(fd);
	cr_expect_eq(ff_standin_open_dir(path, &error), -ENOTDIR);
	cr_expect(error.err == ENOTDIR && strstr(error.text, "--shm-dir"),
		"%s", error.text);
}

/* An empty file of that name, with a lock if an fd is wanted. */
static void put_file(const char *name, mode_t mode, int *locked)
{
	int fd = openat(unit_dir_fd, name, O_CREAT | O_EXCL | O_RDWR, 0600);

	cr_assert(fd >= 0 && fchmod(fd, mode) == 0);
	if (locked) {
		cr_assert(flock(fd, LOCK_EX) == 0);
		*locked = fd;
	} else {
		close(fd);
	}
}

static bool exists(const char *name)
{
	struct stat st;

	return fstatat(unit_dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* A name of this boot, with these 16 characters at its end. */
static const char *name_of(const char *end)
{
	static char names[16][64];
	static unsigned int next;
	char *name = names[next++ % 16];
	unsigned char id[FF_BOOT_ID];

	cr_assert_eq(ff_boot_id(id), 0);
	snprintf(name, sizeof(names[0]), "fenceferry-%02x%02x%02x%02x-%s",
		id[0], id[1], id[2], id[3], end);
	return name;
}

Test(sweep, removes_what_is_ours_and_stale, DIRECTORY)
{
	int locked;

	put_file(name_of("0123456789abcdef"), 0600, NULL);
	put_file(name_of("fedcba9876543210"), 0600, NULL);
	put_file(name_of("00000000deadbeef"), 0600, &locked);
	put_file("fenceferry", 0600, NULL);
	put_file("other-0123456789abcdef", 0600, NULL);
	put_file(name_of("0123456789abcde"), 0600, NULL);
	put_file("target", 0600, NULL);
	cr_assert(mkdirat(unit_dir_fd, name_of("0000000000000001"), 0700) == 0);
	cr_assert(symlinkat("target", unit_dir_fd,
		name_of("0000000000000002")) == 0);
	cr_assert(mkfifoat(unit_dir_fd, name_of("0000000000000003"), 0600) ==
		0);
	cr_expect_eq(ff_standin_sweep(unit_dir_fd), 2);
	cr_expect_not(exists(name_of("0123456789abcdef")));
	cr_expect_not(exists(name_of("fedcba9876543210")));
	cr_expect(exists(name_of("00000000deadbeef")), "somebody lives");
	cr_expect(exists("fenceferry"));
	cr_expect(exists("other-0123456789abcdef"));
	cr_expect(exists(name_of("0123456789abcde")), "one digit is missing");
	cr_expect(exists("target") && exists(name_of("0000000000000002")));
	cr_expect(exists(name_of("0000000000000001")));
	cr_expect(exists(name_of("0000000000000003")));
	close(locked);
	cr_expect_eq(ff_standin_sweep(unit_dir_fd), 1, "now he is dead");
	cr_expect_eq(ff_standin_sweep(unit_dir_fd), 0);
	unlinkat(unit_dir_fd, name_of("0000000000000001"), AT_REMOVEDIR);
}

/* Whose kernel shares the directory; locks do not cross. */
Test(sweep, leaves_what_is_of_another_boot, DIRECTORY)
{
	unsigned char id[FF_BOOT_ID];
	char name[64];

	cr_assert_eq(ff_boot_id(id), 0);
	snprintf(name, sizeof(name), "fenceferry-%02x%02x%02x%02x-%s", id[0],
		id[1], id[2], id[3] ^ 1u, "0123456789abcdef");
	cr_assert(ff_standin_is_name(name));
	put_file(name, 0600, NULL);
	cr_expect_eq(ff_standin_sweep(unit_dir_fd), 0);
	cr_expect(exists(name));
}

Test(sweep, leaves_what_others_own, ROOT_DIRECTORY)
{
	/* Not sticky: it could be removed. */
	cr_assert(chmod(unit_dir, 0777) == 0);
	put_file(name_of("0123456789abcdef"), 0666, NULL);
	become_nobody();
	cr_expect_eq(ff_standin_sweep(unit_dir_fd), 0);
	cr_expect(exists(name_of("0123456789abcdef")));
}

/* Another fenceferry starts, again and again, while we make stand-ins. */
Test(sweep, never_takes_a_living_one, DIRECTORY, .timeout = 60)
{
	pid_t pid;

	pid = fork();
	cr_assert(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			ff_standin_sweep(unit_dir_fd);
	}
	for (int i = 0; i < 5000; i++) {
		struct ff_standin standin = make(4, true);
		struct stat st;

		cr_assert(stat(standin.path, &st) == 0 &&
				st.st_ino == standin.ino,
			"round %d", i);
		ff_standin_close(&standin, unit_dir_fd);
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	cr_expect_eq(count_test_files(), 0);
}
