/* SPDX-License-Identifier: MIT */
/*
 * X clients for other machines: for i386, executed by the processor or by
 * qemu-user; and for aarch64, by qemu-user. tests/foreign/make-clients has made
 * them in $FF_FOREIGN_CLIENTS; if that is not set, these tests are skipped.
 */
#include "relay.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ROUNDS = 1000, RELAY_PLAYS = 1000, SIZE = 8388608 };

struct machine {
	const char *name;
	const char *emulator; /* NULL: the processor */
};

static const struct machine i386 = {"i386", NULL};
static const struct machine qemu_i386 = {"i386", "qemu-i386"};
static const struct machine qemu_aarch64 = {"aarch64", "qemu-aarch64"};
/* The same, but the libraries are loaded from the root of some system. */
static const struct machine dynamic = {"dynamic", "qemu-aarch64"};

/* An engine, and which one it comes to for what libxshmfence makes. */
struct engine {
	const char *option, *expected;
};

static const struct engine engines[] = {
	{"--engine=ptrace", "ptrace"},
	{"--engine=notify", "notify"},
	{"--engine=auto", "notify"},
};

enum { ENGINES = sizeof(engines) / sizeof(*engines) };

static const char *foreign_dir(void)
{
	const char *dir = getenv("FF_FOREIGN_CLIENTS");

	if (!dir || !*dir) {
		/* A skipped test's .fini is not called. */
		e2e_end();
		cr_skip("there are no foreign clients (FF_FOREIGN_CLIENTS)");
	}
	return dir;
}

/* The path of a client for a machine, until the next call but three. */
static const char *foreign_client(const char *client, const char *machine)
{
	static char paths[4][PATH_MAX];
	static unsigned int next;
	char *path = paths[next++ % 4];

	cr_assert(snprintf(path, PATH_MAX, "%s/%s-%s", foreign_dir(), client,
			machine) < PATH_MAX);
	cr_assert(!access(path, X_OK), "%s cannot be executed", path);
	return path;
}

/* What tells the emulator of a suite's libraries, until the next call. */
static const char *libraries_of(const char *suite)
{
	static char setting[PATH_MAX + 32];

	snprintf(setting, sizeof(setting), "QEMU_LD_PREFIX=%s/%s",
		foreign_dir(), suite);
	return setting;
}

/* A run of a client with these arguments. */
static struct e2e_run make_run(const struct machine *machine,
	const char *client, const char *const *args)
{
	struct e2e_run run = {.wrapped = true};
	unsigned int n = 0;

	if (machine->emulator)
		run.command[n++] = machine->emulator;
	run.command[n++] = foreign_client(client, machine->name);
	while (*args)
		run.command[n++] = *args++;
	return run;
}

/* The client was content, and fenceferry had nothing to say. */
static void check_content(const struct e2e_run *run)
{
	e2e_check(run, e2e_exited(run, 0), "the client is content");
	e2e_check(run, strstr(run->output, "OK\n"), "the client says so");
	e2e_check(run, !*run->errors, "nobody complains");
}

/* Rounds that find the fence triggered prove nothing of wake-ups; and who is
 * emulated is often too slow to have to wait. */
static void check_sleeps(const struct e2e_run *run)
{
	const char *slept = strstr(run->output, "us each, ");

	e2e_check(run, slept && atol(strchr(slept, ',') + 1) > 0,
		"the client slept in its rounds");
}

static bool is_standin(const struct e2e_mapping *mapping)
{
	return !strncmp(mapping->path, e2e_shm_dir(), strlen(e2e_shm_dir()));
}

static bool is_memfd(const struct e2e_mapping *mapping, const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "/memfd:%s", name);
	return !strncmp(mapping->path, path, strlen(path));
}

/* Where the first fence was: a memfd, unless the engine has made it. */
static void check_mappings(const struct e2e_run *run, bool made, bool swapped)
{
	struct e2e_mapping before, after;

	e2e_read_mapping(run->output, "fence before crossing: ", &before);
	e2e_read_mapping(run->output, "fence after crossing: ", &after);
	e2e_check(run, made ? is_standin(&before) :
			      is_memfd(&before, "xshmfence"),
		"before, it is what it is made as");
	e2e_check(run, swapped ? is_standin(&after) :
				 is_memfd(&after, "xshmfence"),
		"afterwards, it is what the engine has made of it");
}

/* All fences of a run were swapped by this engine, which is told of once. */
static void check_engine(const struct e2e_run *run, const char *engine,
	unsigned int fences)
{
	e2e_check_log(run, fences, 0, 0);
	e2e_check(run, e2e_count(run, "swap", "engine", engine) == fences,
		"the engine is the one expected");
	e2e_check(run,
		e2e_count(run, "crossing", "request", "DRI3.FenceFromFD") ==
			fences,
		"the request is known");
	e2e_check(run, e2e_count(run, "engine", "engine", engine) == 1,
		"the log tells of the engine");
}

static void swap_fences(const struct machine *machine)
{
	static const char *const args[] = {"--rounds=1000", "--busy", "--maps",
		"--duplicate", "--threads=4", "--fences=20", NULL};

	for (unsigned int i = 0; i < ENGINES; i++) {
		struct e2e_run run = make_run(machine, "fence-client", args);

		run.options[0] = engines[i].option;
		e2e_do(&run);
		check_content(&run);
		check_sleeps(&run);
		check_mappings(&run, !strcmp(engines[i].expected, "notify"),
			true);
		e2e_check(&run, strstr(run.output, ", none disturbed\n"),
			"the threads noticed nothing");
		/* The first, one to warm up, and twenty. */
		check_engine(&run, engines[i].expected, 22);
	}
}

E2E_TEST(i386, fences_are_swapped, FF_TEST_XORG_FENCES)
{
	swap_fences(&i386);
}

E2E_TEST(qemu_i386, its_fences_are_swapped, FF_TEST_XORG_FENCES)
{
	swap_fences(&qemu_i386);
}

E2E_TEST(qemu_aarch64, fences_there_are_swapped, FF_TEST_XORG_FENCES)
{
	swap_fences(&qemu_aarch64);
}

/* The control: what is not swapped is seen as the memfd that it is. */
E2E_TEST(control, engine_off_leaves_foreign_fences, FF_TEST_XORG_FENCES)
{
	static const struct machine *const machines[] = {
		&i386, &qemu_i386, &qemu_aarch64};
	static const char *const args[] = {"--rounds=100", "--maps", NULL};

	for (unsigned int i = 0; i < 3; i++) {
		struct e2e_run run =
			make_run(machines[i], "fence-client", args);

		run.options[0] = "--engine=off";
		e2e_do(&run);
		check_content(&run);
		check_mappings(&run, false, false);
		e2e_check_log(&run, 0, 1, 0);
	}
}

/* i386 has had two ways to send a message, and programs of both are about. */
E2E_TEST(i386, both_ways_to_send_are_known, FF_TEST_XORG_FENCES)
{
	static const struct machine ways[] = {
		{"sendmsg", NULL}, {"socketcall", NULL},
		{"sendmsg", "qemu-i386"}, {"socketcall", "qemu-i386"}};
	static const char *const args[] = {"--rounds=100", "--maps", NULL};

	for (unsigned int i = 0; i < 4; i++) {
		struct e2e_run run = make_run(&ways[i], "fence-client", args);

		run.options[0] = "--engine=ptrace";
		e2e_do(&run);
		check_content(&run);
		check_mappings(&run, false, true);
		check_engine(&run, "ptrace", 1);
	}
}

/* Two pictures are compared byte by byte, one from before it crosses. */
static void swap_pictures(const struct machine *machine)
{
	static const char *const args[] = {"--maps", "--rounds=1", NULL};
	static const char *const options[] = {"--engine=ptrace",
		"--engine=auto"};
	struct e2e_mapping before, after;

	for (unsigned int i = 0; i < 2; i++) {
		struct e2e_run run = make_run(machine, "shm-client", args);
		json_t *swap;

		run.options[0] = options[i];
		e2e_do(&run);
		e2e_check(&run, e2e_exited(&run, 0) && !*run.errors,
			"the client is content, and nobody complains");
		e2e_check(&run,
			strstr(run.output, "pictures: 2 of 8388608 bytes"),
			"two pictures were compared");
		e2e_read_mapping(
			run.output, "memfd before crossing: ", &before);
		e2e_read_mapping(run.output, "memfd after crossing: ", &after);
		e2e_check(&run,
			is_memfd(&before, "shm-client") && is_standin(&after),
			"it was a memfd, and is a file in the shm dir");
		e2e_check_log(&run, 1, 0, 0);
		swap = e2e_event(&run, "swap", 0);
		e2e_check(&run,
			!strcmp(e2e_text(swap, "request"),
				"MIT-SHM.AttachFd") &&
				!strcmp(e2e_text(swap, "engine"), "ptrace") &&
				e2e_number(swap, "size") == SIZE,
			"ptrace has swapped it");
	}
}

E2E_TEST(i386, pictures_are_swapped, FF_TEST_XORG_FENCES)
{
	swap_pictures(&i386);
}

E2E_TEST(qemu_i386, its_pictures_are_swapped, FF_TEST_XORG_FENCES)
{
	swap_pictures(&qemu_i386);
}

E2E_TEST(qemu_aarch64, pictures_there_are_swapped, FF_TEST_XORG_FENCES)
{
	swap_pictures(&qemu_aarch64);
}

/*
 * Threads that compute, and compare all registers, are stopped in the code that
 * the emulator has made.
 */
static void stop_in_generated_code(const struct machine *machine)
{
	char x_socket[PATH_MAX + 32], socket[PATH_MAX + 32];
	const char *const args[] = {socket, "--threads=2", "--state=running",
		"--rounds=20", NULL};
	struct e2e_run run = make_run(machine, "swap-victim", args);

	snprintf(x_socket, sizeof(x_socket), "--x-socket=%s/x", e2e_dir());
	snprintf(socket, sizeof(socket), "--socket=%s/x", e2e_dir());
	run.options[0] = "--engine=ptrace";
	run.options[1] = x_socket;
	e2e_do(&run);
	e2e_check(&run, e2e_exited(&run, 0) && !*run.errors,
		"the victim is content, and nobody complains");
	e2e_check(&run, strstr(run.output, "crossed standin=20 memfd=0\n"),
		"it has been given stand-ins");
	e2e_check_log(&run, 20, 0, 0);
	/* The two, the one that sends, and the emulator's own. */
	e2e_check(&run, e2e_number(e2e_event(&run, "swap", 0), "threads") == 4,
		"all threads were stopped");
}

E2E_TEST(qemu_i386, its_threads_keep_their_registers, FF_TEST_XVFB)
{
	stop_in_generated_code(&qemu_i386);
}

E2E_TEST(qemu_aarch64, threads_there_keep_registers, FF_TEST_XVFB)
{
	stop_in_generated_code(&qemu_aarch64);
}

/* By the relay alone, the client wakes and is woken. */
static void play(const struct machine *machine, const char *option,
	const char *expected)
{
	static struct relay_pair pair;
	struct relay_host host;
	json_t *exit;

	pair.emulator = machine->emulator;
	pair.foreign_peer = foreign_client("fence-peer", machine->name);
	relay_host_start(&host, NULL);
	pair.client.options[0] = "--isolate";
	pair.client.options[1] = relay_option();
	pair.client.options[2] = option;
	relay_play(&pair, "--ping", "--pong", RELAY_PLAYS, "--delay=20");
	relay_finish(&pair, RELAY_PLAYS);
	e2e_check(&pair.client, !*pair.client.errors, "nobody complains");
	relay_host_stop(&host);
	e2e_check(&pair.client,
		e2e_count(&pair.client, "swap", "engine", expected) == 2,
		"the engine is the one expected");
	exit = e2e_event(&pair.client, "exit", 0);
	e2e_check(&pair.client,
		e2e_number(exit, "wakes_to_host") > 0 &&
			e2e_number(exit, "wakes_from_host") > 0,
		"there were wakes both ways");
}

E2E_TEST(i386, the_relay_carries_wakes, FF_TEST_XORG_FENCES)
{
	play(&i386, "--engine=ptrace", "ptrace");
}

E2E_TEST(qemu_i386, the_relay_carries_its_wakes, FF_TEST_XORG_FENCES)
{
	play(&qemu_i386, "--engine=notify", "notify");
}

E2E_TEST(qemu_aarch64, the_relay_carries_wakes_there, FF_TEST_XORG_FENCES)
{
	play(&qemu_aarch64, "--engine=ptrace", "ptrace");
}

E2E_TEST(qemu_aarch64, the_relay_and_auto_work_there, FF_TEST_XORG_FENCES)
{
	play(&qemu_aarch64, "--engine=auto", "notify");
}

/* Which library made a fence is found out in what the emulator maps. */
E2E_TEST(qemu_aarch64, its_old_libxshmfence_is_served, FF_TEST_XORG_FENCES)
{
	static const char *const args[] = {"--rounds=100", "--maps", NULL};
	struct e2e_run run = make_run(&dynamic, "fence-client", args);

	run.setting = libraries_of("bookworm");
	e2e_do(&run);
	check_content(&run);
	check_mappings(&run, true, true);
	check_engine(&run, "notify", 1);
}

E2E_TEST(qemu_aarch64, its_new_libxshmfence_needs_nothing, FF_TEST_XORG_FENCES)
{
	static const char *const args[] = {"--rounds=100", "--maps", NULL};
	struct e2e_run run = make_run(&dynamic, "fence-client", args);
	struct e2e_mapping before, after;

	run.setting = libraries_of("trixie");
	e2e_do(&run);
	check_content(&run);
	e2e_read_mapping(run.output, "fence before crossing: ", &before);
	e2e_read_mapping(run.output, "fence after crossing: ", &after);
	e2e_check(&run, !strncmp(before.path, "/dev/shm/", 9) &&
			before.inode == after.inode,
		"it is in a file of its own in /dev/shm");
	e2e_check_log(&run, 0, 1, 0);
	e2e_check(&run, e2e_count(&run, "engine", "engine", "none") == 1 &&
			e2e_count(&run, "engine", "reason", "libxshmfence") ==
				1,
		"the log says why nothing is done");
}

/* Its file has no name: the relay's other end is given an fd. */
E2E_TEST(qemu_aarch64, its_new_libxshmfence_is_relayed, FF_TEST_XORG_FENCES)
{
	static const char *const args[] = {"--rounds=1000", "--busy", NULL};
	struct e2e_run run = make_run(&dynamic, "fence-client", args);
	struct relay_host host;

	run.options[0] = "--isolate";
	run.options[1] = relay_option();
	run.setting = libraries_of("trixie");
	relay_host_start(&host, NULL);
	e2e_do(&run);
	check_content(&run);
	check_sleeps(&run);
	relay_host_stop(&host);
	e2e_check_log(&run, 0, 1, 0);
	e2e_check(&run,
		e2e_number(e2e_event(&run, "exit", 0), "wakes_from_host") > 0,
		"the host's end woke it");
}
