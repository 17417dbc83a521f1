/* SPDX-License-Identifier: MIT */
#ifndef FF_HEIR_H
#define FF_HEIR_H

#include "launch.h"

#include <stdbool.h>

/* What the front does in the place of a supervisor that died: it lets trapped
 * calls go on. */

/* Those that the supervisor had received and not answered. */
void ff_heir_answer(int listener, const struct ff_legacy *legacy);

/* A new one, after poll. False when no process is left to make any. */
bool ff_heir_serve(int listener, short revents);

/* The command's children may outlive it: leave a process that answers them. */
void ff_heir_stay(int listener);

#endif
