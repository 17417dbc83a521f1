/* SPDX-License-Identifier: MIT */
#include "arch.h"

extern const struct ff_arch ff_arch_x86_64, ff_arch_i386;

const struct ff_arch *ff_arch_by_regs(size_t regs_size)
{
	if (regs_size == ff_arch_x86_64.regs_size)
		return &ff_arch_x86_64;
	return regs_size == ff_arch_i386.regs_size ? &ff_arch_i386 : NULL;
}

const struct ff_arch *ff_arch_by_audit(uint32_t audit_arch)
{
	if (audit_arch == ff_arch_x86_64.audit_arch)
		return &ff_arch_x86_64;
	return audit_arch == ff_arch_i386.audit_arch ? &ff_arch_i386 : NULL;
}

const struct ff_arch *ff_arch_by_addresses(uint64_t ip, uint64_t sp)
{
	return ip >> 32 || sp >> 32 ? &ff_arch_x86_64 : &ff_arch_i386;
}

const struct ff_arch *ff_arch_native(void)
{
	return &ff_arch_x86_64;
}
