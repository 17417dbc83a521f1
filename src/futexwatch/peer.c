/* SPDX-License-Identifier: MIT */
#include "peer.h"

#include "clock.h"
#include "peer-fence.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SECOND UINT64_C(1000000000)
#define HELLO_NS (5 * SECOND)
#define SILENT_NS (30 * SECOND)
#define STUCK_NS (10 * SECOND)
#define PARTING_NS (SECOND / 2)

enum {
	ANSWERS = 2, /* messages, at most, to one */
	/* Room that replies always find, whatever is woken meanwhile. */
	REPLY_ROOM = 4,
	/* What one that is throttled waits for, so that it is worth a turn. */
	TOKENS_TO_GO_ON = 16,
	PARTING_MAX = 32,
	/* As much as a socket holds, and as many pieces as can be in that. */
	LAST_BYTES = 64 * FF_LINK_MESSAGES * FF_WIRE_SIZE,
	LAST_PIECES = LAST_BYTES / FF_WIRE_SIZE,
};

static double burst(const struct ff_peer *peer)
{
	double tenth = peer->peers->max_rate / 10.0;

	return tenth < TOKENS_TO_GO_ON ? TOKENS_TO_GO_ON : tenth;
}

/* How many of those connections are there, of one user or machine if who? */
static size_t count(const struct ff_peers *peers, const struct ff_identity *who,
	bool parting)
{
	size_t n = 0;

	for (size_t i = 0; i < FF_PEERS_MAX; i++) {
		const struct ff_peer *peer = peers->list[i];

		n += peer && peer->state != FF_PEER_OVER &&
			(peer->state == FF_PEER_PARTING) == parting &&
			(!who || ff_identity_same(who, &peer->who));
	}
	return n;
}

static bool put(struct ff_peer *peer, enum ff_wire_type type, uint64_t id,
	enum ff_wire_reason reason)
{
	struct ff_wire message = { .type = type, .id = id, .reason = reason };

	if (type == FF_WIRE_HELLO) {
		message.version = FF_WIRE_VERSION;
		message.features = peer->link.takes_fds ? FF_WIRE_FDS : 0;
		memcpy(message.guest, peer->guest, FF_WIRE_ID);
		memcpy(message.kernel, peer->peers->kernel, FF_WIRE_ID);
	}
	return ff_link_put(&peer->link, &message);
}

/* Refuse the guest itself, and keep the line open for a moment: an end with
 * something unread would take the answer with it. */
static void refuse(struct ff_peer *peer, enum ff_wire_reason reason,
	uint64_t now)
{
	struct ff_peers *peers = peer->peers;

	ff_hostlog_peer(peers->log, peer->who.text, "refused",
		ff_wire_reason_text(reason), peer->fence_count);
	put(peer, FF_WIRE_REFUSED, 0, reason);
	if (peer->link.is_device)
		return;
	peer->state = FF_PEER_PARTING;
	peer->heard_ns = now;
	if (ff_link_flush(&peer->link) < 0 ||
		count(peers, NULL, true) > PARTING_MAX)
		ff_peer_end(peer, NULL, NULL);
}

static struct ff_peer *make(struct ff_peers *peers, int fd,
	const struct ff_identity *who)
{
	uint64_t now = ff_now_ns();
	struct ff_peer *peer;
	size_t number = 0;

	while (number < FF_PEERS_MAX && peers->list[number])
		number++;
	peer = number < FF_PEERS_MAX ? calloc(1, sizeof(*peer)) : NULL;
	if (!peer)
		return NULL;
	*peer = (struct ff_peer){
		.peers = peers,
		.number = number,
		.who = *who,
		.began_ns = now,
		.heard_ns = now,
		.tokens_ns = now,
	};
	peer->tokens = burst(peer);
	LIST_INIT(&peer->fences);
	TAILQ_INIT(&peer->due);
	ff_link_init(&peer->link, fd, who->transport == FF_CHAR);
	peers->list[number] = peer;
	return peer;
}

struct ff_peer *ff_peer_new(struct ff_peers *peers, int fd,
	const struct ff_identity *who)
{
	size_t all = count(peers, NULL, false), same = count(peers, who, false);
	struct ff_peer *peer = make(peers, fd, who);

	if (!peer) {
		close(fd);
		ff_hostlog_peer(peers->log, who->text, "refused",
			"too many connections", 0);
		return NULL;
	}
	if (!ff_admit_peer(&peers->admission, who))
		refuse(peer, FF_WIRE_NOT_ALLOWED, peer->heard_ns);
	else if (who->transport != FF_CHAR &&
		(all >= FF_PEERS_MAX - PARTING_MAX * 2 ||
			same >= FF_PEERS_OF_ONE))
		refuse(peer, FF_WIRE_BUSY, peer->heard_ns);
	return peer;
}

void ff_peer_end(struct ff_peer *peer, const char *action, const char *reason)
{
	struct ff_peers *peers = peer->peers;

	if (peer->state == FF_PEER_OVER)
		return;
	if (action)
		ff_hostlog_peer(peers->log, peer->who.text, action, reason,
			peer->fence_count);
	ff_peer_forget_all(peer);
	ff_link_close(&peer->link);
	peer->state = FF_PEER_OVER;
}

void ff_peer_free(struct ff_peer *peer)
{
	peer->peers->list[peer->number] = NULL;
	free(peer);
}

/* A guest that connected again before we saw the end of its old connection. */
static void replace_older(struct ff_peer *peer)
{
	struct ff_peers *peers = peer->peers;

	for (size_t i = 0; i < FF_PEERS_MAX; i++) {
		struct ff_peer *other = peers->list[i];

		if (other && other != peer && other->state == FF_PEER_LIVE &&
			ff_identity_same(&other->who, &peer->who) &&
			!memcmp(other->guest, peer->guest, FF_WIRE_ID))
			ff_peer_end(other, "left", "it has connected again");
	}
}

static void take_hello(struct ff_peer *peer, const struct ff_wire *hello,
	uint64_t now)
{
	struct ff_peers *peers = peer->peers;
	bool is_ours = !memcmp(hello->kernel, peers->kernel, FF_WIRE_ID);

	/* On a device another guest's process may begin at any time. */
	if (peer->state == FF_PEER_LIVE) {
		ff_hostlog_peer(peers->log, peer->who.text, "left",
			"another begins", peer->fence_count);
		ff_peer_forget_all(peer);
		peer->state = FF_PEER_NEW;
	}
	memcpy(peer->guest, hello->guest, FF_WIRE_ID);
	peer->link.takes_fds = (hello->features & FF_WIRE_FDS) && is_ours &&
		ff_admit_fds(&peers->admission, &peer->who);
	put(peer, FF_WIRE_HELLO, 0, 0);
	if (hello->version != FF_WIRE_VERSION) {
		refuse(peer, FF_WIRE_BAD_VERSION, now);
		return;
	}
	peer->watches = (hello->features & FF_WIRE_ISOLATED) || !is_ours;
	peer->state = FF_PEER_LIVE;
	replace_older(peer);
	ff_hostlog_peer(peers->log, peer->who.text, "connected",
		peer->watches ? NULL : "on this kernel: nothing to relay", 0);
}

static void handle(struct ff_peer *peer, const struct ff_wire *message,
	uint64_t now)
{
	bool is_device = peer->link.is_device;

	if (message->type == FF_WIRE_HELLO &&
		(is_device || peer->state == FF_PEER_NEW)) {
		take_hello(peer, message, now);
		return;
	}
	if (peer->state != FF_PEER_LIVE) {
		if (!is_device)
			ff_peer_end(peer, "dropped",
				"protocol error: no hello first");
		return;
	}
	switch (message->type) {
	case FF_WIRE_NEW:
		ff_peer_add_fence(peer, message);
		return;
	case FF_WIRE_WAKE:
		ff_peer_wake_fence(peer, message->id, message->count);
		return;
	case FF_WIRE_GONE:
		ff_peer_drop_fence(peer, message->id);
		return;
	case FF_WIRE_PING:
		put(peer, FF_WIRE_PONG, message->id, 0);
		return;
	default:
		ff_peer_end(peer, "dropped",
			"protocol error: only a host sends this");
	}
}

/* May it send another message now? Too many are put off, not refused. */
static bool may_take(struct ff_peer *peer, uint64_t now)
{
	peer->tokens += (double)(now - peer->tokens_ns) *
		peer->peers->max_rate / (double)SECOND;
	peer->tokens_ns = now;
	if (peer->tokens > burst(peer))
		peer->tokens = burst(peer);
	if (peer->tokens < (peer->is_throttled ? TOKENS_TO_GO_ON : 1)) {
		peer->is_throttled = true;
		return false;
	}
	/* Whatever it has said meanwhile was not heard. */
	if (peer->is_throttled)
		peer->heard_ns = now;
	peer->is_throttled = false;
	return true;
}

/* Put what it is to be told of its fences, as room allows. */
static void put_due(struct ff_peer *peer)
{
	struct ff_watched *fence;

	while ((fence = TAILQ_FIRST(&peer->due)) &&
		ff_link_room(&peer->link) > REPLY_ROOM) {
		struct ff_wire wake = { .type = FF_WIRE_WAKE, .id = fence->id,
			.count = INT_MAX };

		if (fence->lost) {
			put(peer, FF_WIRE_REFUSED, fence->id, fence->lost);
			ff_peer_forget(fence);
			continue;
		}
		TAILQ_REMOVE(&peer->due, fence, due);
		fence->is_due = false;
		ff_link_put(&peer->link, &wake);
		ff_hostlog_wake(peer->peers->log, fence->name, peer->who.text,
			FF_FROM_HOST, INT_MAX);
	}
}

/* Of one who has gone, and has no limits any more, nothing else counts. */
static bool is_last_wake(const struct ff_peer *peer,
	const struct ff_wire *message)
{
	return peer->state == FF_PEER_LIVE && message->type == FF_WIRE_WAKE;
}

/* Do what was read. True: there was no room for the answers. */
static bool take_messages(struct ff_peer *peer, uint64_t now)
{
	struct ff_wire message;
	int taken;

	while (peer->state == FF_PEER_NEW || peer->state == FF_PEER_LIVE) {
		/* To one who has gone there are no answers. */
		if (peer->has_ended)
			peer->link.out_size = peer->link.out_start = 0;
		else if (ff_link_room(&peer->link) < ANSWERS)
			return true;
		else if (!may_take(peer, now))
			return false;
		taken = ff_link_take(&peer->link, &message);
		if (taken < 0)
			ff_peer_end(peer, "dropped", taken == -EBADMSG ?
				"protocol error: an fd out of place" :
				"protocol error: garbage");
		if (taken <= 0)
			return false;
		peer->tokens--;
		peer->heard_ns = now;
		if (!peer->has_ended || is_last_wake(peer, &message))
			handle(peer, &message, now);
	}
	return false;
}

/* A guest on a device has gone silent, but another may come. */
static void leave_device(struct ff_peer *peer, uint64_t now)
{
	if (peer->state == FF_PEER_LIVE)
		ff_hostlog_peer(peer->peers->log, peer->who.text, "left",
			"silent", peer->fence_count);
	ff_peer_forget_all(peer);
	peer->state = FF_PEER_NEW;
	peer->heard_ns = now;
}

/* Write as much as goes, with what is due. */
static void write_out(struct ff_peer *peer, uint64_t now)
{
	for (;;) {
		size_t before;
		int err;

		put_due(peer);
		before = peer->link.out_size;
		err = ff_link_flush(&peer->link);
		if (err < 0) {
			peer->has_ended = true;
			return;
		}
		if (!ff_link_pending(&peer->link))
			peer->stuck_ns = 0;
		else if (!peer->stuck_ns || peer->link.out_size < before)
			peer->stuck_ns = now;
		if (TAILQ_EMPTY(&peer->due) || peer->stuck_ns)
			return;
	}
}

/* Its last wakes may still be unread if it was writing that failed. */
static void hear_last(struct ff_peer *peer, uint64_t now)
{
	size_t read = 0;

	for (int i = 0; i < LAST_PIECES && read < LAST_BYTES; i++) {
		size_t before = peer->link.in_size;

		if (ff_link_fill(&peer->link) < 0 ||
			peer->link.in_size == before)
			break;
		read += peer->link.in_size - before;
		take_messages(peer, now);
	}
	ff_peer_end(peer, "left", NULL);
}

void ff_peer_serve(struct ff_peer *peer, bool readable, uint64_t now)
{
	if (peer->state == FF_PEER_OVER)
		return;
	if (readable && !peer->has_ended && ff_link_fill(&peer->link) < 0)
		peer->has_ended = true;
	if (peer->state == FF_PEER_PARTING) {
		ff_link_skip(&peer->link);
		if (peer->has_ended || ff_link_flush(&peer->link) < 0)
			ff_peer_end(peer, NULL, NULL);
		return;
	}
	/* What was read already is told by no poll. */
	do {
		if (!peer->has_ended)
			write_out(peer, now);
	} while (take_messages(peer, now) && !peer->stuck_ns);
	if (peer->state != FF_PEER_OVER && !peer->has_ended)
		write_out(peer, now);
	if (peer->has_ended)
		hear_last(peer, now);
}

uint64_t ff_peer_deadline_ns(const struct ff_peer *peer)
{
	uint64_t deadline = UINT64_MAX;

	switch (peer->state) {
	case FF_PEER_NEW:
		if (!peer->link.is_device)
			deadline = peer->heard_ns + HELLO_NS;
		break;
	case FF_PEER_LIVE:
		deadline = peer->heard_ns + SILENT_NS;
		break;
	case FF_PEER_PARTING:
		return peer->heard_ns + PARTING_NS;
	case FF_PEER_OVER:
		return 0;
	}
	/* It is not read from, so its silence means nothing. */
	if (peer->is_throttled)
		deadline = peer->tokens_ns + (uint64_t)((TOKENS_TO_GO_ON -
			peer->tokens) * (double)SECOND /
			peer->peers->max_rate) + 1000;
	if (peer->stuck_ns && peer->stuck_ns + STUCK_NS < deadline)
		deadline = peer->stuck_ns + STUCK_NS;
	return deadline;
}

void ff_peer_tick(struct ff_peer *peer, uint64_t now)
{
	bool is_device = peer->link.is_device;

	if (peer->state == FF_PEER_PARTING)
		ff_peer_end(peer, NULL, NULL);
	else if (peer->stuck_ns && now - peer->stuck_ns >= STUCK_NS)
		ff_peer_end(peer, "dropped", "it does not read");
	else if (peer->is_throttled)
		ff_peer_serve(peer, false, now);
	else if (peer->state == FF_PEER_NEW && !is_device)
		ff_peer_end(peer, "dropped", "it says no hello");
	else if (now - peer->heard_ns >= SILENT_NS && is_device)
		leave_device(peer, now);
	else if (now - peer->heard_ns >= SILENT_NS)
		ff_peer_end(peer, "dropped", "silent for 30 s");
}

short ff_peer_events(const struct ff_peer *peer)
{
	short events = 0;

	if (!peer->is_throttled && ff_link_room(&peer->link) >= ANSWERS)
		events |= POLLIN;
	if (ff_link_pending(&peer->link))
		events |= POLLOUT;
	return events;
}
