/* SPDX-License-Identifier: MIT */
#ifndef FF_ATTACH_H
#define FF_ATTACH_H

/* fenceferry attach, argv[0] being "attach". Returns the exit status. */
int ff_attach(int argc, char **argv);

#endif
