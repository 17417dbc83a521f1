/* SPDX-License-Identifier: MIT */
#include "replies.h"

#include "actor.h"
#include "cargo.h"
#include "crossing.h"
#include "message.h"
#include "process.h"
#include "x11/reply.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/* Linux 6.5. */
#ifndef SCM_PIDFD
#define SCM_PIDFD 0x04
#endif

/* So many bytes, of those that are to be read first, are looked at. */
#define WINDOW 65536
/* A call reads no more than so many windows: what a socket holds is limited. */
#define MOST_WINDOWS 16

/* What comes with one call. */
struct arrivals {
	size_t count;
	int fds[FF_FDS_MAX]; /* ours, to be closed */
	struct ff_cargo cargo[FF_FDS_MAX];
	struct ff_x11_reply replies[FF_FDS_MAX];
	struct ff_arrival key;
};

static void take_control(struct msghdr *header, struct arrivals *arrivals)
{
	struct cmsghdr *cmsg;

	for (cmsg = CMSG_FIRSTHDR(header); cmsg;
		cmsg = CMSG_NXTHDR(header, cmsg)) {
		size_t size = cmsg->cmsg_len - CMSG_LEN(0);
		int pidfd;

		if (cmsg->cmsg_level != SOL_SOCKET)
			continue;
		/* Who has asked for these gets one with every message. */
		if (cmsg->cmsg_type == SCM_PIDFD && size == sizeof(pidfd)) {
			memcpy(&pidfd, CMSG_DATA(cmsg), size);
			close(pidfd);
		}
		if (cmsg->cmsg_type != SCM_RIGHTS)
			continue;
		memcpy(arrivals->fds, CMSG_DATA(cmsg), size);
		arrivals->count = size / sizeof(int);
	}
}

/* What peeking reads, and nobody wants. */
static size_t waste_bytes(struct iovec parts[MOST_WINDOWS], size_t bytes)
{
	static char waste[WINDOW];
	size_t count = 0;

	while (bytes && count < MOST_WINDOWS) {
		size_t part = bytes < WINDOW ? bytes : WINDOW;

		parts[count++] = (struct iovec){ waste, part };
		bytes -= part;
	}
	return count;
}

/* Are there any? Without room for them they are not even copied. */
static bool has_fds(int socket)
{
	struct iovec parts[MOST_WINDOWS];
	struct msghdr header = {
		.msg_iov = parts,
		.msg_iovlen = waste_bytes(parts, SIZE_MAX),
	};

	return recvmsg(socket, &header, MSG_PEEK | MSG_DONTWAIT) > 0 &&
		header.msg_flags & MSG_CTRUNC;
}

/*
 * Copies of the fds that come to who now reads so many bytes of the socket and
 * has room for so many fds. It is not read: all stays there.
 */
static void peek_fds(int socket, size_t bytes, size_t room,
	struct arrivals *arrivals)
{
	struct iovec parts[MOST_WINDOWS];
	union {
		char room[CMSG_SPACE(FF_FDS_MAX * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct msghdr header = {
		.msg_iov = parts,
		.msg_iovlen = waste_bytes(parts, bytes),
		.msg_control = control.room,
		.msg_controllen = CMSG_LEN(room * sizeof(int)),
	};

	arrivals->count = 0;
	if (recvmsg(socket, &header,
			MSG_PEEK | MSG_DONTWAIT | MSG_CMSG_CLOEXEC) >= 0)
		take_control(&header, arrivals);
}

/* Peeking would move where the client's own peeking goes on (SO_PEEK_OFF). */
static bool has_peek_offset(int socket)
{
	int offset;
	socklen_t size = sizeof(offset);

	return getsockopt(socket, SOL_SOCKET, SO_PEEK_OFF, &offset, &size) ==
		0 && offset >= 0;
}

static enum ff_x11_goods goods_of(const struct ff_cargo *cargo,
	const char *shm_dir)
{
	if (S_ISCHR(cargo->st.st_mode))
		return FF_X11_DEVICE;
	if (!strcmp(ff_cargo_kind(cargo, shm_dir), "dmabuf"))
		return FF_X11_DMABUF;
	if (!S_ISREG(cargo->st.st_mode))
		return FF_X11_OTHER;
	return cargo->st.st_size == sizeof(int32_t) ? FF_X11_WORD :
						      FF_X11_FILE;
}

/* FNV-1a */
static uint64_t add_hash(uint64_t hash, uint64_t number)
{
	for (unsigned int i = 0; i < sizeof(number); i++)
		hash = (hash ^ (number >> 8 * i & 0xff)) * 0x100000001b3u;
	return hash;
}

/* What are they, and which replies bring them? */
static void look_at(const struct ff_replies *r, int socket,
	struct arrivals *arrivals)
{
	static unsigned char window[WINDOW];
	enum ff_x11_goods goods[FF_FDS_MAX];
	struct ff_arrival *key = &arrivals->key;
	ssize_t size = recv(socket, window, sizeof(window),
		MSG_PEEK | MSG_DONTWAIT);
	struct stat st;

	*key = (struct ff_arrival){ .sequence = -1 };
	key->fds = 0xcbf29ce484222325u;
	for (size_t i = 0; i < arrivals->count; i++) {
		struct ff_cargo *cargo = &arrivals->cargo[i];

		*cargo = (struct ff_cargo){ .fd = arrivals->fds[i] };
		ff_cargo_look(getpid(), cargo);
		goods[i] = goods_of(cargo, r->shm_dir);
		key->fds = add_hash(key->fds, cargo->st.st_dev);
		key->fds = add_hash(key->fds, cargo->st.st_ino);
	}
	if (size < 0)
		size = 0;
	if (ff_x11_find_replies(window, (size_t)size, goods, arrivals->count,
			arrivals->replies) == 0)
		key->sequence = arrivals->replies[0].sequence;
	/* Peeking ends where the bytes end that were sent together with fds, so
	 * that these are the same however much is read before. */
	if (size < WINDOW)
		key->tail_size = (size_t)size < sizeof(key->tail) ?
			(size_t)size : sizeof(key->tail);
	memcpy(key->tail + sizeof(key->tail) - key->tail_size,
		window + size - key->tail_size, key->tail_size);
	if (fstat(socket, &st) == 0)
		key->socket = st.st_ino;
}

/* The same fds, at the same place of the same stream? */
static bool is_same(const struct ff_arrival *a, const struct ff_arrival *b)
{
	size_t size = a->tail_size < b->tail_size ? a->tail_size : b->tail_size;
	size_t from = sizeof(a->tail) - size;

	if (a->socket != b->socket || a->fds != b->fds)
		return false;
	if (a->sequence >= 0 && b->sequence >= 0)
		return a->sequence == b->sequence;
	return !memcmp(a->tail + from, b->tail + from, size);
}

static bool was_seen(const struct ff_replies *r, const struct ff_arrival *key)
{
	for (size_t i = 0; i < FF_REPLIES_SEEN; i++)
		if (is_same(&r->seen[i], key))
			return true;
	return false;
}

static void tell(const struct ff_replies *r, const struct ff_actor *actor,
	const struct ff_server *server, const struct arrivals *arrivals,
	struct ff_snapshot *snapshot)
{
	for (size_t i = 0; i < arrivals->count; i++) {
		const struct ff_cargo *cargo = &arrivals->cargo[i];
		char name[256], fence[256];
		struct ff_crossing crossing = {
			.actor = *actor,
			.display = server->display,
			.from_server = true,
			.fd = -1,
			.kind = ff_cargo_kind(cargo, r->shm_dir),
			.name = name,
			.size = (uint64_t)cargo->st.st_size,
			.ino = cargo->st.st_ino,
			.request = arrivals->replies[i].name,
			.action = FF_LEFT,
			.reason = "it comes from the server",
			.snapshot = snapshot,
		};

		ff_cargo_name(cargo, name);
		if (crossing.request && !strcmp(crossing.request,
				"DRI3.FDFromFence")) {
			ff_crossings_name_fence(r->futexes, cargo, fence);
			crossing.fence = fence;
		}
		ff_eventlog_crossing(r->log, &crossing);
	}
}

/* What would this call bring? It is ours to close. */
static void collect(const struct ff_replies *r, pid_t tid,
	const struct ff_send *call, struct arrivals *arrivals)
{
	size_t bytes, room = 0;
	int socket = ff_process_copy_fd(tid, call->socket);

	arrivals->count = 0;
	if (socket < 0)
		return;
	if (!has_peek_offset(socket) && has_fds(socket) &&
		ff_receive_room(tid, call, &bytes, &room) == 0 && room)
		peek_fds(socket, bytes, room, arrivals);
	if (arrivals->count)
		look_at(r, socket, arrivals);
	close(socket);
}

/* Look, and tell of what is new. False: its thread was stopped. */
static bool look(struct ff_replies *r, const struct ff_notification *n,
	const struct ff_send *call, const struct ff_server *server,
	bool may_stop)
{
	/* Not static: while a thread is stopped others' calls are looked at. */
	struct arrivals arrivals;
	struct ff_snapshot *snapshot = NULL;
	struct ff_actor actor;
	bool taken = true;

	collect(r, n->tid, call, &arrivals);
	if (arrivals.count && !was_seen(r, &arrivals.key)) {
		ff_actor_find(n->tid, &actor);
		taken = ff_backtrace_take(r->backtraces, n, actor.pid,
			may_stop, &snapshot) == FF_TAKEN;
		if (taken) {
			r->seen[r->next_seen++ % FF_REPLIES_SEEN] =
				arrivals.key;
			tell(r, &actor, server, &arrivals, snapshot);
			ff_backtrace_end(r->backtraces, n->tid);
		}
		ff_snapshot_unref(snapshot);
	}
	for (size_t i = 0; i < arrivals.count; i++)
		close(arrivals.fds[i]);
	return taken;
}

enum ff_call_state ff_replies_handle(struct ff_replies *r,
	const struct ff_notification *n, bool may_stop)
{
	const struct ff_server *server;
	struct ff_send call;
	uint64_t args[6];
	int err;

	for (int i = 0; i < 6; i++)
		args[i] = n->data.args[i];
	err = ff_receive_parse(n->tid, n->data.arch, n->data.nr, args, &call);
	if (err == -ENOSYS)
		return FF_CALL_IS_OTHER;
	server = err || !r->wanted ? NULL :
		ff_servers_find(r->servers, n->tid, call.socket);
	if (!server)
		return FF_CALL_GOES_ON;
	while (!look(r, n, &call, server, may_stop))
		if (!ff_notify_alive(n->listener, n->id))
			return FF_CALL_IS_DONE;
	return FF_CALL_GOES_ON;
}
