/* SPDX-License-Identifier: MIT */
#ifndef FF_FUTEXWATCH_ADMIT_H
#define FF_FUTEXWATCH_ADMIT_H

#include "link.h"
#include "wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Who may connect to the host's end, and which files they may name. */

struct ff_admission {
	uid_t own_uid;
	uid_t *uids; /* beside the own one */
	size_t uid_count;
	unsigned int *cids;
	size_t cid_count;
	bool any_cid;
};

/* Who is at the other end. */
struct ff_identity {
	enum ff_transport transport;
	uid_t uid; /* FF_UNIX */
	pid_t pid; /* FF_UNIX; 0: not visible from here */
	unsigned int cid; /* FF_VSOCK */
	char text[sizeof(((struct ff_address *)0)->path) + 16];
};

/* 0 or -ENOMEM. */
int ff_admission_add_uid(struct ff_admission *admission, uid_t uid);
int ff_admission_add_cid(struct ff_admission *admission, unsigned int cid);
void ff_admission_free(struct ff_admission *admission);

/* Who has connected to this unix or vsock socket? 0 or -errno. */
int ff_identify_socket(int fd, struct ff_identity *identity);

/* Who is behind a char: address. */
void ff_identify_char(const struct ff_address *address,
	struct ff_identity *identity);

/* The same user or machine, maybe in another process? */
bool ff_identity_same(const struct ff_identity *a, const struct ff_identity *b);

bool ff_admit_peer(const struct ff_admission *admission,
	const struct ff_identity *who);

/*
 * May it pass files (FF_WIRE_FDS)? Only who may do anything to us anyway, our
 * own user and root: a file of any file system comes along like that, and
 * merely to close one can take as long as its server wants.
 */
bool ff_admit_fds(const struct ff_admission *admission,
	const struct ff_identity *who);

struct ff_admitted {
	int fd; /* read only, if it could be had so; never written to */
	dev_t dev;
	ino_t ino;
};

#define FF_ADMIT_MAX_SIZE (64u << 10) /* of a file, in bytes */

/*
 * Open the file that who named, if it may: a stand-in's name, directly in the
 * directory, of a plain file of theirs that has a word at offset. 0, or the
 * reason for which it is refused, and then *err is an errno or 0.
 */
enum ff_wire_reason ff_admit_file(const struct ff_admission *admission,
	const struct ff_identity *who, int dir_fd, const char *name,
	uint64_t offset, struct ff_admitted *file, int *err);

/*
 * The same for an fd that who passed, which is closed if refused: of a file in
 * memory or in the directory's file system, so that nothing that is done to it
 * can block.
 */
enum ff_wire_reason ff_admit_fd(const struct ff_admission *admission,
	const struct ff_identity *who, int dir_fd, int fd, uint64_t offset,
	struct ff_admitted *file, int *err);

#endif
