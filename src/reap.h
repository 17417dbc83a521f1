/* SPDX-License-Identifier: MIT */
#ifndef FF_REAP_H
#define FF_REAP_H

#include "supervisor.h"

/* The supervisor's children, and what the front is to hear of them. */

/* Reap all that have ended, adopted ones too; let go of tracees that stopped too
 * late; tell the front of the command. */
void ff_reap(struct ff_supervisor *supervisor);

/* Tell the front of the signals that our process group got, from a signalfd. */
void ff_reap_signals(struct ff_supervisor *supervisor, int signals);

#endif
