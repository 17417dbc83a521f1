/* SPDX-License-Identifier: MIT */
#include "arch.h"
#include "restart.h"

#include <elf.h>
#include <errno.h>
#include <linux/audit.h>
#include <string.h>

extern const unsigned char ff_stub_x86_64[], ff_stub_x86_64_entry[],
	ff_stub_x86_64_end[];

/* The order of struct user_regs_struct. */
enum { R15, R14, R13, R12, RBP, RBX, R11, R10, R9, R8, RAX, RCX, RDX, RSI, RDI,
	ORIG_RAX, RIP, CS, EFLAGS, RSP, SS, FS_BASE, GS_BASE, DS, ES, FS, GS,
	REG_COUNT };

enum { NR_READ = 0, NR_WRITE = 1, NR_READV = 19, NR_WRITEV = 20,
	NR_CONNECT = 42, NR_ACCEPT = 43, NR_SENDTO = 44, NR_RECVFROM = 45,
	NR_SENDMSG = 46, NR_RECVMSG = 47, NR_SEMOP = 65, NR_MSGSND = 69,
	NR_MSGRCV = 70, NR_SIGTIMEDWAIT = 128, NR_IO_GETEVENTS = 208,
	NR_RESTART = 219, NR_SEMTIMEDOP = 220, NR_EPOLL_WAIT = 232,
	NR_EPOLL_PWAIT = 281, NR_ACCEPT4 = 288, NR_RECVMMSG = 299,
	NR_SENDMMSG = 307, NR_IO_PGETEVENTS = 333, NR_IO_URING_ENTER = 426,
	NR_EPOLL_PWAIT2 = 441 };

#define INSN 2 /* bytes of the syscall instruction */

static uint64_t get_ip(const struct ff_regs *regs)
{
	return regs->u64[RIP];
}

/* Make the call that ended be called again, as nr. */
static void rewind_call(struct ff_regs *regs, uint64_t nr)
{
	regs->u64[RIP] -= INSN;
	regs->u64[RAX] = nr;
	regs->u64[ORIG_RAX] = (uint64_t)-1;
}

static enum ff_standing resume_regs(const struct ff_regs *regs,
	struct ff_regs *resume)
{
	*resume = *regs;
	if ((int64_t)regs->u64[ORIG_RAX] >= 0) {
		switch ((int64_t)regs->u64[RAX]) {
		case -FF_ERESTARTSYS:
		case -FF_ERESTARTNOINTR:
		case -FF_ERESTARTNOHAND:
			rewind_call(resume, regs->u64[ORIG_RAX]);
			return FF_STANDS_IN_CALL;
		case -FF_ERESTART_RESTARTBLOCK:
			rewind_call(resume, NR_RESTART);
			return FF_STANDS_IN_RESTART;
		default:
			break;
		}
	}
	resume->u64[ORIG_RAX] = (uint64_t)-1;
	return FF_STANDS_IN_USER;
}

static bool mend_eintr(struct ff_regs *regs)
{
	if ((int64_t)regs->u64[RAX] != -EINTR)
		return false;
	switch ((int64_t)regs->u64[ORIG_RAX]) {
	case NR_READ: case NR_WRITE: case NR_READV: case NR_WRITEV:
	case NR_CONNECT: case NR_ACCEPT: case NR_SENDTO: case NR_RECVFROM:
	case NR_SENDMSG: case NR_SENDMMSG: case NR_RECVMSG: case NR_SEMOP:
	case NR_MSGSND: case NR_MSGRCV: case NR_SIGTIMEDWAIT:
	case NR_IO_GETEVENTS: case NR_SEMTIMEDOP: case NR_EPOLL_WAIT:
	case NR_EPOLL_PWAIT: case NR_ACCEPT4: case NR_RECVMMSG:
	case NR_IO_PGETEVENTS: case NR_IO_URING_ENTER: case NR_EPOLL_PWAIT2:
		rewind_call(regs, regs->u64[ORIG_RAX]);
		return true;
	default:
		return false;
	}
}

static bool in_trapped_call(const struct ff_regs *regs)
{
	return (int64_t)regs->u64[RAX] == -FF_ERESTARTSYS &&
		(regs->u64[ORIG_RAX] == NR_SENDMSG ||
			regs->u64[ORIG_RAX] == NR_SENDMMSG);
}

static void set_call(struct ff_regs *regs, uint64_t ip, int nr,
	const uint64_t args[6])
{
	static const int order[6] = { RDI, RSI, RDX, R10, R8, R9 };

	for (int i = 0; i < 6; i++)
		regs->u64[order[i]] = args[i];
	regs->u64[RAX] = (uint64_t)nr;
	regs->u64[ORIG_RAX] = (uint64_t)-1;
	regs->u64[RIP] = ip;
}

static int64_t get_result(const struct ff_regs *regs)
{
	return (int64_t)regs->u64[RAX];
}

/* movabs $value, reg */
static unsigned char *put_load(unsigned char *p, int reg, uint64_t value)
{
	*p++ = reg >= 8 ? 0x49 : 0x48;
	*p++ = 0xb8 | (reg & 7);
	memcpy(p, &value, 8);
	return p + 8;
}

static size_t make_boot(unsigned char code[FF_BOOT_MAX], uint64_t at,
	const struct ff_regs *resume)
{
	/* What a system call's arguments and the kernel overwrite, with the
	 * numbers that the instruction encodes. */
	static const struct { int word, reg; } loads[] = {
		{ RDI, 7 }, { RSI, 6 }, { RDX, 2 }, { R10, 10 }, { R8, 8 },
		{ R9, 9 }, { RAX, 0 }, { RCX, 1 }, { R11, 11 },
	};
	static const unsigned char syscall[INSN] = { 0x0f, 0x05 };
	static const unsigned char jump[6] = { 0xff, 0x25 }; /* *0(%rip) */
	unsigned char *p = code;

	(void)at;
	memcpy(p, syscall, sizeof(syscall));
	p += sizeof(syscall);
	for (size_t i = 0; i < sizeof(loads) / sizeof(loads[0]); i++)
		p = put_load(p, loads[i].reg, resume->u64[loads[i].word]);
	memcpy(p, jump, sizeof(jump));
	p += sizeof(jump);
	memcpy(p, &resume->u64[RIP], 8);
	return (size_t)(p + 8 - code);
}

static size_t make_stub(unsigned char code[FF_STUB_CODE_SIZE], uint64_t base)
{
	size_t size = (size_t)(ff_stub_x86_64_end - ff_stub_x86_64);

	(void)base; /* addresses are relative to rip */
	memcpy(code, ff_stub_x86_64, size);
	return size;
}

static void enter_stub(struct ff_regs *regs, uint64_t base)
{
	regs->u64[RBX] = base + FF_STUB_CODE_SIZE + FF_STUB_PROGRAM;
	regs->u64[ORIG_RAX] = (uint64_t)-1;
	regs->u64[RIP] = base +
		(uint64_t)(ff_stub_x86_64_entry - ff_stub_x86_64);
}

static void fill_resume(struct ff_stub_resume *words,
	const struct ff_regs *resume)
{
	/* The order in which stub-x86_64.S reads them. */
	static const int order[] = { RAX, RBX, RCX, RDX, RSI, RDI, RBP, R8, R9,
		R10, R11, R12, R13, R14, R15, RSP, RIP, EFLAGS };

	for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++)
		words->words[i] = resume->u64[order[i]];
}

const struct ff_arch ff_arch_x86_64 = {
	.name = "x86_64",
	.audit_arch = AUDIT_ARCH_X86_64,
	.regs_size = REG_COUNT * 8,
	.word = 8,
	.mmap_offset_unit = 1,
	.task_size = 0x7ffffffff000,
	.syscalls = {
		[FF_SYS_MMAP] = 9, [FF_SYS_MREMAP] = 25, [FF_SYS_MUNMAP] = 11,
		[FF_SYS_MPROTECT] = 10, [FF_SYS_DUP3] = 292, [FF_SYS_CLOSE] = 3,
		[FF_SYS_FLOCK] = 73, [FF_SYS_FUTEX] = 202, [FF_SYS_LSEEK] = 8,
		[FF_SYS_SENDMSG] = NR_SENDMSG,
		[FF_SYS_PRCTL] = 157, [FF_SYS_SECCOMP] = 317,
	},
	.elf_machine = EM_X86_64,
	.dwarf_count = 16,
	.dwarf_sp = 7,
	.dwarf_regs = { RAX, RDX, RCX, RBX, RSI, RDI, RBP, RSP, R8, R9, R10,
		R11, R12, R13, R14, R15 },
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
