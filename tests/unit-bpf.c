/* SPDX-License-Identifier: MIT */
/*
 * src/bpf against the kernel: random programs are installed in children, which
 * make calls of random arguments.
 */
#include "bpf.h"

#include "arch/arch.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROGRAMS 1000
#define CALLS 24
#define MAX_LENGTH 32
#define TIMEOUT .timeout = 200

/* A call, and what came of it in the child. */
struct trial {
	struct seccomp_data data;
	bool i386, came_back;
	long result;
};

/* Shared with the child. */
struct stage {
	int installed; /* 0, or the errno */
	bool is_done;
	struct trial trials[CALLS];
};

struct counts {
	unsigned int refused, answered, went_on, killed;
};

static uint64_t state = 88172645463325252u;

static uint32_t roll(uint32_t sides)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t)(state >> 16) % sides;
}

/* Values that meet each other often enough. */
static uint32_t roll_value(void)
{
	static const uint32_t values[] = {
		0, 1, 2, 3, 7, 31, 32, 33, 64, 0x7fffffff, 0x80000000,
		0xffffffff, 0xfffffffe, 0x10000, 0x7fff0000, 0x00050001,
		0x00050026, 5000, 5001, 0xc000003e, 0x40000003, 0xc00000b7,
	};

	return roll(8) ? values[roll(sizeof(values) / sizeof(values[0]))] :
			 roll(UINT32_MAX);
}

static struct sock_filter roll_return(void)
{
	static const uint32_t actions[] = {
		SECCOMP_RET_ALLOW, SECCOMP_RET_ALLOW, SECCOMP_RET_LOG,
		SECCOMP_RET_ERRNO, SECCOMP_RET_ERRNO, SECCOMP_RET_ERRNO,
		SECCOMP_RET_ERRNO, SECCOMP_RET_TRACE, SECCOMP_RET_USER_NOTIF,
		SECCOMP_RET_TRAP, SECCOMP_RET_KILL_THREAD,
		SECCOMP_RET_KILL_PROCESS, 0x12340000,
	};

	if (roll(4) == 0)
		return (struct sock_filter)BPF_STMT(BPF_RET | BPF_A, 0);
	return (struct sock_filter)BPF_STMT(BPF_RET | BPF_K,
		actions[roll(sizeof(actions) / sizeof(actions[0]))] |
			roll(0x10000));
}

static struct sock_filter roll_insn(uint32_t after)
{
	static const uint16_t alu[] = { BPF_ADD, BPF_SUB, BPF_MUL, BPF_DIV,
		BPF_AND, BPF_OR, BPF_XOR, BPF_LSH, BPF_RSH };
	static const uint16_t jumps[] = { BPF_JEQ, BPF_JGT, BPF_JGE, BPF_JSET };
	static const uint16_t rest[] = { BPF_LD | BPF_IMM, BPF_LDX | BPF_IMM,
		BPF_LD | BPF_W | BPF_LEN, BPF_LDX | BPF_W | BPF_LEN,
		BPF_MISC | BPF_TAX, BPF_MISC | BPF_TXA, BPF_ALU | BPF_NEG };
	static const uint16_t memory[] = { BPF_ST, BPF_STX, BPF_ST,
		BPF_LD | BPF_MEM, BPF_LDX | BPF_MEM };
	uint16_t source = roll(2) ? BPF_X : BPF_K, op;

	switch (roll(10)) {
	case 0: case 1: case 2:
		/* Not the instruction pointer, for that is not known here. */
		op = (uint16_t)(4 * roll(sizeof(struct seccomp_data) / 4));
		return (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			op == 8 || op == 12 ? 0 : op);
	case 3: case 4:
		op = alu[roll(sizeof(alu) / sizeof(alu[0]))];
		return (struct sock_filter)BPF_STMT(BPF_ALU | op | source,
			op == BPF_LSH || op == BPF_RSH ? roll(32) :
							 roll_value());
	case 5: case 6:
		return (struct sock_filter)BPF_JUMP(BPF_JMP |
			jumps[roll(sizeof(jumps) / sizeof(jumps[0]))] | source,
			roll_value(), (uint8_t)roll(after),
			(uint8_t)roll(after));
	case 7:
		return (struct sock_filter)BPF_STMT(
			memory[roll(sizeof(memory) / sizeof(memory[0]))],
			roll(3));
	case 8:
		return (struct sock_filter)BPF_STMT(
			rest[roll(sizeof(rest) / sizeof(rest[0]))],
			roll_value());
	default:
		if (roll(3))
			return roll_return();
		return (struct sock_filter)BPF_STMT(BPF_JMP | BPF_JA,
			roll(after));
	}
}

/* It may read memory that it has not written: about half are valid. */
static size_t roll_program(struct sock_filter code[MAX_LENGTH])
{
	size_t length = 4 + roll(MAX_LENGTH - 4);

	for (size_t i = 0; i + 1 < length; i++)
		code[i] = roll_insn((uint32_t)(length - 1 - i));
	code[length - 1] = roll_return();
	return length;
}

/* Numbers that are no calls in either ABI: if they go on, it is to ENOSYS. */
static void roll_trials(struct trial *trials)
{
	for (size_t i = 0; i < CALLS; i++) {
		struct trial *trial = &trials[i];

		*trial = (struct trial){ .data.nr = 5000 + (int)roll(3) };
		trial->data.arch = ff_arch_native()->audit_arch;
#ifdef __x86_64__
		trial->i386 = roll(3) == 0;
		if (trial->i386)
			trial->data.arch = 0x40000003;
#endif
		for (int j = 0; j < 6; j++)
			trial->data.args[j] = roll_value() |
				(trial->i386 ? 0 :
					(uint64_t)roll_value() << 32);
	}
}

static long do_call(const struct seccomp_data *data, bool i386)
{
	const uint64_t *args = (const void *)data->args;
	long result;

#ifdef __x86_64__
	if (i386) {
		/* ebp is the sixth. Below rsp may be what is in use. */
		__asm__ volatile("lea -128(%%rsp), %%rsp\n\t"
				 "push %%rbp\n\t"
				 "mov %k[sixth], %%ebp\n\t"
				 "int $0x80\n\t"
				 "pop %%rbp\n\t"
				 "lea 128(%%rsp), %%rsp"
				 : "=a"(result)
				 : "a"(data->nr), "b"(args[0]), "c"(args[1]),
				   "d"(args[2]), "S"(args[3]), "D"(args[4]),
				   [sixth] "r"(args[5])
				 : "memory", "r8", "r9", "r10", "r11");
		return result;
	}
#endif
	(void)i386;
	result = syscall(data->nr, args[0], args[1], args[2], args[3], args[4],
		args[5]);
	return result < 0 ? -errno : result;
}

/* Under the program hardly anything can be done: to end takes no call. */
static void __attribute__((noreturn)) act(const struct sock_filter *code,
	size_t length, struct stage *stage)
{
	const struct rlimit none = { 0, 0 };
	struct sock_fprog program = {
		.len = (unsigned short)length,
		.filter = (struct sock_filter *)(uintptr_t)code,
	};

	signal(SIGILL, SIG_DFL);
	signal(SIGTRAP, SIG_DFL);
	signal(SIGSYS, SIG_DFL);
	setrlimit(RLIMIT_CORE, &none);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0) {
		stage->installed = errno;
		_exit(0);
	}
	for (size_t i = 0; i < CALLS; i++) {
		struct trial *trial = &stage->trials[i];

		trial->result = do_call(&trial->data, trial->i386);
		trial->came_back = true;
	}
	stage->is_done = true;
	for (;;)
		__builtin_trap();
}

static void run_child(const struct sock_filter *code, size_t length,
	struct stage *stage)
{
	pid_t pid = fork();
	int status;

	cr_assert(pid >= 0);
	if (pid == 0)
		act(code, length, stage);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	if (stage->installed == 0 && !stage->is_done)
		cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS,
			"a child came to a strange end: %x", status);
}

/* What the kernel makes of a verdict. 1: the call is killed. */
static long expect(uint32_t verdict)
{
	uint32_t data = verdict & SECCOMP_RET_DATA;

	switch (verdict & SECCOMP_RET_ACTION_FULL) {
	case SECCOMP_RET_ERRNO:
		return -(long)(data > 4095 ? 4095 : data);
	case SECCOMP_RET_ALLOW: case SECCOMP_RET_LOG: /* no such call */
	case SECCOMP_RET_TRACE: case SECCOMP_RET_USER_NOTIF: /* nobody is */
		return -ENOSYS;
	default:
		return 1;
	}
}

static void compare(const struct sock_filter *code, size_t length,
	const struct stage *stage, struct counts *counts)
{
	for (size_t i = 0; i < CALLS; i++) {
		const struct trial *trial = &stage->trials[i];
		uint32_t verdict = ff_bpf_run(code, length, &trial->data);
		long expected = expect(verdict);

		if (expected == 1) {
			cr_assert_not(trial->came_back, "%x: not killed",
				verdict);
			counts->killed++;
			return;
		}
		cr_assert(trial->came_back, "%x: killed", verdict);
		cr_assert_eq(trial->result, expected, "%x: %ld", verdict,
			trial->result);
		if (expected == -ENOSYS)
			counts->went_on++;
		else
			counts->answered++;
	}
}

static void compare_program(const struct sock_filter *code, size_t length,
	struct stage *stage, struct counts *counts)
{
	bool is_valid = ff_bpf_is_valid(code, length);

	*stage = (struct stage){ 0 };
	roll_trials(stage->trials);
	run_child(code, length, stage);
	cr_assert_eq(stage->installed, is_valid ? 0 : EINVAL);
	if (is_valid) {
		compare(code, length, stage, counts);
		return;
	}
	counts->refused++;
	cr_assert_eq(ff_bpf_run(code, length, &stage->trials[0].data),
		SECCOMP_RET_KILL_PROCESS);
}

static struct stage *make_stage(void)
{
	struct stage *stage = mmap(NULL, sizeof(*stage),
		PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	cr_assert(stage != MAP_FAILED);
	return stage;
}

Test(bpf, returns_what_the_kernel_does, TIMEOUT)
{
	struct stage *stage = make_stage();
	struct counts counts = { 0 };

	for (int i = 0; i < PROGRAMS; i++) {
		struct sock_filter code[MAX_LENGTH];
		size_t length = roll_program(code);

		compare_program(code, length, stage, &counts);
	}
	/* That it was a test. */
	cr_expect(counts.refused > 100 && counts.answered > 1000 &&
		counts.went_on > 1000 && counts.killed > 100,
		"%u programs refused; calls: %u answered, %u gone on, %u "
		"killed", counts.refused, counts.answered, counts.went_on,
		counts.killed);
	if (getenv("FF_TEST_VERBOSE"))
		printf("%u programs refused; calls: %u answered, %u gone on, "
			"%u killed\n", counts.refused, counts.answered,
			counts.went_on, counts.killed);
}

/* Every instruction there could be, and what it leaves in the accumulator. */
Test(bpf, takes_the_instructions_that_the_kernel_takes, TIMEOUT)
{
	static const uint32_t operands[] = { 0, 4, 1, 64, 60, 15, 16, 31, 32 };
	struct sock_filter program[] = {
		BPF_STMT(BPF_LDX | BPF_IMM, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 16), /* an argument */
		BPF_STMT(BPF_ST, 0), BPF_STMT(BPF_ST, 4), BPF_STMT(BPF_ST, 15),
		BPF_STMT(0, 0),
		BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0xfff),
		BPF_STMT(BPF_ALU | BPF_OR | BPF_K, SECCOMP_RET_ERRNO),
		BPF_STMT(BPF_RET | BPF_A, 0),
	};
	struct sock_filter *insn = &program[5];
	struct stage *stage = make_stage();
	struct counts counts = { 0 };

	for (insn->code = 0; insn->code < 0x100; insn->code++) {
		insn->k = operands[roll(sizeof(operands) /
			sizeof(operands[0]))];
		compare_program(program, 9, stage, &counts);
		insn->k = roll(2) ? 0 : 4;
		compare_program(program, 9, stage, &counts);
	}
	cr_expect(counts.refused > 256 && counts.refused < 500);
}

/* The ends of what is valid. */
Test(bpf, knows_the_bounds, TIMEOUT)
{
	struct sock_filter insns[BPF_MAXINSNS + 1];
	const size_t last = BPF_MAXINSNS - 1;

	for (size_t i = 0; i <= last + 1; i++)
		insns[i] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, 0);
	cr_expect(ff_bpf_is_valid(insns, BPF_MAXINSNS));
	cr_expect_not(ff_bpf_is_valid(insns, BPF_MAXINSNS + 1));
	cr_expect_not(ff_bpf_is_valid(insns, 0));
	insns[0] = (struct sock_filter)BPF_STMT(BPF_JMP | BPF_JA,
		(uint32_t)last - 1);
	cr_expect(ff_bpf_is_valid(insns, BPF_MAXINSNS));
	insns[0].k++;
	cr_expect_not(ff_bpf_is_valid(insns, BPF_MAXINSNS));
	insns[0].k = UINT32_MAX;
	cr_expect_not(ff_bpf_is_valid(insns, BPF_MAXINSNS));
	insns[0] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ, 0, 1, 0);
	cr_expect(ff_bpf_is_valid(insns, 3));
	cr_expect_not(ff_bpf_is_valid(insns, 2));
	insns[1] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_IMM, 0);
	cr_expect_not(ff_bpf_is_valid(insns, 2)); /* runs off its end */
	insns[0] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 60);
	cr_expect(ff_bpf_is_valid(insns, 3));
	insns[0].k = 62;
	cr_expect_not(ff_bpf_is_valid(insns, 3));
	insns[0].k = 64;
	cr_expect_not(ff_bpf_is_valid(insns, 3));
}
