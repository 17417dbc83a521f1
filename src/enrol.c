/* SPDX-License-Identifier: MIT */
#include "enrol.h"

#include <fcntl.h>
#include <stdio.h>
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
