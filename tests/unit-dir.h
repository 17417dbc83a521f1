/* SPDX-License-Identifier: MIT */
#ifndef FF_TESTS_UNIT_DIR_H
#define FF_TESTS_UNIT_DIR_H

/*
 * A directory of a test's own to put files in. As root it is a file system of
 * its own, of 1 MiB, that nobody else sees; as an ordinary user a directory.
 */
extern char unit_dir[64];
extern int unit_dir_fd; /* O_PATH */

void make_test_dir(void);
void remove_test_dir(void);

/* How many files are in it. */
int count_test_files(void);

#endif
