/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench.h"
#include "wake-fences.h"
#include "wake-player.h"

/* Calls between two looks at the clock. */
#define BATCH 128

/* No order takes as long: a player that hangs is not to stay. */
#define DEADLINE_S 60

static enum ff_way way;
static enum ff_side side;
static struct ff_lines lines;
static struct ff_stage *stage;
static struct ff_word word[FF_WAKE_FENCES];

/* 80 to 160 us, busy, but with way for others: then the other side sleeps, and
 * this processor is awake, as that of one who did what the other waits for. */
static void make_pause(void)
{
	static uint32_t random = 2463534242u;
	uint64_t end;

	random ^= random << 13;
	random ^= random >> 17;
	random ^= random << 5;
	end = ff_now_ns() + 80000 + random % 80000;
	while (ff_now_ns() < end)
		sched_yield();
}

/* Wake the other side. False: it went wrong. */
static bool trigger(const struct ff_word *w, uint32_t value)
{
	static const char message[FF_WAKE_MESSAGE];
	uint32_t before = value - 1;

	if (way == FF_WAY_SOCKET)
		return send(lines.out, message, sizeof(message),
			       MSG_NOSIGNAL) == sizeof(message);
	if (way == FF_WAY_NOTIFY)
		return sendmsg(-1, NULL, 0) < 0 && errno == EBADF;
	/* the far one first: who hears of this one must find it there. Then the
	 * other side may have answered, by writing both, before we go on */
	*w->far = value;
	if (w->own != w->far)
		atomic_compare_exchange_strong(w->own, &before, value);
	return ff_futex(w->own, FUTEX_WAKE, INT_MAX, 0) >= 0;
}

/* Sleep while the word has this value. 0 if nobody slept, -1: it went wrong. */
static int await(const struct ff_word *w, uint32_t value)
{
	char message[FF_WAKE_MESSAGE];
	int slept = 0;

	if (way == FF_WAY_SOCKET)
		return recv(lines.in, message, sizeof(message), MSG_WAITALL) ==
				       sizeof(message)
			       ? 1
			       : -1;
	while (*w->own == value) {
		if (!ff_futex(w->own, FUTEX_WAIT, value, 0))
			slept = 1;
		else if (errno != EAGAIN)
			return -1;
	}
	return slept;
}

/* The time since the wake that ended a wait, for the notes. */
static uint32_t since_sent(int slept)
{
	uint64_t now = ff_now_ns();

	return slept ? (uint32_t)(now - stage->sent_ns) : 0;
}

/* The client's part of a round. False: it went wrong. */
static bool play_client(const struct ff_word *w, uint32_t i, bool pause)
{
	uint32_t value = way < FF_WAY_SOCKET ? *w->own : 0;
	uint64_t start;
	int slept = 1;

	if (pause)
		make_pause();
	start = ff_now_ns();
	stage->sent_ns = start;
	if (!trigger(w, value + 1))
		return false;
	stage->notes.call_ns[i] = (uint32_t)(ff_now_ns() - start);
	if (way != FF_WAY_NOTIFY)
		slept = await(w, value + 1);
	stage->notes.from_host_ns[i] = since_sent(slept);
	return slept >= 0;
}

/* The peer's; value: what its word has while it is the client's turn. */
static bool play_peer(
	const struct ff_word *w, uint32_t value, uint32_t i, bool pause)
{
	int slept = await(w, value);

	stage->notes.to_host_ns[i] = since_sent(slept);
	if (slept < 0)
		return false;
	if (pause)
		make_pause();
	stage->sent_ns = ff_now_ns();
	return trigger(w, value + 2);
}

/*
 * Rounds on one fence after the other. The client has not begun when the peer
 * reads what the words have: first[] is as the last order left it.
 */
static const char *play_rounds(
	const struct ff_order *order, const uint32_t *first, double *rate)
{
	bool pause = order->kind == FF_ORDER_ROUNDS, good = true;
	uint64_t start = ff_now_ns();

	for (uint32_t i = 0; good && i < order->rounds; i++) {
		uint32_t n = (order->first + i) % stage->fences;
		uint32_t before = i / stage->fences * 2;

		good = side == FF_CLIENT
			       ? play_client(
					 &word[n], i % FF_WAKE_ROUNDS, pause)
			       : play_peer(&word[n], first[n] + before,
					 i % FF_WAKE_ROUNDS, pause);
	}
	*rate = order->rounds / ((double)(ff_now_ns() - start) / 1e9);
	return good ? NULL : "a wake or a wait failed";
}

/* Wakes without waiting for anybody. */
static const char *flood(const struct ff_order *order, double *rate)
{
	uint64_t start = ff_now_ns(), now = start;
	uint64_t end = start + order->msec * UINT64_C(1000000);
	double count = 0;
	uint32_t n = 0;

	for (; now < end; now = ff_now_ns()) {
		const struct ff_word *w = &word[n++ % stage->fences];

		if (!trigger(w, *w->own + 1))
			return "a wake failed";
		count++;
	}
	*rate = count / ((double)(now - start) / 1e9);
	return NULL;
}

/* Those who wait in a flood: a thread for each fence. */
static _Atomic uint64_t woken;
static _Atomic bool is_over;

static void *soak(void *number)
{
	const struct ff_word *w = &word[(uintptr_t)number];

	while (!is_over) {
		uint32_t value = *w->own;

		if (!is_over && !ff_futex(w->own, FUTEX_WAIT, value, 0))
			woken++;
	}
	return NULL;
}

/* End their waits; what the relays make of it is nobody's business. */
static void end_flood(const pthread_t *thread, uint32_t count)
{
	is_over = true;
	for (uint32_t i = 0; i < count; i++)
		trigger(&word[i], *word[i].own + 1);
	for (uint32_t i = 0; i < count; i++)
		pthread_join(thread[i], NULL);
}

/* Let others wait, and count, until the next order comes. */
static const char *absorb(int orders, double *count)
{
	static pthread_t thread[FF_WAKE_FENCES];
	struct ff_answer ready = {.pid = getpid()};
	uint32_t n = 0;
	struct ff_order next;
	pthread_attr_t attr;

	woken = 0;
	is_over = false;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, PTHREAD_STACK_MIN + 16384);
	while (n < stage->fences &&
		!pthread_create(&thread[n], &attr, soak, (void *)(uintptr_t)n))
		n++;
	pthread_attr_destroy(&attr);
	if (n < stage->fences || write(orders, &ready, sizeof(ready)) < 0 ||
		read(orders, &next, sizeof(next)) != sizeof(next))
		_exit(1);
	*count = (double)woken;
	end_flood(thread, n);
	return NULL;
}

/* The median of many batches, in ns a call. */
static const char *price(const struct ff_order *order, double *median)
{
	static _Atomic uint32_t private_word;
	_Atomic uint32_t *shared = mmap(NULL, sizeof(*shared),
		PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct ff_samples ns = {0};
	uint64_t end = ff_now_ns() + order->msec * UINT64_C(1000000), start;
	bool good = shared != MAP_FAILED;
	int op = FUTEX_WAKE;

	if (order->call == FF_CALL_FENCE)
		munmap(shared, sizeof(*shared)), shared = word[0].own;
	if (order->call == FF_CALL_PRIVATE)
		munmap(shared, sizeof(*shared)), shared = &private_word,
						 op = FUTEX_WAKE_PRIVATE;
	do {
		start = ff_now_ns();
		for (int i = 0; i < BATCH; i++)
			good &= way == FF_WAY_NOTIFY
					? trigger(NULL, 0)
					: ff_futex(shared, op, 1, 0) >= 0;
		ff_samples_add(&ns, (double)(ff_now_ns() - start) / BATCH);
	} while (good && (ff_now_ns() < end || ns.count < 5));
	*median = ff_samples_median(&ns);
	ff_samples_clear(&ns);
	if (order->call == FF_CALL_SHARED)
		munmap(shared, sizeof(*shared));
	return good ? NULL : "a wake failed";
}

/* The peer: ready, for the words are read. */
static const char *stand_ready(int orders, uint32_t *first)
{
	struct ff_answer ready = {.pid = getpid()};

	for (uint32_t i = 0; way < FF_WAY_SOCKET && i < stage->fences; i++)
		first[i] = *word[i].own;
	return write(orders, &ready, sizeof(ready)) == sizeof(ready)
		       ? NULL
		       : "nobody reads answers";
}

static const char *obey(const struct ff_order *order, int orders, double *value)
{
	static uint32_t first[FF_WAKE_FENCES];
	const char *error = NULL;

	switch (order->kind) {
	case FF_ORDER_ROUNDS:
	case FF_ORDER_RALLY:
		if (side == FF_PEER)
			error = stand_ready(orders, first);
		return error ? error : play_rounds(order, first, value);
	case FF_ORDER_FLOOD:
		return side == FF_PEER ? absorb(orders, value)
				       : flood(order, value);
	case FF_ORDER_COST:
		return price(order, value);
	default:
		return "an order that nobody knows";
	}
}

/* The client's is the first, the peer's the last. */
static void take_processor(void)
{
	cpu_set_t all, mine;
	int at = -1;

	if (sched_getaffinity(0, sizeof(all), &all))
		return;
	for (int i = 0; i < CPU_SETSIZE; i++)
		if (CPU_ISSET(i, &all) && (at < 0 || side == FF_PEER))
			at = i;
	CPU_ZERO(&mine);
	CPU_SET(at, &mine);
	sched_setaffinity(0, sizeof(mine), &mine);
}

/* Have the words. NULL, or what is wrong. */
static const char *take_place(const char *path)
{
	char socket[160];

	stage = ff_stage_open(path);
	if (!stage)
		return "cannot map the stage";
	if (stage->keeps_apart)
		take_processor();
	snprintf(socket, sizeof(socket), "%s-X", path);
	if (way == FF_WAY_FENCEFERRY || way == FF_WAY_ALONE)
		return side == FF_CLIENT ? ff_fences_make(stage, socket, word)
					 : ff_fences_open(stage, word);
	for (uint32_t i = 0; i < stage->fences; i++)
		word[i] = ff_stage_word(stage, i, way, side);
	return NULL;
}

int ff_wake_play(const char *path, enum ff_way my_way, enum ff_side my_side,
	int orders, struct ff_lines my_lines)
{
	struct ff_answer answer = {.pid = getpid()};
	struct ff_order order;
	const char *error;

	way = my_way;
	side = my_side;
	lines = my_lines;
	error = take_place(path);
	for (;;) {
		if (error)
			snprintf(answer.error, sizeof(answer.error), "%s",
				error);
		if (write(orders, &answer, sizeof(answer)) != sizeof(answer) ||
			error)
			return 1;
		if (read(orders, &order, sizeof(order)) != sizeof(order) ||
			order.kind == FF_ORDER_LEAVE)
			return 0;
		alarm(DEADLINE_S);
		error = obey(&order, orders, &answer.value);
		alarm(0);
	}
}
