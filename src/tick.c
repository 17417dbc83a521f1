/* SPDX-License-Identifier: MIT */
#include "tick.h"

#include <signal.h>
#include <stddef.h>
#include <sys/time.h>

static void on_tick(int sig)
{
	(void)sig;
}

void ff_tick(unsigned int every_us)
{
	/* No SA_RESTART: that is the point. */
	struct sigaction action = {
		.sa_handler = every_us ? on_tick : SIG_IGN,
	};
	const struct itimerval tick = { { 0, every_us }, { 0, every_us } };

	if (every_us)
		sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &tick, NULL);
	if (!every_us)
		sigaction(SIGALRM, &action, NULL);
}
