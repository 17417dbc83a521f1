/* SPDX-License-Identifier: MIT */
#include "filter.h"

#include "compat.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/net.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/*
 * futex and its twin: an operation on shared futexes has no other bits. (With
 * FUTEX_CLOCK_REALTIME the kernel refuses all but FUTEX_WAIT_BITSET; from 5.13
 * on FUTEX_WAIT too.)
 */
static int add_futex(scmp_filter_ctx filter, int nr,
	enum ff_filter_futexes futexes)
{
	static const struct {
		enum ff_filter_futexes from;
		unsigned int op;
	} ops[] = {
		{ FF_FUTEXES_WAKES, FUTEX_WAKE },
		{ FF_FUTEXES_WAKES, FUTEX_WAKE_BITSET },
		{ FF_FUTEXES_WAKES, FUTEX_WAKE_OP },
		{ FF_FUTEXES_WAKES, FUTEX_REQUEUE },
		{ FF_FUTEXES_WAKES, FUTEX_CMP_REQUEUE },
		{ FF_FUTEXES_ALL, FUTEX_WAIT },
		{ FF_FUTEXES_ALL, FUTEX_WAIT_BITSET },
		{ FF_FUTEXES_ALL, FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME },
	};
	int err = 0;

	for (size_t i = 0; !err && i < sizeof(ops) / sizeof(ops[0]); i++)
		if (futexes >= ops[i].from)
			/* op is an int. */
			err = seccomp_rule_add_exact(filter, SCMP_ACT_NOTIFY,
				nr, 1, SCMP_A1_64(SCMP_CMP_MASKED_EQ,
					0xffffffff, ops[i].op));
	return err;
}

/*
 * The younger calls, of one number in all ABIs. Their flags are in the fourth
 * argument; or in memory, and then private ones are trapped too. A libseccomp
 * that does not know the names (those of Linux 6.7 came to 2.5.4 in Debian 12)
 * takes numbers for the native ABI alone, and says EFAULT for i386, whose C
 * libraries make none of these.
 */
static int add_futex2(scmp_filter_ctx filter, enum ff_filter_futexes futexes)
{
	static const struct {
		enum ff_filter_futexes from;
		int nr;
		unsigned int compares;
	} calls[] = {
		{ FF_FUTEXES_WAKES, SYS_futex_wake, 1 },
		{ FF_FUTEXES_WAKES, SYS_futex_requeue, 0 },
		{ FF_FUTEXES_ALL, SYS_futex_wait, 1 },
		{ FF_FUTEXES_ALL, SYS_futex_waitv, 0 },
	};
	int err = 0;

	for (size_t i = 0; !err && i < sizeof(calls) / sizeof(calls[0]); i++) {
		if (futexes >= calls[i].from)
			err = seccomp_rule_add_exact(filter, SCMP_ACT_NOTIFY,
				calls[i].nr, calls[i].compares,
				SCMP_A3_64(SCMP_CMP_MASKED_EQ, FUTEX2_PRIVATE,
					0));
		if (err == -EFAULT)
			err = 0;
	}
	return err;
}

/* op and option are ints. seccomp's other operations install nothing. */
static int add_own_filters(scmp_filter_ctx filter)
{
	int err = seccomp_rule_add(filter, SCMP_ACT_NOTIFY,
		SCMP_SYS(seccomp), 1, SCMP_A0_64(SCMP_CMP_MASKED_EQ,
			0xffffffff, SECCOMP_SET_MODE_FILTER));

	if (!err)
		err = seccomp_rule_add(filter, SCMP_ACT_NOTIFY,
			SCMP_SYS(seccomp), 1, SCMP_A0_64(SCMP_CMP_MASKED_EQ,
				0xffffffff, SECCOMP_SET_MODE_STRICT));
	if (!err)
		err = seccomp_rule_add(filter, SCMP_ACT_NOTIFY,
			SCMP_SYS(prctl), 1, SCMP_A0_64(SCMP_CMP_MASKED_EQ,
				0xffffffff, PR_SET_SECCOMP));
	return err;
}

static int add_replies(scmp_filter_ctx filter)
{
	int err = seccomp_rule_add(filter, SCMP_ACT_NOTIFY, SCMP_SYS(recvmsg),
		0);

	return err ? err : seccomp_rule_add(filter, SCMP_ACT_NOTIFY,
		SCMP_SYS(recvmmsg), 0);
}

static int add_crossings(scmp_filter_ctx filter,
	const struct ff_filter_options *options)
{
	unsigned int compares = options->all_flags ? 0 : 1;
	int err;

	/* flags is an int: what is above its 32 bits may be anything. */
	err = seccomp_rule_add(filter, SCMP_ACT_NOTIFY, SCMP_SYS(sendmsg),
		compares, SCMP_A2_64(SCMP_CMP_MASKED_EQ, 0xffffffff, 0));
	if (!err)
		err = seccomp_rule_add(filter, SCMP_ACT_NOTIFY,
			SCMP_SYS(sendmmsg), compares,
			SCMP_A3_64(SCMP_CMP_MASKED_EQ, 0xffffffff, 0));
	if (!err && options->memfds)
		err = seccomp_rule_add(filter, SCMP_ACT_NOTIFY,
			SCMP_SYS(memfd_create), 0);
	return err;
}

static int add_rules(scmp_filter_ctx filter,
	const struct ff_filter_options *options)
{
	int err = add_crossings(filter, options);

	if (!err && options->own_filters)
		err = add_own_filters(filter);
	if (!err && options->replies)
		err = add_replies(filter);
	if (!err && options->exits)
		err = seccomp_rule_add(filter, SCMP_ACT_NOTIFY, SCMP_SYS(exit),
			0);
	if (!err && options->exits)
		err = seccomp_rule_add(filter, SCMP_ACT_NOTIFY,
			SCMP_SYS(exit_group), 0);
	if (!err)
		err = add_futex(filter, SCMP_SYS(futex), options->futexes);
	if (!err)
		err = add_futex2(filter, options->futexes);
	return err;
}

/* The flags lie in memory there, where no filter can look. */
static int add_socketcall(scmp_filter_ctx filter, bool replies)
{
	static const unsigned int calls[] = { SYS_SENDMSG, SYS_SENDMMSG,
		SYS_RECVMSG, SYS_RECVMMSG };
	int err = 0;

	for (size_t i = 0; !err && i < (replies ? 4 : 2); i++)
		err = seccomp_rule_add_exact(filter, SCMP_ACT_NOTIFY,
			SCMP_SYS(socketcall), 1,
			SCMP_A0_32(SCMP_CMP_EQ, calls[i]));
	return err;
}

/* Rules for another ABI of this machine, whose filter is merged into one. */
typedef int (*add_rules_fn)(scmp_filter_ctx filter,
	const struct ff_filter_options *options);

static int merge(scmp_filter_ctx into, uint32_t arch, add_rules_fn add,
	const struct ff_filter_options *options)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	int err;

	if (!filter)
		return -ENOMEM;
	err = seccomp_arch_add(filter, arch);
	if (!err)
		err = seccomp_arch_remove(filter, SCMP_ARCH_NATIVE);
	if (!err)
		err = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH,
			SCMP_ACT_ALLOW);
	if (!err)
		err = add(filter, options);
	if (!err)
		err = seccomp_merge(into, filter);
	if (err)
		seccomp_release(filter);
	return err;
}

/* i386 has socketcall and calls with longer times beside. */
static int add_i386(scmp_filter_ctx filter,
	const struct ff_filter_options *options)
{
	int err = add_rules(filter, options);

	if (!err)
		err = add_socketcall(filter, options->replies);
	if (!err && options->replies)
		err = seccomp_rule_add_exact(filter, SCMP_ACT_NOTIFY,
			SCMP_SYS(recvmmsg_time64), 0);
	if (!err)
		err = add_futex(filter, SCMP_SYS(futex_time64),
			options->futexes);
	return err;
}

static int build(scmp_filter_ctx filter,
	const struct ff_filter_options *options)
{
	int err = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH,
		SCMP_ACT_ALLOW);

	if (!err)
		err = add_rules(filter, options);
	if (seccomp_arch_native() != SCMP_ARCH_X86_64)
		return err;
	if (!err)
		err = merge(filter, SCMP_ARCH_X86, add_i386, options);
	/* No more of x32 than is needed to tell that it is there. */
	if (!err)
		err = merge(filter, SCMP_ARCH_X32, add_crossings, options);
	return err;
}

const char *ff_filter_lacks(const struct ff_filter_options *have,
	const struct ff_filter_options *want)
{
	if (want->all_flags && !have->all_flags)
		return "--trap-all";
	if (want->futexes > have->futexes)
		return want->futexes == FF_FUTEXES_ALL ? "--trace-fences" :
							 "--relay";
	if (want->exits && !have->exits)
		return "--trace-fences";
	if (want->replies && !have->replies)
		return "--replies";
	if ((want->memfds && !have->memfds) ||
		(want->own_filters && !have->own_filters))
		return "--engine";
	return NULL;
}

static int explain(int err, struct ff_error *error)
{
	switch (err) {
	case -EBUSY:
		return ff_fail(error, EBUSY, "this process is already under a "
			"seccomp filter with a listener, and the kernel allows "
			"one (run fenceferry outside of the container or "
			"supervisor that set it)");
	case -EINVAL: case -ENOSYS: case -EOPNOTSUPP:
		return ff_fail(error, -err, "this kernel has no seccomp user "
			"notification (Linux 5.5 or newer with "
			"CONFIG_SECCOMP_FILTER is needed)");
	case -ECANCELED: case -EACCES: case -EPERM:
		return ff_fail(error, -err,
			"the seccomp filter is refused: %s (does a container "
			"forbid seccomp(2)?)", strerror(-err));
	default:
		return ff_fail(error, -err,
			"cannot install the seccomp filter: %s",
			strerror(-err));
	}
}

/* The kernel takes BPF_MAXINSNS (4096) instructions. */
#define MAX_INSTRUCTIONS 256

/* The program as libseccomp compiles it. By a pipe, which has room for it, and
 * no limit on file sizes. */
static int export(scmp_filter_ctx filter, struct sock_filter *code, size_t room)
{
	int fds[2], err, length = 0;
	ssize_t size = 0;

	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	err = seccomp_export_bpf(filter, fds[1]);
	if (!err && ioctl(fds[0], FIONREAD, &length) < 0)
		err = -errno;
	if (!err && (size_t)length > room * sizeof(*code))
		err = -E2BIG;
	if (!err)
		size = read(fds[0], code, (size_t)length);
	if (!err && size < 0)
		err = -errno;
	close(fds[0]);
	close(fds[1]);
	return err ? err : (int)((size_t)size / sizeof(*code));
}

int ff_filter_compile(const struct ff_filter_options *options,
	struct sock_filter *code, size_t room)
{
	scmp_filter_ctx filter;
	int result;

	/* Level 5 has user notification. Left to probe, libseccomp takes a
	 * kernel that is forbidden to answer for one that cannot. */
	seccomp_api_set(5);
	filter = seccomp_init(SCMP_ACT_ALLOW);
	result = filter ? build(filter, options) : -ENOMEM;
	if (!result)
		result = export(filter, code, room);
	seccomp_release(filter);
	return result;
}

/* A listener, or -errno. */
static int try_load(const struct sock_fprog *program, unsigned int flags)
{
	long listener = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags,
		program);

	/* Without CAP_SYS_ADMIN it takes no_new_privs. */
	if (listener < 0 && errno == EACCES &&
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0)
		listener = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags,
			program);
	return listener < 0 ? -errno : (int)listener;
}

/*
 * seccomp_load of libseccomp 2.5 hides the kernel's word when a listener is
 * refused, and takes one that is fd 0 for none.
 */
static int load(struct sock_filter *code, int length, bool killable)
{
	/* SPEC_ALLOW: the mitigation before Linux 5.16 is not for us. */
	const unsigned int flags = SECCOMP_FILTER_FLAG_NEW_LISTENER |
		SECCOMP_FILTER_FLAG_SPEC_ALLOW;
	const struct sock_fprog program = {
		.len = (unsigned short)length,
		.filter = code,
	};
	int listener = -EINVAL;

	if (killable)
		listener = try_load(&program, flags |
			SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV);
	return listener == -EINVAL ? try_load(&program, flags) : listener;
}

int ff_filter_install(const struct ff_filter_options *options,
	struct ff_error *error)
{
	struct sock_filter code[MAX_INSTRUCTIONS];
	int result = ff_filter_compile(options, code, MAX_INSTRUCTIONS);

	if (result >= 0)
		result = load(code, result, options->killable);
	return result < 0 ? explain(result, error) : result;
}
