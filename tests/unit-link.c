/* SPDX-License-Identifier: MIT */
/* src/futexwatch/link: streams of messages, and what addresses look like. */
#include "futexwatch/link.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

/* One end is a link, the other bare. */
static struct ff_link link_end;
static int bare = -1;

static void open_pair(bool is_device)
{
	int fds[2];

	cr_assert_eq(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
			0, fds),
		0);
	ff_link_init(&link_end, fds[0], is_device);
	bare = fds[1];
}

static struct ff_wire ping(uint64_t id)
{
	return (struct ff_wire){.type = FF_WIRE_PING, .id = id};
}

static struct ff_wire hello(void)
{
	return (struct ff_wire){
		.type = FF_WIRE_HELLO,
		.version = FF_WIRE_VERSION,
		.features = FF_WIRE_ISOLATED,
		.guest = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
	};
}

static void send_bytes(const void *bytes, size_t size)
{
	cr_assert_eq(write(bare, bytes, size), (ssize_t)size);
}

static void send_message(struct ff_wire message)
{
	unsigned char bytes[FF_WIRE_SIZE];

	ff_wire_encode(&message, bytes);
	send_bytes(bytes, sizeof(bytes));
}

static void assert_ping(uint64_t id)
{
	struct ff_wire message;

	cr_assert_eq(
		ff_link_take(&link_end, &message), 1, "no ping %d", (int)id);
	cr_assert_eq(message.type, FF_WIRE_PING);
	cr_assert_eq(
		message.id, id, "%d instead of %d", (int)message.id, (int)id);
}

static void assert_hello(void)
{
	struct ff_wire message;

	cr_assert_eq(ff_link_take(&link_end, &message), 1);
	cr_assert_eq(message.type, FF_WIRE_HELLO);
}

static void assert_nothing(void)
{
	struct ff_wire message;

	cr_assert_eq(ff_link_take(&link_end, &message), 0);
}

/* What the bare end has got up to now: pings from id on. Returns how many. */
static size_t read_pings(uint64_t id)
{
	unsigned char bytes[16 * FF_WIRE_SIZE];
	ssize_t got = recv(bare, bytes, sizeof(bytes), MSG_PEEK);
	size_t count = got > 0 ? (size_t)got / FF_WIRE_SIZE : 0;

	if (!count)
		return 0;
	cr_assert_eq(read(bare, bytes, count * FF_WIRE_SIZE),
		(ssize_t)(count * FF_WIRE_SIZE));
	for (size_t i = 0; i < count; i++) {
		struct ff_wire message;

		cr_assert_eq(
			ff_wire_decode(bytes + i * FF_WIRE_SIZE, &message), 0);
		cr_assert_eq(message.type, FF_WIRE_PING);
		cr_assert_eq(message.id, id + i);
	}
	return count;
}

Test(link, messages_come_whole_however_they_were_split, .timeout = 60)
{
	unsigned char bytes[3 * FF_WIRE_SIZE];

	open_pair(false);
	for (uint64_t i = 0; i < 3; i++) {
		struct ff_wire message = ping(i + 1);

		ff_wire_encode(&message, bytes + i * FF_WIRE_SIZE);
	}
	for (size_t first = 1; first < sizeof(bytes) - 1; first++) {
		for (size_t next = first + 1; next < sizeof(bytes); next += 7) {
			size_t ends[] = {first, next, sizeof(bytes)};
			size_t sent = 0, taken = 0;

			for (int part = 0; part < 3; part++) {
				send_bytes(bytes + sent, ends[part] - sent);
				sent = ends[part];
				cr_assert_eq(ff_link_fill(&link_end), 0);
				while (taken < sent / FF_WIRE_SIZE)
					assert_ping(++taken);
				assert_nothing();
			}
		}
	}
}

Test(link, fill_without_bytes_or_without_room_is_no_end, .timeout = 10)
{
	open_pair(false);
	cr_assert_eq(ff_link_fill(&link_end), 0);
	assert_nothing();
	for (uint64_t id = 1; id <= FF_LINK_MESSAGES + 3; id++)
		send_message(ping(id));
	for (int i = 0; i < 3; i++)
		cr_assert_eq(ff_link_fill(&link_end), 0);
	for (uint64_t id = 1; id <= FF_LINK_MESSAGES; id++)
		assert_ping(id);
	assert_nothing();
	cr_assert_eq(ff_link_fill(&link_end), 0);
	for (uint64_t id = FF_LINK_MESSAGES + 1; id <= FF_LINK_MESSAGES + 3;
		id++)
		assert_ping(id);
	assert_nothing();
}

Test(link, what_came_before_the_end_can_be_taken, .timeout = 10)
{
	open_pair(false);
	send_message(ping(1));
	send_message(ping(2));
	send_bytes("FFRY", 4);
	close(bare);
	cr_assert_eq(ff_link_fill(&link_end), 0);
	cr_assert_eq(ff_link_fill(&link_end), -ECONNRESET);
	assert_ping(1);
	assert_ping(2);
	assert_nothing();
}

Test(link, put_is_refused_when_there_is_no_room, .timeout = 10)
{
	struct ff_wire message;

	open_pair(false);
	cr_assert(!ff_link_pending(&link_end));
	for (uint64_t id = 1; id <= FF_LINK_MESSAGES; id++) {
		cr_assert_eq(
			ff_link_room(&link_end), FF_LINK_MESSAGES + 1 - id);
		message = ping(id);
		cr_assert(ff_link_put(&link_end, &message));
		cr_assert(ff_link_pending(&link_end));
	}
	cr_assert_eq(ff_link_room(&link_end), 0);
	message = ping(FF_LINK_MESSAGES + 1);
	cr_assert(!ff_link_put(&link_end, &message));

	cr_assert_eq(ff_link_flush(&link_end), 0);
	cr_assert(!ff_link_pending(&link_end));
	cr_assert_eq(ff_link_room(&link_end), FF_LINK_MESSAGES);
	for (uint64_t id = 1; id <= FF_LINK_MESSAGES;)
		id += read_pings(id);
	cr_assert_eq(read_pings(0), 0);
}

/* With a small buffer, of an odd size, writes end in mid-message. */
Test(link, a_slow_reader_gets_every_byte, .timeout = 60)
{
	enum { COUNT = 20000 };
	uint64_t put = 0, seen = 0;
	unsigned int state = 1;
	bool was_full = false, was_split = false;
	int size = 2501;

	open_pair(false);
	cr_assert_eq(setsockopt(link_end.fd, SOL_SOCKET, SO_SNDBUF, &size,
			     sizeof(size)),
		0);
	while (seen < COUNT) {
		struct ff_wire message = ping(put + 1);

		while (put < COUNT && ff_link_put(&link_end, &message))
			message = ping(++put + 1);
		was_full |= !ff_link_room(&link_end);
		cr_assert_eq(ff_link_flush(&link_end), 0);
		was_split |= link_end.out_size % FF_WIRE_SIZE != 0;
		state = state * 1664525 + 1013904223;
		for (unsigned int i = state >> 30; i > 0; i--)
			seen += read_pings(seen + 1);
	}
	cr_assert(was_full);
	cr_assert(was_split);
	cr_assert(!ff_link_pending(&link_end));
}

Test(link, writing_to_nobody_is_an_error_and_no_signal, .timeout = 10)
{
	struct ff_wire message = ping(1);

	signal(SIGPIPE, SIG_DFL);
	open_pair(false);
	close(bare);
	cr_assert(ff_link_put(&link_end, &message));
	cr_assert_eq(ff_link_flush(&link_end), -EPIPE);
	cr_assert(ff_link_pending(&link_end));
	cr_assert_eq(ff_link_fill(&link_end), -ECONNRESET);
}

Test(link, close_leaves_nothing, .timeout = 10)
{
	struct ff_wire message = ping(1);
	int fd;

	open_pair(false);
	send_message(message);
	cr_assert_eq(ff_link_fill(&link_end), 0);
	ff_link_put(&link_end, &message);
	fd = link_end.fd;
	ff_link_close(&link_end);
	cr_assert_eq(link_end.fd, -1);
	cr_assert(!ff_link_pending(&link_end));
	assert_nothing();
	cr_assert_eq(fcntl(fd, F_GETFD), -1);
	ff_link_close(&link_end);
}

Test(link, garbage_from_a_connection_is_an_error_for_good, .timeout = 10)
{
	struct ff_wire message;

	open_pair(false);
	send_message(ping(1));
	send_bytes("x", 1);
	send_message(ping(2));
	send_message(hello());
	send_message(ping(3));
	cr_assert_eq(ff_link_fill(&link_end), 0);
	assert_ping(1);
	for (int i = 0; i < 3; i++)
		cr_assert_eq(ff_link_take(&link_end, &message), -EPROTO);
}

Test(link, a_device_is_not_heard_before_its_hello, .timeout = 10)
{
	open_pair(true);
	send_message(ping(1));
	send_bytes("FFRY\1\0\0\0 some of a hello that was never sent", 40);
	send_message(ping(2));
	cr_assert_eq(ff_link_fill(&link_end), 0);
	assert_nothing();
	send_message(hello());
	send_message(ping(3));
	cr_assert_eq(ff_link_fill(&link_end), 0);
	assert_hello();
	assert_ping(3);
	assert_nothing();
}

/* After garbage of any length, wherever in the buffer it ends. */
Test(link, a_device_is_heard_again_from_the_next_hello, .timeout = 60)
{
	open_pair(true);
	for (size_t size = 1; size < 5 * FF_WIRE_SIZE; size++) {
		unsigned char garbage[5 * FF_WIRE_SIZE];

		for (size_t i = 0; i < size; i++)
			garbage[i] = (unsigned char)("FFRY\1"[i * size % 6]);
		send_message(hello());
		send_message(ping(size));
		cr_assert_eq(ff_link_fill(&link_end), 0);
		assert_hello();
		assert_ping(size);

		send_bytes(garbage, size);
		send_message(ping(1));
		cr_assert_eq(ff_link_fill(&link_end), 0);
		assert_nothing();
		send_message(ping(2));
		cr_assert_eq(ff_link_fill(&link_end), 0);
		assert_nothing();
	}
}

/* Whatever a peer has left half sent, the next one's HELLO is understood. */
Test(link, a_hello_on_a_device_interrupts_any_message, .timeout = 60)
{
	const struct ff_wire halves[] = {
		hello(),
		{.type = FF_WIRE_NEW,
			.id = 1,
			.name = "fenceferry-0123abcd-0123456789abcdef"},
		{.type = FF_WIRE_WAKE, .id = 1, .count = 1},
		ping(1),
	};
	struct ff_wire other = hello();

	open_pair(true);
	other.guest[15] = 16;
	for (size_t i = 0; i < 4; i++) {
		unsigned char bytes[FF_WIRE_SIZE];

		ff_wire_encode(&halves[i], bytes);
		for (size_t size = 1; size < FF_WIRE_SIZE; size++) {
			struct ff_wire message;

			link_end.is_lost = size % 2;
			send_bytes(bytes, size);
			send_message(other);
			send_message(ping(2));
			cr_assert_eq(ff_link_fill(&link_end), 0);
			cr_assert_eq(ff_link_take(&link_end, &message), 1,
				"kind %zu, %zu bytes", i, size);
			cr_assert_eq(message.type, FF_WIRE_HELLO,
				"kind %zu, %zu bytes", i, size);
			cr_assert_eq(message.version, FF_WIRE_VERSION);
			cr_assert_eq(message.guest[15], 16);
			assert_ping(2);
			assert_nothing();
		}
	}
}

Test(link, a_device_that_sends_garbage_only_does_not_fill_up, .timeout = 60)
{
	unsigned char garbage[777];

	open_pair(true);
	for (size_t i = 0; i < sizeof(garbage); i++)
		garbage[i] = (unsigned char)("FFRY\1"[i % 6]);
	for (int i = 0; i < 1000; i++) {
		send_bytes(garbage, sizeof(garbage));
		cr_assert_eq(ff_link_fill(&link_end), 0);
		assert_nothing();
		cr_assert_lt(link_end.in_size, FF_WIRE_SIZE);
	}
	send_message(hello());
	cr_assert_eq(ff_link_fill(&link_end), 0);
	assert_hello();
}

/* Parse, with a proper error if not. */
static struct ff_error error;

static bool parses(
	const char *text, enum ff_end end, struct ff_address *address)
{
	int rc;

	memset(&error, 0, sizeof(error));
	rc = ff_address_parse(text, end, address, &error);
	if (rc) {
		cr_assert_eq(rc, -EINVAL);
		cr_assert_eq(error.err, EINVAL);
		cr_assert_not_null(strstr(error.text, "address '"));
	}
	return rc == 0;
}

Test(address, paths_are_understood, .timeout = 10)
{
	static const char *const paths[] = {
		"/run/x", "x", "@name", "./@x", "a:b", "/with space"};
	struct ff_address address;
	char text[64];

	for (size_t i = 0; i < 6; i++) {
		for (int end = FF_GUEST; end <= FF_HOST; end++) {
			snprintf(text, sizeof(text), "unix:%s", paths[i]);
			cr_assert(parses(text, (enum ff_end)end, &address));
			cr_assert_eq(address.transport, FF_UNIX);
			cr_assert_str_eq(address.path, paths[i]);
			snprintf(text, sizeof(text), "char:%s", paths[i]);
			cr_assert(parses(text, (enum ff_end)end, &address));
			cr_assert_eq(address.transport, FF_CHAR);
			cr_assert_str_eq(address.path, paths[i]);
		}
	}
}

Test(address, vsock_is_understood, .timeout = 10)
{
	static const struct {
		const char *text;
		enum ff_end end;
		unsigned int cid, port;
	} cases[] = {
		{"vsock:2:1024", FF_GUEST, 2, 1024},
		{"vsock:host:5000", FF_GUEST, 2, 5000},
		{"vsock:local:5000", FF_GUEST, 1, 5000},
		{"vsock:4294967294:4294967294", FF_GUEST, 4294967294u,
			4294967294u},
		{"vsock:1024", FF_HOST, VMADDR_CID_ANY, 1024},
		{"vsock:1", FF_HOST, VMADDR_CID_ANY, 1},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct ff_address address;

		cr_assert(parses(cases[i].text, cases[i].end, &address), "%s",
			cases[i].text);
		cr_assert_eq(address.transport, FF_VSOCK);
		cr_assert_eq(address.cid, cases[i].cid, "%s", cases[i].text);
		cr_assert_eq(address.port, cases[i].port, "%s", cases[i].text);
	}
}

Test(address, nonsense_is_refused_and_changes_nothing, .timeout = 10)
{
	static const struct {
		const char *text;
		enum ff_end end;
		const char *words;
	} cases[] = {
		{"", FF_GUEST, "vsock:CID:PORT"},
		{"", FF_HOST, "vsock:PORT"},
		{"/run/x", FF_GUEST, "no kind"},
		{"tcp:localhost:80", FF_GUEST, "no kind"},
		{"UNIX:/run/x", FF_GUEST, "no kind"},
		{"unix", FF_GUEST, "no kind"},
		{"unix:", FF_GUEST, "no path"},
		{"unix:@", FF_GUEST, "no path"},
		{"char:", FF_HOST, "no path"},
		{"vsock:", FF_GUEST, "no CID"},
		{"vsock:5000", FF_GUEST, "no CID"},
		{"vsock::5000", FF_GUEST, "not a CID"},
		{"vsock:0:5000", FF_GUEST, "not a CID"},
		{"vsock:-1:5000", FF_GUEST, "not a CID"},
		{"vsock:guest:5000", FF_GUEST, "not a CID"},
		{"vsock:4294967295:5000", FF_GUEST, "not a CID"},
		{"vsock:2:", FF_GUEST, "not a port"},
		{"vsock:2:0", FF_GUEST, "not a port"},
		{"vsock:2:5000 ", FF_GUEST, "not a port"},
		{"vsock:2:+5000", FF_GUEST, "not a port"},
		{"vsock:2:0x50", FF_GUEST, "not a port"},
		{"vsock:2:4294967295", FF_GUEST, "not a port"},
		{"vsock:2:99999999999999999999", FF_GUEST, "not a port"},
		{"vsock:2:5000:1", FF_GUEST, "not a port"},
		{"vsock:2:5000", FF_HOST, "leave the CID out"},
		{"vsock:", FF_HOST, "not a port"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct ff_address address, before;

		memset(&address, 0xa5, sizeof(address));
		before = address;
		cr_assert(!parses(cases[i].text, cases[i].end, &address), "%s",
			cases[i].text);
		cr_assert_eq(memcmp(&address, &before, sizeof(address)), 0);
		cr_assert_not_null(strstr(error.text, cases[i].text));
		cr_assert_not_null(strstr(error.text, cases[i].words), "%s: %s",
			cases[i].text, error.text);
	}
}

Test(address, path_may_be_as_long_as_the_kernel_takes, .timeout = 10)
{
	struct ff_address address;
	char text[5000] = "unix:/";

	memset(text + 6, 'x', 107 - 1);
	cr_assert(parses(text, FF_GUEST, &address));
	cr_assert_eq(strlen(address.path), 107);
	strcat(text, "x");
	cr_assert(!parses(text, FF_GUEST, &address));
	cr_assert_not_null(strstr(error.text, "108 bytes of path"));
	memset(text + 6, 'x', sizeof(text) - 7);
	cr_assert(!parses(text, FF_GUEST, &address));
	cr_assert_eq(error.text[strlen(error.text) - 1], ')');
}
