/* SPDX-License-Identifier: MIT */
#include "machine.h"

#include "clock.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Emulated, on a machine that may have much else to do. */
enum { BOOT_TRIES = 3, ANSWER_S = 20, END_MS = 3000, SHM_MIB = 16 };

#define SECOND_NS 1000000000ull

void vm_show(const struct vm *vm)
{
	char command[160];

	snprintf(command, sizeof(command),
		"cd %s && for f in console *.out; do echo \"-- $f\"; "
		"[ ! -e $f ] || tail -n 20 $f; done >&2", vm->dir);
	if (system(command))
		cr_log_warn("cannot show the guest's console");
	for (int i = 0; i < VM_TAGS; i++)
		if (*vm->inside[i].output)
			cr_log_warn("in the guest, %d:\n%s", i,
				vm->inside[i].output);
}

__attribute__((format(printf, 2, 3))) static _Noreturn void fail(
	struct vm *vm, const char *format, ...)
{
	char text[512];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	vm_show(vm);
	vm_end(vm);
	cr_assert_fail("%s", text);
	abort();
}

/* Remove the directory as soon as nobody has the other end of the pipe. */
static _Noreturn void keep(const char *dir, int pipe_fd)
{
	char command[100], byte;
	sigset_t all;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	setsid();
	/* The test's runner waits for the end of its output. */
	dup2(pipe_fd, STDIN_FILENO);
	close_range(STDERR_FILENO + 1, ~0U, 0);
	close(STDOUT_FILENO);
	close(STDERR_FILENO);
	while (read(STDIN_FILENO, &byte, 1) < 0 && errno == EINTR)
		;
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	_exit(system(command) != 0);
}

static void make_dir(struct vm *vm)
{
	char command[300];
	int fds[2];

	strcpy(vm->dir, "/dev/shm/fenceferry-vm-XXXXXX");
	cr_assert_not_null(mkdtemp(vm->dir), "mkdtemp: %s", strerror(errno));
	cr_assert(pipe2(fds, O_CLOEXEC) == 0);
	switch (fork()) {
	case -1:
		cr_assert_fail("fork: %s", strerror(errno));
		break;
	case 0:
		close(fds[1]);
		keep(vm->dir, fds[0]);
	default:
		close(fds[0]);
		vm->keeper = fds[1];
	}
	snprintf(command, sizeof(command),
		"cd %s && mkdir pages shm && truncate -s %dM F && "
		"PATH=$PATH:/sbin:/usr/sbin "
		"mkfs.ext4 -q -F -b 4096 -O ^has_journal F && "
		"cat \"$%s/modules.cpio\" \"$%s\" >initrd",
		vm->dir, SHM_MIB, vm->kind->kernel, vm->kind->guest);
	cr_assert(system(command) == 0, "cannot prepare %s", vm->dir);
}

static void make_channel(int *ours, int *qemus)
{
	int fds[2];

	cr_assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
	*ours = fds[0];
	*qemus = fds[1];
}

const struct vm_kind vm_x86_64 = {
	.kernel = "FF_VM_KERNEL",
	.guest = "FF_VM_GUEST",
	.shares_shm = true,
	.arguments = (const char *const[]){"qemu-system-x86_64", "-M", "q35",
		"-cpu", "max", "-m", "512M,slots=2,maxmem=1G", NULL},
	/* no_timer_check: the kernel counts the ticks of a short while, and
	 * panics if an emulator on a busy machine was too slow. */
	.append = "console=ttyS0 panic=-1 quiet mitigations=off "
		"random.trust_cpu=on no_timer_check",
	.boot_s = 30,
};

/* impdef: the algorithm that signs pointers is dear to emulate otherwise. */
const struct vm_kind vm_aarch64 = {
	.kernel = "FF_VM_AARCH64",
	.guest = "FF_VM_AARCH64_GUEST",
	.arguments = (const char *const[]){"qemu-system-aarch64", "-M", "virt",
		"-cpu", "max,pauth-impdef=on", "-m", "1G", NULL},
	.append = "console=ttyAMA0 panic=-1 quiet mitigations=off "
		"random.trust_cpu=on shm=tmpfs",
	.boot_s = 90,
};

enum { ARGUMENTS = 64 };

static void add_argument(const char **argv, const char *argument)
{
	int count = 0;

	while (argv[count])
		count++;
	if (count == ARGUMENTS - 1)
		_exit(1);
	argv[count] = argument;
}

__attribute__((format(printf, 3, 4))) static void add_option(
	const char **argv, const char *option, const char *format, ...)
{
	va_list args;
	char *text;

	va_start(args, format);
	if (vasprintf(&text, format, args) < 0)
		_exit(1);
	va_end(args);
	add_argument(argv, option);
	add_argument(argv, text);
}

/* The pages of the file F, of which tests/vm/pages.c makes files. */
static void add_shm(const struct vm *vm, const char **argv)
{
	char file[100];

	snprintf(file, sizeof(file), "%s/F", vm->dir);
	add_option(argv, "-object",
		"memory-backend-file,id=pm,mem-path=%s,size=%dM,share=on", file,
		SHM_MIB);
	add_option(argv, "-device", "virtio-pmem-pci,memdev=pm");
	setenv("FF_PAGES_FILE", file, 1);
	setenv("FF_PAGES_DIR", "pages", 1);
	setenv("LD_PRELOAD", getenv("FF_VM_PAGES"), 1);
}

static _Noreturn void run_qemu(
	const struct vm *vm, pid_t parent, const int channels[3])
{
	static const char *const ports[] = {"control", "pages", "relay"};
	static const char *const common[] = {"-nodefaults", "-no-user-config",
		"-display", "none", "-no-reboot", "-accel", "tcg,thread=multi",
		"-smp", "2", "-serial", "stdio", "-device",
		"virtio-serial-pci"};
	const char *argv[ARGUMENTS] = {0};
	int console, in = open("/dev/null", O_RDONLY);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent || chdir(vm->dir) < 0)
		_exit(1);
	console = open("console", O_WRONLY | O_CREAT, 0600);
	if (console < 0 || dup2(in, 0) < 0 || dup2(console, 1) < 0 ||
		dup2(console, 2) < 0)
		_exit(1);
	for (int i = 0; vm->kind->arguments[i]; i++)
		add_argument(argv, vm->kind->arguments[i]);
	for (size_t i = 0; i < sizeof(common) / sizeof(common[0]); i++)
		add_argument(argv, common[i]);
	add_option(argv, "-append", "%s", vm->kind->append);
	add_option(argv, "-kernel", "%s/vmlinuz", getenv(vm->kind->kernel));
	add_option(argv, "-initrd", "%s/initrd", vm->dir);
	if (vm->kind->shares_shm)
		add_shm(vm, argv);
	for (int i = 0; i < 3; i++) {
		fcntl(channels[i], F_SETFD, 0);
		add_option(argv, "-chardev", "socket,id=%s,fd=%d", ports[i],
			channels[i]);
		add_option(argv, "-device", "virtserialport,chardev=%s,name=%s",
			ports[i], ports[i]);
	}
	execvp(argv[0], (char *const *)argv);
	perror(argv[0]);
	_exit(127);
}

static bool is_there(const char *variable)
{
	const char *path = getenv(variable);

	return path && *path && access(path, R_OK) == 0;
}

/* One line of the guest's. False: not known here. */
static bool take_line(struct vm *vm, const char *line)
{
	struct vm_process *process;
	int tag, status, at = 0;
	size_t size;

	if (!strcmp(line, "ready"))
		return true;
	if (sscanf(line, "exit %d %d", &tag, &status) == 2 && tag >= 0 &&
		tag < VM_TAGS) {
		vm->inside[tag].ended = true;
		vm->inside[tag].status = status;
		return true;
	}
	if (sscanf(line, "out %d%n", &tag, &at) != 1 || tag < 0 ||
		tag >= VM_TAGS || line[at] != ' ')
		return false;
	process = &vm->inside[tag];
	size = strlen(process->output);
	snprintf(process->output + size, sizeof(process->output) - size, "%s\n",
		line + at + 1);
	return true;
}

/* Wait for more from the guest, and take its lines. False: none by deadline. */
static bool hear(struct vm *vm, uint64_t deadline_ns)
{
	struct pollfd p = {.fd = vm->control, .events = POLLIN};
	uint64_t now = ff_now_ns();
	char *end;
	ssize_t n;

	if (poll(&p, 1, now < deadline_ns
			? (int)((deadline_ns - now) / 1000000 + 1) : 0) <= 0)
		return ff_now_ns() < deadline_ns;
	n = read(vm->control, vm->line + vm->line_size,
		sizeof(vm->line) - 1 - vm->line_size);
	if (n <= 0)
		fail(vm, "the guest has gone");
	vm->line_size += (size_t)n;
	vm->line[vm->line_size] = '\0';
	while ((end = strchr(vm->line, '\n'))) {
		*end++ = '\0';
		if (!take_line(vm, vm->line))
			fail(vm, "the guest says \"%s\"", vm->line);
		vm->line_size -= (size_t)(end - vm->line);
		memmove(vm->line, end, vm->line_size + 1);
	}
	return true;
}

/* True if the guest says its first word. */
static bool try_boot(struct vm *vm, const struct vm_kind *kind)
{
	struct pollfd p = {.events = POLLIN};
	int channels[3];
	pid_t self = getpid();

	memset(vm, 0, sizeof(*vm));
	vm->kind = kind;
	make_dir(vm);
	make_channel(&vm->control, &channels[0]);
	make_channel(&vm->pages, &channels[1]);
	make_channel(&vm->relay, &channels[2]);
	vm->qemu = fork();
	cr_assert(vm->qemu >= 0);
	if (vm->qemu == 0)
		run_qemu(vm, self, channels);
	for (int i = 0; i < 3; i++)
		close(channels[i]);
	p.fd = vm->control;
	return poll(&p, 1, kind->boot_s * 1000) > 0;
}

/* An emulated machine on a busy one now and then loses its timer's interrupts
 * for good while it boots. */
void vm_boot(struct vm *vm, const struct vm_kind *kind)
{
	if (!is_there(kind->kernel) || !is_there(kind->guest) ||
		(kind->shares_shm && !is_there("FF_VM_PAGES")))
		cr_skip("no guest: %s is not what tests/vm/fetch-kernel has "
			"made, or cpio is missing", kind->kernel);
	signal(SIGPIPE, SIG_IGN);
	for (int tries = 1; !try_boot(vm, kind); tries++) {
		if (tries == BOOT_TRIES)
			fail(vm, "the guest does not boot");
		vm_end(vm);
	}
	hear(vm, ff_now_ns() + ANSWER_S * SECOND_NS);
}

static void end_process(pid_t *pid)
{
	if (*pid > 0) {
		kill(*pid, SIGKILL);
		waitpid(*pid, NULL, 0);
	}
	*pid = 0;
}

void vm_end(struct vm *vm)
{
	end_process(&vm->ferry);
	end_process(&vm->qemu);
	if (vm->keeper > 0)
		close(vm->keeper);
	vm->keeper = 0;
	/* The keeper is done when the directory is gone. */
	for (int ms = 0; *vm->dir && ms < END_MS; ms += 5) {
		if (access(vm->dir, F_OK) < 0)
			break;
		poll(NULL, 0, 5);
	}
	vm->dir[0] = '\0';
}

static void command(struct vm *vm, const char *line)
{
	size_t size = strlen(line);

	if (write(vm->control, line, size) != (ssize_t)size)
		fail(vm, "the guest takes no commands");
}

void vm_start(struct vm *vm, int tag, uid_t uid, const char *format, ...)
{
	char words[800], line[900];
	va_list args;

	va_start(args, format);
	vsnprintf(words, sizeof(words), format, args);
	va_end(args);
	snprintf(line, sizeof(line), "start %d %u %s\n", tag, uid, words);
	vm->inside[tag] = (struct vm_process){0};
	command(vm, line);
}

void vm_signal(struct vm *vm, int tag, int sig)
{
	char line[40];

	snprintf(line, sizeof(line), "signal %d %d\n", tag, sig);
	command(vm, line);
}

void vm_kill(struct vm *vm, pid_t pid, int sig)
{
	char line[40];

	snprintf(line, sizeof(line), "kill %d %d\n", pid, sig);
	command(vm, line);
}

const char *vm_wait_output(
	struct vm *vm, int tag, const char *text, int timeout_s)
{
	uint64_t deadline = ff_now_ns() + (uint64_t)timeout_s * SECOND_NS;
	const struct vm_process *process = &vm->inside[tag];

	while (!strstr(process->output, text))
		if (process->ended || !hear(vm, deadline))
			fail(vm, "in the guest, %d %s without \"%s\"", tag,
				process->ended ? "has ended" : "goes on", text);
	return strstr(process->output, text);
}

int vm_wait_exit(struct vm *vm, int tag, int timeout_s)
{
	uint64_t deadline = ff_now_ns() + (uint64_t)timeout_s * SECOND_NS;

	while (!vm->inside[tag].ended)
		if (!hear(vm, deadline))
			fail(vm, "in the guest, %d does not end", tag);
	return vm->inside[tag].status;
}

void vm_page(struct vm *vm, const char *guest_path, char *path, size_t size)
{
	struct pollfd p = {.fd = vm->pages, .events = POLLIN};
	char line[400] = "";
	unsigned int page;

	snprintf(line, sizeof(line), "where %s\n", guest_path);
	if (write(vm->pages, line, strlen(line)) < 0 ||
		poll(&p, 1, ANSWER_S * 1000) <= 0)
		fail(vm, "the guest does not tell of pages");
	memset(line, 0, sizeof(line));
	if (read(vm->pages, line, sizeof(line) - 1) <= 0 ||
		sscanf(line, "page %u", &page) != 1)
		fail(vm, "%s: the guest says %s", guest_path, line);
	snprintf(path, size, "%s/pages/%u", vm->dir, page);
}

void vm_start_ferry(struct vm *vm, const char *address)
{
	pid_t self = getpid();

	vm->ferry = fork();
	cr_assert(vm->ferry >= 0);
	if (vm->ferry)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != self)
		_exit(1);
	close(vm->keeper);
	close(vm->control);
	vm_ferry(vm, address);
	_exit(0);
}
