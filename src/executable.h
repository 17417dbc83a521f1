/* SPDX-License-Identifier: MIT */
#ifndef FF_EXECUTABLE_H
#define FF_EXECUTABLE_H

#include "error.h"

/*
 * Is what execvp would execute for argv0, by PATH where it has no slash, a
 * program that fenceferry can run? -ENOEXEC with *error filled if it is one for
 * x32; 0 for all else, also where there is none or it is no ELF file: that is
 * for execvp to tell.
 */
int ff_executable_check(const char *argv0, struct ff_error *error);

#endif
