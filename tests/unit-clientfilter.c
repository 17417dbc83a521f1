/* SPDX-License-Identifier: MIT */
/*
 * src/clientfilter: which filters a swap would not survive. The filters are
 * made with libseccomp, as most clients make theirs.
 */
#include "clientfilter.h"

#include "arch/arch.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define TIMEOUT .timeout = 60

/* A filter under construction, and what comes of it. */
struct filter {
	scmp_filter_ctx context;
	struct sock_filter code[BPF_MAXINSNS];
	size_t length;
};

static struct filter filter;

/* For the ABIs of this machine, but for what is not its own: bad_arch. */
static void begin(uint32_t action, bool with_i386, uint32_t bad_arch)
{
	filter.context = seccomp_init(action);
	cr_assert_not_null(filter.context);
	if (with_i386 && seccomp_arch_native() == SCMP_ARCH_X86_64)
		cr_assert_eq(seccomp_arch_add(filter.context, SCMP_ARCH_X86),
			0);
	cr_assert_eq(seccomp_attr_set(filter.context, SCMP_FLTATR_ACT_BADARCH,
		bad_arch), 0);
}

/* A call that the machine does not have is none. */
static void add(const char *name, uint32_t action)
{
	int nr = seccomp_syscall_resolve_name(name);

	cr_assert_neq(nr, __NR_SCMP_ERROR, "%s", name);
	cr_assert_eq(seccomp_rule_add(filter.context, action, nr, 0), 0, "%s",
		name);
}

static void add_all(const char *const *names, uint32_t action)
{
	for (; *names; names++)
		add(*names, action);
}

static void end(void)
{
	int fd = memfd_create("filter", MFD_CLOEXEC);
	ssize_t size;

	cr_assert(fd >= 0);
	cr_assert_eq(seccomp_export_bpf(filter.context, fd), 0);
	size = pread(fd, filter.code, sizeof(filter.code), 0);
	cr_assert(size > 0);
	filter.length = (size_t)size / sizeof(filter.code[0]);
	close(fd);
	seccomp_release(filter.context);
}

static bool is_harmless(void)
{
	end();
	return ff_filter_is_harmless(filter.code, filter.length);
}

/* What a swap calls, as somebody would list it who watches one. (mmap is mmap2
 * on i386.) */
static const char *const swap_calls[] = {
	"mmap", "mmap2", "mremap", "munmap", "mprotect", "dup3", "close",
	"flock", "futex", "lseek", "sendmsg", "rt_sigprocmask",
	"restart_syscall", NULL
};

/* What a program needs beside. */
static const char *const program_calls[] = {
	"read", "write", "exit", "exit_group", "rt_sigreturn", "sigreturn",
	"openat", "fstat", "brk", "clone", "execve", "recvmsg", "poll",
	"writev", "sigaltstack", NULL
};

static bool is_among(const char *name, const char *const *names)
{
	for (; *names; names++)
		if (!strcmp(*names, name))
			return true;
	return false;
}

Test(clientfilter, ban_of_a_call_that_swaps_make_is_not_harmless, TIMEOUT)
{
	static const uint32_t bans[] = {
		SCMP_ACT_KILL_PROCESS, SCMP_ACT_KILL_THREAD, SCMP_ACT_TRAP
	};
	static const char *const others[] = {
		"ptrace", "openat", "socket", "memfd_create", "execve", NULL
	};

	for (size_t b = 0; b < sizeof(bans) / sizeof(bans[0]); b++) {
		for (int i = 0; swap_calls[i]; i++) {
			if (!strcmp(swap_calls[i], "mmap2"))
				continue;
			begin(SCMP_ACT_ALLOW, false, SCMP_ACT_ALLOW);
			add(swap_calls[i], bans[b]);
			cr_expect_not(is_harmless(), "%s", swap_calls[i]);
		}
		for (int i = 0; others[i]; i++) {
			begin(SCMP_ACT_ALLOW, true, SCMP_ACT_ALLOW);
			add(others[i], bans[b]);
			cr_expect(is_harmless(), "%s", others[i]);
		}
	}
}

/* In the name of one ABI, this number is killed. */
static bool is_harmless_to_kill(uint32_t arch, int nr)
{
	const struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			offsetof(struct seccomp_data, arch)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, arch, 0, 2),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)nr, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_THREAD),
	};

	return ff_filter_is_harmless(code, sizeof(code) / sizeof(code[0]));
}

/* Should programs ever make another call. */
Test(clientfilter, knows_all_calls_that_programs_can_make, TIMEOUT)
{
	const struct ff_arch *const archs[] = {
		ff_arch_native(), ff_arch_by_audit(SCMP_ARCH_X86)
	};

	for (size_t a = 0; a < 2 && archs[a]; a++) {
		for (int i = 0; i < FF_SYS_PRCTL; i++)
			cr_expect_not(is_harmless_to_kill(
				archs[a]->audit_arch, archs[a]->syscalls[i]),
				"%s, %d", archs[a]->name, i);
		cr_expect(is_harmless_to_kill(archs[a]->audit_arch, 999));
	}
}

/* The swap fails, and is undone. But for what the client would notice. */
Test(clientfilter, refusal_of_a_call_is_harmless, TIMEOUT)
{
	static const char *const noticed[] = {
		"rt_sigprocmask", "restart_syscall", NULL
	};

	for (int i = 0; swap_calls[i]; i++) {
		begin(SCMP_ACT_ALLOW, true, SCMP_ACT_ALLOW);
		add(swap_calls[i], SCMP_ACT_ERRNO(EPERM));
		cr_expect_eq(is_harmless(), !is_among(swap_calls[i], noticed),
			"%s", swap_calls[i]);
	}
}

Test(clientfilter, allow_list_is_harmless_if_all_is_on_it, TIMEOUT)
{
	begin(SCMP_ACT_KILL_PROCESS, true, SCMP_ACT_KILL_PROCESS);
	add_all(program_calls, SCMP_ACT_ALLOW);
	add_all(swap_calls, SCMP_ACT_ALLOW);
	cr_expect(is_harmless());

	for (int i = 0; swap_calls[i]; i++) {
		if (!strcmp(swap_calls[i], "mmap2"))
			continue;
		begin(SCMP_ACT_KILL_PROCESS, false, SCMP_ACT_KILL_PROCESS);
		add_all(program_calls, SCMP_ACT_ALLOW);
		for (int j = 0; swap_calls[j]; j++)
			if (i != j)
				add(swap_calls[j], SCMP_ACT_ALLOW);
		cr_expect_not(is_harmless(), "without %s", swap_calls[i]);
	}
}

/* Nobody of the other ABI lives under it, so nothing is injected there. */
Test(clientfilter, killing_all_of_another_abi_is_harmless, TIMEOUT)
{
	begin(SCMP_ACT_ALLOW, false, SCMP_ACT_KILL_PROCESS);
	add("ptrace", SCMP_ACT_ERRNO(EPERM));
	cr_expect(is_harmless());
}

#ifdef __x86_64__

Test(clientfilter, ban_in_the_name_of_i386_counts, TIMEOUT)
{
	static const char *const names[] = { "mremap", "sendmsg", "mmap2" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		begin(SCMP_ACT_ALLOW, true, SCMP_ACT_ALLOW);
		cr_assert_eq(seccomp_arch_remove(filter.context,
			SCMP_ARCH_X86_64), 0);
		add(names[i], SCMP_ACT_KILL_PROCESS);
		cr_expect_not(is_harmless(), "%s", names[i]);
	}
}

/* The upper halves of arguments are zero there, of the fd -1 too. */
Test(clientfilter, arguments_of_i386_have_32_bits, TIMEOUT)
{
	const struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			offsetof(struct seccomp_data, arch)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SCMP_ARCH_X86, 0, 2),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			offsetof(struct seccomp_data, args[0]) + 4),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	};

	cr_expect(ff_filter_is_harmless(code, sizeof(code) / sizeof(code[0])));
}

#endif

/* As flatpak has it: a list of what is refused. */
Test(clientfilter, filter_of_flatpak_is_harmless, TIMEOUT)
{
	static const char *const refused[] = {
		"syslog", "uselib", "acct", "quotactl", "add_key", "keyctl",
		"request_key", "move_pages", "mbind", "get_mempolicy",
		"set_mempolicy", "migrate_pages", "unshare", "setns", "mount",
		"umount2", "pivot_root", "chroot", "perf_event_open", "ptrace",
		NULL
	};

	begin(SCMP_ACT_ALLOW, true, SCMP_ACT_ALLOW);
	add_all(refused, SCMP_ACT_ERRNO(EPERM));
	cr_assert_eq(seccomp_rule_add(filter.context, SCMP_ACT_ERRNO(EPERM),
		SCMP_SYS(ioctl), 1, SCMP_A1(SCMP_CMP_MASKED_EQ, 0xffffffffu,
			TIOCSTI)), 0);
	cr_assert_eq(seccomp_rule_add(filter.context, SCMP_ACT_ERRNO(EPERM),
		SCMP_SYS(personality), 1, SCMP_A0(SCMP_CMP_NE, 0)), 0);
	cr_expect(is_harmless());
}

/* As Chromium has it: what is not known is trapped, and so are known calls with
 * flags that are not. */
Test(clientfilter, filter_of_chromium_is_not, TIMEOUT)
{
	const uint64_t known = MAP_SHARED | MAP_PRIVATE | MAP_ANONYMOUS |
		MAP_STACK | MAP_NORESERVE | MAP_FIXED | MAP_DENYWRITE;

	for (int strict = 0; strict < 2; strict++) {
		begin(SCMP_ACT_TRAP, false, SCMP_ACT_TRAP);
		add_all(program_calls, SCMP_ACT_ALLOW);
		for (int i = 0; swap_calls[i]; i++)
			if (!strict || strcmp(swap_calls[i], "mmap"))
				add(swap_calls[i], SCMP_ACT_ALLOW);
		if (strict)
			cr_assert_eq(seccomp_rule_add(filter.context,
				SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
				SCMP_A3(SCMP_CMP_MASKED_EQ, ~known, 0)), 0);
		cr_expect_eq(is_harmless(), !strict);
	}
}

/* As systemd's MemoryDenyWriteExecute and the like have it. */
Test(clientfilter, ban_of_making_memory_executable_is_not_harmless, TIMEOUT)
{
	begin(SCMP_ACT_ALLOW, true, SCMP_ACT_ALLOW);
	cr_assert_eq(seccomp_rule_add(filter.context, SCMP_ACT_KILL_PROCESS,
		SCMP_SYS(mprotect), 1, SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC,
			PROT_EXEC)), 0);
	cr_expect_not(is_harmless());
}

Test(clientfilter, no_program_is_not_harmless, TIMEOUT)
{
	const struct sock_filter endless = BPF_STMT(BPF_LD | BPF_IMM, 0);

	cr_expect_not(ff_filter_is_harmless(&endless, 1));
	cr_expect_not(ff_filter_is_harmless(&endless, 0));
}
