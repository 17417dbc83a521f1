/* SPDX-License-Identifier: MIT */
#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHILDREN_MAX = 16, WORDS_MAX = 32, LINE_SIZE = 1024, PAGE = 4096 };

/* What was read and is not yet a whole line. */
struct lines {
	int fd;
	size_t size;
	char text[LINE_SIZE];
};

struct child {
	pid_t pid; /* 0: unused */
	bool ended;
	int status;
	struct lines output; /* fd -1: at its end */
};

static struct child children[CHILDREN_MAX];
static int control_fd;

__attribute__((format(printf, 2, 3))) static void tell(
	int fd, const char *format, ...)
{
	char line[LINE_SIZE + 64];
	size_t size, done = 0;
	va_list args;

	va_start(args, format);
	vsnprintf(line, sizeof(line) - 1, format, args);
	va_end(args);
	size = strlen(line);
	line[size++] = '\n';
	while (done < size) {
		ssize_t n = write(fd, line + done, size - done);

		if (n < 0 && errno != EINTR)
			ff_guest_die("cannot write: %s", strerror(errno));
		done += n > 0 ? (size_t)n : 0;
	}
}

/* Read, and give each line, which may be changed, to take. False at the end. */
static bool read_lines(
	struct lines *lines, void (*take)(void *context, char *line),
	void *context)
{
	char *end;
	ssize_t n = read(lines->fd, lines->text + lines->size,
		sizeof(lines->text) - 1 - lines->size);

	if (n <= 0)
		return n < 0 && (errno == EINTR || errno == EAGAIN);
	lines->size += (size_t)n;
	lines->text[lines->size] = '\0';
	while ((end = strchr(lines->text, '\n')) ||
		lines->size == sizeof(lines->text) - 1) {
		size_t used = end ? (size_t)(end - lines->text) + 1
				  : lines->size;

		if (end)
			*end = '\0';
		take(context, lines->text);
		lines->size -= used;
		memmove(lines->text, lines->text + used, lines->size + 1);
	}
	return true;
}

static _Noreturn void run_child(uid_t uid, char **argv, int out)
{
	sigset_t none;

	clearenv();
	setenv("PATH", "/bin", 1);
	setenv("DISPLAY", ":0", 1);
	setenv("HOME", "/tmp", 1);
	setenv("LC_ALL", "C", 1);
	setenv("ASAN_OPTIONS", "detect_leaks=0", 1);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setsid();
	dup2(open("/dev/null", O_RDONLY), STDIN_FILENO);
	dup2(out, STDOUT_FILENO);
	dup2(out, STDERR_FILENO);
	if (setgroups(0, NULL) < 0 || setgid(uid) < 0 || setuid(uid) < 0)
		_exit(126);
	execvp(argv[0], argv);
	fprintf(stderr, "%s: %s\n", argv[0], strerror(errno));
	_exit(127);
}

static void start(struct child *child, uid_t uid, char **argv)
{
	int fds[2];

	if (child->pid || pipe2(fds, O_CLOEXEC) < 0)
		ff_guest_die("cannot start %s", argv[0]);
	*child = (struct child){.output.fd = fds[0]};
	child->pid = fork();
	if (child->pid < 0)
		ff_guest_die("fork: %s", strerror(errno));
	if (child->pid == 0)
		run_child(uid, argv, fds[1]);
	close(fds[1]);
}

static void take_command(void *context, char *line)
{
	char *words[WORDS_MAX + 1] = {0}, *rest = line;
	unsigned int tag;
	int count = 0;

	(void)context;
	while (count < WORDS_MAX && (words[count] = strsep(&rest, " ")))
		count++;
	if (!strcmp(words[0], "off"))
		ff_guest_die("off, as was asked for");
	if (!strcmp(words[0], "kill") && count == 3) {
		kill(atoi(words[1]), atoi(words[2]));
		return;
	}
	tag = count > 2 ? (unsigned int)atoi(words[1]) : CHILDREN_MAX;
	if (tag >= CHILDREN_MAX)
		ff_guest_die("not understood: %s", line);
	if (!strcmp(words[0], "start") && count > 3)
		start(&children[tag], (uid_t)atoi(words[2]), words + 3);
	else if (!strcmp(words[0], "signal") && children[tag].pid)
		kill(children[tag].pid, atoi(words[2]));
}

static int find_page(int fd, uint64_t *page)
{
	struct {
		struct fiemap map;
		struct fiemap_extent extent;
	} request = {.map = {.fm_length = PAGE,
			     .fm_flags = FIEMAP_FLAG_SYNC,
			     .fm_extent_count = 1}};
	uint32_t *word = mmap(
		NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (word == MAP_FAILED)
		return errno;
	/* The first write zeroes the block. It must not come after one of the
	 * host's, which writes behind the file system's back. */
	__atomic_fetch_or(word, 0, __ATOMIC_SEQ_CST);
	munmap(word, PAGE);
	if (ioctl(fd, FS_IOC_FIEMAP, &request) < 0)
		return errno;
	if (!request.map.fm_mapped_extents ||
		request.extent.fe_flags & FIEMAP_EXTENT_UNWRITTEN ||
		request.extent.fe_physical % PAGE)
		return EIO;
	*page = request.extent.fe_physical / PAGE;
	return 0;
}

static void take_question(void *context, char *line)
{
	static const char question[] = "where ";
	int fd, err = EINVAL, answer_to = *(int *)context;
	uint64_t page = 0;

	if (!strncmp(line, question, sizeof(question) - 1)) {
		fd = open(line + sizeof(question) - 1, O_RDWR | O_CLOEXEC);
		err = fd < 0 ? errno : find_page(fd, &page);
		if (fd >= 0)
			close(fd);
	}
	if (err)
		tell(answer_to, "failed %d", err);
	else
		tell(answer_to, "page %llu", (unsigned long long)page);
}

static void take_output(void *context, char *line)
{
	const struct child *child = context;

	tell(control_fd, "out %d %s", (int)(child - children), line);
}

static void reap(void)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		for (int i = 0; i < CHILDREN_MAX; i++)
			if (children[i].pid == pid) {
				children[i].ended = true;
				children[i].status = WIFEXITED(status)
					? WEXITSTATUS(status)
					: 128 + WTERMSIG(status);
			}
}

/* Those that have ended, and so has their output. What a daemon of theirs may
 * still write is nobody's. */
static void tell_ends(void)
{
	for (int i = 0; i < CHILDREN_MAX; i++)
		if (children[i].ended && children[i].output.fd < 0) {
			children[i].pid = 0;
			children[i].ended = false;
			tell(control_fd, "exit %d %d", i, children[i].status);
		}
}

static void on_child(int sig)
{
	(void)sig;
}

static void serve_children(const struct pollfd *polls)
{
	for (int i = 0; i < CHILDREN_MAX; i++) {
		struct lines *output = &children[i].output;

		if (!polls[i].revents ||
			read_lines(output, take_output, &children[i]))
			continue;
		if (output->size) {
			output->text[output->size] = '\0';
			take_output(&children[i], output->text);
		}
		close(output->fd);
		output->fd = -1;
	}
}

void ff_guest_serve(int control, int pages)
{
	static struct lines commands, questions;
	struct sigaction action = {.sa_handler = on_child};
	sigset_t block, wait;

	control_fd = commands.fd = control;
	questions.fd = pages;
	for (int i = 0; i < CHILDREN_MAX; i++)
		children[i].output.fd = -1;
	sigaction(SIGCHLD, &action, NULL);
	sigemptyset(&block);
	sigaddset(&block, SIGCHLD);
	sigprocmask(SIG_BLOCK, &block, &wait);
	tell(control, "ready");
	for (;;) {
		struct pollfd polls[CHILDREN_MAX + 2] = {0};

		for (int i = 0; i < CHILDREN_MAX; i++)
			polls[i] = (struct pollfd){
				.fd = children[i].output.fd, .events = POLLIN};
		polls[CHILDREN_MAX] =
			(struct pollfd){.fd = control, .events = POLLIN};
		polls[CHILDREN_MAX + 1] =
			(struct pollfd){.fd = pages, .events = POLLIN};
		if (ppoll(polls, CHILDREN_MAX + 2, NULL, &wait) < 0)
			memset(polls, 0, sizeof(polls));
		serve_children(polls);
		if (polls[CHILDREN_MAX].revents & POLLIN)
			read_lines(&commands, take_command, NULL);
		if (polls[CHILDREN_MAX + 1].revents & POLLIN)
			read_lines(&questions, take_question, &pages);
		reap();
		tell_ends();
	}
}
