/* SPDX-License-Identifier: MIT */
#ifndef FF_FENCE_H
#define FF_FENCE_H

#include "error.h"
#include "eventlog.h"
#include "standin.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * The registry of fences: stand-ins whose first word is a futex that the relay
 * serves. A fence is a file, so forks, second mappings and mremap need no
 * bookkeeping.
 */

/* How the host's end knows it. */
enum ff_fence_state {
	FF_FENCE_UNTOLD,   /* not yet, or no longer since the link was lost */
	FF_FENCE_TOLD,	   /* announced, no answer yet */
	FF_FENCE_ACCEPTED,
	FF_FENCE_REFUSED,
};

struct ff_snapshot;

/* What is known of the word: libxshmfence's. */
enum ff_word { FF_WORD_UNKNOWN, FF_WORD_RESET, FF_WORD_TRIGGERED };

/* What the log is told (life.h). */
struct ff_fence_life {
	uint64_t born_ns; /* CLOCK_MONOTONIC */
	double made_time; /* seconds since the epoch */
	const char *made_by; /* NULL: not known */
	struct ff_actor maker;
	struct ff_snapshot *snapshot; /* of maker, until that is told; or NULL */
	bool is_told; /* that it was made */
	enum ff_word word;
};

struct ff_fence {
	uint64_t id; /* counted up from 1, never used twice */
	struct ff_standin standin; /* keeps its name, if any, while it lives */
	/* Made by the notify engine, in so many ns, and not seen to cross. */
	bool is_new;
	uint64_t made_ns;
	bool is_reader; /* its fd is read-only by now, with LOCK_SH */
	uint64_t offset; /* of the word in the file; bytes */
	const void *page; /* read-only mapping: an address for futex calls,
			     never dereferenced, for clients can truncate;
			     NULL if ff_fences.has_pages is not set */
	/* The relay's (futexwatch/relay.h). */
	bool announced; /* only then the host's end is to know of it */
	enum ff_fence_state state;
	uint32_t wakes_due; /* not yet sent; INT_MAX at most */
	bool is_due;	    /* in the relay's list */
	bool was_refused, is_refused_for_now; /* ... and is tried again */
	struct ff_fence *next_due, **this_due;
	struct ff_fence_life life;
	/* In a file that is not swapped, be it a memfd: nothing but told of. Who
	 * has been seen to have it, and where. */
	bool is_foreign;
	pid_t holder;
	uint64_t holder_address;
	/* The registry's. */
	struct ff_fence *next_by_file, *next_by_id;
	size_t index;
};

struct ff_fences {
	struct ff_fence **all; /* in no order */
	size_t count, room;
	struct ff_fence **by_file, **by_id; /* hash tables */
	size_t buckets;
	uint64_t last_id;
	size_t sweep_next;
	int dir_fd; /* where the names are; not ours */
	bool has_pages; /* futex calls are to be made */
	bool host_reads; /* the host's end has them open in this kernel */
};

/* With has_pages, fences can be woken and populated. */
void ff_fences_init(struct ff_fences *fences, int dir_fd, bool has_pages);

/* Forget them all: names are removed, files closed. */
void ff_fences_free(struct ff_fences *fences);

/*
 * Register the word at offset 0 of a stand-in, which moves into the fence
 * (*standin is then empty). NULL with *error filled: nothing has changed.
 */
struct ff_fence *ff_fences_add(struct ff_fences *fences,
	struct ff_standin *standin, struct ff_error *error);

/* The same of one whose fd is -1, for none is to be had: it can neither be woken
 * nor populated, and becomes foreign (ff_fence_set_holder). */
struct ff_fence *ff_fences_add_bare(struct ff_fences *fences,
	struct ff_standin *standin, struct ff_error *error);

/* The fence at this place, or NULL. */
struct ff_fence *ff_fences_find(const struct ff_fences *fences, dev_t dev,
	ino_t ino, uint64_t offset);
struct ff_fence *ff_fences_by_id(const struct ff_fences *fences, uint64_t id);

/* Remove the name, close the file, free the fence. The relay must have been
 * told before (ff_relay_gone). */
void ff_fences_remove(struct ff_fences *fences, struct ff_fence *fence);

/*
 * Does anybody but us have the file open or mapped? Of a foreign one: does its
 * holder still map it, for of memfds leases tell nothing. Else by trying for a lease
 * (fcntl(2)), which the kernel grants to the only one who has a file open, and
 * an mmap is an open file too. What we have of it must be one description that
 * nobody shares. With only_writers those who can but read it do not count.
 * Where leases cannot be had: true.
 */
bool ff_fence_is_held(const struct ff_fence *fence, bool only_writers);

/* It is foreign, and this process has it. */
void ff_fence_set_holder(struct ff_fence *fence, pid_t holder);

/*
 * Look at up to max fences, in turn from call to call, and give those that
 * nobody holds to gone, which is to remove them. Not while one of them is being
 * swapped. With host_reads holders are those that can write: the host's end has
 * the file open as long as it watches it. Returns how many.
 */
size_t ff_fences_sweep(struct ff_fences *fences, size_t max,
	void (*gone)(void *context, struct ff_fence *fence), void *context);

/*
 * Have a page of memory under the word, as if it had been written to: on DAX,
 * futex calls on what never was fail with EFAULT. As well as the kernel can
 * (5.14).
 */
void ff_fence_populate(const struct ff_fence *fence);

/* Wake up to count of those in this kernel who wait on it. How many, or
 * -errno (-EFAULT: truncated; -ENODATA: we have no page of it). */
int ff_fence_wake(const struct ff_fence *fence, uint32_t count);

/* Read its word by pread(2), or of a foreign one that we have no fd of (-1) in its
 * holder. 0 or -errno (-EFAULT: truncated). */
int ff_fence_read(const struct ff_fence *fence, uint32_t *value);

#endif
