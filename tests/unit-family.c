/* SPDX-License-Identifier: MIT */
/* Who belongs to the client, while processes come and go. */
#include "family.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TEST_TIMEOUT_S = 30 };

/* A child that sleeps, with a child of its own that does. Its pid. */
static pid_t fork_two(pid_t *grandchild)
{
	int pair[2];
	pid_t pid;

	cr_assert_eq(pipe(pair), 0);
	pid = fork();
	cr_assert_geq(pid, 0);
	if (!pid) {
		pid_t own = fork();

		if (own > 0 && write(pair[1], &own, sizeof(own)) < 0)
			_exit(1);
		for (;;)
			pause();
	}
	cr_assert_eq(read(pair[0], grandchild, sizeof(*grandchild)),
		(ssize_t)sizeof(*grandchild));
	close(pair[0]);
	close(pair[1]);
	return pid;
}

static void end_two(pid_t child, pid_t grandchild)
{
	kill(grandchild, SIGKILL);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
}

static const struct ff_ids *list(struct ff_family *family)
{
	const struct ff_ids *ids = NULL;

	cr_assert_eq(ff_family_list(family, &ids), 0);
	return ids;
}

Test(family, of_our_own_is_without_us, .timeout = TEST_TIMEOUT_S)
{
	struct ff_family family = { .root = getpid() };
	pid_t grandchild, child = fork_two(&grandchild);

	cr_assert_eq(list(&family)->count, 2);
	cr_assert(ff_ids_has(list(&family), child));
	cr_assert(ff_ids_has(list(&family), grandchild));
	end_two(child, grandchild);
	ff_family_free(&family);
}

Test(family, of_another_is_with_it, .timeout = TEST_TIMEOUT_S)
{
	struct ff_family family = { 0 };
	pid_t grandchild;

	family.root = fork_two(&grandchild);
	for (int i = 0; i < 3; i++) {
		cr_assert_eq(list(&family)->count, 2, "each is there once");
		cr_assert(ff_ids_has(list(&family), family.root));
		cr_assert(ff_ids_has(list(&family), grandchild));
	}
	end_two(family.root, grandchild);
	ff_family_free(&family);
}

Test(family, grows_and_shrinks, .timeout = TEST_TIMEOUT_S)
{
	struct ff_family family = { .root = getpid() };

	cr_assert_eq(list(&family)->count, 0);
	for (int i = 0; i < 50; i++) {
		pid_t grandchild, child = fork_two(&grandchild);

		cr_assert(ff_ids_has(list(&family), child));
		cr_assert(ff_ids_has(list(&family), grandchild));
		end_two(child, grandchild);
		cr_assert_not(ff_ids_has(list(&family), child));
	}
	ff_family_free(&family);
}
