/* SPDX-License-Identifier: MIT */
/* src/filter: calls that receive messages. The program itself is asked. */
#include "filter.h"

#include "arch/arch.h"
#include "bpf.h"

#include <criterion/criterion.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#define I386 0x40000003

struct call {
	const char *name;
	uint32_t arch; /* 0: ours */
	int nr;
	uint64_t first;
	bool receives;
	bool is_trapped; /* in any case */
};

static const struct call calls[] = {
	{ "recvmsg", 0, SYS_recvmsg, 0, true, false },
	{ "recvmmsg", 0, SYS_recvmmsg, 0, true, false },
	{ "recvfrom", 0, SYS_recvfrom, 0, false, false },
	{ "read", 0, SYS_read, 0, false, false },
	{ "sendmsg", 0, SYS_sendmsg, 0, false, true },
#ifdef __x86_64__
	{ "recvmsg of i386", I386, 372, 0, true, false },
	{ "recvmmsg of i386", I386, 337, 0, true, false },
	{ "recvmmsg_time64 of i386", I386, 417, 0, true, false },
	{ "recvfrom of i386", I386, 371, 0, false, false },
	{ "SYS_RECV", I386, 102, 10, false, false },
	{ "SYS_SENDMSG", I386, 102, 16, false, true },
	{ "SYS_RECVMSG", I386, 102, 17, true, false },
	{ "SYS_RECVMMSG", I386, 102, 19, true, false },
	{ "SYS_SENDMMSG", I386, 102, 20, false, true },
	/* the same numbers are others' there */
	{ "lsetxattr of i386", I386, SYS_recvmsg, 0, false, false },
	{ "no call", 0, 372, 0, false, false },
#endif
};

Test(filter_replies, are_trapped_whatever_their_flags_if_wanted)
{
	for (int replies = 0; replies < 2; replies++) {
		const struct ff_filter_options options = {
			.replies = replies, .futexes = FF_FUTEXES_ALL,
			.memfds = true, .own_filters = true,
		};
		struct sock_filter code[256];
		int length = ff_filter_compile(&options, code, 256);

		cr_assert(length > 0, "%d", length);
		for (size_t i = 0; i < 2 * sizeof(calls) / sizeof(*calls);
			i++) {
			const struct call *call = &calls[i / 2];
			const uint64_t flags = i % 2 ? MSG_DONTWAIT : 0;
			const struct seccomp_data data = {
				.nr = call->nr,
				.arch = call->arch ? call->arch :
					ff_arch_native()->audit_arch,
				.args = { call->first, 0,
					call->receives ? flags : 0,
					call->receives ? flags : 0 },
			};

			cr_expect_eq(ff_bpf_run(code, (size_t)length, &data),
				call->is_trapped ||
						(replies && call->receives) ?
					SECCOMP_RET_USER_NOTIF :
					SECCOMP_RET_ALLOW,
				"%s, replies %d", call->name, replies);
		}
	}
}
