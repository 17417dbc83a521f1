/* SPDX-License-Identifier: MIT */
#ifndef FF_ENROL_H
#define FF_ENROL_H

#include "cargo.h"
#include "futexes.h"
#include "process.h"

/*
 * A fence that stays the client's own file joins the registry: one that is where
 * it should be; or, only to be told of (life.h), any other (is_foreign). NULL
 * with *error filled.
 */
struct ff_fence *ff_enrol(struct ff_futexes *futexes,
	const struct ff_actor *sender, const struct ff_cargo *cargo,
	bool is_foreign, struct ff_error *error);

/* What crosses as it is, is enrolled to be told of if it is a fence, and that is
 * wanted (--trace-fences). What fails is said. */
void ff_enrol_left(struct ff_futexes *futexes, const struct ff_actor *sender,
	const struct ff_cargo *cargo);

/*
 * The fences that these processes have already, as far as they have libxshmfence's
 * or stand-ins' names, are enrolled to be told of. No fd of them is to be had. What
 * fails is left out: it is not told of.
 */
void ff_enrol_found(struct ff_futexes *futexes, const struct ff_ids *pids);

#endif
