/* SPDX-License-Identifier: MIT */
#ifndef FF_HOST_H
#define FF_HOST_H

/* fenceferry host: argv[0] is "host". Returns the exit status. */
int ff_host(int argc, char **argv);

#endif
