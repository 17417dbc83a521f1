/* SPDX-License-Identifier: MIT */
/*
 * attach, a swap, and detach, twice, around victims that compare all they can
 * see of themselves: registers, signals, fds, mappings, what their threads wait
 * for. Of both ABIs.
 */
#include "coexist.h"
#include "victim-run.h"

#include <criterion/criterion.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TIMEOUT_S = 150 };

static void check(struct victim_run *run)
{
	static char attach[PATH_MAX + 16];
	char path[PATH_MAX];

	if (!run->as_user && geteuid())
		cr_skip("to be run by root");
	e2e_need_attach();
	cr_assert(realpath(victim_run_fenceferry(), path));
	snprintf(attach, sizeof(attach), "--attach=%s", path);
	run->args[0] = attach;
	run->args[1] = "--rounds=2";
	victim_run(run);
	victim_run_check(run, run->in_time, "everybody ends by himself");
	victim_run_check(run, WIFEXITED(run->status) &&
			WEXITSTATUS(run->status) == 0, "the victim is content");
	victim_run_check(run, run->crossed && run->standins &&
			(!run->memfds || run->args[4]),
		"all memfds that crossed were swapped");
	victim_run_check(run, !run->files_left, "no stand-in has a name left");
}

#define ONE(name, number, user, ...) \
	Test(attach_victims, name, .timeout = TIMEOUT_S) \
	{ \
		struct victim_run run = {.bits = number, .as_user = user, \
			.args = {"", "", __VA_ARGS__}}; \
		check(&run); \
	}
#ifdef VICTIM32_DIR
#define ONE32(name, user, ...) ONE(name, 32, user, __VA_ARGS__)
#else
#define ONE32(name, user, ...)
#endif
/* Each with one user; the first with both. */
#define ROW(name, ...) \
	ONE(name##_64bit_user, 64, true, __VA_ARGS__) \
	ONE32(name##_32bit_root, false, __VA_ARGS__)
#define ROW2(name, ...) \
	ROW(name, __VA_ARGS__) \
	ONE(name##_64bit_root, 64, false, __VA_ARGS__) \
	ONE32(name##_32bit_user, true, __VA_ARGS__)

ROW(alone, "--threads=0", "--state=futex")
ROW(running, "--threads=4", "--state=running")
ROW2(futex, "--threads=64", "--state=futex")
ROW(futex_timeout, "--threads=8", "--state=futex-timeout")
ROW(nanosleep, "--threads=8", "--state=nanosleep")
ROW(read, "--threads=8", "--state=read")
ROW(epoll, "--threads=8", "--state=epoll")
ROW(poll_timeout, "--threads=8", "--state=poll-timeout")
ROW(recv_timeout, "--threads=8", "--state=recv-timeout")
ROW(sigwait, "--threads=8", "--state=sigwait")
ROW(sigsuspend, "--threads=8", "--state=sigsuspend")
ROW(sendmsg, "--threads=8", "--state=sendmsg")
ROW(sending, "--threads=8", "--state=sending", "--expect=any")
ROW(signals, "--threads=8", "--state=futex", "--signals=restart",
	"--expect=any")
ROW(new_threads, "--threads=8", "--state=futex", "--churn=threads",
	"--expect=any")
ROW(sharer, "--threads=2", "--state=read", "--sharer=child")
