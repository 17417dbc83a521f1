/* SPDX-License-Identifier: MIT */
#include "forbid.h"

#include "compat.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

void forbid(long number, int err)
{
	/* Of any argument, whatever it is. */
	forbid_argument(number, 0, BPF_JGE, 0, err);
}

void forbid_argument(long number, unsigned int argument, uint16_t test,
	uint32_t value, int err)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)number, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			(uint32_t)(offsetof(struct seccomp_data, args) +
				argument * sizeof(uint64_t))),
		BPF_JUMP(BPF_JMP | test | BPF_K, value, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)err),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(code) / sizeof(code[0]), code };

	cr_assert(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	cr_assert(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

void forbid_query(void)
{
	forbid_argument(SYS_ioctl, 1, BPF_JEQ, (uint32_t)PROCMAP_QUERY, ENOTTY);
}

bool has_query(void)
{
	struct procmap_query query = { .size = sizeof(query),
		.query_flags = PROCMAP_QUERY_COVERING_OR_NEXT_VMA };
	int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	bool has = ioctl(fd, PROCMAP_QUERY, &query) == 0;

	close(fd);
	return has;
}
