/* SPDX-License-Identifier: MIT */
#ifndef FF_PROCESS_H
#define FF_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * Other processes as /proc shows them. All functions return 0 or a count on
 * success and -errno on failure; -ESRCH and -ENOENT mean that it is gone.
 */

/* A growing list of ids (pids, tids or fds). Zero is an empty one. */
struct ff_ids {
	int *ids;
	size_t count, room;
};

int ff_ids_add(struct ff_ids *list, int id);
bool ff_ids_has(const struct ff_ids *list, int id);
void ff_ids_free(struct ff_ids *list);

enum {
	FF_VMA_READ = 1,
	FF_VMA_WRITE = 2,
	FF_VMA_EXEC = 4,
	FF_VMA_SHARED = 8,
};

/* One mapping: addresses and file offset in bytes; flags FF_VMA_*. */
struct ff_vma {
	uint64_t start, end, offset;
	dev_t dev;
	ino_t ino;
	unsigned int flags;
};

struct ff_vmas {
	struct ff_vma *vmas;
	size_t count, room;
};

void ff_vmas_free(struct ff_vmas *list);

/* What /proc/PID/status says of one thread. */
struct ff_status {
	pid_t tgid, tracer;
	uid_t uid; /* the one files are made with: fsuid */
	gid_t gid;
	char state;
	char comm[16];
	uint64_t pending; /* of the thread or the process, one bit a signal */
	uint64_t blocked, caught;
	uint64_t switches; /* how often the thread has blocked */
	pid_t parent;
	unsigned int seccomp; /* mode: 0 none, 1 strict, 2 filters */
	unsigned int seccomp_filters; /* 0 before Linux 5.9 */
	bool no_new_privs;
	uint64_t capabilities; /* effective ones, in its user namespace */
};

/* What /proc/PID/fdinfo/FD says. */
struct ff_fdinfo {
	int flags; /* as open(2), O_CLOEXEC among them */
	int64_t offset;
};

int ff_process_status(pid_t tid, struct ff_status *status);

/* Does it stand still, by job control or for a tracer? */
bool ff_process_is_stopped(pid_t tid);

/* What /proc/PID/stat says of a process beside. */
struct ff_birth {
	uint64_t start; /* clock ticks since boot: with the pid, unique */
	bool is_kernel_thread;
};
int ff_process_birth(pid_t pid, struct ff_birth *birth);

/* kernel.yama.ptrace_scope, which says who may trace whom: 0, anybody of the same
 * user, if there is no Yama. */
int ff_process_ptrace_scope(void);

/* Is there such a process or thread, if only as a zombie? */
bool ff_process_exists(pid_t tid);

/* Append the thread ids of pid that *tids lacks; returns how many. */
int ff_process_threads(pid_t pid, struct ff_ids *tids);

/* How many threads pid has, those that are just ending too (st_nlink). */
int ff_process_count_threads(pid_t pid);

/* Set *pids to the processes below root, without root, whoever forked them. */
int ff_process_descendants(pid_t root, struct ff_ids *pids);

/* Set *fds to the open fds of pid, ascending order not promised. */
int ff_process_fds(pid_t pid, struct ff_ids *fds);

/* Is its fd this file? */
bool ff_process_has_file(pid_t pid, int fd, dev_t dev, ino_t ino);

/* A duplicate of its fd, close-on-exec, to be closed; pid may be any thread of
 * it. It takes the right to trace it. (pidfd_getfd, Linux 5.6.) */
int ff_process_copy_fd(pid_t pid, int fd);

int ff_process_fdinfo(pid_t pid, int fd, struct ff_fdinfo *info);

/* Set *list to all mappings of pid in the order of addresses. PROCMAP_QUERY
 * (Linux 6.11) where it is, else the text of /proc/PID/maps. */
int ff_process_vmas(pid_t pid, struct ff_vmas *list);

/* The mapping that address lies in, by an open /proc/PID/maps. -ENOENT: none;
 * -ESRCH: the memory is no longer anybody's. */
int ff_process_vma_at(int maps, uint64_t address, struct ff_vma *vma);

/* May the shared mapping that starts at start be made writable by mprotect?
 * (VmFlags of /proc/PID/smaps, 3.8.) */
int ff_process_vma_may_write(pid_t pid, uint64_t start);

/* Which of the pages from start are private copies (copy-on-write happened)?
 * One byte a page into copied. (/proc/PID/pagemap bit 61, 3.5, of use to
 * unprivileged readers too.) */
int ff_process_private_pages(pid_t pid, uint64_t start, size_t pages,
	unsigned char *copied);

/* Read or write its memory: all size bytes or -errno (-EFAULT also if short). */
int ff_process_read(pid_t pid, uint64_t address, void *buffer, size_t size);
int ff_process_write(pid_t pid, uint64_t address, const void *buffer,
	size_t size);

/* The value of variable in /proc/PID/environ; to be freed, NULL if unset. */
char *ff_process_getenv(pid_t pid, const char *variable);

#endif
