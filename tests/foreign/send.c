/* SPDX-License-Identifier: MIT */
/*
 * For i386: the C library's functions that send messages, by system calls of
 * their own, which Linux 4.3 brought; or, with BY_SOCKETCALL defined, by
 * socketcall, as before. Debian's library takes socketcall to this day. In a
 * static program these come before the library's.
 */
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifdef BY_SOCKETCALL
enum { CALL_SENDMSG = 16, CALL_SENDMMSG = 20 };

static long call(long number, int fd, const void *what, long count_or_flags,
	long flags)
{
	const long args[] = {fd, (long)what, count_or_flags, flags};

	number = number == SYS_sendmsg ? CALL_SENDMSG : CALL_SENDMMSG;
	/* The flags' own register may hold anything in this call. */
	return syscall(SYS_socketcall, number, args, -1L);
}
#else
static long call(long number, int fd, const void *what, long count_or_flags,
	long flags)
{
	return syscall(number, fd, what, count_or_flags, flags);
}
#endif

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
	return call(SYS_sendmsg, fd, message, flags, 0);
}

int sendmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags)
{
	return call(SYS_sendmmsg, fd, messages, count, flags);
}
