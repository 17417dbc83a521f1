/* SPDX-License-Identifier: MIT */
#include "doctor-checkup.h"

#include "clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* How long an exam may take, and then its end. */
#define EXAM_MS 15000
#define END_MS 1000

const char *ff_health_name(enum ff_health health)
{
	static const char *const names[] = { "ok", "degraded", "missing" };

	return names[health];
}

static void *map_shared(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

struct ff_checkup *ff_checkup_new(void)
{
	return map_shared(sizeof(struct ff_checkup));
}

void ff_checkup_free(struct ff_checkup *checkup)
{
	if (checkup)
		munmap(checkup, sizeof(*checkup));
}

void *ff_share(size_t size)
{
	void *memory = map_shared(size);

	if (!memory)
		_exit(1);
	return memory;
}

void ff_tell(char text[FF_TEXT_SIZE], const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(text, FF_TEXT_SIZE, format, args);
	va_end(args);
}

struct ff_finding *ff_find(struct ff_checkup *checkup, const char *check,
	unsigned int uses, enum ff_health health, const char *format, ...)
{
	struct ff_finding *finding;
	va_list args;

	/* The table of exams is fixed, and so is what they find. */
	if (checkup->count == FF_FINDINGS_MAX)
		abort();
	finding = &checkup->findings[checkup->count];
	*finding = (struct ff_finding){
		.check = check,
		.health = health,
		.uses = uses,
	};
	va_start(args, format);
	vsnprintf(finding->found, sizeof(finding->found), format, args);
	va_end(args);
	checkup->count++;
	return finding;
}

void ff_tell_error(struct ff_finding *finding, const struct ff_error *error)
{
	size_t length = strlen(error->text);
	const char *way_out = strstr(error->text, " (");

	/* The last pair: what stands before it may have some, too. */
	while (way_out && strstr(way_out + 1, " ("))
		way_out = strstr(way_out + 1, " (");
	if (!way_out || error->text[length - 1] != ')') {
		ff_tell(finding->reason, "%s", error->text);
		return;
	}
	ff_tell(finding->reason, "%.*s", (int)(way_out - error->text),
		error->text);
	ff_tell(finding->way_out, "%.*s", (int)strlen(way_out) - 3,
		way_out + 2);
}

struct ff_finding *ff_find_error(struct ff_checkup *checkup, const char *check,
	unsigned int uses, enum ff_health health, const char *found,
	const struct ff_error *error)
{
	struct ff_finding *finding = ff_find(checkup, check, uses, health,
		"%s", found);

	ff_tell_error(finding, error);
	return finding;
}

/* A child that dies with us and owns nothing of ours but fd. */
static pid_t fork_bound(void)
{
	pid_t parent = getpid(), pid = fork();

	if (!pid && (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 ||
		getppid() != parent))
		_exit(1);
	return pid < 0 ? -errno : pid;
}

pid_t ff_subject_start(void (*act)(int channel, void *context), void *context,
	int *channel)
{
	int pair[2];
	pid_t pid;

	*channel = -1;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	pid = fork_bound();
	if (!pid) {
		close(pair[0]);
		act(pair[1], context);
		_exit(0);
	}
	close(pair[1]);
	if (pid < 0)
		close(pair[0]);
	else
		*channel = pair[0];
	return pid;
}

void ff_subject_end(pid_t pid, int channel)
{
	if (channel >= 0)
		close(channel);
	if (pid <= 0)
		return;
	kill(pid, SIGKILL);
	while (waitpid(pid, NULL, __WALL) < 0 && errno == EINTR)
		;
}

/* Wait until the child closes its end by ending, or for so long. */
static bool ends_in_time(int fd, int timeout_ms)
{
	uint64_t end_ns = ff_now_ns() + (uint64_t)timeout_ms * 1000000;
	struct pollfd end = { .fd = fd };

	for (;;) {
		int left_ms = ff_ms_until(end_ns);

		if (poll(&end, 1, left_ms) > 0)
			return true;
		if (!left_ms)
			return false;
	}
}

/* What became of an exam that has not come to its end. */
static void find_failure(struct ff_checkup *checkup,
	const struct ff_exam *exam, bool ended, int status)
{
	struct ff_finding *finding = ff_find(checkup, exam->check, exam->uses,
		exam->uses ? FF_MISSING : FF_DEGRADED, "could not be examined");

	if (!ended)
		ff_tell(finding->reason, "no end within %d s",
			EXAM_MS / 1000);
	else if (WIFSIGNALED(status))
		ff_tell(finding->reason, "the process that tried it was ended "
			"by signal %d (%s)", WTERMSIG(status),
			strsignal(WTERMSIG(status)));
	else
		ff_tell(finding->reason, "the process that tried it gave up");
}

/* Reap it, unless it hangs in the kernel even though it was killed. */
static int end_exam(pid_t pid, int fd, bool ended)
{
	int status = 0;

	if (!ended)
		kill(pid, SIGKILL);
	if (ended || ends_in_time(fd, END_MS))
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
	return status;
}

void ff_checkup_run(struct ff_checkup *checkup, const struct ff_exam *exam)
{
	struct ff_error error = { .text = "" };
	int fds[2], status;
	bool ended;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0) {
		ff_fail(&error, errno, "cannot make a pipe: %s",
			strerror(errno));
		ff_find_error(checkup, exam->check, exam->uses, FF_MISSING,
			"could not be examined", &error);
		return;
	}
	pid = fork_bound();
	if (!pid) {
		close(fds[0]);
		exam->examine(checkup);
		_exit(0);
	}
	close(fds[1]);
	if (pid < 0) {
		ff_fail(&error, -pid, "cannot fork: %s", strerror(-pid));
		ff_find_error(checkup, exam->check, exam->uses, FF_MISSING,
			"could not be examined", &error);
		close(fds[0]);
		return;
	}
	ended = ends_in_time(fds[0], EXAM_MS);
	status = end_exam(pid, fds[0], ended);
	close(fds[0]);
	if (!ended || status)
		find_failure(checkup, exam, ended, status);
}

/* The worst of the findings that a use suffers from, NULL if none. */
static const struct ff_finding *find_worst(const struct ff_checkup *checkup,
	enum ff_use use)
{
	const struct ff_finding *worst = NULL;

	for (size_t i = 0; i < checkup->count; i++) {
		const struct ff_finding *finding = &checkup->findings[i];

		if (finding->uses & (1u << use) && finding->health != FF_OK &&
			(!worst || finding->health > worst->health))
			worst = finding;
	}
	return worst;
}

static enum ff_health health_of(const struct ff_finding *worst)
{
	return worst ? worst->health : FF_OK;
}

static const struct ff_finding *worse(const struct ff_finding *a,
	const struct ff_finding *b)
{
	return health_of(b) > health_of(a) ? b : a;
}

/* It has two engines, and goes on with one. */
static enum ff_health use_auto(const struct ff_checkup *checkup,
	const struct ff_finding **worst)
{
	const struct ff_finding *own = find_worst(checkup, FF_USE_AUTO);
	const struct ff_finding *ptrace = find_worst(checkup, FF_USE_PTRACE);
	const struct ff_finding *notify = find_worst(checkup, FF_USE_NOTIFY);
	const struct ff_finding *engine = worse(ptrace, notify);

	*worst = worse(own, engine);
	if (health_of(own) == FF_MISSING || (health_of(ptrace) == FF_MISSING &&
		health_of(notify) == FF_MISSING))
		return FF_MISSING;
	return *worst ? FF_DEGRADED : FF_OK;
}

enum ff_health ff_checkup_use(const struct ff_checkup *checkup,
	enum ff_use use, const struct ff_finding **worst)
{
	const struct ff_finding *engine;
	enum ff_health health;

	if (use == FF_USE_AUTO)
		return use_auto(checkup, worst);
	*worst = find_worst(checkup, use);
	if (use != FF_USE_RELAY && use != FF_USE_ISOLATE)
		return health_of(*worst);
	/* These want stand-ins, by whichever engine. */
	health = use_auto(checkup, &engine);
	if (health <= health_of(*worst))
		return health_of(*worst);
	*worst = engine;
	return health;
}
