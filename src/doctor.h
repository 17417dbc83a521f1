/* SPDX-License-Identifier: MIT */
#ifndef FF_DOCTOR_H
#define FF_DOCTOR_H

/* `fenceferry doctor ...`; argv[0] is "doctor". Returns the exit status. */
int ff_doctor(int argc, char **argv);

#endif
