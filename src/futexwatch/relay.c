/* SPDX-License-Identifier: MIT */
#include "relay.h"

#include "clock.h"
#include "relay-due.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>

#define MS UINT64_C(1000000)
#define HELLO_NS (2000 * MS)
#define PING_NS (5000 * MS)
#define PONG_NS (10000 * MS)
/* While there is no room for one. */
#define PING_AGAIN_NS (50 * MS)
/* A link that has lasted so long is worth an attempt at once. */
#define LASTING_NS (500 * MS)
#define CLOSE_NS (200 * MS)

enum {
	BACKOFF_MIN_MS = 50,
	BACKOFF_MAX_MS = 5000,
	/* Of 64 messages each: then others have their turn. */
	RECEIVE_ROUNDS = 8,
};

static void go_live(struct ff_relay *relay, const struct ff_wire *hello)
{
	relay->is_live = true;
	relay->is_refused = false;
	relay->live_ns = ff_now_ns();
	relay->deadline_ns = relay->live_ns + PING_NS;
	relay->pong_ns = 0;
	relay->owes_ping = false;
	relay->fences->host_reads = !memcmp(hello->kernel, relay->kernel,
		FF_WIRE_ID);
	relay->takes_fds = (hello->features & FF_WIRE_FDS) &&
		relay->address.transport == FF_UNIX &&
		relay->fences->host_reads;
	if (relay->is_open && relay->ops.changed)
		relay->ops.changed(relay->ops.context, NULL);
}

static int fail_protocol(struct ff_error *error, const char *what)
{
	return ff_fail(error, EPROTO, "the relay's host does not keep to the "
		"protocol: %s (is that 'fenceferry host'?)", what);
}

static int refused(struct ff_relay *relay, enum ff_wire_reason reason,
	struct ff_error *error)
{
	int err = ECONNREFUSED;
	const char *hint = "see the host's log";

	if (reason == FF_WIRE_NOT_ALLOWED) {
		err = EACCES;
		hint = relay->address.transport == FF_VSOCK ?
			"name this machine by the host's --allow-cid" :
			"name this user by the host's --allow-uid";
	} else if (reason == FF_WIRE_BUSY) {
		err = EBUSY;
		hint = "try again when another has ended";
	} else if (reason == FF_WIRE_BAD_VERSION) {
		err = EPROTONOSUPPORT;
		hint = "use the same fenceferry at both ends";
	}
	return ff_fail(error, err, "the relay's host refuses us: %s (%s)",
		ff_wire_reason_text(reason), hint);
}

/* Before the host's hello. On a device what does not fit may be what others
 * have left behind. */
static int handle_first(struct ff_relay *relay, const struct ff_wire *message,
	struct ff_error *error)
{
	const bool is_device = relay->link.is_device;

	if (message->type == FF_WIRE_HELLO) {
		if (message->version != FF_WIRE_VERSION)
			return ff_fail(error, EPROTONOSUPPORT,
				"the relay's host speaks version %u of the "
				"protocol, and this end version %u (use the "
				"same fenceferry at both ends)",
				message->version, FF_WIRE_VERSION);
		if (!memcmp(message->guest, relay->guest, FF_WIRE_ID))
			go_live(relay, message);
		else if (!is_device)
			return fail_protocol(error, "a hello for another");
		return 0;
	}
	if (is_device)
		return 0;
	if (message->type == FF_WIRE_REFUSED && !message->id)
		return refused(relay, message->reason, error);
	return fail_protocol(error, "no hello first");
}

static void handle_refused(struct ff_relay *relay,
	const struct ff_wire *message)
{
	struct ff_fence *fence = ff_fences_by_id(relay->fences, message->id);

	if (!fence || (fence->state != FF_FENCE_TOLD &&
		fence->state != FF_FENCE_ACCEPTED))
		return;
	ff_due_refuse(relay, fence, ff_wire_reason_text(message->reason),
		message->reason == FF_WIRE_LIMIT ||
		message->reason == FF_WIRE_TAKEN ||
		message->reason == FF_WIRE_FAILED);
}

/* Ids that are unknown are of fences that we gave up meanwhile. */
static int handle(struct ff_relay *relay, const struct ff_wire *message,
	struct ff_error *error)
{
	struct ff_fence *fence = ff_fences_by_id(relay->fences, message->id);

	switch (message->type) {
	case FF_WIRE_ACCEPTED:
		if (!fence || fence->state != FF_FENCE_TOLD)
			return 0;
		fence->state = FF_FENCE_ACCEPTED;
		/* The host's side may have woken before it was watched. */
		relay->ops.wake(relay->ops.context, fence, INT_MAX);
		return 0;
	case FF_WIRE_REFUSED:
		if (!message->id)
			return refused(relay, message->reason, error);
		handle_refused(relay, message);
		return 0;
	case FF_WIRE_WAKE:
		if (fence)
			relay->ops.wake(relay->ops.context, fence,
				message->count);
		return 0;
	case FF_WIRE_PONG:
		if (message->id == relay->pings)
			relay->pong_ns = 0;
		return 0;
	case FF_WIRE_HELLO:
		if (relay->link.is_device)
			return 0;
		/* fallthrough */
	default:
		return fail_protocol(error, "what only a guest sends");
	}
}

/* Do all that was read and is whole. 0 or -errno with *error filled. */
static int take_messages(struct ff_relay *relay, struct ff_error *error)
{
	struct ff_wire message;
	int taken, err = 0;

	while (!err && (taken = ff_link_take(&relay->link, &message))) {
		if (taken < 0)
			return fail_protocol(error, "garbage");
		err = relay->is_live ? handle(relay, &message, error) :
			handle_first(relay, &message, error);
	}
	/* It waits for a hello then, and we have had ours. */
	if (!err && relay->is_live && relay->link.is_lost)
		err = fail_protocol(error, "garbage");
	return err;
}

static int fail_link(const struct ff_relay *relay, int err,
	struct ff_error *error)
{
	socklen_t size = sizeof(int);
	int socket_err = 0;

	/* How a connect failed that took its time. */
	if (getsockopt(relay->link.fd, SOL_SOCKET, SO_ERROR, &socket_err,
			&size) == 0 && socket_err)
		err = -socket_err;
	if (err == -ECONNRESET || err == -EPIPE)
		return ff_fail(error, -err, "the relay's host has closed the "
			"connection%s", relay->is_open ? "" :
			" (see the host's log)");
	return ff_fail(error, err ? -err : EIO, "the connection to the "
		"relay's host has failed: %s", strerror(err ? -err : EIO));
}

/* 0 or -errno with *error filled. What came before an end counts. */
static int receive(struct ff_relay *relay, struct ff_error *error)
{
	for (int i = 0; i < RECEIVE_ROUNDS; i++) {
		size_t before = relay->link.in_size;
		int end = ff_link_fill(&relay->link);
		size_t got = relay->link.in_size - before;
		int err;

		/* Whatever it says, it lives. */
		if (got && relay->pong_ns)
			relay->pong_ns = ff_now_ns() + PONG_NS;
		err = take_messages(relay, error);
		if (err)
			return err;
		if (end)
			return fail_link(relay, end, error);
		if (got < sizeof(relay->link.in) - before)
			return 0; /* that was all */
	}
	return 0;
}

/* Write what the link takes. 0 or -errno. */
static int send_out(struct ff_relay *relay)
{
	int err;

	do {
		if (relay->is_live)
			ff_due_put(relay);
		err = ff_link_flush(&relay->link);
	} while (!err && relay->is_live && ff_due_any(relay) &&
		!ff_link_pending(&relay->link));
	return err;
}

static int progress(struct ff_relay *relay, short revents,
	struct ff_error *error)
{
	int err = 0;

	if (revents & ~POLLOUT)
		err = receive(relay, error);
	if (!err && revents & (POLLERR | POLLNVAL))
		err = fail_link(relay, 0, error);
	if (!err && (relay->is_live || revents & POLLOUT)) {
		err = send_out(relay);
		/* Why it was ended may be there to read. */
		if (err && !receive(relay, error))
			err = fail_link(relay, err, error);
	}
	return err;
}

/* Connect; the hello goes out when poll tells that it can. 0 or -errno with
 * *error filled. */
static int begin(struct ff_relay *relay, int timeout_ms, struct ff_error *error)
{
	struct ff_wire hello = {
		.type = FF_WIRE_HELLO,
		.version = FF_WIRE_VERSION,
		.features = relay->features,
	};
	int fd = ff_link_connect(&relay->address, timeout_ms, error);

	if (fd < 0)
		return fd;
	ff_link_init(&relay->link, fd, relay->address.transport == FF_CHAR);
	if (relay->address.transport == FF_UNIX)
		hello.features |= FF_WIRE_FDS;
	memcpy(hello.guest, relay->guest, FF_WIRE_ID);
	memcpy(hello.kernel, relay->kernel, FF_WIRE_ID);
	ff_link_put(&relay->link, &hello);
	return 0;
}

/* Up to the host's hello. 0 or -errno with *error filled. */
static int wait_hello(struct ff_relay *relay, uint64_t end_ns,
	struct ff_error *error)
{
	while (!relay->is_live) {
		struct pollfd fd = { relay->link.fd, ff_relay_events(relay),
			0 };
		int left_ms = ff_ms_until(end_ns), err;

		if (!left_ms)
			return ff_fail(error, ETIMEDOUT, "the relay's host "
				"does not answer (is 'fenceferry host' "
				"hanging, or is it not that which is there?)");
		if (poll(&fd, 1, left_ms) < 0)
			continue;
		err = progress(relay, fd.revents, error);
		if (err)
			return err;
	}
	return 0;
}

int ff_relay_open(struct ff_relay *relay, const struct ff_address *address,
	uint32_t features, struct ff_fences *fences,
	const struct ff_relay_ops *ops, int timeout_ms,
	struct ff_error *error)
{
	uint64_t end_ns = ff_now_ns() + (uint64_t)timeout_ms * MS;
	int err;

	memset(relay, 0, sizeof(*relay));
	relay->address = *address;
	relay->features = features;
	relay->fences = fences;
	relay->ops = *ops;
	ff_due_init(relay);
	ff_link_init(&relay->link, -1, false);
	/* On a device the beginning of a hello must not stand elsewhere. */
	do {
		if (getrandom(relay->guest, FF_WIRE_ID, 0) != FF_WIRE_ID)
			return ff_fail(error, errno, "no random numbers: %s",
				strerror(errno));
	} while (memmem(relay->guest, FF_WIRE_ID, "FFRY\1", 6));
	_Static_assert(FF_BOOT_ID == FF_WIRE_ID, "a kernel's id");
	err = ff_boot_id(relay->kernel);
	if (err)
		return ff_fail(error, -err, "cannot read /proc/sys/kernel/"
			"random/boot_id: %s (mount /proc)", strerror(-err));
	err = begin(relay, timeout_ms, error);
	if (!err)
		err = wait_hello(relay, end_ns, error);
	if (err) {
		ff_link_close(&relay->link);
		return err;
	}
	relay->is_open = true;
	return 0;
}

void ff_relay_close(struct ff_relay *relay)
{
	uint64_t end_ns = ff_now_ns() + CLOSE_NS;

	while (relay->is_live && !send_out(relay) &&
		ff_link_pending(&relay->link) && ff_ms_until(end_ns)) {
		struct pollfd fd = { relay->link.fd, POLLOUT, 0 };

		poll(&fd, 1, ff_ms_until(end_ns));
		if (fd.revents & ~POLLOUT)
			break;
	}
	relay->is_live = false;
	ff_link_close(&relay->link);
	ff_due_free(relay);
}

/* The link is of no use any more: when to make it anew. */
static void lose(struct ff_relay *relay, const struct ff_error *why)
{
	const bool was_live = relay->is_live;
	uint64_t now_ns = ff_now_ns();

	ff_link_close(&relay->link);
	relay->is_live = false;
	relay->pong_ns = 0;
	if (was_live && now_ns - relay->live_ns >= LASTING_NS)
		relay->backoff_ms = 0;
	/* Jitter: not all guests of a host that comes back at once. */
	relay->deadline_ns = now_ns + relay->backoff_ms * MS +
		now_ns % (relay->backoff_ms * MS / 4 + 1);
	relay->backoff_ms = relay->backoff_ms ? relay->backoff_ms * 2 :
		BACKOFF_MIN_MS;
	if (relay->backoff_ms > BACKOFF_MAX_MS)
		relay->backoff_ms = BACKOFF_MAX_MS;
	if (was_live)
		ff_due_restart(relay);
	if (was_live && relay->ops.changed)
		relay->ops.changed(relay->ops.context, why->text);
}

/* Someone is there who does not want us: worth telling, but once. */
static void fail_again(struct ff_relay *relay, const struct ff_error *why)
{
	const bool is_news = !relay->is_live && !relay->is_refused &&
		(why->err == EACCES || why->err == EBUSY ||
			why->err == EPROTONOSUPPORT);

	lose(relay, why);
	if (is_news && relay->ops.changed) {
		relay->is_refused = true;
		relay->ops.changed(relay->ops.context, why->text);
	}
}

int ff_relay_fd(const struct ff_relay *relay)
{
	return relay->link.fd;
}

short ff_relay_events(const struct ff_relay *relay)
{
	if (relay->link.fd < 0)
		return 0;
	return ff_link_pending(&relay->link) ||
		(relay->is_live && ff_due_any(relay)) ?
		POLLIN | POLLOUT : POLLIN;
}

uint64_t ff_relay_deadline_ns(const struct ff_relay *relay)
{
	return relay->pong_ns && relay->pong_ns < relay->deadline_ns ?
		relay->pong_ns : relay->deadline_ns;
}

static void ping(struct ff_relay *relay, uint64_t now_ns)
{
	struct ff_wire message = { .type = FF_WIRE_PING };

	relay->deadline_ns = now_ns + PING_NS;
	if (relay->pong_ns && !relay->owes_ping)
		return;
	if (!relay->pong_ns)
		relay->pong_ns = now_ns + PONG_NS;
	message.id = relay->pings + 1;
	relay->owes_ping = !ff_link_put(&relay->link, &message);
	if (relay->owes_ping)
		relay->deadline_ns = now_ns + PING_AGAIN_NS;
	else
		relay->pings++;
}

void ff_relay_serve(struct ff_relay *relay, short revents)
{
	uint64_t now_ns = ff_now_ns();
	const bool is_over = now_ns >= relay->deadline_ns;
	struct ff_error error = { 0 };
	int err = 0;

	if (relay->link.fd < 0) {
		if (!is_over)
			return;
		err = begin(relay, 0, &error);
		relay->deadline_ns = now_ns + HELLO_NS;
		revents = 0;
	}
	if (!err && relay->is_live && is_over) {
		ff_due_retry(relay);
		ping(relay, now_ns);
	}
	/* If it was us who could not run, the pong is there by now. */
	if (!err && relay->pong_ns && now_ns >= relay->pong_ns)
		revents |= POLLIN;
	if (!err)
		err = progress(relay, revents, &error);
	if (!err && ((relay->pong_ns && now_ns >= relay->pong_ns) ||
		(!relay->is_live && now_ns >= relay->deadline_ns)))
		err = ff_fail(&error, ETIMEDOUT, "the relay's host does not "
			"answer");
	if (err)
		fail_again(relay, &error);
}

/* What fails here, the next round of poll finds too: at once. */
static void send_now(struct ff_relay *relay)
{
	if (relay->is_live && !ff_link_pending(&relay->link) &&
		send_out(relay) < 0)
		relay->deadline_ns = 0;
}

bool ff_relay_takes_fds(const struct ff_relay *relay)
{
	return relay->takes_fds;
}

void ff_relay_announce(struct ff_relay *relay, struct ff_fence *fence)
{
	fence->announced = true;
	ff_due_add(relay, fence);
	send_now(relay);
}

void ff_relay_wake(struct ff_relay *relay, struct ff_fence *fence,
	uint32_t count)
{
	if (!count || !fence->announced || fence->state == FF_FENCE_REFUSED)
		return;
	ff_due_add_wakes(relay, fence, count);
	send_now(relay);
}

/* It may wait for the next round: many go at once. */
void ff_relay_gone(struct ff_relay *relay, struct ff_fence *fence)
{
	struct ff_error error;

	if ((fence->state == FF_FENCE_TOLD ||
		fence->state == FF_FENCE_ACCEPTED) &&
		ff_due_add_gone(relay, fence->id) < 0) {
		/* Forgetting all tells it as well. */
		ff_fail(&error, ENOMEM, "no memory");
		lose(relay, &error);
	}
	ff_due_remove(relay, fence);
}
