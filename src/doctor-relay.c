/* SPDX-License-Identifier: MIT */
/* Is there a fenceferry host at the other end, and does it take us? */
#include "doctor-checkup.h"
#include "fence.h"
#include "futexwatch/relay.h"

enum { PATIENCE_MS = 10000 };

void ff_examine_relay(struct ff_checkup *checkup)
{
	/* Without fences there is nothing to tell. */
	static const struct ff_relay_ops ops;
	static struct ff_relay relay;
	static struct ff_fences fences;
	struct ff_finding *finding;
	struct ff_error error;

	if (!checkup->has_relay)
		return;
	if (ff_relay_open(&relay, &checkup->relay, 0, &fences, &ops,
			PATIENCE_MS, &error) < 0) {
		ff_find_error(checkup, "relay", FF_FOR_RELAY, FF_MISSING,
			"no fenceferry host", &error);
		return;
	}
	finding = ff_find(checkup, "relay", FF_FOR_RELAY, FF_OK,
		"a fenceferry host in %s takes us", fences.host_reads ?
		"this kernel" : "another kernel");
	if (!fences.host_reads && checkup->shm_is_ours) {
		finding->health = FF_MISSING;
		ff_tell(finding->reason, "the memory of the shm dir is this "
			"kernel's own");
		ff_tell(finding->way_out, "see 'other kernels'");
	} else if (!fences.host_reads && !checkup->shm_is_dax) {
		finding->health = FF_DEGRADED;
		ff_tell(finding->reason, "the shm dir does not look as if "
			"both shared its memory");
		ff_tell(finding->way_out, "see 'other kernels'");
	}
	ff_relay_close(&relay);
}
