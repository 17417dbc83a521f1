/* SPDX-License-Identifier: MIT */
/*
 * Two kernels that share the pages of fences, and nothing else: a guest under
 * QEMU, with a client of libxshmfence inside and a peer outside.
 */
#include "vm/machine.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { USER = 1000, NOBODY = 65534, PATIENCE_S = 30, STALLED = 3,
	ERROR = 125 };

/* How long a sleeper is watched that is to sleep on, after its fence was
 * triggered. */
enum { STALL_US = 2000000 };

/* Processes in the guest. */
enum { CLIENT, SECOND, DAEMON };

#define RUN "fenceferry run --relay=char:/dev/virtio-ports/relay "
#define VSOCK_RUN "fenceferry run --isolate --relay=vsock:1:5000 "

static struct vm vm;

static void boot(void)
{
	vm_boot(&vm, &vm_x86_64);
}

static void end(void)
{
	vm_end(&vm);
}

#define MACHINE .init = boot, .fini = end, .timeout = 120

/* A fence as the client tells of it. */
struct told {
	int pid;
	char range[64], path[128];
};

static void wait_fence(int tag, int number, struct told *told)
{
	char label[32];
	const char *line;

	snprintf(label, sizeof(label), "fence %d: ", number);
	line = vm_wait_output(&vm, tag, label, PATIENCE_S) + strlen(label);
	cr_assert_eq(sscanf(line, "%d %63s %*u %127s", &told->pid, told->range,
			     told->path),
		3, "%s", line);
}

/* The host's name for a fence that the ferry has told of. */
static void wait_file(int number, char path[200])
{
	static const char in[] = "/dev/shm/";
	struct told told;

	wait_fence(CLIENT, number, &told);
	cr_assert(!strncmp(told.path, in, sizeof(in) - 1), "%s", told.path);
	snprintf(path, 200, "%s/shm/%s", vm.dir, told.path + sizeof(in) - 1);
}

static void start_peer(
	struct vm_peer *peer, const char *role, const char *option,
	const char *file, const char *file2)
{
	const char *const argv[] = {FF_TEST_CLIENT_DIR "/fence-peer",
		"--timeout=30", "--settle=1", role, option, file, file2,
		NULL};

	vm_peer_start(&vm, peer, "peer", argv);
}

static void expect_peer(struct vm_peer *peer, int wanted)
{
	int status = vm_peer_wait_exit(peer, 2 * PATIENCE_S);

	if (status != wanted)
		vm_show(&vm);
	cr_assert_eq(status, wanted, "the peer ends with %d", status);
}

static void expect_exit(int tag, int wanted)
{
	int status = vm_wait_exit(&vm, tag, 2 * PATIENCE_S);

	if (status != wanted)
		vm_show(&vm);
	cr_assert_eq(status, wanted, "in the guest, %d ends with %d", tag,
		status);
}

/* Whenever it triggered, the other slept. */
static void expect_wakes(const char *output, int rounds)
{
	char text[40];

	snprintf(text, sizeof(text), ", wakes %d\n", rounds);
	cr_assert(strstr(output, text), "%s", output);
}

/* Start the host's daemon, and what brings it the guest's messages. */
static void start_daemon(struct vm_peer *daemon, const char *transport)
{
	char address[120], listen[140], dir[120];
	const char *const argv[] = {getenv("FENCEFERRY"), "host", listen, dir,
		NULL};

	cr_assert_not_null(argv[0]);
	snprintf(address, sizeof(address), "%s:%s/relay", transport, vm.dir);
	snprintf(listen, sizeof(listen), "--listen=%s", address);
	snprintf(dir, sizeof(dir), "--shm-dir=%s/shm", vm.dir);
	if (!strcmp(transport, "char"))
		vm_start_ferry(&vm, address);
	vm_peer_start(&vm, daemon, "daemon", argv);
	if (strcmp(transport, "char") != 0)
		vm_start_ferry(&vm, address);
}

/* The page of the fence of a client that runs without a relay: its stand-in has
 * no name. Returns the client's pid. */
static pid_t find_page(char path[200])
{
	struct told told;
	char link[128];

	wait_fence(CLIENT, 1, &told);
	snprintf(link, sizeof(link), "/proc/%d/map_files/%s", told.pid,
		told.range);
	vm_page(&vm, link, path, 200);
	return told.pid;
}

/* The word crosses, the wake does not. SIGALRM is the sleeper's own watchdog,
 * which tells of the word. */
Test(vm, without_relay_a_guests_sleeper_sleeps_on, MACHINE)
{
	struct vm_peer peer;
	char page[200];
	pid_t client;

	vm_start(&vm, CLIENT, USER, "fenceferry run -- fence-peer --make "
		"--await --timeout=%d", PATIENCE_S);
	client = find_page(page);
	start_peer(&peer, "--trigger", "--settle=500", page, NULL);
	expect_peer(&peer, 0);
	usleep(STALL_US);
	vm_kill(&vm, client, SIGALRM);
	expect_exit(CLIENT, STALLED);
	cr_assert(strstr(vm.inside[CLIENT].output, "the fence's word is 1"),
		"%s", vm.inside[CLIENT].output);
}

Test(vm, without_relay_a_hosts_sleeper_sleeps_on, MACHINE)
{
	struct vm_peer peer;
	char page[200];

	vm_start(&vm, CLIENT, USER, "fenceferry run -- fence-peer --make "
		"--trigger --settle=500 --timeout=%d", PATIENCE_S);
	find_page(page);
	start_peer(&peer, "--await", "--rounds=1", page, NULL);
	expect_exit(CLIENT, 0);
	usleep(STALL_US);
	kill(peer.pid, SIGALRM);
	expect_peer(&peer, STALLED);
	cr_assert(strstr(peer.output, "the fence's word is 1"), "%s",
		peer.output);
}

/* Two fences, one for each direction. Each side waits until the other sleeps. */
static void play(int rounds)
{
	struct vm_peer peer;
	char files[2][200], option[40];

	snprintf(option, sizeof(option), "--rounds=%d", rounds);
	vm_start(&vm, CLIENT, USER,
		RUN "fence-peer --make --pong --settle=1 --rounds=%d", rounds);
	wait_file(1, files[0]);
	wait_file(2, files[1]);
	start_peer(&peer, "--ping", option, files[0], files[1]);
	expect_peer(&peer, 0);
	expect_exit(CLIENT, 0);
	expect_wakes(peer.output, rounds);
	expect_wakes(vm.inside[CLIENT].output, rounds);
}

Test(vm, a_thousand_rounds_each_way, MACHINE)
{
	struct vm_peer daemon;

	start_daemon(&daemon, "unix");
	play(1000);
}

/* To which guests come and go without its being told by the kernel. */
Test(vm, the_daemon_uses_the_vmms_socket, MACHINE)
{
	struct vm_peer daemon;

	start_daemon(&daemon, "char");
	for (int clients = 0; clients < 3; clients++)
		play(100);
}

static void boot_as_user(void)
{
	if (geteuid() == 0)
		cr_assert(setresgid(NOBODY, NOBODY, NOBODY) == 0 &&
			setresuid(NOBODY, NOBODY, NOBODY) == 0);
	vm_boot(&vm, &vm_x86_64);
}

Test(vm, wakes_cross_for_an_ordinary_user_of_the_host, .init = boot_as_user,
	.fini = end, .timeout = 120)
{
	struct vm_peer daemon, peer;
	char file[200];

	start_daemon(&daemon, "unix");
	vm_start(&vm, CLIENT, USER, RUN "fence-peer --make --await --rounds=50");
	wait_file(1, file);
	start_peer(&peer, "--trigger", "--rounds=50", file, NULL);
	expect_peer(&peer, 0);
	expect_exit(CLIENT, 0);
}

Test(vm, a_wake_of_one_wakes_one_of_two, MACHINE)
{
	struct vm_peer daemon, peer;
	char files[2][200];

	start_daemon(&daemon, "unix");
	vm_start(&vm, CLIENT, USER,
		RUN "fence-peer --make --pong --rounds=10 --sleepers=2");
	wait_file(1, files[0]);
	wait_file(2, files[1]);
	start_peer(&peer, "--ping", "--rounds=12", files[0], files[1]);
	expect_peer(&peer, 0);
	expect_exit(CLIENT, 0);
	cr_assert(strstr(vm.inside[CLIENT].output, "woken one by one"));
}

/* The peer's side of it is in the guest too: two futex domains in one kernel. */
Test(vm, rounds_by_vsock, MACHINE)
{
	struct told told[2];

	vm_start(&vm, DAEMON, USER,
		"fenceferry host -vv --listen=vsock:5000 --allow-cid=1");
	vm_wait_output(&vm, DAEMON, "started", PATIENCE_S);

	/* Nobody writes to this one before the daemon waits on it: a hole of
	 * the file, for which a file system with DAX has no page yet. */
	vm_start(&vm, CLIENT, USER,
		VSOCK_RUN "fence-peer --make --trigger --settle=1 --rounds=20");
	wait_fence(CLIENT, 1, &told[0]);
	vm_wait_output(&vm, DAEMON, "accepted", PATIENCE_S);
	vm_start(&vm, SECOND, USER, "fence-peer --await --rounds=20 %s",
		told[0].path);
	expect_exit(SECOND, 0);
	expect_exit(CLIENT, 0);

	vm_start(&vm, CLIENT, USER,
		VSOCK_RUN "fence-peer --make --pong --rounds=200");
	wait_fence(CLIENT, 1, &told[0]);
	wait_fence(CLIENT, 2, &told[1]);
	vm_start(&vm, SECOND, USER, "fence-peer --ping --rounds=200 %s %s",
		told[0].path, told[1].path);
	expect_exit(SECOND, 0);
	expect_exit(CLIENT, 0);
	vm_signal(&vm, DAEMON, SIGTERM);
	expect_exit(DAEMON, 0);
}

Test(vm, vsock_refuses_who_was_not_named, MACHINE)
{
	vm_start(&vm, DAEMON, USER, "fenceferry host -v --listen=vsock:5000");
	vm_wait_output(&vm, DAEMON, "started", PATIENCE_S);
	vm_start(&vm, CLIENT, USER, VSOCK_RUN "fence-peer --make --await");
	expect_exit(CLIENT, ERROR);
	cr_assert(strstr(vm.inside[CLIENT].output, "fenceferry: "), "%s",
		vm.inside[CLIENT].output);
	cr_assert(strstr(vm.inside[CLIENT].output, "not allowed"), "%s",
		vm.inside[CLIENT].output);
	vm_signal(&vm, DAEMON, SIGTERM);
	expect_exit(DAEMON, 0);
}

/* Scope 1 lets only an ancestor trace. */
Test(vm, swaps_under_yamas_scope_1, MACHINE)
{
	struct told told;

	vm_start(&vm, SECOND, USER, "fence-peer --make --trigger");
	wait_fence(SECOND, 1, &told);
	cr_assert(!strncmp(told.path, "/memfd:", 7), "%s", told.path);
	vm_start(&vm, CLIENT, USER,
		"fenceferry run -- fence-peer --make --trigger");
	wait_fence(CLIENT, 1, &told);
	cr_assert(!strncmp(told.path, "/dev/shm/", 9), "%s", told.path);
	expect_exit(CLIENT, 0);
	expect_exit(SECOND, 0);
}
