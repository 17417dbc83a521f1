/* SPDX-License-Identifier: MIT */
#include "inject/remote.h"

#include "clock.h"
#include "fault.h"

#include <elf.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>

#ifndef NT_ARM_SYSTEM_CALL
#define NT_ARM_SYSTEM_CALL 0x404
#endif

void ff_remote_note_call(pid_t tid, struct ff_blocked_call *call)
{
	uint64_t *args = call->args;
	struct ff_status status;
	char path[32];
	FILE *file;

	call->known = false;
	if (!ff_arch_native()->syscall_in_own_regset ||
		ff_process_status(tid, &status) < 0)
		return;
	call->switches = status.switches;
	snprintf(path, sizeof(path), "/proc/%d/syscall", tid);
	file = fopen(path, "re");
	if (!file)
		return;
	/* "running", or -1 and two addresses, for one that is in no call */
	call->known = fscanf(file, "%d %" SCNx64 " %" SCNx64 " %" SCNx64
		" %" SCNx64 " %" SCNx64 " %" SCNx64 " %" SCNx64 " %" SCNx64,
		&call->nr, &args[0], &args[1], &args[2], &args[3], &args[4],
		&args[5], &call->sp, &call->ip) == 9;
	fclose(file);
}

void ff_remote_recall(pid_t tid, const struct ff_blocked_call *call,
	struct ff_regs *regs)
{
	struct ff_status status;

	/* Once is to stop; more may have been in another call. */
	if (call->known && ff_process_status(tid, &status) == 0 &&
		status.switches - call->switches <= 1)
		regs->blocked = *call;
}

static void read_insns(pid_t tid, uint64_t ip, struct ff_regs *regs)
{
	regs->insn_before_ip = regs->insn_at_ip = 0;
	ff_process_read(tid, ip - 4, &regs->insn_before_ip, 4);
	ff_process_read(tid, ip, &regs->insn_at_ip, 4);
}

const struct ff_arch *ff_remote_get_regs(pid_t tid, struct ff_regs *regs)
{
	struct iovec iov = { regs->u64, sizeof(regs->u64) };
	const struct ff_arch *arch;

	if (ptrace(PTRACE_GETREGSET, tid, NT_PRSTATUS, &iov) < 0)
		return NULL;
	regs->size = iov.iov_len;
	regs->blocked.known = false;
	arch = ff_arch_by_regs(regs->size);
	if (arch && arch->syscall_in_own_regset)
		read_insns(tid, arch->get_ip(regs), regs);
	return arch;
}

int ff_remote_set_regs(pid_t tid, const struct ff_arch *arch,
	const struct ff_regs *regs)
{
	struct iovec iov = { (void *)(uintptr_t)regs->u64, regs->size };

	if (ptrace(PTRACE_SETREGSET, tid, NT_PRSTATUS, &iov) < 0)
		return -errno;
	if (arch->syscall_in_own_regset) {
		int none = -1;

		iov = (struct iovec){ &none, sizeof(none) };
		if (ptrace(PTRACE_SETREGSET, tid, NT_ARM_SYSTEM_CALL, &iov) < 0)
			return -errno;
	}
	return 0;
}

int ff_remote_get_sigmask(pid_t tid, uint64_t *mask)
{
	return ptrace(PTRACE_GETSIGMASK, tid, 8, mask) < 0 ? -errno : 0;
}

int ff_remote_set_sigmask(pid_t tid, uint64_t mask)
{
	return ptrace(PTRACE_SETSIGMASK, tid, 8, &mask) < 0 ? -errno : 0;
}

bool ff_remote_in_rseq(pid_t tid, const struct ff_arch *arch)
{
	struct __ptrace_rseq_configuration rseq;
	uint64_t section = 0;

	if (ptrace(PTRACE_GET_RSEQ_CONFIGURATION, tid, sizeof(rseq), &rseq) < 0
		|| !rseq.rseq_abi_pointer)
		return false;
	/* struct rseq: cpu_id_start, cpu_id, rseq_cs */
	return ff_process_read(tid, rseq.rseq_abi_pointer + 8, &section,
		       arch->word) == 0 && section != 0;
}

/* Neighbours that grow (stacks, the heap) get this much room. */
#define ROOM_MARGIN 0x200000u

uint64_t ff_remote_find_room(const struct ff_arch *arch,
	const struct ff_vmas *vmas, uint64_t size)
{
	uint64_t low = 0x10000, best_end = 0, best_size = 0;

	/* Not above the last one: how far addresses go there is not known. */
	for (size_t i = 0; i < vmas->count; i++) {
		uint64_t high = vmas->vmas[i].start;

		if (high > arch->task_size)
			high = arch->task_size;
		if (high > low && high - low > best_size) {
			best_size = high - low;
			best_end = high;
		}
		low = vmas->vmas[i].end;
	}
	if (best_size < size + 2 * ROOM_MARGIN)
		return 0;
	/* Far from both neighbours where there is room in plenty: the upper one
	 * may be the stack. A 32-bit process wants its largest range whole. */
	if (arch->word == 8)
		best_end -= best_size / 2;
	return (best_end - ROOM_MARGIN - size) & ~(uint64_t)0xffff;
}

bool ff_remote_has_stub(pid_t pid, const struct ff_arch *arch, uint64_t base)
{
	static unsigned char want[FF_STUB_CODE_SIZE], have[4096];
	size_t size = arch->make_stub(want, base);

	return size <= sizeof(have) && ff_process_read(pid, base, have,
		size) == 0 && !memcmp(want, have, size);
}

/* The address of the vDSO's ELF header, from the auxiliary vector. */
static uint64_t find_vdso(pid_t pid, const struct ff_arch *arch)
{
	uint64_t words[128] = { 0 }, address = 0;
	char path[32];
	FILE *file;
	size_t got;

	snprintf(path, sizeof(path), "/proc/%d/auxv", pid);
	file = fopen(path, "re");
	if (!file)
		return 0;
	got = fread(words, 1, sizeof(words), file) / arch->word;
	fclose(file);
	for (size_t i = 0; i + 1 < got && !address; i += 2) {
		if (arch->word == 8 && words[i] == AT_SYSINFO_EHDR)
			address = words[i + 1];
		else if (arch->word == 4 &&
			((uint32_t *)words)[i] == AT_SYSINFO_EHDR)
			address = ((uint32_t *)words)[i + 1];
	}
	return address;
}

/* The end of the vDSO's contents, relative to its start; 0 if unreadable. */
static uint64_t vdso_size(pid_t pid, const struct ff_arch *arch, uint64_t vdso)
{
	union {
		Elf64_Ehdr e64;
		Elf32_Ehdr e32;
	} head;

	if (ff_process_read(pid, vdso, &head, sizeof(head)) < 0 ||
		memcmp(head.e64.e_ident, ELFMAG, SELFMAG))
		return 0;
	/* The section headers come last in what the kernel builds. */
	if (arch->word == 8)
		return head.e64.e_shoff +
			(uint64_t)head.e64.e_shnum * head.e64.e_shentsize;
	return head.e32.e_shoff +
		(uint64_t)head.e32.e_shnum * head.e32.e_shentsize;
}

/*
 * Is it boot code of a fenceferry that died before it could remove it? Who was
 * under way in it must be through.
 */
static bool is_left_behind(const struct ff_hold *hold,
	const struct ff_thread *carrier, uint64_t at,
	const unsigned char have[FF_BOOT_MAX])
{
	unsigned char code[FF_BOOT_MAX] = { 0 };

	carrier->arch->make_boot(code, at, &carrier->regs);
	/* The system call instruction, and the begin of a load: what follows
	 * are values. */
	if (memcmp(have, code, 3) != 0)
		return false;
	for (size_t i = 0; i < hold->count; i++) {
		const struct ff_thread *thread = &hold->threads[i];
		uint64_t ip = thread->state == FF_THREAD_HELD ?
			thread->arch->get_ip(&thread->regs) : 0;

		if (ip >= at && ip < at + FF_BOOT_MAX)
			return false;
	}
	return true;
}

/* Room for boot code: the zeroes behind the vDSO's contents on its last page. */
static uint64_t find_slack(const struct ff_hold *hold,
	const struct ff_thread *carrier, const struct ff_vmas *vmas,
	struct ff_error *error)
{
	const struct ff_arch *arch = carrier->arch;
	const pid_t pid = hold->pid;
	static const unsigned char zeroes[FF_BOOT_MAX];
	unsigned char have[FF_BOOT_MAX];
	uint64_t vdso = find_vdso(pid, arch), size = 0, at;

	if (vdso)
		size = vdso_size(pid, arch, vdso);
	at = (vdso + size + 15) & ~(uint64_t)15;
	for (size_t i = 0; size && i < vmas->count; i++) {
		const struct ff_vma *vma = &vmas->vmas[i];

		if (at >= vma->start && at + FF_BOOT_MAX <= vma->end &&
			(vma->flags & FF_VMA_EXEC) &&
			ff_process_read(pid, at, have, sizeof(have)) == 0 &&
			(!memcmp(have, zeroes, sizeof(have)) ||
				is_left_behind(hold, carrier, at, have)))
			return at;
	}
	ff_fail(error, ENOEXEC, "pid %d has no vDSO with room for %u bytes",
		pid, FF_BOOT_MAX);
	return 0;
}

/* Write where only a tracer may. size is rounded up to words. */
static int poke(pid_t tid, uint64_t address, const unsigned char *code,
	size_t size)
{
	for (size_t i = 0; i < size; i += sizeof(long)) {
		long word;

		memcpy(&word, code + i, sizeof(word));
		if (ptrace(PTRACE_POKEDATA, tid, address + i, word) < 0)
			return -errno;
	}
	return 0;
}

/* Run to the next system call stop. -EINTR: sig came first, undelivered. */
static int run_to_syscall_stop(struct ff_thread *thread, int *sig)
{
	siginfo_t info = { 0 };

	if (ptrace(PTRACE_SYSCALL, thread->tid, 0, 0) < 0)
		return -errno;
	/* The tick interrupts; it may run on before it stops. */
	while (waitid(P_PID, (id_t)thread->tid, &info, WSTOPPED | __WALL) < 0)
		if (errno != EINTR || ff_thread_ended(thread->tid))
			return -ESRCH;
	*sig = info.si_status & 0xff;
	if (info.si_status == (SIGTRAP | 0x80))
		return 0;
	if (info.si_status >> 8)
		*sig = 0; /* a group stop began: only asked to run again */
	return -EINTR;
}

/* A signal wants to be delivered: let it, from the place where the thread was
 * found. Its handler blocks it, so that it is not in the way again. */
static int deliver_and_hold(struct ff_hold *hold, struct ff_thread *thread,
	const struct ff_regs *resume, int sig, uint64_t deadline_ns,
	struct ff_error *error)
{
	ff_remote_set_regs(thread->tid, thread->arch, resume);
	return ff_hold_deliver(hold, thread, sig, deadline_ns, error);
}

/*
 * One injected call at the boot code. The thread stays at the stop behind the
 * call. Returns -EINTR if a signal came first (*sig), else the call's result.
 */
static int64_t boot_call(struct ff_thread *thread, uint64_t at, int nr,
	const uint64_t args[6], int *sig)
{
	struct ff_regs regs = thread->regs;
	int err;

	thread->arch->set_call(&regs, at, nr, args);
	err = ff_remote_set_regs(thread->tid, thread->arch, &regs);
	if (!err)
		err = run_to_syscall_stop(thread, sig);
	if (err)
		return err;
	/* Between entry and exit of these calls no signal is delivered. */
	err = run_to_syscall_stop(thread, sig);
	if (err)
		return err == -EINTR ? -EPROTO : err;
	if (!ff_remote_get_regs(thread->tid, &regs))
		return -ESRCH;
	return thread->arch->get_result(&regs);
}

struct boot {
	uint64_t at; /* of the boot code */
	uint64_t base; /* of the stub to be */
	int sig; /* that interrupted */
};

/* Where memory may not become executable (MDWE, Linux 6.3, or a filter), each
 * try would leave a mapping behind. Returns why there is no stub. */
static int64_t unmap_stub(struct ff_thread *thread, struct boot *boot,
	int64_t why)
{
	const uint64_t unmap[6] = { boot->base, FF_STUB_SIZE };

	return boot_call(thread, boot->at,
		thread->arch->syscalls[FF_SYS_MUNMAP], unmap,
		&boot->sig) == -EINTR ? -EINTR : why;
}

static int64_t map_stub(struct ff_thread *thread, struct boot *boot)
{
	const struct ff_arch *arch = thread->arch;
	uint64_t map[6] = { boot->base, FF_STUB_SIZE, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE,
		(uint64_t)-1, 0 };
	uint64_t protect[6] = { boot->base, FF_STUB_CODE_SIZE,
		PROT_READ | PROT_EXEC };
	static unsigned char code[FF_STUB_CODE_SIZE];
	size_t size = arch->make_stub(code, boot->base);
	int64_t result = FF_FAULT();

	/* Already there if a signal interrupted us behind it. */
	if (!result && !ff_remote_has_stub(thread->tid, arch, boot->base)) {
		result = boot_call(thread, boot->at,
			arch->syscalls[FF_SYS_MMAP], map, &boot->sig);
		if (result != (int64_t)boot->base)
			return result < 0 ? result : -EEXIST;
		result = ff_process_write(thread->tid, boot->base, code, size);
	}
	if (!result)
		result = FF_FAULT();
	if (!result)
		result = boot_call(thread, boot->at,
			arch->syscalls[FF_SYS_MPROTECT], protect, &boot->sig);
	return result < 0 && result != -EINTR ?
		unmap_stub(thread, boot, result) : result;
}

/* A handler blocks its signal: after so many each has come, however late it is
 * already when the threads have been stopped. */
enum { BRING_TRIES = 64 };

int ff_remote_bring_stub(struct ff_hold *hold, struct ff_thread *carrier,
	const struct ff_vmas *vmas, uint64_t deadline_ns, uint64_t *base,
	struct ff_error *error)
{
	static const unsigned char zeroes[FF_BOOT_MAX];
	const struct ff_arch *arch = carrier->arch;
	struct boot boot = {
		.at = find_slack(hold, carrier, vmas, error),
		.base = ff_remote_find_room(arch, vmas, FF_STUB_SIZE),
	};
	int64_t result;
	int tries = 0;

	if (!boot.at)
		return -ENOEXEC;
	if (!boot.base)
		return ff_fail(error, ENOMEM, "pid %d has no room for the stub",
			hold->pid);
	do {
		unsigned char code[FF_BOOT_MAX] = { 0 };
		struct ff_regs resume;
		size_t size;
		int err;

		arch->resume(&carrier->regs, &resume);
		size = arch->make_boot(code, boot.at, &resume);
		err = poke(carrier->tid, boot.at, code, size);
		result = err ? err : map_stub(carrier, &boot);
		if (result != -EINTR)
			break;
		poke(carrier->tid, boot.at, zeroes, size);
		/* Else by the kernel's own rules: it may owe an EINTR. */
		err = deliver_and_hold(hold, carrier,
			arch->in_trapped_call(&carrier->regs) ? &resume :
								&carrier->regs,
			boot.sig, deadline_ns, error);
		if (err)
			return err;
	} while (++tries < BRING_TRIES || ff_now_ns() < deadline_ns);
	poke(carrier->tid, boot.at, zeroes, FF_BOOT_MAX);
	ff_remote_set_regs(carrier->tid, arch, &carrier->regs);
	*base = boot.base;
	return result == 0 ? 0 : ff_fail(error, (int)-result,
		"cannot map the stub in pid %d: %s", hold->pid,
		strerror((int)-result));
}
