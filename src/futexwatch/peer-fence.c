/* SPDX-License-Identifier: MIT */
#include "peer-fence.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* What it costs to name a file; and more, if somebody holds a lease on it. */
enum { NEW_TOKENS = 20, LEASED_TOKENS = 1000 };

/* The waits end before the file does. */
static void unwatch(struct ff_watched *fence)
{
	int fd = fence->fd;

	if (fd < 0)
		return;
	/* A guest that ends may have a last wake that it could not send. */
	ff_waiters_wake(fence->peer->peers->waiters, fence->slot, INT_MAX);
	ff_waiters_remove(fence->peer->peers->waiters, fence->slot);
	ff_watched_leave_place(fence);
	close(fd);
}

void ff_peer_forget(struct ff_watched *fence)
{
	struct ff_peer *peer = fence->peer;

	unwatch(fence);
	if (fence->is_due)
		TAILQ_REMOVE(&peer->due, fence, due);
	LIST_REMOVE(fence, of_peer);
	peer->fence_count--;
	ff_watched_remove(&peer->peers->watched, fence);
}

void ff_peer_forget_all(struct ff_peer *peer)
{
	while (!LIST_EMPTY(&peer->fences))
		ff_peer_forget(LIST_FIRST(&peer->fences));
}

static void tell(struct ff_watched *fence)
{
	if (fence->is_due)
		return;
	TAILQ_INSERT_TAIL(&fence->peer->due, fence, due);
	fence->is_due = true;
}

/* It was accepted, and can be watched no more: what is left of it is an id that
 * the guest is to be told of. */
static void lose(struct ff_watched *fence, int err)
{
	struct ff_peer *peer = fence->peer;

	ff_hostlog_fence(peer->peers->log, fence->name, peer->who.text,
		fence->id, "lost", err == -EFAULT ? "its file was truncated" :
						    strerror(-err));
	unwatch(fence);
	fence->lost = FF_WIRE_LOST;
	tell(fence);
}

void ff_peer_woken(struct ff_watched *fence, int err)
{
	if (err)
		lose(fence, err);
	else
		tell(fence);
}

static bool wake(struct ff_watched *fence, uint32_t count)
{
	int woken = ff_waiters_wake(fence->peer->peers->waiters, fence->slot,
		count);

	if (woken < 0)
		lose(fence, woken);
	return woken >= 0;
}

void ff_peer_wake_fence(struct ff_peer *peer, uint64_t id, uint32_t count)
{
	struct ff_watched *fence =
		ff_watched_by_id(&peer->peers->watched, peer, id);

	/* One that was refused or lost: it has not read that yet. */
	if (fence && fence->fd >= 0 && wake(fence, count))
		ff_hostlog_wake(peer->peers->log, fence->name, peer->who.text,
			FF_TO_HOST, count);
}

void ff_peer_drop_fence(struct ff_peer *peer, uint64_t id)
{
	struct ff_watched *fence =
		ff_watched_by_id(&peer->peers->watched, peer, id);

	if (!fence)
		return;
	ff_hostlog_fence(peer->peers->log, fence->name, peer->who.text, id,
		"gone", NULL);
	ff_peer_forget(fence);
}

/* How many fences has this user or machine? */
static size_t count_same(const struct ff_peer *peer)
{
	const struct ff_peers *peers = peer->peers;
	size_t n = 0;

	for (size_t i = 0; i < FF_PEERS_MAX; i++)
		if (peers->list[i] &&
			ff_identity_same(&peers->list[i]->who, &peer->who))
			n += peers->list[i]->fence_count;
	return n;
}

/* Nobody takes all there is: a quarter is always for others. */
static bool is_over_limit(const struct ff_peer *peer)
{
	const struct ff_peers *peers = peer->peers;

	return peer->fence_count >= peers->max_fences ||
		peers->watched.count >= peers->max_all ||
		count_same(peer) >= peers->max_all - peers->max_all / 4;
}

/* Register and watch it. 0 and *watched, or why not and *err. */
static enum ff_wire_reason watch(struct ff_peer *peer,
	const struct ff_watched *from, struct ff_watched **watched, int *err)
{
	struct ff_peers *peers = peer->peers;
	struct ff_watched *fence;

	if (from->fd >= 0 && ff_watched_by_place(&peers->watched, from->dev,
		from->ino, from->offset))
		return FF_WIRE_TAKEN;
	fence = ff_watched_add(&peers->watched, from);
	if (!fence) {
		*err = ENOMEM;
		return FF_WIRE_FAILED;
	}
	if (fence->fd >= 0)
		*err = -ff_waiters_add(peers->waiters, fence->fd, fence->offset,
			fence->token, &fence->slot);
	if (*err) {
		ff_watched_remove(&peers->watched, fence);
		return *err == EFAULT ? FF_WIRE_BAD_FILE : FF_WIRE_FAILED;
	}
	LIST_INSERT_HEAD(&peer->fences, fence, of_peer);
	peer->fence_count++;
	*watched = fence;
	return 0;
}

/* The file that it named, or passed. 0, or why not and *err. */
static enum ff_wire_reason admit(struct ff_peer *peer,
	const struct ff_wire *message, struct ff_admitted *file, int *err)
{
	struct ff_peers *peers = peer->peers;
	int fd = ff_link_take_fd(&peer->link);

	if (fd == -EMFILE) {
		*err = EMFILE;
		return FF_WIRE_FAILED;
	}
	if (fd >= 0)
		return ff_admit_fd(&peers->admission, &peer->who,
			peers->dir_fd, fd, message->offset, file, err);
	return ff_admit_file(&peers->admission, &peer->who, peers->dir_fd,
		message->name, message->offset, file, err);
}

/* Everything that may be said against a fence. */
static enum ff_wire_reason try_add(struct ff_peer *peer,
	const struct ff_wire *message, struct ff_watched **fence, int *err)
{
	struct ff_watched from = { .peer = peer, .id = message->id,
		.offset = message->offset };
	struct ff_admitted file;
	enum ff_wire_reason reason;

	*err = 0;
	if (is_over_limit(peer))
		return FF_WIRE_LIMIT;
	reason = admit(peer, message, &file, err);
	if (reason)
		return reason;
	if (*message->name)
		strcpy(from.name, message->name);
	else
		snprintf(from.name, sizeof(from.name), "#%llu",
			(unsigned long long)file.ino);
	from.dev = file.dev;
	from.ino = file.ino;
	from.fd = file.fd;
	/* With the same futexes as the guest there is nothing to do, and no
	 * need to hold its file. */
	if (!peer->watches) {
		close(file.fd);
		from.fd = -1;
	}
	reason = watch(peer, &from, fence, err);
	if (reason && from.fd >= 0)
		close(from.fd);
	return reason;
}

static void refuse(struct ff_peer *peer, const struct ff_wire *message,
	enum ff_wire_reason reason, int err)
{
	struct ff_wire refused = { .type = FF_WIRE_REFUSED, .id = message->id,
		.reason = reason };
	char name[sizeof(message->name)], text[128];
	size_t i = 0;

	/* Into the log, but not onto a terminal. */
	for (; message->name[i]; i++)
		name[i] = message->name[i] >= ' ' && message->name[i] <= '~' ?
			message->name[i] : '?';
	name[i] = '\0';
	if (!i)
		strcpy(name, "without a name");
	snprintf(text, sizeof(text), "%s%s%s", ff_wire_reason_text(reason),
		err ? ": " : "", err ? strerror(err) : "");
	ff_link_put(&peer->link, &refused);
	ff_hostlog_fence(peer->peers->log, name, peer->who.text, message->id,
		"refused", text);
}

void ff_peer_add_fence(struct ff_peer *peer, const struct ff_wire *message)
{
	struct ff_wire accepted = { .type = FF_WIRE_ACCEPTED,
		.id = message->id };
	struct ff_peers *peers = peer->peers;
	struct ff_watched *fence = NULL;
	enum ff_wire_reason reason;
	int err;

	peer->tokens -= NEW_TOKENS - 1;
	if (ff_watched_by_id(&peers->watched, peer, message->id)) {
		ff_peer_end(peer, "dropped",
			"protocol error: a fence's id was used twice");
		return;
	}
	reason = try_add(peer, message, &fence, &err);
	if (err == EWOULDBLOCK)
		peer->tokens -= LEASED_TOKENS;
	if (reason) {
		refuse(peer, message, reason, err);
		return;
	}
	ff_hostlog_fence(peers->log, fence->name, peer->who.text, message->id,
		"accepted", NULL);
	ff_link_put(&peer->link, &accepted);
	/* Whoever slept before it was watched may have missed a wake. */
	if (fence->fd >= 0)
		wake(fence, INT_MAX);
}
