/* SPDX-License-Identifier: MIT */
/*
 * What src/patched goes by in a libxshmfence: the name of a variable among its
 * constants, with -DPATCHED; or where it is none.
 */
extern const char *shmfence_constant(void);
extern char shmfence_data[];

const char *shmfence_constant(void)
{
#ifdef PATCHED
	return "XSHMFENCE_NO_MEMFD";
#else
	return "XSHMFENCE_NO_MEMFD=1"; /* another string */
#endif
}

char shmfence_data[] = "XSHMFENCE_NO_MEMFD";
