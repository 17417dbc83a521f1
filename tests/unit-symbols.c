/* SPDX-License-Identifier: MIT */
/* src/symbols and src/inject/snapshot: what is named, of honest processes and of
 * others. */
#include "clock.h"
#include "inject/snapshot.h"
#include "symbols.h"

#include <criterion/criterion.h>
#include <ctype.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#define TIMEOUT .timeout = 60

enum { MUTATIONS = 80, CUTS = 200 };

static pid_t child;

static __attribute__((noinline, noclone)) void stand_still(void)
{
	for (;;)
		pause();
}

/* By a name as C++ has them: void outer::inner(int). */
static __attribute__((noinline, noclone)) void stand_in_cpp(int depth)
	__asm__("_ZN5outer5innerEi");
static __attribute__((noinline, noclone)) void stand_in_cpp(int depth)
{
	stand_still();
	(void)depth;
	__asm__ volatile(""); /* no last call */
}

/* A child that stands still in functions of known names. */
static struct ff_snapshot *take(void)
{
	struct ff_snapshot *snapshot = NULL;
	struct ff_error error = { 0 };

	child = fork();
	cr_assert(child >= 0);
	if (!child) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		stand_in_cpp(0);
		_exit(1);
	}
	/* It may still be on its way. */
	for (int i = 0; i < 2000; i++) {
		const char *end;
		json_t *frames;
		char *text;
		bool found;

		ff_snapshot_unref(snapshot);
		snapshot = ff_snapshot_peek(child, child, 0, &error);
		cr_assert(snapshot || error.err == EBUSY, "%s", error.text);
		if (!snapshot || ff_symbols_name(snapshot, &frames, &end) < 0)
			continue;
		text = json_dumps(frames, 0);
		found = strstr(text, "\"stand_still\"") != NULL;
		free(text);
		json_decref(frames);
		if (found)
			return snapshot;
		usleep(1000);
	}
	cr_assert_fail("the child does not come to stand still");
	return NULL;
}

static void end(void)
{
	if (child > 0) {
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
	}
}

static const char *symbol_of(const json_t *frames, size_t i)
{
	const char *symbol = json_string_value(json_object_get(
		json_array_get(frames, i), "symbol"));

	return symbol ? symbol : "";
}

/* That of the frame at this ip, "" if there is none. */
static const char *symbol_at(const json_t *frames, const char *ip)
{
	for (size_t i = 0; i < json_array_size(frames); i++)
		if (!strcmp(json_string_value(json_object_get(
			    json_array_get(frames, i), "ip")), ip))
			return symbol_of(frames, i);
	return "";
}

Test(symbols, leads_from_the_call_to_the_start, TIMEOUT, .fini = end)
{
	struct ff_snapshot *peeked = take(), *snapshot;
	struct ff_hold hold = { 0 };
	struct ff_error error;
	bool interrupted;
	const char *why;
	json_t *frames;
	char *text;

	/* With all registers: this may be built with frame pointers. */
	snapshot = ff_snapshot_stop(&hold, child, child, &interrupted, &error);
	cr_assert(snapshot, "%s", error.text);
	ff_hold_free(&hold);
	cr_expect_eq(snapshot->sp, peeked->sp);
	cr_expect(ff_snapshot_is_current(peeked));
	ff_snapshot_unref(peeked);
	cr_assert_eq(ff_symbols_name(snapshot, &frames, &why), 0);
	cr_expect_null(why, "%s", why);
	cr_expect_str_eq(symbol_of(frames, json_array_size(frames) - 1),
		"_start");
	text = ff_symbols_print(frames, "cut\x1b[31m\xc2\x9b");
	cr_expect(strstr(text, " stand_still+0x"), "%s", text);
	cr_expect(strstr(text, " in unit-symbols at unit-symbols.c:"), "%s",
		text);
	/* Readable, where C++ is installed. */
	cr_expect(strstr(text, dlopen("libstdc++.so.6", RTLD_LAZY) ?
		" outer::inner(int)+0x" : " _ZN5outer5innerEi+0x"), "%s",
		text);
	/* No terminal is to obey a client. */
	cr_expect(strstr(text, "    ... cut?[31m?\n"), "%s", text);
	free(text);
	json_decref(frames);
	ff_snapshot_unref(snapshot);
}

static void set_maps(struct ff_snapshot *snapshot, const char *text)
{
	free(snapshot->maps);
	snapshot->maps = strdup(text);
	snapshot->maps_size = strlen(text);
}

Test(symbols, are_none_where_nothing_sensible_is_mapped, TIMEOUT, .fini = end)
{
	static const char *const texts[] = {
		"", "\n", "\n\n\n", "garbage", "-", "0-", "0-0 r-xp 0 0:0 0 /",
		"0-ffffffffffffffff r-xp 0 0:0 1 /\n",
		"0-ffffffffffffffff r-xp 0 0:0 1 /dev/zero\n",
		"0-ffffffffffffffff r-xp ffffffffffffffff ff:ff 9 /dev/mem\n",
		"0-ffffffffffffffff r-xp 0 0:0 0 [vdso]\n",
		"ffffffffffffffff-0 r-xp 0 0:0 1 /etc/passwd\n",
		"1000-2000 r-xp 0 0:0 1 /a\n1000-2000 r-xp 0 0:0 1 /a\n"
		"0-3000 r-xp 0 0:0 1 /a\n1800-ffffffffffff r-xp 0 0:0 1 /a\n",
		"0-ffffffffffffffff rwxp 00000000 00:00 0 \\012\\012\n",
	};
	struct ff_snapshot *snapshot = take();

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		const char *why;
		json_t *frames;

		set_maps(snapshot, texts[i]);
		cr_assert_eq(ff_symbols_name(snapshot, &frames, &why), 0);
		cr_expect_eq(json_array_size(frames), 1, "%s", texts[i]);
		cr_expect_str_empty(symbol_of(frames, 0), "%s", texts[i]);
		cr_expect(why, "%s", texts[i]);
		json_decref(frames);
	}
	ff_snapshot_unref(snapshot);
}

/* A digit of an address or offset of a file that is in the stack. */
static size_t pick_digit(const char *maps, unsigned int *seed)
{
	for (;;) {
		const char *line, *end;
		size_t at;

		*seed = *seed * 1103515245u + 12345u;
		at = (*seed >> 8) % strlen(maps);
		for (line = maps + at; line > maps && line[-1] != '\n'; line--)
			;
		end = strchr(line, '\n');
		if (end && isxdigit(maps[at]) && maps + at < line + 34 &&
			(memmem(line, (size_t)(end - line), "/unit-symbols",
				 13) ||
				memmem(line, (size_t)(end - line), "/libc.so",
					8)))
			return at;
	}
}

/* A digit of the text is another: what is named nevertheless is right. */
Test(symbols, are_right_or_none_if_maps_lies, TIMEOUT, .fini = end)
{
	struct ff_snapshot *snapshot = take();
	char *honest = strdup(snapshot->maps);
	unsigned int seed = 1, named = 0;
	const char *why;
	json_t *truth;

	cr_assert_eq(ff_symbols_name(snapshot, &truth, &why), 0);
	for (int i = 0; i < MUTATIONS; i++) {
		json_t *frames;
		size_t at;

		set_maps(snapshot, honest);
		at = pick_digit(honest, &seed);
		snapshot->maps[at] = "0123456789abcdef"[(seed >> 20) % 16];
		cr_assert_eq(ff_symbols_name(snapshot, &frames, &why), 0);
		cr_expect(json_array_size(frames) >= 1);
		for (size_t j = 0; j < json_array_size(frames); j++) {
			const char *ip = json_string_value(json_object_get(
				json_array_get(frames, j), "ip"));

			if (!*symbol_of(frames, j))
				continue;
			named++;
			cr_expect_str_eq(symbol_at(frames, ip),
				symbol_at(truth, ip));
		}
		json_decref(frames);
	}
	cr_expect(named > MUTATIONS, "many are named");
	json_decref(truth);
	free(honest);
	ff_snapshot_unref(snapshot);
}

/* A FIFO in the file's place must not be waited for. */
Test(symbols, do_not_wait_for_files_that_are_none, TIMEOUT, .fini = end)
{
	struct ff_snapshot *snapshot = take();
	char path[] = "/tmp/ff-test-symbols-XXXXXX", text[128];
	const char *why;
	json_t *frames;
	struct stat st;

	cr_assert(mkdtemp(path) && !rmdir(path) && !mkfifo(path, 0600) &&
		!stat(path, &st));
	snprintf(text, sizeof(text),
		"0-7fffffffffff r-xp 0 %02x:%02x %lu %s\n",
		(unsigned int)(st.st_dev >> 8 & 0xff),
		(unsigned int)(st.st_dev & 0xff), (unsigned long)st.st_ino,
		path);
	set_maps(snapshot, text);
	cr_assert_eq(ff_symbols_name(snapshot, &frames, &why), 0);
	cr_expect_str_empty(symbol_of(frames, 0));
	json_decref(frames);
	unlink(path);
	ff_snapshot_unref(snapshot);
}

/* The same program at the same place, but not the file that is mapped. */
Test(symbols, are_not_taken_from_another_file, TIMEOUT, .fini = end)
{
	struct ff_snapshot *snapshot = take();
	char path[] = "/tmp/ff-test-symbols-XXXXXX", self[4096], text[4400];
	int fd = mkstemp(path);
	ssize_t size = readlink("/proc/self/exe", self, sizeof(self) - 1);
	const char *why;
	json_t *frames;
	char *maps, *at, *more;

	cr_assert(fd >= 0 && size > 0);
	self[size] = '\0';
	snprintf(text, sizeof(text), "cp %s %s", self, path);
	cr_assert_eq(system(text), 0);
	/* Every line of it by the other name. */
	maps = strdup(snapshot->maps);
	while ((at = strstr(maps, self))) {
		cr_assert(asprintf(&more, "%.*s%s%s", (int)(at - maps), maps,
			path, at + strlen(self)) > 0);
		free(maps);
		maps = more;
	}
	set_maps(snapshot, maps);
	/* One of which nothing is known yet. */
	snapshot->pid = getpid();
	cr_assert_eq(ff_symbols_name(snapshot, &frames, &why), 0);
	cr_expect(why);
	at = json_dumps(frames, 0);
	cr_expect(!strstr(at, "stand_still") && strstr(at, "another file"),
		"%s", at);
	free(at);
	free(maps);
	json_decref(frames);
	close(fd);
	unlink(path);
	ff_snapshot_unref(snapshot);
}

/* The lines of maps that are of this file, as if they were of that one. */
static char *maps_of(const char *maps, const char *file, const char *other)
{
	struct stat st;
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	cr_assert(out && !stat(other, &st));
	for (const char *line = maps; *line; line = strchr(line, '\n') + 1) {
		const char *at = strchr(line, '/');

		if (at && at < strchr(line, '\n') &&
			!strncmp(at, file, strlen(file)))
			/* START-END PERM OFFSET */
			fprintf(out, "%.*s %02x:%02x %lu %s\n",
				(int)(strchr(strchr(strchr(line, ' ') + 1,
					' ') + 1, ' ') - line), line,
				major(st.st_dev), minor(st.st_dev),
				(unsigned long)st.st_ino, other);
	}
	fclose(out);
	return text;
}

/* Root reads what the client may read. */
Test(symbols, are_taken_with_the_rights_of_the_client, TIMEOUT, .fini = end)
{
	struct ff_snapshot *snapshot;
	char path[] = "/tmp/ff-test-symbols-XXXXXX", self[4096], text[4400];
	ssize_t size = readlink("/proc/self/exe", self, sizeof(self) - 1);
	const char *why;
	json_t *frames;
	char *maps;

	if (geteuid() != 0)
		cr_skip("needs root");
	snapshot = take();
	cr_assert(size > 0 && mkstemp(path) >= 0);
	self[size] = '\0';
	snprintf(text, sizeof(text), "cp %s %s && chmod 600 %s", self, path,
		path);
	cr_assert_eq(system(text), 0);
	maps = maps_of(snapshot->maps, self, path);
	set_maps(snapshot, maps);
	/* Where it lies in that file. */
	snapshot->ip = (uintptr_t)stand_still;
	for (int i = 0; i < 2; i++) {
		/* One of which nothing is known yet. */
		snapshot->pid = i ? getppid() : getpid();
		snapshot->uid = snapshot->gid = i ? 0 : 65534;
		cr_assert_eq(ff_symbols_name(snapshot, &frames, &why), 0);
		cr_expect_str_eq(symbol_of(frames, 0), i ? "stand_still" : "");
		json_decref(frames);
	}
	/* And has its own again. */
	cr_expect(!access(path, R_OK) && open(path, O_RDONLY) >= 0);
	free(maps);
	unlink(path);
	ff_snapshot_unref(snapshot);
}

Test(snapshot, comes_back_from_a_file_whole_or_not_at_all, TIMEOUT,
	.fini = end)
{
	struct ff_snapshot *snapshot = take(), *copy;
	int file = memfd_create("snapshot", MFD_CLOEXEC);
	off_t size;

	cr_assert_eq(ff_snapshot_write(snapshot, file), 0);
	size = lseek(file, 0, SEEK_CUR);
	lseek(file, 0, SEEK_SET);
	copy = ff_snapshot_read(file);
	cr_assert(copy);
	cr_expect_str_eq(copy->maps, snapshot->maps);
	cr_expect_eq(copy->sp, snapshot->sp);
	cr_expect_eq(copy->stack_size, snapshot->stack_size);
	cr_expect_arr_eq(copy->stack, snapshot->stack, copy->stack_size);
	ff_snapshot_unref(copy);
	for (int i = 1; i <= CUTS; i++) {
		cr_assert_eq(ftruncate(file, size - size * i / CUTS), 0);
		lseek(file, 0, SEEK_SET);
		cr_expect_null(ff_snapshot_read(file), "cut %d", i);
	}
	/* Sizes that nothing has. */
	cr_assert_eq(ftruncate(file, 0), 0);
	lseek(file, 0, SEEK_SET);
	for (int i = 0; i < 4096; i++)
		cr_assert_eq(write(file, "\xff", 1), 1);
	lseek(file, 0, SEEK_SET);
	cr_expect_null(ff_snapshot_read(file));
	close(file);
	ff_snapshot_unref(snapshot);
}

Test(snapshot, is_refused_of_who_runs_or_is_gone, TIMEOUT)
{
	struct ff_error error = { 0 };
	pid_t pid = fork();

	cr_assert(pid >= 0);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			__asm__ volatile("");
	}
	cr_expect_null(ff_snapshot_peek(pid, pid, 0, &error));
	cr_expect_eq(error.err, EBUSY, "%s", error.text);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	cr_expect_null(ff_snapshot_peek(pid, pid, 0, &error));
	cr_expect(error.err == ENOENT || error.err == ESRCH, "%s", error.text);
}

/* Whoever gets on with one after the other does not hang, however long the last
 * has waited. */
Test(symbols, that_wait_for_their_turn_are_waited_for, TIMEOUT, .fini = end)
{
	const uint64_t long_ago = ff_now_ns() - 20000000000u;
	struct ff_symbols_ledger ledger = { .sent = 2 };
	struct ff_symbols symbols = { .ledger = &ledger, .first = 1 };
	struct ff_symbols_event event;
	int pair[2];

	child = fork();
	cr_assert(child >= 0);
	if (!child)
		stand_still();
	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	symbols.socket = pair[0];
	symbols.pidfd = pidfd_open(child, 0);
	cr_assert(symbols.pidfd >= 0);
	for (uint64_t i = 1; i <= 2; i++)
		symbols.pending[i] = (struct ff_symbols_event){ .number = i,
			.sent_ns = long_ago, .line = strdup("{}") };
	ledger.written = 1;
	cr_expect_not(ff_symbols_take_back(&symbols, &event));
	cr_expect_eq(symbols.first, 2);
	cr_expect_null(symbols.why_gone);
	/* With the second one it does. */
	symbols.moved_ns = long_ago;
	cr_assert(ff_symbols_take_back(&symbols, &event));
	cr_expect_eq(event.number, 2);
	cr_expect_str_eq(event.line, "{}");
	free(event.line);
	close(pair[1]);
	close(symbols.pidfd);
}
