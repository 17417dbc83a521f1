/* SPDX-License-Identifier: MIT */
/* src/futexwatch/relay: what the guest's end says and hears. */
#include "fake-host.h"

#include "futexwatch/relay-due.h"
#include "unit-dir.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define HOST .init = make_host, .fini = remove_host, .timeout = 60

static struct ff_wire about(enum ff_wire_type type, uint64_t id)
{
	return (struct ff_wire){ .type = type, .id = id };
}

static struct ff_wire wake(uint64_t id, uint32_t count)
{
	return (struct ff_wire){ .type = FF_WIRE_WAKE, .id = id,
		.count = count };
}

Test(open, says_hello, HOST)
{
	unsigned char kernel[FF_WIRE_ID], zero[FF_WIRE_ID] = { 0 };

	open_friendly();
	cr_assert_eq(ff_boot_id(kernel), 0);
	cr_expect_eq(hello.type, FF_WIRE_HELLO);
	cr_expect_eq(hello.version, FF_WIRE_VERSION);
	cr_expect_eq(hello.features, FF_WIRE_ISOLATED | FF_WIRE_FDS);
	cr_expect_arr_eq(hello.kernel, kernel, FF_WIRE_ID);
	cr_expect_arr_neq(hello.guest, zero, FF_WIRE_ID);
	cr_expect_not(fences.host_reads);
	cr_expect_eq(ff_relay_events(&relay), POLLIN);
	cr_expect_eq(told.returns, 0, "it was not lost before");
	get_nothing();
}

Test(open, knows_a_host_on_its_own_kernel, HOST)
{
	struct welcome welcome = friendly;
	struct ff_error error;

	welcome.same_kernel = true;
	cr_assert_eq(open_relay(&welcome, FF_UNIX, 30000, &error), 0);
	cr_expect(fences.host_reads);
}

Test(open, gives_each_guest_another_id, HOST)
{
	unsigned char first[FF_WIRE_ID];

	open_friendly();
	memcpy(first, hello.guest, FF_WIRE_ID);
	ff_relay_close(&relay);
	close(host);
	open_friendly();
	cr_expect_arr_neq(hello.guest, first, FF_WIRE_ID);
}

/* With this host it fails, and says so. */
static void expect_failure(const struct welcome *welcome, int err,
	const char *text, const char *hint)
{
	struct ff_error error = { 0 };
	int timeout_ms = err == ETIMEDOUT ? 100 : 30000;

	cr_expect_eq(open_relay(welcome, FF_UNIX, timeout_ms, &error), -err,
		"%s", error.text);
	cr_expect_eq(error.err, err);
	cr_expect(strstr(error.text, text) && strstr(error.text, hint), "%s",
		error.text);
	cr_expect_eq(relay.link.fd, -1, "nothing to close");
	cr_expect_eq(told.losses, 0, "it never was there");
	close(host);
}

Test(open, tells_why_it_was_refused, HOST)
{
	struct welcome welcome = { .no_hello = true };

	welcome.reason = FF_WIRE_NOT_ALLOWED;
	expect_failure(&welcome, EACCES, "not allowed", "--allow-uid");
	welcome.reason = FF_WIRE_BUSY;
	expect_failure(&welcome, EBUSY, "too many guests", "try again");
	welcome.reason = FF_WIRE_FAILED;
	expect_failure(&welcome, ECONNREFUSED, "refuses", "log");
	welcome.reason = FF_WIRE_NOT_ALLOWED;
	welcome.end = true;
	expect_failure(&welcome, EACCES, "not allowed", "--allow-uid");
}

Test(open, names_both_versions, HOST)
{
	struct welcome welcome = { .version = 7,
		.reason = FF_WIRE_BAD_VERSION };

	expect_failure(&welcome, EPROTONOSUPPORT, "version 7", "version 1");
}

Test(open, takes_no_others_for_a_host, HOST)
{
	struct welcome welcome = friendly;

	welcome.other_guest = true;
	expect_failure(&welcome, EPROTO, "a hello for another", "fenceferry");
	welcome = friendly;
	welcome.garbage = "HTTP/1.1 400 Bad Request";
	expect_failure(&welcome, EPROTO, "garbage", "fenceferry");
	welcome = (struct welcome){ .no_hello = true, .end = true };
	expect_failure(&welcome, ECONNRESET, "closed", "");
}

Test(open, waits_no_longer_than_it_may, HOST)
{
	struct welcome welcome = { .no_hello = true };

	expect_failure(&welcome, ETIMEDOUT, "does not answer", "hanging");
}

Test(open, tells_that_nobody_is_there, HOST)
{
	struct ff_address to = { .transport = FF_UNIX };
	struct ff_error error = { 0 };
	const struct ff_relay_ops none = { 0 };

	strcpy(to.path, unit_dir);
	strcat(to.path, "/nobody");
	cr_expect_eq(ff_relay_open(&relay, &to, 0, &fences, &none, 1000,
		&error), -ENOENT);
	cr_expect(strstr(error.text, "nobody is there") != NULL, "%s",
		error.text);
	cr_expect_eq(relay.link.fd, -1);
}

/* A guest before us may have left a lot on the line. */
Test(open, skips_what_is_left_on_a_device, HOST)
{
	struct welcome welcome = friendly;
	struct ff_error error = { 0 };

	welcome.garbage = "the end of another's message";
	cr_expect_eq(open_relay(&welcome, FF_CHAR, 30000, &error), 0, "%s",
		error.text);
	add_accepted();
}

Test(fence, is_announced_with_its_name, HOST)
{
	struct ff_fence *fence;
	struct ff_wire message;

	open_friendly();
	fence = add_fence();
	cr_expect_eq(fence->state, FF_FENCE_TOLD);
	message = get(FF_WIRE_NEW, fence->id);
	cr_expect_eq(message.offset, 0);
	cr_expect(ff_standin_is_name(message.name));
	cr_expect_str_eq(message.name, ff_standin_name(&fence->standin));
	get_nothing();
}

/* What the host's side woke before it was watched. */
Test(fence, is_woken_once_it_is_watched, HOST)
{
	struct ff_fence *fence;

	open_friendly();
	fence = add_fence();
	get(FF_WIRE_NEW, fence->id);
	cr_expect_eq(told.wakes, 0);
	put(about(FF_WIRE_ACCEPTED, fence->id));
	wait_for(&told.wakes, 1);
	cr_expect_eq(fence->state, FF_FENCE_ACCEPTED);
	cr_expect_eq(told.woken, fence);
	cr_expect_eq(told.count, INT_MAX);
	get_nothing();
}

Test(wake, goes_both_ways, HOST)
{
	struct ff_fence *a, *b;

	open_friendly();
	a = add_accepted();
	b = add_accepted();
	ff_relay_wake(&relay, a, 1);
	ff_relay_wake(&relay, b, INT_MAX);
	ff_relay_wake(&relay, a, UINT32_MAX);
	cr_expect_not(ff_relay_events(&relay) & POLLOUT, "sent at once");
	cr_expect_eq(get(FF_WIRE_WAKE, a->id).count, 1);
	cr_expect_eq(get(FF_WIRE_WAKE, b->id).count, INT_MAX);
	cr_expect_eq(get(FF_WIRE_WAKE, a->id).count, INT_MAX);
	put(wake(b->id, 3));
	wait_for(&told.wakes, 3);
	cr_expect(told.woken == b && told.count == 3);
	put(wake(a->id, INT_MAX));
	wait_for(&told.wakes, 4);
	cr_expect(told.woken == a && told.count == INT_MAX);
	get_nothing();
}

Test(wake, follows_a_fence_that_is_not_accepted_yet, HOST)
{
	struct ff_fence *fence;

	open_friendly();
	fence = add_fence();
	ff_relay_wake(&relay, fence, 2);
	get(FF_WIRE_NEW, fence->id);
	cr_expect_eq(get(FF_WIRE_WAKE, fence->id).count, 2);
}

Test(wake, of_unknown_fences_is_no_offence, HOST)
{
	open_friendly();
	add_accepted();
	put(wake(77, 1));
	put(about(FF_WIRE_ACCEPTED, 78));
	put((struct ff_wire){ .type = FF_WIRE_REFUSED, .id = 79,
		.reason = FF_WIRE_LIMIT });
	settle();
	cr_expect_eq(told.wakes, 1);
	cr_expect_eq(told.refusals, 0);
	cr_expect_eq(told.losses, 0);
}

Test(fence, that_is_refused_is_told_of_once_and_left_alone, HOST)
{
	struct ff_fence *fence;

	open_friendly();
	fence = add_fence();
	get(FF_WIRE_NEW, fence->id);
	put((struct ff_wire){ .type = FF_WIRE_REFUSED, .id = fence->id,
		.reason = FF_WIRE_NO_FILE });
	wait_for(&told.refusals, 1);
	cr_expect(strstr(told.refused, "shm dir") != NULL, "%s", told.refused);
	cr_expect_eq(fence->state, FF_FENCE_REFUSED);
	ff_relay_wake(&relay, fence, 1);
	get_nothing();
	drop_fence(fence);
	get_nothing();
}

Test(fence, that_finds_no_room_is_told_of_again, HOST)
{
	struct ff_fence *fence;

	open_friendly();
	fence = add_fence();
	get(FF_WIRE_NEW, fence->id);
	put((struct ff_wire){ .type = FF_WIRE_REFUSED, .id = fence->id,
		.reason = FF_WIRE_LIMIT });
	wait_for(&told.refusals, 1);
	relay.deadline_ns = 0; /* of the next ping */
	serve(1);
	get(FF_WIRE_PING, relay.pings);
	get(FF_WIRE_NEW, fence->id);
	cr_expect_eq(get(FF_WIRE_WAKE, fence->id).count, INT_MAX);
	put((struct ff_wire){ .type = FF_WIRE_REFUSED, .id = fence->id,
		.reason = FF_WIRE_LIMIT });
	for (int i = 0; i < 1000 && fence->state != FF_FENCE_REFUSED; i++)
		serve(1);
	cr_expect_eq(fence->state, FF_FENCE_REFUSED);
	cr_expect_eq(told.refusals, 1, "that is said once");
	drop_fence(fence);
}

Test(fence, that_is_given_up_later_is_the_same, HOST)
{
	struct ff_fence *fence;

	open_friendly();
	fence = add_accepted();
	ff_relay_wake(&relay, fence, 1);
	get(FF_WIRE_WAKE, fence->id);
	put((struct ff_wire){ .type = FF_WIRE_REFUSED, .id = fence->id,
		.reason = FF_WIRE_LOST });
	wait_for(&told.refusals, 1);
	ff_relay_wake(&relay, fence, 1);
	get_nothing();
	cr_expect_eq(told.losses, 0);
}

Test(fence, that_is_gone_is_told_of, HOST)
{
	struct ff_fence *a, *b;

	open_friendly();
	a = add_accepted();
	b = add_fence();
	get(FF_WIRE_NEW, b->id);
	drop_fence(a);
	get(FF_WIRE_GONE, 1);
	drop_fence(b);
	get(FF_WIRE_GONE, 2);
	put(about(FF_WIRE_ACCEPTED, 2));
	settle();
	cr_expect_eq(told.wakes, 1);
}

/* What the host has not read is added up, and nothing is lost. */
Test(blocked, wakes_add_up, HOST)
{
	enum { FENCES = 10, ROUNDS = 20000 };
	struct ff_fence *all[FENCES];
	uint64_t sums[FENCES] = { 0 }, messages = 0, total = 0;

	open_friendly();
	for (int i = 0; i < FENCES; i++)
		all[i] = add_accepted();
	for (int i = 0; i < ROUNDS; i++)
		for (int k = 0; k < FENCES; k++)
			ff_relay_wake(&relay, all[k], (uint32_t)k + 1);
	cr_assert(ff_link_pending(&relay.link), "the line is full");
	while (total < (uint64_t)ROUNDS * FENCES * (FENCES + 1) / 2) {
		unsigned char bytes[FF_WIRE_SIZE];
		struct ff_wire message;

		serve(0);
		if (recv(host, bytes, sizeof(bytes), MSG_DONTWAIT) < 0)
			continue;
		cr_assert_eq(ff_wire_decode(bytes, &message), 0);
		cr_assert_eq(message.type, FF_WIRE_WAKE);
		cr_assert(message.id >= 1 && message.id <= FENCES);
		sums[message.id - 1] += message.count;
		total += message.count;
		messages++;
	}
	for (uint64_t k = 0; k < FENCES; k++)
		cr_expect_eq(sums[k], (k + 1) * ROUNDS);
	cr_expect(messages < ROUNDS * FENCES);
	get_nothing();
}

Test(blocked, wakes_add_up_to_no_more_than_all, HOST)
{
	struct ff_fence *fence;

	open_friendly();
	fence = add_accepted();
	while (!ff_link_pending(&relay.link) || !fence->is_due)
		ff_relay_wake(&relay, fence, INT_MAX);
	for (int i = 0; i < 100; i++)
		ff_relay_wake(&relay, fence, UINT32_MAX);
	cr_expect_eq(fence->wakes_due, INT_MAX);
	while (ff_link_pending(&relay.link) || fence->is_due)
		cr_expect_eq(get(FF_WIRE_WAKE, 1).count, INT_MAX);
}

/* The host is told of no more that is gone than it was told of that is new;
 * what is gone before it was told of was never there. */
Test(blocked, fences_come_and_go, HOST)
{
	enum { FENCES = 30000 };
	static bool has[FENCES + 1];
	uint64_t news = 0, gone = 0, last = 0;

	open_friendly();
	for (int i = 0; i < FENCES; i++) {
		struct ff_fence *fence = add_fence();

		ff_relay_wake(&relay, fence, 1);
		drop_fence(fence);
	}
	cr_expect(relay.gone_room < FENCES, "%zu", relay.gone_room);
	add_fence();
	while (last <= FENCES) {
		unsigned char bytes[FF_WIRE_SIZE];
		struct ff_wire message;

		serve(0);
		if (recv(host, bytes, sizeof(bytes), MSG_DONTWAIT) < 0)
			continue;
		cr_assert_eq(ff_wire_decode(bytes, &message), 0);
		if (message.type == FF_WIRE_NEW) {
			news++;
			last = message.id;
		} else if (message.type == FF_WIRE_GONE) {
			cr_assert(has[message.id]);
			gone++;
		}
		if (message.id <= FENCES)
			has[message.id] = message.type != FF_WIRE_GONE;
	}
	while (gone < news - 1) {
		unsigned char bytes[FF_WIRE_SIZE];
		struct ff_wire message;

		serve(0);
		if (recv(host, bytes, sizeof(bytes), MSG_DONTWAIT) < 0)
			continue;
		cr_assert_eq(ff_wire_decode(bytes, &message), 0);
		gone += message.type == FF_WIRE_GONE;
	}
	cr_expect(news < FENCES, "most were never told of");
	get_nothing();
}

Test(close, tells_what_is_left, HOST)
{
	struct ff_fence *fence;

	open_friendly();
	fence = add_accepted();
	ff_due_add_wakes(&relay, fence, 5);
	ff_relay_close(&relay);
	cr_expect_eq(get(FF_WIRE_WAKE, 1).count, 5);
	cr_expect_eq(recv(host, &(char){ 0 }, 1, 0), 0, "closed");
}
