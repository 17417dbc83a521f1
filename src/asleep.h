/* SPDX-License-Identifier: MIT */
#ifndef FF_ASLEEP_H
#define FF_ASLEEP_H

#include <stdint.h>
#include <sys/types.h>

/*
 * For how long has a thread not run? /proc/TID/sched has when it ran last, by
 * the clock of its processor, which neither goes with any that clock_gettime(2)
 * knows, nor quite with that of another processor. So it is compared with our
 * own, read while we are bound to the same processor for a moment.
 *
 * 0 with *ns, which is exact to some tens of microseconds if the thread sleeps,
 * and leaves out what the processor spent on interrupts; or -errno (-ENOENT: no
 * such thread, or a kernel that lacks CONFIG_SCHED_DEBUG, before Linux 6.15;
 * -ENODATA: its processor may not be used by us).
 */
int ff_asleep(pid_t tid, uint64_t *ns);

#endif
