/* SPDX-License-Identifier: MIT */
#ifndef FF_REPORT_LIVE_H
#define FF_REPORT_LIVE_H

/*
 * fenceferry report --live [OPTION...] [PID]; argv[0] is "report", and --live is
 * somewhere behind it. Returns the exit status.
 */
int ff_report_live(int argc, char **argv);

#endif
