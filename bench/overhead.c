/* SPDX-License-Identifier: MIT */
/* What calls cost that are none of fenceferry's business: see README.md. */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

/* Calls between two looks at the clock; as many messages fit in a socket. */
#define BATCH 128

enum call {
	GETPPID,
	WAKE,
	WAKE_SHARED,
	WAIT_SHARED,
	WRITEV,
	SEND_NOSIGNAL,
	SEND,
	CALLS
};

static const char *const call_name[CALLS] = {
	"getppid",
	"futex wake, private",
	"futex wake, shared",
	"futex wait, shared, EAGAIN",
	"writev",
	"sendmsg, MSG_NOSIGNAL",
	"sendmsg, no flags, no fd",
};

enum setting { BARE, FILTER, FENCEFERRY, TRACE_FENCES, STRACE, SETTINGS };

static const char *const setting_name[SETTINGS] = {"bare",
	"filter that allows all", "fenceferry", "fenceferry --trace-fences",
	"strace"};

static int null_fd, end[2];

/* One call; the switch costs the same in every setting. */
static bool do_call(enum call call)
{
	static uint32_t word;
	static char byte;
	static struct iovec part = {&byte, 1};
	static struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};

	switch (call) {
	case GETPPID:
		return syscall(SYS_getppid) >= 0;
	case WAKE:
		return syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, NULL,
			       NULL, 0) == 0;
	case WAKE_SHARED:
		return syscall(SYS_futex, &word, FUTEX_WAKE, 1, NULL, NULL,
			       0) == 0;
	case WAIT_SHARED:
		return syscall(SYS_futex, &word, FUTEX_WAIT, 1, NULL, NULL,
			       0) < 0 && errno == EAGAIN;
	case WRITEV:
		return writev(null_fd, &part, 1) == 1;
	case SEND_NOSIGNAL:
		return sendmsg(end[0], &message, MSG_NOSIGNAL) == 1;
	case SEND:
		return sendmsg(end[0], &message, 0) == 1;
	default:
		return false;
	}
}

/* The median of many batches, in ns a call; NAN when a call fails. */
static double measure(enum call call, double seconds)
{
	struct ff_samples ns = {0};
	uint64_t last = ff_now_ns() + (uint64_t)(seconds * 1e9), start, now;
	char drain[BATCH];
	double median;

	do {
		bool good = true;

		start = ff_now_ns();
		for (int i = 0; i < BATCH; i++)
			good &= do_call(call);
		now = ff_now_ns();
		if (!good || (call >= SEND_NOSIGNAL &&
				     read(end[1], drain, BATCH) != BATCH)) {
			ff_samples_clear(&ns);
			return NAN;
		}
		ff_samples_add(&ns, (double)(now - start) / BATCH);
	} while (now < last || ns.count < 5);
	median = ff_samples_median(&ns);
	ff_samples_clear(&ns);
	return median;
}

/* The least that a seccomp filter can be: no test, one constant answer. */
static int allow_all(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
	struct sock_fprog program = {1, code};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -1;
	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program);
}

/* The measured process: its figures go to standard output. */
static int be_measured(bool filter, double seconds)
{
	double ns[CALLS];

	null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	if (null_fd < 0 ||
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, end) ||
		(filter && allow_all())) {
		perror("bench/overhead: the measured process");
		return 1;
	}
	for (int call = 0; call < CALLS; call++) {
		ns[call] = measure((enum call)call, seconds);
		if (isnan(ns[call])) {
			fprintf(stderr, "bench/overhead: %s: %s\n",
				call_name[call], strerror(errno));
			return 1;
		}
	}
	return write(STDOUT_FILENO, ns, sizeof(ns)) != sizeof(ns);
}

/* Become the measured process in its setting. */
static _Noreturn void become(enum setting setting, const char *fenceferry,
	const char *self, const char *seconds, int out)
{
	const char *before[SETTINGS][9] = {
		[FENCEFERRY] = {fenceferry, "run", "--engine=ptrace", "--"},
		[TRACE_FENCES] = {fenceferry, "run", "--engine=ptrace",
			"--trace-fences", "--"},
		[STRACE] = {"strace", "-f", "--seccomp-bpf", "-e",
			"trace=sendmsg", "-o", "/dev/null", "--"},
	};
	const char *argv[16];
	int n = 0;

	while (before[setting][n])
		argv[n] = before[setting][n], n++;
	argv[n++] = self;
	argv[n++] = setting == FILTER ? "--measured-filter" : "--measured";
	argv[n++] = seconds;
	argv[n] = NULL;
	if (dup2(out, STDOUT_FILENO) >= 0)
		execvp(argv[0], (char *const *)argv);
	_exit(127);
}

/* Run it once. Returns 0, 1 if the setting's program is not there, or -1. */
static int run_once(enum setting setting, const char *fenceferry,
	const char *self, const char *seconds, double ns[CALLS])
{
	int out[2], status;
	ssize_t got;
	pid_t child;

	if (pipe2(out, O_CLOEXEC))
		return -1;
	child = fork();
	if (!child)
		become(setting, fenceferry, self, seconds, out[1]);
	close(out[1]);
	got = read(out[0], ns, sizeof(*ns) * CALLS);
	close(out[0]);
	if (child < 0 || waitpid(child, &status, 0) != child)
		return -1;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
		return 1;
	return status || got != (ssize_t)sizeof(*ns) * CALLS ? -1 : 0;
}

/* All settings in turn, several times. */
static int run_all(bool *wanted, int runs, const char *fenceferry,
	const char *seconds, struct ff_samples figure[SETTINGS][CALLS])
{
	static char self[4096];
	double ns[CALLS];

	if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
		return -1;
	for (int i = 0; i < runs * SETTINGS; i++) {
		/* another order in every turn */
		enum setting s = (enum setting)((i + i / SETTINGS) % SETTINGS);
		int result =
			wanted[s] ? run_once(s, fenceferry, self, seconds, ns)
				  : 0;

		if (result < 0 || (result && s != STRACE)) {
			fprintf(stderr, "bench/overhead: %s: failed\n",
				setting_name[s]);
			return -1;
		}
		if (result)
			fprintf(stderr, "bench/overhead: strace is not "
					"installed, and left out\n");
		wanted[s] = wanted[s] && !result;
		for (int call = 0; wanted[s] && call < CALLS; call++)
			ff_samples_add(&figure[s][call], ns[call]);
	}
	return 0;
}

static void print(const bool *wanted, struct ff_samples figure[SETTINGS][CALLS])
{
	struct ff_table table = {0};
	static const char *const title[] = {
		"call", "setting", "ns", "- bare, ns", "/ bare"};

	ff_table_row(&table);
	for (size_t i = 0; i < sizeof(title) / sizeof(*title); i++)
		ff_table_text(&table, "%s", title[i]);
	for (int call = 0; call < CALLS; call++)
		for (int s = 0; s < SETTINGS; s++) {
			double ns = ff_samples_median(&figure[s][call]);
			double bare = ff_samples_median(&figure[BARE][call]);

			if (!wanted[s])
				continue;
			ff_table_row(&table);
			ff_table_text(&table, "%s", call_name[call]);
			ff_table_text(&table, "%s", setting_name[s]);
			ff_table_number(&table, ns, 1);
			ff_table_number(&table, ns - bare, 1);
			ff_table_number(&table, ns / bare, 2);
		}
	ff_table_print(&table, 2);
	if (wanted[FENCEFERRY])
		printf("\naim: fenceferry below bare + 60 ns, but for the last "
		       "call, which it has to\nlook at, and for what "
		       "--trace-fences has it look at\n");
}

static int usage(void)
{
	fprintf(stderr,
		"usage: bench/overhead [--quick] [--without-fenceferry]\n"
		"FENCEFERRY names the program (./fenceferry)\n");
	return 2;
}

int main(int argc, char **argv)
{
	static struct ff_samples figure[SETTINGS][CALLS];
	bool wanted[SETTINGS] = {true, true, true, true, true}, quick = false;
	const char *fenceferry = getenv("FENCEFERRY");

	if (argc == 3 && !strncmp(argv[1], "--measured", 10))
		return be_measured(argv[1][10] != '\0', atof(argv[2]));
	if (!fenceferry)
		fenceferry = "./fenceferry";
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--quick"))
			quick = true;
		else if (!strcmp(argv[i], "--without-fenceferry"))
			wanted[FENCEFERRY] = wanted[TRACE_FENCES] = false;
		else
			return usage();
	}
	if (wanted[FENCEFERRY] && access(fenceferry, X_OK)) {
		perror(fenceferry);
		return 1;
	}
	if (run_all(wanted, quick ? 3 : 9, fenceferry, quick ? "0.05" : "0.1",
		    figure))
		return 1;
	print(wanted, figure);
	return 0;
}
