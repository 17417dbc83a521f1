/* SPDX-License-Identifier: MIT */
#ifndef FF_REPORT_H
#define FF_REPORT_H

/* `fenceferry report ...`; argv[0] is "report". Returns the exit status. */
int ff_report(int argc, char **argv);

#endif
