/* SPDX-License-Identifier: MIT */
#ifndef FF_LIVE_H
#define FF_LIVE_H

#include "supervisor.h"

/*
 * SIGUSR1: print who of the client waits on a fence now, on standard error, and
 * log it (events wait that have not ended). For those who may not look at the
 * client themselves (report --live).
 */
void ff_live_tell(struct ff_supervisor *supervisor);

/* Long waits are logged with call stacks, if these are wanted at all. */
void ff_live_prepare(struct ff_supervisor *supervisor);

#endif
