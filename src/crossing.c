/* SPDX-License-Identifier: MIT */
#include "crossing.h"

#include "actor.h"
#include "choice.h"
#include "clock.h"
#include "enrol.h"
#include "patched.h"
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int ff_crossings_init(struct ff_crossings *crossings, struct ff_error *error)
{
	int fd = memfd_create("probe", MFD_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0) {
		int err = ff_fail(error, errno, "cannot make a memfd: %s",
			strerror(errno));

		if (fd >= 0)
			close(fd);
		return err;
	}
	crossings->memfd_dev = st.st_dev;
	close(fd);
	if (crossings->shm_dir_fd >= 0 &&
		fstat(crossings->shm_dir_fd, &st) < 0)
		return ff_fail(error, errno, "cannot look at %s: %s",
			crossings->shm_dir, strerror(errno));
	crossings->shm_dev = st.st_dev;
	return ff_settled_init(&crossings->settled) < 0 ?
		ff_fail(error, ENOMEM, "out of memory") : 0;
}

void ff_crossings_forget(struct ff_crossings *crossings, pid_t tid)
{
	ff_settled_forget(&crossings->settled, tid);
	ff_backtrace_end(&crossings->backtraces, tid);
	ff_stubs_forget(&crossings->stubs, tid);
}

/*
 * Seals that forbid writing are a promise which no file in the shm dir keeps.
 * Those on the size are given up: none of X's requests asks for them.
 */
static const char *check_seals(int memfd)
{
	int seals = fcntl(memfd, F_GET_SEALS);

	if (seals >= 0 && (seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)))
		return "sealed against writing";
	return NULL;
}

/*
 * A fence that somebody watches is registered, with its stand-in, before it is
 * swapped. *standin tells of it in any case.
 */
static int swap_memfd(struct ff_crossings *crossings,
	const struct ff_sender *sender, const struct ff_cargo *cargo, int memfd,
	struct ff_standin *standin, struct ff_swap_result *result,
	struct ff_error *error)
{
	const bool watched = ff_cargo_is_fence(cargo) &&
		ff_futexes_trap(crossings->futexes);
	struct ff_fence *fence = NULL;
	struct ff_swap_target target = {
		.caller = sender->actor.tid,
		.pid = sender->actor.pid,
		.dev = cargo->st.st_dev,
		.ino = cargo->st.st_ino,
		.memfd = memfd,
		.size = (uint64_t)cargo->st.st_size,
	};
	int err = ff_standin_create(crossings->shm_dir, crossings->shm_dir_fd,
		target.size, sender->status.uid, sender->status.gid, watched &&
		ff_futexes_watch(crossings->futexes), standin, error);

	if (err)
		return err;
	target.standin = standin->fd;
	if (watched) {
		struct ff_standin moved = *standin;

		fence = ff_futexes_add(crossings->futexes, &moved, true,
			error);
		if (!fence)
			return -error->err;
		ff_futexes_announce(crossings->futexes, fence);
		standin->fd = -1;
		standin->named = false;
	}
	ff_life_stop(&crossings->futexes->life);
	err = ff_swap(&target, &crossings->ops, &crossings->stubs, result,
		error);
	ff_life_go_on(&crossings->futexes->life);
	if (fence && err)
		ff_futexes_remove(crossings->futexes, fence);
	/* It was unlocked for programs that had to be called off. */
	else if (fence)
		flock(fence->standin.fd, LOCK_EX | LOCK_NB);
	if (fence && !err)
		ff_life_created(&crossings->futexes->life, fence,
			sender->actor.tid, "ptrace", NULL);
	ff_standin_unlink(standin, crossings->shm_dir_fd);
	return err;
}

static const char *why_ptrace(const struct ff_crossings *crossings,
	const struct ff_cargo *cargo)
{
	if (crossings->policy->engine == FF_ENGINE_PTRACE)
		return "--engine=ptrace";
	if (!ff_cargo_is_memfd(cargo))
		return "a fence in a file that has no name";
	return ff_cargo_is_fence(cargo) ?
		"a fence that was not made under fenceferry" :
		"a memfd that libxshmfence did not make";
}

/* For an event of this call, the caller's stack. False: the call is made again,
 * for its thread was stopped. */
static bool trace(struct ff_crossings *crossings,
	const struct ff_sender *sender, bool may_stop,
	struct ff_crossing *crossing)
{
	ff_snapshot_unref(crossing->snapshot);
	return ff_backtrace_take(&crossings->backtraces, crossings->call,
		sender->actor.pid, may_stop, &crossing->snapshot) == FF_TAKEN;
}

/* Tell the log how a swap went. */
static void tell_swap(struct ff_crossings *crossings,
	const struct ff_sender *sender, const struct ff_cargo *cargo,
	const struct ff_crossing *crossing, const struct ff_standin *standin,
	const struct ff_swap_result *result)
{
	const struct ff_swap_event event = {
		.crossing = crossing,
		.standin = standin->path,
		.engine = ff_engine_name(FF_ENGINE_PTRACE),
		.why = why_ptrace(crossings, cargo),
		.fds = result->fds,
		.mappings = result->mappings,
		.processes = result->processes,
		.threads = result->threads,
		.stopped_ns = result->stopped_ns,
		.total_ns = ff_now_ns() - sender->begin_ns,
	};

	ff_policy_tell(crossings->policy, 2, &sender->actor, FF_ENGINE_PTRACE,
		event.why);
	ff_eventlog_crossing(crossings->log, crossing);
	ff_eventlog_swap(crossings->log, &event);
}

/* Where ptrace is one engine of several, it is no failure that another has it,
 * or that it is refused. */
static void tell_failure(struct ff_crossings *crossings,
	const struct ff_sender *sender, struct ff_crossing *crossing,
	const struct ff_error *error)
{
	crossing->action = FF_FAILED;
	crossing->reason = error->text;
	if ((error->err == EPERM || error->err == EBUSY) &&
		crossings->policy->engine == FF_ENGINE_AUTO) {
		crossing->action = FF_LEFT;
		ff_policy_tell(crossings->policy, 0, &sender->actor,
			FF_ENGINE_OFF, error->text);
	}
	ff_eventlog_crossing(crossings->log, crossing);
}

/* Swap it by ptrace. True if the client was held at all. */
static bool try_swap(struct ff_crossings *crossings,
	const struct ff_sender *sender, const struct ff_cargo *cargo,
	struct ff_crossing *crossing)
{
	struct ff_standin standin = { .fd = -1 };
	struct ff_swap_result result;
	struct ff_error error = { 0 };
	int memfd = ff_cargo_open(sender->actor.pid, cargo, O_RDONLY, &error);
	int err;

	crossing->action = FF_FAILED;
	crossing->reason = error.text;
	if (memfd >= 0)
		crossing->reason = check_seals(memfd);
	if (crossing->reason) {
		trace(crossings, sender, false, crossing);
		crossing->action = memfd < 0 ? FF_FAILED : FF_LEFT;
		ff_eventlog_crossing(crossings->log, crossing);
		if (memfd >= 0)
			close(memfd);
		return false;
	}
	ff_backtrace_prepare(&crossings->backtraces, crossings->call,
		sender->actor.pid);
	err = swap_memfd(crossings, sender, cargo, memfd, &standin, &result,
		&error);
	close(memfd);
	trace(crossings, sender, false, crossing);
	if (err) {
		tell_failure(crossings, sender, crossing, &error);
		ff_settled_add(&crossings->settled, sender->actor.tid,
			cargo->st.st_dev, cargo->st.st_ino,
			cargo->request.xid);
	} else {
		crossing->action = FF_SWAPPED;
		tell_swap(crossings, sender, cargo, crossing, &standin,
			&result);
		ff_settled_add(&crossings->settled, sender->actor.tid,
			standin.dev, standin.ino, cargo->request.xid);
	}
	ff_standin_close(&standin, crossings->shm_dir_fd);
	return true;
}

void ff_crossings_name_fence(const struct ff_futexes *futexes,
	const struct ff_cargo *cargo, char id[256])
{
	const struct ff_fence *fence = ff_futexes_find(futexes,
		cargo->st.st_dev, cargo->st.st_ino);
	const char *slash;

	if (fence) {
		snprintf(id, 256, "%s", ff_standin_name(&fence->standin));
	} else if (ff_cargo_is_memfd(cargo)) {
		snprintf(id, 256, "memfd:%llu",
			(unsigned long long)cargo->st.st_ino);
	} else {
		ff_cargo_name(cargo, id);
		slash = strrchr(id, '/');
		if (slash)
			memmove(id, slash + 1, strlen(slash));
	}
}

/* It was made as a stand-in: that is told now that it is known what for. */
static void tell_made(struct ff_crossings *crossings,
	const struct ff_sender *sender, struct ff_crossing *crossing,
	struct ff_fence *fence)
{
	const struct ff_swap_event event = {
		.crossing = crossing,
		.standin = fence->standin.path,
		.engine = ff_engine_name(FF_ENGINE_NOTIFY),
		.why = crossings->policy->engine == FF_ENGINE_NOTIFY ?
			"--engine=notify" : "libxshmfence made it",
		.fds = 1,
		.mappings = 1,
		.processes = 1,
		.total_ns = fence->made_ns,
	};

	fence->is_new = false;
	ff_futexes_announce(crossings->futexes, fence);
	crossing->action = FF_SWAPPED;
	crossing->fence = ff_standin_name(&fence->standin);
	crossing->kind = "memfd";
	crossing->name = "xshmfence";
	ff_policy_tell(crossings->policy, 2, &sender->actor, FF_ENGINE_NOTIFY,
		event.why);
	ff_eventlog_crossing(crossings->log, crossing);
	ff_eventlog_swap(crossings->log, &event);
}

/* Whose file it is that needs no swap. */
static void tell_patched(struct ff_crossings *crossings,
	const struct ff_sender *sender)
{
	char library[PATH_MAX], reason[FF_REASON_SIZE];

	if (ff_policy_was_told(crossings->policy, sender->actor.pid,
			FF_ENGINE_AUTO))
		return;
	if (ff_patched_process(sender->actor.pid, library, sizeof(library)) ==
		1)
		snprintf(reason, sizeof(reason), "its libxshmfence makes "
			"fences in /dev/shm itself (%.100s)", library);
	else
		snprintf(reason, sizeof(reason), "its fences are files in the "
			"shm dir already");
	ff_policy_tell(crossings->policy, 2, &sender->actor, FF_ENGINE_AUTO,
		reason);
}

/* A fence in a file of the client's own that is where it should be. */
static void take_file(struct ff_crossings *crossings,
	const struct ff_sender *sender, const struct ff_cargo *cargo,
	struct ff_crossing *crossing)
{
	struct ff_fence *fence;
	struct ff_error error;

	tell_patched(crossings, sender);
	if (!ff_futexes_trap(crossings->futexes)) {
		ff_eventlog_crossing(crossings->log, crossing);
		return;
	}
	fence = ff_enrol(crossings->futexes, &sender->actor,
		cargo, false, &error);
	if (fence) {
		ff_futexes_announce(crossings->futexes, fence);
		crossing->fence = ff_standin_name(&fence->standin);
	} else {
		crossing->action = FF_FAILED;
		crossing->reason = error.text;
	}
	ff_eventlog_crossing(crossings->log, crossing);
}

/* It crosses as it is. */
static void leave_fd(struct ff_crossings *crossings,
	const struct ff_sender *sender, const struct ff_cargo *cargo,
	const struct ff_choice *choice, struct ff_crossing *crossing)
{
	crossing->action = choice->way == FF_WAY_FAIL ? FF_FAILED : FF_LEFT;
	ff_enrol_left(crossings->futexes, &sender->actor, cargo);
	ff_eventlog_crossing(crossings->log, crossing);
	if (choice->made || !ff_futexes_watch(crossings->futexes) ||
		!ff_cargo_is_fence(cargo))
		return;
	ff_say(crossings->log, 0, "%s[%d]: a fence crosses that is not "
		"swapped, and its wake-ups are not relayed: %s",
		sender->actor.comm, sender->actor.pid, crossing->reason);
}

/* One fd: log it, swap it. */
static enum ff_verdict handle_fd(struct ff_crossings *crossings,
	struct ff_sender *sender, struct ff_cargo *cargo, bool may_swap)
{
	struct ff_choice choice = { 0 };
	char name[256], fence[256];
	struct ff_crossing crossing = {
		.actor = sender->actor,
		.display = sender->server->display,
		.fd = cargo->fd,
		.kind = ff_cargo_kind(cargo, crossings->shm_dir),
		.name = name,
		.size = (uint64_t)cargo->st.st_size,
		.ino = cargo->st.st_ino,
		.request = cargo->request.name,
		.xid = cargo->request.xid,
		.reason = choice.reason,
	};

	if (ff_settled_has(&crossings->settled, sender->actor.tid,
			cargo->st.st_dev, cargo->st.st_ino,
			cargo->request.xid))
		return FF_GO_ON;
	ff_cargo_name(cargo, name);
	if (ff_cargo_is_fence(cargo)) {
		ff_crossings_name_fence(crossings->futexes, cargo, fence);
		crossing.fence = fence;
	}
	ff_choose(crossings, sender, cargo, &choice);
	if (choice.way == FF_WAY_SWAP && !may_swap)
		return FF_NEEDS_SWAP;
	if (choice.way == FF_WAY_SWAP) {
		bool held = try_swap(crossings, sender, cargo, &crossing);

		ff_snapshot_unref(crossing.snapshot);
		return held ? FF_WAS_SWAPPED : FF_GO_ON;
	}
	if (!trace(crossings, sender, may_swap, &crossing))
		return FF_WAS_SWAPPED;
	switch (choice.way) {
	case FF_WAY_MADE:
		crossing.reason = NULL;
		tell_made(crossings, sender, &crossing, choice.made);
		break;
	case FF_WAY_TAKE:
		take_file(crossings, sender, cargo, &crossing);
		break;
	default:
		leave_fd(crossings, sender, cargo, &choice, &crossing);
	}
	ff_snapshot_unref(crossing.snapshot);
	/* The call may be made again for another fd of it. */
	ff_settled_add(&crossings->settled, sender->actor.tid,
		cargo->st.st_dev, cargo->st.st_ino, cargo->request.xid);
	return FF_GO_ON;
}

/* Name the requests that carry the fds, if the bytes tell. */
static void name_requests(const struct ff_sender *sender,
	const struct ff_send *send, const struct ff_message *message,
	struct ff_x11_request *requests)
{
	static unsigned char data[FF_MESSAGE_MAX_DATA];
	size_t total = 0;
	ssize_t size = ff_message_data(sender->actor.tid, send, message, data,
		sizeof(data), &total);
	const struct ff_x11_opcodes *opcodes;

	memset(requests, 0, message->fd_count * sizeof(*requests));
	/* The server is not asked for what is no chain of requests at all. */
	if (size < 0 || ff_x11_walk(data, (size_t)size, total,
			&(struct ff_x11_opcodes){ 0 }, message->fd_count,
			requests) == -EBADMSG)
		return;
	opcodes = ff_server_opcodes(sender->server,
		sender->actor.pid);
	ff_x11_walk(data, (size_t)size, total, opcodes, message->fd_count,
		requests);
}

static enum ff_verdict handle_message(struct ff_crossings *crossings,
	struct ff_sender *sender, const struct ff_send *send,
	const struct ff_message *message, bool may_swap)
{
	struct ff_x11_request requests[FF_FDS_MAX];

	name_requests(sender, send, message, requests);
	for (size_t i = 0; i < message->fd_count; i++) {
		struct ff_cargo cargo = {
			.fd = message->fds[i],
			.request = requests[i],
		};
		enum ff_verdict verdict;

		if (!ff_cargo_look(sender->actor.pid, &cargo))
			continue; /* no such fd: the kernel will say so */
		verdict = handle_fd(crossings, sender, &cargo, may_swap);
		if (verdict != FF_GO_ON)
			return verdict;
	}
	return FF_GO_ON;
}

/* Who is it, and does the socket lead to an X server? */
static bool identify(struct ff_crossings *crossings, pid_t tid, int socket,
	struct ff_sender *sender)
{
	sender->begin_ns = ff_now_ns();
	if (ff_actor_find(tid, &sender->actor) < 0)
		return false;
	sender->server = ff_servers_find(&crossings->servers,
		sender->actor.pid, socket);
	return sender->server != NULL;
}

enum ff_verdict ff_crossings_handle(struct ff_crossings *crossings, pid_t tid,
	const struct ff_send *send, bool may_swap)
{
	struct ff_message message;
	struct ff_sender sender = { 0 };

	for (unsigned int i = 0; i < send->count; i++) {
		enum ff_verdict verdict;

		int err = ff_message_read(tid, send, i, &message);

		if (err == -EPERM)
			ff_policy_tell_unreadable(crossings->policy, tid);
		if (err)
			break;
		if (!message.fd_count)
			continue;
		if (!sender.server &&
			!identify(crossings, tid, send->socket, &sender))
			break;
		verdict = handle_message(crossings, &sender, send, &message,
			may_swap);
		if (verdict != FF_GO_ON)
			return verdict;
	}
	if (sender.server) {
		ff_settled_end(&crossings->settled, tid);
		ff_backtrace_end(&crossings->backtraces, tid);
	}
	return FF_GO_ON;
}

void ff_crossings_free(struct ff_crossings *crossings)
{
	ff_backtraces_free(&crossings->backtraces);
	ff_servers_free(&crossings->servers);
	ff_settled_free(&crossings->settled);
}
