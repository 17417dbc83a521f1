/* SPDX-License-Identifier: MIT */
#include "host.h"

#include "clock.h"
#include "host-listen.h"
#include "standin.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#define SECOND UINT64_C(1000000000)

enum {
	EVENTS_A_TURN = 64,
	WOKEN_AT_ONCE = 256,
	/* So that a flood of wakes leaves time for the rest. */
	WOKEN_ROUNDS = 2,
	/* fds that are not for fences: listeners, guests, our own. */
	OTHER_FDS = FF_PEERS_MAX + FF_HOST_LISTENERS_MAX + 64,
};

/* What epoll tells: one of these, plus a number. */
enum {
	TAG_SIGNAL,
	TAG_WAITERS,
	TAG_LISTENER = 0x1000,
	TAG_PEER = 0x2000,
};

static int watch_fd(struct ff_host *host, int op, int fd, uint32_t events,
	uint32_t tag)
{
	struct epoll_event event = { .events = events, .data.u32 = tag };

	return epoll_ctl(host->epoll_fd, op, fd, &event) < 0 ? -errno : 0;
}

/* How many fences there can be: each takes a file. */
static size_t limit_of_all(const struct ff_waiters *waiters)
{
	size_t limit = ff_waiters_limit(waiters);
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) < 0 ||
		files.rlim_cur == RLIM_INFINITY)
		return limit;
	if (files.rlim_cur <= 2 * OTHER_FDS)
		files.rlim_cur /= 2;
	else
		files.rlim_cur -= OTHER_FDS;
	return files.rlim_cur < limit ? files.rlim_cur : limit;
}

int ff_host_open(struct ff_host *host, enum ff_waiters_kind kind,
	struct ff_error *error)
{
	struct ff_peers *peers = &host->peers;
	int err;

	host->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (host->epoll_fd < 0)
		return ff_fail(error, errno, "epoll: %s", strerror(errno));
	err = ff_boot_id(peers->kernel);
	if (err < 0)
		return ff_fail(error, -err, "cannot read this boot's id from "
			"/proc/sys/kernel/random/boot_id: %s (mount /proc)",
			strerror(-err));
	err = ff_watched_init(&peers->watched);
	if (err < 0)
		return ff_fail(error, -err, "%s", strerror(-err));
	peers->waiters = ff_waiters_open(kind, error);
	if (!peers->waiters)
		return -error->err;
	peers->max_all = limit_of_all(peers->waiters);
	ff_say(&peers->log->events, 1, "at most %zu fences%s", peers->max_all,
		peers->max_all < ff_waiters_limit(peers->waiters) ?
			" (raise the limit on open files)" : "");
	err = ff_host_listen(host, error);
	if (err < 0)
		return err;
	err = watch_fd(host, EPOLL_CTL_ADD, host->ops.signal_fd, EPOLLIN,
		TAG_SIGNAL);
	if (!err)
		err = watch_fd(host, EPOLL_CTL_ADD,
			ff_waiters_fd(peers->waiters), EPOLLIN, TAG_WAITERS);
	return err ? ff_fail(error, -err, "epoll: %s", strerror(-err)) : 0;
}

size_t ff_host_guests(const struct ff_host *host)
{
	size_t n = 0;

	for (size_t i = 0; i < FF_PEERS_MAX; i++)
		n += host->peers.list[i] &&
			host->peers.list[i]->state == FF_PEER_LIVE;
	return n;
}

/* What was woken goes out at once, before others here are woken. */
static void serve_waiters(struct ff_host *host, uint64_t now)
{
	struct ff_peers *peers = &host->peers;
	struct ff_woken woken[WOKEN_AT_ONCE];

	for (int round = 0; round < WOKEN_ROUNDS; round++) {
		size_t taken = ff_waiters_take(peers->waiters, woken,
			WOKEN_AT_ONCE);

		for (size_t i = 0; i < taken; i++) {
			struct ff_watched *fence = ff_watched_by_token(
				&peers->watched, woken[i].token);

			if (fence)
				ff_peer_woken(fence, woken[i].err);
		}
		for (size_t i = 0; i < FF_PEERS_MAX && taken; i++)
			if (peers->list[i] &&
				!TAILQ_EMPTY(&peers->list[i]->due))
				ff_peer_serve(peers->list[i], false, now);
		ff_waiters_pass_on(peers->waiters);
		if (taken < WOKEN_AT_ONCE)
			return;
	}
}

/* Accepting may be put off for a while. */
static void tend_listener(struct ff_host *host, size_t number, uint64_t now)
{
	struct ff_host_listener *listener = &host->listeners[number];
	uint32_t tag = TAG_LISTENER + (uint32_t)number;

	if (listener->address.transport == FF_CHAR && !listener->is_passed) {
		if (listener->peer &&
			listener->peer->state == FF_PEER_OVER)
			ff_host_lost_char(listener, now);
		if (!listener->peer && listener->retry_ns <= now)
			ff_host_open_char(host, listener, now);
		return;
	}
	if (listener->is_polled == (listener->retry_ns <= now))
		return;
	listener->is_polled = !listener->is_polled;
	watch_fd(host, listener->is_polled ? EPOLL_CTL_ADD : EPOLL_CTL_DEL,
		listener->fd, EPOLLIN, tag);
}

/* Ask epoll for what the peer wants. */
static void poll_peer(struct ff_host *host, struct ff_peer *peer)
{
	short wanted = ff_peer_events(peer);
	uint32_t *polled = &host->polled[peer->number];
	uint32_t events = (uint32_t)wanted;

	if (events == *polled)
		return;
	if (watch_fd(host, !*polled ? EPOLL_CTL_ADD : !events ? EPOLL_CTL_DEL :
		EPOLL_CTL_MOD, peer->link.fd, events,
		TAG_PEER + (uint32_t)peer->number) < 0) {
		ff_peer_end(peer, "dropped", "it cannot be polled");
		return;
	}
	*polled = events;
}

/* What time brings: deadlines, ends. Returns when to look again. */
static uint64_t tend(struct ff_host *host, uint64_t now)
{
	uint64_t deadline = UINT64_MAX;

	for (size_t i = 0; i < FF_PEERS_MAX; i++) {
		struct ff_peer *peer = host->peers.list[i];

		if (peer && ff_peer_deadline_ns(peer) <= now &&
			peer->state != FF_PEER_OVER)
			ff_peer_tick(peer, now);
	}
	for (size_t i = 0; i < host->listener_count; i++) {
		struct ff_host_listener *listener = &host->listeners[i];

		tend_listener(host, i, now);
		if (listener->retry_ns > now && listener->retry_ns < deadline)
			deadline = listener->retry_ns;
	}
	for (size_t i = 0; i < FF_PEERS_MAX; i++) {
		struct ff_peer *peer = host->peers.list[i];

		if (!peer)
			continue;
		if (peer->state == FF_PEER_OVER) {
			host->polled[i] = 0;
			ff_peer_free(peer);
			continue;
		}
		poll_peer(host, peer);
		if (ff_peer_deadline_ns(peer) < deadline)
			deadline = ff_peer_deadline_ns(peer);
	}
	return deadline;
}

/* Tell of numbers that have changed. Returns when to look again. */
static uint64_t tell(struct ff_host *host, uint64_t now)
{
	size_t guests = ff_host_guests(host);
	size_t fences = host->peers.watched.count;

	if (guests == host->told_guests && fences == host->told_fences)
		return UINT64_MAX;
	if (host->told_ns && now < host->told_ns + SECOND)
		return host->told_ns + SECOND;
	host->told_guests = guests;
	host->told_fences = fences;
	host->told_ns = now;
	host->ops.changed(host->ops.context, guests, fences);
	return UINT64_MAX;
}

/* One that epoll told of. False: it is time to stop. */
static bool dispatch(struct ff_host *host, const struct epoll_event *event,
	uint64_t now)
{
	uint32_t tag = event->data.u32;
	struct ff_peer *peer;

	if (tag == TAG_SIGNAL)
		return host->ops.signalled(host->ops.context);
	if (tag == TAG_WAITERS) {
		serve_waiters(host, now);
	} else if (tag < TAG_PEER) {
		ff_host_accept(host, &host->listeners[tag - TAG_LISTENER],
			now);
	} else {
		peer = host->peers.list[tag - TAG_PEER];
		if (peer)
			ff_peer_serve(peer, event->events & (EPOLLIN | EPOLLHUP |
				EPOLLERR), now);
	}
	return true;
}

static int timeout_ms(uint64_t deadline, uint64_t now)
{
	if (deadline == UINT64_MAX)
		return -1;
	return deadline <= now ? 0 : (int)((deadline - now + 999999) / 1000000);
}

int ff_host_serve(struct ff_host *host)
{
	struct epoll_event events[EVENTS_A_TURN];

	for (;;) {
		uint64_t now = ff_now_ns(), deadline = tend(host, now),
			 telling = tell(host, now);
		int ready;

		ff_eventlog_flush(&host->peers.log->events);
		ready = epoll_wait(host->epoll_fd, events, EVENTS_A_TURN,
			timeout_ms(deadline < telling ? deadline : telling,
				now));
		if (ready < 0 && errno != EINTR)
			return -errno;
		now = ff_now_ns();
		/* io_uring's work for us interrupts waits. */
		if (ready < 0)
			serve_waiters(host, now);
		for (int i = 0; i < ready; i++)
			if (!dispatch(host, &events[i], now))
				return 0;
	}
}

void ff_host_close(struct ff_host *host)
{
	struct ff_peers *peers = &host->peers;

	ff_host_unlisten(host);
	for (size_t i = 0; i < FF_PEERS_MAX; i++)
		if (peers->list[i]) {
			ff_peer_end(peers->list[i], "left", "we stop");
			ff_peer_free(peers->list[i]);
		}
	if (peers->waiters)
		ff_waiters_close(peers->waiters);
	peers->waiters = NULL;
	ff_watched_free(&peers->watched);
	if (host->epoll_fd >= 0)
		close(host->epoll_fd);
	host->epoll_fd = -1;
}
