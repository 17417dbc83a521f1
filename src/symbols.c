/* SPDX-License-Identifier: MIT */
#include "symbols.h"

#include "clock.h"
#include "fds.h"
#include "front.h"
#include "launch.h"
#include "symbols/trace.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/* Who has one event for so long is stopped, or hangs where no alarm ends it. */
#define HANG_NS 15000000000u

/* How long a killed process may take to die. */
#define DEATH_MS 1000

#define NICE 10

static const char gone[] = "the process that names frames has ended";
static const char hung[] = "naming the frames took too long";

/* What ps shows: the arguments that we were executed with are ours to write. */
static void take_name(void)
{
	static const char name[] = "fenceferry: symbols";
	char text[2048], *at;
	unsigned long start = 0, end = 0;
	FILE *file = fopen("/proc/self/stat", "re");
	size_t n = file ? fread(text, 1, sizeof(text) - 1, file) : 0;

	if (file)
		fclose(file);
	text[n] = '\0';
	at = strrchr(text, ')');
	for (int field = 2; at && field < 48; field++)
		at = strchr(at + 1, ' ');
	if (at && sscanf(at, "%lu %lu", &start, &end) == 2 && start &&
		end - start > sizeof(name) && end > start) {
		memset((void *)start, 0, end - start);
		memcpy((void *)start, name, sizeof(name));
	}
	prctl(PR_SET_NAME, "ff-symbols");
}

/* The new process: it must hold nothing that is the command's, nor end by what
 * the terminal sends. */
static _Noreturn void become_symbols(int socket, int log_fd,
	struct ff_symbols_ledger *ledger)
{
	sigset_t alarms;

	signal(SIGALRM, SIG_DFL);
	sigemptyset(&alarms);
	sigaddset(&alarms, SIGALRM);
	sigprocmask(SIG_UNBLOCK, &alarms, NULL);
	/* Whoever is traced goes first. */
	setpriority(PRIO_PROCESS, 0, NICE);
	ff_launch_leave_command();
	take_name();
	ff_symbols_serve(socket, log_fd, ledger);
}

int ff_symbols_start(struct ff_symbols *symbols, int log_fd,
	struct ff_error *error)
{
	struct ff_front_signals original;
	int pair[2], err;

	*symbols = (struct ff_symbols){ .socket = -1, .pidfd = -1, .first = 1 };
	symbols->ledger = mmap(NULL, sizeof(*symbols->ledger),
		PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (symbols->ledger == MAP_FAILED ||
		socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return ff_fail(error, errno, "cannot prepare for call stacks: "
			"%s (is a limit reached? see ulimit -a)",
			strerror(errno));
	ff_front_take_signals(&original);
	symbols->pid = fork();
	if (!symbols->pid) {
		close(pair[0]);
		become_symbols(pair[1], log_fd, symbols->ledger);
	}
	ff_front_restore_signals(&original);
	close(pair[1]);
	if (symbols->pid > 0)
		symbols->pidfd = pidfd_open(symbols->pid, 0);
	if (symbols->pidfd < 0) {
		err = ff_fail(error, errno, "cannot start the process that "
			"names frames: %s (is a limit reached? see ulimit -a)",
			strerror(errno));
		close(pair[0]); /* it ends, if there is one */
		return err;
	}
	symbols->socket = pair[0];
	return 0;
}

void ff_symbols_leave(struct ff_symbols *symbols)
{
	if (symbols->socket >= 0)
		close(symbols->socket);
	symbols->socket = -1;
}

/* From now on it is not there. */
static void lose(struct ff_symbols *symbols, const char *why)
{
	struct pollfd fd = { .fd = symbols->pidfd, .events = POLLIN };

	if (symbols->socket < 0)
		return;
	/* Its last event is written or not, and it is said so. */
	pidfd_send_signal(symbols->pidfd, SIGKILL, NULL, 0);
	poll(&fd, 1, DEATH_MS);
	ff_symbols_leave(symbols);
	symbols->why_gone = why;
}

static struct ff_symbols_event *event_of(struct ff_symbols *symbols,
	uint64_t number)
{
	return &symbols->pending[number % FF_SYMBOLS_QUEUE];
}

static void free_event(struct ff_symbols_event *event)
{
	free(event->line);
	free(event->text);
	*event = (struct ff_symbols_event){ 0 };
}

/* For how long has it had the oldest event? The others wait for their turn. */
static uint64_t busy_ns(struct ff_symbols *symbols)
{
	uint64_t from_ns = event_of(symbols, symbols->first)->sent_ns;

	if (from_ns < symbols->moved_ns)
		from_ns = symbols->moved_ns;
	return ff_now_ns() - from_ns;
}

/* Forget what is written by now, and see whether the rest ever will be. */
static void look_after(struct ff_symbols *symbols)
{
	struct pollfd fd = { .fd = symbols->socket };
	const uint64_t written = symbols->ledger->written;

	while (symbols->first <= written &&
		symbols->first <= symbols->ledger->sent) {
		free_event(event_of(symbols, symbols->first++));
		symbols->moved_ns = ff_now_ns();
	}
	if (symbols->first > symbols->ledger->sent || symbols->socket < 0)
		return;
	if (poll(&fd, 1, 0) > 0)
		lose(symbols, gone);
	else if (busy_ns(symbols) > HANG_NS)
		lose(symbols, hung);
	else
		return;
	/* It may have written one more while it ended. */
	while (symbols->first <= symbols->ledger->written)
		free_event(event_of(symbols, symbols->first++));
}

/* 0 or -errno. */
static int send_message(const struct ff_symbols *symbols,
	const struct ff_symbols_message *message, int file)
{
	ssize_t sent = ff_fds_send(symbols->socket, message, sizeof(*message),
		&file, file >= 0, MSG_DONTWAIT);

	return sent < 0 ? (int)sent : 0;
}

static int write_text(int file, const char *text)
{
	ssize_t size = text ? (ssize_t)strlen(text) : 0;

	return write(file, text ? text : "", (size_t)size) == size ? 0 :
		-errno;
}

/* The file is sealed by nobody else having it. 0 or -errno. */
static int hand_over(const struct ff_symbols *symbols,
	const struct ff_snapshot *snapshot,
	const struct ff_symbols_message *message, const char *line,
	const char *text)
{
	int file = memfd_create("fenceferry-snapshot", MFD_CLOEXEC), err;

	if (file < 0)
		return -errno;
	err = ff_snapshot_write(snapshot, file);
	if (!err)
		err = write_text(file, line);
	if (!err)
		err = write_text(file, text);
	if (!err && lseek(file, 0, SEEK_SET) < 0)
		err = -errno;
	if (!err)
		err = send_message(symbols, message, file);
	close(file);
	return err;
}

/* Remember it before it is sent, for it may be written at once. */
static int remember(struct ff_symbols *symbols, uint64_t number,
	const char *line, const char *text)
{
	struct ff_symbols_event *event = event_of(symbols, number);

	*event = (struct ff_symbols_event){
		.number = number,
		.sent_ns = ff_now_ns(),
		.line = line ? strdup(line) : NULL,
		.text = text ? strdup(text) : NULL,
	};
	if ((line && !event->line) || (text && !event->text)) {
		free_event(event);
		return -ENOMEM;
	}
	return 0;
}

int ff_symbols_send(struct ff_symbols *symbols,
	const struct ff_snapshot *snapshot, const char *line, const char *text,
	const char **why)
{
	const uint64_t number = symbols->ledger->sent + 1;
	struct ff_symbols_message message = { .number = number };
	int err;

	look_after(symbols);
	*why = "too many others were to be named";
	if (symbols->socket < 0) {
		*why = symbols->why_gone ? symbols->why_gone : gone;
		return -EPIPE;
	}
	if (number - symbols->first >= FF_SYMBOLS_QUEUE)
		return -EAGAIN;
	message.line_size = line ? (uint32_t)strlen(line) : 0;
	message.text_size = text ? (uint32_t)strlen(text) : 0;
	err = remember(symbols, number, line, text);
	if (!err)
		err = hand_over(symbols, snapshot, &message, line, text);
	if (!err) {
		symbols->ledger->sent = number;
		return 0;
	}
	free_event(event_of(symbols, number));
	if (err == -EPIPE || err == -ECONNRESET) {
		lose(symbols, gone);
		*why = gone;
	} else if (err != -EAGAIN) {
		*why = "it could not be handed over";
	}
	return err;
}

bool ff_symbols_take_back(struct ff_symbols *symbols,
	struct ff_symbols_event *event)
{
	struct ff_symbols_event *oldest;

	look_after(symbols);
	if (symbols->socket >= 0 || symbols->first > symbols->ledger->sent)
		return false;
	oldest = event_of(symbols, symbols->first++);
	*event = *oldest;
	*oldest = (struct ff_symbols_event){ 0 };
	return true;
}

void ff_symbols_leave_stderr(struct ff_symbols *symbols)
{
	const struct ff_symbols_message message = { 0 };

	/* If there is no room for it, it ends: as others do, by the socket. */
	if (symbols->socket >= 0 && send_message(symbols, &message, -1) < 0)
		lose(symbols, gone);
}

/* Wait, at most so long, until everything that was sent is written. Is it? */
static bool drain(const struct ff_symbols *symbols, int timeout_ms)
{
	const uint64_t end_ns = ff_now_ns() + (uint64_t)timeout_ms * 1000000u;
	struct pollfd fd = { .fd = symbols->pidfd, .events = POLLIN };

	while (symbols->ledger->written < symbols->ledger->sent) {
		/* A millisecond, or until it ends. */
		if (ff_now_ns() >= end_ns || poll(&fd, 1, 1) > 0)
			break;
	}
	return symbols->ledger->written >= symbols->ledger->sent;
}

void ff_symbols_finish(struct ff_symbols *symbols)
{
	if (symbols->socket < 0)
		return;
	if (drain(symbols, FF_SYMBOLS_LAST_MS))
		ff_symbols_leave(symbols);
	else
		lose(symbols, hung);
	look_after(symbols);
}

void ff_symbols_end(const struct ff_symbols *symbols, bool is_alone)
{
	if (!drain(symbols, FF_SYMBOLS_LAST_MS) && is_alone)
		pidfd_send_signal(symbols->pidfd, SIGKILL, NULL, 0);
}
