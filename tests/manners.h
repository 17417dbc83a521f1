/* SPDX-License-Identifier: MIT */
#ifndef MANNERS_H
#define MANNERS_H

#include <criterion/criterion.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <unistd.h>

/*
 * Run a command, under fenceferry or bare, and see what a shell would see of
 * it. The test process adopts all orphans below it: that nothing is left of a
 * job is that no child is left.
 */

enum { TEST_TIMEOUT_S = 120, PATIENCE_MS = 30000, ORDINARY_USER = 65534,
	KEPT_FD = 7 };

struct text {
	char *data;	/* ended by 0 */
	size_t length, room;
	size_t expected; /* up to here job_expect has looked */
};

struct job {
	/* How to start it. */
	bool user;		/* as an ordinary user, if we are root */
	bool terminal;		/* all streams are a new terminal's */
	int kept_fd;		/* becomes its fd KEPT_FD; 0: nothing does */
	int in_fd;		/* its standard input; 0: a pipe */
	void (*setup)(void *data); /* in the child, still as we are */
	void *data;

	/* What came of it. */
	pid_t pid;		/* 0 when it is reaped */
	int in, out, err;	/* our ends of its streams; -1: closed */
	struct text output, errors;
	int status;		/* as waitpid tells it */
};

/* fenceferry, and the program that does the things a shell cannot. */
const char *fenceferry(void);
const char *manners_victim(void);

long long now_ms(void);
void sleep_ms(int ms);

/* Start argv in a process group of its own. */
void job_start(struct job *job, const char *const *argv);

/* The same with a list of arguments; under fenceferry or not. */
#define job_run(job, ...) \
	job_start(job, (const char *const[]){fenceferry(), "run", "--", \
		__VA_ARGS__, NULL})
#define job_run_bare(job, ...) \
	job_start(job, (const char *const[]){__VA_ARGS__, NULL})

/* Wait until its output, behind what was expected before, has this text. */
void job_expect(struct job *job, const char *text);
void job_expect_error(struct job *job, const char *text);
/* Have the victim "send" make its next sendmsg. */
void job_expect_sent(struct job *job);
/* How often its output has the text. */
size_t job_count(const struct job *job, const char *text);

/* Write to its standard input. */
void job_say(struct job *job, const char *text);
void job_close_in(struct job *job);

/* Wait until nobody holds its output any more. */
void job_expect_end_of_output(struct job *job);
/* And its standard error. */
void job_drain(struct job *job);
/* Close its input, drain, and wait for its end. */
void job_wait(struct job *job);
/* Wait for the end of everything it left; free what the job holds. */
void job_end(struct job *job);
/* Wait for its end as said, with nothing left of it. */
void job_end_with_status(struct job *job, int status);
void job_end_by_signal(struct job *job, int sig);

/* A child of the process; waits for one. */
pid_t child_of(struct job *job, pid_t pid);
/* The supervisor and the command of a job_run. */
pid_t supervisor_of(struct job *job);
pid_t command_of(struct job *job);
/* Fill children with those of pid, as many as there is room for. */
size_t list_children(pid_t pid, pid_t *children, size_t room);
/* As /proc/PID/stat has them; 0 and "" when it is gone. */
char state_of(pid_t pid);
void name_of(pid_t pid, char name[16]);
void wait_for_state(struct job *job, pid_t pid, char state);

/* For a setup: a sanitized fenceferry shall not look for leaks, which takes
 * streams and fds, nor change the limit of core dumps. */
void calm_sanitizers(void);

/* A pipe out of the way of the numbers that jobs use, close-on-exec. */
void make_pipe(int ends[2]);

/* A new directory below base that the user of the job may write. */
struct place {
	char path[64];
};
struct place make_place(const char *base, bool user);
/* Remove it and the files in it. Returns how many there were. */
unsigned int remove_place(const struct place *place);
/* Wait until the file exists and ends in a newline. */
void wait_for_file(struct job *job, const char *path, char text[256]);

/* End every process below us, and the test. */
#define check(job, condition, what) \
	do { \
		if (!(condition)) \
			job_fail(job, __FILE__, __LINE__, what, #condition); \
	} while (0)
void job_fail(const struct job *job, const char *file, int line,
	const char *what, const char *condition) __attribute__((noreturn));

/* A behaviour, as root and as an ordinary user. */
#define BOTH(suite, name) \
	static void suite##_##name(bool user); \
	Test(suite, name##_root, .timeout = TEST_TIMEOUT_S) \
	{ \
		if (geteuid()) \
			cr_skip("to be run by root"); \
		suite##_##name(false); \
	} \
	Test(suite, name##_user, .timeout = TEST_TIMEOUT_S) \
	{ \
		suite##_##name(true); \
	} \
	static void suite##_##name(bool user)

#endif
