/* SPDX-License-Identifier: MIT */
#include "waits.h"

#include "actor.h"
#include "arch/arch.h"
#include "asleep.h"
#include "futexwatch/decode.h"
#include "process.h"
#include "standin.h"

#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/audit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* What is asked for once for a process, and only if one of its threads is in a
 * futex call. */
struct look {
	pid_t pid;
	uint32_t abi;
	char comm[16];
	bool has_homes;
	struct ff_homes homes;
	struct ff_waits *waits;
};

/* The auxiliary vector tells how large an entry of the program's headers is. Its
 * file might be in a file system that does not answer. */
uint32_t ff_waits_abi(pid_t pid)
{
	uint32_t native = ff_arch_native()->audit_arch;
	uint32_t words[256]; /* pairs, if they are of 32 bits each */
	char path[32];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/auxv", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return native;
	n = read(fd, words, sizeof(words));
	close(fd);
	for (size_t i = 0; n > 0 && i + 1 < (size_t)n / sizeof(*words); i += 2)
		if (native == AUDIT_ARCH_X86_64 && words[i] == AT_PHENT &&
			words[i + 1] == sizeof(Elf32_Phdr))
			return AUDIT_ARCH_I386;
	return native;
}

int ff_waits_call(pid_t tid, struct ff_call_now *call)
{
	char path[32], text[256];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/syscall", tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = read(fd, text, sizeof(text) - 1);
	if (n < 0)
		n = -errno;
	close(fd);
	if (n < 0)
		return (int)n;
	text[n] = '\0';
	/* "running", and "-1 SP IP" outside of calls, have not as many. */
	return sscanf(text, "%d %" SCNx64 " %" SCNx64 " %" SCNx64 " %" SCNx64
		" %" SCNx64 " %" SCNx64, &call->nr, &call->args[0],
		&call->args[1], &call->args[2], &call->args[3],
		&call->args[4], &call->args[5]) == 7 ? 0 : -EAGAIN;
}

/* Its length without " (deleted)". */
static size_t path_length(const char *path)
{
	static const char deleted[] = " (deleted)";
	size_t length = strlen(path), extra = sizeof(deleted) - 1;

	return length > extra && !strcmp(path + length - extra, deleted) ?
		length - extra : length;
}

/* "#INODE", what the kernel calls a file that was made without a name. */
static bool is_nameless(const char *base, ino_t ino)
{
	char name[32];

	snprintf(name, sizeof(name), "#%lu", (unsigned long)ino);
	return !strcmp(base, name);
}

static bool is_home(const struct ff_home *home)
{
	const char *base = strrchr(home->name, '/');

	if (home->end - home->start > (uint64_t)sysconf(_SC_PAGESIZE) || !base)
		return false;
	return !strncmp(home->name, "/memfd:", 7) ||
		!strncmp(home->name, "/dev/shm/", 9) ||
		ff_standin_is_name(base + 1) || is_nameless(base + 1,
			home->ino);
}

/* One line of maps. 0 or -ENOMEM. */
static int add_home(struct ff_homes *homes, const char *line)
{
	struct ff_home home = { 0 };
	unsigned int major, minor;
	char perms[5];
	int at = 0;

	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %x:%x %lu %n",
			&home.start, &home.end, perms, &home.offset, &major,
			&minor, &home.ino, &at) < 7 || !at || perms[3] != 's')
		return 0;
	home.dev = makedev(major, minor);
	snprintf(home.name, sizeof(home.name), "%.*s",
		(int)strcspn(line + at, "\n"), line + at);
	home.name[path_length(home.name)] = '\0';
	if (!is_home(&home))
		return 0;
	if (homes->count == homes->room) {
		size_t room = homes->room + 64;
		struct ff_home *more = realloc(homes->list,
			room * sizeof(home));

		if (!more)
			return -ENOMEM;
		homes->list = more;
		homes->room = room;
	}
	homes->list[homes->count++] = home;
	return 0;
}

int ff_waits_homes(pid_t pid, struct ff_homes *homes)
{
	char path[32], *line = NULL;
	size_t room = 0;
	FILE *file;
	int err = 0;

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	file = fopen(path, "re");
	if (!file)
		return -errno;
	while (!err && getline(&line, &room, file) > 0)
		err = add_home(homes, line);
	free(line);
	fclose(file);
	return err;
}

static void name_fence(const struct ff_home *home, struct ff_wait *wait)
{
	const char *base = strrchr(home->name, '/') + 1;

	snprintf(wait->name, sizeof(wait->name), "%s", home->name);
	if (!strncmp(home->name, "/memfd:", 7)) {
		snprintf(wait->fence, sizeof(wait->fence), "memfd:%lu",
			(unsigned long)home->ino);
		return;
	}
	snprintf(wait->fence, sizeof(wait->fence), "%.95s", base);
}

static const struct ff_home *find_home(const struct look *look, uint64_t address)
{
	for (size_t i = 0; i < look->homes.count; i++)
		if (address >= look->homes.list[i].start &&
			address < look->homes.list[i].end)
			return &look->homes.list[i];
	return NULL;
}

static int add_wait(struct ff_waits *waits, const struct ff_wait *wait)
{
	if (waits->count == waits->room) {
		size_t room = waits->room + 16;
		struct ff_wait *more = realloc(waits->list,
			room * sizeof(*more));

		if (!more)
			return -ENOMEM;
		waits->list = more;
		waits->room = room;
	}
	waits->list[waits->count++] = *wait;
	return 0;
}

/* It waits on this word: is that in a fence? */
static int look_at_word(struct look *look, pid_t tid, uint64_t address,
	const struct ff_futex_call *call)
{
	const struct ff_home *home = find_home(look, address);
	struct ff_wait wait = { .address = address,
		.expected = call->expected };

	if (!home || ff_actor_find(tid, &wait.actor) < 0)
		return 0;
	snprintf(wait.process, sizeof(wait.process), "%s", look->comm);
	wait.dev = home->dev;
	wait.ino = home->ino;
	wait.offset = home->offset + (address - home->start);
	name_fence(home, &wait);
	wait.has_time = ff_asleep(tid, &wait.waited_ns) == 0;
	wait.has_value = ff_process_read(look->pid, address, &wait.value,
		sizeof(wait.value)) == 0;
	return add_wait(look->waits, &wait);
}

bool ff_waits_is_restart(uint32_t abi, int nr)
{
	return abi == AUDIT_ARCH_I386 ? nr == 0 : nr == SYS_restart_syscall;
}

/* futex, futex_time64, and their number in this ABI: for a restarted one. */
static int futex_number(uint32_t abi, int nr)
{
	if (!ff_waits_is_restart(abi, nr))
		return nr;
	return abi == AUDIT_ARCH_I386 ? 240 : SYS_futex;
}

static int look_at_thread(struct look *look, pid_t tid)
{
	struct ff_futex_call call;
	struct ff_call_now now;
	int err = ff_waits_call(tid, &now);

	if (err == -EAGAIN || err == -ESRCH || (err == -ENOENT &&
			!ff_process_exists(tid)))
		return 0;
	if (err)
		return err == -ENOENT ? -ENOSYS : err == -EACCES ? -EPERM : err;
	if (ff_futex_decode(tid, look->abi, futex_number(look->abi, now.nr),
			now.args, &call) < 0)
		return 0;
	if (call.kind != FF_FUTEX_WAIT && call.kind != FF_FUTEX_WAITV)
		return 0;
	if (!look->has_homes)
		err = ff_waits_homes(look->pid, &look->homes);
	look->has_homes = true;
	for (size_t i = 0; !err && i < call.word_count; i++)
		err = look_at_word(look, tid, call.words[i].address, &call);
	return err;
}

int ff_waits_add(struct ff_waits *waits, pid_t pid)
{
	struct look look = { .pid = pid, .waits = waits };
	struct ff_status status;
	struct ff_ids tids = { 0 };
	int err = ff_process_status(pid, &status);

	if (!err)
		err = ff_process_threads(pid, &tids);
	if (err >= 0) {
		snprintf(look.comm, sizeof(look.comm), "%s", status.comm);
		look.abi = ff_waits_abi(pid);
		err = 0;
	}
	for (size_t i = 0; !err && i < tids.count; i++)
		err = look_at_thread(&look, tids.ids[i]);
	ff_ids_free(&tids);
	free(look.homes.list);
	return err == -ENOENT ? -ESRCH : err;
}

static void rename_fence(struct ff_waits *waits, dev_t dev,
	const struct dirent *entry)
{
	for (size_t i = 0; i < waits->count; i++) {
		struct ff_wait *wait = &waits->list[i];

		if (wait->ino == entry->d_ino && wait->dev == dev &&
			*wait->fence == '#')
			snprintf(wait->fence, sizeof(wait->fence), "%.95s",
				entry->d_name);
	}
}

void ff_waits_find_names(struct ff_waits *waits, const char *dir)
{
	DIR *stream = opendir(dir);
	struct dirent *entry;
	struct stat st;

	if (stream && fstat(dirfd(stream), &st) == 0)
		while ((entry = readdir(stream)))
			if (ff_standin_is_name(entry->d_name))
				rename_fence(waits, st.st_dev, entry);
	if (stream)
		closedir(stream);
}

void ff_waits_free(struct ff_waits *waits)
{
	free(waits->list);
	*waits = (struct ff_waits){ 0 };
}
