/* SPDX-License-Identifier: MIT */
/*
 * src/message: what a send says, read from the sender's memory. The sender is
 * this process; what a 32-bit one has is laid out by hand below 4 GiB.
 */
#include "message.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <limits.h>
#include <linux/audit.h>
#include <linux/net.h>
#include <netinet/in.h>
#include <stdlib.h>
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

/* An address where nothing is, for either word. */
#define NOWHERE 0x1000u

static uint64_t address(const void *at)
{
	return (uint64_t)(uintptr_t)at;
}

static int parse(uint32_t audit_arch, int nr, uint64_t a, uint64_t b,
	uint64_t c, struct ff_send *send)
{
	const uint64_t args[6] = { a, b, c };

	return ff_send_parse(getpid(), audit_arch, nr, args, send);
}

/* One native message with control data, not in libc's words. */
struct native {
	struct msghdr head;
	struct iovec iov[4];
	_Alignas(8) char control[2048];
};

static void add_control(struct native *native, int level, int type,
	const int *fds, size_t count)
{
	struct cmsghdr *cmsg = (void *)(native->control +
		native->head.msg_controllen);

	cmsg->cmsg_len = CMSG_LEN(count * sizeof(int));
	cmsg->cmsg_level = level;
	cmsg->cmsg_type = type;
	if (count)
		memcpy(CMSG_DATA(cmsg), fds, count * sizeof(int));
	native->head.msg_control = native->control;
	native->head.msg_controllen += CMSG_SPACE(count * sizeof(int));
	cr_assert(native->head.msg_controllen <= sizeof(native->control));
}

static int read_native(const struct native *native, struct ff_message *message)
{
	struct ff_send send;

	cr_assert_eq(parse(NATIVE, SYS_sendmsg, 3, address(&native->head), 0,
		&send), 0);
	return ff_message_read(getpid(), &send, 0, message);
}

Test(send, sendmsg_is_one_message)
{
	struct ff_send send;

	cr_assert_eq(parse(NATIVE, SYS_sendmsg, 7, 0x12345678, 99, &send), 0);
	cr_assert_eq(send.socket, 7);
	cr_assert_eq(send.messages, 0x12345678);
	cr_assert_eq(send.count, 1);
	cr_assert_not(send.many);
	cr_assert_eq(send.word, 8);
}

Test(send, sendmmsg_is_many)
{
	struct ff_send send;

	cr_assert_eq(parse(NATIVE, SYS_sendmmsg, 7, 0x12345678, 5, &send), 0);
	cr_assert_eq(send.count, 5);
	cr_assert(send.many);
	cr_assert_eq(parse(NATIVE, SYS_sendmmsg, 7, 0, 0, &send), 0);
	cr_assert_eq(send.count, 0);
}

/* The kernel sends no more at once (UIO_MAXIOV). */
Test(send, sendmmsg_is_as_many_as_the_kernel_sends)
{
	struct ff_send send;

	cr_assert_eq(parse(NATIVE, SYS_sendmmsg, 7, 0, 0xffffffff, &send), 0);
	cr_assert_eq(send.count, IOV_MAX);
	cr_assert_eq(parse(NATIVE, SYS_sendmmsg, 7, 0, 0x500000002, &send), 0);
	cr_assert_eq(send.count, 2, "the count is an unsigned int");
}

Test(send, negative_socket_stays_negative)
{
	struct ff_send send;

	cr_assert_eq(parse(NATIVE, SYS_sendmsg, 0xffffffff, 0, 0, &send), 0);
	cr_assert_eq(send.socket, -1);
	cr_assert_eq(parse(AUDIT_ARCH_I386, 370, 0xffffffff, 0, 0, &send), 0);
	cr_assert_eq(send.socket, -1);
}

Test(send, other_calls_send_nothing)
{
	static const struct {
		uint32_t audit_arch;
		int nr;
	} others[] = {
		{ AUDIT_ARCH_X86_64, 47 }, { AUDIT_ARCH_X86_64, 370 },
		{ AUDIT_ARCH_X86_64, -1 }, { AUDIT_ARCH_X86_64, 102 },
		{ AUDIT_ARCH_X86_64, 211 }, { AUDIT_ARCH_I386, 46 },
		{ AUDIT_ARCH_I386, -1 }, { AUDIT_ARCH_AARCH64, 46 },
		{ AUDIT_ARCH_AARCH64, 102 }, { AUDIT_ARCH_PPC64, 46 },
		{ 0, 46 },
	};
	struct ff_send send;

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		cr_expect_eq(parse(others[i].audit_arch, others[i].nr, 1, 2, 3,
			&send), -ENOSYS, "row %zu", i);
}

Test(send, every_abi_has_its_numbers)
{
	static const struct {
		uint32_t audit_arch;
		int sendmsg, sendmmsg;
		unsigned int word;
	} abis[] = {
		{ AUDIT_ARCH_X86_64, 46, 307, 8 },
		{ AUDIT_ARCH_I386, 370, 345, 4 },
		{ AUDIT_ARCH_AARCH64, 211, 269, 8 },
	};

	for (size_t i = 0; i < 3; i++) {
		struct ff_send send;

		cr_expect_eq(parse(abis[i].audit_arch, abis[i].sendmsg, 1, 2, 3,
			&send), 0);
		cr_expect(!send.many && send.word == abis[i].word);
		cr_expect_eq(parse(abis[i].audit_arch, abis[i].sendmmsg, 1, 2,
			3, &send), 0);
		cr_expect(send.many && send.word == abis[i].word);
	}
}

/* Room below 4 GiB. */
static char *map_low(size_t size)
{
	char *at = mmap((void *)0x40000000, size, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	cr_assert(at != MAP_FAILED);
	return at;
}

Test(send, socketcall_has_its_arguments_in_memory)
{
	uint32_t *args = (uint32_t *)(void *)map_low(4096);
	struct ff_send send;

	args[0] = 9;
	args[1] = 0xf0001000;
	args[2] = 3;
	cr_assert_eq(parse(AUDIT_ARCH_I386, 102, SYS_SENDMSG, address(args), 0,
		&send), 0);
	cr_assert(send.socket == 9 && send.messages == 0xf0001000);
	cr_assert(send.count == 1 && !send.many && send.word == 4);
	cr_assert_eq(parse(AUDIT_ARCH_I386, 102, SYS_SENDMMSG, address(args), 0,
		&send), 0);
	cr_assert(send.socket == 9 && send.messages == 0xf0001000);
	cr_assert(send.count == 3 && send.many);
	args[2] = 0xffffffff;
	cr_assert_eq(parse(AUDIT_ARCH_I386, 102, SYS_SENDMMSG, address(args), 0,
		&send), 0);
	cr_assert_eq(send.count, IOV_MAX);
	cr_assert_eq(parse(AUDIT_ARCH_I386, 102, SYS_RECVMSG, address(args), 0,
		&send), -ENOSYS);
	cr_assert_eq(parse(AUDIT_ARCH_I386, 102, SYS_SENDMSG, NOWHERE, 0,
		&send), -EFAULT);
}

/* sendmsg has three arguments, and they may be the last of a page. */
Test(send, socketcall_reads_no_more_than_its_arguments)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *low = map_low(2 * page);
	uint32_t *args = (uint32_t *)(void *)(low + page - 12);
	struct ff_send send;

	munmap(low + page, page);
	args[0] = 9;
	args[1] = 0x1234;
	cr_assert_eq(parse(AUDIT_ARCH_I386, 102, SYS_SENDMSG, address(args), 0,
		&send), 0);
	cr_assert_eq(send.messages, 0x1234);
}

Test(send, other_socketcalls_are_told_apart_unread)
{
	struct ff_send send;

	cr_assert_eq(parse(AUDIT_ARCH_I386, 102, SYS_CONNECT, NOWHERE, 0,
		&send), -ENOSYS);
}

Test(message, without_control_data_has_no_fds)
{
	struct native native = { .head = { .msg_iov = (void *)0x1234,
		.msg_iovlen = 3 } };
	struct ff_message message;

	cr_assert_eq(read_native(&native, &message), 0);
	cr_assert_eq(message.fd_count, 0);
	cr_assert_eq(message.iov, 0x1234);
	cr_assert_eq(message.iov_count, 3);
}

Test(message, fds_of_all_rights_are_collected_in_order)
{
	const int first[] = { 11, 12, 13 }, second[] = { 14 };
	const int id[] = { 99, 98, 97 };
	struct native native = { 0 };
	struct ff_message message;

	add_control(&native, SOL_SOCKET, SCM_CREDENTIALS, id, 3);
	add_control(&native, SOL_SOCKET, SCM_RIGHTS, first, 3);
	add_control(&native, IPPROTO_TCP, SCM_RIGHTS, id, 3);
	add_control(&native, SOL_SOCKET, SCM_RIGHTS, NULL, 0);
	add_control(&native, SOL_SOCKET, SCM_RIGHTS, second, 1);
	cr_assert_eq(read_native(&native, &message), 0);
	cr_assert_eq(message.fd_count, 4);
	for (int i = 0; i < 4; i++)
		cr_assert_eq(message.fds[i], 11 + i);
}

/* The kernel takes control data whose last padding is missing. */
Test(message, last_padding_may_be_missing)
{
	const int fds[] = { 11 };
	struct native native = { 0 };
	struct ff_message message;

	add_control(&native, SOL_SOCKET, SCM_RIGHTS, fds, 1);
	native.head.msg_controllen = CMSG_LEN(sizeof(fds));
	cr_assert_eq(read_native(&native, &message), 0);
	cr_assert_eq(message.fd_count, 1);
	cr_assert_eq(message.fds[0], 11);
}

Test(message, more_fds_than_the_kernel_takes_are_cut)
{
	int fds[FF_FDS_MAX + 30];
	struct native native = { 0 };
	struct ff_message message;

	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		fds[i] = (int)i;
	add_control(&native, SOL_SOCKET, SCM_RIGHTS, fds,
		sizeof(fds) / sizeof(fds[0]));
	cr_assert_eq(read_native(&native, &message), 0);
	cr_assert_eq(message.fd_count, FF_FDS_MAX);
	cr_assert_eq(message.fds[FF_FDS_MAX - 1], FF_FDS_MAX - 1);
}

/* Lengths that lie end the reading, not this process. */
Test(message, hostile_control_lengths_are_survived)
{
	static const size_t lengths[] = { 0, 1, 15, CMSG_LEN(4) + 1, 4096,
		SIZE_MAX, SIZE_MAX - 7, SIZE_MAX / 2, (size_t)1 << 32 };
	const int fds[] = { 11 };

	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		struct native native = { 0 };
		struct cmsghdr *cmsg;
		struct ff_message message;

		add_control(&native, SOL_SOCKET, SCM_RIGHTS, fds, 1);
		cmsg = (void *)(native.control + CMSG_SPACE(4));
		add_control(&native, SOL_SOCKET, SCM_RIGHTS, fds, 1);
		cmsg->cmsg_len = lengths[i];
		native.head.msg_controllen = 2 * CMSG_SPACE(4) - 4;
		cr_assert_eq(read_native(&native, &message), 0, "row %zu", i);
		cr_expect_eq(message.fd_count, 1, "row %zu: %zu fds", i,
			message.fd_count);
	}
}

Test(message, hostile_control_sizes_are_refused)
{
	struct native native = { 0 };
	struct ff_message message;

	native.head.msg_control = native.control;
	native.head.msg_controllen = SIZE_MAX;
	cr_expect_eq(read_native(&native, &message), -ENOBUFS);
	native.head.msg_controllen = (size_t)1 << 31;
	cr_expect_eq(read_native(&native, &message), -ENOBUFS);
	native.head.msg_controllen = CMSG_LEN(0) - 1;
	cr_expect_eq(read_native(&native, &message), 0);
	cr_expect_eq(message.fd_count, 0);
}

Test(message, unmapped_pointers_are_errors)
{
	struct native native = { 0 };
	struct ff_message message;
	struct ff_send send;

	native.head.msg_control = (void *)(uintptr_t)NOWHERE;
	native.head.msg_controllen = 64;
	cr_expect_eq(read_native(&native, &message), -EFAULT);
	native.head.msg_control = NULL;
	cr_expect_eq(read_native(&native, &message), 0);
	cr_assert_eq(parse(NATIVE, SYS_sendmsg, 3, NOWHERE, 0, &send), 0);
	cr_expect_eq(ff_message_read(getpid(), &send, 0, &message), -EFAULT);
	cr_assert_eq(parse(NATIVE, SYS_sendmsg, 3, UINT64_MAX - 8, 0, &send),
		0);
	cr_expect_eq(ff_message_read(getpid(), &send, 0, &message), -EFAULT);
}

Test(message, of_a_process_that_is_gone_is_an_error)
{
	struct native native = { 0 };
	struct ff_message message;
	struct ff_send send;

	cr_assert_eq(parse(NATIVE, SYS_sendmsg, 3, address(&native.head), 0,
		&send), 0);
	cr_expect_eq(ff_message_read(0x7ffffff0, &send, 0, &message), -ESRCH);
}

Test(message, of_many_each_is_found)
{
	struct mmsghdr heads[3] = { 0 };
	struct ff_message message;
	struct ff_send send;

	for (size_t i = 0; i < 3; i++) {
		heads[i].msg_hdr.msg_iov = (void *)(0x1000 * (i + 1));
		heads[i].msg_hdr.msg_iovlen = i + 1;
		heads[i].msg_len = 0xffffffff;
	}
	cr_assert_eq(parse(NATIVE, SYS_sendmmsg, 3, address(heads), 3, &send),
		0);
	for (unsigned int i = 0; i < 3; i++) {
		cr_assert_eq(ff_message_read(getpid(), &send, i, &message), 0);
		cr_assert_eq(message.iov, 0x1000 * (i + 1));
		cr_assert_eq(message.iov_count, i + 1);
	}
}
