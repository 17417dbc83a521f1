/* SPDX-License-Identifier: MIT */
#include "symbols.h"

#include "symbols/frame.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <unistd.h>

/* More are no call stack that anybody reads. */
#define FRAMES_MAX 256

struct walk {
	const struct ff_space *space;
	json_t *frames;
	unsigned int count;
	uint64_t last_ip;
	enum ff_frame_end end; /* by the last frame */
};

static pid_t next_thread(Dwfl *dwfl, void *context, void **thread)
{
	const struct ff_space *space = context;

	(void)dwfl;
	if (*thread)
		return 0;
	*thread = context;
	return space->snapshot->tid;
}

static bool get_thread(Dwfl *dwfl, pid_t tid, void *context, void **thread)
{
	(void)dwfl;
	(void)tid;
	*thread = context;
	return true;
}

static bool read_memory(Dwfl *dwfl, Dwarf_Addr address, Dwarf_Word *result,
	void *context)
{
	struct ff_space *space = context;
	const struct ff_snapshot *snapshot = space->snapshot;
	const size_t word = space->arch->word;
	uint64_t at = address - snapshot->sp;
	uint32_t half;

	(void)dwfl;
	if (address < snapshot->sp || at > snapshot->stack_size ||
		snapshot->stack_size - at < word) {
		space->read_failed = true;
		space->read_beyond = snapshot->stack_is_cut &&
			address >= snapshot->sp + snapshot->stack_size;
		return false;
	}
	if (word == 8) {
		memcpy(result, snapshot->stack + at, 8);
	} else {
		memcpy(&half, snapshot->stack + at, 4);
		*result = half;
	}
	return true;
}

static bool set_registers(Dwfl_Thread *thread, void *context)
{
	const struct ff_space *space = context;
	const struct ff_snapshot *snapshot = space->snapshot;
	const struct ff_arch *arch = space->arch;
	Dwarf_Word words[32];

	if (snapshot->how != FF_SNAPSHOT_PTRACE) {
		words[0] = snapshot->sp;
		if (!dwfl_thread_state_registers(thread, (int)arch->dwarf_sp,
				1, words))
			return false;
	} else {
		for (unsigned int i = 0; i < arch->dwarf_count; i++) {
			unsigned int word = arch->dwarf_regs[i];

			words[i] = arch->word == 8 ?
				snapshot->regs.u64[word] :
				snapshot->regs.u32[word];
		}
		if (!dwfl_thread_state_registers(thread, 0,
				arch->dwarf_count, words))
			return false;
	}
	dwfl_thread_state_register_pc(thread, snapshot->ip);
	return true;
}

static int take_frame(Dwfl_Frame *state, void *context)
{
	struct walk *walk = context;
	bool is_activation;
	Dwarf_Addr ip;

	if (!dwfl_frame_pc(state, &ip, &is_activation))
		return DWARF_CB_ABORT;
	walk->last_ip = ip;
	walk->end = ff_frame_name(walk->space, ip, !is_activation,
		walk->frames);
	return ++walk->count < FRAMES_MAX && walk->end == FF_FRAME_GOES_ON ?
		DWARF_CB_OK : DWARF_CB_ABORT;
}

/* Why does the trace end before the thread's start? NULL: it does not. */
static const char *explain_end(const struct walk *walk)
{
	static char text[160];
	const struct ff_space *space = walk->space;

	if (walk->end == FF_FRAME_IS_LAST)
		return NULL;
	if (walk->end == FF_FRAME_UNKNOWN)
		snprintf(text, sizeof(text), "no information by which to "
			"unwind from 0x%llx",
			(unsigned long long)walk->last_ip);
	else if (walk->count >= FRAMES_MAX)
		snprintf(text, sizeof(text), "more than %d frames",
			FRAMES_MAX);
	else if (space->read_beyond)
		snprintf(text, sizeof(text), "only %u KiB of the stack were "
			"copied", FF_SNAPSHOT_STACK / 1024);
	else if (space->read_failed)
		snprintf(text, sizeof(text), "the stack goes on elsewhere");
	else if (space->snapshot->how == FF_SNAPSHOT_PROC)
		snprintf(text, sizeof(text), "registers not known without "
			"ptrace");
	else
		snprintf(text, sizeof(text), "cannot be unwound from 0x%llx",
			(unsigned long long)walk->last_ip);
	return text;
}

static int name(const struct ff_snapshot *snapshot, json_t **frames,
	const char **end)
{
	static const Dwfl_Thread_Callbacks callbacks = {
		.next_thread = next_thread,
		.get_thread = get_thread,
		.memory_read = read_memory,
		.set_initial_registers = set_registers,
	};
	struct ff_space *space;
	struct walk walk = { .frames = json_array(), .end = FF_FRAME_UNKNOWN };

	/* Not over the network. */
	unsetenv("DEBUGINFOD_URLS");
	*end = NULL;
	*frames = walk.frames;
	space = walk.frames ? ff_space_find(snapshot) : NULL;
	if (!space) {
		json_decref(walk.frames);
		return -ENOMEM;
	}
	walk.space = space;
	/* Once for each: it fails if it was done before. */
	if (dwfl_pid(space->dwfl) < 0 &&
		!dwfl_attach_state(space->dwfl, space->head, snapshot->pid,
			&callbacks, space)) {
		*end = dwfl_errmsg(-1);
		return 0;
	}
	dwfl_getthread_frames(space->dwfl, snapshot->tid, take_frame, &walk);
	*end = explain_end(&walk);
	/* The snapshot is the caller's. */
	space->snapshot = NULL;
	return 0;
}

static void take_rights(uid_t uid, gid_t gid)
{
	setfsgid(gid);
	setfsuid(uid);
}

/* Root has the rights of whoever made these files: what is in them may name
 * others. */
int ff_symbols_name(const struct ff_snapshot *snapshot, json_t **frames,
	const char **end)
{
	const bool is_root = geteuid() == 0;
	int err;

	if (is_root)
		take_rights(snapshot->uid, snapshot->gid);
	err = name(snapshot, frames, end);
	if (is_root)
		take_rights(0, getegid());
	return err;
}
