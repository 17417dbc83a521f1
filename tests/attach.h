/* SPDX-License-Identifier: MIT */
#ifndef FF_TEST_ATTACH_H
#define FF_TEST_ATTACH_H

#include "coexist.h"

/* fenceferry attach to clients that run already. */

struct attach {
	struct e2e_run run;
	char pid[16], shm_dir[96], log[PATH_MAX + 16];
	const char *options[8]; /* ended by NULL */
	const char *binary;	/* NULL: $FENCEFERRY */
};

/* Start it; its options are set by the caller. */
void attach_begin(struct attach *attach, pid_t pid);

/* Wait until it watches the client. */
void attach_await(struct attach *attach);

/* Both, with this option or none. */
void attach_to(struct attach *attach, pid_t pid, const char *option);

/* Wait for this text on its standard error. */
void attach_await_text(struct attach *attach, const char *text);

/* End it by a signal, as which it is content; its log is read. */
void attach_end(struct attach *attach, int sig);

/* The client ended, and so does it. */
void attach_finish(struct attach *attach);

/* It is refused, with this text. */
void attach_refused(struct attach *attach, pid_t pid, const char *text);

/* The keeper of the client; 0 if there is none. */
pid_t attach_keeper(pid_t pid);

/* Wait until that is gone. */
void attach_await_no_keeper(const struct e2e_run *run, pid_t pid);

/* The client is content, and has nothing of ours but its filter. */
void attach_finish_client(struct e2e_run *client);

#endif
