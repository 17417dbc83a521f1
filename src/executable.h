/* SPDX-License-Identifier: MIT */
#ifndef FF_EXECUTABLE_H
#define FF_EXECUTABLE_H

#include "error.h"

#include <stdbool.h>

/*
 * Is what execvp would execute for argv0, by PATH where it has no slash, a
 * program that fenceferry can run? -ENOEXEC with *error filled if it is one for
 * x32; 0 for all else, also where there is none or it is no ELF file: that is
 * for execvp to tell.
 */
int ff_executable_check(const char *argv0, struct ff_error *error);

/* Is there one, that may be read? What is then missing is what it asks for: a
 * script's interpreter, or a loader. */
bool ff_executable_is_there(const char *argv0);

#endif
