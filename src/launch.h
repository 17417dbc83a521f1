/* SPDX-License-Identifier: MIT */
#ifndef FF_LAUNCH_H
#define FF_LAUNCH_H

#include "error.h"
#include "eventlog.h"
#include "filter.h"

#include <stdint.h>
#include <sys/types.h>

/*
 * Who forks whom:
 *
 *	front --- supervisor --- command --- ...
 *
 * The front is the process the shell knows: it has the command's job control
 * and exit status, and holds a duplicate of the listener. The supervisor
 * does the work; it may die. Both are subreapers: so the command and all it
 * forks stay below the supervisor, as Yama's scope 1 wants of a tracer, and
 * come below the front when the supervisor is gone.
 */

/* What the supervisor tells the front. */
enum ff_news {
	FF_NEWS_STARTED, /* its pid; with the listener and a pidfd of it */
	FF_NEWS_STOPPED, /* the command, by this signal */
	FF_NEWS_SIGNAL,	 /* one that our whole process group got */
	FF_NEWS_ENDED,	 /* with its wait status */
	FF_NEWS_FAILED,	 /* before it ran; with our exit status */
};

/* 0 or -errno: the front is gone. */
int ff_launch_tell(int front, enum ff_news news, int status);

/*
 * The command goes on after FF_NEWS_STOPPED: so must the front, which may have
 * stopped too late for the SIGCONT that the command got. Waits for it, not
 * longer than a second.
 */
void ff_launch_wake(int front);

/*
 * In a process of ours: hold nothing that is the command's, so that a pipe ends
 * when the command closes it. We keep standard error for messages, and what we
 * opened ourselves, which is close-on-exec as nothing inherited can be.
 */
void ff_launch_leave_command(void);

/* A file that a trapped call is to be answered with, by the number that its
 * thread gets it by. */
struct ff_gift {
	_Atomic uint64_t call; /* of the notification; 0: none */
	pid_t tid;
	dev_t dev;
	ino_t ino;
};

/*
 * In memory shared by front and supervisor: the notification received last, and
 * the oldest that is held on purpose. Of a supervisor that died, nobody else
 * knows which ones it left unanswered; and poll shows them no more.
 */
struct ff_legacy {
	_Atomic uint64_t last_received;
	_Atomic uint64_t oldest_held; /* UINT64_MAX: none */
	struct ff_gift gift; /* that is being handed over */
};

/* To be called in the supervisor with the command started. */
typedef int ff_supervise_fn(int listener, int front, pid_t command,
	struct ff_legacy *legacy, void *context);

struct ff_symbols;

struct ff_launch {
	char *const *argv; /* NULL-terminated */
	/* Called in the supervisor before there is a command. 0, or -errno with
	 * *error filled: then there will be none. */
	int (*prepare)(void *context, struct ff_error *error);
	/* Called in the front when the supervisor died. */
	void (*bereave)(void *context);
	struct ff_filter_options filter;
	struct ff_symbols *symbols; /* started already (symbols.h), or NULL */
	const struct ff_eventlog *log; /* for what is said on standard error */
	ff_supervise_fn *supervise;
	void *context;
};

/*
 * Run the command to its end. Returns the exit status to end with, after a
 * message if it is ours; if the command died of a signal, this process does
 * so too.
 */
int ff_launch(const struct ff_launch *launch);

#endif
