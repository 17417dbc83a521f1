/* SPDX-License-Identifier: MIT */
#include "arch.h"
#include "restart.h"

#include <elf.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/net.h>
#include <string.h>

extern const unsigned char ff_stub_i386[], ff_stub_i386_entry[],
	ff_stub_i386_end[];
extern const uint32_t ff_stub_i386_fix[], ff_stub_i386_fix_end[];

/* The order of the kernel's user_regs_struct32. */
enum { EBX, ECX, EDX, ESI, EDI, EBP, EAX, DS, ES, FS, GS, ORIG_EAX, EIP, CS,
	EFLAGS, ESP, SS, REG_COUNT };

/* socketcall and ipc carry many calls; which one lies in memory or in a
 * register, and all that can block there may be made again. */
enum { NR_RESTART = 0, NR_READ = 3, NR_WRITE = 4, NR_SOCKETCALL = 102,
	NR_IPC = 117, NR_READV = 145, NR_WRITEV = 146, NR_SIGTIMEDWAIT = 177,
	NR_IO_GETEVENTS = 247, NR_EPOLL_WAIT = 256, NR_EPOLL_PWAIT = 319,
	NR_RECVMMSG = 337, NR_SENDMMSG = 345, NR_CONNECT = 362,
	NR_ACCEPT4 = 364, NR_SENDTO = 369, NR_SENDMSG = 370, NR_RECVFROM = 371,
	NR_RECVMSG = 372, NR_IO_PGETEVENTS = 385, NR_MSGSND = 400,
	NR_MSGRCV = 401, NR_IO_PGETEVENTS64 = 416, NR_RECVMMSG64 = 417,
	NR_SEMTIMEDOP64 = 420, NR_SIGTIMEDWAIT64 = 421, NR_IO_URING_ENTER = 426,
	NR_EPOLL_PWAIT2 = 441 };

#define INSN 2 /* bytes of int $0x80; sysenter resumes at one in the vDSO */

static uint64_t get_ip(const struct ff_regs *regs)
{
	return regs->u32[EIP];
}

/* Make the call that ended be called again, as nr. */
static void rewind_call(struct ff_regs *regs, uint32_t nr)
{
	regs->u32[EIP] -= INSN;
	regs->u32[EAX] = nr;
	regs->u32[ORIG_EAX] = (uint32_t)-1;
}

static enum ff_standing resume_regs(const struct ff_regs *regs,
	struct ff_regs *resume)
{
	*resume = *regs;
	if ((int32_t)regs->u32[ORIG_EAX] >= 0) {
		switch ((int32_t)regs->u32[EAX]) {
		case -FF_ERESTARTSYS:
		case -FF_ERESTARTNOINTR:
		case -FF_ERESTARTNOHAND:
			rewind_call(resume, regs->u32[ORIG_EAX]);
			return FF_STANDS_IN_CALL;
		case -FF_ERESTART_RESTARTBLOCK:
			rewind_call(resume, NR_RESTART);
			return FF_STANDS_IN_RESTART;
		default:
			break;
		}
	}
	resume->u32[ORIG_EAX] = (uint32_t)-1;
	return FF_STANDS_IN_USER;
}

static bool mend_eintr(struct ff_regs *regs)
{
	if ((int32_t)regs->u32[EAX] != -EINTR)
		return false;
	switch ((int32_t)regs->u32[ORIG_EAX]) {
	case NR_READ: case NR_WRITE: case NR_READV: case NR_WRITEV:
	case NR_SOCKETCALL: case NR_CONNECT: case NR_SENDTO: case NR_SENDMSG:
	case NR_SENDMMSG: case NR_MSGSND: case NR_MSGRCV: case NR_IPC:
	case NR_SIGTIMEDWAIT: case NR_IO_GETEVENTS: case NR_EPOLL_WAIT:
	case NR_EPOLL_PWAIT: case NR_RECVMMSG: case NR_ACCEPT4:
	case NR_RECVFROM: case NR_RECVMSG: case NR_IO_PGETEVENTS:
	case NR_IO_PGETEVENTS64: case NR_RECVMMSG64: case NR_SEMTIMEDOP64:
	case NR_SIGTIMEDWAIT64: case NR_IO_URING_ENTER: case NR_EPOLL_PWAIT2:
		rewind_call(regs, regs->u32[ORIG_EAX]);
		return true;
	default:
		return false;
	}
}

static bool in_trapped_call(const struct ff_regs *regs)
{
	return (int32_t)regs->u32[EAX] == -FF_ERESTARTSYS &&
		(regs->u32[ORIG_EAX] == NR_SENDMSG ||
			regs->u32[ORIG_EAX] == NR_SENDMMSG ||
			(regs->u32[ORIG_EAX] == NR_SOCKETCALL &&
				(regs->u32[EBX] == SYS_SENDMSG ||
					regs->u32[EBX] == SYS_SENDMMSG)));
}

static const int call_order[6] = { EBX, ECX, EDX, ESI, EDI, EBP };

static void set_call(struct ff_regs *regs, uint64_t ip, int nr,
	const uint64_t args[6])
{
	for (int i = 0; i < 6; i++)
		regs->u32[call_order[i]] = (uint32_t)args[i];
	regs->u32[EAX] = (uint32_t)nr;
	regs->u32[ORIG_EAX] = (uint32_t)-1;
	regs->u32[EIP] = (uint32_t)ip;
}

/* Addresses above 2 GiB are no errors: only the last page is. */
static int64_t get_result(const struct ff_regs *regs)
{
	uint32_t value = regs->u32[EAX];

	return value > (uint32_t)-4096 ? (int32_t)value : (int64_t)value;
}

static size_t make_boot(unsigned char code[FF_BOOT_MAX], uint64_t at,
	const struct ff_regs *resume)
{
	/* The numbers that mov $value, reg encodes, as in call_order. */
	static const unsigned char numbers[6] = { 3, 1, 2, 6, 7, 5 };
	unsigned char *p = code;
	uint32_t distance;

	*p++ = 0xcd; /* int $0x80 */
	*p++ = 0x80;
	for (int i = 0; i < 6; i++) {
		*p++ = 0xb8 | numbers[i];
		memcpy(p, &resume->u32[call_order[i]], 4);
		p += 4;
	}
	*p++ = 0xb8; /* mov $value, %eax */
	memcpy(p, &resume->u32[EAX], 4);
	p += 4;
	*p++ = 0xe9; /* jmp to a distance */
	distance = resume->u32[EIP] - (uint32_t)(at + (size_t)(p + 4 - code));
	memcpy(p, &distance, 4);
	return (size_t)(p + 4 - code);
}

static size_t make_stub(unsigned char code[FF_STUB_CODE_SIZE], uint64_t base)
{
	size_t size = (size_t)(ff_stub_i386_end - ff_stub_i386);

	memcpy(code, ff_stub_i386, size);
	for (const uint32_t *fix = ff_stub_i386_fix; fix < ff_stub_i386_fix_end;
		fix++) {
		uint32_t address;

		memcpy(&address, code + *fix, 4);
		address += (uint32_t)base;
		memcpy(code + *fix, &address, 4);
	}
	return size;
}

static void enter_stub(struct ff_regs *regs, uint64_t base)
{
	regs->u32[ORIG_EAX] = (uint32_t)-1;
	regs->u32[EIP] = (uint32_t)base +
		(uint32_t)(ff_stub_i386_entry - ff_stub_i386);
}

static void fill_resume(struct ff_stub_resume *words,
	const struct ff_regs *resume)
{
	/* The order in which stub-i386.S reads them. */
	static const int order[] = { EAX, EBX, ECX, EDX, ESI, EDI, EBP, ESP,
		EIP, EFLAGS };

	for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++)
		words->words[i] = resume->u32[order[i]];
}

const struct ff_arch ff_arch_i386 = {
	.name = "i386",
	.audit_arch = AUDIT_ARCH_I386,
	.regs_size = REG_COUNT * 4,
	.word = 4,
	.mmap_offset_unit = 4096,
	.task_size = 0xfffff000,
	.syscalls = {
		[FF_SYS_MMAP] = 192, [FF_SYS_MREMAP] = 163,
		[FF_SYS_MUNMAP] = 91, [FF_SYS_MPROTECT] = 125,
		[FF_SYS_DUP3] = 330, [FF_SYS_CLOSE] = 6, [FF_SYS_FLOCK] = 143,
		[FF_SYS_FUTEX] = 240, [FF_SYS_LSEEK] = 19,
		[FF_SYS_SENDMSG] = NR_SENDMSG,
		[FF_SYS_PRCTL] = 172, [FF_SYS_SECCOMP] = 354,
	},
	.elf_machine = EM_386,
	.dwarf_count = 8,
	.dwarf_sp = 4,
	.dwarf_regs = { EAX, ECX, EDX, EBX, ESP, EBP, ESI, EDI },
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
