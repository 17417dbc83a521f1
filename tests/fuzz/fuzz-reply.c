/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer target: which replies carry which fds. The input is how many fds
 * came along, what each of them is, and the bytes to be read.
 */
#include "x11/reply.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 8, HEAD = 1 + MOST };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int condition)
{
	if (!condition)
		abort();
}

static int is_buffer(const char *name)
{
	return !strncmp(name, "DRI3.Buffer", strlen("DRI3.Buffer"));
}

/* The fds of one reply follow each other, and are of one kind. */
static void check(const struct ff_x11_reply *out,
	const enum ff_x11_goods *goods, size_t nfds)
{
	for (size_t i = 0; i < nfds; i++) {
		must(out[i].name && out[i].name[0] && out[i].index < 4);
		must(is_buffer(out[i].name) ? goods[i] != FF_X11_DEVICE :
			goods[i] != FF_X11_OTHER && goods[i] != FF_X11_DMABUF);
		if (!out[i].index)
			continue;
		must(i && out[i - 1].index + 1 == out[i].index);
		must(out[i - 1].name == out[i].name &&
			out[i - 1].sequence == out[i].sequence &&
			goods[i - 1] == goods[i]);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum ff_x11_goods *goods;
	struct ff_x11_reply *out;
	uint8_t *bytes;
	size_t nfds;
	int rc;

	if (size < HEAD)
		return 0;
	nfds = data[0] % (MOST + 1);
	/* Blocks of their own size, so that the sanitizer sees what lies
	 * beyond; the bytes at an odd address. */
	goods = malloc(nfds * sizeof(*goods) + 1);
	out = malloc(nfds * sizeof(*out) + 1);
	bytes = malloc(size - HEAD + 1);
	must(goods && out && bytes);
	for (size_t i = 0; i < nfds; i++)
		goods[i] = (enum ff_x11_goods)(data[1 + i] % 5);
	memset(out, 0xa5, nfds * sizeof(*out));
	memcpy(bytes + 1, data + HEAD, size - HEAD);
	rc = ff_x11_find_replies(bytes + 1, size - HEAD, goods, nfds, out);
	must(rc == 0 || rc == -ENOMSG);
	for (size_t i = 0; rc && i < nfds; i++)
		must(!out[i].name);
	if (!rc)
		check(out, goods, nfds);
	free(bytes);
	free(out);
	free(goods);
	return 0;
}
