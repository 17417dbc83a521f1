/* SPDX-License-Identifier: MIT */
#ifndef FF_DOCTOR_CHECKUP_H
#define FF_DOCTOR_CHECKUP_H

#include "error.h"
#include "futexwatch/link.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/types.h>

/*
 * What `fenceferry doctor` finds. An exam looks at one thing by trying it, and
 * leaves findings. Each exam is a process of its own with a deadline: whatever
 * hangs or dies takes nothing else along.
 */

enum ff_health { FF_OK, FF_DEGRADED, FF_MISSING };

/* "ok", "degraded" or "missing". */
const char *ff_health_name(enum ff_health health);

/* What fenceferry can be used for. */
enum ff_use {
	FF_USE_PTRACE, /* run --engine=ptrace */
	FF_USE_NOTIFY, /* run --engine=notify */
	FF_USE_AUTO,   /* run: of these two what works */
	FF_USE_RELAY,  /* run --relay */
	FF_USE_ISOLATE,
	FF_USE_HOST, /* host */
	FF_USES,
};

/* Sets of uses: those that suffer if a finding is not FF_OK. (Two suffer from
 * others as well: with one of its engines auto goes on with less, and without
 * auto neither a relay nor isolation goes.) */
#define FF_FOR_NOBODY 0u
#define FF_FOR_PTRACE (1u << FF_USE_PTRACE)
#define FF_FOR_AUTO (1u << FF_USE_AUTO)
#define FF_FOR_NOTIFY (1u << FF_USE_NOTIFY)
#define FF_FOR_RELAY (1u << FF_USE_RELAY)
#define FF_FOR_ISOLATE (1u << FF_USE_ISOLATE)
#define FF_FOR_HOST (1u << FF_USE_HOST)
#define FF_FOR_FUTEXES (FF_FOR_RELAY | FF_FOR_ISOLATE)
#define FF_FOR_RUN (FF_FOR_PTRACE | FF_FOR_NOTIFY | FF_FOR_FUTEXES)

#define FF_TEXT_SIZE 256

struct ff_finding {
	const char *check; /* static */
	enum ff_health health;
	unsigned int uses;
	char found[FF_TEXT_SIZE];
	char reason[FF_TEXT_SIZE]; /* may be empty, like this: */
	char way_out[FF_TEXT_SIZE];
};

#define FF_FINDINGS_MAX 64

/* In memory that is shared with the exams. */
struct ff_checkup {
	const char *shm_dir;
	bool has_relay;
	struct ff_address relay;
	/* Found: mapped files there are the host's memory; or no other's. */
	bool shm_is_dax, shm_is_ours;
	size_t count;
	struct ff_finding findings[FF_FINDINGS_MAX];
};

struct ff_exam {
	const char *check; /* what the finding is called if it comes to no end */
	unsigned int uses; /* that suffer then */
	void (*examine)(struct ff_checkup *checkup);
};

/* NULL if there is no memory. */
struct ff_checkup *ff_checkup_new(void);
void ff_checkup_free(struct ff_checkup *checkup);

/* Carry out the exam in a child, which gets some seconds. */
void ff_checkup_run(struct ff_checkup *checkup, const struct ff_exam *exam);

/* How a use fares, from all findings; *worst becomes one that is to blame, NULL
 * if all is well. */
enum ff_health ff_checkup_use(const struct ff_checkup *checkup,
	enum ff_use use, const struct ff_finding **worst);

/* Add a finding, and what was found. Never NULL. */
struct ff_finding *ff_find(struct ff_checkup *checkup, const char *check,
	unsigned int uses, enum ff_health health, const char *format, ...)
	__attribute__((format(printf, 5, 6)));

/* Fill in a text of a finding; what is too long is cut off. */
void ff_tell(char text[FF_TEXT_SIZE], const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* The reason is this error; what it has in parentheses at its end is the way
 * out. And a finding that has come of an error. */
void ff_tell_error(struct ff_finding *finding, const struct ff_error *error);
struct ff_finding *ff_find_error(struct ff_checkup *checkup, const char *check,
	unsigned int uses, enum ff_health health, const char *found,
	const struct ff_error *error);

/*
 * Fork a process that is tried out, to run act. It dies with us. *channel is a
 * socket to it, which it has as act's argument. Its pid, or -errno; it is for
 * ff_subject_end to kill and reap.
 */
pid_t ff_subject_start(void (*act)(int channel, void *context), void *context,
	int *channel);
void ff_subject_end(pid_t pid, int channel);

/* Zeroed memory that subjects share with us; exits the exam if there is none. */
void *ff_share(size_t size);

/* The exams. */
void ff_examine_kernel(struct ff_checkup *checkup);
void ff_examine_user(struct ff_checkup *checkup);
void ff_examine_listener(struct ff_checkup *checkup);
void ff_examine_ptrace(struct ff_checkup *checkup);
void ff_examine_processes(struct ff_checkup *checkup);
void ff_examine_futexes(struct ff_checkup *checkup);
void ff_examine_shm_dir(struct ff_checkup *checkup);
void ff_examine_limits(struct ff_checkup *checkup);
void ff_examine_relay(struct ff_checkup *checkup);
void ff_examine_display(struct ff_checkup *checkup);
void ff_examine_library(struct ff_checkup *checkup);

#endif
