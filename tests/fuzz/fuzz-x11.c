/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer target: the walk through X requests. The input is the four
 * extensions' opcodes, how many fds came along, how many bytes of the message
 * were not read, and those that were.
 */
#include "x11/request.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { HEAD = 6 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int condition)
{
	if (!condition)
		abort();
}

static int same_name(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

static void walk(const uint8_t *bytes, size_t size, size_t total,
	const struct ff_x11_opcodes *ops, size_t nfds)
{
	struct ff_x11_request *out = malloc(nfds * sizeof(*out) + 1);
	struct ff_x11_request *more = malloc((nfds + 1) * sizeof(*more));
	int rc;

	must(out && more);
	memset(out, 0xa5, nfds * sizeof(*out) + 1);
	rc = ff_x11_walk(bytes, size, total, ops, nfds, out);
	must(rc == 0 || rc == -EBADMSG || rc == -ENOMSG);
	must(((uint8_t *)out)[nfds * sizeof(*out)] == 0xa5);
	for (size_t i = 0; i < nfds; i++) {
		must((rc == 0) == (out[i].name != NULL));
		if (!rc) {
			must(out[i].name[0] != '\0');
			must(out[i].index <= i && out[i].index < 4);
			must(!out[i].index ||
				(out[i].index == out[i - 1].index + 1 &&
					same_name(
						out[i].name, out[i - 1].name)));
		}
	}
	/* The same bytes, read to the end of the message, and a fd too many:
	 * in one byte order of two it may be right, but then all of it is. */
	rc = ff_x11_walk(bytes, size, size, ops, nfds + 1, more);
	for (size_t i = 0; i < nfds + 1; i++)
		must((rc == 0) == (more[i].name != NULL));
	free(more);
	free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ff_x11_opcodes ops;
	uint8_t *bytes;
	size_t nfds, unread;

	if (size < HEAD)
		return 0;
	ops = (struct ff_x11_opcodes){data[0], data[1], data[2], data[3]};
	nfds = data[4];
	unread = (size_t)data[5] * 4;
	data += HEAD;
	size -= HEAD;
	/* At the end of a block, so that the sanitizer sees what lies beyond,
	 * and at an odd address. */
	bytes = malloc(size + 1);
	must(bytes != NULL);
	if (size)
		memcpy(bytes + 1, data, size);
	walk(bytes + 1, size, size, &ops, nfds);
	walk(bytes + 1, size, size + unread, &ops, nfds);
	free(bytes);
	return 0;
}
