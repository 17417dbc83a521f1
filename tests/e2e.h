/* SPDX-License-Identifier: MIT */
#ifndef FF_TEST_E2E_H
#define FF_TEST_E2E_H

#include <jansson.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "xorg/server.h"

/*
 * Run X clients, bare or under fenceferry, on a private X server, with stand-in
 * and other files in directories of the test's own, and an end to every wait.
 * What goes wrong here fails the test. Each test is a process; it begins with
 * e2e_begin and has e2e_end for its .fini, which cleans up after failures too.
 */

enum { E2E_ARGS = 32, E2E_TIMEOUT_S = 120, E2E_TEXT = 65536 };

struct e2e_run {
	/* What to run. */
	bool wrapped;			 /* by fenceferry */
	const char *options[E2E_ARGS];	 /* fenceferry's, ended by NULL */
	const char *command[E2E_ARGS];	 /* ended by NULL */
	const char *display;		 /* not the server's; "": none at all */
	const char *tmpfs_size; /* of a tmpfs instead of the shm dir: root */
	const char *setting;		 /* "NAME=VALUE", or NULL */
	unsigned long file_limit;	 /* soft RLIMIT_FSIZE; 0: none */
	unsigned int patience_s; /* until its end, beyond the usual time */

	/* While it runs. */
	pid_t pid; /* fenceferry's front, or the bare command */

	/* What came of it. */
	bool ended;
	int status;		/* as waitpid tells it */
	bool left_processes;	/* that did not end in time */
	char output[E2E_TEXT];	/* its standard output so far */
	char errors[E2E_TEXT];	/* everybody's standard error */
	json_t *log;		/* array of events; never NULL if wrapped */
	unsigned int bad_lines; /* that are no JSON objects */

	/* Private. */
	int input;
	char files[PATH_MAX]; /* the directory of these: */
};

/*
 * Start the server, make the directories; what is run later is run as an
 * ordinary user if as_user. A test that cannot be had without root is skipped.
 */
void e2e_begin(enum ff_test_server_kind kind, bool as_user);

/* The engine that options do not name: "auto", unless a program of tests says
 * otherwise. */
extern const char *e2e_engine;

/* In a test that began: unless we are root, clean up and skip the rest. */
void e2e_need_root(void);

/* The same, where Yama lets nobody attach to what is not his child. */
void e2e_need_attach(void);

/* Kill what still runs, stop the server, remove the directories. */
void e2e_end(void);

/* The server; where stand-ins go, and all else; what the clients are called,
 * and fenceferry. */
const struct ff_test_server *e2e_server(void);
const char *e2e_shm_dir(void);
const char *e2e_dir(void);
const char *e2e_client(const char *name);
const char *e2e_fenceferry(void);

/* Start it, with a pipe for standard input. */
void e2e_start(struct e2e_run *run);

/* Wait until it has written text on standard output. */
void e2e_await(struct e2e_run *run, const char *text);

/* Has it ended by itself? */
bool e2e_has_ended(struct e2e_run *run);

/* Fill in output and errors with what there is by now. */
void e2e_look(struct e2e_run *run);

/* Write a line to its standard input: the clients' --pause ends. */
void e2e_go_on(struct e2e_run *run);

/*
 * Close its standard input, wait for its end and that of all it has left
 * behind, and read what it wrote and logged. Nothing must be left in the shm
 * dir; unless it is of another run, which e2e_finish_beside allows.
 */
void e2e_finish(struct e2e_run *run);
void e2e_finish_beside(struct e2e_run *run);

/* Start and finish. */
void e2e_do(struct e2e_run *run);

/* Whether it has exited with this status. */
bool e2e_exited(const struct e2e_run *run, int status);

/* How many files there are in the shm dir. */
unsigned int e2e_count_standins(void);

/* The log: e2e-log.c. */

/* Read the lines of a file. */
void e2e_read_log(struct e2e_run *run, const char *path);

/* How many lines of a file have this text in them. */
unsigned int e2e_count_lines(const char *path, const char *text);

/* How many lines of its log have this text in them, while it runs. */
unsigned int e2e_logged(const struct e2e_run *run, const char *text);

/* By time: lines with call stacks come late. */
void e2e_sort_log(struct e2e_run *run);

/* Is its call stack cut as that of sanitized code is, whose frame pointers are
 * not known without ptrace? */
bool e2e_is_cut_by_sanitizer(json_t *event);

/* Event number index of those with this name, or NULL. */
json_t *e2e_event(const struct e2e_run *run, const char *name, size_t index);

/* How many events of this name have field key with this text in it. */
unsigned int e2e_count(const struct e2e_run *run, const char *name,
	const char *key, const char *text);

/* A field; "" or -1 if the event has no such text or number. */
const char *e2e_text(json_t *event, const char *key);
long long e2e_number(json_t *event, const char *key);

/*
 * Check that the log is whole, and tells of exactly so many crossings of each
 * action, with an exit event that counts the same.
 */
void e2e_check_log(const struct e2e_run *run, unsigned int swapped,
	unsigned int left, unsigned int failed);

/* Processes: e2e-process.c. */

struct e2e_mapping {
	unsigned int major, minor;
	unsigned long long inode;
	char path[256];
};

/* What a process holds. */
struct e2e_usage {
	unsigned int fds;
	unsigned int shared; /* mappings of memfds and stand-ins */
	unsigned long anonymous_kb;
};

/* Milliseconds since some time. */
long long e2e_now_ms(void);

/* The one child of pid; waits for it to appear. */
pid_t e2e_child_of(pid_t pid);

void e2e_usage(pid_t pid, struct e2e_usage *usage);

/* How often a process has gone to sleep, or -1 if it is gone. */
long e2e_sleeps(pid_t pid);

/* Understand the line of /proc/PID/maps that follows label in text. */
void e2e_read_mapping(
	const char *text, const char *label, struct e2e_mapping *mapping);

/* Find a mapping of the same file in pid; false if there is none. */
bool e2e_find_mapping(pid_t pid, const struct e2e_mapping *wanted,
	struct e2e_mapping *mapping);

/* The name in the shm dir of a file, which maps need not show: one that was
 * given later. "" if it has none. */
void e2e_find_name(unsigned long long inode, char path[256]);

/* Fail the test, with all that is known of the run, unless condition holds. */
#define e2e_check(run, condition, what) \
	do { \
		if (!(condition)) \
			e2e_fail(run, what, #condition, __FILE__, __LINE__); \
	} while (0)

_Noreturn void e2e_fail(const struct e2e_run *run, const char *what,
	const char *condition, const char *file, int line);

/* A test as root and one as an ordinary user, with the same body. */
#define E2E_TEST(suite, name, server) \
	static void name(void); \
	Test(suite, name##_root, .fini = e2e_end, .timeout = E2E_TIMEOUT_S) \
	{ \
		e2e_begin(server, false); \
		name(); \
	} \
	Test(suite, name##_user, .fini = e2e_end, .timeout = E2E_TIMEOUT_S) \
	{ \
		e2e_begin(server, true); \
		name(); \
	} \
	static void name(void)

#endif
