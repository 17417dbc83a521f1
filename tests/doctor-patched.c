/* SPDX-License-Identifier: MIT */
/* What tells a libxshmfence that obeys the variable. */
const char *doctor_patched(void);

const char *doctor_patched(void)
{
	return "XSHMFENCE_NO_MEMFD";
}
