/* SPDX-License-Identifier: MIT */
#include "clientfilter.h"

#include "arch/arch.h"
#include "bpf.h"
#include "filter.h"
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

/* Stands for any address of the kind: below 4 GiB, for all ABIs. */
#define PLACE 0x60000000u
#define CODE 0x70000000u
#define SIZE 0x1000u
#define FD 42

/* A call that a swap makes, by ff_syscall where that has it, else by name: and
 * those, were they refused, a client would notice. */
struct call {
	const char *name;
	enum ff_syscall call;
	uint64_t args[6];
};

#define BELL(bell) { NULL, FF_SYS_SENDMSG, { (uint64_t)-1, bell } }
#define MAP(protect, flags) { NULL, FF_SYS_MMAP, \
	{ PLACE, SIZE, protect, MAP_FIXED_NOREPLACE | (flags), FD } }
#define PROTECT(protect) { NULL, FF_SYS_MPROTECT, { PLACE, SIZE, protect } }
#define MOVE(old_size) { NULL, FF_SYS_MREMAP, { PLACE, old_size, SIZE, \
	MREMAP_MAYMOVE | MREMAP_FIXED, PLACE + 2 * SIZE } }

/*
 * From inject/program.c, inject/remote.c and the stubs; and what the kernel
 * makes of some calls in which a thread is stopped: restart_syscall.
 */
static const struct call calls[] = {
	BELL(FF_BELL_READY), BELL(FF_BELL_PREPARED), BELL(FF_BELL_DONE),
	BELL(FF_BELL_APPLIED),
	{ NULL, FF_SYS_MMAP, { PLACE, FF_STUB_SIZE, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE,
		(uint64_t)-1 } },
	{ NULL, FF_SYS_MPROTECT, { PLACE, FF_STUB_CODE_SIZE,
		PROT_READ | PROT_EXEC } },
	MAP(PROT_NONE, MAP_SHARED),
	MAP(PROT_READ, MAP_SHARED),
	MAP(PROT_READ | PROT_WRITE, MAP_SHARED),
	MAP(PROT_READ, MAP_PRIVATE),
	MAP(PROT_READ | PROT_WRITE, MAP_PRIVATE),
	PROTECT(PROT_NONE), PROTECT(PROT_READ), PROTECT(PROT_READ | PROT_WRITE),
	MOVE(0), MOVE(SIZE),
	{ NULL, FF_SYS_MUNMAP, { PLACE, SIZE } },
	{ NULL, FF_SYS_DUP3, { FD, FD + 1, 0 } },
	{ NULL, FF_SYS_DUP3, { FD, FD + 1, O_CLOEXEC } },
	{ NULL, FF_SYS_CLOSE, { FD } },
	{ NULL, FF_SYS_FLOCK, { FD, LOCK_SH | LOCK_NB } },
	{ NULL, FF_SYS_FUTEX, { PLACE, FUTEX_WAKE, INT_MAX } },
	{ NULL, FF_SYS_LSEEK, { FD, 0, SEEK_CUR } },
	{ "rt_sigprocmask", 0, { SIG_BLOCK, PLACE, 0, 8 } },
	{ "rt_sigprocmask", 0, { SIG_SETMASK, PLACE, 0, 8 } },
	{ "restart_syscall", 0, { 0 } },
#ifdef __aarch64__
	{ "sigaltstack", 0, { 0, PLACE } },
	{ "rt_sigreturn", 0, { 0 } },
#endif
};

static const struct call install_calls[] = {
	BELL(FF_BELL_LISTENER),
	{ NULL, FF_SYS_PRCTL, { PR_SET_NO_NEW_PRIVS, 1 } },
	{ NULL, FF_SYS_SECCOMP, { SECCOMP_SET_MODE_FILTER,
		SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_TSYNC |
			SECCOMP_FILTER_FLAG_TSYNC_ESRCH |
			SECCOMP_FILTER_FLAG_SPEC_ALLOW, PLACE } },
};

/* Those without which nothing lives for long. */
static const char *const vital[] = {
	"exit", "exit_group", "read", "write", "rt_sigreturn",
};

/* A program, and the ABI that it is asked about. */
struct question {
	const struct sock_filter *code;
	size_t length;
	const struct ff_arch *arch;
};

/* Is a call made; or if refusing is as well, answered by anything but a
 * signal? */
static bool passes(const struct question *question, int nr,
	const uint64_t args[6], bool refused_is_fine)
{
	struct seccomp_data data = {
		.nr = nr,
		.arch = question->arch->audit_arch,
		.instruction_pointer = CODE,
	};

	for (int i = 0; i < 6; i++)
		data.args[i] = question->arch->word == 4 ? (uint32_t)args[i] :
							   args[i];
	switch (ff_bpf_run(question->code, question->length, &data) &
		SECCOMP_RET_ACTION_FULL) {
	case SECCOMP_RET_LOG: case SECCOMP_RET_ALLOW:
		return true;
	case SECCOMP_RET_ERRNO: case SECCOMP_RET_USER_NOTIF:
	case SECCOMP_RET_TRACE:
		return refused_is_fine;
	default: /* what it does not know, the kernel takes for a kill too */
		return false;
	}
}

/* The number of a call in an ABI: libseccomp has the values of AUDIT_ARCH_*. */
static int resolve(const struct ff_arch *arch, const char *name)
{
	return seccomp_syscall_resolve_name_arch(arch->audit_arch, name);
}

static bool lives_in(const struct question *question)
{
	const uint64_t none[6] = { 0 };
	bool lives = false;

	for (size_t i = 0; i < sizeof(vital) / sizeof(vital[0]); i++)
		lives |= passes(question, resolve(question->arch, vital[i]),
			none, true);
	return lives;
}

/* Most filters kill all of the ABIs that they were not written for. */
static bool is_harmless_to(const struct question *question,
	const struct call *made, size_t count)
{
	if (!lives_in(question))
		return true;
	for (size_t i = 0; i < count; i++) {
		const char *name = made[i].name;
		int nr = name ? resolve(question->arch, name) :
				question->arch->syscalls[made[i].call];

		if (!passes(question, nr, made[i].args, !name))
			return false;
	}
	return true;
}

static bool is_harmless(const struct sock_filter *code, size_t length,
	const struct call *made, size_t count)
{
	struct question native = { code, length, ff_arch_native() };
	struct question i386 = { code, length,
		ff_arch_by_audit(SCMP_ARCH_X86) };

	return ff_bpf_is_valid(code, length) &&
		is_harmless_to(&native, made, count) &&
		(!i386.arch || is_harmless_to(&i386, made, count));
}

bool ff_filter_is_harmless(const struct sock_filter *code, size_t length)
{
	return is_harmless(code, length, calls,
		sizeof(calls) / sizeof(calls[0]));
}

bool ff_filter_lets_install(const struct sock_filter *code, size_t length)
{
	return ff_filter_is_harmless(code, length) &&
		is_harmless(code, length, install_calls,
			sizeof(install_calls) / sizeof(install_calls[0]));
}

/* Read and judge what a struct sock_fprog at address names. */
static int judge_program(pid_t tid, const struct ff_arch *arch,
	uint64_t address)
{
	struct sock_filter code[BPF_MAXINSNS];
	struct {
		uint16_t length;
		uint16_t pad[3];
		uint64_t filter;
	} program;
	struct {
		uint16_t length;
		uint16_t pad;
		uint32_t filter;
	} program32;
	int err;

	if (arch->word == 4) {
		err = ff_process_read(tid, (uint32_t)address, &program32,
			sizeof(program32));
		program.length = program32.length;
		program.filter = program32.filter;
	} else {
		err = ff_process_read(tid, address, &program, sizeof(program));
	}
	if (!err && (program.length == 0 || program.length > BPF_MAXINSNS))
		return -ENOSYS;
	if (!err)
		err = ff_process_read(tid, program.filter, code,
			program.length * sizeof(code[0]));
	/* Nor can the kernel read it: so libseccomp asks for flags it knows. */
	if (err)
		return err == -EFAULT ? -ENOSYS : err;
	if (!ff_bpf_is_valid(code, program.length))
		return -ENOSYS;
	return ff_filter_is_harmless(code, program.length);
}

static int judge_seccomp(pid_t tid, const struct ff_arch *arch,
	const uint64_t args[6])
{
	uint32_t op = (uint32_t)args[0], flags = (uint32_t)args[1];

	/* Ours has the only listener there may be. */
	if (op != SECCOMP_SET_MODE_FILTER ||
		flags & SECCOMP_FILTER_FLAG_NEW_LISTENER)
		return -ENOSYS;
	return judge_program(tid, arch, args[2]);
}

static int judge_prctl(pid_t tid, const struct ff_arch *arch,
	const uint64_t args[6])
{
	if ((uint32_t)args[0] != PR_SET_SECCOMP)
		return -ENOSYS;
	return args[1] == SECCOMP_MODE_FILTER ?
		judge_program(tid, arch, args[2]) : -ENOSYS;
}

int ff_clientfilter_judge(pid_t tid, uint32_t audit_arch, int nr,
	const uint64_t args[6])
{
	const struct ff_arch *arch = ff_arch_by_audit(audit_arch);

	if (!arch || nr & FF_X32_BIT)
		return -EOPNOTSUPP;
	if (nr == resolve(arch, "seccomp"))
		return judge_seccomp(tid, arch, args);
	if (nr == resolve(arch, "prctl"))
		return judge_prctl(tid, arch, args);
	return -ENOSYS;
}
