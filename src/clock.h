/* SPDX-License-Identifier: MIT */
#ifndef FF_CLOCK_H
#define FF_CLOCK_H

#include <stdint.h>
#include <time.h>

/* CLOCK_MONOTONIC in nanoseconds. */
static inline uint64_t ff_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Milliseconds until then, rounded up, as poll(2) wants them; 0 if it is over. */
static inline int ff_ms_until(uint64_t end_ns)
{
	uint64_t now_ns = ff_now_ns();

	return end_ns > now_ns ?
		(int)((end_ns - now_ns + 999999) / 1000000) : 0;
}

/* Seconds since the epoch, to the microsecond: the time of an event. */
static inline double ff_epoch_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (double)now.tv_sec + (double)(now.tv_nsec / 1000) / 1e6;
}

#endif
