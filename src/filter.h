/* SPDX-License-Identifier: MIT */
#ifndef FF_FILTER_H
#define FF_FILTER_H

#include "error.h"

#include <stdbool.h>
#include <stddef.h>

/*
 * The seccomp filter of the client: sendmsg and sendmmsg notify the supervisor,
 * for each ABI of the machine, and i386's socketcall where it means these; and
 * so do futex calls, memfd_create, exits, calls that install filters and those
 * that receive messages, if wanted.
 * All else goes on at the kernel's price for a constant action.
 *
 * x32 programs are not supported, but heard of: their sends, and memfd_create
 * if wanted, notify with arch x86_64 and a number that has FF_X32_BIT.
 */

#define FF_X32_BIT 0x40000000

/* Which futex calls are trapped. Never those on private futexes. */
enum ff_filter_futexes {
	FF_FUTEXES_NONE,
	FF_FUTEXES_WAKES, /* those that wake, or move sleepers */
	FF_FUTEXES_ALL,	  /* and those that wait */
};

struct ff_filter_options {
	/* Trap whatever the flags. By default only calls with flags == 0 are:
	 * X libraries send so, D-Bus, Wayland, PipeWire and Chromium do not. */
	bool all_flags;
	enum ff_filter_futexes futexes;
	/* Trap memfd_create, whatever its flags. */
	bool memfds;
	/* Trap exit and exit_group. */
	bool exits;
	/* Trap what puts the caller under a seccomp filter, or in strict mode:
	 * seccomp and prctl(PR_SET_SECCOMP). */
	bool own_filters;
	/* Trap recvmsg and recvmmsg, whatever their flags. */
	bool replies;
	/* Once received, a trapped call is ended by no signal but one that
	 * kills (Linux 5.19; else as without). Not for who stops callers by
	 * ptrace, or lets them wait long. */
	bool killable;
};

/* Does a filter that was made by have trap what one made by want would, so that
 * it can serve in its place? NULL if it does, else the option of run and attach
 * that wants more. */
const char *ff_filter_lacks(const struct ff_filter_options *have,
	const struct ff_filter_options *want);

struct sock_filter;

/* The filter as a BPF program of at most `room` instructions (256 do). Returns
 * its length in instructions, or -errno. */
int ff_filter_compile(const struct ff_filter_options *options,
	struct sock_filter *code, size_t room);

/*
 * Install it in the calling process, to be inherited by all it starts.
 * no_new_privs is set only where the kernel asks for it, that is without
 * CAP_SYS_ADMIN. Returns the listener, which is close-on-exec; or -errno
 * with *error filled (-EBUSY: this process is under such a filter already).
 */
int ff_filter_install(const struct ff_filter_options *options,
	struct ff_error *error);

#endif
