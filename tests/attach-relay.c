/* SPDX-License-Identifier: MIT */
/*
 * attach --relay. Its host's end is the test itself, which says that it is of
 * another kernel: the real one would leave fences of its own kernel alone.
 */
#include "attach.h"
#include "relay.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "futexwatch/wire.h"

static struct {
	int listener;
	pthread_t thread;
	_Atomic unsigned int guests, fences, wakes;
} host;

static void answer(int fd, const struct ff_wire *message)
{
	unsigned char bytes[FF_WIRE_SIZE];

	ff_wire_encode(message, bytes);
	if (send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL) < 0)
		return; /* it has left: that is seen next */
}

static void obey(int fd, const struct ff_wire *message)
{
	struct ff_wire reply = *message;

	switch (message->type) {
	case FF_WIRE_HELLO:
		reply.kernel[0] ^= 1;
		answer(fd, &reply);
		host.guests++;
		break;
	case FF_WIRE_NEW:
		host.fences++;
		answer(fd, &(struct ff_wire){ .type = FF_WIRE_ACCEPTED,
			.id = message->id });
		answer(fd, &(struct ff_wire){ .type = FF_WIRE_WAKE,
			.id = message->id, .count = 1 });
		break;
	case FF_WIRE_WAKE:
		host.wakes++;
		break;
	case FF_WIRE_PING:
		reply.type = FF_WIRE_PONG;
		answer(fd, &reply);
		break;
	default:
		break;
	}
}

/* One guest after the other, until the listener is shut down. */
static void *serve(void *context)
{
	int fd;

	while ((fd = accept4(host.listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
		unsigned char bytes[FF_WIRE_SIZE];
		struct ff_wire message;

		while (recv(fd, bytes, sizeof(bytes), MSG_WAITALL) ==
			sizeof(bytes) && !ff_wire_decode(bytes, &message))
			obey(fd, &message);
		close(fd);
	}
	return context;
}

static void start_host(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	host.guests = host.fences = host.wakes = 0;
	snprintf(address.sun_path, sizeof(address.sun_path), "%s",
		coexist_path("relay"));
	host.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	cr_assert(host.listener >= 0 && !bind(host.listener,
		(struct sockaddr *)&address, sizeof(address)) &&
		!listen(host.listener, 4) && !chmod(address.sun_path, 0666));
	cr_assert(!pthread_create(&host.thread, NULL, serve, NULL));
}

static void stop_host(void)
{
	shutdown(host.listener, SHUT_RDWR);
	pthread_join(host.thread, NULL);
	close(host.listener);
}

/* What the peer opens: the client's fence, by the name that the relay wants. */
static void find_fence(const struct e2e_run *client, char path[256])
{
	const char *line = strstr(client->output, "fence 1: ");
	unsigned long long inode;

	e2e_check(client, line && sscanf(line, "fence 1: %*d %*x-%*x %llu",
		&inode) == 1, "the client shows its fence");
	e2e_find_name(inode, path);
	e2e_check(client, *path, "it is a file with a name");
}

E2E_TEST(attach, relays, FF_TEST_XORG_FENCES)
{
	char path[256];
	struct e2e_run client = { .setting = COEXIST_SETTING, .command = {
		"/bin/sh", "-c", "echo ready; read line; exec \"$@\"", "sh",
		e2e_client("fence-peer"), "--trigger", "--rounds=2000",
		"--delay=20", "--timeout=30", "--make" } };
	struct e2e_run peer = { .setting = COEXIST_SETTING, .command = {
		e2e_client("fence-peer"), "--await", "--rounds=2000",
		"--delay=20", "--timeout=30", path } };
	struct attach attach, second;

	e2e_need_attach();
	start_host();
	e2e_start(&client);
	e2e_await(&client, "ready");
	attach_to(&attach, client.pid, relay_option());
	e2e_go_on(&client);
	e2e_await(&client, "fence 1: ");
	find_fence(&client, path);
	e2e_start(&peer);
	/* The name goes with the relay; who has the file keeps it. */
	while (host.wakes < 10)
		usleep(1000);
	attach_end(&attach, SIGINT);
	e2e_check(&attach.run, strstr(attach.run.errors,
		"fences lose their relay: 1\n"), "it says what is lost");
	attach_to(&second, client.pid, relay_option());
	e2e_finish_beside(&peer);
	e2e_check(&peer, e2e_exited(&peer, 0), "the peer is content");
	attach_finish_client(&client);
	attach_finish(&second);
	stop_host();
	cr_assert(host.guests == 2 && host.fences == 1, "%u, %u", host.guests,
		host.fences);
	e2e_check(&attach.run, e2e_count(&attach.run, "wake", "direction",
		"to_host") > 0 && e2e_count(&attach.run, "wake", "direction",
		"from_host") > 0, "wakes went both ways");
}

/* The waiter's fence was given its name later, which maps do not show. */
E2E_TEST(attach, names_what_a_relay_has_named, FF_TEST_XORG_FENCES)
{
	char path[256];
	struct e2e_run client = { .setting = COEXIST_SETTING, .command = {
		"/bin/sh", "-c", "echo ready; read line; exec \"$@\"", "sh",
		e2e_client("fence-peer"), "--await", "--rounds=1",
		"--timeout=60", "--make" } };
	struct attach attach = { .options = { relay_option(),
		"--trace-fences" } };

	e2e_need_attach();
	start_host();
	e2e_start(&client);
	e2e_await(&client, "ready");
	attach_begin(&attach, client.pid);
	attach_await(&attach);
	e2e_go_on(&client);
	e2e_await(&client, "fence 1: ");
	find_fence(&client, path);
	while (!strstr(attach.run.errors, strrchr(path, '/') + 1)) {
		kill(attach.run.pid, SIGUSR1);
		usleep(100000);
		e2e_look(&attach.run);
	}
	kill(client.pid, SIGKILL);
	e2e_finish_beside(&client);
	attach_finish(&attach);
	stop_host();
}
