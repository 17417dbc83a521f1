/* SPDX-License-Identifier: MIT */
#ifndef FF_ATTACH_TARGET_H
#define FF_ATTACH_TARGET_H

#include "error.h"
#include "process.h"

#include <stdint.h>
#include <sys/types.h>

/* Whom attach is to attach to, and why it may not. */

/* The pid that text is. 0, or -EINVAL with *error filled. */
int ff_target_parse(const char *text, pid_t *pid, struct ff_error *error);

/*
 * What can be refused before it is touched: no process, one that has ended, a
 * thread, a kernel thread, ourselves. 0 with *birth filled, or -errno with
 * *error filled.
 */
int ff_target_check(pid_t pid, struct ff_birth *birth, struct ff_error *error);

/* An earlier attach has put pid under a filter. Are we under it, having been
 * started there? Then we would wait for ourselves. 0, or -errno with *error
 * filled. */
int ff_target_check_ourselves(pid_t pid, struct ff_error *error);

/* pid could not be put under the filter, err and *error saying so (install.h):
 * if more of the cause can be told, *error names it instead. Returns -errno. */
int ff_target_explain(pid_t pid, int err, struct ff_error *error);

/* pid is under a filter with a listener: *error becomes a message that names
 * whose it is, as far as can be told. Returns -EBUSY. */
int ff_target_explain_listener(pid_t pid, struct ff_error *error);

#endif
