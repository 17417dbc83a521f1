/* SPDX-License-Identifier: MIT */
#include "message.h"

#include "process.h"

#include <errno.h>
#include <limits.h>
#include <linux/audit.h>
#include <linux/net.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* The calls on messages of each ABI; -1 where there is none. */
static const struct abi {
	uint32_t audit_arch;
	unsigned int word;
	int sendmsg, sendmmsg, recvmsg, recvmmsg, recvmmsg_time64, socketcall;
} abis[] = {
	{ AUDIT_ARCH_X86_64, 8, 46, 307, 47, 299, -1, -1 },
	{ AUDIT_ARCH_I386, 4, 370, 345, 372, 337, 417, 102 },
	{ AUDIT_ARCH_AARCH64, 8, 211, 269, 212, 243, -1, -1 },
};

static const struct abi *find_abi(uint32_t audit_arch)
{
	for (size_t i = 0; i < sizeof(abis) / sizeof(abis[0]); i++)
		if (abis[i].audit_arch == audit_arch)
			return &abis[i];
	return NULL;
}

/* Of a receiving call so many messages are looked at. */
#define MOST_RECEIVED 16

/* More than the kernel takes anywhere (net.core.optmem_max). */
#define MAX_CONTROL (1u << 20)

/* Word index of an array of words, read as the sender has them. */
static uint64_t word_at(const void *words, unsigned int word, size_t index)
{
	uint32_t half;
	uint64_t whole;

	if (word == 4) {
		memcpy(&half, (const char *)words + 4 * index, 4);
		return half;
	}
	memcpy(&whole, (const char *)words + 8 * index, 8);
	return whole;
}

/* socketcall(one or many, arguments): where they have its number and none. */
static int parse_socketcall(pid_t tid, const uint64_t args[6], uint64_t one,
	uint64_t many, struct ff_send *send)
{
	uint32_t words[3]; /* sendmsg has no more, and they may end a page */
	int err;

	send->many = args[0] == many;
	if (!send->many && args[0] != one)
		return -ENOSYS;
	err = ff_process_read(tid, args[1], words, sizeof(words));
	if (err)
		return err;
	send->socket = (int)words[0];
	send->messages = words[1];
	if (send->many)
		send->count = words[2];
	return 0;
}

static void parse_plain(const struct abi *abi, const uint64_t args[6],
	bool many, struct ff_send *send)
{
	*send = (struct ff_send){
		.socket = (int)args[0],
		.messages = args[1],
		.count = many ? (unsigned int)args[2] : 1,
		.many = many,
		.word = abi->word,
	};
}

int ff_send_parse(pid_t tid, uint32_t audit_arch, int nr,
	const uint64_t args[6], struct ff_send *send)
{
	const struct abi *abi = find_abi(audit_arch);
	int err = 0;

	if (!abi || (nr != abi->sendmsg && nr != abi->sendmmsg &&
			nr != abi->socketcall))
		return -ENOSYS;
	parse_plain(abi, args, nr == abi->sendmmsg, send);
	if (nr == abi->socketcall)
		err = parse_socketcall(tid, args, SYS_SENDMSG, SYS_SENDMMSG,
			send);
	if (send->count > IOV_MAX)
		send->count = IOV_MAX;
	return err;
}

int ff_receive_parse(pid_t tid, uint32_t audit_arch, int nr,
	const uint64_t args[6], struct ff_send *receive)
{
	const struct abi *abi = find_abi(audit_arch);
	bool many;
	int err = 0;

	if (!abi)
		return -ENOSYS;
	many = nr == abi->recvmmsg || nr == abi->recvmmsg_time64;
	if (nr != abi->recvmsg && !many && nr != abi->socketcall)
		return -ENOSYS;
	parse_plain(abi, args, many, receive);
	if (nr == abi->socketcall)
		err = parse_socketcall(tid, args, SYS_RECVMSG, SYS_RECVMMSG,
			receive);
	if (receive->count > MOST_RECEIVED)
		receive->count = MOST_RECEIVED;
	return err;
}

/* Collect the fds of all SCM_RIGHTS in control. */
static void parse_control(const char *control, size_t size, unsigned int word,
	struct ff_message *message)
{
	size_t header = word + 8;

	while (size >= header) {
		size_t length = (size_t)word_at(control, word, 0), step;
		int level, type;

		memcpy(&level, control + word, 4);
		memcpy(&type, control + word + 4, 4);
		if (length < header || length > size)
			return;
		for (size_t at = header; level == SOL_SOCKET &&
			type == SCM_RIGHTS && at + 4 <= length &&
			message->fd_count < FF_FDS_MAX; at += 4)
			memcpy(&message->fds[message->fd_count++],
				control + at, 4);
		step = (length + word - 1) & ~((size_t)word - 1);
		if (step > size)
			return;
		control += step;
		size -= step;
	}
}

int ff_message_read(pid_t tid, const struct ff_send *send, unsigned int index,
	struct ff_message *message)
{
	/* msghdr: name, namelen, iov, iovlen, control, controllen, flags. In
	 * mmsghdr an int follows, and padding. */
	unsigned int word = send->word;
	size_t header = 7 * word, stride = send->many ? 8 * word : header;
	char words[7 * 8], *control;
	uint64_t size;
	int err;

	message->fd_count = 0;
	err = ff_process_read(tid, send->messages + index * stride, words,
		header);
	if (err)
		return err;
	message->iov = word_at(words, word, 2);
	message->iov_count = word_at(words, word, 3);
	size = word_at(words, word, 5);
	if (!word_at(words, word, 4) || size < word + 8u)
		return 0;
	if (size > MAX_CONTROL)
		return -ENOBUFS;
	control = malloc(size);
	if (!control)
		return -ENOMEM;
	err = ff_process_read(tid, word_at(words, word, 4), control, size);
	if (!err)
		parse_control(control, size, word, message);
	free(control);
	return err;
}

/* What the iovec array at address has room for, to be added to *bytes. */
static int add_room(pid_t tid, unsigned int word, uint64_t address,
	uint64_t count, size_t *bytes)
{
	char pairs[64 * 16];
	size_t pair = 2u * word, most = sizeof(pairs) / pair;

	if (count > IOV_MAX)
		return -EMSGSIZE;
	while (count) {
		size_t part = count < most ? count : most;
		int err = ff_process_read(tid, address, pairs, part * pair);

		if (err)
			return err;
		for (size_t i = 0; i < part; i++) {
			size_t length =
				(size_t)word_at(pairs + i * pair, word, 1);

			if (length > SSIZE_MAX - *bytes)
				return -EINVAL;
			*bytes += length;
		}
		address += part * pair;
		count -= part;
	}
	return 0;
}

int ff_receive_room(pid_t tid, const struct ff_send *receive, size_t *bytes,
	size_t *fds)
{
	unsigned int word = receive->word;
	size_t stride = (receive->many ? 8 : 7) * word;

	*bytes = *fds = 0;
	for (unsigned int i = 0; i < receive->count; i++) {
		char words[7 * 8];
		uint64_t size;
		int err = ff_process_read(tid, receive->messages + i * stride,
			words, 7 * word);

		if (!err)
			err = add_room(tid, word, word_at(words, word, 2),
				word_at(words, word, 3), bytes);
		if (err)
			return err;
		size = word_at(words, word, 4) ? word_at(words, word, 5) : 0;
		if (size > word + 8u && (size - word - 8) / 4 > *fds)
			*fds = (size - word - 8) / 4;
	}
	if (*fds > FF_FDS_MAX)
		*fds = FF_FDS_MAX;
	return 0;
}

ssize_t ff_message_data(pid_t tid, const struct ff_send *send,
	const struct ff_message *message, void *buffer, size_t size,
	size_t *total)
{
	size_t pair = 2u * send->word, count = message->iov_count, used = 0;
	char *pairs;
	int err;

	*total = 0;
	if (count > IOV_MAX)
		return -EMSGSIZE;
	pairs = malloc(count * pair + 1);
	if (!pairs)
		return -ENOMEM;
	err = ff_process_read(tid, message->iov, pairs, count * pair);
	for (size_t i = 0; !err && i < count; i++) {
		uint64_t at = word_at(pairs + i * pair, send->word, 0);
		size_t length =
			(size_t)word_at(pairs + i * pair, send->word, 1);
		size_t part = length < size - used ? length : size - used;

		if (length > SSIZE_MAX - *total)
			err = -EINVAL;
		*total += length;
		if (!err)
			err = ff_process_read(tid, at, (char *)buffer + used,
				part);
		used += part;
	}
	free(pairs);
	return err ? err : (ssize_t)used;
}
