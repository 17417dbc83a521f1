/* SPDX-License-Identifier: MIT */
#ifndef FF_REPLIES_H
#define FF_REPLIES_H

#include "backtrace.h"
#include "eventlog.h"
#include "futexes.h"
#include "notify.h"
#include "servers.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * One recvmsg at a time: which fds come with it from an X server. They are
 * looked at before the call is made, as copies, and stay as they are. Who reads
 * less than what comes before them gets them with a later call: they are told
 * now, for peeking does not show where they lie.
 *
 * What arrives while a call already waits for it is not seen: X libraries wait
 * in poll, and read when there is something. Nor is what the second message of
 * a recvmmsg has.
 */

/* How many arrivals are remembered, in order to tell each but once: calls are
 * interrupted and made again, and clients peek. */
#define FF_REPLIES_SEEN 64

struct ff_replies {
	bool wanted; /* --replies: else such calls go on, which a filter that
		      * attach found may trap all the same */
	const char *shm_dir;
	struct ff_servers *servers; /* not ours, and so are these */
	const struct ff_futexes *futexes;
	struct ff_backtraces *backtraces;
	struct ff_eventlog *log;
	struct ff_arrival {
		ino_t socket;
		uint64_t fds;	    /* which ones: a hash */
		int32_t sequence;   /* of the first reply; -1: not known */
		unsigned char tail[32]; /* the last bytes they came with */
		size_t tail_size;
	} seen[FF_REPLIES_SEEN];
	size_t next_seen;
};

/*
 * Look at a trapped call. It is another one; or goes on, and is not answered; or
 * it is done: its thread was stopped for a call stack, and makes it again. That
 * takes may_stop, see ff_backtrace_take.
 */
enum ff_call_state ff_replies_handle(struct ff_replies *replies,
	const struct ff_notification *notification, bool may_stop);

#endif
