/* SPDX-License-Identifier: MIT */
#ifndef FF_BPF_H
#define FF_BPF_H

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Seccomp programs (classic BPF) without a kernel. length is in instructions. */

/* Would the kernel take it? (bpf_check_classic, seccomp_check_filter) */
bool ff_bpf_is_valid(const struct sock_filter *code, size_t length);

/*
 * What the program returns for a call: SECCOMP_RET_*, and its data in the low
 * 16 bits. SECCOMP_RET_KILL_PROCESS if it is not valid.
 */
uint32_t ff_bpf_run(const struct sock_filter *code, size_t length,
	const struct seccomp_data *data);

#endif
