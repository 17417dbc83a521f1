/* SPDX-License-Identifier: MIT */
#include "arch.h"

#include <asm/sigcontext.h>
#include <elf.h>
#include <errno.h>
#include <linux/audit.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <ucontext.h>

extern const unsigned char ff_stub_aarch64[], ff_stub_aarch64_entry[],
	ff_stub_aarch64_end[];

/* The order of struct user_pt_regs: x0 to x30, then these. */
enum { X5 = 5, X8 = 8, X17 = 17, X19 = 19, SP = 31, PC, PSTATE, REG_COUNT };

enum { NR_IO_GETEVENTS = 4, NR_EPOLL_PWAIT = 22, NR_READ = 63, NR_WRITE = 64,
	NR_READV = 65, NR_WRITEV = 66, NR_RESTART = 128, NR_SIGTIMEDWAIT = 137,
	NR_MSGRCV = 188, NR_MSGSND = 189, NR_SEMTIMEDOP = 192, NR_SEMOP = 193,
	NR_ACCEPT = 202, NR_CONNECT = 203, NR_SENDTO = 206, NR_RECVFROM = 207,
	NR_SENDMSG = 211, NR_RECVMSG = 212, NR_ACCEPT4 = 242, NR_RECVMMSG = 243,
	NR_SENDMMSG = 269, NR_IO_PGETEVENTS = 292, NR_IO_URING_ENTER = 426,
	NR_EPOLL_PWAIT2 = 441 };

#define INSN 4
#define SVC 0xd4000001u /* svc #0 */

/* pstate.BTYPE: the last instruction was an indirect branch. In a page that is
 * guarded (PROT_BTI; the vDSO is) it must not reach any but a landing pad. */
#define BTYPE (3u << 10)

/* The frame that stub-aarch64.S lays out by these numbers. */
#define FRAME_OFFSET(field) (sizeof(siginfo_t) + offsetof(ucontext_t, field))
_Static_assert(FRAME_OFFSET(uc_stack) == 144, "rt_sigframe");
_Static_assert(FRAME_OFFSET(uc_sigmask) == 168, "rt_sigframe");
_Static_assert(FRAME_OFFSET(uc_mcontext.regs) == 312, "rt_sigframe");
_Static_assert(FRAME_OFFSET(uc_mcontext.sp) == 312 + 8 * SP, "rt_sigframe");
_Static_assert(FRAME_OFFSET(uc_mcontext.pstate) == 312 + 8 * PSTATE,
	"rt_sigframe");
_Static_assert(FRAME_OFFSET(uc_mcontext.__reserved) == 592, "rt_sigframe");
_Static_assert(sizeof(struct fpsimd_context) == 528 &&
	offsetof(struct fpsimd_context, vregs) == 16, "fpsimd_context");

static uint64_t get_ip(const struct ff_regs *regs)
{
	return regs->u64[PC];
}

/*
 * The kernel rewinds a call to be restarted before a tracer looks: x0 is the
 * first argument again and pc at the svc, as if the call were still to come.
 * It cannot be seen whether restart_syscall would be used, only that it was
 * the last time. A carrier, which continues elsewhere, makes the call anew with
 * its whole timeout, or fails with EINTR where it had been restarted before:
 * rt_sigreturn, with which the stub ends, ends that too.
 */
static enum ff_standing resume_regs(const struct ff_regs *regs,
	struct ff_regs *resume)
{
	*resume = *regs;
	if (regs->insn_at_ip != SVC)
		return FF_STANDS_IN_USER;
	return regs->u64[X8] == NR_RESTART ? FF_STANDS_IN_RESTART :
		FF_STANDS_IN_CALL;
}

/* Is it behind the call that it was known to block in? That call's first
 * argument is gone from x0, and from all that the kernel shows of it now. */
static bool is_behind_call(const struct ff_regs *regs)
{
	const struct ff_blocked_call *call = &regs->blocked;

	for (int i = 1; i <= X5; i++)
		if (regs->u64[i] != call->args[i])
			return false;
	return call->known && regs->insn_before_ip == SVC &&
		regs->u64[X8] == (uint64_t)call->nr &&
		regs->u64[SP] == call->sp && regs->u64[PC] == call->ip;
}

static bool mend_eintr(struct ff_regs *regs)
{
	if ((int64_t)regs->u64[0] != -EINTR || !is_behind_call(regs))
		return false;
	switch (regs->u64[X8]) {
	case NR_IO_GETEVENTS: case NR_EPOLL_PWAIT: case NR_READ: case NR_WRITE:
	case NR_READV: case NR_WRITEV: case NR_SIGTIMEDWAIT: case NR_MSGRCV:
	case NR_MSGSND: case NR_SEMTIMEDOP: case NR_SEMOP: case NR_ACCEPT:
	case NR_CONNECT: case NR_SENDTO: case NR_RECVFROM: case NR_SENDMSG:
	case NR_SENDMMSG: case NR_RECVMSG: case NR_ACCEPT4: case NR_RECVMMSG:
	case NR_IO_PGETEVENTS: case NR_IO_URING_ENTER: case NR_EPOLL_PWAIT2:
		regs->u64[0] = regs->blocked.args[0];
		regs->u64[PC] -= INSN;
		regs->insn_at_ip = SVC;
		regs->insn_before_ip = 0;
		return true;
	default:
		return false;
	}
}

static bool in_trapped_call(const struct ff_regs *regs)
{
	return regs->insn_at_ip == SVC && (regs->u64[X8] == NR_SENDMSG ||
		regs->u64[X8] == NR_SENDMMSG);
}

static void set_call(struct ff_regs *regs, uint64_t ip, int nr,
	const uint64_t args[6])
{
	for (int i = 0; i <= X5; i++)
		regs->u64[i] = args[i];
	regs->u64[X8] = (uint64_t)nr;
	regs->u64[PC] = ip;
	regs->u64[PSTATE] &= ~(uint64_t)BTYPE;
}

static int64_t get_result(const struct ff_regs *regs)
{
	return (int64_t)regs->u64[0];
}

/* Where the next instruction and the next literal of boot code go. */
struct boot {
	unsigned char *code;
	size_t insns, literals; /* offsets */
};

static void put_insn(struct boot *boot, uint32_t insn)
{
	memcpy(boot->code + boot->insns, &insn, INSN);
	boot->insns += INSN;
}

/* ldr x<reg>, a literal */
static void put_load(struct boot *boot, unsigned int reg, uint64_t value)
{
	uint32_t words = (uint32_t)(boot->literals - boot->insns) / INSN;

	memcpy(boot->code + boot->literals, &value, sizeof(value));
	boot->literals += sizeof(value);
	put_insn(boot, 0x58000000u | words << 5 | reg);
}

/*
 * Back to pc without any register where a direct branch reaches so far, as it
 * does from the vDSO to most libraries. Else x17 is lost, which the linker may
 * use at any call (IP1): nothing is kept in it for long. By ret, not by br,
 * which may not jump to any but a landing pad.
 */
static void put_jump(struct boot *boot, uint64_t at, uint64_t pc)
{
	int64_t distance = (int64_t)(pc - at - boot->insns);

	if (distance >= -(1 << 27) && distance < 1 << 27) {
		put_insn(boot, 0x14000000u |
			((uint32_t)(distance / INSN) & 0x3ffffffu));
		return;
	}
	put_load(boot, X17, pc);
	put_insn(boot, 0xd65f0000u | X17 << 5);
}

static size_t make_boot(unsigned char code[FF_BOOT_MAX], uint64_t at,
	const struct ff_regs *resume)
{
	/* svc, seven loads, and a load and a jump at most: ten instructions */
	struct boot boot = { .code = code, .literals = 10 * INSN };

	memset(code, 0, boot.literals);
	put_insn(&boot, SVC);
	for (unsigned int i = 0; i <= X5; i++)
		put_load(&boot, i, resume->u64[i]);
	put_load(&boot, X8, resume->u64[X8]);
	put_jump(&boot, at, resume->u64[PC]);
	return boot.literals;
}

static size_t make_stub(unsigned char code[FF_STUB_CODE_SIZE], uint64_t base)
{
	size_t size = (size_t)(ff_stub_aarch64_end - ff_stub_aarch64);

	(void)base; /* addresses are relative to pc */
	memcpy(code, ff_stub_aarch64, size);
	return size;
}

static void enter_stub(struct ff_regs *regs, uint64_t base)
{
	regs->u64[X19] = base + FF_STUB_CODE_SIZE + FF_STUB_PROGRAM;
	regs->u64[PC] = base +
		(uint64_t)(ff_stub_aarch64_entry - ff_stub_aarch64);
	regs->u64[PSTATE] &= ~(uint64_t)BTYPE;
}

/* In the order of the kernel, which is the one of a signal frame too. */
static void fill_resume(struct ff_stub_resume *words,
	const struct ff_regs *resume)
{
	memcpy(words->words, resume->u64, REG_COUNT * sizeof(uint64_t));
}

static const struct ff_arch ff_arch_aarch64 = {
	.name = "aarch64",
	.audit_arch = AUDIT_ARCH_AARCH64,
	.regs_size = REG_COUNT * 8,
	.word = 8,
	.mmap_offset_unit = 1,
	.syscall_in_own_regset = true,
	.task_size = 1ull << 48,
	.syscalls = {
		[FF_SYS_MMAP] = 222, [FF_SYS_MREMAP] = 216,
		[FF_SYS_MUNMAP] = 215, [FF_SYS_MPROTECT] = 226,
		[FF_SYS_DUP3] = 24, [FF_SYS_CLOSE] = 57, [FF_SYS_FLOCK] = 32,
		[FF_SYS_FUTEX] = 98, [FF_SYS_LSEEK] = 62,
		[FF_SYS_SENDMSG] = NR_SENDMSG,
		[FF_SYS_PRCTL] = 167, [FF_SYS_SECCOMP] = 277,
	},
	.elf_machine = EM_AARCH64,
	.dwarf_count = 32,
	.dwarf_sp = SP,
	.dwarf_regs = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
		16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, SP },
	.get_ip = get_ip,
	.resume = resume_regs,
	.mend_eintr = mend_eintr,
	.in_trapped_call = in_trapped_call,
	.set_call = set_call,
	.get_result = get_result,
	.make_boot = make_boot,
	.make_stub = make_stub,
	.enter_stub = enter_stub,
	.fill_resume = fill_resume,
};

const struct ff_arch *ff_arch_by_regs(size_t regs_size)
{
	return regs_size == ff_arch_aarch64.regs_size ? &ff_arch_aarch64 : NULL;
}

const struct ff_arch *ff_arch_by_audit(uint32_t audit_arch)
{
	return audit_arch == ff_arch_aarch64.audit_arch ? &ff_arch_aarch64 :
		NULL;
}

const struct ff_arch *ff_arch_by_addresses(uint64_t ip, uint64_t sp)
{
	(void)ip;
	(void)sp;
	return &ff_arch_aarch64;
}

const struct ff_arch *ff_arch_native(void)
{
	return &ff_arch_aarch64;
}
