/* SPDX-License-Identifier: MIT */
/* src/futexwatch/waiters: many words, many rounds. FF_SOAK_ROUNDS says how many
 * rounds of ping-pong. */
#include "waiters-stage.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { WORDS = 10000, STEP = 16 };

/* It keeps what is freed for a while, and is slow. */
#ifdef __SANITIZE_ADDRESS__
enum { IS_SANITIZED = 1, THREAD_ROUNDS = 4000 };
#else
enum { IS_SANITIZED = 0, THREAD_ROUNDS = 20000 };
#endif

/* What a process has of things that leak. */
struct belongings {
	size_t fds, mappings, threads, kib;
};

static size_t count_entries(const char *path)
{
	DIR *stream = opendir(path);
	size_t count = 0;

	cr_assert_not_null(stream);
	while (readdir(stream))
		count++;
	closedir(stream);
	return count;
}

static struct belongings look(void)
{
	struct belongings have = { .fds = count_entries("/proc/self/fd"),
		.threads = count_entries("/proc/self/task") };
	FILE *file = fopen("/proc/self/maps", "re");
	char line[512];

	cr_assert_not_null(file);
	while (fgets(line, sizeof(line), file))
		have.mappings++;
	fclose(file);
	file = fopen("/proc/self/status", "re");
	cr_assert_not_null(file);
	while (fgets(line, sizeof(line), file))
		sscanf(line, "VmRSS: %zu", &have.kib);
	fclose(file);
	return have;
}

/* Some of them woken, some told. */
static void come_and_go(struct stage *stage, size_t rounds)
{
	uint32_t slots[10];
	struct ff_woken woken;

	for (size_t i = 0; i < rounds; i += 10) {
		for (size_t k = 0; k < 10; k++)
			slots[k] = stage_add(stage, k, k);
		if (i % 3 == 0) {
			stage->words[i % 10]++;
			native_wake(stage->words + i % 10, 1);
		}
		if (i % 4 == 0)
			ff_waiters_take(stage->waiters, &woken, 1);
		for (size_t k = 0; k < 10; k++)
			ff_waiters_remove(stage->waiters, slots[k]);
	}
}

static void check_flat(struct stage *stage, size_t rounds)
{
	struct belongings before, after;

	come_and_go(stage, rounds / 20);
	before = look();
	come_and_go(stage, rounds);
	after = look();
	cr_expect_eq(after.fds, before.fds);
	cr_expect_eq(after.threads, before.threads);
	if (IS_SANITIZED)
		return;
	cr_expect_leq(after.mappings, before.mappings + 20, "%zu, then %zu",
		before.mappings, after.mappings);
	cr_expect_leq(after.kib, before.kib + 1024, "%zu, then %zu",
		before.kib, after.kib);
}

Test(uring, a_hundred_thousand_leave_nothing, .timeout = 120)
{
	struct stage stage;

	stage_open(&stage, FF_WAITERS_URING, STAGE_SIZE);
	check_flat(&stage, 100000);
	stage_close(&stage);
}

Test(waitv, many_leave_nothing, .timeout = 120)
{
	struct stage stage;

	stage_open(&stage, FF_WAITERS_WAITV, STAGE_SIZE);
	check_flat(&stage, THREAD_ROUNDS);
	stage_close(&stage);
}

Test(threads, many_leave_nothing, .timeout = 120)
{
	struct stage stage;

	stage_open(&stage, FF_WAITERS_THREADS, STAGE_SIZE);
	check_flat(&stage, THREAD_ROUNDS);
	stage_close(&stage);
}

static void open_and_close(enum ff_waiters_kind kind, int rounds)
{
	for (int i = 0; i < rounds; i++) {
		struct stage stage;

		stage_open(&stage, kind, STAGE_SIZE);
		for (size_t k = 0; k < 200; k++)
			stage_add(&stage, k, k);
		native_wake(stage.words, 1);
		stage_close(&stage);
	}
}

/* Nothing is open or running any more. */
static void check_closed(enum ff_waiters_kind kind)
{
	struct belongings first = look(), before, after;

	open_and_close(kind, 5);
	before = look();
	open_and_close(kind, 20);
	after = look();
	cr_expect_eq(after.fds, first.fds);
	cr_expect_eq(after.threads, first.threads);
	if (!IS_SANITIZED)
		cr_expect_leq(after.mappings, before.mappings + 60,
			"%zu, then %zu", before.mappings, after.mappings);
}

Test(uring, close_leaves_nothing, .timeout = 60)
{
	check_closed(FF_WAITERS_URING);
}

Test(waitv, close_leaves_nothing, .timeout = 60)
{
	check_closed(FF_WAITERS_WAITV);
}

Test(threads, close_leaves_nothing, .timeout = 60)
{
	check_closed(FF_WAITERS_THREADS);
}

static void wake_all(struct stage *stage)
{
	for (size_t i = 0; i < WORDS; i++)
		if (native_wake(stage->words + i * STEP, 1) != 1)
			_exit(1);
}

/* One wake each, of words that do not change, while nobody takes. */
Test(uring, ten_thousand_words_are_each_told_once, .timeout = 120)
{
	static struct ff_woken woken[1000];
	static unsigned int told[WORDS];
	struct stage stage;
	pid_t pid;

	stage_open(&stage, FF_WAITERS_URING, WORDS * STEP * sizeof(int32_t));
	for (size_t i = 0; i < WORDS; i++)
		stage_add(&stage, i * STEP, i);
	for (unsigned int round = 1; round <= 3; round++) {
		size_t count = 0;

		pid = start(wake_all, &stage);
		if (round > 1)
			expect_woken(pid);
		while (count < WORDS) {
			size_t taken = take(&stage, woken, 1000, 10000);

			cr_assert_gt(taken, 0, "%zu were told", count);
			for (size_t i = 0; i < taken; i++)
				told[woken[i].token]++;
			count += taken;
		}
		if (round == 1)
			expect_woken(pid);
		for (size_t i = 0; i < WORDS; i++)
			cr_assert_eq(told[i], round, "word %zu", i);
	}
	expect_silence(&stage, 0);
	stage_close(&stage);
}

/* Their order in the ring becomes another than that of their slots. */
static void wake_and_take_in_disorder(struct stage *stage)
{
	struct ff_woken woken;

	for (size_t i = 0, at = 0; i < WORDS; i++) {
		at = (at + 6151) % WORDS; /* a prime */
		cr_assert_eq(native_wake(stage->words + at, 1), 1);
		while (take(stage, &woken, 1, 1000) == 0)
			;
		cr_assert_eq(woken.token, at);
	}
}

/* Of many, ends of waits are put off. */
Test(uring, removed_ones_are_all_ended_and_take_no_wake, .timeout = 120)
{
	static uint32_t slots[WORDS];
	struct ff_woken woken;
	struct stage stage;
	int turns = 0;

	stage_open(&stage, FF_WAITERS_URING, WORDS * sizeof(int32_t));
	for (size_t i = 0; i < WORDS; i++)
		slots[i] = stage_add(&stage, i, i);
	wake_and_take_in_disorder(&stage);
	for (size_t i = 0; i < WORDS; i++)
		ff_waiters_remove(stage.waiters, slots[i]);
	/* What still waits is as if it were not there, for new waits too. */
	for (size_t i = 0; i < WORDS; i += 100) {
		slots[i] = stage_add(&stage, i, i);
		cr_assert_geq(native_wake(stage.words + i, 1), 1);
		while (take(&stage, &woken, 1, 1000) == 0)
			turns++;
		cr_expect_eq(woken.token, i);
		ff_waiters_remove(stage.waiters, slots[i]);
	}
	while (take(&stage, &woken, 1, 20) == 0 && poll(&(struct pollfd){
		ff_waiters_fd(stage.waiters), POLLIN, 0 }, 1, 0) > 0)
		turns++;
	cr_expect_gt(turns, 10, "bit by bit");
	for (size_t i = 0; i < WORDS; i++)
		cr_expect_eq(native_wake(stage.words + i, INT_MAX), 0);
	stage_close(&stage);
}

Test(uring, as_many_as_the_limit_and_no_more, .timeout = 120)
{
	static struct ff_woken woken[1000];
	struct stage stage;
	uint32_t slot;
	size_t limit, count = 0;

	stage_open(&stage, FF_WAITERS_URING, 1 << 20);
	limit = ff_waiters_limit(stage.waiters);
	for (size_t i = 0; i < limit; i++)
		stage_add(&stage, i, i);
	cr_expect_eq(ff_waiters_add(stage.waiters, stage.fd, 0, 0, &slot),
		-ENOSPC);
	for (size_t i = 0; i < limit; i++)
		cr_assert_eq(native_wake(stage.words + i, 1), 1);
	while (count < limit) {
		size_t taken = take(&stage, woken, 1000, 10000);

		cr_assert_gt(taken, 0);
		count += taken;
	}
	stage_close(&stage);
}

enum { CHANGES = 3000, WORD = 5, OTHER = 6 };

/* OTHER is the number of the change that was seen to be told. */
static void change_and_wake_later(struct stage *stage)
{
	unsigned int seed = 1;

	for (int32_t i = 1; i <= CHANGES; i++) {
		stage->words[WORD] = i;
		for (volatile int k = rand_r(&seed) % 2000; k > 0; k--)
			;
		native_wake(stage->words + WORD, INT_MAX);
		while (stage->words[OTHER] != i)
			usleep((unsigned int)rand_r(&seed) % 20);
	}
}

/* Between the change and its wake, too. */
FOR_EACH_KIND(relayed_wakes_hide_no_change, 60)
{
	uint32_t slot = stage_add(stage, WORD, 1);
	pid_t pid = start(change_and_wake_later, stage);
	time_t progress = time(NULL);
	struct ff_woken woken;

	while (stage->words[OTHER] < CHANGES) {
		ff_waiters_wake(stage->waiters, slot, 1);
		if (take(stage, &woken, 1, 0) == 1) {
			stage->words[OTHER] = stage->words[WORD];
			progress = time(NULL);
		}
		cr_assert(time(NULL) < progress + 10, "change %d was not told",
			stage->words[WORD]);
	}
	expect_woken(pid);
}

/*
 * Ping-pong by the protocol of libxshmfence between a client behind a relay and
 * a server that knows nothing of it. To the client, native wakes do not exist:
 * it sleeps in read, and a byte through the socket is what wakes it; and what
 * it wakes it tells by a byte.
 */
enum { TO_CLIENT, TO_SERVER };

struct game {
	struct stage *stage;
	int client, relay; /* ends of a socket */
	long rounds;
};

static long rounds(void)
{
	const char *text = getenv("FF_SOAK_ROUNDS");

	return text ? atol(text) : 20000;
}

/* Now and then, of up to some 50 microseconds. */
static void dawdle(unsigned int *seed)
{
	if (rand_r(seed) % 4 == 0)
		for (volatile int i = rand_r(seed) % 20000; i > 0; i--)
			;
}

/* True if somebody is to be woken. */
static bool set_triggered(_Atomic int32_t *word)
{
	int32_t value = 0;

	if (atomic_compare_exchange_strong(word, &value, 1) || value != -1)
		return false;
	atomic_store(word, 1);
	return true;
}

/* True if there is something to wait for. */
static bool set_awaited(_Atomic int32_t *word)
{
	int32_t value = 0;

	return atomic_compare_exchange_strong(word, &value, -1) || value != 1;
}

static void reset(_Atomic int32_t *word)
{
	int32_t value = 1;

	if (!atomic_compare_exchange_strong(word, &value, 0))
		_exit(2);
}

static struct game game;

static void serve(struct stage *stage)
{
	unsigned int seed = 1;

	for (long i = 0; i < game.rounds; i++) {
		while (set_awaited(stage->words + TO_SERVER))
			syscall(SYS_futex, stage->words + TO_SERVER, FUTEX_WAIT,
				-1, NULL, NULL, 0);
		reset(stage->words + TO_SERVER);
		dawdle(&seed);
		if (set_triggered(stage->words + TO_CLIENT))
			native_wake(stage->words + TO_CLIENT, INT_MAX);
		dawdle(&seed);
	}
}

static void be_client(struct stage *stage)
{
	unsigned int seed = 2;
	char bytes[256] = { 0 };

	for (long i = 0; i < game.rounds; i++) {
		if (set_triggered(stage->words + TO_SERVER) &&
			write(game.client, bytes, 1) != 1)
			_exit(3);
		dawdle(&seed);
		while (set_awaited(stage->words + TO_CLIENT))
			if (read(game.client, bytes, sizeof(bytes)) <= 0)
				_exit(4);
		reset(stage->words + TO_CLIENT);
		dawdle(&seed);
	}
}

/* Until the client has closed its end. */
static void relay(struct stage *stage, uint32_t to_server, size_t *told)
{
	struct pollfd fds[] = { { game.relay, POLLIN, 0 },
		{ ff_waiters_fd(stage->waiters), POLLIN, 0 } };
	struct ff_woken woken[20];
	char byte = 0;

	for (;;) {
		size_t count;

		fds[0].revents = 0;
		if (poll(fds, 2, 20000) == 0)
			cr_assert_fail("a wake was lost: words %d and %d",
				stage->words[TO_CLIENT],
				stage->words[TO_SERVER]);
		if (fds[0].revents) {
			if (read(game.relay, &byte, 1) != 1)
				return;
			ff_waiters_wake(stage->waiters, to_server, UINT32_MAX);
		}
		count = ff_waiters_take(stage->waiters, woken, 20);
		for (size_t i = 0; i < count; i++) {
			cr_assert_eq(woken[i].err, 0);
			told[woken[i].token]++;
			if (woken[i].token == TO_CLIENT)
				send(game.relay, &byte, 1,
					MSG_NOSIGNAL | MSG_DONTWAIT);
		}
		ff_waiters_pass_on(stage->waiters);
	}
}

FOR_EACH_KIND(ping_pong_never_stalls, 3600)
{
	int ends[2];
	pid_t server, client;
	uint32_t to_server;
	size_t told[20] = { 0 };

	cr_assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0,
			  ends) == 0);
	game = (struct game){ stage, ends[0], ends[1], rounds() };
	stage_add(stage, TO_CLIENT, TO_CLIENT);
	to_server = stage_add(stage, TO_SERVER, TO_SERVER);
	for (uint64_t i = 2; i < 20; i++)
		stage_add(stage, i, i);
	server = start(serve, stage);
	client = start(be_client, stage);
	close(ends[0]);
	relay(stage, to_server, told);
	expect_woken(client);
	expect_woken(server);
	cr_expect_gt(told[TO_CLIENT], 0);
	/* The server's sleep was never woken natively. */
	if (!is_kind(stage, "futex_waitv"))
		cr_expect_eq(told[TO_SERVER], 0, "%zu echoes", told[TO_SERVER]);
	close(ends[1]);
}
