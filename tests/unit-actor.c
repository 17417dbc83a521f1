/* SPDX-License-Identifier: MIT */
/* src/actor: who is a thread? */
#include "actor.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static void check(pid_t tid, pid_t pid, const char *comm)
{
	struct ff_actor actor;

	cr_assert_eq(ff_actor_find(tid, &actor), 0);
	cr_expect_eq(actor.tid, tid);
	cr_expect_eq(actor.pid, pid);
	cr_expect_str_eq(actor.comm, comm);
}

Test(actor, a_new_name_is_seen, .timeout = 10)
{
	prctl(PR_SET_NAME, "one");
	check(getpid(), getpid(), "one");
	prctl(PR_SET_NAME, "fifteen letters");
	check(getpid(), getpid(), "fifteen letters");
	prctl(PR_SET_NAME, "");
	check(getpid(), getpid(), "");
}

static void *look(void *unused)
{
	prctl(PR_SET_NAME, "thread");
	check(gettid(), getpid(), "thread");
	check(gettid(), getpid(), "thread");
	return unused;
}

Test(actor, a_thread_belongs_to_its_process, .timeout = 10)
{
	pthread_t thread;

	cr_assert(!pthread_create(&thread, NULL, look, NULL));
	pthread_join(thread, NULL);
}

Test(actor, who_is_gone_is_nobody, .timeout = 10)
{
	struct ff_actor actor;
	pid_t pid = fork();

	if (!pid)
		pause();
	cr_assert_eq(ff_actor_find(pid, &actor), 0);
	kill(pid, SIGKILL);
	cr_assert_eq(waitpid(pid, NULL, 0), pid);
	cr_expect_lt(ff_actor_find(pid, &actor), 0);
	cr_expect_eq(actor.tid, pid);
}

Test(actor, more_than_are_remembered_are_found, .timeout = 10)
{
	pid_t pids[3 * FF_ACTORS_MAX];
	char comm[24];
	int count = 3 * FF_ACTORS_MAX, ready[2];

	cr_assert(!pipe(ready));
	for (int i = 0; i < count; i++) {
		pids[i] = fork();
		if (!pids[i]) {
			snprintf(comm, sizeof(comm), "child %d", i);
			prctl(PR_SET_NAME, comm);
			if (write(ready[1], "", 1) == 1)
				pause();
		}
	}
	for (int i = 0; i < count; i++)
		cr_assert_eq(read(ready[0], comm, 1), 1);
	for (int round = 0; round < 2; round++)
		for (int i = 0; i < count; i++) {
			snprintf(comm, sizeof(comm), "child %d", i);
			check(pids[i], pids[i], comm);
		}
	for (int i = 0; i < count; i++) {
		kill(pids[i], SIGKILL);
		waitpid(pids[i], NULL, 0);
	}
}
