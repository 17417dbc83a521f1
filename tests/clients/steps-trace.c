/* SPDX-License-Identifier: MIT */
#include "steps.h"

#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client.h"

/* What the child that attaches has done so far. */
struct dumps {
	long done, refused;
};

/* One dump, as a crash handler takes it. Returns 0, or an errno. */
static int take_dump(pid_t pid)
{
	unsigned long registers[128];
	struct iovec room = {registers, sizeof(registers)};
	int status, err = 0;

	if (ptrace(PTRACE_SEIZE, pid, NULL, NULL))
		return errno;
	if (ptrace(PTRACE_INTERRUPT, pid, NULL, NULL) ||
		waitpid(pid, &status, __WALL) != pid || !WIFSTOPPED(status))
		return errno ? errno : ECHILD;
	if (ptrace(PTRACE_GETREGSET, pid, (void *)NT_PRSTATUS, &room))
		err = errno;
	/* A signal that came first is not ours to keep. */
	if (ptrace(PTRACE_DETACH, pid, NULL,
		    (void *)(long)(status >> 16 ? 0 : WSTOPSIG(status))))
		err = errno;
	return err;
}

/* The child: a refusal is EPERM, and is tried again. */
static void take_dumps(pid_t pid, struct dumps *dumps, long count)
{
	while (dumps->done < count) {
		int err = take_dump(pid);

		if (err == EPERM)
			dumps->refused++;
		else if (err)
			ff_client_die("the dump fails: %s", strerror(err));
		else
			__atomic_add_fetch(&dumps->done, 1, __ATOMIC_SEQ_CST);
		usleep(err ? 10 : 200);
	}
}

void ff_steps_dumps(long count, void (*work)(long count))
{
	struct dumps *dumps = mmap(NULL, sizeof(*dumps), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t self = getpid(), child;
	long worked = 0;
	int status;

	if (dumps == MAP_FAILED)
		ff_client_die("mmap: %s", strerror(errno));
	work(1);
	fflush(stdout);
	/* Where Yama asks for it. */
	prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
	child = fork();
	if (child < 0)
		ff_client_die("fork: %s", strerror(errno));
	if (!child) {
		take_dumps(self, dumps, count);
		_exit(0);
	}
	while (!waitpid(child, &status, WNOHANG)) {
		work(1);
		worked++;
	}
	if (!WIFEXITED(status) || WEXITSTATUS(status) || dumps->done != count)
		ff_client_die("the dumps ended after %ld with status %#x",
			dumps->done, (unsigned int)status);
	printf("dumps: %ld, refused %ld, meanwhile %ld\n", dumps->done,
		dumps->refused, worked);
	munmap(dumps, sizeof(*dumps));
}

/* Where a child stands: it enters a call of this number, if it does. */
static long entered_call(pid_t pid)
{
	struct __ptrace_syscall_info info = {0};

	if (ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof(info), &info) <= 0 ||
		info.op != PTRACE_SYSCALL_INFO_ENTRY)
		return -1;
	return (long)info.entry.nr;
}

/* From call to call; returns how many of memfd_create there were. */
static long trace_to_end(pid_t pid)
{
	long seen = 0;
	int status, sig = 0;

	for (;;) {
		if (ptrace(PTRACE_SYSCALL, pid, NULL, (void *)(long)sig))
			ff_client_die("PTRACE_SYSCALL: %s", strerror(errno));
		if (waitpid(pid, &status, __WALL) != pid)
			ff_client_die("waitpid: %s", strerror(errno));
		if (!WIFSTOPPED(status))
			break;
		sig = WSTOPSIG(status);
		if (sig != (SIGTRAP | 0x80))
			continue;
		sig = 0;
		seen += entered_call(pid) == SYS_memfd_create;
	}
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		ff_client_die("the traced child ended with status %#x",
			(unsigned int)status);
	return seen;
}

static long trace_one(void (*work)(long count))
{
	pid_t pid;
	int status;

	fflush(stdout);
	pid = fork();
	if (pid < 0)
		ff_client_die("fork: %s", strerror(errno));
	if (!pid) {
		ff_steps_forget_connection();
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
			ff_client_die("PTRACE_TRACEME: %s", strerror(errno));
		raise(SIGSTOP);
		work(1);
		_exit(0);
	}
	if (waitpid(pid, &status, __WALL) != pid || !WIFSTOPPED(status) ||
		ptrace(PTRACE_SETOPTIONS, pid, NULL,
			(void *)(PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL)))
		ff_client_die("the child cannot be traced");
	return trace_to_end(pid);
}

void ff_steps_trace(long count, void (*work)(long count))
{
	long seen = 0;

	for (long i = 0; i < count; i++)
		seen += trace_one(work);
	printf("traced: %ld, %ld calls of memfd_create\n", count, seen);
}
