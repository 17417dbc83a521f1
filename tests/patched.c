/* SPDX-License-Identifier: MIT */
/*
 * Clients with a libxshmfence that knows XSHMFENCE_NO_MEMFD, and makes its
 * fences in files of /dev/shm that have no name. It is built from Debian 13's
 * source to $FF_PATCHED_DIR by tests/patched/fetch-libxshmfence; without it these
 * tests are skipped.
 */
#include "relay.h"

#include <criterion/criterion.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* READY_FDS: of stand-ins that the supervisor makes before they are wanted. */
enum { ROUNDS = 2000, PATIENCE_MS = 20000, READY_FDS = 16 };
#define ROUNDS_OPTION "--rounds=2000"

static const char *library_dir(void)
{
	const char *dir = getenv("FF_PATCHED_DIR");
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/libxshmfence.so.1", dir ? dir : "");
	return dir && *dir && !access(path, R_OK) ? dir : NULL;
}

/* As E2E_TEST, unless the library is missing. */
#define PATCHED_TEST(suite, name) \
	static void name(void); \
	Test(suite, name##_root, .fini = e2e_end, .timeout = E2E_TIMEOUT_S) \
	{ \
		begin(false); \
		name(); \
	} \
	Test(suite, name##_user, .fini = e2e_end, .timeout = E2E_TIMEOUT_S) \
	{ \
		begin(true); \
		name(); \
	} \
	static void name(void)

static void begin(bool as_user)
{
	if (!library_dir())
		cr_skip("no library: FF_PATCHED_DIR is not what "
			"tests/patched/fetch-libxshmfence has made");
	e2e_begin(FF_TEST_XORG_FENCES, as_user);
}

/* The client's environment: "env SETTING", or "env -u NAME". */
static void set_command(struct e2e_run *run, const char *unset)
{
	static char setting[PATH_MAX + 32];
	unsigned int n = 0;

	snprintf(setting, sizeof(setting), "LD_LIBRARY_PATH=%s",
		library_dir());
	run->command[n++] = "env";
	if (unset) {
		run->command[n++] = "-u";
		run->command[n++] = unset;
	}
	run->command[n++] = setting;
	run->command[n++] = e2e_client("fence-client");
	run->command[n++] = "--maps";
	run->command[n++] = "--busy";
	run->command[n++] = ROUNDS_OPTION;
}

static void append(struct e2e_run *run, const char *argument)
{
	unsigned int n = 0;

	while (run->command[n])
		n++;
	run->command[n] = argument;
}

static void check_content(const struct e2e_run *run)
{
	e2e_check(run, e2e_exited(run, 0), "the client is content");
	e2e_check(run, strstr(run->output, "OK\n"), "the client says so");
}

static bool starts_with(const char *text, const char *start)
{
	return !strncmp(text, start, strlen(start));
}

/* Where the fence was. */
static struct e2e_mapping mapping(const struct e2e_run *run, const char *when)
{
	char label[64];
	struct e2e_mapping at;

	snprintf(label, sizeof(label), "fence %s crossing: ", when);
	e2e_read_mapping(run->output, label, &at);
	return at;
}

/* The library's own file all the time, which never had a name. */
static void check_own_file(const struct e2e_run *run)
{
	struct e2e_mapping before = mapping(run, "before");
	struct e2e_mapping after = mapping(run, "after");

	e2e_check(run, starts_with(before.path, "/dev/shm/#"),
		"before, it is a file of /dev/shm without a name");
	e2e_check(run, before.inode == after.inode &&
			!strcmp(before.path, after.path),
		"afterwards, it is the same");
}

/* What the log has of a fence that was not swapped. */
static void check_not_swapped(
	const struct e2e_run *run, const char *action, const char *reason)
{
	json_t *crossing = e2e_event(run, "crossing", 0);

	e2e_check_log(run, 0, !strcmp(action, "left"),
		!strcmp(action, "failed"));
	e2e_check(run, !strcmp(e2e_text(crossing, "action"), action) &&
			!strcmp(e2e_text(crossing, "kind"), "shm"),
		"the log tells of the file");
	e2e_check(run, strstr(e2e_text(crossing, "reason"), reason), reason);
}

static void check_left(const struct e2e_run *run, const char *reason)
{
	check_not_swapped(run, "left", reason);
	e2e_check(run, e2e_count(run, "engine", "engine", "none") == 1 &&
			!e2e_event(run, "engine", 1) &&
			strstr(e2e_text(e2e_event(run, "engine", 0), "reason"),
				library_dir()),
		"the decision is told once, and the library named");
}

/* What the log has of one that was swapped, and where it is now. */
static void check_swapped(
	const struct e2e_run *run, const char *engine, const char *start)
{
	struct e2e_mapping after = mapping(run, "after");
	json_t *swap = e2e_event(run, "swap", 0);

	e2e_check_log(run, 1, 0, 0);
	e2e_check(run, !strcmp(e2e_text(swap, "engine"), engine),
		"it is the engine that was expected");
	e2e_check(run, starts_with(after.path, e2e_shm_dir()) &&
			starts_with(strrchr(after.path, '/') + 1, start),
		"it is a file in the shm dir");
}

PATCHED_TEST(control, bare_its_fences_are_memfds_unless_it_is_told)
{
	struct e2e_run memfd = {0}, file = {
		.setting = "XSHMFENCE_NO_MEMFD=1"};

	set_command(&memfd, "XSHMFENCE_NO_MEMFD");
	e2e_do(&memfd);
	check_content(&memfd);
	e2e_check(&memfd, starts_with(mapping(&memfd, "before").path,
		"/memfd:xshmfence"), "it is a memfd");
	set_command(&file, NULL);
	e2e_do(&file);
	check_content(&file);
	check_own_file(&file);
}

/* The control: without the variable it is no other than its predecessors. */
PATCHED_TEST(control, when_not_told_its_memfds_are_swapped)
{
	struct e2e_run run = {.wrapped = true, .options = {"--engine=ptrace"}};

	set_command(&run, "XSHMFENCE_NO_MEMFD");
	e2e_do(&run);
	check_content(&run);
	e2e_check(&run, starts_with(mapping(&run, "before").path,
		"/memfd:xshmfence"), "it is a memfd");
	check_swapped(&run, "ptrace", "#");
}

PATCHED_TEST(patched, its_files_cross_as_they_are)
{
	struct e2e_run run = {.wrapped = true};

	set_command(&run, NULL);
	e2e_do(&run);
	check_content(&run);
	check_own_file(&run);
	check_left(&run, "in the shm dir already");
	e2e_check(&run, !*run.errors, "nobody complains");
}

/* A file elsewhere than in the shm dir's file system is not what the host has
 * there. */
Test(patched, a_shm_dir_elsewhere_gets_them_swapped, .fini = e2e_end,
	.timeout = E2E_TIMEOUT_S)
{
	struct e2e_run run = {.wrapped = true, .tmpfs_size = "1m"};

	begin(false);
	set_command(&run, NULL);
	e2e_do(&run);
	check_content(&run);
	e2e_check(&run, starts_with(mapping(&run, "before").path,
		"/dev/shm/#"), "before, it is the library's");
	check_swapped(&run, "ptrace", "#");
}

static void check_slept(const struct e2e_run *run)
{
	const char *slept = strstr(run->output, "us each, ");

	check_content(run);
	e2e_check(run, slept && atol(strchr(slept, ',') + 1) > 0,
		"the client slept in its rounds");
}

static void check_relayed(const struct e2e_run *run)
{
	check_slept(run);
	e2e_check(run, e2e_number(e2e_event(run, "exit", 0),
		"wakes_from_host") > 0, "the host's end woke it");
	e2e_check(run, !*run->errors, "nobody complains");
}

PATCHED_TEST(relay, on_one_kernel_its_files_are_relayed_by_fd)
{
	struct e2e_run run = {.wrapped = true,
		.options = {"--isolate", relay_option()}};
	struct relay_host host;

	relay_host_start(&host, NULL);
	set_command(&run, NULL);
	e2e_do(&run);
	check_relayed(&run);
	check_own_file(&run);
	check_left(&run, "in the shm dir already");
	relay_host_stop(&host);
}

PATCHED_TEST(relay, another_host_gets_their_fds_anew)
{
	struct e2e_run run = {.wrapped = true,
		.options = {"--isolate", relay_option()}};
	struct relay_host host;

	relay_host_start(&host, NULL);
	set_command(&run, NULL);
	append(&run, "--pause");
	e2e_start(&run);
	e2e_await(&run, "pause: start");
	e2e_go_on(&run);
	e2e_await(&run, "pause: middle");
	relay_host_kill(&host);
	relay_host_start(&host, NULL);
	e2e_go_on(&run);
	e2e_await(&run, "pause: end");
	e2e_go_on(&run);
	e2e_finish(&run);
	check_slept(&run);
	check_own_file(&run);
	e2e_check(&run, strstr(run.errors, "the relay is back"),
		"fenceferry says so");
	relay_host_stop(&host);
}

/* Wait until a process has no more than it had before. */
static void await_usage(const struct e2e_run *run, const char *who, pid_t pid,
	const struct e2e_usage *before)
{
	long long deadline = e2e_now_ms() + PATIENCE_MS;
	struct e2e_usage now;
	char what[128];

	do {
		usleep(20000);
		e2e_usage(pid, &now);
	} while ((now.fds > before->fds || now.shared > before->shared) &&
		 e2e_now_ms() < deadline);
	snprintf(what, sizeof(what), "%s keeps nothing: fds %u, then %u", who,
		before->fds, now.fds);
	e2e_check(run, now.fds <= before->fds && now.shared <= before->shared,
		what);
}

PATCHED_TEST(relay, by_fd_they_leave_nothing_behind)
{
	struct e2e_run run = {.wrapped = true,
		.options = {"--isolate", relay_option()}};
	struct relay_host host;
	struct e2e_usage supervisor, daemon;

	relay_host_start(&host, NULL);
	set_command(&run, NULL);
	append(&run, "--pause");
	append(&run, "--fences=500");
	e2e_start(&run);
	e2e_await(&run, "pause: start");
	e2e_go_on(&run);
	e2e_await(&run, "pause: middle");
	relay_await_accepted(&run, 1);
	e2e_usage(e2e_child_of(run.pid), &supervisor);
	e2e_usage(host.run.pid, &daemon);
	e2e_check(&run, daemon.fds > 0, "the host's end lives");
	/* What was made ready may be made ready later. */
	supervisor.fds += READY_FDS;
	e2e_go_on(&run);
	e2e_await(&run, "pause: end");
	await_usage(&run, "the supervisor", e2e_child_of(run.pid), &supervisor);
	await_usage(&run, "the host's end", host.run.pid, &daemon);
	e2e_go_on(&run);
	e2e_finish(&run);
	check_content(&run);
	/* The first, one to warm up, and those. */
	e2e_check_log(&run, 0, 502, 0);
	relay_host_stop(&host);
}

/* A line that carries bytes and nothing else, such as a virtio-serial port. */
struct line {
	char address[2][PATH_MAX]; /* of its ends, for both of fenceferry's */
	int listener[2];
	pthread_t thread;
};

/* Until one end is closed. */
static void *carry(void *argument)
{
	struct line *line = argument;
	struct pollfd end[2];
	bool open;

	for (int i = 0; i < 2; i++)
		end[i] = (struct pollfd){.events = POLLIN,
			.fd = accept4(line->listener[i], NULL, NULL,
				SOCK_CLOEXEC)};
	open = end[0].fd >= 0 && end[1].fd >= 0;
	while (open && poll(end, 2, -1) > 0)
		for (int i = 0; i < 2 && open; i++) {
			char bytes[4096];
			ssize_t size = end[i].revents ?
				read(end[i].fd, bytes, sizeof(bytes)) : -1;

			if (end[i].revents)
				open = size > 0 && send(end[!i].fd, bytes,
					(size_t)size, MSG_NOSIGNAL) == size;
		}
	close(end[0].fd);
	close(end[1].fd);
	return NULL;
}

static void line_make(struct line *line)
{
	for (int i = 0; i < 2; i++) {
		struct sockaddr_un address = {.sun_family = AF_UNIX};

		line->listener[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC,
			0);
		snprintf(address.sun_path, sizeof(address.sun_path),
			"%.90s/line%d", e2e_dir(), i);
		snprintf(line->address[i], sizeof(line->address[i]),
			"--%s=char:%s", i ? "listen" : "relay",
			address.sun_path);
		cr_assert(!bind(line->listener[i], (struct sockaddr *)&address,
				sizeof(address)) &&
			!chmod(address.sun_path, 0666) &&
			!listen(line->listener[i], 1));
	}
	cr_assert(!pthread_create(&line->thread, NULL, carry, line));
}

/* Who has not come by now, will not. */
static void line_close(struct line *line)
{
	for (int i = 0; i < 2; i++)
		shutdown(line->listener[i], SHUT_RDWR);
	pthread_join(line->thread, NULL);
	for (int i = 0; i < 2; i++)
		close(line->listener[i]);
}

/* Run the client with a relay that no fd can cross. */
static void run_without_fds(struct e2e_run *run, const char *engine)
{
	struct relay_host host;
	static struct line line;

	line_make(&line);
	relay_host_start_at(&host, line.address[1], NULL);
	run->wrapped = true;
	run->options[0] = "--isolate";
	run->options[1] = line.address[0];
	run->options[2] = engine;
	set_command(run, NULL);
	e2e_do(run);
	line_close(&line);
	relay_host_stop(&host);
}

PATCHED_TEST(relay, where_no_fd_can_go_its_files_get_names)
{
	struct e2e_run run = {0};

	run_without_fds(&run, NULL);
	check_relayed(&run);
	e2e_check(&run, starts_with(mapping(&run, "before").path,
		"/dev/shm/#"), "before, it is the library's");
	check_swapped(&run, "ptrace", "fenceferry-");
}

PATCHED_TEST(relay, nor_without_ptrace_and_that_is_said)
{
	struct e2e_run run = {0};

	run_without_fds(&run, "--engine=notify");
	check_content(&run);
	check_own_file(&run);
	check_not_swapped(&run, "failed", "a file without a name");
	e2e_check(&run, strstr(run.errors, "a file without a name"),
		"fenceferry complains");
}
