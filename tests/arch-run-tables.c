/* SPDX-License-Identifier: MIT */
/* What src/arch decides from registers alone. */
#include "arch-run-case.h"
#include "arch-run.h"

#include "arch/restart.h"

#include <errno.h>
#include <linux/audit.h>
#include <string.h>
#include <sys/syscall.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#ifdef __i386__
extern const struct ff_arch ff_arch_i386;
#endif

const struct ff_arch *arch_run_arch(void)
{
#ifdef __i386__
	return &ff_arch_i386;
#else
	return ff_arch_native();
#endif
}

static struct ff_regs some_regs(void)
{
	struct ff_regs regs = { .size = arch_run_arch()->regs_size };

	for (unsigned int i = 0; i < arch_run_abi.word_count; i++)
		*arch_run_word(&regs, i) = arch_run_value(i + 77);
	return regs;
}

/* Regs as they are but for the words named: a list that ends with -1. */
static bool differ_only_in(struct ff_regs *a, struct ff_regs *b,
	const int *words)
{
	for (unsigned int i = 0; i < arch_run_abi.word_count; i++) {
		bool may = false;

		for (const int *word = words; *word >= 0; word++)
			may |= *word == (int)i;
		if (!may && *arch_run_word(a, i) != *arch_run_word(b, i))
			return false;
	}
	return a->size == b->size;
}

/* As the system's headers have them. */
void arch_run_numbers(void)
{
	static const int want[FF_SYS_COUNT] = {
#ifdef SYS_mmap2
		[FF_SYS_MMAP] = SYS_mmap2,
#else
		[FF_SYS_MMAP] = SYS_mmap,
#endif
		[FF_SYS_MREMAP] = SYS_mremap, [FF_SYS_MUNMAP] = SYS_munmap,
		[FF_SYS_MPROTECT] = SYS_mprotect, [FF_SYS_DUP3] = SYS_dup3,
		[FF_SYS_CLOSE] = SYS_close, [FF_SYS_FLOCK] = SYS_flock,
		[FF_SYS_LSEEK] = SYS_lseek, [FF_SYS_SENDMSG] = SYS_sendmsg,
		[FF_SYS_FUTEX] = SYS_futex, [FF_SYS_PRCTL] = SYS_prctl,
		[FF_SYS_SECCOMP] = SYS_seccomp,
	};
	const struct ff_arch *arch = arch_run_arch();

	for (int i = 0; i < FF_SYS_COUNT; i++)
		arch_run_check(arch->syscalls[i] == want[i], "call %d is %d",
			i, arch->syscalls[i]);
	arch_run_check(arch->word == sizeof(long), "%u", arch->word);
	arch_run_check(arch->regs_size ==
			arch_run_abi.word_count * sizeof(long),
		"%zu", arch->regs_size);
#if defined(__x86_64__)
	arch_run_check(arch->audit_arch == AUDIT_ARCH_X86_64, "audit_arch");
#elif defined(__i386__)
	arch_run_check(arch->audit_arch == AUDIT_ARCH_I386, "audit_arch");
#else
	arch_run_check(arch->audit_arch == AUDIT_ARCH_AARCH64, "audit_arch");
#endif
	/* Where code and stack are now must lie below. */
	arch_run_check((uint64_t)(uintptr_t)arch_run_landing <
			arch->task_size &&
			(uint64_t)(uintptr_t)&arch < arch->task_size,
		"%llx", (unsigned long long)arch->task_size);
}

#if defined(__x86_64__) || defined(__i386__)

/* A thread that a tracer finds behind call number (-1: in none). */
static struct ff_regs at_stop(long number, long result)
{
	struct ff_regs regs = some_regs();

	*arch_run_word(&regs, arch_run_abi.call_number) =
		(unsigned long)number;
	*arch_run_word(&regs, arch_run_abi.result) = (unsigned long)result;
	return regs;
}

/* Is now as was, but to make call number again? */
static void check_rewound(struct ff_regs *now, struct ff_regs *was, long number)
{
	const struct arch_run_abi *abi = &arch_run_abi;
	const int changed[] = { (int)abi->ip, (int)abi->result,
		(int)abi->call_number, -1 };

	arch_run_check(*arch_run_word(now, abi->ip) ==
			*arch_run_word(was, abi->ip) - abi->insn,
		"call %ld: not its instruction", number);
	arch_run_check(*arch_run_word(now, abi->number) ==
			(unsigned long)number,
		"call %ld: %lx is made", number,
		*arch_run_word(now, abi->number));
	arch_run_check(*arch_run_word(now, abi->call_number) == -1ul,
		"call %ld: the kernel would restart it once more", number);
	arch_run_check(differ_only_in(now, was, changed),
		"call %ld: other registers changed", number);
}

void arch_run_standing(void)
{
	static const struct {
		long number, result;
		enum ff_standing standing;
		long made; /* call number, or -1 */
	} table[] = {
		{ SYS_sendmsg, -FF_ERESTARTSYS, FF_STANDS_IN_CALL,
			SYS_sendmsg },
		{ SYS_futex, -FF_ERESTARTNOINTR, FF_STANDS_IN_CALL, SYS_futex },
		{ SYS_pause, -FF_ERESTARTNOHAND, FF_STANDS_IN_CALL, SYS_pause },
		{ SYS_nanosleep, -FF_ERESTART_RESTARTBLOCK,
			FF_STANDS_IN_RESTART, SYS_restart_syscall },
		{ 0, -FF_ERESTARTSYS, FF_STANDS_IN_CALL, 0 },
		{ SYS_read, -EINTR, FF_STANDS_IN_USER, -1 },
		{ SYS_read, 512, FF_STANDS_IN_USER, -1 },
		{ -1, -FF_ERESTARTSYS, FF_STANDS_IN_USER, -1 },
		{ -1, -FF_ERESTART_RESTARTBLOCK, FF_STANDS_IN_USER, -1 },
	};
	const int number[] = { (int)arch_run_abi.call_number, -1 };

	for (size_t i = 0; i < COUNT(table); i++) {
		struct ff_regs regs = at_stop(table[i].number, table[i].result);
		struct ff_regs resume;
		enum ff_standing standing =
			arch_run_arch()->resume(&regs, &resume);

		arch_run_check(standing == table[i].standing,
			"row %zu: %d", i, standing);
		if (table[i].made >= 0) {
			check_rewound(&resume, &regs, table[i].made);
			continue;
		}
		arch_run_check(differ_only_in(&resume, &regs, number),
			"row %zu: registers changed", i);
		arch_run_check(*arch_run_word(&resume, number[0]) == -1ul,
			"row %zu: the kernel would restart it", i);
	}
}

#elif defined(__aarch64__)

enum { SVC = 0xd4000001, NOP = 0xd503201f, FIRST_ARG = 4711 };

/* A thread that a tracer finds with call number made, or to be made. */
static struct ff_regs at_stop(long number, long result)
{
	struct ff_regs regs = some_regs();

	*arch_run_word(&regs, arch_run_abi.number) = (unsigned long)number;
	*arch_run_word(&regs, arch_run_abi.result) = (unsigned long)result;
	regs.blocked = (struct ff_blocked_call){
		.known = true,
		.nr = (int)number,
		.args = { FIRST_ARG },
		.sp = *arch_run_word(&regs, arch_run_abi.sp),
		.ip = *arch_run_word(&regs, arch_run_abi.ip),
	};
	for (int i = 1; i < 6; i++)
		regs.blocked.args[i] =
			*arch_run_word(&regs, arch_run_abi.args[i]);
	regs.insn_before_ip = SVC;
	regs.insn_at_ip = NOP;
	return regs;
}

static void check_rewound(struct ff_regs *now, struct ff_regs *was, long number)
{
	const struct arch_run_abi *abi = &arch_run_abi;
	const int changed[] = { (int)abi->ip, (int)abi->result, -1 };

	arch_run_check(*arch_run_word(now, abi->ip) ==
			*arch_run_word(was, abi->ip) - abi->insn,
		"call %ld: not its instruction", number);
	arch_run_check(*arch_run_word(now, abi->args[0]) == FIRST_ARG,
		"call %ld: with %lx", number,
		*arch_run_word(now, abi->args[0]));
	arch_run_check(differ_only_in(now, was, changed),
		"call %ld: other registers changed", number);
	arch_run_check(arch_run_arch()->resume(now, was) == FF_STANDS_IN_CALL,
		"call %ld: not known to be at its instruction", number);
}

/* The kernel has rewound it already. */
void arch_run_standing(void)
{
	static const struct {
		uint32_t before, at;
		long number;
		enum ff_standing standing;
	} table[] = {
		{ NOP, SVC, SYS_sendmsg, FF_STANDS_IN_CALL },
		{ SVC, SVC, SYS_ppoll, FF_STANDS_IN_CALL },
		{ NOP, SVC, SYS_restart_syscall, FF_STANDS_IN_RESTART },
		{ SVC, NOP, SYS_restart_syscall, FF_STANDS_IN_USER },
		{ SVC, NOP, SYS_sendmsg, FF_STANDS_IN_USER },
		{ 0, 0, SYS_sendmsg, FF_STANDS_IN_USER },
	};
	const int none[] = { -1 };

	for (size_t i = 0; i < COUNT(table); i++) {
		struct ff_regs regs = at_stop(table[i].number, 5), resume;

		regs.insn_before_ip = table[i].before;
		regs.insn_at_ip = table[i].at;
		arch_run_check(arch_run_arch()->resume(&regs, &resume) ==
				table[i].standing,
			"row %zu", i);
		arch_run_check(differ_only_in(&resume, &regs, none),
			"row %zu: registers changed", i);
	}
}

#endif

#ifdef __aarch64__
static void check_left(struct ff_regs regs, const char *why)
{
	arch_run_check(!arch_run_arch()->mend_eintr(&regs), "%s", why);
}

/* It cannot be the call that was known to block. */
static void check_other_calls(void)
{
	const struct ff_regs was = at_stop(SYS_read, -EINTR);
	struct ff_regs regs = was;

	regs.insn_before_ip = NOP;
	check_left(regs, "x0 is EINTR far from any call");
	regs = was;
	regs.blocked.known = false;
	check_left(regs, "nothing is known of it");
	regs = was;
	regs.blocked.nr = SYS_write;
	check_left(regs, "another call");
	for (int i = 1; i < 6; i++) {
		regs = was;
		regs.blocked.args[i]++;
		check_left(regs, "another argument");
	}
	regs = was;
	regs.blocked.sp -= 16;
	check_left(regs, "another function");
	regs = was;
	regs.blocked.ip += 8;
	check_left(regs, "another place");
}
#endif

/* The calls of signal(7) that a mere stop ends with EINTR. */
void arch_run_eintr(void)
{
	static const long mended[] = { SYS_read, SYS_write, SYS_readv,
		SYS_writev, SYS_accept4, SYS_connect, SYS_recvfrom, SYS_sendto,
		SYS_recvmsg, SYS_sendmsg, SYS_recvmmsg, SYS_sendmmsg,
		SYS_msgrcv, SYS_msgsnd, SYS_rt_sigtimedwait, SYS_io_getevents,
		SYS_epoll_pwait, SYS_io_pgetevents, SYS_io_uring_enter,
		SYS_epoll_pwait2,
#ifdef SYS_epoll_wait
		SYS_epoll_wait,
#endif
#ifdef __i386__
		SYS_socketcall, SYS_ipc, SYS_recvmmsg_time64,
		SYS_rt_sigtimedwait_time64, SYS_semtimedop_time64,
		SYS_io_pgetevents_time64,
#else
		SYS_accept, SYS_semop, SYS_semtimedop,
#endif
	};
	/* In these a program waits for a signal, or is told of what is left. */
	static const long left[] = { SYS_rt_sigsuspend, SYS_ppoll,
		SYS_nanosleep, SYS_clock_nanosleep, SYS_close, SYS_getpid,
		SYS_rt_sigreturn, -1 };
	const int none[] = { -1 };

	for (size_t i = 0; i < COUNT(mended); i++) {
		struct ff_regs was = at_stop(mended[i], -EINTR), now = was;
		struct ff_regs other = at_stop(mended[i], -EAGAIN);

		arch_run_check(arch_run_arch()->mend_eintr(&now),
			"call %ld", mended[i]);
		check_rewound(&now, &was, mended[i]);
		arch_run_check(!arch_run_arch()->mend_eintr(&other),
			"call %ld failed otherwise", mended[i]);
	}
	for (size_t i = 0; i < COUNT(left); i++) {
		struct ff_regs was = at_stop(left[i], -EINTR), now = was;

		arch_run_check(!arch_run_arch()->mend_eintr(&now) &&
				differ_only_in(&now, &was, none),
			"call %ld", left[i]);
	}
#ifdef __aarch64__
	check_other_calls();
#endif
}

void arch_run_trapped(void)
{
	static const long trapped[] = { SYS_sendmsg, SYS_sendmmsg,
#ifdef SYS_socketcall
		SYS_socketcall,
#endif
	};
	static const long others[] = { SYS_recvmsg, SYS_sendto, SYS_futex, -1 };
	const struct ff_arch *arch = arch_run_arch();
	struct ff_regs regs;

	for (size_t i = 0; i < COUNT(trapped); i++) {
		regs = at_stop(trapped[i], -FF_ERESTARTSYS);
#ifdef __aarch64__
		regs.insn_at_ip = SVC;
#endif
#ifdef SYS_socketcall
		regs.u32[0] = 16; /* ebx: SYS_SENDMSG */
#endif
		arch_run_check(arch->in_trapped_call(&regs), "call %ld",
			trapped[i]);
#ifdef SYS_socketcall
		regs.u32[0] = 10; /* SYS_RECV */
		arch_run_check(arch->in_trapped_call(&regs) ==
				(trapped[i] != SYS_socketcall),
			"call %ld, of a kind that is not trapped", trapped[i]);
#endif
		regs = at_stop(trapped[i], 5);
		arch_run_check(!arch->in_trapped_call(&regs),
			"call %ld is over", trapped[i]);
	}
	for (size_t i = 0; i < COUNT(others); i++) {
		regs = at_stop(others[i], -FF_ERESTARTSYS);
#ifdef __aarch64__
		regs.insn_at_ip = SVC;
#endif
		arch_run_check(!arch->in_trapped_call(&regs), "call %ld",
			others[i]);
	}
}

static void check_result(unsigned long value, int64_t want)
{
	struct ff_regs regs = some_regs();
	int64_t got;

	*arch_run_word(&regs, arch_run_abi.result) = value;
	got = arch_run_arch()->get_result(&regs);
	arch_run_check(got == want, "%lx is %lld, not %lld", value,
		(long long)got, (long long)want);
}

/* set_call, get_result, get_ip */
void arch_run_calls(void)
{
	const struct arch_run_abi *abi = &arch_run_abi;
	const struct ff_arch *arch = arch_run_arch();
	struct ff_regs was = some_regs(), now = was;
	uint64_t args[6], ip = 0x12345678;
	int changed[10] = { (int)abi->ip, (int)abi->number };
	size_t count = 2;

	arch_run_check(arch->get_ip(&was) == *arch_run_word(&was, abi->ip),
		"%llx", (unsigned long long)arch->get_ip(&was));
	for (int i = 0; i < 6; i++) {
		args[i] = arch_run_value((unsigned long)i + 500);
		changed[count++] = (int)abi->args[i];
	}
	/* Bookkeeping of the kernel's, checked below. */
	changed[count++] = (int)(abi->call_number ? abi->call_number :
						    abi->flags);
	changed[count] = -1;
	arch->set_call(&now, ip, 321, args);
	arch_run_check(arch->get_ip(&now) == ip, "ip");
	arch_run_check(*arch_run_word(&now, abi->number) == 321, "number");
	for (int i = 0; i < 6; i++)
		arch_run_check(*arch_run_word(&now, abi->args[i]) == args[i],
			"argument %d", i);
	if (abi->call_number)
		arch_run_check(*arch_run_word(&now, abi->call_number) == -1ul,
			"the kernel would restart it");
	else /* of pstate only BTYPE: no indirect branch came before */
		arch_run_check(*arch_run_word(&now, abi->flags) ==
				(*arch_run_word(&was, abi->flags) & ~0xc00ul),
			"pstate");
	arch_run_check(differ_only_in(&now, &was, changed), "others changed");

	check_result(0, 0);
	check_result(0x7f001000, 0x7f001000);
	check_result((unsigned long)-ENOENT, -ENOENT);
	check_result((unsigned long)-4095, -4095);
#ifdef __i386__
	check_result(0xf7001000, 0xf7001000);
	check_result(0xfffff000, 0xfffff000);
#else
	check_result(0x7fff00001000, 0x7fff00001000);
#endif
}
