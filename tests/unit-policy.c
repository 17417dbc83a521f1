/* SPDX-License-Identifier: MIT */
/* src/policy: which engine serves a process; src/settled: what is dealt with. */
#include "policy.h"
#include "settled.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static struct ff_eventlog log_ = { .fd = -1, .verbosity = -1 };

static struct ff_policy make(enum ff_engine engine)
{
	return (struct ff_policy){ .engine = engine, .log = &log_,
		.filters = 1 };
}

/* The log's lines with this text, of a policy that tells `times` times. */
static int count_told(pid_t pid, enum ff_engine first, enum ff_engine second)
{
	struct ff_policy policy = make(FF_ENGINE_AUTO);
	struct ff_actor actor = { .pid = pid, .tid = pid, .comm = "x" };
	struct ff_eventlog log = { .verbosity = -1 };
	FILE *file = tmpfile();
	char line[512];
	int count = 0;

	cr_assert(file);
	log.fd = fileno(file);
	policy.log = &log;
	ff_policy_tell(&policy, 2, &actor, first, "one");
	ff_policy_tell(&policy, 2, &actor, second, "two");
	ff_policy_tell(&policy, 2, &actor, first, "three");
	ff_eventlog_flush(&log);
	rewind(file);
	while (fgets(line, sizeof(line), file))
		count += strstr(line, "\"event\":\"engine\"") != NULL;
	fclose(file);
	ff_policy_free(&policy);
	return count;
}

Test(policy, each_engine_has_its_means)
{
	for (int i = FF_ENGINE_OFF; i <= FF_ENGINE_AUTO; i++) {
		struct ff_policy policy = make((enum ff_engine)i);

		cr_expect_eq(ff_policy_has_ptrace(&policy),
			i == FF_ENGINE_PTRACE || i == FF_ENGINE_AUTO);
		cr_expect_eq(ff_policy_has_notify(&policy),
			i == FF_ENGINE_NOTIFY || i == FF_ENGINE_AUTO);
	}
}

Test(policy, tells_once_of_each_process_and_engine)
{
	cr_expect_eq(count_told(getpid(), FF_ENGINE_NOTIFY, FF_ENGINE_NOTIFY),
		1);
	cr_expect_eq(count_told(getpid(), FF_ENGINE_NOTIFY, FF_ENGINE_OFF), 2);
}

Test(policy, tells_again_of_a_process_that_was_forgotten)
{
	struct ff_policy policy = make(FF_ENGINE_AUTO);
	struct ff_actor actor = { .pid = getpid(), .tid = getpid() };

	ff_policy_tell(&policy, 2, &actor, FF_ENGINE_OFF, "why");
	cr_expect(ff_policy_was_told(&policy, getpid(), FF_ENGINE_OFF));
	cr_expect_not(ff_policy_was_told(&policy, getpid(),
		FF_ENGINE_PTRACE));
	ff_policy_forget(&policy, getpid());
	cr_expect_not(ff_policy_was_told(&policy, getpid(), FF_ENGINE_OFF));
	ff_policy_free(&policy);
}

Test(policy, leaves_to_a_tracer_what_is_traced)
{
	struct ff_policy policy = make(FF_ENGINE_AUTO);
	struct ff_status status = { .tracer = getppid() };
	char reason[FF_REASON_SIZE], want[64];

	cr_assert(ff_policy_forbids_ptrace(&policy, &status, reason));
	snprintf(want, sizeof(want), "traced by pid %d (", getppid());
	cr_expect(strstr(reason, want), "%s", reason);
	status.tracer = 0;
	cr_expect_not(ff_policy_forbids_ptrace(&policy, &status, reason));
	status.tracer = getpid();
	cr_expect_not(ff_policy_forbids_ptrace(&policy, &status, reason),
		"it is ours");
}

Test(policy, fears_own_filters_once_a_harmful_one_came_up)
{
	struct ff_policy policy = make(FF_ENGINE_AUTO);
	struct ff_status ours = { .seccomp_filters = 1 };
	struct ff_status own = { .seccomp_filters = 2 };
	char reason[FF_REASON_SIZE];

	cr_expect_not(ff_policy_forbids_ptrace(&policy, &own, reason));
	policy.has_harmful_filters = true;
	cr_expect(ff_policy_forbids_ptrace(&policy, &own, reason));
	cr_expect(strstr(reason, "seccomp filter of its own"), "%s", reason);
	cr_expect_not(ff_policy_forbids_ptrace(&policy, &ours, reason));
}

/* Processes come and go by the thousand, and others reap them. */
Test(policy, does_not_grow_with_the_dead)
{
	struct ff_policy policy = make(FF_ENGINE_AUTO);

	for (int i = 0; i < 200; i++) {
		pid_t pid = fork();

		if (!pid)
			_exit(0);
		cr_assert_eq(waitpid(pid, NULL, 0), pid);
		ff_policy_tell(&policy, 2, &(struct ff_actor){ .pid = pid },
			FF_ENGINE_OFF, "gone");
	}
	cr_expect_leq(policy.room, 64);
	ff_policy_free(&policy);
}

enum { TID = 11, DEV = 5, INO = 77, XID = 0x200001 };

Test(settled, is_what_was_added_for_that_thread_and_file)
{
	struct ff_settled settled;

	cr_assert_eq(ff_settled_init(&settled), 0);
	ff_settled_add(&settled, TID, DEV, INO, 0);
	cr_expect(ff_settled_has(&settled, TID, DEV, INO, 0));
	cr_expect_not(ff_settled_has(&settled, TID + 1, DEV, INO, 0));
	cr_expect_not(ff_settled_has(&settled, TID, DEV + 1, INO, 0));
	cr_expect_not(ff_settled_has(&settled, TID, DEV, INO + 1, 0));
	ff_settled_forget(&settled, TID);
	cr_expect_not(ff_settled_has(&settled, TID, DEV, INO, 0));
	ff_settled_free(&settled);
}

/* A tracer interrupts a call that was let go on: it comes again. */
Test(settled, outlives_its_call_by_its_xid)
{
	struct ff_settled settled;

	cr_assert_eq(ff_settled_init(&settled), 0);
	ff_settled_add(&settled, TID, DEV, INO, XID);
	ff_settled_add(&settled, TID, DEV, INO + 1, 0);
	ff_settled_end(&settled, TID);
	cr_expect(ff_settled_has(&settled, TID, DEV, INO, XID));
	cr_expect_not(ff_settled_has(&settled, TID, DEV, INO + 1, 0),
		"no xid: it may be another");
	ff_settled_end(&settled, TID);
	cr_expect(ff_settled_has(&settled, TID, DEV, INO, XID), "once more");
	ff_settled_free(&settled);
}

Test(settled, is_over_with_the_next_call)
{
	struct ff_settled settled;

	cr_assert_eq(ff_settled_init(&settled), 0);
	ff_settled_add(&settled, TID, DEV, INO, XID);
	ff_settled_end(&settled, TID);
	cr_expect_not(ff_settled_has(&settled, TID, DEV, INO, XID + 1),
		"another request with the same file");
	ff_settled_add(&settled, TID, DEV, INO + 9, XID + 1);
	ff_settled_end(&settled, TID);
	cr_expect_not(ff_settled_has(&settled, TID, DEV, INO, XID));
	ff_settled_free(&settled);
}

Test(settled, keeps_no_more_than_the_last_calls)
{
	struct ff_settled settled;

	cr_assert_eq(ff_settled_init(&settled), 0);
	for (unsigned int i = 1; i < 10000; i++) {
		ff_settled_add(&settled, getpid(), DEV, INO + i, i);
		ff_settled_end(&settled, getpid());
	}
	cr_expect_leq(settled.count, 1);
	ff_settled_free(&settled);
}
