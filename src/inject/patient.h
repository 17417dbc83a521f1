/* SPDX-License-Identifier: MIT */
#ifndef FF_INJECT_PATIENT_H
#define FF_INJECT_PATIENT_H

#include "inject/plan.h"
#include "inject/program.h"
#include "inject/remote.h"
#include "inject/stop.h"
#include "inject/survey.h"
#include "inject/swap.h"

/* One process in a swap: its threads, what it has of the memfd, its carrier. */

struct ff_carrier {
	pid_t tid; /* 0 until the program was started */
	const struct ff_arch *arch;
	struct ff_regs back; /* with which it is let go */
	uint64_t sigmask;
};

struct ff_patient {
	pid_t pid;
	bool over; /* the process ended */
	struct ff_hold hold;
	struct ff_survey survey;
	struct ff_thread *thread; /* the carrier, in hold */
	struct ff_carrier carrier;
	uint64_t base; /* of the stub */
	struct ff_description *descriptions;
	size_t description_count;
	int ticket; /* index in descriptions, or -1 */
	struct ff_op *ops;
	size_t commit;
	int op_count;
	struct ff_bell_call call; /* where it waits; bell 0: nowhere */
};

/*
 * Choose a carrier (caller if it is of this process), bring the stub if it is
 * not there, and write the program. The survey must be done and its files
 * assigned. 0 or -errno.
 */
int ff_patient_prepare(struct ff_patient *patient, pid_t caller,
	struct ff_stubs *stubs, const struct ff_files *files, int ticket,
	uint64_t deadline_ns, struct ff_error *error);

/*
 * The two halves of it, for other programs than a swap's. Board: choose the
 * carrier, and bring the stub; the process is held, and its mappings are in
 * survey.vmas. Load: write patient->ops, op_count of them. 0 or -errno.
 */
int ff_patient_board(struct ff_patient *patient, pid_t caller,
	struct ff_stubs *stubs, uint64_t deadline_ns, struct ff_error *error);
int ff_patient_load(struct ff_patient *patient, struct ff_error *error);

/* Where in the process the program lies. */
uint64_t ff_patient_program(const struct ff_patient *patient);

/* Let the carrier run the program. */
void ff_patient_start(struct ff_patient *patient);

/* Has the carrier died, or been stopped by job control? Then note the one and
 * mend the other. */
void ff_patient_check(struct ff_patient *patient);

/* Did its program commit? 0 also for a process that ended. *told: it did not,
 * but only because another one failed. */
int ff_patient_judge(struct ff_patient *patient, bool *told,
	struct ff_error *error);

/* Bring the carrier back, and let all threads go. */
void ff_patient_release(struct ff_patient *patient);

void ff_patient_free(struct ff_patient *patient);

#endif
