/* SPDX-License-Identifier: MIT */
#include "guest.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { WAIT_TRIES = 10000, WAIT_US = 5000, FDS_MAX = 1 << 19 };

_Noreturn void ff_guest_die(const char *format, ...)
{
	va_list args;

	printf("guest: ");
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
	fflush(stdout);
	sync();
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}

static void make_mount(
	const char *source, const char *dir, const char *type, const char *data)
{
	mkdir(dir, 0755);
	/* ENXIO: a disk has its node some time before it can be opened. */
	for (int i = 0; mount(source, dir, type, 0, data) < 0; i++) {
		if (errno != ENXIO || i == WAIT_TRIES)
			ff_guest_die("mount %s: %s", dir, strerror(errno));
		usleep(WAIT_US);
	}
}

/* Load one of them; false if there is more to come before it. */
static bool load_module(const char *name)
{
	char path[300];
	int fd, rc;

	snprintf(path, sizeof(path), "/modules/%s", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		ff_guest_die("%s: %s", path, strerror(errno));
	rc = (int)syscall(SYS_finit_module, fd, "", 0);
	if (rc < 0 && errno != ENOENT && errno != EEXIST)
		ff_guest_die("%s: %s", path, strerror(errno));
	rc = rc < 0 && errno == ENOENT;
	close(fd);
	return !rc;
}

/* A module that needs another one, which is not there, lacks symbols. */
static void load_modules(void)
{
	int loaded = -1, before;

	do {
		DIR *dir = opendir("/modules");
		struct dirent *entry;

		before = loaded;
		loaded = 0;
		while (dir && (entry = readdir(dir)))
			if (entry->d_name[0] != '.')
				loaded += load_module(entry->d_name);
		if (dir)
			closedir(dir);
	} while (loaded != before);
}

static void wait_for(const char *path)
{
	for (int i = 0; access(path, F_OK) < 0; i++) {
		if (i == WAIT_TRIES)
			ff_guest_die("there is no %s", path);
		usleep(WAIT_US);
	}
}

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		ff_guest_die("%s: %s", path, strerror(errno));
	close(fd);
}

/* The machine says which by a word "shm=tmpfs" for the kernel. */
static void mount_shm(void)
{
	struct statx st;

	if (getenv("shm") && !strcmp(getenv("shm"), "tmpfs")) {
		make_mount("shm", "/dev/shm", "tmpfs", "mode=1777");
		return;
	}
	wait_for("/dev/pmem0");
	make_mount("/dev/pmem0", "/dev/shm", "ext4", "dax");
	chmod("/dev/shm", 01777);
	/* Without it the guest would have pages of its own. */
	if (statx(AT_FDCWD, "/dev/shm", 0, STATX_BASIC_STATS, &st) < 0 ||
		!(st.stx_attributes_mask & STATX_ATTR_DAX))
		ff_guest_die("the kernel does not tell of DAX");
	close(open("/dev/shm/is-dax", O_CREAT | O_WRONLY, 0600));
	if (statx(AT_FDCWD, "/dev/shm/is-dax", 0, STATX_BASIC_STATS, &st) < 0 ||
		!(st.stx_attributes & STATX_ATTR_DAX))
		ff_guest_die("files in /dev/shm are not DAX");
	unlink("/dev/shm/is-dax");
}

void ff_guest_setup(void)
{
	/* As a system's manager has it. */
	const struct rlimit fds = {.rlim_cur = 1024, .rlim_max = FDS_MAX};

	make_mount("dev", "/dev", "devtmpfs", NULL);
	make_mount("pts", "/dev/pts", "devpts", "mode=620,ptmxmode=666");
	make_mount("proc", "/proc", "proc", NULL);
	make_mount("sys", "/sys", "sysfs", NULL);
	make_mount("tmp", "/tmp", "tmpfs", "mode=1777");
	load_modules();
	mount_shm();
	write_file("/proc/sys/kernel/yama/ptrace_scope", "1");
	mkdir("/dev/virtio-ports", 0755);
	setrlimit(RLIMIT_NOFILE, &fds);
}

/* Does the port that is called entry in sysfs have this name? */
static bool is_port(const char *entry, const char *name)
{
	char path[300], text[64] = "";
	int fd;

	snprintf(path, sizeof(path), "/sys/class/virtio-ports/%s/name", entry);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	if (read(fd, text, sizeof(text) - 1) < 0)
		text[0] = '\0';
	close(fd);
	text[strcspn(text, "\n")] = '\0';
	return strcmp(text, name) == 0;
}

/* The port's name in /dev, once it is there; false: not yet. */
static bool find_port(const char *name, char path[300])
{
	DIR *dir = opendir("/sys/class/virtio-ports");
	struct dirent *entry;
	bool found = false;

	while (dir && !found && (entry = readdir(dir)))
		if (entry->d_name[0] != '.' && is_port(entry->d_name, name)) {
			snprintf(path, 300, "/dev/%s", entry->d_name);
			found = access(path, F_OK) == 0;
		}
	if (dir)
		closedir(dir);
	return found;
}

int ff_guest_open_port(const char *name)
{
	char path[300], known_as[100];
	int fd;

	for (int i = 0; !find_port(name, path); i++) {
		if (i == WAIT_TRIES)
			ff_guest_die("there is no port %s", name);
		usleep(WAIT_US);
	}
	chmod(path, 0666);
	snprintf(known_as, sizeof(known_as), "/dev/virtio-ports/%s", name);
	if (symlink(path, known_as) < 0)
		ff_guest_die("%s: %s", known_as, strerror(errno));
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		ff_guest_die("%s: %s", path, strerror(errno));
	return fd;
}

int main(void)
{
	int control, pages;

	ff_guest_setup();
	control = ff_guest_open_port("control");
	pages = ff_guest_open_port("pages");
	/* The relay's is for fenceferry to open. */
	close(ff_guest_open_port("relay"));
	ff_guest_start_x();
	ff_guest_serve(control, pages);
	ff_guest_die("off");
}
