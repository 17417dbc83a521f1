/* SPDX-License-Identifier: MIT */
#ifndef FF_TEST_STEPS_H
#define FF_TEST_STEPS_H

#include <stdint.h>

/* What steps (steps.c) can do; each dies of what goes wrong. */

/* An X server's client, from the first use on: steps-x.c. */

/* Make, use and destroy count fences, or memfds that become MIT-SHM segments,
 * whose pictures are compared before and after they cross. */
void ff_steps_fences(long count);
void ff_steps_memfds(long count);

/* Make fences until there is something to read on standard input; a line of it
 * is read. Returns how many. */
long ff_steps_flow(void);

/* Share one memfd that a child has mapped, too, which puts itself under a filter
 * that kills for these calls. It must live. */
void ff_steps_memfd_with_sharer(const char *calls);

/* In a child: the parent's connection is not ours. */
void ff_steps_forget_connection(void);

/* Filters: steps-filter.c. */

/* What a filter does to a call. */
enum ff_steps_action {
	FF_STEPS_ERRNO, /* fails with EPERM */
	FF_STEPS_KILL,	/* ends the process by SIGSYS */
};

/* Load a filter on these calls, whose names are separated by commas. */
void ff_steps_filter(enum ff_steps_action action, const char *calls);

/* The same from another thread than ours, for all threads. */
void ff_steps_filter_from_thread(
	enum ff_steps_action action, const char *calls);

/* A thread of ours puts itself alone under one, and sleeps to our end. */
void ff_steps_filter_one_thread(
	enum ff_steps_action action, const char *calls);

/* Write the filter to fd, as bwrap --seccomp reads it. */
void ff_steps_export_filter(
	enum ff_steps_action action, const char *calls, int fd);

/* Tracers: steps-trace.c. */

/* A child attaches to us, reads our registers, and detaches, count times, while
 * work(1) is called again and again. Says how often it was refused. */
void ff_steps_dumps(long count, void (*work)(long count));

/* Trace a child that does work(1), from call to call, to its end; count times.
 * Says how many calls of memfd_create were seen. */
void ff_steps_trace(long count, void (*work)(long count));

#endif
