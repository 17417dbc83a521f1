/* SPDX-License-Identifier: MIT */
/*
 * src/filter: which calls are trapped. A thread puts itself under the filter
 * and makes calls; this one answers those that it hears of in a way in which no
 * kernel does.
 */
#include "filter.h"

#include "arch/arch.h"
#include "bpf.h"
#include "compat.h"
#include "notify.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <limits.h>
#include <linux/audit.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define TRAPPED 424242
#define GARBAGE 0xdeadbeef00000000u
#define TIMEOUT .timeout = 60

/* One call. Its first argument is an address, put in by the thread; or, where
 * the stage says so, what is in e. */
struct call {
	const char *name;
	long nr;
	unsigned long b, c, d, e;
	bool i386;
	int from; /* trapped if so many futexes are wanted; or NEVER */
};

#define NEVER (FF_FUTEXES_ALL + 1)

/* What the thread does, and what the others see of it. */
struct stage {
	struct ff_filter_options options;
	const struct call *calls;
	size_t count;
	bool e_is_first;
	uint32_t *word; /* below 4 GiB; its value is 7 */
	int ready[2];
	int listener;
	long results[64];
};

static long do_call(const struct call *call, unsigned long first)
{
#ifdef __x86_64__
	if (call->i386) {
		long result;

		__asm__ volatile("int $0x80"
				 : "=a"(result)
				 : "a"(call->nr), "b"(first), "c"(call->b),
				 "d"(call->c), "S"(call->d), "D"(call->e)
				 : "memory", "r8", "r9", "r10", "r11");
		return result;
	}
#endif
	return syscall(call->nr, first, call->b, call->c, call->d, call->e, 1);
}

static void *act(void *argument)
{
	struct stage *stage = argument;
	struct ff_error error;

	stage->listener = ff_filter_install(&stage->options, &error);
	for (size_t i = 0; stage->listener >= 0 && i < stage->count; i++) {
		if (i == 0 && write(stage->ready[1], "", 1) != 1)
			break;
		stage->results[i] = do_call(&stage->calls[i],
			stage->e_is_first ? stage->calls[i].e :
					    (uintptr_t)stage->word);
	}
	close(stage->ready[1]);
	return NULL;
}

/* Answer what is trapped until the thread has ended. How many. */
static unsigned int serve(const struct stage *stage)
{
	unsigned int count = 0;
	char byte;

	if (read(stage->ready[0], &byte, 1) != 1)
		return 0;
	for (;;) {
		struct pollfd fds[2] = {
			{ .fd = stage->listener, .events = POLLIN },
			{ .fd = stage->ready[0], .events = POLLIN },
		};
		struct ff_notification notification;

		cr_assert(poll(fds, 2, -1) > 0);
		if (fds[0].revents & POLLIN) {
			cr_assert_eq(ff_notify_receive(stage->listener,
				&notification), 0);
			cr_assert_eq(ff_notify_answer(stage->listener,
				notification.id, TRAPPED, 0), 0);
			count++;
		} else if (fds[1].revents) {
			return count;
		}
	}
}

/* Make the calls under the filter, and expect those to be trapped that are
 * said to be. */
static void check_stage(struct stage stage)
{
	const struct call *calls = stage.calls;
	size_t count = stage.count;
	unsigned int trapped, expected = 0;
	pthread_t thread;
	int flags = MAP_SHARED | MAP_ANONYMOUS;

#ifdef MAP_32BIT
	flags |= MAP_32BIT;
#endif
	cr_assert(count <= sizeof(stage.results) / sizeof(stage.results[0]));
	stage.word = mmap(NULL, 4096, PROT_READ | PROT_WRITE, flags, -1, 0);
	cr_assert(stage.word != MAP_FAILED);
	*stage.word = 7;
	cr_assert(pipe(stage.ready) == 0);
	cr_assert_eq(pthread_create(&thread, NULL, act, &stage), 0);
	trapped = serve(&stage);
	pthread_join(thread, NULL);
	cr_assert(stage.listener >= 0);
	for (size_t i = 0; i < count; i++) {
		bool is = stage.results[i] == TRAPPED;
		bool should = (int)stage.options.futexes >= calls[i].from;

		expected += should;
		cr_expect_eq(is, should, "%s%s, number %zu, futexes %d: %ld",
			calls[i].name, calls[i].i386 ? " of i386" : "", i,
			stage.options.futexes, stage.results[i]);
	}
	cr_expect_eq(trapped, expected);
	close(stage.listener);
	close(stage.ready[0]);
	munmap(stage.word, 4096);
}

static void check(const struct call *calls, size_t count,
	struct ff_filter_options options)
{
	check_stage((struct stage){
		.options = options, .calls = calls, .count = count });
}

static void check_all(const struct call *calls, size_t count)
{
	for (int f = FF_FUTEXES_NONE; f <= FF_FUTEXES_ALL; f++)
		check(calls, count, (struct ff_filter_options){
			.futexes = (enum ff_filter_futexes)f });
}

#define CHECK_ALL(calls) check_all(calls, sizeof(calls) / sizeof(calls[0]))

/* Each operation of one ABI. Waits expect 8 where 7 is, so that they end at
 * once if they are not trapped. */
#define FUTEX(op, from, nr, i386) { #op, nr, op, 8, 0, 0, i386, from }
#define OPERATIONS(nr, i386) \
	FUTEX(FUTEX_WAKE, FF_FUTEXES_WAKES, nr, i386), \
	FUTEX(FUTEX_WAKE_BITSET, FF_FUTEXES_WAKES, nr, i386), \
	FUTEX(FUTEX_WAKE_OP, FF_FUTEXES_WAKES, nr, i386), \
	FUTEX(FUTEX_REQUEUE, FF_FUTEXES_WAKES, nr, i386), \
	FUTEX(FUTEX_CMP_REQUEUE, FF_FUTEXES_WAKES, nr, i386), \
	FUTEX(FUTEX_WAIT, FF_FUTEXES_ALL, nr, i386), \
	FUTEX(FUTEX_WAIT_BITSET, FF_FUTEXES_ALL, nr, i386), \
	FUTEX(FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME, FF_FUTEXES_ALL, nr, \
		i386), \
	FUTEX(FUTEX_WAKE_PRIVATE, NEVER, nr, i386), \
	FUTEX(FUTEX_WAKE_BITSET_PRIVATE, NEVER, nr, i386), \
	FUTEX(FUTEX_WAKE_OP_PRIVATE, NEVER, nr, i386), \
	FUTEX(FUTEX_REQUEUE_PRIVATE, NEVER, nr, i386), \
	FUTEX(FUTEX_CMP_REQUEUE_PRIVATE, NEVER, nr, i386), \
	FUTEX(FUTEX_WAIT_PRIVATE, NEVER, nr, i386), \
	FUTEX(FUTEX_WAIT_BITSET_PRIVATE, NEVER, nr, i386), \
	FUTEX(FUTEX_WAIT_BITSET_PRIVATE | FUTEX_CLOCK_REALTIME, NEVER, nr, \
		i386), \
	FUTEX(FUTEX_UNLOCK_PI, NEVER, nr, i386), \
	FUTEX(FUTEX_WAKE | FUTEX_CLOCK_REALTIME, NEVER, nr, i386)

/* And of the younger calls. */
#define FUTEX2(i386) \
	{ "futex_wake", SYS_futex_wake, 1, 1, FUTEX2_SIZE_U32, 0, i386, \
		FF_FUTEXES_WAKES }, \
	{ "futex_wake, private", SYS_futex_wake, 1, 1, \
		FUTEX2_SIZE_U32 | FUTEX2_PRIVATE, 0, i386, NEVER }, \
	{ "futex_requeue", SYS_futex_requeue, 0, 1, 1, 0, i386, \
		FF_FUTEXES_WAKES }, \
	{ "futex_wait", SYS_futex_wait, 8, 1, FUTEX2_SIZE_U32, 0, i386, \
		FF_FUTEXES_ALL }, \
	{ "futex_wait, private", SYS_futex_wait, 8, 1, \
		FUTEX2_SIZE_U32 | FUTEX2_PRIVATE, 0, i386, NEVER }, \
	{ "futex_waitv", SYS_futex_waitv, 0, 0, 0, 0, i386, FF_FUTEXES_ALL }

Test(filter, traps_wakes_on_shared_futexes_and_waits_if_all_are_wanted,
	TIMEOUT)
{
	static const struct call calls[] = {
		OPERATIONS(SYS_futex, false), FUTEX2(false),
	};

	CHECK_ALL(calls);
}

#ifdef __x86_64__

Test(filter, traps_those_of_i386_too, TIMEOUT)
{
	static const struct call futex[] = { OPERATIONS(240, true) };
	static const struct call time64[] = { OPERATIONS(422, true) };
	static const struct call younger[] = { FUTEX2(true) };

	CHECK_ALL(futex);
	CHECK_ALL(time64);
	CHECK_ALL(younger);
}

/* The same number is another call there. */
Test(filter, knows_the_abis_apart, TIMEOUT)
{
	static const struct call calls[] = {
		{ "getegid32", 202, FUTEX_WAKE, 0, 0, 0, true, NEVER },
		{ "mq_open", 240, FUTEX_WAKE, 0, 0, 0, false, NEVER },
		{ "no call", 422, FUTEX_WAKE, 0, 0, 0, false, NEVER },
	};

	CHECK_ALL(calls);
}

/* Not every kernel has x32, so the program itself is asked. */
Test(filter, hears_of_x32_programs, TIMEOUT)
{
	const struct ff_filter_options options = {
		.futexes = FF_FUTEXES_ALL, .memfds = true
	};
	static const struct {
		int nr;
		uint64_t flags; /* as third and fourth argument */
		bool trapped;
	} calls[] = {
		{ 518, 0, true },  /* sendmsg */
		{ 538, 0, true },  /* sendmmsg */
		{ 319, 77, true }, /* memfd_create */
		{ 518, MSG_NOSIGNAL, false }, { 538, MSG_NOSIGNAL, false },
		{ SYS_sendmsg, 0, false }, { SYS_sendmmsg, 0, false },
		{ SYS_futex, 0, false }, { SYS_getppid, 0, false },
	};
	struct sock_filter code[256];
	int length = ff_filter_compile(&options, code, 256);

	cr_assert(length > 0);
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		const struct seccomp_data data = {
			.nr = calls[i].nr | FF_X32_BIT,
			.arch = ff_arch_native()->audit_arch,
			.args = { 0, 0, calls[i].flags, calls[i].flags },
		};

		cr_expect_eq(ff_bpf_run(code, (size_t)length, &data),
			calls[i].trapped ? SECCOMP_RET_USER_NOTIF :
					   SECCOMP_RET_ALLOW,
			"number %d, flags %lx", calls[i].nr, calls[i].flags);
	}
}

#endif

Test(filter, compiles_to_no_more_than_there_is_room_for, TIMEOUT)
{
	const struct ff_filter_options options = {
		.futexes = FF_FUTEXES_ALL, .memfds = true, .own_filters = true,
		.exits = true
	};
	struct sock_filter code[256];
	int length = ff_filter_compile(&options, code, 256);

	cr_assert(length > 0);
	cr_expect_eq(ff_filter_compile(&options, code, (size_t)length),
		length);
	cr_expect_eq(ff_filter_compile(&options, code, (size_t)length - 1),
		-E2BIG);
}

Test(filter, is_made_under_a_limit_on_file_sizes)
{
	const struct ff_filter_options options = { 0 };
	struct sock_filter code[256];

	signal(SIGXFSZ, SIG_IGN);
	cr_assert(!setrlimit(RLIMIT_FSIZE, &(struct rlimit){ 0, 0 }));
	cr_assert_gt(ff_filter_compile(&options, code, 256), 0);
}

/* An int is in the lower half of its register. */
Test(filter, looks_at_no_more_than_the_kernel_does, TIMEOUT)
{
	static const struct call calls[] = {
		{ "FUTEX_WAKE", SYS_futex, GARBAGE | FUTEX_WAKE, 1, 0, 0,
			false, FF_FUTEXES_WAKES },
		{ "FUTEX_WAIT", SYS_futex, GARBAGE | FUTEX_WAIT, 8, 0, 0,
			false, FF_FUTEXES_ALL },
		{ "FUTEX_WAKE, private", SYS_futex,
			GARBAGE | FUTEX_WAKE_PRIVATE, 1, 0, 0, false, NEVER },
		{ "futex_wake", SYS_futex_wake, 1, 1,
			GARBAGE | FUTEX2_SIZE_U32, 0, false,
			FF_FUTEXES_WAKES },
		{ "futex_wake, private", SYS_futex_wake, 1, 1,
			GARBAGE | FUTEX2_SIZE_U32 | FUTEX2_PRIVATE, 0, false,
			NEVER },
	};

	CHECK_ALL(calls);
}

/* Whatever is wanted of futexes. (The address is no socket.) */
Test(filter, traps_sends_without_flags, TIMEOUT)
{
	static const struct call calls[] = {
		{ "sendmsg", SYS_sendmsg, 0, 0, 0, 0, false, FF_FUTEXES_NONE },
		{ "sendmmsg", SYS_sendmmsg, 0, 1, 0, 0, false,
			FF_FUTEXES_NONE },
		{ "sendmsg, flags", SYS_sendmsg, 0, MSG_NOSIGNAL, 0, 0, false,
			NEVER },
		{ "sendmmsg, flags", SYS_sendmmsg, 0, 1, MSG_NOSIGNAL, 0,
			false, NEVER },
		{ "getppid", SYS_getppid, 0, 0, 0, 0, false, NEVER },
#ifdef __x86_64__
		{ "sendmsg", 370, 0, 0, 0, 0, true, FF_FUTEXES_NONE },
		{ "sendmsg, flags", 370, 0, MSG_NOSIGNAL, 0, 0, true, NEVER },
#endif
	};

	CHECK_ALL(calls);
}

Test(filter, traps_all_sends_if_wanted, TIMEOUT)
{
	static const struct call calls[] = {
		{ "sendmsg", SYS_sendmsg, 0, 0, 0, 0, false, FF_FUTEXES_NONE },
		{ "sendmsg, flags", SYS_sendmsg, 0, MSG_NOSIGNAL, 0, 0, false,
			FF_FUTEXES_NONE },
		{ "FUTEX_WAKE", SYS_futex, FUTEX_WAKE, 1, 0, 0, false,
			FF_FUTEXES_WAKES },
	};

	check(calls, 3, (struct ff_filter_options){
		.all_flags = true, .futexes = FF_FUTEXES_WAKES });
}

/* The address is a name. */
Test(filter, traps_memfd_create_if_wanted, TIMEOUT)
{
	static const struct call calls[] = {
		{ "memfd_create", SYS_memfd_create, 0, 0, 0, 0, false,
			FF_FUTEXES_NONE },
		{ "memfd_create, flags", SYS_memfd_create,
			MFD_CLOEXEC | MFD_ALLOW_SEALING, 0, 0, 0, false,
			FF_FUTEXES_NONE },
#ifdef __x86_64__
		{ "memfd_create", 356, MFD_CLOEXEC, 0, 0, 0, true,
			FF_FUTEXES_NONE },
#endif
		{ "sendmsg", SYS_sendmsg, 0, 0, 0, 0, false, FF_FUTEXES_NONE },
		{ "FUTEX_WAKE", SYS_futex, FUTEX_WAKE, 1, 0, 0, false,
			FF_FUTEXES_WAKES },
	};
	static const struct call not_wanted[] = {
		{ "memfd_create", SYS_memfd_create, UINT_MAX, 0, 0, 0, false,
			NEVER },
		{ "sendmsg", SYS_sendmsg, 0, 0, 0, 0, false, FF_FUTEXES_NONE },
	};

	check(calls, sizeof(calls) / sizeof(calls[0]),
		(struct ff_filter_options){ .memfds = true });
	check(not_wanted, 2, (struct ff_filter_options){ .own_filters = true });
}

/* Those that go on have arguments with which they do nothing. */
#define OWN(name, nr, i386, a, from) \
	{ name, nr, 0, 0, 0, a, i386, from }
#define OWN_FILTERS(nr_seccomp, nr_prctl, i386, from) \
	OWN("SECCOMP_SET_MODE_STRICT", nr_seccomp, i386, \
		SECCOMP_SET_MODE_STRICT, from), \
	OWN("SECCOMP_SET_MODE_FILTER", nr_seccomp, i386, \
		SECCOMP_SET_MODE_FILTER, from), \
	OWN("SECCOMP_GET_ACTION_AVAIL", nr_seccomp, i386, \
		SECCOMP_GET_ACTION_AVAIL, NEVER), \
	OWN("SECCOMP_GET_NOTIF_SIZES", nr_seccomp, i386, \
		SECCOMP_GET_NOTIF_SIZES, NEVER), \
	OWN("PR_SET_SECCOMP", nr_prctl, i386, PR_SET_SECCOMP, from), \
	OWN("PR_GET_SECCOMP", nr_prctl, i386, PR_GET_SECCOMP, NEVER), \
	OWN("PR_GET_DUMPABLE", nr_prctl, i386, PR_GET_DUMPABLE, NEVER)

Test(filter, traps_what_installs_filters_if_wanted, TIMEOUT)
{
	static const struct call calls[] = {
		OWN_FILTERS(SYS_seccomp, SYS_prctl, false, FF_FUTEXES_NONE),
		OWN("SECCOMP_SET_MODE_FILTER", SYS_seccomp, false,
			GARBAGE | SECCOMP_SET_MODE_FILTER, FF_FUTEXES_NONE),
		OWN("PR_SET_SECCOMP", SYS_prctl, false,
			GARBAGE | PR_SET_SECCOMP, FF_FUTEXES_NONE),
#ifdef __x86_64__
		OWN_FILTERS(354, 172, true, FF_FUTEXES_NONE),
#endif
	};
	/* Were SET_MODE_STRICT not trapped, its flags would be refused. */
	static const struct call not_wanted[] = {
		{ "seccomp", SYS_seccomp, 1, 0, 0, SECCOMP_SET_MODE_STRICT,
			false, NEVER },
		OWN("PR_SET_SECCOMP", SYS_prctl, false, PR_SET_SECCOMP, NEVER),
	};

	check_stage((struct stage){
		.options = { .own_filters = true },
		.calls = calls,
		.count = sizeof(calls) / sizeof(calls[0]),
		.e_is_first = true,
	});
	check_stage((struct stage){
		.options = { .memfds = true },
		.calls = not_wanted,
		.count = sizeof(not_wanted) / sizeof(not_wanted[0]),
		.e_is_first = true,
	});
}

/* Not made: who is under it here has to end. */
Test(filter, traps_exits_if_wanted, TIMEOUT)
{
	static const struct seccomp_data calls[] = {
		{ .arch = AUDIT_ARCH_X86_64, .nr = 60 },
		{ .arch = AUDIT_ARCH_X86_64, .nr = 231 },
		{ .arch = AUDIT_ARCH_I386, .nr = 1 },
		{ .arch = AUDIT_ARCH_I386, .nr = 252 },
		{ .arch = AUDIT_ARCH_AARCH64, .nr = 93 },
		{ .arch = AUDIT_ARCH_AARCH64, .nr = 94 },
	};
	const uint32_t native = ff_arch_native()->audit_arch;

	for (unsigned int wanted = 0; wanted < 2; wanted++) {
		const struct ff_filter_options options = { .exits = wanted };
		struct sock_filter code[256];
		int length = ff_filter_compile(&options, code, 256);

		cr_assert(length > 0);
		for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
			bool ours = (calls[i].arch == AUDIT_ARCH_AARCH64) ==
				(native == AUDIT_ARCH_AARCH64);

			cr_expect_eq(ff_bpf_run(code, (size_t)length,
				&calls[i]), wanted && ours ?
				SECCOMP_RET_USER_NOTIF : SECCOMP_RET_ALLOW);
		}
	}
}

static void *install_again(void *argument)
{
	const struct ff_filter_options options = { .futexes = FF_FUTEXES_ALL };
	struct ff_error *error = argument;
	int first = ff_filter_install(&options, error);

	cr_expect(first >= 0);
	cr_expect_eq(ff_filter_install(&options, error), -EBUSY);
	close(first);
	return NULL;
}

Test(filter, second_one_is_refused_in_words, TIMEOUT)
{
	struct ff_error error = { 0 };
	pthread_t thread;

	cr_assert_eq(pthread_create(&thread, NULL, install_again, &error), 0);
	pthread_join(thread, NULL);
	cr_expect_eq(error.err, EBUSY);
	cr_expect(strstr(error.text, "already") != NULL, "%s", error.text);
}
