/* SPDX-License-Identifier: MIT */
/* Stop a process and have it make calls, as a swap does. */
#include "clock.h"
#include "doctor-checkup.h"
#include "inject/remote.h"
#include "inject/stop.h"
#include "process.h"
#include "tick.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STOP_NS UINT64_C(5000000000)

/* The subject: answers a byte with the next one, for ever. */
static void echo(int channel, void *context)
{
	unsigned char byte;

	(void)context;
	while (read(channel, &byte, 1) == 1) {
		byte++;
		if (write(channel, &byte, 1) != 1)
			return;
	}
}

static bool answers(int channel, unsigned char byte)
{
	unsigned char answer;

	return write(channel, &byte, 1) == 1 &&
		read(channel, &answer, 1) == 1 && answer == byte + 1;
}

/* 0, or -errno with *error filled; nothing stays held. */
static int inject(pid_t pid, struct ff_error *error)
{
	uint64_t deadline_ns = ff_now_ns() + STOP_NS, base;
	struct ff_hold hold = { 0 };
	struct ff_vmas vmas = { 0 };
	int err = ff_hold_seize(&hold, pid, error);

	if (!err)
		err = ff_hold_stop(&hold, deadline_ns, error);
	if (!err) {
		err = ff_process_vmas(pid, &vmas);
		if (err)
			ff_fail(error, -err, "its mappings cannot be read: %s",
				strerror(-err));
		else
			err = ff_remote_bring_stub(&hold, hold.threads, &vmas,
				deadline_ns, &base, error);
	}
	ff_hold_release(&hold);
	ff_vmas_free(&vmas);
	ff_hold_free(&hold);
	return err;
}

void ff_examine_ptrace(struct ff_checkup *checkup)
{
	struct ff_error error;
	struct ff_finding *finding;
	int channel, err;
	pid_t subject = ff_subject_start(echo, NULL, &channel);

	if (subject < 0 || !answers(channel, 1))
		_exit(1);
	ff_tick(FF_TICK_MS * 1000);
	err = inject(subject, &error);
	ff_tick(0);
	if (err) {
		finding = ff_find_error(checkup, "ptrace", FF_FOR_PTRACE,
			FF_MISSING, "a child cannot be stopped and used",
			&error);
		if (err == -EBUSY)
			ff_tell(finding->way_out, "detach the debugger");
		else if (err == -ESRCH || err == -ENOENT)
			ff_tell(finding->way_out, "mount /proc");
		else if (!*finding->way_out || err == -EPERM)
			ff_tell(finding->way_out, "see 'ptrace scope'; or is "
				"there a container or sandbox that forbids "
				"ptrace(2)?");
	} else if (!answers(channel, 7)) {
		ff_find(checkup, "ptrace", FF_FOR_PTRACE, FF_MISSING,
			"a child that was stopped did not go on");
	} else {
		ff_find(checkup, "ptrace", FF_FOR_PTRACE, FF_OK,
			"a child was stopped, made two calls, and went on");
	}
	ff_subject_end(subject, channel);
}
