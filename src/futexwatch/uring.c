/* SPDX-License-Identifier: MIT */
/*
 * Waiters in an io_uring: any number of words, no thread.
 *
 * A wait completes once, with 0 if it took a wake, -EAGAIN if the word was
 * another one already; then it is begun anew. The ring's fd is readable while
 * it has completions. They are read by every function here, and what they mean
 * for the slots is kept in the list of what is to be told; so whoever leaves
 * something in that list must put a completion into the ring, by a NOP: the
 * nudge.
 *
 * The completion ring cannot overflow: a slot has one wait in it at a time, and
 * of removals that fail there are a few until the next reading.
 */
#include "compat.h"
#include "waiters-kinds.h"

#include <errno.h>
#include <liburing.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
	BATCH = 256,
	LIMIT = 32000,
	COMPLETIONS = 65536,
	TRIES = 2, /* to begin a wait on a word that changes all the time */
	/* To end a wait the kernel walks a list of all. So the waits of those
	 * removed are ended bit by bit: so many from one taking to the next. */
	CANCELS = 32,
	WAITS_MAX = 60000, /* with those that are still to be ended */
};

/* user_data that is no slot's number. */
#define NUDGE UINT64_MAX
#define CANCEL (UINT64_MAX - 1)

struct uring {
	struct io_uring ring;
	size_t in_ring; /* waits */
	struct ff_slots leaving; /* their waits are to be ended */
	TAILQ_HEAD(, ff_slot) owing; /* they took a wake of somebody's */
	unsigned int cancels; /* left to make */
	int err; /* the kernel takes nothing any more */
	bool is_nudged;
};

static struct io_uring_sqe *new_sqe(struct uring *uring, uint8_t opcode,
	uint64_t user_data)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&uring->ring);

	if (!sqe) {
		io_uring_submit(&uring->ring);
		sqe = io_uring_get_sqe(&uring->ring);
		if (!sqe)
			return NULL;
	}
	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = opcode;
	sqe->user_data = user_data;
	return sqe;
}

/* When this returns the waits have begun, or their completions are there. */
static void submit(struct uring *uring)
{
	/* More than once only if the kernel is short of memory. */
	for (int tries = 0; tries < 1000; tries++) {
		int result = io_uring_submit_and_get_events(&uring->ring);

		if (result < 0 && result != -EAGAIN && result != -EBUSY &&
			result != -EINTR) {
			uring->err = result;
			return;
		}
		if (io_uring_sq_ready(&uring->ring) == 0)
			return;
		sched_yield();
	}
}

static void complete(struct ff_waiters *waiters, struct ff_slot *slot, int res)
{
	struct uring *uring = waiters->state;

	slot->in_ring = false;
	uring->in_ring--;
	if (slot->is_leaving) {
		if (!slot->is_cancelled)
			TAILQ_REMOVE(&uring->leaving, slot, link);
		/* A new wait of ours on that word may be whom it reaches: it is
		 * as if the old one had not been there. */
		if (res == 0)
			syscall(SYS_futex, slot->word, FUTEX_WAKE, 1, NULL,
				NULL, 0);
		ff_slot_free(waiters, slot);
		return;
	}
	slot->has_taken = res == 0;
	slot->has_changed = res == -EAGAIN || res == -EINTR;
	if (res < 0 && !slot->has_changed)
		slot->err = res;
	ff_slot_tell(waiters, slot);
}

/* Read all completions that there are. */
static void drain(struct ff_waiters *waiters)
{
	struct uring *uring = waiters->state;
	struct io_uring_cqe *cqe;

	while (io_uring_peek_cqe(&uring->ring, &cqe) == 0) {
		uint64_t user_data = cqe->user_data;
		int res = cqe->res;

		io_uring_cqe_seen(&uring->ring, cqe);
		if (user_data == NUDGE)
			uring->is_nudged = false;
		else if (user_data != CANCEL)
			complete(waiters, waiters->slots[user_data], res);
	}
}

static void nudge(struct ff_waiters *waiters)
{
	struct uring *uring = waiters->state;

	if ((waiters->told_count == 0 && TAILQ_EMPTY(&uring->leaving)) ||
		uring->is_nudged)
		return;
	if (!new_sqe(uring, IORING_OP_NOP, NUDGE))
		return;
	uring->is_nudged = true;
	submit(uring);
}

/* Make ready for the submission. Sets err if the word cannot be read. */
static void begin(struct ff_waiters *waiters, struct ff_slot *slot)
{
	struct uring *uring = waiters->state;
	struct io_uring_sqe *sqe;

	slot->has_changed = false;
	ff_slot_load(slot);
	if (slot->err)
		return;
	sqe = new_sqe(uring, FF_IORING_OP_FUTEX_WAIT, slot->number);
	if (!sqe) {
		slot->has_changed = true;
		ff_slot_tell(waiters, slot);
		return;
	}
	sqe->fd = FUTEX2_SIZE_U32;
	sqe->addr = (uintptr_t)slot->word;
	sqe->off = slot->expected;
	_Static_assert(offsetof(struct io_uring_sqe, addr3) == 48, "mask");
	sqe->addr3 = FF_WAITERS_MASK;
	slot->in_ring = true;
	uring->in_ring++;
}

/*
 * Begin the waits of these slots, and again of those whose word changed while
 * that was done. One that goes on changing is left to be told and taken up
 * later. Where the word cannot be read, slot->err says so.
 */
static void begin_all(struct ff_waiters *waiters, struct ff_slot **slots,
	size_t count)
{
	for (size_t i = 0; i < count; i++)
		begin(waiters, slots[i]);
	for (int tries = 1;; tries++) {
		bool is_again = false;

		submit(waiters->state);
		drain(waiters);
		if (tries == TRIES)
			return;
		for (size_t i = 0; i < count; i++) {
			if (!slots[i]->has_changed)
				continue;
			ff_slot_untell(waiters, slots[i]);
			begin(waiters, slots[i]);
			is_again = true;
		}
		if (!is_again)
			return;
	}
}

/* End the waits of some that were removed. */
static void cancel_some(struct ff_waiters *waiters)
{
	struct uring *uring = waiters->state;
	struct ff_slot *slot;
	bool is_any = false;

	while (uring->cancels && (slot = TAILQ_FIRST(&uring->leaving))) {
		struct io_uring_sqe *sqe = new_sqe(uring,
			IORING_OP_ASYNC_CANCEL, CANCEL);

		if (!sqe)
			break;
		sqe->addr = slot->number;
		sqe->flags = IOSQE_CQE_SKIP_SUCCESS;
		TAILQ_REMOVE(&uring->leaving, slot, link);
		slot->is_cancelled = is_any = true;
		uring->cancels--;
	}
	if (is_any)
		submit(uring);
	drain(waiters);
}

static int add(struct ff_waiters *waiters, struct ff_slot *slot)
{
	struct uring *uring = waiters->state;

	if (uring->in_ring >= WAITS_MAX) {
		uring->cancels++;
		cancel_some(waiters);
	}
	begin_all(waiters, &slot, 1);
	if (slot->err)
		ff_slot_untell(waiters, slot);
	nudge(waiters);
	return uring->err ? uring->err : slot->err;
}

static void pay(struct uring *uring, struct ff_slot *slot)
{
	TAILQ_REMOVE(&uring->owing, slot, owing);
	slot->is_owing = false;
	ff_slot_wake(slot, 1);
}

static void pass_on(struct ff_waiters *waiters)
{
	struct uring *uring = waiters->state;
	struct ff_slot *slot;

	while ((slot = TAILQ_FIRST(&uring->owing)))
		pay(uring, slot);
}

static void remove_slot(struct ff_waiters *waiters, struct ff_slot *slot)
{
	struct uring *uring = waiters->state;

	drain(waiters);
	ff_slot_untell(waiters, slot);
	if (slot->is_owing)
		pay(uring, slot);
	if (slot->has_taken)
		ff_slot_wake(slot, 1);
	if (slot->in_ring) {
		slot->is_leaving = true;
		waiters->used--;
		TAILQ_INSERT_TAIL(&uring->leaving, slot, link);
		cancel_some(waiters);
	} else {
		ff_slot_free(waiters, slot);
	}
	nudge(waiters);
}

static size_t take_batch(struct ff_waiters *waiters, struct ff_woken *woken,
	size_t max)
{
	struct ff_slot *slots[BATCH], *begun[BATCH];
	struct uring *uring = waiters->state;
	size_t count = 0, begun_count = 0;

	while (count < max && count < BATCH) {
		struct ff_slot *slot = ff_slot_told(waiters);

		if (!slot)
			break;
		if (!slot->err)
			begun[begun_count++] = slot;
		if (slot->has_taken && !slot->is_owing) {
			slot->is_owing = true;
			TAILQ_INSERT_TAIL(&uring->owing, slot, owing);
		}
		slot->has_taken = false;
		slots[count++] = slot;
	}
	begin_all(waiters, begun, begun_count);
	for (size_t i = 0; i < count; i++) {
		woken[i] = (struct ff_woken){ slots[i]->token, slots[i]->err };
		if (slots[i]->err)
			ff_slot_untell(waiters, slots[i]);
	}
	return count;
}

static size_t take(struct ff_waiters *waiters, struct ff_woken *woken,
	size_t max)
{
	struct uring *uring = waiters->state;
	size_t count = 0;

	pass_on(waiters);
	uring->cancels = CANCELS;
	cancel_some(waiters);
	if (waiters->told_count == 0) {
		io_uring_get_events(&uring->ring);
		drain(waiters);
	}
	/* Not those that come meanwhile: they could keep us here. */
	if (max > waiters->told_count)
		max = waiters->told_count;
	while (count < max)
		count += take_batch(waiters, woken + count, max - count);
	nudge(waiters);
	return count;
}

static int wake(struct ff_waiters *waiters, struct ff_slot *slot,
	uint32_t count)
{
	(void)waiters;
	return ff_slot_wake(slot, count);
}

static int open_ring(struct ff_waiters *waiters)
{
	struct uring *uring = calloc(1, sizeof(*uring));
	/* All older than futex waits. COOP: no interrupt while we run; what is
	 * complete is seen at the next system call. */
	struct io_uring_params params = {
		.flags = IORING_SETUP_CQSIZE | IORING_SETUP_SUBMIT_ALL |
			IORING_SETUP_COOP_TASKRUN,
		.cq_entries = COMPLETIONS,
	};
	int err;

	if (!uring)
		return -ENOMEM;
	err = io_uring_queue_init_params(BATCH, &uring->ring, &params);
	if (err < 0) {
		free(uring);
		return err;
	}
	TAILQ_INIT(&uring->leaving);
	TAILQ_INIT(&uring->owing);
	uring->cancels = CANCELS;
	waiters->state = uring;
	waiters->fd = uring->ring.ring_fd;
	return 0;
}

static void close_ring(struct ff_waiters *waiters)
{
	struct uring *uring = waiters->state;
	struct io_uring_sqe *sqe = new_sqe(uring, IORING_OP_ASYNC_CANCEL,
		CANCEL);

	/* All at once. */
	if (sqe)
		sqe->cancel_flags = IORING_ASYNC_CANCEL_ALL |
			IORING_ASYNC_CANCEL_ANY;
	/* A wake taken by a wait that is just ending is still passed on. */
	for (int tries = 0; uring->in_ring && tries < 1000 && !uring->err;
		tries++) {
		submit(uring);
		drain(waiters);
		if (uring->in_ring)
			sched_yield();
	}
	io_uring_queue_exit(&uring->ring);
	free(uring);
}

const struct ff_waiters_kind_ops ff_waiters_uring = {
	.name = "io_uring",
	.limit = LIMIT,
	.needs = "Linux 6.7 or newer, and neither kernel.io_uring_disabled "
		"nor seccomp against it",
	.open = open_ring,
	.close = close_ring,
	.add = add,
	.remove = remove_slot,
	.take = take,
	.pass_on = pass_on,
	.wake = wake,
};
