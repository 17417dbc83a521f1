/* SPDX-License-Identifier: MIT */
/*
 * --replies: fds that real X servers send to a client, which uses them, are
 * logged, each once, as what they are.
 */
#include "e2e.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 3 };

/* For servers that are started here: Xorg's module obeys it. */
__attribute__((constructor)) static void give_device(void)
{
	setenv("FF_TEST_DRI3_DEVICE", "/dev/null", 1);
}

/* What the log has to say of each request's fds. */
static const struct goods {
	const char *request, *kind, *name; /* name NULL: a stand-in's */
} goods[] = {
	{"MIT-SHM.CreateSegment", "memfd", "xorg"},
	{"DRI3.FDFromFence", "memfd", "xshmfence"},
	{"DRI3.FDFromFence", "shm", NULL},
	{"DRI3.Open", "other", "/dev/null"},
	{"DRI3.BufferFromPixmap", "memfd", "plane"},
	{"DRI3.BuffersFromPixmap", "memfd", "plane"},
	{"DRI3.BuffersFromPixmap", "memfd", "plane"},
};

enum { SEGMENTS = 1, FENCES = 3, ALL = sizeof(goods) / sizeof(*goods) };

static void check_content(const struct e2e_run *run)
{
	e2e_check(run, e2e_exited(run, 0), "the client is content");
	e2e_check(run, strstr(run->output, "OK\n"), "the client says so");
	e2e_check(run, !*run->errors, "nobody complains");
}

/* Crossing number index from the server. */
static json_t *from_server(const struct e2e_run *run, size_t index)
{
	json_t *event;

	for (size_t i = 0; (event = e2e_event(run, "crossing", i)); i++)
		if (!strcmp(e2e_text(event, "direction"), "from_server") &&
			!index--)
			return event;
	return NULL;
}

static void check_name(const struct e2e_run *run, json_t *event,
	const struct goods *what)
{
	const char *name = e2e_text(event, "name");
	const char *fence = e2e_text(event, "fence");
	char id[64];

	snprintf(id, sizeof(id), "memfd:%lld", e2e_number(event, "ino"));
	e2e_check(run, !strcmp(e2e_text(event, "kind"), what->kind),
		"the kind is known");
	e2e_check(run,
		what->name ? !strcmp(name, what->name) :
			     !strncmp(name, e2e_shm_dir(),
				     strlen(e2e_shm_dir())),
		"the name is the file's");
	e2e_check(run,
		strcmp(what->request, "DRI3.FDFromFence") ? !*fence :
			what->name ? !strcmp(fence, id) :
			*fence && !strchr(fence, '/') && strstr(name, fence),
		"fences have their id");
}

/* One event of what the client says has arrived. */
static void check_event(const struct e2e_run *run, json_t *event,
	const char *arrived, const struct goods *what)
{
	char request[64];
	unsigned long long ino;
	long long size;

	e2e_check(run,
		sscanf(arrived, "arrived: %63s %llu %lld\n", request, &ino,
			&size) == 3,
		"the client tells of each fd");
	e2e_check(run, event, "each fd has its event");
	e2e_check(run, !strcmp(request, what->request),
		"the client has what is expected");
	e2e_check(run, !strcmp(e2e_text(event, "request"), request),
		"the request is known");
	e2e_check(run, !strcmp(e2e_text(event, "request_by"), "shape"),
		"and how it is");
	e2e_check(run,
		(unsigned long long)e2e_number(event, "ino") == ino &&
			e2e_number(event, "size") == size,
		"it is the client's file");
	e2e_check(run,
		json_is_null(json_object_get(event, "fd")) &&
			json_is_null(json_object_get(event, "xid")),
		"what is not known is null");
	e2e_check(run,
		!strcmp(e2e_text(event, "action"), "left") &&
			!strcmp(e2e_text(event, "display"),
				e2e_server()->display),
		"it is left, and comes from the server");
	check_name(run, event, what);
}

/* So many fds of each round were logged, as what they are. */
static void check_replies(const struct e2e_run *run, unsigned int each,
	unsigned int fences)
{
	const char *line = run->output;
	unsigned int i;

	check_content(run);
	for (i = 0; i < ROUNDS * each; i++) {
		line = strstr(line + !!i, "arrived: ");
		e2e_check(run, line, "the client has so many fds");
		check_event(run, from_server(run, i), line, &goods[i % each]);
	}
	e2e_check(run, !from_server(run, i), "none is logged twice");
	e2e_check(run, !strstr(line + 1, "arrived: "), "and no more");
	e2e_check_log(run, fences, ROUNDS * each, 0);
}

/* One fence has one id, in whatever event; a swap tells of the change. */
static void check_ids(const struct e2e_run *run, bool by_ptrace)
{
	json_t *sent = e2e_event(run, "crossing", 2);
	json_t *swap = e2e_event(run, "swap", 0);
	json_t *back = e2e_event(run, "crossing", 3);
	char id[64];

	snprintf(id, sizeof(id), "memfd:%lld", e2e_number(sent, "ino"));
	e2e_check(run, !strcmp(e2e_text(sent, "direction"), "to_server"),
		"the third crossing is the client's fence");
	e2e_check(run,
		*e2e_text(swap, "fence") && !strcmp(e2e_text(swap, "fence"),
			e2e_text(back, "fence")),
		"what comes back has the stand-in's id");
	e2e_check(run,
		!strcmp(e2e_text(sent, "fence"),
			by_ptrace ? id : e2e_text(swap, "fence")),
		"what is sent has the id that it has then");
	e2e_check(run, !strcmp(e2e_text(swap, "was"), by_ptrace ? id : ""),
		"the swap tells what it was before");
}

static void do_client(struct e2e_run *run, const char *const *options,
	const char *a, const char *b)
{
	*run = (struct e2e_run){.wrapped = true,
		.command = {e2e_client("reply-client"), "--rounds=3", a, b}};
	for (int i = 0; options[i]; i++)
		run->options[i] = options[i];
	e2e_do(run);
}

E2E_TEST(replies, each_fd_is_logged_as_what_it_is, FF_TEST_XORG_FENCES)
{
	static const char *const options[] = {"--replies", NULL};
	struct e2e_run run;

	do_client(&run, options, "--goods", NULL);
	check_replies(&run, ALL, ROUNDS);
	do_client(&run, options, NULL, NULL);
	check_replies(&run, FENCES, ROUNDS);
}

E2E_TEST(replies, however_the_client_reads, FF_TEST_XORG_FENCES)
{
	static const char *const ways[] = {
		"--read=slow", "--read=peek", "--read=dup"};
	static const char *const options[] = {"--replies", NULL};
	struct e2e_run run;

	for (int i = 0; i < 3; i++) {
		do_client(&run, options, "--goods", ways[i]);
		check_replies(&run, ALL, ROUNDS);
	}
}

E2E_TEST(replies, with_every_engine, FF_TEST_XORG_FENCES)
{
	static const char *const engines[][4] = {
		{"--replies", "--engine=ptrace"},
		{"--replies", "--engine=notify", "--trap-all"},
	};
	struct e2e_run run;

	for (int i = 0; i < 2; i++) {
		do_client(&run, engines[i], "--goods", NULL);
		check_replies(&run, ALL, ROUNDS);
		check_ids(&run, i == 0);
	}
}

static bool has_symbol(json_t *event, const char *symbol)
{
	json_t *frame;
	size_t i;

	json_array_foreach(json_object_get(event, "backtrace"), i, frame)
		if (!strcmp(e2e_text(frame, "symbol"), symbol))
			return true;
	return false;
}

/* The call is stopped for that, and made again: told once all the same. */
E2E_TEST(replies, with_call_stacks, FF_TEST_XORG_FENCES)
{
	static const char *const ways[][4] = {
		{"--replies", "--backtrace"},
		{"--replies", "--backtrace", "--engine=ptrace"},
		{"--replies", "--backtrace", "--engine=notify"},
	};
	json_t *event;
	struct e2e_run run;

	for (size_t i = 0; i < 3; i++) {
		do_client(&run, ways[i], "--goods",
			i == 1 ? "--read=slow" : NULL);
		e2e_sort_log(&run);
		check_replies(&run, ALL, ROUNDS);
		for (size_t k = 0; (event = from_server(&run, k)); k++)
			e2e_check(&run, (has_symbol(event, "recvmsg") &&
				has_symbol(event, "main")) ||
				(i == 2 && e2e_is_cut_by_sanitizer(event)),
				"there is the stack, from the call to main");
	}
}

/* A fence that is not swapped is known by its memfd, both ways. */
E2E_TEST(replies, of_what_is_only_watched, FF_TEST_XORG_FENCES)
{
	static const char *const options[] = {
		"--replies", "--engine=off", NULL};
	struct e2e_run run;

	do_client(&run, options, NULL, NULL);
	check_content(&run);
	e2e_check_log(&run, 0, ROUNDS * (FENCES + 1), 0);
	e2e_check(&run,
		e2e_count(&run, "crossing", "request", "DRI3.FDFromFence") ==
			2 * ROUNDS,
		"the fences are logged");
	e2e_check(&run,
		e2e_number(from_server(&run, 2), "ino") ==
				e2e_number(e2e_event(&run, "crossing", 2),
					"ino") &&
			!strcmp(e2e_text(from_server(&run, 2), "fence"),
				e2e_text(e2e_event(&run, "crossing", 2),
					"fence")),
		"what comes back is what was sent");
	e2e_check(&run,
		!strcmp(e2e_text(e2e_event(&run, "crossing", 2), "direction"),
			"to_server"),
		"which is told apart");
}

E2E_TEST(replies, are_not_logged_if_not_asked_for, FF_TEST_XORG_FENCES)
{
	static const char *const options[] = {NULL};
	struct e2e_run run;

	do_client(&run, options, "--goods", NULL);
	check_content(&run);
	e2e_check(&run, !from_server(&run, 0), "nothing is logged");
	e2e_check_log(&run, ROUNDS, 0, 0);
}

E2E_TEST(replies, of_xvfb, FF_TEST_XVFB)
{
	static const char *const options[] = {"--replies", NULL};
	struct e2e_run run;

	do_client(&run, options, "--no-fences", NULL);
	check_replies(&run, SEGMENTS, 0);
}

/* As tests/foreign/make-clients has made them. */
static const char *foreign_client(const char *name)
{
	static char path[PATH_MAX];
	const char *dir = getenv("FF_FOREIGN_CLIENTS");

	if (!dir || !*dir) {
		/* A skipped test's .fini is not called. */
		e2e_end();
		cr_skip("there are no foreign clients (FF_FOREIGN_CLIENTS)");
	}
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

E2E_TEST(replies, to_32_bit_clients, FF_TEST_XORG_FENCES)
{
	static const char *const names[] = {
		"reply-client-i386", "reply-client-socketcall"};
	struct e2e_run run;

	for (int i = 0; i < 2; i++) {
		run = (struct e2e_run){.wrapped = true,
			.options = {"--replies"},
			.command = {foreign_client(names[i]), "--rounds=3",
				"--goods"}};
		e2e_do(&run);
		check_replies(&run, ALL, ROUNDS);
	}
}
