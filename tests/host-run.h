/* SPDX-License-Identifier: MIT */
#ifndef FF_TEST_HOST_RUN_H
#define FF_TEST_HOST_RUN_H

#include "futexwatch/wire.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * What the tests of fenceferry host have in common: a daemon of each test's
 * own, and guests that speak its protocol. All of it fails the test when
 * something is not as it should be, after a generous deadline.
 */

#define HR_DEADLINE_MS 30000

/* How long an honest one may be held up; and where the daemon is sanitized. */
#define HR_DELAY_MS 2000
#define HR_DELAY_SANITIZED_MS 5000

struct hr_daemon {
	pid_t pid;
	char dir[32]; /* the shm dir, of the test's own; it is in /dev/shm */
	char socket[48], err[48], log[48]; /* in dir */
	int fds; /* how many it had open with no guest */
};

/* Make the directory, which is removed when this process ends. */
void hr_make_dir(struct hr_daemon *daemon);

/* Start it in the directory, with these options (up to a NULL) beside its
 * socket, the shm dir and the log; wait until it listens. */
void hr_start(struct hr_daemon *daemon, const char *const options[]);

/* Run it as it is, without waiting: environment beside ours, options, fds from
 * 3 on (-1 ends them). */
pid_t hr_spawn(const struct hr_daemon *daemon, const char *const environment[],
	const char *const options[], const int fds[]);

/* All guests have gone: as many fds as at the start. */
void hr_expect_no_leak(const struct hr_daemon *daemon);

/* SIGTERM ends it with 0, and its socket is gone. */
void hr_stop(struct hr_daemon *daemon);

/* Kill it if it still lives, remove the directory: for .fini. */
void hr_clean(struct hr_daemon *daemon);

/* What it has said (freed by the caller); is this in it, soon at the latest? */
char *hr_read_file(const char *path);
void hr_expect_said(const struct hr_daemon *daemon, const char *text);
void hr_expect_logged(const struct hr_daemon *daemon, const char *text);

/* A number of /proc/PID/status, such as VmRSS. */
long hr_status_number(pid_t pid, const char *key);
/* Then freed memory is kept for a while. */
bool hr_is_sanitized(pid_t pid);
size_t hr_count_lines(const char *path);
uint64_t hr_now_ms(void);
void hr_sleep_ms(unsigned int ms);

/* A connection. */
struct hr_guest {
	int fd;
	unsigned char id[FF_WIRE_ID];
};

int hr_connect(const struct hr_daemon *daemon);
/* Connect and exchange hellos; it is another kernel's. */
struct hr_guest hr_guest(const struct hr_daemon *daemon);
/* The same as one of this kernel whose futexes are its own, and who wants to
 * pass files, which the daemon takes. */
struct hr_guest hr_fds_guest(const struct hr_daemon *daemon);
/* The features of the daemon's answer to these, as one of this kernel. */
uint32_t hr_agree(const struct hr_guest *guest, uint32_t features);
/* A hello, without waiting for an answer. */
void hr_say_hello(const struct hr_guest *guest, uint32_t version);
void hr_send(int fd, const struct ff_wire *message);
/* With so many fds, of which some may be the same; 0 or an errno. */
int hr_send_fds(int fd, const struct ff_wire *message, const int fds[],
	size_t count);
/* False: the peer has closed. */
bool hr_try_send(int fd, const void *bytes, size_t size);
/* The next message; false at the end of the connection. */
bool hr_receive(int fd, struct ff_wire *message);
/* The next one is of this type, id and reason. */
void hr_expect(int fd, enum ff_wire_type type, uint64_t id,
	enum ff_wire_reason reason);
/* The other end closes; what comes before is skipped. */
void hr_expect_end(int fd);

/* A file as fences have it. */
struct hr_fence {
	uint64_t id;
	char name[FF_WIRE_NAME], path[96];
	uint32_t *word;
};

/* Make the file and map it. */
struct hr_fence hr_make_file(const struct hr_daemon *daemon);
void hr_remove_file(struct hr_fence *fence);
void hr_send_new(int fd, uint64_t id, const char *name);
/* A NEW of a file without a name. */
void hr_send_new_fd(int fd, uint64_t id, int file);
/* Make a file with a name, and have it accepted. */
struct hr_fence hr_fence(const struct hr_daemon *daemon,
	const struct hr_guest *guest, uint64_t id);

/* FUTEX_WAKE by us, the host's side: how many were woken. */
long hr_wake(const uint32_t *word, int count);

/* A sleeper on the host's side: it is in FUTEX_WAIT on return. */
struct hr_sleeper {
	pthread_t thread;
	uint32_t *word;
	volatile pid_t tid;
	volatile bool is_awake;
};
void hr_sleep_on(struct hr_sleeper *sleeper, uint32_t *word);
void hr_expect_awake(struct hr_sleeper *sleeper);

/* One whom the others shall not disturb. */
struct hr_honest {
	struct hr_guest guest;
	struct hr_fence fence;
	pid_t daemon;
};
struct hr_honest hr_honest(const struct hr_daemon *daemon);
/* A wake goes through in each direction, without much delay. */
void hr_expect_works(struct hr_honest *honest);
/* The same with the fence of any guest. */
void hr_expect_round(int fd, const struct hr_fence *fence);
void hr_leave(struct hr_honest *honest);

#endif
