/* SPDX-License-Identifier: MIT */
/* The shm dir: can stand-ins be made there, and do they do what they are for? */
#include "compat.h"
#include "doctor-checkup.h"
#include "doctor-mount.h"
#include "process.h"
#include "standin.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

enum { SIZE = 4096, WAIT_S = 10, ROOM_USUAL = 1 << 20 };

static void tell_names(struct ff_checkup *checkup, bool named)
{
	struct ff_finding *finding;

	if (!named) {
		ff_find(checkup, "files without names", FF_FOR_NOBODY, FF_OK,
			"O_TMPFILE works there");
		return;
	}
	finding = ff_find(checkup, "files without names", FF_FOR_NOBODY,
		FF_DEGRADED, "files there have a name for a moment");
	ff_tell(finding->reason, "the file system has no O_TMPFILE");
	ff_tell(finding->way_out, "a tmpfs has it");
}

static void tell_room(struct ff_checkup *checkup, int fd)
{
	struct ff_finding *finding;
	struct statvfs fs;
	uint64_t room;

	if (fstatvfs(fd, &fs) < 0)
		return;
	if (!fs.f_blocks) {
		ff_find(checkup, "room", FF_FOR_NOBODY, FF_OK, "no limit");
		return;
	}
	room = (uint64_t)fs.f_bavail * fs.f_frsize;
	finding = ff_find(checkup, "room", FF_FOR_RUN,
		room < ROOM_USUAL ? FF_DEGRADED : FF_OK,
		"%" PRIu64 " MiB free", room >> 20);
	if (finding->health != FF_OK) {
		ff_tell(finding->reason, "pictures may not fit");
		ff_tell(finding->way_out, "make room there, or choose another "
			"with --shm-dir");
	}
}

/* A fence is found by the device and inode of the mapping at its address. */
static void tell_identity(struct ff_checkup *checkup,
	const struct ff_standin *standin, const void *address)
{
	int maps = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	struct ff_vma vma = { 0 };
	int err = maps < 0 ? -errno :
		ff_process_vma_at(maps, (uintptr_t)address, &vma);
	struct ff_finding *finding;

	if (maps >= 0)
		close(maps);
	if (!err && vma.dev == standin->dev && vma.ino == standin->ino) {
		ff_find(checkup, "file identity", FF_FOR_FUTEXES, FF_OK,
			"the same in stat and in /proc/PID/maps");
		return;
	}
	finding = ff_find(checkup, "file identity", FF_FOR_FUTEXES, FF_MISSING,
		"fences would not be known by their mappings");
	ff_tell(finding->reason, "%s", err ? strerror(-err) :
		"stat and /proc/PID/maps tell different devices or inodes");
	ff_tell(finding->way_out, "choose a tmpfs with --shm-dir");
}

/* The other process of the shared mapping. */
struct other {
	int fd;
};

static _Atomic uint32_t *map_word(int fd)
{
	void *page = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		0);

	return page == MAP_FAILED ? NULL : page;
}

static void set_and_wake(int channel, void *context)
{
	const struct other *other = context;
	_Atomic uint32_t *word = map_word(other->fd);
	char go;

	if (!word || write(channel, "r", 1) != 1 || read(channel, &go, 1) != 1)
		return;
	atomic_store(word, 1);
	/* Until it is gone, for its wait may not have begun yet. */
	while (syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0) < 1)
		usleep(1000);
	if (write(channel, "d", 1) != 1)
		return;
}

/* Does a wait of ours end by a wake of the other's? NULL, or what is wrong. */
static const char *try_futex(_Atomic uint32_t *word, int channel)
{
	const struct timespec patience = { .tv_sec = WAIT_S };
	char byte;

	if (read(channel, &byte, 1) != 1)
		return "another process cannot map the file";
	/* So its wake comes when the word is another, or we wait. */
	atomic_store(word, 2);
	if (write(channel, "g", 1) != 1)
		return "another process ended";
	for (;;) {
		uint32_t value = atomic_load(word);
		long result = syscall(SYS_futex, word, FUTEX_WAIT, value,
			&patience, NULL, 0);

		if (result == 0 && atomic_load(word) == 1)
			return NULL;
		if (result < 0 && errno != EAGAIN && errno != EINTR)
			return errno == ETIMEDOUT ?
				"another process's futex wake did not come" :
				strerror(errno);
	}
}

/* And is what was written to the mapping what read tells? */
static const char *try_sharing(const struct ff_standin *standin,
	_Atomic uint32_t *word)
{
	struct other other = { standin->fd };
	uint32_t value = 0;
	int channel;
	pid_t pid = ff_subject_start(set_and_wake, &other, &channel);
	const char *wrong;

	if (pid < 0)
		return strerror((int)-pid);
	wrong = try_futex(word, channel);
	ff_subject_end(pid, channel);
	if (!wrong && (pread(standin->fd, &value, sizeof(value), 0) !=
		sizeof(value) || value != 1))
		wrong = "read(2) does not see what was written to the mapping";
	return wrong;
}

static void tell_sharing(struct ff_checkup *checkup,
	const struct ff_standin *standin, _Atomic uint32_t *word)
{
	const char *wrong = word ? try_sharing(standin, word) :
		strerror(errno);
	struct ff_finding *finding;

	if (!wrong) {
		ff_find(checkup, "shared mapping", FF_FOR_RUN, FF_OK,
			"a futex in it works between two processes");
		return;
	}
	finding = ff_find(checkup, "shared mapping", FF_FOR_RUN, FF_MISSING,
		"two processes cannot share a futex there");
	ff_tell(finding->reason, "%s", wrong);
	ff_tell(finding->way_out, "choose a tmpfs with --shm-dir");
}

static void tell_leases(struct ff_checkup *checkup,
	const struct ff_standin *standin)
{
	struct ff_finding *finding;

	/* Nobody else has it open: it must be granted. */
	if (fcntl(standin->fd, F_SETLEASE, F_WRLCK) == 0) {
		fcntl(standin->fd, F_SETLEASE, F_UNLCK);
		ff_find(checkup, "file leases", FF_FOR_RELAY, FF_OK,
			"tell when a fence is no longer used");
		return;
	}
	finding = ff_find(checkup, "file leases", FF_FOR_RELAY, FF_DEGRADED,
		"fences are kept until run ends");
	ff_tell(finding->reason, "F_SETLEASE: %s", strerror(errno));
	ff_tell(finding->way_out, "a tmpfs has them; sysctl "
		"fs.leases-enable=1");
}

static void examine_file(struct ff_checkup *checkup, struct ff_standin *standin)
{
	_Atomic uint32_t *word = map_word(standin->fd);

	tell_sharing(checkup, standin, word);
	if (word) {
		tell_identity(checkup, standin, (void *)word);
		munmap((void *)word, SIZE);
	}
	tell_leases(checkup, standin);
}

void ff_examine_shm_dir(struct ff_checkup *checkup)
{
	struct ff_standin standin;
	struct ff_finding *finding;
	struct ff_error error;
	int dir;

	/* A limit on file sizes is an error, as for run. */
	signal(SIGXFSZ, SIG_IGN);
	dir = ff_standin_open_dir(checkup->shm_dir, &error);
	if (dir < 0 || ff_standin_create(checkup->shm_dir, dir, SIZE,
		geteuid(), getegid(), false, &standin, &error) < 0) {
		finding = ff_find_error(checkup, "shm dir", FF_FOR_RUN,
			FF_MISSING, checkup->shm_dir, &error);
		if (!*finding->way_out)
			ff_tell(finding->way_out, "choose another with "
				"--shm-dir");
		return;
	}
	ff_mount_tell(checkup, checkup->shm_dir, standin.fd);
	tell_room(checkup, standin.fd);
	tell_names(checkup, standin.named);
	/* Killed, we leave nothing. */
	ff_standin_unlink(&standin, dir);
	examine_file(checkup, &standin);
	ff_standin_close(&standin, dir);
	close(dir);
}
