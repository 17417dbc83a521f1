/* SPDX-License-Identifier: MIT */
#ifndef FF_TICK_H
#define FF_TICK_H

/* SIGALRM every so many microseconds from now on, less than a second, so that
 * system calls which wait end with EINTR; 0: no more. Not to be nested. */
void ff_tick(unsigned int every_us);

#endif
