/* SPDX-License-Identifier: MIT */
#include "choice.h"

#include <stdio.h>

static enum ff_way give_reason(struct ff_choice *choice, enum ff_way way,
	const char *reason)
{
	snprintf(choice->reason, sizeof(choice->reason), "%s", reason);
	return way;
}

/* By ptrace, if that is to be had. Where it is one engine of several, that it
 * is not is no failure. */
static enum ff_way choose_ptrace(struct ff_crossings *crossings,
	struct ff_sender *sender, struct ff_choice *choice)
{
	if (ff_process_status(sender->actor.tid, &sender->status) < 0)
		return give_reason(choice, FF_WAY_LEAVE, "it is gone");
	if (!ff_policy_forbids_ptrace(crossings->policy, &sender->status,
			choice->reason))
		return FF_WAY_SWAP;
	if (crossings->policy->engine == FF_ENGINE_PTRACE)
		return FF_WAY_FAIL;
	ff_policy_tell(crossings->policy, 0, &sender->actor, FF_ENGINE_OFF,
		choice->reason);
	return FF_WAY_LEAVE;
}

static enum ff_way choose_for_memfd(struct ff_crossings *crossings,
	struct ff_sender *sender, const struct ff_cargo *cargo,
	struct ff_choice *choice)
{
	if (crossings->policy->engine == FF_ENGINE_OFF)
		return give_reason(choice, FF_WAY_LEAVE, "engine off");
	if (crossings->select == FF_SELECT_FENCE && (!cargo->request.name ||
		!ff_cargo_is_fence(cargo)))
		return give_reason(choice, FF_WAY_LEAVE,
			"not selected (--select=fence)");
	if (cargo->st.st_dev != crossings->memfd_dev)
		return give_reason(choice, FF_WAY_LEAVE, "hugetlb memfd: a file "
			"in the shm dir has other pages");
	if (!ff_policy_has_ptrace(crossings->policy))
		return give_reason(choice, FF_WAY_LEAVE, "engine notify serves "
			"only what libxshmfence makes");
	return choose_ptrace(crossings, sender, choice);
}

/* Of a patched libxshmfence: a fence in a file that has no name any more. */
static enum ff_way choose_for_file(struct ff_crossings *crossings,
	struct ff_sender *sender, const struct ff_cargo *cargo,
	struct ff_choice *choice)
{
	const bool is_there = cargo->st.st_dev == crossings->shm_dev;

	if (crossings->policy->engine == FF_ENGINE_OFF)
		return give_reason(choice, FF_WAY_LEAVE, "engine off");
	if (is_there && ff_futexes_takes_unnamed(crossings->futexes))
		return give_reason(choice, FF_WAY_TAKE,
			"in the shm dir already");
	if (ff_policy_has_ptrace(crossings->policy))
		return choose_ptrace(crossings, sender, choice);
	return give_reason(choice, FF_WAY_FAIL, is_there ?
		"a file without a name, which the relay's other end cannot "
		"open (--engine=auto would swap it)" :
		"a file that is not in the shm dir (--engine=auto would swap "
		"it)");
}

void ff_choose(struct ff_crossings *crossings, struct ff_sender *sender,
	const struct ff_cargo *cargo, struct ff_choice *choice)
{
	choice->made = ff_futexes_find(crossings->futexes, cargo->st.st_dev,
		cargo->st.st_ino);
	/* That it is known changes nothing. */
	if (choice->made && choice->made->is_foreign)
		choice->made = NULL;
	if (choice->made && choice->made->is_new)
		choice->way = FF_WAY_MADE;
	else if (choice->made)
		choice->way = give_reason(choice, FF_WAY_LEAVE,
			"a stand-in already");
	else if (ff_cargo_is_memfd(cargo))
		choice->way = choose_for_memfd(crossings, sender, cargo,
			choice);
	else if (ff_cargo_is_fence(cargo) && S_ISREG(cargo->st.st_mode) &&
		cargo->st.st_nlink == 0)
		choice->way = choose_for_file(crossings, sender, cargo,
			choice);
	else
		choice->way = give_reason(choice, FF_WAY_LEAVE, "not a memfd");
}
