/* SPDX-License-Identifier: MIT */
#include "heir.h"

#include "notify.h"
#include "process.h"

#include <poll.h>
#include <unistd.h>

/* Around the notification that a dead supervisor received last: how far back
 * one may be that it had put off, and how many may be lost in between. */
#define IDS_BEFORE 65536u
#define IDS_AFTER 1024u

/* If it has the file already, to go on would bring it another. */
static void finish_gift(int listener, const struct ff_gift *gift)
{
	struct ff_ids fds = { 0 };
	uint64_t call = gift->call;

	if (!call || ff_process_fds(gift->tid, &fds) < 0)
		return;
	for (size_t i = 0; i < fds.count; i++)
		if (ff_process_has_file(gift->tid, fds.ids[i], gift->dev,
				gift->ino)) {
			ff_notify_answer(listener, call, fds.ids[i], 0);
			break;
		}
	ff_ids_free(&fds);
}

/*
 * They wait for ever. Ids are counted up, so all that may be among them are
 * tried: for others the kernel has ENOENT, or EINPROGRESS if they are not
 * received yet.
 */
void ff_heir_answer(int listener, const struct ff_legacy *legacy)
{
	uint64_t last = legacy->last_received, id = last - IDS_BEFORE;

	if (legacy->oldest_held < last && last - legacy->oldest_held >
		IDS_BEFORE)
		id = legacy->oldest_held;
	finish_gift(listener, &legacy->gift);
	for (; id != last + IDS_AFTER; id++)
		ff_notify_continue(listener, id);
}

bool ff_heir_serve(int listener, short revents)
{
	struct ff_notification notification;

	if (!(revents & POLLIN))
		return !(revents & POLLHUP);
	if (ff_notify_receive(listener, &notification) == 0)
		ff_notify_continue(listener, notification.id);
	return true;
}

void ff_heir_stay(int listener)
{
	struct pollfd fd = { .fd = listener, .events = POLLIN };

	if (poll(&fd, 1, 0) > 0 && fd.revents & POLLHUP &&
		!(fd.revents & POLLIN))
		return; /* nobody is left */
	if (fork() != 0)
		return;
	/* It may stay long: let it hold nothing but the listener. */
	fd.fd = dup2(listener, STDIN_FILENO);
	close_range(STDIN_FILENO + 1, ~0U, 0);
	do {
		fd.revents = 0;
		poll(&fd, 1, -1);
	} while (ff_heir_serve(fd.fd, fd.revents));
	_exit(0);
}
