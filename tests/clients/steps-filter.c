/* SPDX-License-Identifier: MIT */
#include "steps.h"

#include <errno.h>
#include <pthread.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "client.h"

static scmp_filter_ctx make_filter(
	enum ff_steps_action action, const char *calls)
{
	uint32_t what = action == FF_STEPS_KILL ? SCMP_ACT_KILL_PROCESS
						: SCMP_ACT_ERRNO(EPERM);
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	char *names = strdup(calls), *rest = names, *name;

	if (!filter || !names)
		ff_client_die("out of memory");
	while ((name = strsep(&rest, ","))) {
		int nr = seccomp_syscall_resolve_name(name);

		if (nr == __NR_SCMP_ERROR)
			ff_client_die("%s: no such call", name);
		if (seccomp_rule_add(filter, what, nr, 0))
			ff_client_die("no filter for %s", name);
	}
	free(names);
	return filter;
}

static void load(enum ff_steps_action action, const char *calls, bool all)
{
	scmp_filter_ctx filter = make_filter(action, calls);
	int err = 0;

	if (all)
		err = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
	if (!err)
		err = seccomp_load(filter);
	if (err)
		ff_client_die("seccomp: %s", strerror(-err));
	seccomp_release(filter);
}

void ff_steps_filter(enum ff_steps_action action, const char *calls)
{
	load(action, calls, false);
}

struct order {
	enum ff_steps_action action;
	const char *calls;
	int ready; /* to write to */
};

static void *load_and_sleep(void *data)
{
	const struct order *order = data;
	struct timespec long_time = {.tv_sec = 1000};

	load(order->action, order->calls, false);
	if (write(order->ready, "", 1) != 1)
		ff_client_die("pipe: %s", strerror(errno));
	/* Interrupted, it is continued by restart_syscall. */
	nanosleep(&long_time, NULL);
	return NULL;
}

void ff_steps_filter_one_thread(enum ff_steps_action action, const char *calls)
{
	struct order order = {action, calls, -1};
	pthread_t thread;
	int ends[2];
	char byte;

	if (pipe(ends))
		ff_client_die("pipe: %s", strerror(errno));
	order.ready = ends[1];
	if (pthread_create(&thread, NULL, load_and_sleep, &order) ||
		read(ends[0], &byte, 1) != 1)
		ff_client_die("no thread");
	/* Into its sleep. */
	usleep(20000);
	close(ends[0]);
	close(ends[1]);
}

static void *load_for_all(void *data)
{
	const struct order *order = data;

	load(order->action, order->calls, true);
	return NULL;
}

void ff_steps_filter_from_thread(enum ff_steps_action action, const char *calls)
{
	struct order order = {action, calls, -1};
	pthread_t thread;

	if (pthread_create(&thread, NULL, load_for_all, &order) ||
		pthread_join(thread, NULL))
		ff_client_die("no thread");
}

void ff_steps_export_filter(
	enum ff_steps_action action, const char *calls, int fd)
{
	scmp_filter_ctx filter = make_filter(action, calls);

	if (seccomp_export_bpf(filter, fd))
		ff_client_die("the filter cannot be written");
	seccomp_release(filter);
}
