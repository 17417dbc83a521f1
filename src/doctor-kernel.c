/* SPDX-License-Identifier: MIT */
/* The kernel: what of other processes can be seen, and how futexes are waited
 * for. */
#include "compat.h"
#include "doctor-checkup.h"
#include "futexwatch/waiters.h"
#include "process.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <unistd.h>

/* The oldest that all of fenceferry is for. */
enum { MAJOR = 5, MINOR = 9 };

void ff_examine_kernel(struct ff_checkup *checkup)
{
	struct ff_finding *finding;
	struct utsname name;
	int major = 0, minor = 0;

	uname(&name);
	finding = ff_find(checkup, "kernel", FF_FOR_NOBODY, FF_OK,
		"%s %s on %s", name.sysname, name.release, name.machine);
	if (sscanf(name.release, "%d.%d", &major, &minor) == 2 &&
		(major < MAJOR || (major == MAJOR && minor < MINOR))) {
		finding->health = FF_DEGRADED;
		ff_tell(finding->reason, "older than what fenceferry is for");
		ff_tell(finding->way_out, "Linux %d.%d or newer", MAJOR, MINOR);
	}
}

/* A page of the subject's own, at the same address in both. */
struct page {
	unsigned char *bytes;
	size_t size;
};

static void own_page(int channel, void *context)
{
	const struct page *page = context;
	char byte;

	page->bytes[0] = 2;
	if (write(channel, "r", 1) != 1 || read(channel, &byte, 1) != 1)
		return;
}

static void tell_memory(struct ff_checkup *checkup, pid_t pid,
	const struct page *page)
{
	uint64_t address = (uintptr_t)page->bytes;
	struct ff_finding *finding;
	unsigned char byte = 0;
	int err = ff_process_read(pid, address, &byte, 1);

	if (!err && byte == 2) {
		byte = 3;
		err = ff_process_write(pid, address + 1, &byte, 1);
	}
	if (!err) {
		ff_find(checkup, "process memory", FF_FOR_RUN, FF_OK,
			"a child's can be read and written");
		return;
	}
	finding = ff_find(checkup, "process memory", FF_FOR_RUN, FF_MISSING,
		"a child's cannot be read");
	ff_tell(finding->reason, "process_vm_readv, process_vm_writev: %s",
		strerror(-err));
	ff_tell(finding->way_out, "see 'ptrace scope'; does a container "
		"forbid them?");
}

static void tell_pages(struct ff_checkup *checkup, pid_t pid,
	const struct page *page)
{
	unsigned char copied = 0;
	int err = ff_process_private_pages(pid, (uintptr_t)page->bytes, 1,
		&copied);
	struct ff_finding *finding;

	if (!err && copied) {
		ff_find(checkup, "private pages", FF_FOR_PTRACE, FF_OK,
			"a child's /proc/PID/pagemap tells them");
		return;
	}
	finding = ff_find(checkup, "private pages", FF_FOR_PTRACE, FF_DEGRADED,
		"memfds with private mappings cannot be swapped");
	ff_tell(finding->reason, "/proc/PID/pagemap: %s",
		err ? strerror(-err) : "does not tell them");
	ff_tell(finding->way_out, "the kernel needs CONFIG_PROC_PAGE_MONITOR");
}

/* The way to ask of src/vmas.c, which has one more. */
static void tell_mappings(struct ff_checkup *checkup, int maps)
{
	struct procmap_query query = {
		.size = sizeof(query),
		.query_flags = PROCMAP_QUERY_COVERING_OR_NEXT_VMA,
	};
	struct ff_finding *finding;

	if (ioctl(maps, PROCMAP_QUERY, &query) == 0) {
		ff_find(checkup, "mappings", FF_FOR_NOBODY, FF_OK,
			"the kernel is asked for single ones");
		return;
	}
	finding = ff_find(checkup, "mappings", FF_FOR_NOBODY, FF_DEGRADED,
		"the text of /proc/PID/maps is read, which takes longer");
	ff_tell(finding->reason, "PROCMAP_QUERY: %s", strerror(errno));
	ff_tell(finding->way_out, "Linux 6.11 or newer has it");
}

static void tell_maps(struct ff_checkup *checkup, pid_t pid)
{
	struct ff_finding *finding;
	char path[32];
	int maps;

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	maps = open(path, O_RDONLY | O_CLOEXEC);
	if (maps < 0) {
		finding = ff_find(checkup, "mappings", FF_FOR_RUN, FF_MISSING,
			"a child's cannot be read");
		ff_tell(finding->reason, "/proc/PID/maps: %s",
			strerror(errno));
		ff_tell(finding->way_out, "mount /proc");
		return;
	}
	tell_mappings(checkup, maps);
	close(maps);
}

static void tell_children(struct ff_checkup *checkup, pid_t pid)
{
	const unsigned int uses = FF_FOR_PTRACE | FF_FOR_AUTO;
	struct ff_ids pids = { 0 };
	struct ff_finding *finding;
	int err = ff_process_descendants(getpid(), &pids);

	if (err >= 0 && ff_ids_has(&pids, pid)) {
		ff_find(checkup, "children", uses, FF_OK,
			"/proc/PID/task/TID/children tells them");
	} else {
		finding = ff_find(checkup, "children", uses, FF_MISSING,
			"sharers of a memfd would be missed");
		ff_tell(finding->reason, "/proc/PID/task/TID/children: %s",
			err < 0 ? strerror(-err) : "does not tell them");
		ff_tell(finding->way_out, "mount /proc (the kernel needs "
			"CONFIG_PROC_CHILDREN), or run --engine=notify");
	}
	ff_ids_free(&pids);
}

static void tell_pidfds(struct ff_checkup *checkup)
{
	long fd = syscall(SYS_pidfd_open, getpid(), PIDFD_THREAD);
	struct ff_finding *finding;

	if (fd >= 0) {
		ff_find(checkup, "pidfds of threads", FF_FOR_NOBODY, FF_OK,
			"to be had");
		close((int)fd);
		return;
	}
	finding = ff_find(checkup, "pidfds of threads", FF_FOR_NOBODY,
		FF_DEGRADED, "with a relay, wakes take some more");
	ff_tell(finding->reason, "pidfd_open: %s", strerror(errno));
	ff_tell(finding->way_out, "Linux 6.9 or newer has them");
}

void ff_examine_processes(struct ff_checkup *checkup)
{
	struct page page = { .size = (size_t)sysconf(_SC_PAGESIZE) };
	char ready;
	int channel;
	pid_t pid;

	page.bytes = mmap(NULL, page.size, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page.bytes == MAP_FAILED)
		_exit(1);
	pid = ff_subject_start(own_page, &page, &channel);
	if (pid < 0 || read(channel, &ready, 1) != 1)
		_exit(1);
	tell_memory(checkup, pid, &page);
	tell_children(checkup, pid);
	tell_maps(checkup, pid);
	tell_pages(checkup, pid, &page);
	tell_pidfds(checkup);
	ff_subject_end(pid, channel);
}

/* What the host's end would take. */
void ff_examine_futexes(struct ff_checkup *checkup)
{
	struct ff_error error, uring_error;
	struct ff_waiters *waiters = ff_waiters_open(FF_WAITERS_AUTO, &error);
	struct ff_finding *finding;

	if (!waiters) {
		ff_find_error(checkup, "futex waits", FF_FOR_HOST, FF_MISSING,
			"none", &error);
		return;
	}
	finding = ff_find(checkup, "futex waits", FF_FOR_HOST, FF_OK,
		"by %s, up to %zu at a time", ff_waiters_name(waiters),
		ff_waiters_limit(waiters));
	ff_waiters_close(waiters);
	waiters = ff_waiters_open(FF_WAITERS_URING, &uring_error);
	if (waiters) {
		ff_waiters_close(waiters);
		return;
	}
	finding->health = FF_DEGRADED;
	ff_tell_error(finding, &uring_error);
}
