/* SPDX-License-Identifier: MIT */
#ifndef FF_FUTEXWATCH_WAITERS_H
#define FF_FUTEXWATCH_WAITERS_H

#include "error.h"

#include <stddef.h>
#include <stdint.h>

/*
 * Wait on many futex words at once, in files that others may write to and
 * truncate: no word is ever written or dereferenced here. Values are read by
 * pread(2); what futex calls need is an address, of a read-only mapping.
 *
 * The mask trick: waiters wait with bit FF_WAITERS_MASK, and wakes that come
 * from the other side are made with all other bits, so that they never wake
 * the waiters themselves. Where a waiter takes a wake that may have been meant
 * for somebody else, it is passed on.
 */
#define FF_WAITERS_MASK 1u

enum ff_waiters_kind {
	FF_WAITERS_AUTO,    /* the first of these that this kernel has */
	FF_WAITERS_URING,   /* io_uring futex waits (Linux 6.7): one thread */
	FF_WAITERS_WAITV,   /* futex_waitv (5.16): a thread for 16 words */
	FF_WAITERS_THREADS, /* a thread for each word */
};

struct ff_waiters;

/* NULL with *error filled, if this kernel has not got that kind. */
struct ff_waiters *ff_waiters_open(enum ff_waiters_kind kind,
	struct ff_error *error);
void ff_waiters_close(struct ff_waiters *waiters);

/* "io_uring", "futex_waitv" or "threads". */
const char *ff_waiters_name(const struct ff_waiters *waiters);

/* How many words it can wait on. */
size_t ff_waiters_limit(const struct ff_waiters *waiters);

/* An fd that polls readable when ff_waiters_take has something. poll may also
 * end early with EINTR: then it may have something, too. And it may turn out
 * to have nothing. */
int ff_waiters_fd(const struct ff_waiters *waiters);

/*
 * Wait on the word at offset (a multiple of 4) in file fd, which must stay
 * open until the removal. *slot becomes a number of the caller's. From the
 * return on no wake is missed: what happens is told with token. 0 or -errno.
 */
int ff_waiters_add(struct ff_waiters *waiters, int fd, uint64_t offset,
	uint64_t token, uint32_t *slot);

/* Its token is told no more; the slot may become another's. */
void ff_waiters_remove(struct ff_waiters *waiters, uint32_t slot);

/* The word was woken or has changed (futex_waitv: or another one of its group,
 * for it misses what happens in between); or, if err is not 0, it can be waited on
 * no more (-EFAULT: truncated) and is to be removed. */
struct ff_woken {
	uint64_t token;
	int err;
};

/* Take up to max of what happened, without blocking. The wait on each has begun
 * anew before this returns; of a word that changes all the time it has not, and
 * it will be told again. Truncation is told when a wake is, and not by itself.
 * Returns how many. */
size_t ff_waiters_take(struct ff_waiters *waiters, struct ff_woken *woken,
	size_t max);

/* What was taken may still be owed to others that wait on those words: pass it
 * on. To be called when its caller has told what it took; the next
 * ff_waiters_take, a removal and the close do the same. */
void ff_waiters_pass_on(struct ff_waiters *waiters);

/* Wake up to count others that wait on the word, and not the waiter itself.
 * Returns how many, or -errno (-EFAULT: truncated). */
int ff_waiters_wake(struct ff_waiters *waiters, uint32_t slot, uint32_t count);

#endif
