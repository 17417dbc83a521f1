/* SPDX-License-Identifier: MIT */
#ifndef FF_FUTEXWATCH_PEER_FENCE_H
#define FF_FUTEXWATCH_PEER_FENCE_H

#include "peer.h"

/* The fences of one guest at the host's end. */

/* Messages of the guest; there is room for an answer. */
void ff_peer_add_fence(struct ff_peer *peer, const struct ff_wire *message);
void ff_peer_wake_fence(struct ff_peer *peer, uint64_t id, uint32_t count);
void ff_peer_drop_fence(struct ff_peer *peer, uint64_t id);

/* Watch it no more, and free it. */
void ff_peer_forget(struct ff_watched *fence);
void ff_peer_forget_all(struct ff_peer *peer);

#endif
