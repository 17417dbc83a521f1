/* SPDX-License-Identifier: MIT */
#ifndef VICTIM_ATTACHED_H
#define VICTIM_ATTACHED_H

/*
 * fenceferry attach, to the victim itself; started by a helper, which is none
 * of its descendants and so is under no filter. All fail the victim if there is
 * anything to complain of.
 */

/* Start the helper. */
void attached_prepare(const char *program, const char *shm_dir,
	const char *socket);

/* Attach; and detach again. */
void attached_begin(void);
void attached_end(void);

#endif
