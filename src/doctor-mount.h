/* SPDX-License-Identifier: MIT */
#ifndef FF_DOCTOR_MOUNT_H
#define FF_DOCTOR_MOUNT_H

#include "doctor-checkup.h"

/* What file system is the shm dir dir, a file of which fd is, and who shares
 * its memory? */
void ff_mount_tell(struct ff_checkup *checkup, const char *dir, int fd);

#endif
