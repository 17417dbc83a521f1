/* SPDX-License-Identifier: MIT */
#include "relay.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { START_MS = 20000, ACCEPTED_MS = 20000, ROUNDS_PER_S = 500 };

long relay_rounds(void)
{
	const char *wanted = getenv("FF_SOAK_ROUNDS");
	long rounds = wanted ? atol(wanted) : 0;

	return rounds > RELAY_ROUNDS ? rounds : RELAY_ROUNDS;
}

const char *relay_address(void)
{
	static char address[PATH_MAX + 16];

	snprintf(address, sizeof(address), "unix:%s/relay", e2e_dir());
	return address;
}

const char *relay_option(void)
{
	static char option[PATH_MAX + 32];

	snprintf(option, sizeof(option), "--relay=%s", relay_address());
	return option;
}

static void append(struct e2e_run *run, const char *argument)
{
	unsigned int i = 0;

	while (run->command[i])
		i++;
	run->command[i] = argument;
}

void relay_host_start_at(struct relay_host *host, const char *listen,
	const char *waiters)
{
	long long deadline = e2e_now_ms() + START_MS;

	memset(&host->run, 0, sizeof(host->run));
	snprintf(host->shm_dir, sizeof(host->shm_dir), "--shm-dir=%s",
		e2e_shm_dir());
	snprintf(host->waiters, sizeof(host->waiters), "--waiters=%s",
		waiters ? waiters : "auto");
	append(&host->run, e2e_fenceferry());
	append(&host->run, "host");
	append(&host->run, "--verbose");
	append(&host->run, listen);
	append(&host->run, host->shm_dir);
	append(&host->run, host->waiters);
	e2e_start(&host->run);
	do {
		usleep(2000);
		e2e_look(&host->run);
		e2e_check(&host->run, e2e_now_ms() < deadline, "it starts");
	} while (!strstr(host->run.errors, "started: waits by"));
}

void relay_host_start(struct relay_host *host, const char *waiters)
{
	snprintf(host->listen, sizeof(host->listen), "--listen=%s",
		relay_address());
	relay_host_start_at(host, host->listen, waiters);
}

void relay_host_stop(struct relay_host *host)
{
	e2e_check(&host->run, !kill(host->run.pid, SIGTERM), "it lives");
	e2e_finish_beside(&host->run);
	e2e_check(&host->run, e2e_exited(&host->run, 0), "it ends by SIGTERM");
	e2e_check(&host->run,
		!strstr(host->run.errors, "refused: ") &&
			!strstr(host->run.errors, "dropped: "),
		"it had no quarrel");
}

void relay_host_kill(struct relay_host *host)
{
	e2e_check(&host->run, !kill(host->run.pid, SIGKILL), "it lives");
	e2e_finish_beside(&host->run);
	e2e_check(&host->run, WIFSIGNALED(host->run.status), "it is dead");
}

void relay_await_accepted(const struct e2e_run *run, unsigned int count)
{
	long long deadline = e2e_now_ms() + ACCEPTED_MS;

	while (e2e_logged(run, "\"from_host\"") < count) {
		e2e_check(run, e2e_now_ms() < deadline,
			"the fences are accepted");
		usleep(1000);
	}
}

/* As fence-peer prints them: "fence N: PID START-END INODE PATH". */
static void read_fences(const struct e2e_run *run, char paths[][256],
	unsigned int count)
{
	const char *line;
	char label[32];

	for (unsigned int i = 0; i < count; i++) {
		unsigned long long inode;

		snprintf(label, sizeof(label), "fence %u: ", i + 1);
		line = strstr(run->output, label);
		e2e_check(run, line, "the client shows its fences");
		e2e_check(run,
			sscanf(line + strlen(label), "%*d %*x-%*x %llu",
				&inode) == 1,
			"the client shows where they are");
		e2e_find_name(inode, paths[i]);
		e2e_check(run, *paths[i],
			"they are files with names in the shm dir");
	}
}

const char *relay_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static void set_command(struct e2e_run *run, const char *program,
	const char *role, const char *rounds, const char *delay)
{
	append(run, program ? program : e2e_client("fence-peer"));
	append(run, role);
	append(run, rounds);
	append(run, delay);
	/* The other one is started later, and may be short of processors. */
	append(run, "--timeout=30");
}

void relay_play(struct relay_pair *pair, const char *role,
	const char *anti_role, long rounds, const char *delay)
{
	const bool two = !strcmp(role, "--ping") || !strcmp(role, "--pong");

	snprintf(pair->client_rounds, sizeof(pair->client_rounds),
		"--rounds=%ld", rounds - pair->sleepers);
	snprintf(pair->client_sleepers, sizeof(pair->client_sleepers),
		"--sleepers=%u", pair->sleepers);
	snprintf(pair->peer_rounds, sizeof(pair->peer_rounds), "--rounds=%ld",
		rounds);
	if (pair->emulator)
		append(&pair->client, pair->emulator);
	set_command(&pair->client, pair->foreign_peer, role,
		pair->client_rounds, delay);
	set_command(&pair->peer, NULL, anti_role, pair->peer_rounds, delay);
	pair->client.wrapped = true;
	pair->client.patience_s = rounds / ROUNDS_PER_S;
	pair->peer.patience_s = rounds / ROUNDS_PER_S;
	append(&pair->client, "--make");
	if (pair->storm)
		append(&pair->client, pair->storm);
	if (pair->sleepers)
		append(&pair->client, pair->client_sleepers);
	e2e_start(&pair->client);
	e2e_await(&pair->client, two ? "\nfence 2: " : "fence 1: ");
	read_fences(&pair->client, pair->fences, two ? 2 : 1);
	append(&pair->peer, pair->fences[0]);
	if (two)
		append(&pair->peer, pair->fences[1]);
	e2e_start(&pair->peer);
}

static void check_player(const struct e2e_run *run, long rounds)
{
	const char *line = strstr(run->output, "rounds: ");
	long played, sleeps, wakes;

	e2e_check(run, e2e_exited(run, 0) && strstr(run->output, "OK\n"),
		"the player is content");
	e2e_check(run, line && sscanf(line, "rounds: %ld, sleeps %ld, wakes "
					    "%ld", &played, &sleeps,
				       &wakes) == 3,
		"it says what it did");
	e2e_check(run, played == rounds, "it played all rounds");
	/* Rounds that find the fence triggered prove nothing of wakes. */
	e2e_check(run, sleeps + wakes > rounds / 10,
		"it slept or woke in many of them");
}

void relay_finish(struct relay_pair *pair, long rounds)
{
	e2e_finish_beside(&pair->peer);
	/* Its words explain most of what may be wrong with the other. */
	if (!e2e_exited(&pair->peer, 0))
		fprintf(stderr, "the peer: %s\n", pair->peer.errors);
	e2e_finish(&pair->client);
	check_player(&pair->client, rounds);
	check_player(&pair->peer, rounds);
}

void relay_join(struct e2e_run *run, const char *anti_role)
{
	static const char *const labels[] = {"first fence: ", "last fence: "};
	struct e2e_mapping fences[2];
	struct e2e_run peer = {.command = {e2e_client("fence-peer"), anti_role,
			RELAY_JOIN_ROUNDS, "--timeout=30", fences[0].path,
			fences[1].path}};

	for (int i = 0; i < 2; i++) {
		e2e_read_mapping(run->output, labels[i], &fences[i]);
		e2e_find_name(fences[i].inode, fences[i].path);
	}
	e2e_start(&peer);
	e2e_go_on(run);
	e2e_finish_beside(&peer);
	if (!e2e_exited(&peer, 0))
		fprintf(stderr, "the peer: %s\n", peer.errors);
	e2e_finish(run);
	e2e_check(run, e2e_exited(run, 0), "the client is content");
	e2e_check(&peer, e2e_exited(&peer, 0), "the peer is content");
	e2e_check(run, !*run->errors, "nobody complains");
}
