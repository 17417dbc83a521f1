/* SPDX-License-Identifier: MIT */
/* src/futexwatch/relay: fences whose files have no name; and those that are not
 * to be told of yet. */
#include "fake-host.h"

#include "clock.h"
#include "count-fds.h"
#include "fds.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define HOST .init = make_host, .fini = remove_host, .timeout = 60

static const struct welcome taking = { .version = FF_WIRE_VERSION,
	.features = FF_WIRE_FDS, .same_kernel = true };

static void open_taking(void)
{
	struct ff_error error = { 0 };

	cr_assert_eq(open_relay(&taking, FF_UNIX, 30000, &error), 0, "%s",
		error.text);
	cr_assert(ff_relay_takes_fds(&relay));
}

static struct ff_fence *add_nameless(void)
{
	struct ff_fence *fence = make_fence(false);

	cr_assert_not(fence->standin.named);
	ff_relay_announce(&relay, fence);
	return fence;
}

/* It is announced with an fd that reads its file. */
static void expect_announced(const struct ff_fence *fence)
{
	struct ff_wire message;
	struct stat st;
	int fd;

	message = get_with_fd(FF_WIRE_NEW, fence->id, &fd);
	cr_expect_str_eq(message.name, "");
	cr_expect_eq(message.offset, fence->offset);
	cr_assert(fd >= 0);
	cr_expect(fstat(fd, &st) == 0 && st.st_ino == fence->standin.ino &&
		st.st_dev == fence->standin.dev);
	cr_expect_eq(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
	cr_expect(write(fd, "x", 1) < 0 && errno == EBADF);
	/* Its offset is its own. */
	cr_expect_eq(lseek(fence->standin.fd, 3, SEEK_SET), 3);
	cr_expect_eq(lseek(fd, 0, SEEK_CUR), 0);
	close(fd);
}

static void accept_fence(const struct ff_fence *fence)
{
	unsigned int before = told.wakes;

	put((struct ff_wire){ .type = FF_WIRE_ACCEPTED, .id = fence->id });
	wait_for(&told.wakes, before + 1);
	cr_expect_eq(fence->state, FF_FENCE_ACCEPTED);
}

Test(nameless, fence_is_announced_with_an_fd, HOST)
{
	struct ff_fence *fence, *named;
	int before;

	open_taking();
	cr_expect(hello.features & FF_WIRE_FDS);
	before = count_fds(getpid());
	fence = add_nameless();
	named = add_fence();
	cr_expect_eq(count_fds(getpid()), before + 2, "what was sent is closed");
	expect_announced(fence);
	cr_expect_str_eq(get(FF_WIRE_NEW, named->id).name,
		ff_standin_name(&named->standin));
	accept_fence(fence);
	ff_relay_wake(&relay, fence, 3);
	cr_expect_eq(get(FF_WIRE_WAKE, fence->id).count, 3);
	cr_expect_eq(told.refusals, 0);
	drop_fence(fence);
	get(FF_WIRE_GONE, 1);
	get_nothing();
}

Test(nameless, fences_come_in_order_with_their_wakes, HOST)
{
	enum { FENCES = 200 };
	struct ff_fence *all[FENCES];

	open_taking();
	stop_host();
	for (int i = 0; i < FENCES; i++) {
		all[i] = i % 3 ? add_nameless() : add_fence();
		ff_relay_wake(&relay, all[i], (uint32_t)i + 1);
	}
	for (int i = 0; i < FENCES; i++) {
		if (i % 3)
			expect_announced(all[i]);
		else
			get(FF_WIRE_NEW, all[i]->id);
		cr_expect_eq(get(FF_WIRE_WAKE, all[i]->id).count, i + 1);
	}
	get_nothing();
}

/* As long as nobody reads, one fd at most is kept for the line. */
Test(nameless, fences_that_wait_cost_no_fds, HOST)
{
	enum { FENCES = 400 };
	struct ff_fence *fence = NULL;
	int before, size = 4096;

	open_taking();
	setsockopt(relay.link.fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	before = count_fds(getpid());
	for (int i = 0; i < FENCES; i++)
		fence = add_nameless();
	cr_assert(ff_link_pending(&relay.link), "the line is full");
	cr_expect(count_fds(getpid()) <= before + FENCES + 1);
	for (uint64_t id = 1; id <= FENCES; id++) {
		int fd;

		get_with_fd(FF_WIRE_NEW, id, &fd);
		cr_assert(fd >= 0);
		close(fd);
	}
	get_nothing();
	cr_expect_eq(fence->state, FF_FENCE_TOLD);
	cr_expect_eq(count_fds(getpid()), before + FENCES);
}

Test(nameless, fence_is_announced_again_on_a_new_link, HOST)
{
	struct ff_fence *fence;

	open_taking();
	fence = add_nameless();
	expect_announced(fence);
	accept_fence(fence);
	close(host);
	wait_for(&told.losses, 1);
	cr_expect(ff_relay_takes_fds(&relay), "it will when it is back");
	accept_again(&taking);
	expect_announced(fence);
	cr_expect(ff_relay_takes_fds(&relay));
	cr_expect_eq(get(FF_WIRE_WAKE, fence->id).count, INT_MAX);
	accept_fence(fence);
	cr_expect_eq(told.refusals, 0);
}

/* With this host, on this kind of link, it is refused, and told why. */
static void expect_not_taken(const struct welcome *welcome,
	enum ff_transport transport)
{
	struct ff_fence *fence, *named;
	struct ff_error error = { 0 };
	unsigned int before = told.refusals;
	uint64_t id;

	cr_assert_eq(open_relay(welcome, transport, 30000, &error), 0, "%s",
		error.text);
	cr_expect_not(ff_relay_takes_fds(&relay));
	cr_expect_eq(!!(hello.features & FF_WIRE_FDS), transport == FF_UNIX);
	fence = add_nameless();
	cr_expect_eq(told.refusals, before + 1);
	cr_expect(strstr(told.refused, "no name") &&
		strstr(told.refused, "same kernel"), "%s", told.refused);
	cr_expect_eq(fence->state, FF_FENCE_REFUSED);
	ff_relay_wake(&relay, fence, 1);
	get_nothing();
	drop_fence(fence);
	get_nothing();
	named = add_accepted();
	id = named->id;
	drop_fence(named);
	get(FF_WIRE_GONE, id);
	ff_relay_close(&relay);
	close(host);
}

Test(nameless, fence_is_refused_where_fds_are_not_taken, HOST)
{
	struct welcome welcome = friendly;

	expect_not_taken(&welcome, FF_UNIX);
	welcome.same_kernel = true;
	expect_not_taken(&welcome, FF_UNIX);
	welcome.features = FF_WIRE_FDS; /* which it never should say here */
	expect_not_taken(&welcome, FF_CHAR);
	welcome.same_kernel = false;
	expect_not_taken(&welcome, FF_UNIX);
	open_taking();
}

/* Not while it is away, and once. */
Test(nameless, fence_is_refused_by_another_host_that_comes_back, HOST)
{
	struct ff_fence *fence;

	open_taking();
	fence = add_nameless();
	expect_announced(fence);
	accept_fence(fence);
	for (int i = 0; i < 2; i++) {
		close(host);
		accept_again(&friendly);
		get_nothing();
		cr_expect_eq(told.refusals, 1);
		cr_expect_eq(fence->state, FF_FENCE_REFUSED);
		close(host);
		accept_again(&taking);
		expect_announced(fence);
		get(FF_WIRE_WAKE, fence->id);
		accept_fence(fence);
	}
}

/* Its file cannot be opened just now: a lease of somebody's. */
Test(nameless, fence_that_cannot_be_opened_is_tried_again, HOST)
{
	struct ff_fence *fence;

	open_taking();
	fence = make_fence(false);
	cr_assert(fcntl(fence->standin.fd, F_SETLEASE, F_WRLCK) == 0, "%s",
		strerror(errno));
	/* Our page of it is part of that file. */
	ff_relay_announce(&relay, fence);
	cr_expect_eq(told.refusals, 1);
	cr_expect(strstr(told.refused, "opened again"), "%s", told.refused);
	get_nothing();
	cr_assert(fcntl(fence->standin.fd, F_SETLEASE, F_UNLCK) == 0);
	relay.deadline_ns = 0; /* of the next ping */
	serve(1);
	get(FF_WIRE_PING, relay.pings);
	expect_announced(fence);
}

/* The host that sends some is none of ours. */
Test(nameless, host_that_sends_fds_is_left, HOST)
{
	struct ff_wire pong = { .type = FF_WIRE_PONG, .id = 1 };
	unsigned char bytes[FF_WIRE_SIZE];

	open_taking();
	ff_wire_encode(&pong, bytes);
	cr_assert_eq(ff_fds_send(host, bytes, sizeof(bytes), &host, 1, 0),
		FF_WIRE_SIZE);
	wait_for(&told.losses, 1);
	cr_expect(strstr(told.lost, "protocol"), "%s", told.lost);
	close(host);
	accept_again(&taking);
	add_accepted();
}

Test(unannounced, fence_is_not_told_of, HOST)
{
	struct ff_fence *fence, *other;
	uint64_t id;

	open_friendly();
	fence = make_fence(true);
	other = make_fence(true);
	ff_relay_wake(&relay, fence, 1);
	ff_relay_gone(&relay, other);
	ff_fences_remove(&fences, other);
	cr_expect_not(fence->is_due);
	get_nothing();
	close(host);
	accept_again(&friendly);
	get_nothing();
	relay.deadline_ns = 0; /* of the next ping */
	serve(1);
	get(FF_WIRE_PING, relay.pings);
	get_nothing();
	ff_relay_announce(&relay, fence);
	get(FF_WIRE_NEW, fence->id);
	get_nothing();
	ff_relay_wake(&relay, fence, 1);
	get(FF_WIRE_WAKE, fence->id);
	close(host);
	accept_again(&friendly);
	get(FF_WIRE_NEW, fence->id);
	get(FF_WIRE_WAKE, fence->id);
	id = fence->id;
	drop_fence(fence);
	get(FF_WIRE_GONE, id);
}
