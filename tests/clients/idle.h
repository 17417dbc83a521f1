/* SPDX-License-Identifier: MIT */
#ifndef FF_TEST_IDLE_H
#define FF_TEST_IDLE_H

/* Threads that wait in system calls, which nobody may interrupt. */

/* Start count of them, and wait until each is about to wait. */
void ff_idle_start(long count);

/* Die if any came back; say so if none did. */
void ff_idle_check(long count);

#endif
