/* SPDX-License-Identifier: MIT */
/*
 * src/message: what a receiving call has room for, read from the caller's
 * memory. The caller is this process.
 */
#include "message.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <limits.h>
#include <linux/audit.h>
#include <linux/net.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define NATIVE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define NATIVE AUDIT_ARCH_AARCH64
#endif

#define NOWHERE 0x1000u

static uint64_t address(const void *at)
{
	return (uint64_t)(uintptr_t)at;
}

static int parse(uint32_t audit_arch, int nr, uint64_t a, uint64_t b,
	uint64_t c, struct ff_send *receive)
{
	const uint64_t args[6] = { a, b, c };

	return ff_receive_parse(getpid(), audit_arch, nr, args, receive);
}

Test(receive, knows_the_calls_of_each_abi)
{
	static const struct {
		uint32_t arch;
		int nr;
		bool many;
		unsigned int word;
	} calls[] = {
		{ AUDIT_ARCH_X86_64, 47, false, 8 },
		{ AUDIT_ARCH_X86_64, 299, true, 8 },
		{ AUDIT_ARCH_I386, 372, false, 4 },
		{ AUDIT_ARCH_I386, 337, true, 4 },
		{ AUDIT_ARCH_I386, 417, true, 4 },
		{ AUDIT_ARCH_AARCH64, 212, false, 8 },
		{ AUDIT_ARCH_AARCH64, 243, true, 8 },
	};
	struct ff_send call;

	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		cr_assert_eq(parse(calls[i].arch, calls[i].nr, 7, 0x1234, 5,
			&call), 0, "call %zu", i);
		cr_assert_eq(call.socket, 7);
		cr_assert_eq(call.messages, 0x1234);
		cr_assert_eq(call.many, calls[i].many);
		cr_assert_eq(call.count, calls[i].many ? 5 : 1);
		cr_assert_eq(call.word, calls[i].word);
	}
}

Test(receive, leaves_all_other_calls)
{
	struct ff_send call;

	cr_assert_eq(parse(AUDIT_ARCH_X86_64, 46, 7, 0, 0, &call), -ENOSYS);
	cr_assert_eq(parse(AUDIT_ARCH_X86_64, 417, 7, 0, 0, &call), -ENOSYS);
	cr_assert_eq(parse(AUDIT_ARCH_X86_64, -1, 7, 0, 0, &call), -ENOSYS);
	cr_assert_eq(parse(AUDIT_ARCH_AARCH64, 47, 7, 0, 0, &call), -ENOSYS);
	cr_assert_eq(parse(AUDIT_ARCH_I386, 102, SYS_SENDMSG, NOWHERE, 0,
		&call), -ENOSYS);
	cr_assert_eq(parse(0x1234, 47, 7, 0, 0, &call), -ENOSYS);
}

Test(receive, socketcall_has_its_arguments_in_memory)
{
	uint32_t *args = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct ff_send call;

	cr_assert(args != MAP_FAILED);
	args[0] = 9;
	args[1] = 0xf0001000;
	args[2] = 3;
	cr_assert_eq(parse(AUDIT_ARCH_I386, 102, SYS_RECVMSG, address(args),
		0, &call), 0);
	cr_assert(call.socket == 9 && call.messages == 0xf0001000);
	cr_assert(call.count == 1 && !call.many);
	cr_assert_eq(parse(AUDIT_ARCH_I386, 102, SYS_RECVMMSG, address(args),
		0, &call), 0);
	cr_assert(call.count == 3 && call.many);
	cr_assert_eq(parse(AUDIT_ARCH_I386, 102, SYS_RECVMSG, NOWHERE, 0,
		&call), -EFAULT);
}

static int room_of(struct msghdr *head, size_t *bytes, size_t *fds)
{
	struct ff_send call;

	cr_assert_eq(parse(NATIVE, SYS_recvmsg, 3, address(head), 0, &call),
		0);
	return ff_receive_room(getpid(), &call, bytes, fds);
}

Test(receive, room_is_that_of_all_parts)
{
	static char buffer[200];
	static struct iovec parts[IOV_MAX];
	_Alignas(8) char control[CMSG_SPACE(300 * sizeof(int))];
	struct msghdr head = { .msg_iov = parts, .msg_iovlen = 1 };
	size_t bytes, fds;

	for (size_t i = 0; i < IOV_MAX; i++)
		parts[i] = (struct iovec){ buffer, 100 + i % 2 };
	cr_assert_eq(room_of(&head, &bytes, &fds), 0);
	cr_assert(bytes == 100 && fds == 0);
	head.msg_iovlen = IOV_MAX;
	head.msg_control = control;
	head.msg_controllen = CMSG_LEN(3 * sizeof(int));
	cr_assert_eq(room_of(&head, &bytes, &fds), 0);
	cr_assert_eq(bytes, 100 * IOV_MAX + IOV_MAX / 2);
	cr_assert_eq(fds, 3);
	head.msg_controllen = sizeof(control);
	cr_assert_eq(room_of(&head, &bytes, &fds), 0);
	cr_assert_eq(fds, 253, "no message carries more");
	for (size_t size = 0; size <= CMSG_LEN(0); size++) {
		head.msg_controllen = size;
		cr_assert_eq(room_of(&head, &bytes, &fds), 0);
		cr_assert_eq(fds, 0);
	}
}

Test(receive, room_that_cannot_be_is_refused)
{
	struct iovec parts[2] = { { NULL, SSIZE_MAX }, { NULL, 1 } };
	struct msghdr head = { .msg_iov = parts, .msg_iovlen = 2 };
	struct ff_send call;
	size_t bytes, fds;

	cr_assert_eq(room_of(&head, &bytes, &fds), -EINVAL);
	head.msg_iovlen = IOV_MAX + 1;
	cr_assert_eq(room_of(&head, &bytes, &fds), -EMSGSIZE);
	head.msg_iovlen = 1;
	head.msg_iov = (void *)NOWHERE;
	cr_assert_eq(room_of(&head, &bytes, &fds), -EFAULT);
	cr_assert_eq(parse(NATIVE, SYS_recvmsg, 3, NOWHERE, 0, &call), 0);
	cr_assert_eq(ff_receive_room(getpid(), &call, &bytes, &fds), -EFAULT);
}

Test(receive, room_of_many_messages_is_their_sum)
{
	struct mmsghdr heads[20] = { 0 };
	struct iovec part = { NULL, 10 };
	struct ff_send call;
	size_t bytes, fds;

	for (size_t i = 0; i < 20; i++)
		heads[i].msg_hdr = (struct msghdr){ .msg_iov = &part,
			.msg_iovlen = 1 };
	heads[1].msg_hdr.msg_control = heads;
	heads[1].msg_hdr.msg_controllen = CMSG_SPACE(sizeof(int) * 2);
	cr_assert_eq(parse(NATIVE, SYS_recvmmsg, 3, address(heads), 3, &call),
		0);
	cr_assert_eq(ff_receive_room(getpid(), &call, &bytes, &fds), 0);
	cr_assert(bytes == 30 && fds == 2);
	/* no more work than is good for us */
	cr_assert_eq(parse(NATIVE, SYS_recvmmsg, 3, address(heads), 0xffffffff,
		&call), 0);
	cr_assert_eq(ff_receive_room(getpid(), &call, &bytes, &fds), 0);
	cr_assert_eq(bytes, 160);
}

#ifdef __x86_64__

Test(receive, room_of_a_32_bit_caller)
{
	uint32_t *low = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	uint32_t at = (uint32_t)(uintptr_t)low;
	struct ff_send call;
	size_t bytes, fds;

	cr_assert(low != MAP_FAILED);
	/* name, namelen, iov, iovlen, control, controllen, flags */
	low[2] = at + 64;
	low[3] = 2;
	low[4] = at + 128;
	low[5] = 12 + 2 * 4;
	low[17] = 100;
	low[19] = 23;
	cr_assert_eq(parse(AUDIT_ARCH_I386, 372, 3, at, 0, &call), 0);
	cr_assert_eq(ff_receive_room(getpid(), &call, &bytes, &fds), 0);
	cr_assert_eq(bytes, 123);
	cr_assert_eq(fds, 2);
}

#endif
