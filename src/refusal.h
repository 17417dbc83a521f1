/* SPDX-License-Identifier: MIT */
#ifndef FF_REFUSAL_H
#define FF_REFUSAL_H

#include "error.h"
#include "process.h"

#include <sys/types.h>

/* Who may be looked at by report --live, and why another may not. */

/* Is there such a process, that could have threads in a futex call? 0, or
 * -errno with *error filled (-ESRCH: none, a zombie, or a kernel thread). */
int ff_refuse_look(pid_t pid, struct ff_error *error);

/* Why looking at pid has failed with err (-errno), and the way out. */
void ff_explain_look(pid_t pid, int err, struct ff_error *error);

/* Append the processes of the fenceferrys that run here, and those that an
 * attach has left to its keeper. Ourselves left out. 0 or -errno. */
int ff_find_watchers(struct ff_ids *pids);

#endif
