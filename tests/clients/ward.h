/* SPDX-License-Identifier: MIT */
#ifndef FF_TEST_WARD_H
#define FF_TEST_WARD_H

/* A child in a sandbox of this program's own: under a filter whose listener is
 * here, as bubblewrap's and container runtimes' are. */

/* Start it, and a thread that answers its calls. */
void ff_ward_start(void);

/* Die unless this program answers its calls still, and nobody else. */
void ff_ward_check(void);

#endif
