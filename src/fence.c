/* SPDX-License-Identifier: MIT */
#include "fence.h"

#include "inject/snapshot.h"
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BUCKETS_MIN 64

static size_t page_size(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

/* The finalizer of splitmix64. */
static uint64_t mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

/* The chain of a file; offsets in it are few. */
static struct ff_fence **file_chain(const struct ff_fences *fences, dev_t dev,
	ino_t ino)
{
	return &fences->by_file[mix(mix(dev) ^ ino) & (fences->buckets - 1)];
}

static struct ff_fence **id_chain(const struct ff_fences *fences, uint64_t id)
{
	return &fences->by_id[mix(id) & (fences->buckets - 1)];
}

static void put_in_chains(struct ff_fences *fences, struct ff_fence *fence)
{
	struct ff_fence **chain = file_chain(fences, fence->standin.dev,
		fence->standin.ino);

	fence->next_by_file = *chain;
	*chain = fence;
	chain = id_chain(fences, fence->id);
	fence->next_by_id = *chain;
	*chain = fence;
}

static void take_from_chains(struct ff_fences *fences, struct ff_fence *fence)
{
	struct ff_fence **at = file_chain(fences, fence->standin.dev,
		fence->standin.ino);

	while (*at != fence)
		at = &(*at)->next_by_file;
	*at = fence->next_by_file;
	at = id_chain(fences, fence->id);
	while (*at != fence)
		at = &(*at)->next_by_id;
	*at = fence->next_by_id;
}

/* Twice as many chains. 0 or -ENOMEM. */
static int grow_chains(struct ff_fences *fences)
{
	size_t buckets = fences->buckets ? fences->buckets * 2 : BUCKETS_MIN;
	struct ff_fence **by_file = calloc(buckets, sizeof(*by_file));
	struct ff_fence **by_id = calloc(buckets, sizeof(*by_id));

	if (!by_file || !by_id) {
		free(by_file);
		free(by_id);
		return -ENOMEM;
	}
	free(fences->by_file);
	free(fences->by_id);
	fences->by_file = by_file;
	fences->by_id = by_id;
	fences->buckets = buckets;
	for (size_t i = 0; i < fences->count; i++)
		put_in_chains(fences, fences->all[i]);
	return 0;
}

/* Room for one more. 0 or -ENOMEM. */
static int make_room(struct ff_fences *fences)
{
	if (fences->count == fences->room) {
		size_t room = fences->room ? fences->room * 2 : BUCKETS_MIN;
		struct ff_fence **all = realloc(fences->all,
			room * sizeof(*all));

		if (!all)
			return -ENOMEM;
		fences->all = all;
		fences->room = room;
	}
	return fences->count < fences->buckets ? 0 : grow_chains(fences);
}

void ff_fences_init(struct ff_fences *fences, int dir_fd, bool has_pages)
{
	*fences = (struct ff_fences){ .dir_fd = dir_fd, .has_pages = has_pages };
}

void ff_fences_free(struct ff_fences *fences)
{
	while (fences->count)
		ff_fences_remove(fences, fences->all[fences->count - 1]);
	free(fences->all);
	free(fences->by_file);
	free(fences->by_id);
	ff_fences_init(fences, fences->dir_fd, fences->has_pages);
}

/*
 * Whoever opens the file while we try for a lease makes the kernel send us a
 * signal, by default SIGIO, which kills. SIGURG does nothing.
 */
static void make_leasable(int fd)
{
	fcntl(fd, F_SETSIG, SIGURG);
}

static struct ff_fence *add(struct ff_fences *fences,
	struct ff_standin *standin, bool has_page, struct ff_error *error)
{
	struct ff_fence *fence = calloc(1, sizeof(*fence));
	int err = fence ? make_room(fences) : -ENOMEM;
	void *page = NULL;

	if (!err && has_page) {
		page = mmap(NULL, page_size(), PROT_READ, MAP_SHARED,
			standin->fd, 0);
		err = page == MAP_FAILED ? -errno : 0;
	}
	if (err) {
		ff_fail(error, -err, "cannot register the fence %s: %s%s",
			standin->path, strerror(-err), err == -ENOMEM ?
			" (too many at once? raise vm.max_map_count)" : "");
		free(fence);
		return NULL;
	}
	fence->id = ++fences->last_id;
	fence->page = page;
	fence->standin = *standin;
	fence->index = fences->count;
	*standin = (struct ff_standin){ .fd = -1 };
	make_leasable(fence->standin.fd);
	fences->all[fences->count++] = fence;
	put_in_chains(fences, fence);
	return fence;
}

struct ff_fence *ff_fences_add(struct ff_fences *fences,
	struct ff_standin *standin, struct ff_error *error)
{
	return add(fences, standin, fences->has_pages, error);
}

struct ff_fence *ff_fences_add_bare(struct ff_fences *fences,
	struct ff_standin *standin, struct ff_error *error)
{
	return add(fences, standin, false, error);
}

struct ff_fence *ff_fences_find(const struct ff_fences *fences, dev_t dev,
	ino_t ino, uint64_t offset)
{
	struct ff_fence *fence;

	if (!fences->count)
		return NULL;
	fence = *file_chain(fences, dev, ino);
	while (fence && (fence->standin.ino != ino ||
		fence->standin.dev != dev || fence->offset != offset))
		fence = fence->next_by_file;
	return fence;
}

struct ff_fence *ff_fences_by_id(const struct ff_fences *fences, uint64_t id)
{
	struct ff_fence *fence;

	if (!fences->count)
		return NULL;
	fence = *id_chain(fences, id);
	while (fence && fence->id != id)
		fence = fence->next_by_id;
	return fence;
}

void ff_fences_remove(struct ff_fences *fences, struct ff_fence *fence)
{
	struct ff_fence *last = fences->all[--fences->count];

	fences->all[fence->index] = last;
	last->index = fence->index;
	take_from_chains(fences, fence);
	if (fence->page)
		munmap((void *)(uintptr_t)fence->page, page_size());
	ff_standin_close(&fence->standin, fences->dir_fd);
	ff_snapshot_unref(fence->life.snapshot);
	free(fence);
}

static bool is_leased(int fd, int type)
{
	if (fcntl(fd, F_SETLEASE, type) < 0)
		return false;
	fcntl(fd, F_SETLEASE, F_UNLCK);
	make_leasable(fd); /* which that undid */
	return true;
}

static bool is_its(const struct ff_fence *fence, const struct ff_vma *vma)
{
	return vma->dev == fence->standin.dev && vma->ino == fence->standin.ino;
}

/* Where its holder maps it; 0: nowhere. */
static uint64_t find_mapping(const struct ff_fence *fence)
{
	struct ff_vmas list = { 0 };
	uint64_t address = 0;

	if (ff_process_vmas(fence->holder, &list) == 0)
		for (size_t i = 0; !address && i < list.count; i++)
			if (is_its(fence, &list.vmas[i]))
				address = list.vmas[i].start;
	ff_vmas_free(&list);
	return address;
}

void ff_fence_set_holder(struct ff_fence *fence, pid_t holder)
{
	fence->is_foreign = true;
	fence->holder = holder;
	fence->holder_address = find_mapping(fence);
}

/* Where it was, mostly; else it may have been moved. */
static bool is_mapped(const struct ff_fence *fence)
{
	struct ff_vma vma;
	char path[32];
	bool found;
	int maps;

	snprintf(path, sizeof(path), "/proc/%d/maps", fence->holder);
	maps = open(path, O_RDONLY | O_CLOEXEC);
	if (maps < 0)
		return false;
	found = ff_process_vma_at(maps, fence->holder_address, &vma) == 0 &&
		is_its(fence, &vma);
	close(maps);
	return found || find_mapping(fence);
}

/* A write lease is refused when others read; a read lease when anybody can
 * write, ourselves included. */
bool ff_fence_is_held(const struct ff_fence *fence, bool only_writers)
{
	if (fence->is_foreign)
		return is_mapped(fence);
	if (is_leased(fence->standin.fd, F_WRLCK))
		return false;
	return !only_writers || !fence->is_reader ||
		!is_leased(fence->standin.fd, F_RDLCK);
}

/*
 * From now on we only read it, so that a read lease can be had. Its lock is
 * shared first and held twice for a moment: at no time can a sweep take it. As
 * well as it can be done: if not, others that read go on to count.
 */
static void become_reader(struct ff_fence *fence)
{
	char path[32];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fence->standin.fd);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	if (flock(fence->standin.fd, LOCK_SH | LOCK_NB) < 0 ||
		flock(fd, LOCK_SH | LOCK_NB) < 0 ||
		mmap((void *)(uintptr_t)fence->page, page_size(), PROT_READ,
			MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED) {
		close(fd);
		return;
	}
	make_leasable(fd);
	close(fence->standin.fd);
	fence->standin.fd = fd;
	fence->is_reader = true;
}

size_t ff_fences_sweep(struct ff_fences *fences, size_t max,
	void (*gone)(void *context, struct ff_fence *fence), void *context)
{
	size_t found = 0;

	if (max > fences->count)
		max = fences->count;
	for (; max && fences->count; max--) {
		struct ff_fence *fence;
		bool host_reads;

		fences->sweep_next %= fences->count;
		fence = fences->all[fences->sweep_next];
		/* Not one that it does not know yet, and that is still to be
		 * populated. */
		host_reads = fences->host_reads && !fence->is_new &&
			!fence->is_foreign;
		if (host_reads && !fence->is_reader)
			become_reader(fence);
		/* One that the host's end is about to open it could not,
		 * had we the lease just then. */
		if ((host_reads && fence->state == FF_FENCE_TOLD) ||
			ff_fence_is_held(fence, host_reads)) {
			fences->sweep_next++;
			continue;
		}
		found++;
		gone(context, fence); /* the last one takes its place */
	}
	return found;
}

void ff_fence_populate(const struct ff_fence *fence)
{
	void *page = mmap(NULL, page_size(), PROT_READ | PROT_WRITE, MAP_SHARED,
		fence->standin.fd, 0);

	if (page == MAP_FAILED)
		return;
	madvise(page, page_size(), MADV_POPULATE_WRITE);
	munmap(page, page_size());
}

int ff_fence_wake(const struct ff_fence *fence, uint32_t count)
{
	long woken;

	if (!fence->page)
		return -ENODATA;
	woken = syscall(SYS_futex, (const char *)fence->page +
		fence->offset, FUTEX_WAKE,
		count > INT_MAX ? INT_MAX : (int)count, NULL, NULL, 0);

	return woken < 0 ? -errno : (int)woken;
}

int ff_fence_read(const struct ff_fence *fence, uint32_t *value)
{
	ssize_t got;

	if (fence->standin.fd < 0)
		return ff_process_read(fence->holder, fence->holder_address,
			value, sizeof(*value));
	got = pread(fence->standin.fd, value, sizeof(*value),
		(off_t)fence->offset);

	if (got < 0)
		return -errno;
	return got == sizeof(*value) ? 0 : -EFAULT;
}
