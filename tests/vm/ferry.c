/* SPDX-License-Identifier: MIT */
#include "machine.h"

#include "futexwatch/link.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CONNECT_MS = 5000, ANSWER_MS = 20000, FENCES_MAX = 1024 };

struct ferry {
	const char *dir;
	int pages, listener;
	struct ff_address address;
	struct ff_link guest, host;
	struct {
		uint64_t id; /* 0: none */
		unsigned int page;
	} fences[FENCES_MAX];
	/* Names that pages have in shm/; empty: N in pages/. */
	char names[16384][FF_WIRE_NAME];
};

/* Ask the guest for the page of a file; false if there is none. */
static bool ask(const struct ferry *ferry, const char *name, unsigned int *page)
{
	struct pollfd p = {.fd = ferry->pages, .events = POLLIN};
	char line[100];
	ssize_t n;

	snprintf(line, sizeof(line), "where /dev/shm/%s\n", name);
	if (write(ferry->pages, line, strlen(line)) < 0 ||
		poll(&p, 1, ANSWER_MS) <= 0)
		_exit(1);
	n = read(ferry->pages, line, sizeof(line) - 1);
	if (n <= 0)
		_exit(1);
	line[n] = '\0';
	return sscanf(line, "page %u", page) == 1 &&
		*page < sizeof(ferry->names) / sizeof(ferry->names[0]);
}

static void file_of(const struct ferry *ferry, unsigned int page,
	const char *name, char path[128])
{
	if (*name)
		snprintf(path, 128, "%s/shm/%s", ferry->dir, name);
	else
		snprintf(path, 128, "%s/pages/%u", ferry->dir, page);
}

/* Name a page's file; by nothing: the number that it began with. */
static void name_page(struct ferry *ferry, unsigned int page, const char *name)
{
	char *known_as = ferry->names[page];
	char from[128], to[128];

	file_of(ferry, page, known_as, from);
	file_of(ferry, page, name, to);
	if (rename(from, to) < 0)
		fprintf(stderr, "%s to %s: %s\n", from, to, strerror(errno));
	snprintf(known_as, FF_WIRE_NAME, "%s", name);
}

static void board(struct ferry *ferry, const struct ff_wire *message)
{
	unsigned int page;
	int i = 0;

	if (strchr(message->name, '/') || !ask(ferry, message->name, &page))
		return;
	while (i < FENCES_MAX && ferry->fences[i].id &&
		ferry->fences[i].id != message->id)
		i++;
	if (i == FENCES_MAX)
		_exit(1);
	ferry->fences[i].id = message->id;
	ferry->fences[i].page = page;
	name_page(ferry, page, message->name);
}

static void leave(struct ferry *ferry, uint64_t id)
{
	for (int i = 0; i < FENCES_MAX; i++)
		if (ferry->fences[i].id == id) {
			name_page(ferry, ferry->fences[i].page, "");
			ferry->fences[i].id = 0;
		}
}

/* A device is the same for all who use it one after the other; a daemon that is
 * connected to wants a connection for each. */
static void begin_anew(struct ferry *ferry)
{
	struct ff_error error;
	int fd;

	if (ferry->listener >= 0)
		return;
	ff_link_close(&ferry->host);
	fd = ff_link_connect(&ferry->address, CONNECT_MS, &error);
	if (fd < 0) {
		fprintf(stderr, "ferry: %s\n", error.text);
		return;
	}
	ff_link_init(&ferry->host, fd, false);
}

static void from_guest(struct ferry *ferry)
{
	struct ff_wire message;

	while (ff_link_room(&ferry->host) &&
		ff_link_take(&ferry->guest, &message) == 1) {
		if (message.type == FF_WIRE_HELLO)
			begin_anew(ferry);
		if (message.type == FF_WIRE_NEW)
			board(ferry, &message);
		if (ferry->host.fd >= 0)
			ff_link_put(&ferry->host, &message);
		/* The daemon must have closed it, or not yet looked. */
		if (message.type == FF_WIRE_GONE)
			leave(ferry, message.id);
	}
	if (ferry->host.fd >= 0 && ff_link_flush(&ferry->host) < 0)
		ff_link_close(&ferry->host);
}

static void from_host(struct ferry *ferry)
{
	struct ff_wire message;

	while (ff_link_room(&ferry->guest) &&
		ff_link_take(&ferry->host, &message) == 1)
		ff_link_put(&ferry->guest, &message);
	if (ff_link_flush(&ferry->guest) < 0)
		_exit(0);
}

static void serve(struct ferry *ferry)
{
	struct pollfd polls[3] = {
		{.fd = ferry->guest.fd, .events = POLLIN},
		{.fd = ferry->host.fd, .events = POLLIN},
		{.fd = ferry->listener, .events = POLLIN},
	};

	if (ff_link_pending(&ferry->guest))
		polls[0].events |= POLLOUT;
	if (ferry->host.fd >= 0 && ff_link_pending(&ferry->host))
		polls[1].events |= POLLOUT;
	if (poll(polls, 3, -1) < 0)
		return;
	if (polls[2].revents) {
		ff_link_close(&ferry->host);
		ff_link_init(&ferry->host,
			accept4(ferry->listener, NULL, NULL,
				SOCK_NONBLOCK | SOCK_CLOEXEC),
			true);
		return;
	}
	if (polls[0].revents && ff_link_fill(&ferry->guest) < 0)
		_exit(0);
	from_guest(ferry);
	if (polls[1].revents && ff_link_fill(&ferry->host) < 0) {
		from_host(ferry);
		ff_link_close(&ferry->host);
	}
	from_host(ferry);
}

void vm_ferry(struct vm *vm, const char *address)
{
	static struct ferry ferry;
	struct ff_error error;

	ferry.dir = vm->dir;
	ferry.pages = vm->pages;
	ferry.listener = -1;
	if (ff_address_parse(address, FF_HOST, &ferry.address, &error) < 0)
		_exit(1);
	if (ferry.address.transport == FF_CHAR) {
		ferry.address.transport = FF_UNIX;
		ferry.listener = ff_link_listen(&ferry.address, &error);
		if (ferry.listener < 0)
			_exit(1);
	}
	fcntl(vm->relay, F_SETFL, O_NONBLOCK);
	ff_link_init(&ferry.guest, vm->relay, true);
	ff_link_init(&ferry.host, -1, false);
	for (;;)
		serve(&ferry);
}
