/* SPDX-License-Identifier: MIT */
/*
 * fenceferry host against guests that name what they should not, or do with
 * their files what they should not.
 */
#include "host-run.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NOBODY = 65534 };

#define NAME "fenceferry-0123abcd-0123456789abcdef"

static struct hr_daemon daemon_;
static struct hr_honest honest;
static struct hr_guest guest;
static char path[96];

static void begin_with(const char *const options[])
{
	hr_make_dir(&daemon_);
	hr_start(&daemon_, options);
	honest = hr_honest(&daemon_);
	guest = hr_guest(&daemon_);
	snprintf(path, sizeof(path), "%s/%s", daemon_.dir, NAME);
}

static void begin(void)
{
	begin_with(NULL);
}

static void begin_as_root(void)
{
	if (geteuid())
		cr_skip("to be run by root: it takes another user's file");
	begin();
}

static void end(void)
{
	hr_expect_works(&honest);
	close(guest.fd);
	hr_leave(&honest);
	hr_expect_no_leak(&daemon_);
	hr_stop(&daemon_);
}

static void clean(void)
{
	hr_clean(&daemon_);
}

#define DAEMON .init = begin, .fini = clean, .timeout = 120
#define ROOT_DAEMON .init = begin_as_root, .fini = clean, .timeout = 120

static void expect_refused(const char *name, enum ff_wire_reason reason)
{
	static uint64_t id = 1000;

	hr_send_new(guest.fd, ++id, name);
	hr_expect(guest.fd, FF_WIRE_REFUSED, id, reason);
}

static int make_file(off_t size)
{
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	cr_assert(fd >= 0 && ftruncate(fd, size) == 0, "%s", strerror(errno));
	return fd;
}

Test(hostile_files, names_of_others_are_refused, DAEMON)
{
	static const char *const names[] = { "x", "../" NAME, "./" NAME,
		"/dev/shm/" NAME, "/etc/passwd", "..", ".", "fenceferry-",
		"fenceferry-0123abcd-0123456789abcde",
		"fenceferry-0123abcd-0123456789abcdef0",
		"fenceferry-0123ABCD-0123456789abcdef",
		"fenceferry-0123abcd/0123456789abcdef",
		"fenceferry-0123abcd-01234567/9abcdef", "\033[2J\n", " " };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct ff_wire message = { .type = FF_WIRE_NEW, .id = i + 1 };

		snprintf(message.name, sizeof(message.name), "%s", names[i]);
		hr_send(guest.fd, &message);
		hr_expect(guest.fd, FF_WIRE_REFUSED, i + 1, FF_WIRE_BAD_NAME);
	}
	expect_refused(NAME, FF_WIRE_NO_FILE);
	end();
}

Test(hostile_files, name_without_end_is_dropped, DAEMON)
{
	struct ff_wire message = { .type = FF_WIRE_NEW, .id = 1,
		.name = NAME };
	unsigned char bytes[FF_WIRE_SIZE];

	ff_wire_encode(&message, bytes);
	memset(bytes + 24, 'a', FF_WIRE_NAME);
	cr_assert(hr_try_send(guest.fd, bytes, sizeof(bytes)));
	hr_expect_end(guest.fd);
	end();
}

Test(hostile_files, symlinks_are_refused, DAEMON)
{
	cr_assert(symlink(honest.fence.name, path) == 0);
	expect_refused(NAME, FF_WIRE_BAD_FILE);
	cr_assert(unlink(path) == 0 && symlink("/etc/passwd", path) == 0);
	expect_refused(NAME, FF_WIRE_BAD_FILE);
	cr_assert(unlink(path) == 0 && symlink("nowhere", path) == 0);
	expect_refused(NAME, FF_WIRE_BAD_FILE);
	end();
}

Test(hostile_files, fifos_are_not_even_opened, DAEMON)
{
	int fd;

	cr_assert(mkfifo(path, 0600) == 0);
	expect_refused(NAME, FF_WIRE_BAD_FILE);
	/* With somebody at the other end it would open at once. */
	fd = open(path, O_RDWR | O_CLOEXEC);
	cr_assert(fd >= 0);
	expect_refused(NAME, FF_WIRE_BAD_FILE);
	close(fd);
	end();
}

Test(hostile_files, directories_are_refused, DAEMON)
{
	cr_assert(mkdir(path, 0700) == 0);
	expect_refused(NAME, FF_WIRE_BAD_FILE);
	end();
}

Test(hostile_files, devices_are_refused, ROOT_DAEMON)
{
	if (mknod(path, S_IFCHR | 0600, makedev(1, 5)) < 0)
		cr_skip("no devices can be made here");
	expect_refused(NAME, FF_WIRE_BAD_FILE);
	end();
}

Test(hostile_files, other_users_files_are_refused, ROOT_DAEMON)
{
	int fd = make_file(4);

	cr_assert(fchown(fd, NOBODY, NOBODY) == 0);
	expect_refused(NAME, FF_WIRE_BAD_FILE);
	/* It is that alone which is wrong with it. */
	cr_assert(fchown(fd, 0, 0) == 0);
	hr_send_new(guest.fd, 5, NAME);
	hr_expect(guest.fd, FF_WIRE_ACCEPTED, 5, 0);
	close(fd);
	end();
}

Test(hostile_files, wrong_sizes_are_refused, DAEMON)
{
	static const off_t sizes[] = { 0, 3, (64 << 10) + 1, 1 << 30 };
	int fd = make_file(0);

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		cr_assert(ftruncate(fd, sizes[i]) == 0);
		expect_refused(NAME, FF_WIRE_BAD_FILE);
	}
	close(fd);
	end();
}

Test(hostile_files, offsets_beyond_the_file_are_refused, DAEMON)
{
	static const uint64_t offsets[] = { 8, 4096, UINT64_C(1) << 40,
		UINT64_MAX - 3, UINT64_MAX - 7 };
	struct ff_wire message = { .type = FF_WIRE_NEW, .name = NAME };
	int fd = make_file(8);

	for (size_t i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
		message.id = i + 1;
		message.offset = offsets[i];
		hr_send(guest.fd, &message);
		hr_expect(guest.fd, FF_WIRE_REFUSED, i + 1, FF_WIRE_BAD_FILE);
	}
	message.id = 100;
	message.offset = 4;
	hr_send(guest.fd, &message);
	hr_expect(guest.fd, FF_WIRE_ACCEPTED, 100, 0);
	close(fd);
	end();
}

/* Somebody holds a lease, which opening has to wait for. */
Test(hostile_files, leases_hold_nobody_up, DAEMON)
{
	int fd = make_file(4);

	signal(SIGIO, SIG_IGN);
	cr_assert(fcntl(fd, F_SETLEASE, F_WRLCK) == 0, "%s", strerror(errno));
	hr_send_new(guest.fd, 1, NAME);
	hr_expect_works(&honest);
	hr_expect(guest.fd, FF_WIRE_REFUSED, 1, FF_WIRE_FAILED);
	cr_assert(fcntl(fd, F_SETLEASE, F_UNLCK) == 0);
	hr_send_new(guest.fd, 2, NAME);
	hr_expect(guest.fd, FF_WIRE_ACCEPTED, 2, 0);
	close(fd);
	end();
}

/* Whether it was seen to be lost before that is a matter of luck. */
static void expect_pong(uint64_t id)
{
	struct ff_wire answer;

	hr_send(guest.fd, &(struct ff_wire){ .type = FF_WIRE_PING, .id = id });
	for (;;) {
		cr_assert(hr_receive(guest.fd, &answer));
		if (answer.type == FF_WIRE_PONG)
			break;
		cr_assert_eq(answer.id, id);
		cr_assert(answer.type == FF_WIRE_WAKE ||
			(answer.type == FF_WIRE_REFUSED &&
				answer.reason == FF_WIRE_LOST),
			"type %d: %s", answer.type,
			ff_wire_reason_text(answer.reason));
	}
}

static void truncate_while_watched(const char *waiters)
{
	char option[32];
	int fd;

	snprintf(option, sizeof(option), "--waiters=%s", waiters);
	begin_with((const char *const[]){ option, NULL });
	fd = make_file(4);
	hr_send_new(guest.fd, 1, NAME);
	hr_expect(guest.fd, FF_WIRE_ACCEPTED, 1, 0);
	cr_assert(ftruncate(fd, 0) == 0);
	hr_send(guest.fd, &(struct ff_wire){ .type = FF_WIRE_WAKE, .id = 1,
		.count = INT_MAX });
	hr_expect(guest.fd, FF_WIRE_REFUSED, 1, FF_WIRE_LOST);
	hr_expect_works(&honest);
	/* It is another one, if it has a word again. */
	cr_assert(ftruncate(fd, 4096) == 0);
	hr_send_new(guest.fd, 1, NAME);
	hr_expect(guest.fd, FF_WIRE_ACCEPTED, 1, 0);
	/* And gone while it lies there. */
	cr_assert(ftruncate(fd, 0) == 0);
	hr_send(guest.fd, &(struct ff_wire){ .type = FF_WIRE_GONE, .id = 1 });
	expect_pong(1);
	close(fd);
	end();
}

Test(hostile_files, truncation_is_told_with_io_uring, .fini = clean,
	.timeout = 120)
{
	truncate_while_watched("io_uring");
}

Test(hostile_files, truncation_is_told_with_waitv, .fini = clean,
	.timeout = 120)
{
	truncate_while_watched("waitv");
}

Test(hostile_files, truncation_is_told_with_threads, .fini = clean,
	.timeout = 120)
{
	truncate_while_watched("threads");
}

/* Up and down, while others are woken. */
Test(hostile_files, truncation_at_any_time_harms_nobody, DAEMON)
{
	for (uint64_t i = 1; i <= 300; i++) {
		int fd = make_file(4);
		pid_t pid;

		hr_send_new(guest.fd, i, NAME);
		hr_expect(guest.fd, FF_WIRE_ACCEPTED, i, 0);
		pid = fork();
		if (pid == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			for (int n = 0; n < 50; n++)
				if (ftruncate(fd, n % 2 ? 4096 : 0) < 0)
					_exit(1);
			_exit(0);
		}
		for (int n = 0; n < 20; n++)
			hr_send(guest.fd, &(struct ff_wire){
				.type = FF_WIRE_WAKE, .id = i, .count = 1 });
		waitpid(pid, NULL, 0);
		hr_send(guest.fd, &(struct ff_wire){ .type = FF_WIRE_GONE,
			.id = i });
		close(fd);
		unlink(path);
		expect_pong(i);
		hr_expect_works(&honest);
	}
	end();
}

/* A user who may not connect, and one who may, but only with files of their
 * own. The daemon is root's. */
static void connect_as_nobody(bool is_allowed)
{
	int fd = make_file(4), status;
	pid_t pid;

	cr_assert(chmod(daemon_.dir, 0755) == 0 &&
		chmod(daemon_.socket, 0666) == 0);
	pid = fork();
	if (pid == 0) {
		struct hr_guest nobody;
		struct ff_wire message;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (setresgid(NOBODY, NOBODY, NOBODY) ||
			setresuid(NOBODY, NOBODY, NOBODY))
			_exit(2);
		nobody.fd = hr_connect(&daemon_);
		memset(nobody.id, 1, sizeof(nobody.id));
		hr_say_hello(&nobody, FF_WIRE_VERSION);
		if (!hr_receive(nobody.fd, &message))
			_exit(3);
		if (!is_allowed)
			_exit(message.type == FF_WIRE_REFUSED && !message.id &&
				message.reason == FF_WIRE_NOT_ALLOWED ? 0 : 4);
		hr_send_new(nobody.fd, 1, NAME);
		if (!hr_receive(nobody.fd, &message))
			_exit(5);
		_exit(message.type == FF_WIRE_REFUSED &&
			message.reason == FF_WIRE_BAD_FILE ? 0 : 6);
	}
	cr_assert(waitpid(pid, &status, 0) == pid);
	cr_expect_eq(status, 0, "status %x", (unsigned int)status);
	/* Nothing is wrong with the file. */
	hr_send_new(guest.fd, 5, NAME);
	hr_expect(guest.fd, FF_WIRE_ACCEPTED, 5, 0);
	close(fd);
	end();
}

Test(hostile_files, strangers_are_refused, ROOT_DAEMON)
{
	connect_as_nobody(false);
}

static void begin_with_nobody(void)
{
	if (geteuid())
		cr_skip("to be run by root: it becomes another user");
	begin_with((const char *const[]){ "--allow-uid=65534", NULL });
}

Test(hostile_files, named_users_get_no_more_than_their_own,
	.init = begin_with_nobody, .fini = clean, .timeout = 120)
{
	struct stat st;

	cr_assert(stat(daemon_.socket, &st) == 0);
	cr_expect_eq(st.st_mode & 0777, 0666);
	connect_as_nobody(true);
}

enum { WORDS = 14000, AT_ONCE = 100 };

/* Register words of one file. How many were accepted. */
static uint64_t register_words(const struct hr_fence *file)
{
	struct ff_wire new = { .type = FF_WIRE_NEW }, answer;
	uint64_t accepted = 0;

	snprintf(new.name, sizeof(new.name), "%s", file->name);
	for (uint64_t done = 0; done < WORDS; done += AT_ONCE) {
		for (new.id = done + 1; new.id <= done + AT_ONCE; new.id++) {
			new.offset = (new.id - 1) * 4;
			hr_send(guest.fd, &new);
		}
		for (int i = 0; i < AT_ONCE; i++) {
			cr_assert(hr_receive(guest.fd, &answer));
			accepted += answer.type == FF_WIRE_ACCEPTED;
		}
	}
	return accepted;
}

/* All were woken, in an order that is not theirs. */
Test(hostile_files, one_with_thousands_of_fences_leaves_at_once, DAEMON)
{
	struct hr_fence file = hr_make_file(&daemon_);
	uint32_t *words;
	uint64_t count;
	int fd = open(file.path, O_RDWR | O_CLOEXEC);

	cr_assert(fd >= 0 && ftruncate(fd, WORDS * 4) == 0);
	words = mmap(NULL, WORDS * 4, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		0);
	cr_assert(words != MAP_FAILED);
	close(fd);
	count = register_words(&file);
	for (uint64_t i = 0, at = 0; i < count; i++) {
		at = (at + 6151) % count; /* a prime */
		cr_assert_eq(hr_wake(words + at, INT_MAX), 1);
		hr_expect(guest.fd, FF_WIRE_WAKE, at + 1, 0);
	}
	close(guest.fd);
	for (int i = 0; i < 20; i++)
		hr_expect_works(&honest);
	munmap(words, WORDS * 4);
	hr_remove_file(&file);
	guest = hr_guest(&daemon_);
	end();
}

/* Who does not listen has no limits any more, and no fences. */
Test(hostile_files, fences_of_one_that_hears_nothing_are_not_watched, DAEMON)
{
	enum { PAIRS = 2000 };
	static unsigned char bytes[PAIRS * 2 * FF_WIRE_SIZE];
	struct hr_fence file = hr_make_file(&daemon_);
	struct ff_wire new = { .type = FF_WIRE_NEW };
	int size = sizeof(bytes) * 2;
	size_t count = 0;
	char *log;

	snprintf(new.name, sizeof(new.name), "%s", file.name);
	for (size_t i = 0; i < PAIRS; i++) {
		new.id = i + 1;
		ff_wire_encode(&new, bytes + i * 2 * FF_WIRE_SIZE);
		ff_wire_encode(&(struct ff_wire){ .type = FF_WIRE_GONE,
			.id = i + 1 }, bytes + (i * 2 + 1) * FF_WIRE_SIZE);
	}
	setsockopt(guest.fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	cr_assert(shutdown(guest.fd, SHUT_RD) == 0);
	hr_try_send(guest.fd, bytes, sizeof(bytes));
	close(guest.fd);
	hr_expect_said(&daemon_, ": left");
	log = hr_read_file(daemon_.log);
	for (const char *at = log; (at = strstr(at, "\"accepted\"")); at++)
		count++;
	free(log);
	cr_expect(count < PAIRS / 4, "%zu", count);
	hr_remove_file(&file);
	guest = hr_guest(&daemon_);
	end();
}
