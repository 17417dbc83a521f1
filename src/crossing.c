/* SPDX-License-Identifier: MIT */
#include "crossing.h"

#include "clock.h"
#include "process.h"
#include "x11/request.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* An fd that is about to cross. */
struct cargo {
	int fd; /* its number in the sender */
	struct stat st;
	char link[256]; /* what /proc/PID/fd/FD points to */
	struct ff_x11_request request;
};

int ff_crossings_init(struct ff_crossings *crossings, struct ff_error *error)
{
	int fd = memfd_create("probe", MFD_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return ff_fail(error, errno, "cannot make a memfd: %s",
			strerror(errno));
	crossings->memfd_dev = st.st_dev;
	close(fd);
	crossings->settled_room = 32;
	crossings->settled = calloc(crossings->settled_room,
		sizeof(*crossings->settled));
	return crossings->settled ? 0 :
		ff_fail(error, ENOMEM, "out of memory");
}

static bool starts_with(const char *text, const char *start)
{
	return !strncmp(text, start, strlen(start));
}

/* Files of memfd_create, of hugetlbfs too, have this name and no path. */
static bool is_memfd(const struct cargo *cargo)
{
	return starts_with(cargo->link, "/memfd:") && S_ISREG(cargo->st.st_mode)
		&& cargo->st.st_nlink == 0;
}

static const char *kind_of(const struct ff_crossings *crossings,
	const struct cargo *cargo)
{
	if (is_memfd(cargo))
		return "memfd";
	if (starts_with(cargo->link, "/dmabuf:") ||
		starts_with(cargo->link, "anon_inode:dmabuf"))
		return "dmabuf";
	if (starts_with(cargo->link, "/dev/shm/") ||
		starts_with(cargo->link, "/SYSV") ||
		(starts_with(cargo->link, crossings->shm_dir) &&
			cargo->link[strlen(crossings->shm_dir)] == '/'))
		return "shm";
	return "other";
}

/* "xshmfence" of "/memfd:xshmfence (deleted)"; else the whole link. */
static void name_of(const struct cargo *cargo, char name[256])
{
	static const char deleted[] = " (deleted)";
	const char *start = cargo->link;
	size_t length;

	if (is_memfd(cargo))
		start += strlen("/memfd:");
	length = strlen(start);
	if (length >= strlen(deleted) && !strcmp(start + length -
			strlen(deleted), deleted))
		length -= strlen(deleted);
	snprintf(name, 256, "%.*s", (int)length, start);
}

static bool look_at(pid_t pid, struct cargo *cargo)
{
	char path[48];
	ssize_t length;

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", pid, cargo->fd);
	length = readlink(path, cargo->link, sizeof(cargo->link) - 1);
	if (length < 0 || stat(path, &cargo->st) < 0)
		return false;
	cargo->link[length] = '\0';
	return true;
}

/* Was it dealt with when this call was made before? */
static bool is_settled(const struct ff_crossings *crossings, pid_t tid,
	const struct stat *st)
{
	for (size_t i = 0; i < crossings->settled_count; i++) {
		const struct ff_settled *settled = &crossings->settled[i];

		if (settled->tid == tid && settled->dev == st->st_dev &&
			settled->ino == st->st_ino)
			return true;
	}
	return false;
}

/* Threads that ended before they made their call again. */
static void drop_dead_settled(struct ff_crossings *crossings)
{
	struct ff_settled *list = crossings->settled;
	size_t kept = 0;

	for (size_t i = 0; i < crossings->settled_count; i++)
		if (kill(list[i].tid, 0) == 0 || errno != ESRCH)
			list[kept++] = list[i];
	crossings->settled_count = kept;
}

static void settle(struct ff_crossings *crossings, pid_t tid, dev_t dev,
	ino_t ino)
{
	if (crossings->settled_count == crossings->settled_room)
		drop_dead_settled(crossings);
	if (crossings->settled_count == crossings->settled_room) {
		size_t room = crossings->settled_room + 32;
		void *more = realloc(crossings->settled,
			room * sizeof(*crossings->settled));

		/* Better forget another than try this one for ever. */
		if (!more)
			crossings->settled_count = 0;
		else
			crossings->settled = more;
		if (more)
			crossings->settled_room = room;
	}
	crossings->settled[crossings->settled_count++] =
		(struct ff_settled){ tid, dev, ino };
}

static void unsettle(struct ff_crossings *crossings, pid_t tid)
{
	struct ff_settled *list = crossings->settled;
	size_t kept = 0;

	for (size_t i = 0; i < crossings->settled_count; i++)
		if (list[i].tid != tid)
			list[kept++] = list[i];
	crossings->settled_count = kept;
}

void ff_crossings_forget(struct ff_crossings *crossings, pid_t tid)
{
	unsettle(crossings, tid);
	ff_stubs_forget(&crossings->stubs, tid);
}

/* Why a memfd is not even tried to be swapped; NULL if it is. */
static const char *preflight(const struct ff_crossings *crossings,
	const struct cargo *cargo)
{
	if (!is_memfd(cargo))
		return "not a memfd";
	if (crossings->engine == FF_ENGINE_OFF)
		return "engine off";
	if (crossings->select == FF_SELECT_FENCE && (!cargo->request.name ||
		strcmp(cargo->request.name, "DRI3.FenceFromFD")))
		return "not selected (--select=fence)";
	if (cargo->st.st_dev != crossings->memfd_dev)
		return "hugetlb memfd: a file in the shm dir has other pages";
	return NULL;
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

/* Open the memfd of the sender anew, so that its offset is left alone. */
static int open_memfd(pid_t pid, const struct cargo *cargo,
	struct ff_error *error)
{
	char path[48];
	struct stat st;
	int copy;

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", pid, cargo->fd);
	copy = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (copy < 0)
		return ff_fail(error, errno,
			"cannot read the memfd of pid %d: %s", pid,
			strerror(errno));
	if (fstat(copy, &st) == 0 && st.st_dev == cargo->st.st_dev &&
		st.st_ino == cargo->st.st_ino)
		return copy;
	close(copy);
	return ff_fail(error, ESTALE, "fd %d of pid %d became another file "
		"meanwhile", cargo->fd, pid);
}

/* The one who sends, and where to. */
struct sender {
	struct ff_actor actor;
	struct ff_status status;
	struct ff_server *server;
	uint64_t begin_ns;
};

/* Is its first word a fence? Where the request is not known, by what
 * libxshmfence calls it. */
static bool is_fence(const struct cargo *cargo)
{
	return cargo->request.name ?
		!strcmp(cargo->request.name, "DRI3.FenceFromFD") :
		starts_with(cargo->link, "/memfd:xshmfence ");
}

/*
 * A fence that somebody watches is registered, with its stand-in, before it is
 * swapped. *standin tells of it in any case.
 */
static int swap_memfd(struct ff_crossings *crossings,
	const struct sender *sender, const struct cargo *cargo, int memfd,
	struct ff_standin *standin, struct ff_swap_result *result,
	struct ff_error *error)
{
	const bool watched = is_fence(cargo) &&
		ff_futexes_watch(crossings->futexes);
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
		target.size, sender->status.uid, sender->status.gid, watched,
		standin, error);

	if (err)
		return err;
	target.standin = standin->fd;
	if (watched) {
		struct ff_standin moved = *standin;

		fence = ff_futexes_add(crossings->futexes, &moved, error);
		if (!fence)
			return -error->err;
		standin->fd = -1;
		standin->named = false;
	}
	err = ff_swap(&target, &crossings->ops, &crossings->stubs, result,
		error);
	if (fence && err)
		ff_futexes_remove(crossings->futexes, fence);
	/* It was unlocked for programs that had to be called off. */
	else if (fence)
		flock(fence->standin.fd, LOCK_EX | LOCK_NB);
	ff_standin_unlink(standin, crossings->shm_dir_fd);
	return err;
}

/* Swap it, and tell the log how that went. True if it was held at all. */
static bool try_swap(struct ff_crossings *crossings,
	const struct sender *sender, const struct cargo *cargo,
	struct ff_crossing *crossing)
{
	struct ff_standin standin = { .fd = -1 };
	struct ff_swap_result result;
	struct ff_error error = { 0 };
	int memfd = open_memfd(sender->actor.pid, cargo, &error), err;

	crossing->action = FF_FAILED;
	crossing->reason = error.text;
	if (memfd >= 0)
		crossing->reason = check_seals(memfd);
	if (crossing->reason) {
		crossing->action = memfd < 0 ? FF_FAILED : FF_LEFT;
		ff_eventlog_crossing(crossings->log, crossing);
		if (memfd >= 0)
			close(memfd);
		return false;
	}
	err = swap_memfd(crossings, sender, cargo, memfd, &standin, &result,
		&error);
	close(memfd);
	crossing->action = err ? FF_FAILED : FF_SWAPPED;
	crossing->reason = err ? error.text : NULL;
	ff_eventlog_crossing(crossings->log, crossing);
	if (err) {
		settle(crossings, sender->actor.tid, cargo->st.st_dev,
			cargo->st.st_ino);
	} else {
		struct ff_swap_event event = {
			.crossing = crossing,
			.standin = standin.path,
			.engine = "ptrace",
			.fds = result.fds,
			.mappings = result.mappings,
			.processes = result.processes,
			.threads = result.threads,
			.stopped_ns = result.stopped_ns,
			.total_ns = ff_now_ns() - sender->begin_ns,
		};

		ff_eventlog_swap(crossings->log, &event);
		settle(crossings, sender->actor.tid, standin.dev, standin.ino);
	}
	ff_standin_close(&standin, crossings->shm_dir_fd);
	return true;
}

/* One fd: log it, swap it. */
static enum ff_verdict handle_fd(struct ff_crossings *crossings,
	const struct sender *sender, struct cargo *cargo, bool may_swap)
{
	char name[256];
	struct ff_crossing crossing = {
		.actor = sender->actor,
		.display = sender->server->display,
		.fd = cargo->fd,
		.kind = kind_of(crossings, cargo),
		.name = name,
		.size = (uint64_t)cargo->st.st_size,
		.request = cargo->request.name,
		.xid = cargo->request.xid,
		.reason = preflight(crossings, cargo),
	};

	if (is_settled(crossings, sender->actor.tid, &cargo->st))
		return FF_GO_ON;
	name_of(cargo, name);
	if (!crossing.reason)
		return !may_swap ? FF_NEEDS_SWAP :
			try_swap(crossings, sender, cargo, &crossing) ?
			FF_WAS_SWAPPED : FF_GO_ON;
	ff_eventlog_crossing(crossings->log, &crossing);
	if (ff_futexes_watch(crossings->futexes) && is_fence(cargo))
		ff_say(crossings->log, 0, "%s[%d]: a fence crosses that is not "
			"swapped, and its wake-ups are not relayed: %s",
			sender->actor.comm, sender->actor.pid, crossing.reason);
	/* The call may be made again for another fd of it. */
	settle(crossings, sender->actor.tid, cargo->st.st_dev,
		cargo->st.st_ino);
	return FF_GO_ON;
}

/* Name the requests that carry the fds, if the bytes tell. */
static void name_requests(const struct sender *sender,
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
	const struct sender *sender, const struct ff_send *send,
	const struct ff_message *message, bool may_swap)
{
	struct ff_x11_request requests[FF_MESSAGE_MAX_FDS];

	name_requests(sender, send, message, requests);
	for (size_t i = 0; i < message->fd_count; i++) {
		struct cargo cargo = {
			.fd = message->fds[i],
			.request = requests[i],
		};
		enum ff_verdict verdict;

		if (!look_at(sender->actor.pid, &cargo))
			continue; /* no such fd: the kernel will say so */
		verdict = handle_fd(crossings, sender, &cargo, may_swap);
		if (verdict != FF_GO_ON)
			return verdict;
	}
	return FF_GO_ON;
}

/* Who is it, and does the socket lead to an X server? */
static bool identify(struct ff_crossings *crossings, pid_t tid, int socket,
	struct sender *sender)
{
	sender->begin_ns = ff_now_ns();
	sender->actor.tid = tid;
	if (ff_process_status(tid, &sender->status) < 0)
		return false;
	sender->actor.pid = sender->status.tgid;
	memcpy(sender->actor.comm, sender->status.comm,
		sizeof(sender->actor.comm));
	sender->server = ff_servers_find(&crossings->servers,
		sender->actor.pid, socket);
	return sender->server != NULL;
}

enum ff_verdict ff_crossings_handle(struct ff_crossings *crossings, pid_t tid,
	const struct ff_send *send, bool may_swap)
{
	struct ff_message message;
	struct sender sender = { 0 };

	for (unsigned int i = 0; i < send->count; i++) {
		enum ff_verdict verdict;

		if (ff_message_read(tid, send, i, &message) < 0)
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
	if (sender.server)
		unsettle(crossings, tid);
	return FF_GO_ON;
}

void ff_crossings_free(struct ff_crossings *crossings)
{
	ff_servers_free(&crossings->servers);
	free(crossings->settled);
}
