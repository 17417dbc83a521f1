/* SPDX-License-Identifier: MIT */
#ifndef FF_TEST_VM_MACHINE_H
#define FF_TEST_VM_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/*
 * A virtual machine under QEMU, emulated, and processes inside and outside. What
 * fails, fails the test. Everything ends, and every file goes, when the process
 * that made it is gone, however it went.
 */

enum { VM_TAGS = 8, VM_OUTPUT = 16384 };

/* What machine it is. */
struct vm_kind {
	/* Variables of the environment with paths: of a directory with vmlinuz
	 * and modules.cpio, as tests/vm/fetch-kernel makes it, and of the rest
	 * of the initial file system. */
	const char *kernel, *guest;
	/* Its /dev/shm is ext4 with DAX, and shares its memory with files of
	 * the host; else tmpfs. */
	bool shares_shm;
	const char *const *arguments; /* QEMU's own first, up to NULL */
	const char *append;	      /* the kernel's */
	int boot_s; /* patience: on a machine that may have much else to do */
};

extern const struct vm_kind vm_x86_64, vm_aarch64;

struct vm {
	const struct vm_kind *kind;
	char dir[64]; /* in /dev/shm: pages/, shm/, console, ... */
	pid_t qemu, ferry;
	int control, pages, relay, keeper;
	char line[2048]; /* from control, not yet whole */
	size_t line_size;
	struct vm_process {
		bool ended;
		int status; /* as a shell counts it */
		char output[VM_OUTPUT];
	} inside[VM_TAGS];
};

/* Skip the test if there is no guest to boot; else boot, until the guest is
 * ready. */
void vm_boot(struct vm *vm, const struct vm_kind *kind);

/* Print what its processes and its console said. */
void vm_show(const struct vm *vm);

/* Switch it off. Further calls do nothing. */
void vm_end(struct vm *vm);

/* Start a program in the guest: words, separated by single blanks. */
void vm_start(struct vm *vm, int tag, uid_t uid, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* Send it, or any process of the guest, a signal. */
void vm_signal(struct vm *vm, int tag, int sig);
void vm_kill(struct vm *vm, pid_t pid, int sig);

/* Wait until its output contains text, and return where; fails if it ends or
 * timeout_s pass before that. */
const char *vm_wait_output(
	struct vm *vm, int tag, const char *text, int timeout_s);

/* Wait for its end; its exit status. */
int vm_wait_exit(struct vm *vm, int tag, int timeout_s);

/* Of a machine that shares its memory: the host's file that is the first page of
 * the guest's file. Not while a ferry runs. */
void vm_page(struct vm *vm, const char *guest_path, char *path, size_t size);

/*
 * Start what carries the relay's messages between the guest's port "relay" and
 * the daemon at address (unix:PATH: each guest that says hello is connected;
 * char:PATH: the daemon connects). When a fence is announced it gives the page
 * that the guest's file lies in the file's name, in DIR/shm.
 */
void vm_start_ferry(struct vm *vm, const char *address);

/* The body of it; returns when the machine is gone. */
void vm_ferry(struct vm *vm, const char *address);

/* A process of the host's. */
struct vm_peer {
	pid_t pid;
	char path[100]; /* of its output */
	char output[VM_OUTPUT];
};

/* Start argv[0], up to NULL; its output goes to a file DIR/name. */
void vm_peer_start(struct vm *vm, struct vm_peer *peer, const char *name,
	const char *const argv[]);
void vm_peer_wait_output(
	struct vm_peer *peer, const char *text, int timeout_s);
/* Its exit status, as a shell counts it. */
int vm_peer_wait_exit(struct vm_peer *peer, int timeout_s);

#endif
