/* SPDX-License-Identifier: MIT */
#ifndef FF_ARCH_H
#define FF_ARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * All that differs between the machines (strictly: ABIs) a client can be built
 * for. One struct ff_arch each; x86_64 and i386 live in one fenceferry.
 */

/* A call that a thread blocks in, as /proc/TID/syscall shows it. */
struct ff_blocked_call {
	bool known;
	int nr;
	uint64_t args[6], sp, ip;
	uint64_t switches; /* how often it had blocked by then */
};

/* The general registers as PTRACE_GETREGSET(NT_PRSTATUS) hands them out. */
struct ff_regs {
	size_t size;
	union {
		uint64_t u64[36];
		uint32_t u32[72];
	};
	/* What those of aarch64 leave out (syscall_in_own_regset): the call it
	 * blocked in when it was stopped, and the instructions before and at
	 * the instruction pointer, 0 if unreadable. */
	struct ff_blocked_call blocked;
	uint32_t insn_before_ip, insn_at_ip;
};

/* System calls that a program (below) or the boot code makes. */
enum ff_syscall {
	FF_SYS_MMAP, /* mmap2 on i386: ff_arch.mmap_offset_unit */
	FF_SYS_MREMAP,
	FF_SYS_MUNMAP,
	FF_SYS_MPROTECT,
	FF_SYS_DUP3,
	FF_SYS_CLOSE,
	FF_SYS_FLOCK,
	FF_SYS_FUTEX,
	FF_SYS_LSEEK,
	FF_SYS_SENDMSG,
	FF_SYS_PRCTL, /* from here on: no swap makes them, inject/install does */
	FF_SYS_SECCOMP,
	FF_SYS_COUNT
};

/* In struct ff_op.nr: copy args[2] bytes from args[1] to args[0], result 0. */
#define FF_OP_COPY UINT64_MAX

/* In struct ff_op.next and .on_fail: leave the program. */
#define FF_OP_END UINT32_MAX

/*
 * One step of a program, which the stub in the client executes. A result that
 * is not the wanted one continues at on_fail. All control flow is data: the
 * stub knows nothing of swaps. The same layout for every ABI: the stubs of
 * 32-bit ones use the low halves.
 */
struct ff_op {
	uint64_t nr;
	uint64_t args[6];
	uint64_t want;
	uint64_t result; /* written by the stub */
	uint32_t next;	 /* byte offset in the program, or FF_OP_END */
	uint32_t on_fail;
};

/*
 * The stub's region in a client: code (read+execute), then data (read+write)
 * that starts with struct ff_stub_resume, the program at FF_STUB_PROGRAM.
 * 64 KiB each, so that the distance is the same for every page size.
 */
#define FF_STUB_CODE_SIZE 0x10000u
#define FF_STUB_DATA_SIZE 0x10000u
#define FF_STUB_SIZE (FF_STUB_CODE_SIZE + FF_STUB_DATA_SIZE)
#define FF_STUB_PROGRAM 0x1000u /* from the start of the data */
#define FF_STUB_MAX_OPS \
	((FF_STUB_DATA_SIZE - FF_STUB_PROGRAM) / sizeof(struct ff_op))

/*
 * What the stub's end loads when nobody restores the carrier: mask first, by
 * rt_sigprocmask, then all registers, the instruction pointer last. The words
 * are in an order of the architecture's own.
 */
struct ff_stub_resume {
	uint64_t sigmask;
	uint64_t words[40];
};

/*
 * The bells: sendmsg(-1, bell, 0), a call that the filter traps and that fails
 * with EBADF where nobody answers it.
 */
enum ff_bell {
	FF_BELL_READY = 0x0ff0,	   /* signals blocked, about to begin */
	FF_BELL_PREPARED = 0x0ff1, /* nothing is changed yet: to go on? */
	FF_BELL_DONE = 0x0ff2,	   /* rung by the stub's end itself */
	FF_BELL_APPLIED = 0x0ff3,  /* to commit, or to undo? */
	FF_BELL_LISTENER = 0x0ff4, /* the filter is there: take the listener */
};

/* Where a stopped thread stands, and what resuming it elsewhere takes. */
enum ff_standing {
	FF_STANDS_IN_USER,    /* at ip, not in a system call, or past one */
	FF_STANDS_IN_CALL,    /* a call to be made again from its start */
	FF_STANDS_IN_RESTART, /* a call the kernel continues: restart_syscall */
};

/* Room for the boot code of any architecture. */
#define FF_BOOT_MAX 256u

struct ff_arch {
	const char *name;
	uint32_t audit_arch; /* as in seccomp_data.arch */
	size_t regs_size;    /* tells the ABI of a stopped thread */
	unsigned int word;   /* bytes of a pointer */
	unsigned int mmap_offset_unit;
	bool syscall_in_own_regset; /* NT_ARM_SYSTEM_CALL, to be set to -1 */
	uint64_t task_size; /* mappings lie below */
	int syscalls[FF_SYS_COUNT];
	/* For unwinding: EM_*; and which word of struct ff_regs holds the
	 * register that has this number in DWARF, the stack pointer's among
	 * them. */
	unsigned int elf_machine, dwarf_count, dwarf_sp;
	unsigned char dwarf_regs[32];

	/* The instruction pointer; of a stopped thread, or to set. */
	uint64_t (*get_ip)(const struct ff_regs *regs);

	/*
	 * Where the thread stands. *resume (same size) becomes the registers
	 * with which it continues as if never stopped, no kernel restart rule
	 * needed: a call to be repeated rewound to its instruction.
	 */
	enum ff_standing (*resume)(const struct ff_regs *regs,
		struct ff_regs *resume);

	/* Was it a call that a stop alone ends with EINTR (signal(7))? Then
	 * *regs is rewound so that the call is made again. */
	bool (*mend_eintr)(struct ff_regs *regs);

	/* Is it in this trapped sendmsg-like call, to be restarted? */
	bool (*in_trapped_call)(const struct ff_regs *regs);

	/* Make *regs execute call nr with args at ip; no restart rule applies. */
	void (*set_call)(struct ff_regs *regs, uint64_t ip, int nr,
		const uint64_t args[6]);
	/* The result of the call that ended: -errno or a value. */
	int64_t (*get_result)(const struct ff_regs *regs);

	/*
	 * Boot code for ip `at`: one system call instruction, then all that
	 * brings back *resume. The net under single injected calls: if the
	 * tracer dies, the thread mends itself. Returns its size in bytes.
	 */
	size_t (*make_boot)(unsigned char code[FF_BOOT_MAX], uint64_t at,
		const struct ff_regs *resume);

	/* The stub's code, position-fixed for base. Returns its size. */
	size_t (*make_stub)(unsigned char code[FF_STUB_CODE_SIZE],
		uint64_t base);
	/* Make *regs enter the stub at base; the program starts at op 0. */
	void (*enter_stub)(struct ff_regs *regs, uint64_t base);
	/* Fill words from the registers to resume with. */
	void (*fill_resume)(struct ff_stub_resume *words,
		const struct ff_regs *resume);
};

/* The ABI of a stopped thread, by the size of its NT_PRSTATUS; or NULL. */
const struct ff_arch *ff_arch_by_regs(size_t regs_size);

/* The ABI of a system call, by seccomp_data.arch; or NULL. */
const struct ff_arch *ff_arch_by_audit(uint32_t audit_arch);

/* The ABI of a thread with these ip and sp, if nothing tells it better. */
const struct ff_arch *ff_arch_by_addresses(uint64_t ip, uint64_t sp);

/* The ABI of this program itself. */
const struct ff_arch *ff_arch_native(void);

#endif
