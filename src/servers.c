/* SPDX-License-Identifier: MIT */
#include "servers.h"

#include "clock.h"
#include "process.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* How long a crossing may wait for the server's answer, and how long a server
 * that gave none is left alone. */
#define ASK_MS 300
#define ASK_AGAIN_NS 2000000000ull

static struct ff_server *get_server(struct ff_servers *servers,
	const char *display)
{
	struct ff_server *server = servers->list;

	while (server && strcmp(server->display, display))
		server = server->next;
	if (server)
		return server;
	server = calloc(1, sizeof(*server));
	if (!server)
		return NULL;
	snprintf(server->display, sizeof(server->display), "%s", display);
	server->next = servers->list;
	servers->list = server;
	return server;
}

/* Who is at the other end? false: nobody yet, or we may not look. */
static bool get_peer(pid_t pid, int fd, struct sockaddr_un *address,
	socklen_t *length)
{
	int copy = ff_process_copy_fd(pid, fd), domain;
	socklen_t size = sizeof(domain);
	bool known;

	if (copy < 0)
		return false;
	*length = sizeof(*address);
	known = getpeername(copy, (struct sockaddr *)address, length) == 0;
	/* Others may never connect, and are no way to a server if they do. */
	if (!known && getsockopt(copy, SOL_SOCKET, SO_DOMAIN, &domain,
			&size) == 0 && domain != AF_UNIX) {
		*length = 0;
		known = true;
	}
	close(copy);
	return known;
}

struct ff_server *ff_servers_find(struct ff_servers *servers, pid_t pid, int fd)
{
	char path[48], display[FF_X11_DISPLAY_SIZE];
	struct sockaddr_un address = { .sun_family = AF_UNSPEC };
	struct ff_socket *socket;
	socklen_t length;
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", pid, fd);
	if (stat(path, &st) < 0 || !S_ISSOCK(st.st_mode))
		return NULL;
	for (size_t i = 0; i < FF_SOCKETS_MAX; i++)
		if (servers->sockets[i].ino == st.st_ino)
			return servers->sockets[i].server;
	if (!get_peer(pid, fd, &address, &length))
		return NULL;
	socket = &servers->sockets[servers->next_socket++ % FF_SOCKETS_MAX];
	*socket = (struct ff_socket){ .ino = st.st_ino };
	if (ff_x11_is_server(servers->match, &address, length, display))
		socket->server = get_server(servers, display);
	return socket->server;
}

/* $XAUTHORITY of the client, else its ~/.Xauthority, as it sees the files; to
 * be freed, NULL if there is neither. */
static char *authority_of(pid_t pid)
{
	char *name = ff_process_getenv(pid, "XAUTHORITY"), *home, *path;
	int length;

	if (name) {
		length = asprintf(&path, "/proc/%d/%s/%s", pid,
			*name == '/' ? "root" : "cwd", name);
	} else {
		home = ff_process_getenv(pid, "HOME");
		if (!home)
			return NULL;
		length = asprintf(&path, "/proc/%d/root%s/.Xauthority", pid,
			home);
		free(home);
	}
	free(name);
	return length < 0 ? NULL : path;
}

/* A sandbox may have its cookies under a number of its own: then by ours. */
static bool ask(struct ff_server *server, pid_t pid)
{
	const uint64_t end_ns = ff_now_ns() + ASK_MS * 1000000ull;
	char *authority = authority_of(pid);
	int err = ff_x11_query_opcodes(server->display, authority, ASK_MS,
		&server->opcodes, NULL);

	if (err == -EACCES && authority)
		err = ff_x11_query_opcodes(server->display, NULL,
			ff_ms_until(end_ns), &server->opcodes, NULL);
	free(authority);
	return !err;
}

const struct ff_x11_opcodes *ff_server_opcodes(struct ff_server *server,
	pid_t pid)
{
	uint64_t now = ff_now_ns();

	if (server->known ||
		(server->asked_ns && now - server->asked_ns < ASK_AGAIN_NS))
		return &server->opcodes;
	server->known = ask(server, pid);
	server->asked_ns = ff_now_ns();
	return &server->opcodes;
}

void ff_servers_free(struct ff_servers *servers)
{
	while (servers->list) {
		struct ff_server *server = servers->list;

		servers->list = server->next;
		free(server);
	}
}
