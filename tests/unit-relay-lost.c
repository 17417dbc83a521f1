/* SPDX-License-Identifier: MIT */
/* src/futexwatch/relay: the link is lost, and made anew. */
#include "fake-host.h"

#include "clock.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define HOST .init = make_host, .fini = remove_host, .timeout = 60

static struct ff_wire about(enum ff_wire_type type, uint64_t id)
{
	return (struct ff_wire){ .type = type, .id = id };
}

/* It announces the fence again, with a wake, and is itself woken. */
static void expect_anew(struct ff_fence *fence)
{
	unsigned int wakes = told.wakes;

	cr_expect_str_eq(get(FF_WIRE_NEW, fence->id).name,
		ff_standin_name(&fence->standin));
	cr_expect_eq(get(FF_WIRE_WAKE, fence->id).count, INT_MAX);
	put(about(FF_WIRE_ACCEPTED, fence->id));
	wait_for(&told.wakes, wakes + 1);
	cr_expect_eq(told.wakes, wakes + 1);
	cr_expect(told.woken == fence && told.count == INT_MAX);
	cr_expect_eq(fence->state, FF_FENCE_ACCEPTED);
}

Test(lost, link_is_made_anew, HOST)
{
	unsigned char guest[FF_WIRE_ID];
	struct ff_fence *a, *b;

	open_friendly();
	memcpy(guest, hello.guest, FF_WIRE_ID);
	a = add_accepted();
	b = add_accepted();
	close(host);
	wait_for(&told.losses, 1);
	cr_expect(strstr(told.lost, "closed") != NULL, "%s", told.lost);
	cr_expect_eq(a->state, FF_FENCE_UNTOLD);
	accept_again(&friendly);
	cr_expect_arr_eq(hello.guest, guest, FF_WIRE_ID, "the same guest");
	cr_expect_eq(hello.features, FF_WIRE_ISOLATED | FF_WIRE_FDS);
	expect_anew(a);
	expect_anew(b);
	cr_expect_eq(told.losses, 1);
	cr_expect_eq(told.returns, 1);
	ff_relay_wake(&relay, b, 1);
	cr_expect_eq(get(FF_WIRE_WAKE, b->id).count, 1);
	get_nothing();
}

Test(lost, last_words_of_the_host_count, HOST)
{
	struct ff_fence *fence;

	open_friendly();
	fence = add_accepted();
	put((struct ff_wire){ .type = FF_WIRE_WAKE, .id = fence->id,
		.count = 4 });
	close(host);
	wait_for(&told.losses, 1);
	cr_expect_eq(told.wakes, 2);
	cr_expect_eq(told.count, 4);
}

Test(lost, what_happens_meanwhile_is_made_up_for, HOST)
{
	struct ff_fence *dropped, *old, *refused, *young;

	open_friendly();
	dropped = add_accepted();
	old = add_accepted();
	refused = add_fence();
	get(FF_WIRE_NEW, refused->id);
	put((struct ff_wire){ .type = FF_WIRE_REFUSED, .id = refused->id,
		.reason = FF_WIRE_LIMIT });
	wait_for(&told.refusals, 1);
	stop_host();
	close(host);
	wait_for(&told.losses, 1);
	ff_relay_wake(&relay, old, 1);
	ff_relay_wake(&relay, dropped, 1);
	drop_fence(dropped);
	young = add_fence();
	ff_relay_wake(&relay, young, 2);
	start_host();
	accept_again(&friendly);
	expect_anew(old);
	expect_anew(refused);
	get(FF_WIRE_NEW, young->id);
	cr_expect_eq(get(FF_WIRE_WAKE, young->id).count, 2);
	get_nothing();
}

Test(lost, what_was_to_be_told_as_gone_is_forgotten, HOST)
{
	struct ff_fence *fence;

	open_friendly();
	fence = add_accepted();
	ff_relay_gone(&relay, fence);
	ff_fences_remove(&fences, fence);
	close(host);
	accept_again(&friendly);
	get_nothing();
}

Test(lost, wake_into_a_closed_link_is_not, HOST)
{
	struct ff_fence *fence;

	open_friendly();
	fence = add_accepted();
	close(host);
	ff_relay_wake(&relay, fence, 1);
	cr_expect_eq(told.losses, 0, "nothing is done on the way");
	accept_again(&friendly);
	cr_expect_eq(told.losses, 1);
	expect_anew(fence);
}

/* Not more and more of them while nobody is there, and soon when one is. */
Test(lost, attempts_become_fewer, HOST)
{
	unsigned int attempts = 0;
	uint64_t begin_ns;

	open_friendly();
	stop_host();
	close(host);
	wait_for(&told.losses, 1);
	begin_ns = ff_now_ns();
	while (ff_now_ns() - begin_ns < 2000000000u) {
		uint64_t before = relay.deadline_ns;

		serve(10);
		attempts += relay.deadline_ns != before;
		cr_expect_eq(ff_relay_fd(&relay), -1);
		cr_expect_eq(ff_relay_events(&relay), 0);
	}
	cr_expect(attempts <= 8, "%u", attempts);
	cr_expect(relay.backoff_ms <= 5000);
	cr_expect_eq(told.losses, 1, "told once");
	start_host();
	accept_again(&friendly);
	wait_for(&told.returns, 1);
}

Test(lost, backoff_has_an_end, HOST)
{
	uint64_t now_ns;

	open_friendly();
	stop_host();
	close(host);
	wait_for(&told.losses, 1);
	for (int i = 0; i < 30; i++) {
		relay.deadline_ns = 0;
		ff_relay_serve(&relay, 0);
	}
	now_ns = ff_now_ns();
	cr_expect(relay.deadline_ns > now_ns + 4000000000u &&
		relay.deadline_ns <= now_ns + 6250000000u);
}

Test(lost, host_that_drops_us_again_and_again_is_not_hurried, HOST)
{
	open_friendly();
	for (int i = 0; i < 4; i++) {
		close(host);
		accept_again(&friendly);
		get_nothing();
	}
	wait_for(&told.returns, 4);
	cr_expect(relay.backoff_ms >= 200, "%u", relay.backoff_ms);
	relay.live_ns -= 1000000000u; /* this one lasts */
	close(host);
	wait_for(&told.losses, 5);
	cr_expect_eq(relay.backoff_ms, 50);
}

Test(ping, keeps_the_link, HOST)
{
	open_friendly();
	for (int i = 0; i < 3; i++)
		settle();
	cr_expect_eq(told.losses, 0);
	cr_expect(relay.deadline_ns > ff_now_ns() + 1000000000u);
}

Test(ping, that_nobody_answers_ends_it, HOST)
{
	struct ff_fence *fence;

	open_friendly();
	fence = add_accepted();
	relay.deadline_ns = 0;
	get(FF_WIRE_PING, 1);
	cr_assert_neq(relay.pong_ns, 0);
	relay.deadline_ns = 0;
	get_nothing(); /* one at a time */
	relay.pong_ns = 1;
	wait_for(&told.losses, 1);
	cr_expect(strstr(told.lost, "does not answer") != NULL, "%s",
		told.lost);
	close(host);
	accept_again(&friendly);
	expect_anew(fence);
}

/* We were stopped for long; the answer waits. */
Test(ping, late_answer_is_heard_first, HOST)
{
	open_friendly();
	relay.deadline_ns = 0;
	put(about(FF_WIRE_PONG, get(FF_WIRE_PING, 1).id));
	relay.pong_ns = 1;
	ff_relay_serve(&relay, 0);
	cr_expect_eq(told.losses, 0);
	cr_expect_eq(relay.pong_ns, 0);
}

Test(ping, into_a_line_that_is_full_counts, HOST)
{
	struct ff_wire wake = { .type = FF_WIRE_WAKE, .count = 1 };
	struct ff_fence *fence;

	open_friendly();
	fence = add_accepted();
	while (!ff_link_pending(&relay.link))
		ff_relay_wake(&relay, fence, 1);
	wake.id = fence->id;
	while (ff_link_put(&relay.link, &wake))
		;
	relay.deadline_ns = 0;
	ff_relay_serve(&relay, 0);
	cr_assert_neq(relay.pong_ns, 0);
	relay.pong_ns = 1;
	wait_for(&told.losses, 1);
}

static void expect_ended(const char *why)
{
	unsigned int losses = told.losses;

	wait_for(&told.losses, losses + 1);
	cr_expect(strstr(told.lost, why) != NULL, "%s", told.lost);
	close(host);
	accept_again(&friendly);
}

Test(hostile, host_is_left, HOST)
{
	open_friendly();
	put_garbage("Lorem ipsum dolor sit amet");
	expect_ended("garbage");
	put((struct ff_wire){ .type = FF_WIRE_NEW, .id = 1, .name = "x" });
	expect_ended("only a guest");
	put((struct ff_wire){ .type = FF_WIRE_HELLO,
		.version = FF_WIRE_VERSION });
	expect_ended("only a guest");
	put((struct ff_wire){ .type = FF_WIRE_REFUSED,
		.reason = FF_WIRE_BUSY });
	expect_ended("too many guests");
	put_bytes("half a message", 14);
	close(host);
	accept_again(&friendly);
	cr_expect(strstr(told.lost, "closed") != NULL, "%s", told.lost);
	add_accepted();
}

Test(hostile, million_wakes_do_not_hold_us_up, HOST)
{
	unsigned char all[1000][FF_WIRE_SIZE];
	struct ff_wire wake = { .type = FF_WIRE_WAKE, .count = 1 };
	struct ff_fence *fence;
	size_t sent = 0, size = sizeof(all);

	open_friendly();
	fence = add_accepted();
	wake.id = fence->id;
	for (int i = 0; i < 1000; i++)
		ff_wire_encode(&wake, all[i]);
	while (sent < 1000 * size) {
		unsigned int before = told.wakes;
		ssize_t n = send(host, (char *)all + sent % size,
			size - sent % size, MSG_DONTWAIT);

		sent += n > 0 ? (size_t)n : 0;
		serve(0);
		cr_assert(told.wakes - before <= 8 * 64);
	}
	wait_for(&told.wakes, 1000001);
	cr_expect_eq(told.wakes, 1000001);
}

Test(lost, host_that_hangs_in_hello_is_left, HOST)
{
	struct welcome silent = { .no_hello = true };
	int hanging;

	open_friendly();
	close(host);
	accept_again(&silent);
	hanging = host;
	serve(0);
	cr_expect_not(relay.is_live);
	cr_expect(relay.deadline_ns > ff_now_ns());
	relay.deadline_ns = 0;
	accept_again(&friendly);
	close(hanging);
	wait_for(&told.returns, 1);
	cr_expect_eq(told.losses, 1);
}

Test(lost, refusal_on_the_way_back_is_told_once, HOST)
{
	struct welcome refusing = { .no_hello = true,
		.reason = FF_WIRE_NOT_ALLOWED, .end = true };

	open_friendly();
	close(host);
	for (int i = 0; i < 3; i++)
		accept_again(&refusing);
	wait_for(&told.losses, 2);
	cr_expect(strstr(told.lost, "not allowed") != NULL, "%s", told.lost);
	accept_again(&friendly);
	wait_for(&told.returns, 1);
	cr_expect_eq(told.losses, 2);
}

/* On a device nothing tells of another host but what it says. */
Test(lost, garbage_on_a_device_starts_over, HOST)
{
	struct ff_fence *fence;
	struct ff_error error = { 0 };

	cr_assert_eq(open_relay(&friendly, FF_CHAR, 30000, &error), 0, "%s",
		error.text);
	fence = add_accepted();
	put_garbage("what a getty says when it is started on this line");
	wait_for(&told.losses, 1);
	close(host);
	accept_again(&friendly);
	expect_anew(fence);
}

Test(lost, ten_thousand_fences_come_back, HOST)
{
	enum { FENCES = 10000 };
	unsigned int told_of = 0;
	static bool seen[FENCES + 1];

	open_friendly();
	for (int i = 0; i < FENCES; i++) {
		struct ff_fence *fence = add_fence();

		get(FF_WIRE_NEW, fence->id);
	}
	close(host);
	accept_again(&friendly);
	while (told_of < 2 * FENCES) {
		unsigned char bytes[FF_WIRE_SIZE];
		struct ff_wire message;

		serve(0);
		if (recv(host, bytes, sizeof(bytes), MSG_DONTWAIT) < 0)
			continue;
		cr_assert_eq(ff_wire_decode(bytes, &message), 0);
		cr_assert(message.id >= 1 && message.id <= FENCES);
		cr_assert(message.type == (seen[message.id] ? FF_WIRE_WAKE :
			FF_WIRE_NEW));
		seen[message.id] = true;
		told_of++;
	}
	get_nothing();
}
