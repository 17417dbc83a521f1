/* SPDX-License-Identifier: MIT */
#include "waiters-kinds.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

bool ff_slot_load(struct ff_slot *slot)
{
	uint32_t value;
	ssize_t size;

	do
		size = pread(slot->fd, &value, sizeof(value),
			(off_t)slot->offset);
	while (size < 0 && errno == EINTR);
	if (size != sizeof(value)) {
		slot->err = size < 0 ? -errno : -EFAULT;
		return true;
	}
	if (value == slot->expected)
		return false;
	slot->expected = value;
	return true;
}

int ff_slot_wake(const struct ff_slot *slot, uint32_t count)
{
	long woken = syscall(SYS_futex, slot->word, FUTEX_WAKE_BITSET,
		count > INT_MAX ? INT_MAX : (int)count, NULL, NULL,
		~FF_WAITERS_MASK);

	return woken < 0 ? -errno : (int)woken;
}

bool ff_slot_tell(struct ff_waiters *waiters, struct ff_slot *slot)
{
	bool is_first;

	pthread_mutex_lock(&waiters->lock);
	is_first = waiters->told_count == 0;
	if (!slot->is_told) {
		slot->is_told = true;
		TAILQ_INSERT_TAIL(&waiters->told, slot, link);
		waiters->told_count++;
	}
	pthread_mutex_unlock(&waiters->lock);
	return is_first;
}

static void untell_locked(struct ff_waiters *waiters, struct ff_slot *slot)
{
	if (!slot->is_told)
		return;
	slot->is_told = false;
	TAILQ_REMOVE(&waiters->told, slot, link);
	waiters->told_count--;
}

void ff_slot_untell(struct ff_waiters *waiters, struct ff_slot *slot)
{
	pthread_mutex_lock(&waiters->lock);
	untell_locked(waiters, slot);
	pthread_mutex_unlock(&waiters->lock);
}

struct ff_slot *ff_slot_told(struct ff_waiters *waiters)
{
	struct ff_slot *slot;

	pthread_mutex_lock(&waiters->lock);
	slot = TAILQ_FIRST(&waiters->told);
	if (slot)
		untell_locked(waiters, slot);
	pthread_mutex_unlock(&waiters->lock);
	return slot;
}

void ff_slot_free(struct ff_waiters *waiters, struct ff_slot *slot)
{
	munmap(slot->page, (size_t)sysconf(_SC_PAGESIZE));
	slot->is_used = false;
	TAILQ_INSERT_HEAD(&waiters->free, slot, link);
	waiters->used -= !slot->is_leaving;
}

/* A free slot, made if need be. It stays free. */
static struct ff_slot *find_free(struct ff_waiters *waiters)
{
	struct ff_slot *slot = TAILQ_FIRST(&waiters->free);

	if (slot)
		return slot;
	if (waiters->count == waiters->room) {
		size_t room = waiters->room ? 2 * waiters->room : 16;
		void *slots = reallocarray(waiters->slots, room,
			sizeof(struct ff_slot *));

		if (!slots)
			return NULL;
		waiters->slots = slots;
		waiters->room = room;
	}
	slot = calloc(1, sizeof(*slot));
	if (!slot)
		return NULL;
	slot->number = (uint32_t)waiters->count;
	waiters->slots[waiters->count++] = slot;
	TAILQ_INSERT_HEAD(&waiters->free, slot, link);
	return slot;
}

/* Make what is needed of a slot to wait on a word. */
static int prepare(struct ff_slot *slot, int fd, uint64_t offset)
{
	uint64_t page_size = (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t within = offset % page_size;
	struct ff_slot fresh = { .number = slot->number, .fd = fd,
		.offset = offset, .link = slot->link };

	if (offset % sizeof(uint32_t) || offset > INT64_MAX)
		return -EINVAL;
	ff_slot_load(&fresh);
	if (fresh.err)
		return fresh.err;
	fresh.page = mmap(NULL, page_size, PROT_READ, MAP_SHARED, fd,
		(off_t)(offset - within));
	if (fresh.page == MAP_FAILED)
		return -errno;
	fresh.word = (uint32_t *)((char *)fresh.page + within);
	*slot = fresh;
	return 0;
}

/* One that changes all the time is told anyway. */
static void await_begin(struct ff_waiters *waiters, const struct ff_slot *slot)
{
	for (int i = 0; i < 1000 && !waiters->ops->is_waiting(slot); i++)
		sched_yield();
}

int ff_waiters_add(struct ff_waiters *waiters, int fd, uint64_t offset,
	uint64_t token, uint32_t *number)
{
	struct ff_slot *slot;
	int err;

	if (waiters->used >= waiters->ops->limit)
		return -ENOSPC;
	slot = find_free(waiters);
	if (!slot)
		return -ENOMEM;
	err = prepare(slot, fd, offset);
	if (err)
		return err;
	TAILQ_REMOVE(&waiters->free, slot, link);
	slot->waiters = waiters;
	slot->is_used = true;
	slot->token = token;
	waiters->used++;
	*number = slot->number;
	err = waiters->ops->add(waiters, slot);
	if (err)
		ff_slot_free(waiters, slot);
	else if (waiters->ops->is_waiting)
		await_begin(waiters, slot);
	return err;
}

void ff_waiters_remove(struct ff_waiters *waiters, uint32_t number)
{
	waiters->ops->remove(waiters, waiters->slots[number]);
}

size_t ff_waiters_take(struct ff_waiters *waiters, struct ff_woken *woken,
	size_t max)
{
	return waiters->ops->take(waiters, woken, max);
}

void ff_waiters_pass_on(struct ff_waiters *waiters)
{
	if (waiters->ops->pass_on)
		waiters->ops->pass_on(waiters);
}

int ff_waiters_wake(struct ff_waiters *waiters, uint32_t number,
	uint32_t count)
{
	return waiters->ops->wake(waiters, waiters->slots[number], count);
}

int ff_waiters_fd(const struct ff_waiters *waiters)
{
	return waiters->fd;
}

const char *ff_waiters_name(const struct ff_waiters *waiters)
{
	return waiters->ops->name;
}

size_t ff_waiters_limit(const struct ff_waiters *waiters)
{
	return waiters->ops->limit;
}

void ff_waiters_close(struct ff_waiters *waiters)
{
	if (!waiters)
		return;
	for (size_t i = 0; i < waiters->count; i++)
		if (waiters->slots[i]->is_used &&
			!waiters->slots[i]->is_leaving)
			ff_waiters_remove(waiters, (uint32_t)i);
	waiters->ops->close(waiters);
	for (size_t i = 0; i < waiters->count; i++)
		free(waiters->slots[i]);
	free(waiters->slots);
	pthread_mutex_destroy(&waiters->lock);
	free(waiters);
}

/* Is a wake told? The kernel may have the calls and not allow their use. */
static int probe_word(struct ff_waiters *waiters, int fd)
{
	const uint64_t token = 0x70726f6265;
	struct pollfd pollfd = { ff_waiters_fd(waiters), POLLIN, 0 };
	struct ff_woken woken;
	uint32_t slot, one = 1;
	int err = -ETIMEDOUT;

	if (ftruncate(fd, sizeof(one)) < 0)
		return -errno;
	err = ff_waiters_add(waiters, fd, 0, token, &slot);
	if (err)
		return err;
	if (pwrite(fd, &one, sizeof(one), 0) != sizeof(one))
		return -EIO;
	err = -ETIMEDOUT;
	for (int tries = 0; tries < 100 && err; tries++) {
		/* Some wait in threads, which may not have begun. */
		syscall(SYS_futex, waiters->slots[slot]->word, FUTEX_WAKE, 1,
			NULL, NULL, 0);
		poll(&pollfd, 1, 10);
		if (ff_waiters_take(waiters, &woken, 1) == 1)
			err = woken.token == token ? woken.err : -EIO;
	}
	ff_waiters_remove(waiters, slot);
	return err;
}

static int probe(struct ff_waiters *waiters)
{
	int fd = memfd_create("fenceferry-probe", MFD_CLOEXEC);
	int err;

	if (fd < 0)
		return -errno;
	err = probe_word(waiters, fd);
	close(fd);
	return err;
}

static struct ff_waiters *open_kind(const struct ff_waiters_kind_ops *ops,
	struct ff_error *error)
{
	struct ff_waiters *waiters = calloc(1, sizeof(*waiters));
	int err = -ENOMEM;

	if (waiters) {
		waiters->ops = ops;
		TAILQ_INIT(&waiters->free);
		TAILQ_INIT(&waiters->told);
		pthread_mutex_init(&waiters->lock, NULL);
		err = ops->open(waiters);
		if (!err) {
			err = probe(waiters);
			if (!err)
				return waiters;
			ff_waiters_close(waiters);
		} else {
			pthread_mutex_destroy(&waiters->lock);
			free(waiters);
		}
	}
	ff_fail(error, -err, "cannot wait for fences by %s: %s (%s)", ops->name,
		strerror(-err), ops->needs);
	return NULL;
}

struct ff_waiters *ff_waiters_open(enum ff_waiters_kind kind,
	struct ff_error *error)
{
	static const struct ff_waiters_kind_ops *const kinds[] = {
		[FF_WAITERS_URING] = &ff_waiters_uring,
		[FF_WAITERS_WAITV] = &ff_waiters_waitv,
		[FF_WAITERS_THREADS] = &ff_waiters_threads,
	};

	if (kind != FF_WAITERS_AUTO)
		return open_kind(kinds[kind], error);
	for (kind = FF_WAITERS_URING; kind < FF_WAITERS_THREADS; kind++) {
		struct ff_waiters *waiters = open_kind(kinds[kind], NULL);

		if (waiters)
			return waiters;
	}
	return open_kind(kinds[FF_WAITERS_THREADS], error);
}
