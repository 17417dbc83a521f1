/* SPDX-License-Identifier: MIT */
#ifndef FF_BENCH_FENCE_CLIENT_H
#define FF_BENCH_FENCE_CLIENT_H

#include <stdint.h>
#include <sys/types.h>

/* One byte on the client's standard input asks for one fence. */
#define FF_FENCE_PLAIN 'f'
#define FF_FENCE_REFERENCES 'r' /* also take the references' times */

/* What a fence's memory is: a memfd, or a file. */
enum ff_fence_memory { FF_FENCE_MEMFD, FF_FENCE_FILE };

/* One answer on the client's standard output: the first when it is connected
 * (all times 0), then one for every fence. */
struct ff_fence_round {
	uint64_t make_ns;  /* xshmfence_alloc_shm */
	uint64_t whole_ns; /* from its call until the server has answered
			      FenceFromFD */
	uint64_t call_ns;  /* reference: a sendmsg that does nothing */
	uint64_t file_ns;  /* reference: a file in /dev/shm, made and closed */
	pid_t pid;
	uint8_t made, crossed; /* ff_fence_memory, before and after */
};

/*
 * Be the client: connect to $DISPLAY, and make fences until standard input
 * ends; each is triggered by the server and awaited before it is told of. What
 * goes wrong ends the process, with a message. Returns an exit status.
 */
int ff_fence_client(void);

#endif
