/* SPDX-License-Identifier: MIT */
/* fenceferry doctor in a guest whose /dev/shm is the host's memory. */
#include "vm/machine.h"

#include <criterion/criterion.h>
#include <string.h>

enum { PATIENCE_S = 60 };

static struct vm vm;

static void end(void)
{
	vm_end(&vm);
}

/* What is looked at last says that all was written. */
Test(doctor, dax_is_told_to_be_shared, .fini = end, .timeout = 150)
{
	const char *output;

	vm_boot(&vm);
	vm_start(&vm, 0, 0, "fenceferry doctor");
	vm_wait_output(&vm, 0, " host: ", PATIENCE_S);
	cr_assert_eq(vm_wait_exit(&vm, 0, PATIENCE_S), 0, "%s",
		vm.inside[0].output);
	output = vm.inside[0].output;
	cr_expect(strstr(output, "/dev/shm is ext4, mounted "), "%s", output);
	cr_expect(strstr(output, "ext4 with DAX: mapped memory is the "
		"device's, and so the host's"), "%s", output);
	cr_expect(strstr(output, "a futex in it works between two processes"),
		"%s", output);
	cr_expect(!strstr(output, "missing"), "%s", output);
}
