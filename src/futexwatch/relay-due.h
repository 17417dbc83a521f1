/* SPDX-License-Identifier: MIT */
#ifndef FF_FUTEXWATCH_RELAY_DUE_H
#define FF_FUTEXWATCH_RELAY_DUE_H

#include "relay.h"

/* What the host's end is still to be told: for the relay alone. */

/* An empty list. */
void ff_due_init(struct ff_relay *relay);
void ff_due_free(struct ff_relay *relay);

/* Something of this fence is to be told; or nothing more is. */
void ff_due_add(struct ff_relay *relay, struct ff_fence *fence);
void ff_due_remove(struct ff_relay *relay, struct ff_fence *fence);

/* Add to the wakes of a fence that are to be told. */
void ff_due_add_wakes(struct ff_relay *relay, struct ff_fence *fence,
	uint32_t count);

/* That this fence is gone is to be told. 0 or -ENOMEM. */
int ff_due_add_gone(struct ff_relay *relay, uint64_t id);

/* The host's end will not serve this fence, for now or ever: nothing more of it
 * is to be told. */
void ff_due_refuse(struct ff_relay *relay, struct ff_fence *fence,
	const char *text, bool for_now);

/* The host's end knows nothing any more: all is to be told again. */
void ff_due_restart(struct ff_relay *relay);

/* Fences that were refused for now are to be told again: there may be room. */
void ff_due_retry(struct ff_relay *relay);

/* Is there anything? */
bool ff_due_any(const struct ff_relay *relay);

/* Put into the link what there is room for. */
void ff_due_put(struct ff_relay *relay);

#endif
