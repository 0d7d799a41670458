#!/bin/sh
# Brings the programs that the tests use, or those that are given, each as
# program:package. Where they are missing, apt-get installs their Debian packages
# if it may; else one line says what to install.
set -eu

given="$*"
tools=${given:-'bash:bash chromium:chromium curl:curl etcd:etcd-server file:file gcc:gcc groff:groff-base haproxy:haproxy mkfs.ext4:e2fsprogs mount:mount openssl:openssl patroni:patroni promtool:prometheus sqlite3:sqlite3 strace:strace'}
PATH=$PATH:/usr/sbin # where haproxy and mkfs.ext4 are

# server says whether there is a PostgreSQL server.
server() {
	for initdb in /usr/lib/postgresql/*/bin/initdb "$(pg_config --bindir 2>/dev/null)/initdb"; do
		[ ! -x "$initdb" ] || return 0
	done
	return 1
}

# missing prints the packages of what is not there.
missing() {
	for tool in $tools; do
		command -v "${tool%%:*}" >/dev/null || printf ' %s' "${tool#*:}"
	done
	[ -z "$given" ] || return 0
	# Debian keeps the server's programs out of PATH.
	server || printf ' postgresql'
	# The race detector is linked with the C library.
	printf '#include <stdlib.h>\n' | gcc -x c -fsyntax-only - 2>/dev/null || printf ' libc6-dev'
}

# without_cluster keeps the package postgresql from making a database cluster
# that starts with the machine, on port 5432: the tests start their own.
clusters=/etc/postgresql-common/createcluster.d
without_cluster() {
	$as_root mkdir -p "$clusters"
	echo 'create_main_cluster = false' | $as_root tee "$clusters/lyftr.conf" >/dev/null
}

# without_services keeps the packages of etcd, haproxy and Prometheus from
# starting them now: the tests start their own. Debian asks this file; 101 is no.
policy=/usr/sbin/policy-rc.d
without_services() {
	[ ! -e "$policy" ] || return 0
	printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
	$as_root chmod 755 "$policy"
	trap '$as_root rm -f "$policy"' EXIT
}

packages=$(missing)
[ -n "$packages" ] || exit 0

as_root='sudo -n'
[ "$(id -u)" -ne 0 ] || as_root=
if command -v apt-get >/dev/null && $as_root true 2>/dev/null; then
	echo "Installing:$packages" >&2
	apt="$as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300"
	$apt update >&2 || true # an older list may do
	without_cluster
	without_services
	# shellcheck disable=SC2086 # it is a list
	$apt install -y --no-install-recommends $packages >&2 || true
	$as_root rm -f "$clusters/lyftr.conf"
	packages=$(missing)
	[ -n "$packages" ] || exit 0
fi
echo "Programs are missing: install the Debian packages$packages, or their like." >&2
exit 1
