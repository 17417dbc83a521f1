/* SPDX-License-Identifier: MIT */
#include "enrol.h"

#include "waits.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

struct ff_fence *ff_enrol(struct ff_futexes *futexes,
	const struct ff_actor *sender, const struct ff_cargo *cargo,
	bool is_foreign, struct ff_error *error)
{
	struct ff_standin standin = {
		.dev = cargo->st.st_dev,
		.ino = cargo->st.st_ino,
	};
	struct ff_fence *fence;
	char name[256];

	ff_cargo_name(cargo, name);
	if (ff_cargo_is_memfd(cargo))
		snprintf(standin.path, sizeof(standin.path), "/memfd:%lu",
			(unsigned long)cargo->st.st_ino);
	else
		snprintf(standin.path, sizeof(standin.path), "%s", name);
	standin.fd = ff_cargo_open(sender->pid, cargo, O_RDWR, error);
	if (standin.fd < 0)
		return NULL;
	/* It may get a name, which others' sweeps are to leave alone. */
	if (!is_foreign)
		flock(standin.fd, LOCK_EX | LOCK_NB);
	fence = ff_futexes_add(futexes, &standin, false, error);
	if (!fence) {
		close(standin.fd);
		return NULL;
	}
	if (is_foreign)
		ff_fence_set_holder(fence, sender->pid);
	ff_life_created(&futexes->life, fence, sender->tid, "client", NULL);
	return fence;
}

void ff_enrol_left(struct ff_futexes *futexes, const struct ff_actor *sender,
	const struct ff_cargo *cargo)
{
	struct ff_error error;

	if (!futexes->life.traces || !ff_cargo_is_fence(cargo) ||
		!S_ISREG(cargo->st.st_mode) || ff_futexes_find(futexes,
			cargo->st.st_dev, cargo->st.st_ino))
		return;
	if (!ff_enrol(futexes, sender, cargo, true, &error))
		ff_say(futexes->log, 0, "%s[%d]: a fence's waits are not "
			"logged: %s", sender->comm, sender->pid, error.text);
}

static bool is_named_so(const struct ff_home *home)
{
	const char *base = strrchr(home->name, '/');
	char nameless[32];

	snprintf(nameless, sizeof(nameless), "/#%lu",
		(unsigned long)home->ino);
	return !strcmp(home->name, "/memfd:xshmfence") || (base &&
		(ff_standin_is_name(base + 1) || !strcmp(base, nameless)));
}

static void enrol_home(struct ff_futexes *futexes, pid_t pid,
	const struct ff_home *home)
{
	struct ff_standin standin = {
		.fd = -1,
		.dev = home->dev,
		.ino = home->ino,
	};
	struct ff_fence *fence;

	if (home->offset || !is_named_so(home) || ff_futexes_find(futexes,
			home->dev, home->ino))
		return;
	if (!strncmp(home->name, "/memfd:", 7))
		snprintf(standin.path, sizeof(standin.path), "/memfd:%lu",
			(unsigned long)home->ino);
	else
		snprintf(standin.path, sizeof(standin.path), "%s", home->name);
	fence = ff_futexes_add(futexes, &standin, false, NULL);
	if (fence)
		ff_fence_set_holder(fence, pid);
}

void ff_enrol_found(struct ff_futexes *futexes, const struct ff_ids *pids)
{
	for (size_t i = 0; futexes->life.traces && i < pids->count; i++) {
		struct ff_homes homes = { 0 };

		ff_waits_homes(pids->ids[i], &homes);
		for (size_t j = 0; j < homes.count; j++)
			enrol_home(futexes, pids->ids[i], &homes.list[j]);
		free(homes.list);
	}
}
