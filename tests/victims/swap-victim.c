/* SPDX-License-Identifier: MIT */
#include "victim.h"
#include "attached.h"
#include "crew.h"
#include "rehearse.h"
#include "sharer.h"
#include "snapshot.h"
#include "storm.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

/*
 * Sends memfds through a unix socket that it listens at itself, takes them at
 * the other end, and compares everything it can see of itself before and after.
 * Ends with 0 and the line "crossed standin=N memfd=M" if nothing has changed
 * but the file; with 1 and the first difference on standard error otherwise.
 */

enum { LIFETIME_S = 60, SWAP_PAUSE_MS = 30 };
/* What a supervisor may leave mapped in a process, once. */
static const int64_t most_left_mapped = 1 << 20;

static struct {
	const char *socket, *shm_dir, *expect, *state, *fds, *maps, *sharer;
	const char *program, *churn, *signals, *call, *message, *rehearse;
	const char *attach;
	unsigned threads, rounds;
} plan = {.shm_dir = "/dev/shm", .expect = "standin", .state = "futex",
	.fds = "plain", .maps = "once", .sharer = "none", .churn = "none",
	.signals = "none", .call = "checked", .message = "one",
	.rehearse = "none", .rounds = 1};

static struct victim_wire wires[CREW_MOST + 1];
static _Atomic unsigned standins, memfds;
static struct crew crew;
static struct churn churn;
static pid_t tids[CREW_MOST + 1];
static size_t tid_count;
static bool rehearsing;

/* Does a file have the name of a memfd? */
static bool is_memfd(int fd)
{
	char path[64], name[256];
	ssize_t length;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	length = readlink(path, name, sizeof(name) - 1);
	victim_check(length > 0, "cannot read %s: %s", path, strerror(errno));
	name[length] = '\0';
	return !strncmp(name, "/memfd:", 7);
}

/* A stand-in, and all that was promised of it. */
static void check_standin(int fd, const struct cargo *cargo)
{
	struct stat status, dir;
	struct statfs system;

	victim_check(!fstat(fd, &status) && !fstatfs(fd, &system) &&
			!stat(plan.shm_dir, &dir), "stat: %s", strerror(errno));
	victim_check(!is_memfd(fd), "what crossed is another memfd");
	victim_check(S_ISREG(status.st_mode) && system.f_type == TMPFS_MAGIC &&
			status.st_dev == dir.st_dev,
		"what crossed is no file in %s", plan.shm_dir);
	victim_check((status.st_mode & 07777) == 0600 &&
			status.st_uid == geteuid(),
		"what crossed has mode %o and owner %u",
		status.st_mode & 07777, status.st_uid);
	victim_check(!status.st_nlink, "what crossed still has a name");
	victim_check((size_t)status.st_size == cargo->size,
		"what crossed is %lld bytes long, not %zu",
		(long long)status.st_size, cargo->size);
}

/*
 * What has crossed: says by failing if it is not what was expected. Returns
 * what file it is.
 */
static struct file_change judge(int fd, const struct cargo *cargo)
{
	struct file_change change = {cargo->memfd, snapshot_file(fd)};
	const bool same = snapshot_same_file(change.from, change.to);

	if (same)
		victim_check(is_memfd(fd), "the memfd has lost its name");
	else
		check_standin(fd, cargo);
	victim_check(!strcmp(plan.expect, "any") ||
			!strcmp(plan.expect, same ? "memfd" : "standin"),
		"a %s crossed, expected a %s", same ? "memfd" : "stand-in",
		plan.expect);
	victim_check(fcntl(fd, F_GETFL) ==
			fcntl(cargo->fds[cargo->sent], F_GETFL),
		"what crossed is not open as what was sent");
	if (same)
		memfds++;
	else
		standins++;
	return change;
}

/* One more memfd crosses, with nothing around it. Any thread may do this. */
static void send_plain(unsigned index)
{
	/* snapshot.h is for one thread at a time. */
	static pthread_mutex_t looking = PTHREAD_MUTEX_INITIALIZER;
	struct cargo cargo;
	struct file_change change;
	int received;

	cargo_make(&cargo, "dup", "once", index);
	victim_send(&wires[index], CALL_LIBC, cargo.fds, 1);
	victim_receive(&wires[index], &received, 1);
	change = judge(received, &cargo);
	pthread_mutex_lock(&looking);
	cargo_check_file(&cargo, change.to);
	pthread_mutex_unlock(&looking);
	cargo_check_content(&cargo);
	cargo_check_sharing(&cargo, received);
	cargo_drop(&cargo);
	close(received);
}

/* For the crew: thread 0 is the first wire's second user. */
static void send_as_member(unsigned index)
{
	send_plain(index + 1);
}

/* The system call to send with. */
static enum victim_call call_named(const char *name)
{
	static const char *const names[] = {[CALL_CHECKED] = "checked",
		[CALL_LIBC] = "libc", [CALL_SENDMMSG] = "sendmmsg",
		[CALL_SOCKETCALL] = "socketcall"};

	for (size_t i = 0; i < COUNT_OF(names); i++)
		if (!strcmp(names[i], name))
			return (enum victim_call)i;
	victim_fail("unknown --call=%s", name);
}

/* What the victim itself changes meanwhile. */
static unsigned own_changes(void)
{
	unsigned ignore = 0;

	if (!strcmp(plan.churn, "threads"))
		ignore |= IGNORE_ANONYMOUS;
	if (strcmp(plan.signals, "none") != 0)
		ignore |= IGNORE_SIGNALS;
	if (crew.send)
		ignore |= IGNORE_OTHERS;
	return ignore;
}

/* A snapshot when nobody is traced who was not: the supervisor lets go of
   threads one after the other. */
static void take_untraced(struct snapshot *after,
	const struct snapshot *before)
{
	const int64_t deadline = victim_now_ns() + 10000000000;

	for (;;) {
		bool traced = false;

		snapshot_take(after, tids, tid_count);
		for (size_t i = 0; i < tid_count; i++)
			traced |= after->threads[i].tracer !=
				before->threads[i].tracer;
		if (!traced || victim_now_ns() > deadline)
			return;
		victim_nap();
	}
}

/* What stays mapped must not be more at every swap. */
static void check_left(int64_t left)
{
	static bool first = true;

	if (own_changes() & (IGNORE_ANONYMOUS | IGNORE_OTHERS))
		return;
	victim_check(left >= 0 && left <= (first ? most_left_mapped : 0),
		"a swap left %" PRId64 " bytes mapped", left);
	first = standins == 0;
}

struct round {
	struct cargo cargo[2];
	size_t cargo_count;
	int fds[2];		/* what is sent ... */
	int received[2];	/* ... and what comes */
	size_t fd_count;
	struct file_change changes[2];
	struct sharer sharer;
};

/* Everything that is to be there when it crosses. */
static void prepare(struct round *round, unsigned number)
{
	const bool pair = !strcmp(plan.message, "pair");
	const bool twice = !strcmp(plan.message, "twice");

	churn_pause();
	cargo_make(&round->cargo[0], plan.fds, plan.maps, number * 100);
	round->cargo_count = round->fd_count = 1;
	round->fds[0] = round->cargo[0].fds[round->cargo[0].sent];
	if (pair)
		cargo_make(&round->cargo[round->cargo_count++], "dup", "pages",
			number * 100 + 50);
	if (pair || twice)
		round->fds[round->fd_count++] = pair ? round->cargo[1].fds[0] :
						       round->fds[0];
	churn_resume(&round->cargo[0]);
	sharer_start(&round->sharer, sharer_kind_named(plan.sharer),
		&round->cargo[0], plan.program);
}

/* Let it cross. */
static void cross(struct round *round)
{
	for (size_t i = 0; i < round->cargo_count && rehearsing; i++)
		rehearse(plan.rehearse, &round->cargo[i], &crew, plan.shm_dir);
	victim_send(&wires[0], call_named(plan.call), round->fds,
		round->fd_count);
	victim_receive(&wires[0], round->received, round->fd_count);
	for (size_t i = 0; i < round->cargo_count; i++)
		round->changes[i] = judge(round->received[i],
			&round->cargo[i]);
	for (size_t i = round->cargo_count; i < round->fd_count; i++)
		victim_check(snapshot_same_file(
			snapshot_file(round->received[i]),
			round->changes[0].to),
			"one fd, sent twice, became two files");
	churn_crossed(round->changes[0].to);
	while (crew_is_timed(&crew) && !crew_is_through(&crew)) {
		for (int i = 0; i < SWAP_PAUSE_MS; i++)
			victim_nap();
		send_plain(0);
	}
	crew_settle(&crew);
}

/* The same fd crosses once more: it is what it has become. */
static void cross_again(const struct round *round)
{
	int again;

	victim_send(&wires[0], CALL_LIBC, round->fds, 1);
	victim_receive(&wires[0], &again, 1);
	victim_check(snapshot_same_file(snapshot_file(again),
		round->changes[0].to), "it became another file again");
	close(again);
}

/* Everything is as it was, and works. */
static void check_round(struct round *round)
{
	const bool writable = (fcntl(round->received[0], F_GETFL) &
		O_ACCMODE) == O_RDWR;
	const int other = writable ? round->received[0] :
				     round->cargo[0].fds[0];

	for (size_t i = 0; i < round->cargo_count; i++) {
		cargo_check_file(&round->cargo[i], round->changes[i].to);
		cargo_check_content(&round->cargo[i]);
		cargo_check_fds(&round->cargo[i]);
	}
	sharer_check(&round->sharer, &round->cargo[0], round->changes[0].to,
		other);
	crew_release(&crew, other);
	cargo_check_sharing(&round->cargo[0], other);
	if (round->cargo_count > 1)
		cargo_check_sharing(&round->cargo[1], round->received[1]);
	if (!strcmp(plan.message, "again"))
		cross_again(round);
}

/* From a new memfd to its end. */
static void run_round(unsigned number)
{
	static struct snapshot before, after;
	static struct round round;

	prepare(&round, number);
	/* Those who send change what is to be seen as soon as they may. */
	if (!crew.send)
		crew_enter(&crew, &round.cargo[0]);
	snapshot_take(&before, tids, tid_count);
	if (crew.send)
		crew_enter(&crew, &round.cargo[0]);
	if (plan.attach)
		attached_begin();
	cross(&round);
	if (plan.attach)
		attached_end();
	take_untraced(&after, &before);
	check_left(snapshot_compare(&before, &after, round.changes,
		round.cargo_count, round.received, round.fd_count,
		own_changes()));
	storm_pause();
	crew_settle(&crew);
	check_round(&round);
	storm_resume();
	churn_pause();
	for (size_t i = 0; i < round.cargo_count; i++)
		cargo_drop(&round.cargo[i]);
	churn_resume(NULL);
	for (size_t i = 0; i < round.fd_count; i++)
		close(round.received[i]);
}

/* Sockets, threads, signals: what lasts. */
static void set_up(void)
{
	const bool sending = !strcmp(plan.state, "sending");
	const char *fault = getenv("FENCEFERRY_FAULT");
	int listener = victim_listen(plan.socket);
	sigset_t set;

	for (unsigned i = 0; i <= (sending ? plan.threads : 0); i++)
		victim_connect(&wires[i], listener, plan.socket);
	close(listener);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	kill(getpid(), SIGUSR1);
	rehearsing = rehearse_set_up(plan.rehearse);
	if (sending)
		crew.send = send_as_member;
	if (plan.attach)
		attached_prepare(plan.attach, plan.shm_dir, plan.socket);
	crew.may_wake_early = fault && !strncmp(fault, "kill:", 5);
	crew_start(&crew, plan.threads, plan.state);
	tids[0] = getpid();
	tid_count = 1 + crew_tids(&crew, tids + 1);
	if (!strcmp(plan.churn, "threads"))
		churn_threads(&churn);
	else if (!strcmp(plan.churn, "forks"))
		churn_forks(&churn);
	else
		victim_check(!strcmp(plan.churn, "none"), "unknown --churn=%s",
			plan.churn);
	victim_retries_eintr = !strcmp(plan.signals, "norestart");
	if (strcmp(plan.signals, "none") != 0)
		storm_start(plan.signals, tids, tid_count);
}

/* A number, or the end. */
static unsigned number_of(const char *text)
{
	char *end;
	unsigned long number = strtoul(text, &end, 10);

	victim_check(*text && !*end && number <= 100000, "no number: %s", text);
	return (unsigned)number;
}

/* The command line, into plan. */
static void parse(int argc, char **argv)
{
	static const struct {
		const char *name;
		const char **value;
	} texts[] = {{"socket", &plan.socket}, {"shm-dir", &plan.shm_dir},
		{"expect", &plan.expect}, {"state", &plan.state},
		{"fds", &plan.fds}, {"maps", &plan.maps},
		{"sharer", &plan.sharer}, {"program", &plan.program},
		{"churn", &plan.churn}, {"signals", &plan.signals},
		{"call", &plan.call}, {"message", &plan.message},
		{"rehearse", &plan.rehearse},
		{"attach", &plan.attach}};
	int channel, fd;

	plan.program = argv[0];
	for (int i = 1; i < argc; i++) {
		const char *value = strchr(argv[i], '=');
		size_t length = value ? (size_t)(value - argv[i]) : 0, n = 0;

		if (sscanf(argv[i], "--sharer-main=%d,%d", &channel, &fd) == 2)
			sharer_main(channel, fd);
		victim_check(length > 2 && !strncmp(argv[i], "--", 2),
			"not an option: %s", argv[i]);
		value++;
		while (n < COUNT_OF(texts) &&
			(strlen(texts[n].name) != length - 2 ||
				strncmp(texts[n].name, argv[i] + 2, length - 2)))
			n++;
		if (n < COUNT_OF(texts))
			*texts[n].value = value;
		else if (!strncmp(argv[i], "--threads=", 10))
			plan.threads = number_of(value);
		else if (!strncmp(argv[i], "--rounds=", 9))
			plan.rounds = number_of(value);
		else
			victim_fail("unknown option %s", argv[i]);
	}
	victim_check(plan.socket, "--socket=PATH is missing");
}

/* How many fds are open. */
static unsigned count_fds(void)
{
	unsigned count = 0;

	for (int fd = 0; fd < SNAPSHOT_FDS; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

int main(int argc, char **argv)
{
	unsigned open_before;

	victim_report_crashes();
	parse(argc, argv);
	alarm(LIFETIME_S);
	set_up();
	open_before = count_fds();
	for (unsigned i = 0; i < plan.rounds; i++)
		run_round(i);
	if (strcmp(plan.signals, "none") != 0)
		storm_stop();
	if (strcmp(plan.churn, "none") != 0)
		churn_stop(&churn);
	crew_stop(&crew);
	victim_check(count_fds() == open_before, "%u fds are open, not %u",
		count_fds(), open_before);
	unlink(plan.socket);
	printf("crossed standin=%u memfd=%u\n", standins, memfds);
	return 0;
}
