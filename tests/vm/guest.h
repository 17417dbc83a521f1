/* SPDX-License-Identifier: MIT */
#ifndef FF_TEST_VM_GUEST_H
#define FF_TEST_VM_GUEST_H

#include <stddef.h>
#include <sys/types.h>

/*
 * The guest's first process, one static program. It prepares the guest and then
 * does what is asked for over two virtio-serial ports, in lines:
 *
 * control, from the host:
 *   start TAG UID PROGRAM [ARG]...  (TAG: a small number; no quoting)
 *   signal TAG NUMBER
 *   kill PID NUMBER
 *   off
 * control, to the host:
 *   ready TEXT
 *   out TAG LINE     of standard output or standard error
 *   exit TAG STATUS  as a shell counts it; all its lines came before
 *
 * pages, from the host:  where PATH
 * pages, to the host:    page N, or failed ERRNO
 *   which page of the file system's device has the first page of a file
 */

/* Say why on the console and switch off. */
_Noreturn void ff_guest_die(const char *format, ...)
	__attribute__((format(printf, 1, 2)));

/* Mounts, modules, the shared directory, Yama's scope. */
void ff_guest_setup(void);

/* Open a virtio-serial port by its name, for which a name in
 * /dev/virtio-ports is made. */
int ff_guest_open_port(const char *name);

/* Let a server that is just enough of an X server answer on display :0. */
void ff_guest_start_x(void);

/* Serve both ports until the guest is to be switched off. */
void ff_guest_serve(int control, int pages);

#endif
