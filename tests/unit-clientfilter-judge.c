/* SPDX-License-Identifier: MIT */
/*
 * src/clientfilter: calls that install filters, judged while they are trapped.
 */
#include "clientfilter.h"

#include "arch/arch.h"
#include "filter.h"
#include "notify.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TIMEOUT .timeout = 60
#define UNREADABLE 8u

/* What the trapped thread does, in memory that both ABIs reach. */
struct victim {
	long nr;
	uint64_t args[3];
	bool i386;
	/* struct sock_fprog in either ABI, and its program */
	struct {
		uint16_t length, pad[3];
		uint64_t code;
	} program;
	struct {
		uint16_t length, pad;
		uint32_t code;
	} program32;
	struct sock_filter code[BPF_MAXINSNS + 1];
	int pipe[2]; /* for the listener's number */
};

static struct victim *victim;

static const struct sock_filter allow =
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
static const struct sock_filter trap =
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP);

static void make_victim(void)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS;

#ifdef MAP_32BIT
	flags |= MAP_32BIT;
#endif
	victim = mmap(NULL, sizeof(*victim), PROT_READ | PROT_WRITE, flags, -1,
		0);
	cr_assert(victim != MAP_FAILED);
}

/* All but mremap, in all ABIs; that is killed. */
static size_t write_ban(void)
{
	static const struct sock_filter ban[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mremap, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	};

	memcpy(victim->code, ban, sizeof(ban));
	return sizeof(ban) / sizeof(ban[0]);
}

static void set_program(size_t length)
{
	uint64_t code = (uintptr_t)victim->code;

	victim->program.length = victim->program32.length = (uint16_t)length;
	victim->program.code = code;
	victim->program32.code = (uint32_t)code;
	/* What surrounds the members is not theirs. */
	memset(victim->program.pad, 0xff, sizeof(victim->program.pad));
	victim->program32.pad = 0xffff;
}

static void *act(void *unused)
{
	const struct ff_filter_options options = { .own_filters = true };
	const uint64_t *args = victim->args;
	int listener = ff_filter_install(&options, NULL);
	long result;

	(void)unused;
	if (write(victim->pipe[1], &listener, sizeof(listener)) < 0 ||
		listener < 0)
		return NULL;
#ifdef __x86_64__
	if (victim->i386) {
		__asm__ volatile("int $0x80"
				 : "=a"(result)
				 : "a"(victim->nr), "b"(args[0]), "c"(args[1]),
				   "d"(args[2])
				 : "memory", "r8", "r9", "r10", "r11");
		return (void *)result;
	}
#endif
	result = syscall(victim->nr, args[0], args[1], args[2]);
	return (void *)result;
}

/* Have a thread make the call, judge that, and refuse it. */
static int judge(long nr, uint64_t a, uint64_t b, uint64_t c)
{
	struct ff_notification call;
	pthread_t thread;
	uint64_t args[6];
	int listener, verdict;

	victim->nr = nr;
	victim->args[0] = a;
	victim->args[1] = b;
	victim->args[2] = c;
	cr_assert(pipe(victim->pipe) == 0);
	cr_assert_eq(pthread_create(&thread, NULL, act, NULL), 0);
	cr_assert_eq(read(victim->pipe[0], &listener, sizeof(listener)),
		sizeof(listener));
	cr_assert(listener >= 0);
	cr_assert_eq(ff_notify_receive(listener, &call), 0);
	memcpy(args, call.data.args, sizeof(args));
	verdict = ff_clientfilter_judge(call.tid, call.data.arch, call.data.nr,
		args);
	cr_assert_eq(ff_notify_answer(listener, call.id, 0, EPERM), 0);
	pthread_join(thread, NULL);
	close(listener);
	close(victim->pipe[0]);
	close(victim->pipe[1]);
	return verdict;
}

/* By both calls of one ABI; program is the address of its sock_fprog. */
static void check(long nr_seccomp, long nr_prctl, const void *program)
{
	const uint64_t at = (uintptr_t)program;

	victim->code[0] = allow;
	set_program(1);
	cr_expect_eq(judge(nr_seccomp, SECCOMP_SET_MODE_FILTER, 0, at), 1);
	cr_expect_eq(judge(nr_seccomp, SECCOMP_SET_MODE_FILTER,
		SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_LOG, at), 1);
	cr_expect_eq(judge(nr_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, at),
		1);
	set_program(write_ban());
	cr_expect_eq(judge(nr_seccomp, SECCOMP_SET_MODE_FILTER, 0, at), 0);
	cr_expect_eq(judge(nr_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, at),
		0);
	/* Strict mode is refused to who is under a filter, as all clients are. */
	cr_expect_eq(judge(nr_seccomp, SECCOMP_SET_MODE_STRICT, 0, 0),
		-ENOSYS);
	cr_expect_eq(judge(nr_prctl, PR_SET_SECCOMP, SECCOMP_MODE_STRICT, at),
		-ENOSYS);
}

Test(clientfilter_judge, reads_the_program_of_the_call, TIMEOUT)
{
	make_victim();
	check(SYS_seccomp, SYS_prctl, &victim->program);
}

#ifdef __x86_64__

Test(clientfilter_judge, reads_that_of_i386_too, TIMEOUT)
{
	make_victim();
	victim->i386 = true;
	check(354, 172, &victim->program32);
}

#endif

/* The last instruction counts, and one more is too many. */
Test(clientfilter_judge, reads_the_longest_program, TIMEOUT)
{
	uint64_t at;

	make_victim();
	at = (uintptr_t)&victim->program;
	for (size_t i = 0; i <= BPF_MAXINSNS; i++)
		victim->code[i] = (struct sock_filter)BPF_STMT(
			BPF_LD | BPF_IMM, 0);
	victim->code[BPF_MAXINSNS - 1] = victim->code[BPF_MAXINSNS] = allow;
	set_program(BPF_MAXINSNS);
	cr_expect_eq(judge(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, at), 1);
	set_program(BPF_MAXINSNS + 1);
	cr_expect_eq(judge(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, at),
		-ENOSYS);
}

/* Those that the kernel is going to refuse change nothing. */
Test(clientfilter_judge, knows_calls_that_install_nothing, TIMEOUT)
{
	uint64_t at;

	make_victim();
	at = (uintptr_t)&victim->program;
	victim->code[0] = trap;
	set_program(1);
	cr_expect_eq(judge(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
		SECCOMP_FILTER_FLAG_NEW_LISTENER, at), -ENOSYS);
	cr_expect_eq(judge(SYS_seccomp, SECCOMP_SET_MODE_STRICT, 1, 0),
		-ENOSYS);
	cr_expect_eq(judge(SYS_prctl, PR_SET_SECCOMP, 77, at), -ENOSYS);
	set_program(0);
	cr_expect_eq(judge(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, at),
		-ENOSYS);
	victim->code[0] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_IMM, 0);
	set_program(1);
	cr_expect_eq(judge(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, at),
		-ENOSYS);
	cr_expect_eq(ff_clientfilter_judge(getpid(), ff_arch_native()->audit_arch,
		SYS_sendmsg, (const uint64_t[6]){ 0 }), -ENOSYS);
}

/* libseccomp asks for the flags that the kernel knows with no program. */
Test(clientfilter_judge, knows_that_the_kernel_cannot_read_it_either, TIMEOUT)
{
	const uint64_t args[6] = { SECCOMP_SET_MODE_FILTER, 0, 4096 };

	make_victim();
	cr_expect_eq(judge(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0,
		UNREADABLE), -ENOSYS);
	cr_expect_eq(judge(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, 0),
		-ENOSYS);
	set_program(4);
	victim->program.code = UNREADABLE;
	cr_expect_eq(judge(SYS_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER,
		(uintptr_t)&victim->program), -ENOSYS);
	/* Of an ABI that there is not. */
	cr_expect_eq(ff_clientfilter_judge(getpid(), 0, SYS_seccomp, args),
		-EOPNOTSUPP);
}
