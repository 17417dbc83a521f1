/* SPDX-License-Identifier: MIT */
#ifndef FF_NOTIFY_H
#define FF_NOTIFY_H

#include <linux/seccomp.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * Seccomp user notification: the ioctls on a listener (seccomp_unotify(2)). Its
 * end is POLLHUP. POLLERR only says that a signal came while poll waited for the
 * kernel's lock.
 */

/* One trapped call. */
struct ff_notification {
	int listener; /* that it came from: ids are unique there alone */
	uint64_t id;
	pid_t tid; /* in our pid namespace */
	struct seccomp_data data;
};

/* What a room says of a call that it was shown. */
enum ff_call_state {
	FF_CALL_IS_OTHER, /* not its business */
	FF_CALL_GOES_ON,  /* it is to be let go on */
	FF_CALL_IS_DONE,  /* it was let go on, answered, or is held */
};

/* Have notifier and supervisor share a CPU (Linux 6.6; no matter if older). */
void ff_notify_tune(int listener);

/*
 * Receive one: poll first, for the call blocks. 0; -ENOENT if the notifier was
 * interrupted meanwhile; or another -errno.
 */
int ff_notify_receive(int listener, struct ff_notification *notification);

/*
 * The calls that signals ended before they were received are gone; but the
 * kernel counted them when they came, and receiving fails with ENOENT once for
 * each. *lost becomes their number since this was asked last. It takes about a
 * tenth of a millisecond, unless a notification comes meanwhile: then that is
 * received, and true is returned.
 */
bool ff_notify_count_lost(int listener, unsigned int *lost,
	struct ff_notification *notification);

/* Is it still waiting? To be asked after its /proc/PID was looked at. */
bool ff_notify_alive(int listener, uint64_t id);

/* Let the call go on in the kernel. 0 or -errno (-ENOENT: no longer there). */
int ff_notify_continue(int listener, uint64_t id);

/* Answer in the kernel's place: value, or -error if that is not 0. */
int ff_notify_answer(int listener, uint64_t id, int64_t value, int error);

/*
 * Install our fd source in the notifier as fd number (closing what was there)
 * with close-on-exec, and answer the call with that number, in one step where
 * the kernel can (5.14). 0 or -errno. Who is stopped, traced or killed meanwhile
 * leaves the call answered with 0, and without the fd.
 */
int ff_notify_answer_fd(int listener, uint64_t id, int source, int number);

/*
 * Install our fd source in the notifier by the lowest number that is free, with
 * close-on-exec if asked. The call waits on. The number, or -errno (-EMFILE: the
 * notifier's limit; -ENOENT: it is gone, without the fd).
 */
int ff_notify_add_fd(int listener, uint64_t id, int source, bool cloexec);

#endif
