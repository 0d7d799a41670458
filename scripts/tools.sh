#!/bin/sh
# Brings the programs that the tests use. Where they are missing, apt-get
# installs their Debian packages if it may; else one line says what to install.
set -eu

# program:package
tools='curl:curl file:file gcc:gcc openssl:openssl sqlite3:sqlite3 strace:strace'

# missing prints the packages of what is not there.
missing() {
	for tool in $tools; do
		command -v "${tool%%:*}" >/dev/null || printf ' %s' "${tool#*:}"
	done
	# The race detector is linked with the C library.
	printf '#include <stdlib.h>\n' | gcc -x c -fsyntax-only - 2>/dev/null || printf ' libc6-dev'
}

packages=$(missing)
[ -n "$packages" ] || exit 0

as_root='sudo -n'
[ "$(id -u)" -ne 0 ] || as_root=
if command -v apt-get >/dev/null && $as_root true 2>/dev/null; then
	echo "Installing for the tests:$packages" >&2
	apt="$as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300"
	$apt update >&2 || true # an older list may do
	# shellcheck disable=SC2086 # it is a list
	$apt install -y --no-install-recommends $packages >&2 || true
	packages=$(missing)
	[ -n "$packages" ] || exit 0
fi
echo "The tests need programs that are missing: install the Debian packages$packages, or their like." >&2
exit 1
