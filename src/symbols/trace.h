/* SPDX-License-Identifier: MIT */
#ifndef FF_SYMBOLS_TRACE_H
#define FF_SYMBOLS_TRACE_H

#include "symbols.h"

/* The process that names frames (symbols.h). */

/* One event: the socket carries these, with a file that holds the snapshot, the
 * line and the text. */
struct ff_symbols_message {
	uint64_t number; /* 0: no event, but leave standard error */
	uint32_t line_size, text_size; /* 0: none */
};

#define FF_SYMBOLS_TEXT_MAX (1u << 20)

/* In that process: serve until the other end of the socket is closed. */
_Noreturn void ff_symbols_serve(int socket, int log_fd,
	struct ff_symbols_ledger *ledger);

#endif
