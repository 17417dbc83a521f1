/* SPDX-License-Identifier: MIT */
#ifndef BACKTRACE_VICTIM_H
#define BACKTRACE_VICTIM_H

/* Each a frame of its own, in every build. */
#define FRAME __attribute__((noinline, noclone))

extern volatile int done;

_Noreturn void give_up(const char *what);
int make_memfd(const char *name);
void send_memfd(int memfd);
void send_one(const char *name);

/* Code that no compiler made: backtrace-victim-code.c. */
void do_jit(void);
void do_corrupt(void);

#endif
