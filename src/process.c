/* SPDX-License-Identifier: MIT */
#include "process.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

int ff_ids_add(struct ff_ids *list, int id)
{
	if (list->count == list->room) {
		size_t room = list->room ? 2 * list->room : 32;
		int *ids = realloc(list->ids, room * sizeof(*ids));

		if (!ids)
			return -ENOMEM;
		list->ids = ids;
		list->room = room;
	}
	list->ids[list->count++] = id;
	return 0;
}

bool ff_ids_has(const struct ff_ids *list, int id)
{
	for (size_t i = 0; i < list->count; i++)
		if (list->ids[i] == id)
			return true;
	return false;
}

void ff_ids_free(struct ff_ids *list)
{
	free(list->ids);
	*list = (struct ff_ids){ 0 };
}

/* Open /proc/PID/what for reading. */
static int open_proc(pid_t pid, const char *what, int flags)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, what);
	fd = open(path, O_RDONLY | O_CLOEXEC | flags);
	return fd < 0 ? -errno : fd;
}

/* A read of /proc that gives less than this has given all there was. */
#define PROC_RECORD 2048

/* Read a small file of /proc whole into buffer, NUL-terminated. */
static ssize_t read_proc(pid_t pid, const char *what, char *buffer, size_t size)
{
	int fd = open_proc(pid, what, 0);
	size_t used = 0;

	if (fd < 0)
		return fd;
	for (;;) {
		ssize_t n = read(fd, buffer + used, size - 1 - used);

		if (n < 0) {
			n = -errno;
			close(fd);
			return n;
		}
		used += (size_t)n;
		/* Files of one record come whole: no need to see the end. */
		if (n == 0 || used == size - 1 || used < PROC_RECORD)
			break;
	}
	close(fd);
	buffer[used] = '\0';
	return (ssize_t)used;
}

/* Read a file of /proc that may be of any length; *text is to be freed. */
static int read_long_proc(pid_t pid, const char *what, char **text)
{
	size_t room = 4096;

	for (;;) {
		char *buffer = malloc(room);
		ssize_t n;

		if (!buffer)
			return -ENOMEM;
		n = read_proc(pid, what, buffer, room);
		if (n >= 0 && (size_t)n < room - 1) {
			*text = buffer;
			return 0;
		}
		free(buffer);
		if (n < 0)
			return (int)n;
		room *= 4;
	}
}

/* The text behind "name:" in a status file, or NULL. */
static const char *find_field(const char *text, const char *name)
{
	size_t length = strlen(name);

	for (const char *line = text; line; line = strchr(line, '\n')) {
		if (*line == '\n')
			line++;
		if (!strncmp(line, name, length) && line[length] == ':')
			return line + length + 1 + strspn(line + length + 1,
				" \t");
	}
	return NULL;
}

static uint64_t number_field(const char *text, const char *name, int base)
{
	const char *value = find_field(text, name);

	return value ? strtoull(value, NULL, base) : 0;
}

/* The fourth number of "Uid:" and "Gid:" is the file system's. */
static unsigned int fs_id_field(const char *text, const char *name)
{
	const char *value = find_field(text, name);
	unsigned int id = 0;

	if (!value || sscanf(value, "%*u %*u %*u %u", &id) != 1)
		return (unsigned int)-1;
	return id;
}

bool ff_process_exists(pid_t tid)
{
	return kill(tid, 0) == 0 || errno != ESRCH;
}

int ff_process_status(pid_t tid, struct ff_status *status)
{
	const char *field;
	char *text;
	int err = read_long_proc(tid, "status", &text);

	if (err)
		return err;
	memset(status, 0, sizeof(*status));
	field = find_field(text, "Name");
	if (field)
		snprintf(status->comm, sizeof(status->comm), "%.*s",
			(int)strcspn(field, "\n"), field);
	field = find_field(text, "State");
	status->state = field ? *field : '?';
	status->tgid = (pid_t)number_field(text, "Tgid", 10);
	status->tracer = (pid_t)number_field(text, "TracerPid", 10);
	status->parent = (pid_t)number_field(text, "PPid", 10);
	status->seccomp = (unsigned int)number_field(text, "Seccomp", 10);
	status->no_new_privs = number_field(text, "NoNewPrivs", 10);
	status->capabilities = number_field(text, "CapEff", 16);
	status->uid = fs_id_field(text, "Uid");
	status->gid = fs_id_field(text, "Gid");
	status->pending = number_field(text, "SigPnd", 16) |
		number_field(text, "ShdPnd", 16);
	status->blocked = number_field(text, "SigBlk", 16);
	status->caught = number_field(text, "SigCgt", 16);
	status->switches = number_field(text, "voluntary_ctxt_switches", 10);
	status->seccomp_filters = (unsigned int)number_field(text,
		"Seccomp_filters", 10);
	free(text);
	return 0;
}

#define PF_KTHREAD 0x00200000 /* include/linux/sched.h */

int ff_process_birth(pid_t pid, struct ff_birth *birth)
{
	unsigned long long start;
	unsigned int flags;
	char text[1024];
	const char *after;
	ssize_t n = read_proc(pid, "stat", text, sizeof(text));

	if (n < 0)
		return (int)n;
	/* The name may have blanks and parentheses. */
	after = strrchr(text, ')');
	if (!after || sscanf(after + 1, " %*c %*d %*d %*d %*d %*d %u %*u %*u "
			"%*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
			&flags, &start) != 2)
		return -EPROTO;
	*birth = (struct ff_birth){ start, flags & PF_KTHREAD };
	return 0;
}

bool ff_process_is_stopped(pid_t tid)
{
	struct ff_status status;

	return ff_process_status(tid, &status) == 0 &&
		(status.state == 'T' || status.state == 't');
}

int ff_process_ptrace_scope(void)
{
	FILE *file = fopen("/proc/sys/kernel/yama/ptrace_scope", "re");
	int scope = 0;

	if (file && fscanf(file, "%d", &scope) != 1)
		scope = 0;
	if (file)
		fclose(file);
	return scope;
}

/* What getdents64(2) fills in. */
struct entry {
	uint64_t ino;
	int64_t next;
	unsigned short size;
	unsigned char type;
	char name[];
};

/* Append the numbers among the entries of /proc/PID/what that *ids lacks. */
static int add_numbers(pid_t pid, const char *what, struct ff_ids *ids)
{
	const size_t known_count = ids->count;
	int fd = open_proc(pid, what, O_DIRECTORY), err = 0;
	char buffer[8192] __attribute__((aligned(8)));
	ssize_t n;

	if (fd < 0)
		return fd;
	while (!err && (n = getdents64(fd, buffer, sizeof(buffer))) > 0) {
		for (ssize_t at = 0; !err && at < n;) {
			const struct entry *entry = (void *)(buffer + at);
			struct ff_ids known = { ids->ids, known_count, 0 };
			int id = atoi(entry->name);

			at += entry->size;
			if (entry->name[0] >= '0' && entry->name[0] <= '9' &&
				!ff_ids_has(&known, id))
				err = ff_ids_add(ids, id);
		}
	}
	if (!err && n < 0)
		err = -errno;
	close(fd);
	return err ? err : (int)(ids->count - known_count);
}

int ff_process_threads(pid_t pid, struct ff_ids *tids)
{
	return add_numbers(pid, "task", tids);
}

int ff_process_count_threads(pid_t pid)
{
	char path[32];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	return stat(path, &st) < 0 ? -errno : (int)st.st_nlink - 2;
}

int ff_process_fds(pid_t pid, struct ff_ids *fds)
{
	fds->count = 0;
	return add_numbers(pid, "fd", fds);
}

/* Append the processes that thread tid of pid forked. */
static int add_children(pid_t pid, pid_t tid, struct ff_ids *pids)
{
	char what[64], *text, *next;
	long child;
	int err;

	snprintf(what, sizeof(what), "task/%d/children", tid);
	err = read_long_proc(pid, what, &text);
	if (err)
		return err == -ENOENT || err == -ESRCH ? 0 : err;
	next = text;
	while (!err && (child = strtol(next, &next, 10)) > 0)
		if (!ff_ids_has(pids, (int)child))
			err = ff_ids_add(pids, (int)child);
	free(text);
	return err;
}

static int add_children_of_all(pid_t pid, struct ff_ids *threads,
	struct ff_ids *pids)
{
	int err;

	threads->count = 0;
	err = ff_process_threads(pid, threads);
	if (err == -ENOENT || err == -ESRCH)
		return 0;
	for (size_t i = 0; err >= 0 && i < threads->count; i++)
		err = add_children(pid, threads->ids[i], pids);
	return err < 0 ? err : 0;
}

int ff_process_descendants(pid_t root, struct ff_ids *pids)
{
	struct ff_ids threads = { 0 };
	int err;

	size_t walked = 0, before;

	pids->count = 0;
	/* Whose parent ends meanwhile becomes the root's child: look again. */
	do {
		before = pids->count;
		err = add_children_of_all(root, &threads, pids);
		for (; !err && walked < pids->count; walked++)
			err = add_children_of_all(pids->ids[walked], &threads,
				pids);
	} while (!err && pids->count > before);
	ff_ids_free(&threads);
	return err;
}

bool ff_process_has_file(pid_t pid, int fd, dev_t dev, ino_t ino)
{
	char path[48];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", pid, fd);
	return stat(path, &st) == 0 && st.st_dev == dev && st.st_ino == ino;
}

int ff_process_copy_fd(pid_t pid, int fd)
{
	int pidfd = pidfd_open(pid, 0), copy;
	struct ff_status status;

	/* A thread has none. */
	if (pidfd < 0 && ff_process_status(pid, &status) == 0)
		pidfd = pidfd_open(status.tgid, 0);
	if (pidfd < 0)
		return -errno;
	copy = pidfd_getfd(pidfd, fd, 0);
	if (copy < 0)
		copy = -errno;
	close(pidfd);
	return copy;
}

int ff_process_fdinfo(pid_t pid, int fd, struct ff_fdinfo *info)
{
	char what[32], text[512];
	const char *offset;
	ssize_t n;

	snprintf(what, sizeof(what), "fdinfo/%d", fd);
	n = read_proc(pid, what, text, sizeof(text));
	if (n < 0)
		return (int)n;
	offset = find_field(text, "pos");
	info->offset = offset ? strtoll(offset, NULL, 10) : 0;
	info->flags = (int)number_field(text, "flags", 8);
	return 0;
}

int ff_process_private_pages(pid_t pid, uint64_t start, size_t pages,
	unsigned char *copied)
{
	const uint64_t present = 1ull << 63, swapped = 1ull << 62;
	const uint64_t of_file = 1ull << 61;
	uint64_t page_size = (uint64_t)sysconf(_SC_PAGESIZE), entries[512];
	int fd = open_proc(pid, "pagemap", 0);

	if (fd < 0)
		return fd;
	for (size_t done = 0; done < pages;) {
		size_t part = pages - done < 512 ? pages - done : 512;
		ssize_t n = pread(fd, entries, part * 8,
			(off_t)((start / page_size + done) * 8));

		if (n <= 0) {
			n = n ? -errno : -EIO;
			close(fd);
			return (int)n;
		}
		for (size_t i = 0; i < (size_t)n / 8; i++)
			copied[done + i] = (entries[i] & (present | swapped)) &&
				!(entries[i] & of_file);
		done += (size_t)n / 8;
	}
	close(fd);
	return 0;
}

int ff_process_read(pid_t pid, uint64_t address, void *buffer, size_t size)
{
	struct iovec local = { buffer, size };
	struct iovec remote = { (void *)(uintptr_t)address, size };
	ssize_t n;

	if (size == 0)
		return 0;
	n = process_vm_readv(pid, &local, 1, &remote, 1, 0);
	if (n < 0)
		return -errno;
	return (size_t)n == size ? 0 : -EFAULT;
}

int ff_process_write(pid_t pid, uint64_t address, const void *buffer,
	size_t size)
{
	struct iovec local = { (void *)(uintptr_t)buffer, size };
	struct iovec remote = { (void *)(uintptr_t)address, size };
	ssize_t n;

	if (size == 0)
		return 0;
	n = process_vm_writev(pid, &local, 1, &remote, 1, 0);
	if (n < 0)
		return -errno;
	return (size_t)n == size ? 0 : -EFAULT;
}

char *ff_process_getenv(pid_t pid, const char *variable)
{
	int fd = open_proc(pid, "environ", 0);
	size_t length = strlen(variable), room = 0;
	char *entry = NULL, *value = NULL;
	FILE *file;

	if (fd < 0)
		return NULL;
	file = fdopen(fd, "r");
	if (!file) {
		close(fd);
		return NULL;
	}
	while (!value && getdelim(&entry, &room, '\0', file) > 0)
		if (!strncmp(entry, variable, length) && entry[length] == '=')
			value = strdup(entry + length + 1);
	free(entry);
	fclose(file);
	return value;
}
