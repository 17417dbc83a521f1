/* SPDX-License-Identifier: MIT */
/* fenceferry doctor in a guest whose /dev/shm is the host's memory. */
#include "vm/machine.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATIENCE_S = 100 };

static struct vm vm;

static void end(void)
{
	vm_end(&vm);
}

/* The host's end, behind the port. */
static void start_host(struct vm_peer *host)
{
	char address[120], listen[140], dir[120];
	const char *const argv[] = { getenv("FENCEFERRY"), "host", listen, dir,
		NULL };

	cr_assert_not_null(argv[0]);
	snprintf(address, sizeof(address), "unix:%s/relay", vm.dir);
	snprintf(listen, sizeof(listen), "--listen=%s", address);
	snprintf(dir, sizeof(dir), "--shm-dir=%s/shm", vm.dir);
	vm_peer_start(&vm, host, "host", argv);
	vm_start_ferry(&vm, address);
}

/* What is looked at last says that all was written. */
Test(doctor, dax_and_a_host_in_another_kernel_are_found, .fini = end,
	.timeout = 240)
{
	struct vm_peer host;
	const char *output;

	vm_boot(&vm, &vm_x86_64);
	start_host(&host);
	vm_start(&vm, 0, 0, "fenceferry doctor "
		"--relay=char:/dev/virtio-ports/relay");
	vm_wait_output(&vm, 0, " host: ", PATIENCE_S);
	cr_assert_eq(vm_wait_exit(&vm, 0, PATIENCE_S), 0, "%s",
		vm.inside[0].output);
	output = vm.inside[0].output;
	cr_expect(strstr(output, "/dev/shm is ext4, mounted "), "%s", output);
	cr_expect(strstr(output, "ext4 with DAX: mapped memory is the "
		"device's, and so the host's"), "%s", output);
	cr_expect(strstr(output, "a futex in it works between two processes"),
		"%s", output);
	cr_expect(strstr(output, "a fenceferry host in another kernel takes "
		"us\n"), "%s", output);
	cr_expect(!strstr(output, "missing"), "%s", output);
}
