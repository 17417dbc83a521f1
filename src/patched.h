/* SPDX-License-Identifier: MIT */
#ifndef FF_PATCHED_H
#define FF_PATCHED_H

#include <stddef.h>
#include <sys/types.h>

/*
 * Does a libxshmfence obey XSHMFENCE_NO_MEMFD (1.3.3 and newer)? One that does
 * has the variable's name among its constants. What was found out about a file
 * is remembered, so these are for one thread.
 */

/*
 * By the file of a library or of a program that contains one, of which 64 MiB
 * of constants are looked at. fd is readable, and keeps its offset. Returns 1
 * or 0, or -errno: -ENOEXEC if it is no ELF file (nor a regular one).
 */
int ff_patched_file(int fd);

/*
 * By what process pid maps: the libraries named libxshmfence.so*, or where it
 * has none, its executable. Returns 1 and the file's path as its own mount
 * namespace has it in path (of size bytes, cut off where it is longer); or 0;
 * or -errno: -ESRCH, -ENOENT: it is gone, -EACCES: we may not look,
 * -ESTALE: another file is in the library's place by now.
 */
int ff_patched_process(pid_t pid, char *path, size_t size);

#endif
