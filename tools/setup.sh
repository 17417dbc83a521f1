# SPDX-License-Identifier: MIT
# shellcheck shell=sh disable=SC2034 # who sources it uses the lists
#
# What ./demo and ./check have in common: the packages, and a build out of
# tree. To be sourced in the top directory, by a script that has set ff_me.
#
# FF_NO_INSTALL=1 leaves the packages alone: for systems other than Debian.

# To build fenceferry.
ff_build_packages="autoconf automake make gcc libc6-dev pkg-config
	libseccomp-dev libxcb1-dev libxau-dev libjansson-dev liburing-dev
	libsystemd-dev libelf-dev libdw-dev"
# An X server with fences, and a client for it.
ff_fence_packages="xserver-xorg-core xserver-xorg-dev
	xserver-xorg-video-dummy libxcb-dri3-dev libxcb-present-dev
	libxcb-sync-dev libxcb-shm0-dev libxshmfence-dev"
# What runs the applications of `make check-apps`; each has its own packages, in
# tests/applications/applications.py.
ff_app_packages="$ff_fence_packages xvfb python3 python3-pil python3-xlib
	fonts-dejavu-core"
# The tests; xz-utils for the tarball of make distcheck, clang for fuzzing;
# QEMU and what makes its guest, whose kernel tests/vm/fetch-kernel gets.
# The applications are what tests/apps runs; strace, gdb and bubblewrap are run
# beside fenceferry; zsh, as bash does, completes its options; mandoc reads the
# manual pages.
ff_test_packages="libcriterion-dev xvfb xz-utils clang libclang-rt-14-dev
	strace gdb bubblewrap qemu-system-x86 e2fsprogs cpio x11-apps xterm
	mesa-utils libgl1-mesa-dri gtk-3-examples qt5ct bash-completion zsh
	mandoc"
# On x86_64: programs for i386 and, emulated, for aarch64; all of it for aarch64,
# and a machine to run that in. (gcc-multilib, without a number, excludes the
# cross compiler.)
ff_x86_64_packages="gcc-12-multilib gcc-aarch64-linux-gnu
	libc6-dev-arm64-cross qemu-user qemu-system-arm"

: "${ff_me:?}"
ff_top=$(pwd -P)
umask 022

ff_say()
{
	printf '%s: %s\n' "$ff_me" "$*"
}

ff_die()
{
	printf '%s: %s\n' "$ff_me" "$*" >&2
	exit 1
}

# Run a command as root; 1 if there is no way.
ff_as_root()
{
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo "$@"
	else
		return 1
	fi
}

# Those of the packages that are not installed.
ff_missing_packages()
{
	for package; do
		[ "$(dpkg-query -W -f '${db:Status-Status}' "$package" \
			2>/dev/null)" = installed ] || printf ' %s' "$package"
	done
}

# Install what is missing of the packages.
ff_need()
{
	[ -z "${FF_NO_INSTALL:-}" ] || return 0
	if ! command -v dpkg-query || ! command -v apt-get; then
		ff_die "this is no Debian: install what these packages of" \
			"Debian 12 contain, then set FF_NO_INSTALL=1:" "$@"
	fi >/dev/null
	missing=$(ff_missing_packages "$@")
	[ -n "$missing" ] || return 0
	if [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null; then
		ff_die "not root, and there is no sudo; as root, run:" \
			"apt-get install$missing"
	fi
	ff_say "installing these packages:$missing"
	ff_as_root apt-get -q update ||
		ff_die "apt-get update fails: see above"
	# shellcheck disable=SC2086 # a list of words
	ff_as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y \
		--no-install-recommends -o Acquire::Retries=3 \
		install $missing ||
		ff_die "apt-get install fails: see above"
	missing=$(ff_missing_packages "$@")
	[ -z "$missing" ] || ff_die "still not installed:$missing"
}

# Configure in a directory of its own: DIR [CONFIGURE-OPTION...]
ff_configure()
{
	dir=$1
	shift
	case $ff_top$dir in
	*[[:space:]]*)
		ff_die "make cannot build in a path with spaces: $ff_top"
		;;
	esac
	if [ ! -x configure ] || [ ! -e Makefile.in ]; then
		autoreconf -fi || ff_die "autoreconf fails: see above"
	fi
	mkdir -p "$dir"
	if [ -e "$dir/Makefile" ] &&
		[ "$(cat "$dir/options" 2>/dev/null)" = "$*" ]; then
		return 0
	fi
	(cd "$dir" && "$ff_top/configure" -q "$@") ||
		ff_die "configure fails: see above, and $dir/config.log"
	printf '%s\n' "$*" >"$dir/options"
}

# Run make in DIR on all processors: DIR [ARGUMENT...]
ff_make()
{
	dir=$1
	shift
	make -C "$dir" -s --no-print-directory -j"$(nproc)" "$@"
}
