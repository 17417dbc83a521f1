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
#include <unistd.h>

#include "bench.h"
#include "measured.h"

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

enum { BARE, FILTER, FENCEFERRY, TRACE_FENCES, STRACE };

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
	return ff_measured_tell(ns, CALLS) < 0;
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
	const char *given = getenv("FENCEFERRY");
	const char *fenceferry = given ? given : "./fenceferry";
	static struct ff_measured measured;
	struct ff_measured_setting *setting = measured.setting;
	bool quick = false;

	if (argc == 3 && !strncmp(argv[1], "--measured", 10))
		return be_measured(argv[1][10] != '\0', atof(argv[2]));
	measured = (struct ff_measured){
		.program = "bench/overhead",
		.setting = {
			[BARE] = {"bare"},
			[FILTER] = {"filter that allows all",
				.argument = "--measured-filter"},
			[FENCEFERRY] = {"fenceferry", {fenceferry, "run",
				"--engine=ptrace", "--"}},
			[TRACE_FENCES] = {"fenceferry --trace-fences",
				{fenceferry, "run", "--engine=ptrace",
					"--trace-fences", "--"}},
			[STRACE] = {"strace", {"strace", "-f", "--seccomp-bpf",
				"-e", "trace=sendmsg", "-o", "/dev/null",
				"--"}, .may_lack = true},
		},
		.settings = STRACE + 1,
		.thing = call_name,
		.things = CALLS,
	};
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--quick"))
			quick = true;
		else if (!strcmp(argv[i], "--without-fenceferry"))
			setting[FENCEFERRY].left_out =
				setting[TRACE_FENCES].left_out = true;
		else
			return usage();
	}
	if (!setting[FENCEFERRY].left_out && access(fenceferry, X_OK)) {
		perror(fenceferry);
		return 1;
	}
	if (ff_measured_run(&measured, quick ? 3 : 9, quick ? "0.05" : "0.1"))
		return 1;
	ff_measured_print(&measured, "call", "ns");
	if (!setting[FENCEFERRY].left_out)
		printf("\naim: fenceferry below bare + 60 ns, but for the last "
		       "call, which it has to\nlook at, and for what "
		       "--trace-fences has it look at\n");
	return 0;
}
