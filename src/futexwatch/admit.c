/* SPDX-License-Identifier: MIT */
#include "admit.h"

#include "standin.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

/* How often to ask again for a file whose lease is just being tried. */
enum { LEASE_TRIES = 20 };

int ff_admission_add_uid(struct ff_admission *admission, uid_t uid)
{
	uid_t *uids = reallocarray(admission->uids, admission->uid_count + 1,
		sizeof(*uids));

	if (!uids)
		return -ENOMEM;
	admission->uids = uids;
	uids[admission->uid_count++] = uid;
	return 0;
}

int ff_admission_add_cid(struct ff_admission *admission, unsigned int cid)
{
	unsigned int *cids = reallocarray(admission->cids,
		admission->cid_count + 1, sizeof(*cids));

	if (!cids)
		return -ENOMEM;
	admission->cids = cids;
	cids[admission->cid_count++] = cid;
	return 0;
}

void ff_admission_free(struct ff_admission *admission)
{
	free(admission->uids);
	free(admission->cids);
	admission->uids = NULL;
	admission->cids = NULL;
	admission->uid_count = admission->cid_count = 0;
}

static int identify_unix(int fd, struct ff_identity *identity)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
		return -errno;
	identity->uid = peer.uid;
	identity->pid = peer.pid;
	snprintf(identity->text, sizeof(identity->text), "unix uid %u pid %d",
		(unsigned int)peer.uid, (int)peer.pid);
	return 0;
}

int ff_identify_socket(int fd, struct ff_identity *identity)
{
	struct sockaddr_storage peer = { 0 };
	socklen_t size = sizeof(peer);
	struct sockaddr_vm vm;

	*identity = (struct ff_identity){ .transport = FF_UNIX };
	if (getpeername(fd, (struct sockaddr *)&peer, &size) < 0)
		return -errno;
	if (peer.ss_family == AF_UNIX)
		return identify_unix(fd, identity);
	if (peer.ss_family != AF_VSOCK)
		return -EAFNOSUPPORT;
	memcpy(&vm, &peer, sizeof(vm));
	identity->transport = FF_VSOCK;
	identity->cid = vm.svm_cid;
	snprintf(identity->text, sizeof(identity->text), "vsock cid %u",
		vm.svm_cid);
	return 0;
}

void ff_identify_char(const struct ff_address *address,
	struct ff_identity *identity)
{
	*identity = (struct ff_identity){ .transport = FF_CHAR };
	snprintf(identity->text, sizeof(identity->text), "char %s",
		address->path);
}

bool ff_identity_same(const struct ff_identity *a, const struct ff_identity *b)
{
	if (a->transport != b->transport)
		return false;
	switch (a->transport) {
	case FF_UNIX:
		return a->uid == b->uid;
	case FF_VSOCK:
		return a->cid == b->cid;
	default:
		return !strcmp(a->text, b->text);
	}
}

static bool is_known_uid(const struct ff_admission *admission, uid_t uid)
{
	if (uid == admission->own_uid)
		return true;
	for (size_t i = 0; i < admission->uid_count; i++)
		if (admission->uids[i] == uid)
			return true;
	return false;
}

bool ff_admit_peer(const struct ff_admission *admission,
	const struct ff_identity *who)
{
	switch (who->transport) {
	case FF_UNIX:
		return is_known_uid(admission, who->uid);
	case FF_VSOCK:
		for (size_t i = 0; i < admission->cid_count; i++)
			if (admission->cids[i] == who->cid)
				return true;
		return admission->any_cid;
	default:
		return true;
	}
}

bool ff_admit_fds(const struct ff_admission *admission,
	const struct ff_identity *who)
{
	return who->transport == FF_UNIX &&
		(who->uid == admission->own_uid || who->uid == 0);
}

/* A user's files are that user's. A machine's are whose we serve; so are root's
 * clients'. */
static bool is_owner(const struct ff_admission *admission,
	const struct ff_identity *who, uid_t owner)
{
	if (who->transport == FF_UNIX && who->uid != 0)
		return owner == who->uid;
	return is_known_uid(admission, owner);
}

/* Has it a word at offset, and belongs to them? */
static bool is_fitting(const struct ff_admission *admission,
	const struct ff_identity *who, const struct stat *st, uint64_t offset)
{
	return S_ISREG(st->st_mode) && is_owner(admission, who, st->st_uid) &&
		st->st_size <= FF_ADMIT_MAX_SIZE && st->st_size >= 4 &&
		offset <= (uint64_t)st->st_size - 4 && offset % 4 == 0;
}

/* A file by its name, nothing opened yet. An O_PATH fd or -errno. */
static int find_file(int dir_fd, const char *name)
{
	struct open_how how = {
		.flags = O_PATH | O_NOFOLLOW | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS |
			RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV,
	};
	long fd = syscall(SYS_openat2, dir_fd, name, &how, sizeof(how));

	return fd < 0 ? -errno : (int)fd;
}

/*
 * Open what was found and checked. No devices, so no side effects; and where
 * somebody holds a lease on it, which a guest's end takes for a moment to see
 * whether others hold the file, this does not wait.
 */
static int open_found(int found)
{
	char path[32];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", found);
	for (int i = 0;; i++) {
		fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
		if (fd >= 0 || errno != EWOULDBLOCK || i == LEASE_TRIES)
			return fd < 0 ? -errno : fd;
		sched_yield();
	}
}

enum ff_wire_reason ff_admit_file(const struct ff_admission *admission,
	const struct ff_identity *who, int dir_fd, const char *name,
	uint64_t offset, struct ff_admitted *file, int *err)
{
	enum ff_wire_reason reason = 0;
	struct stat st;
	int found;

	*err = 0;
	if (!ff_standin_is_name(name))
		return FF_WIRE_BAD_NAME;
	found = find_file(dir_fd, name);
	if (found < 0) {
		*err = -found;
		return found == -ENOENT ? FF_WIRE_NO_FILE : FF_WIRE_FAILED;
	}
	if (fstat(found, &st) < 0 ||
		!is_fitting(admission, who, &st, offset)) {
		reason = FF_WIRE_BAD_FILE;
	} else {
		file->fd = open_found(found);
		file->dev = st.st_dev;
		file->ino = st.st_ino;
		if (file->fd < 0) {
			*err = -file->fd;
			reason = FF_WIRE_FAILED;
		}
	}
	close(found);
	return reason;
}

/*
 * Is it in memory, or where the fences are? Without asking its file system,
 * which may be a process that does not answer: only memory has seals, and
 * statx is told to be content with what the kernel knows.
 */
static bool is_at_home(int dir_fd, int fd)
{
	const int flags = AT_EMPTY_PATH | AT_STATX_DONT_SYNC;
	struct statx dir, file;

	if (fcntl(fd, F_GET_SEALS) >= 0)
		return true;
	return statx(dir_fd, "", flags, STATX_TYPE, &dir) == 0 &&
		statx(fd, "", flags, STATX_TYPE, &file) == 0 &&
		dir.stx_dev_major == file.stx_dev_major &&
		dir.stx_dev_minor == file.stx_dev_minor;
}

static bool is_readable(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags >= 0 && !(flags & O_PATH) &&
		(flags & O_ACCMODE) != O_WRONLY;
}

/* One of our own, which nobody else can set flags of. Whose file we may not
 * open, that of another user, is taken as it came. */
static int open_again(int fd)
{
	char path[32];
	int again;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (again < 0)
		return fd;
	close(fd);
	return again;
}

enum ff_wire_reason ff_admit_fd(const struct ff_admission *admission,
	const struct ff_identity *who, int dir_fd, int fd, uint64_t offset,
	struct ff_admitted *file, int *err)
{
	struct stat st;

	*err = 0;
	if (!is_readable(fd) || !is_at_home(dir_fd, fd) || fstat(fd, &st) < 0 ||
		!is_fitting(admission, who, &st, offset)) {
		close(fd);
		return FF_WIRE_BAD_FILE;
	}
	file->fd = open_again(fd);
	file->dev = st.st_dev;
	file->ino = st.st_ino;
	return 0;
}
