/* SPDX-License-Identifier: MIT */
/* fenceferry host and fences whose files have no name. */
#include "host-run.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NOBODY = 65534 };

static struct hr_daemon daemon_;
static struct hr_guest guest;

static void begin_with(const char *const options[])
{
	hr_make_dir(&daemon_);
	hr_start(&daemon_, options);
}

static void begin(void)
{
	begin_with(NULL);
	guest = hr_fds_guest(&daemon_);
}

static void clean(void)
{
	hr_clean(&daemon_);
}

#define DAEMON .init = begin, .fini = clean, .timeout = 120

static void end(void)
{
	close(guest.fd);
	hr_expect_no_leak(&daemon_);
	hr_stop(&daemon_);
}

static void settle(void)
{
	hr_send(guest.fd, &(struct ff_wire){ .type = FF_WIRE_PING, .id = 1 });
	hr_expect(guest.fd, FF_WIRE_PONG, 1, 0);
}

/* A file with a word in it; the fd is the caller's. */
static int make_file(void)
{
	int fd = open(daemon_.dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	cr_assert(fd >= 0 && ftruncate(fd, 4) == 0, "%s", strerror(errno));
	return fd;
}

static uint32_t *map_file(int fd)
{
	uint32_t *word = mmap(NULL, 4, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		0);

	cr_assert(word != MAP_FAILED);
	return word;
}

/* With which flags has the daemon it open? -1: not at all. */
static int find_flags(int fd)
{
	struct stat st, other;

	cr_assert(fstat(fd, &st) == 0);
	for (int i = 0; i < 200; i++) {
		char path[64], *text, *at;
		int flags = -1;

		snprintf(path, sizeof(path), "/proc/%d/fd/%d",
			(int)daemon_.pid, i);
		if (stat(path, &other) < 0 || other.st_ino != st.st_ino ||
			other.st_dev != st.st_dev)
			continue;
		snprintf(path, sizeof(path), "/proc/%d/fdinfo/%d",
			(int)daemon_.pid, i);
		text = hr_read_file(path);
		at = strstr(text, "flags:");
		cr_assert_not_null(at);
		cr_assert_eq(sscanf(at, "flags: %o", (unsigned int *)&flags),
			1);
		free(text);
		return flags;
	}
	return -1;
}

static void carry_wakes(const char *waiters)
{
	enum { FENCES = 50 };
	struct hr_fence fences[FENCES];
	char option[32];

	snprintf(option, sizeof(option), "--waiters=%s", waiters);
	begin_with((const char *const[]){ option, NULL });
	guest = hr_fds_guest(&daemon_);
	for (uint64_t i = 0; i < FENCES; i++) {
		int fd = i % 2 ? make_file() : memfd_create("x", MFD_CLOEXEC);

		cr_assert(fd >= 0 && ftruncate(fd, 4) == 0);
		fences[i] = (struct hr_fence){ .id = i + 1,
			.word = map_file(fd) };
		hr_send_new_fd(guest.fd, i + 1, fd);
		hr_expect(guest.fd, FF_WIRE_ACCEPTED, i + 1, 0);
		close(fd);
	}
	for (int i = 0; i < 3 * FENCES; i++)
		hr_expect_round(guest.fd, &fences[i % FENCES]);
	end();
}

Test(host_fds, carry_wakes_by_io_uring, .fini = clean, .timeout = 120)
{
	carry_wakes("io_uring");
}

Test(host_fds, carry_wakes_by_waitv, .fini = clean, .timeout = 120)
{
	carry_wakes("waitv");
}

Test(host_fds, carry_wakes_by_threads, .fini = clean, .timeout = 120)
{
	carry_wakes("threads");
}

Test(host_fds, are_opened_again_to_read_only, DAEMON)
{
	int fd = make_file(), fence_fd;

	hr_send_new_fd(guest.fd, 1, fd);
	hr_expect(guest.fd, FF_WIRE_ACCEPTED, 1, 0);
	fence_fd = find_flags(fd);
	cr_assert(fence_fd >= 0);
	cr_expect_eq(fence_fd & O_ACCMODE, O_RDONLY);
	cr_expect(fence_fd & O_CLOEXEC);
	hr_send(guest.fd, &(struct ff_wire){ .type = FF_WIRE_GONE, .id = 1 });
	settle();
	cr_expect_eq(find_flags(fd), -1);
	/* By a name, with a number that tells it from others. */
	hr_expect_said(&daemon_, "fence #");
	end();
}

/* So the guest's end can tell whether a client still has it. */
Test(host_fds, of_one_who_only_reads_leave_others_to_write, DAEMON)
{
	int fd = make_file(), reader;
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	reader = open(path, O_RDONLY | O_CLOEXEC);
	cr_assert(reader >= 0);
	close(fd);
	hr_send_new_fd(guest.fd, 1, reader);
	hr_expect(guest.fd, FF_WIRE_ACCEPTED, 1, 0);
	signal(SIGIO, SIG_IGN);
	cr_expect(fcntl(reader, F_SETLEASE, F_RDLCK) == 0, "%s",
		strerror(errno));
	end();
}

Test(host_fds, of_one_file_are_taken_once, DAEMON)
{
	struct hr_fence named = hr_fence(&daemon_, &guest, 1);
	struct ff_wire second = { .type = FF_WIRE_NEW, .id = 5, .offset = 4 };
	int fd = make_file(), same = open(named.path, O_RDONLY | O_CLOEXEC);

	cr_assert(ftruncate(fd, 8) == 0);
	hr_send_new_fd(guest.fd, 2, same);
	hr_expect(guest.fd, FF_WIRE_REFUSED, 2, FF_WIRE_TAKEN);
	hr_send_new_fd(guest.fd, 3, fd);
	hr_expect(guest.fd, FF_WIRE_ACCEPTED, 3, 0);
	hr_send_new_fd(guest.fd, 4, fd);
	hr_expect(guest.fd, FF_WIRE_REFUSED, 4, FF_WIRE_TAKEN);
	/* Another word of it is another fence. */
	cr_assert_eq(hr_send_fds(guest.fd, &second, &fd, 1), 0);
	hr_expect(guest.fd, FF_WIRE_ACCEPTED, 5, 0);
	hr_send(guest.fd, &(struct ff_wire){ .type = FF_WIRE_GONE, .id = 3 });
	hr_send_new_fd(guest.fd, 6, fd);
	hr_expect(guest.fd, FF_WIRE_ACCEPTED, 6, 0);
	hr_remove_file(&named);
	end();
}

/* With native wakes there is nothing to do, and no file to hold. */
Test(host_fds, are_not_held_for_one_with_our_futexes, DAEMON)
{
	int fd = make_file();

	close(guest.fd);
	guest.fd = hr_connect(&daemon_);
	cr_assert_eq(hr_agree(&guest, FF_WIRE_FDS), FF_WIRE_FDS);
	hr_send_new_fd(guest.fd, 1, fd);
	hr_expect(guest.fd, FF_WIRE_ACCEPTED, 1, 0);
	cr_expect_eq(find_flags(fd), -1);
	end();
}

Test(host_fds, come_again_with_a_new_connection, DAEMON)
{
	int fd = make_file();
	struct hr_fence fence = { .id = 1, .word = map_file(fd) };

	for (int i = 0; i < 20; i++) {
		int old = guest.fd;

		hr_send_new_fd(guest.fd, 1, fd);
		hr_expect(guest.fd, FF_WIRE_ACCEPTED, 1, 0);
		hr_expect_round(guest.fd, &fence);
		guest.fd = hr_connect(&daemon_);
		cr_assert_eq(hr_agree(&guest, FF_WIRE_ISOLATED | FF_WIRE_FDS),
			FF_WIRE_FDS);
		hr_expect_end(old);
		close(old);
	}
	end();
}

/* What a guest without the feature says has no fd. */
static void expect_bad_name(void)
{
	hr_send(guest.fd, &(struct ff_wire){ .type = FF_WIRE_NEW, .id = 1 });
	hr_expect(guest.fd, FF_WIRE_REFUSED, 1, FF_WIRE_BAD_NAME);
	close(guest.fd);
}

Test(host_fds, are_only_offered_to_who_wants_them_on_our_kernel, DAEMON)
{
	struct ff_wire hello = { .type = FF_WIRE_HELLO,
		.version = FF_WIRE_VERSION, .kernel = "another kernel",
		.features = FF_WIRE_ISOLATED | FF_WIRE_FDS };

	close(guest.fd);
	guest.fd = hr_connect(&daemon_);
	cr_expect_eq(hr_agree(&guest, FF_WIRE_ISOLATED), 0);
	expect_bad_name();
	guest.fd = hr_connect(&daemon_);
	hr_send(guest.fd, &hello);
	cr_assert(hr_receive(guest.fd, &hello));
	cr_expect_eq(hello.type, FF_WIRE_HELLO);
	cr_expect_eq(hello.features, 0);
	expect_bad_name();
	end();
}

/* A VMM's socket is no connection to a guest. */
Test(host_fds, are_not_offered_on_a_device, .fini = clean, .timeout = 120)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	char option[128];
	int listener;

	hr_make_dir(&daemon_);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/vmm",
		daemon_.dir);
	snprintf(option, sizeof(option), "-lchar:%s", address.sun_path);
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	cr_assert(bind(listener, (struct sockaddr *)&address,
		sizeof(address)) == 0 && listen(listener, 4) == 0);
	hr_start(&daemon_, (const char *const[]){ option, NULL });
	guest.fd = accept(listener, NULL, NULL);
	cr_assert(guest.fd >= 0);
	cr_expect_eq(hr_agree(&guest, FF_WIRE_ISOLATED | FF_WIRE_FDS), 0);
	expect_bad_name();
	close(listener);
	hr_stop(&daemon_);
}

/* Other users are let in, but not their files of who knows where. */
Test(host_fds, are_not_offered_to_other_users, .fini = clean, .timeout = 120)
{
	pid_t pid;
	int status;

	if (geteuid())
		cr_skip("to be run by root: it becomes another user");
	begin_with((const char *const[]){ "--allow-uid=65534", NULL });
	cr_assert(chmod(daemon_.dir, 0755) == 0);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (setresgid(NOBODY, NOBODY, NOBODY) ||
			setresuid(NOBODY, NOBODY, NOBODY))
			_exit(2);
		guest.fd = hr_connect(&daemon_);
		_exit(hr_agree(&guest, FF_WIRE_ISOLATED | FF_WIRE_FDS) ? 3 : 0);
	}
	cr_assert(waitpid(pid, &status, 0) == pid);
	cr_expect_eq(status, 0, "status %x", (unsigned int)status);
	guest = hr_fds_guest(&daemon_);
	end();
}
