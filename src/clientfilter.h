/* SPDX-License-Identifier: MIT */
#ifndef FF_CLIENTFILTER_H
#define FF_CLIENTFILTER_H

#include <linux/filter.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * The seccomp filters that clients put themselves under. A swap makes system
 * calls in a client; a filter that answers one of them with a signal would be
 * the client's death. One that answers with an error lets the swap fail, and
 * the client lives; but a call that was interrupted by being stopped must not
 * be refused when the kernel continues it (restart_syscall), nor must the calls
 * with which a thread is brought back.
 */

/*
 * Would a process under this program (length in instructions) survive a swap,
 * and notice nothing?
 * Asked for each ABI of this machine in whose name a process could live under
 * it at all. What is no valid program is not harmless.
 */
bool ff_filter_is_harmless(const struct sock_filter *code, size_t length);

/* The same, of a process that is to be put under our filter while it runs
 * (inject/install.h): that takes more calls, which may be refused. */
bool ff_filter_lets_install(const struct sock_filter *code, size_t length);

/*
 * Judge a trapped call that installs a filter, of thread tid, which waits in
 * it: seccomp or prctl(PR_SET_SECCOMP), by the notification's arch, number and
 * arguments. Returns 1: harmless to swaps; 0: not; -ENOSYS: the call installs
 * none, or is going to fail, as strict mode does under ours; another -errno: we may
 * not read it, and it is to be taken for not harmless. (Another thread may
 * change the program behind our back: this is no sandbox.)
 */
int ff_clientfilter_judge(pid_t tid, uint32_t audit_arch, int nr,
	const uint64_t args[6]);

#endif
