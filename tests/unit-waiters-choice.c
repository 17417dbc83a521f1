/* SPDX-License-Identifier: MIT */
/* src/futexwatch/waiters: which kind it is, by what the kernel allows. */
#include "futexwatch/waiters.h"

#include "forbid.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <sys/syscall.h>

static void expect_kind(enum ff_waiters_kind kind, const char *name)
{
	struct ff_error error = { 0 };
	struct ff_waiters *waiters = ff_waiters_open(kind, &error);

	cr_assert_not_null(waiters, "%s", error.text);
	cr_expect_str_eq(ff_waiters_name(waiters), name);
	cr_expect_gt(ff_waiters_limit(waiters), 1000);
	cr_expect_eq(error.text[0], '\0', "untouched on success");
	ff_waiters_close(waiters);
}

static void expect_none(enum ff_waiters_kind kind, int err, const char *text)
{
	struct ff_error error = { 0 };

	cr_expect_null(ff_waiters_open(kind, &error));
	cr_expect_eq(error.err, err);
	cr_expect(strstr(error.text, text) && strstr(error.text, strerror(err)),
		"%s", error.text);
}

Test(choice, without_io_uring_is_futex_waitv, .timeout = 30)
{
	forbid(SYS_io_uring_setup, EPERM);
	expect_none(FF_WAITERS_URING, EPERM, "io_uring_disabled");
	expect_kind(FF_WAITERS_AUTO, "futex_waitv");
}

Test(choice, where_io_uring_cannot_be_entered_is_futex_waitv, .timeout = 30)
{
	forbid(SYS_io_uring_enter, EPERM);
	expect_none(FF_WAITERS_URING, EPERM, "io_uring");
	expect_kind(FF_WAITERS_AUTO, "futex_waitv");
}

Test(choice, without_either_is_threads, .timeout = 30)
{
	forbid(SYS_io_uring_setup, ENOSYS);
	forbid(SYS_futex_waitv, ENOSYS);
	expect_none(FF_WAITERS_URING, ENOSYS, "6.7");
	expect_none(FF_WAITERS_WAITV, ENOSYS, "5.16");
	expect_kind(FF_WAITERS_AUTO, "threads");
}

Test(choice, is_io_uring_where_it_can_be, .timeout = 30)
{
	struct ff_error error = { 0 };
	struct ff_waiters *waiters = ff_waiters_open(FF_WAITERS_URING, &error);

	if (!waiters)
		cr_skip_test("%s", error.text);
	ff_waiters_close(waiters);
	expect_kind(FF_WAITERS_AUTO, "io_uring");
}

Test(choice, none_at_all_is_told, .timeout = 30)
{
	forbid(SYS_io_uring_setup, ENOSYS);
	forbid(SYS_futex_waitv, ENOSYS);
	forbid(SYS_eventfd2, EMFILE);
	expect_none(FF_WAITERS_AUTO, EMFILE, "threads");
	ff_waiters_close(NULL);
}
