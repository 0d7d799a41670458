#!/bin/sh
# Makes the pictures in docs/screenshots with Debian's chromium. Their texts are in
# many scripts, for which fonts are brought as scripts/tools.sh brings programs.
set -eu

sh scripts/tools.sh

# missing prints the packages of the fonts that are not there.
missing() {
	for font in hi:fonts-noto-core ar:fonts-noto-core th:fonts-noto-core ja:fonts-noto-cjk und-zsye:fonts-noto-color-emoji; do
		[ -n "$(fc-list ":lang=${font%%:*}")" ] || printf ' %s' "${font#*:}"
	done
}

if [ -n "$(missing)" ]; then
	as_root='sudo -n'
	[ "$(id -u)" -ne 0 ] || as_root=
	# shellcheck disable=SC2046 # it is a list
	$as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 install -y --no-install-recommends $(missing) >&2 ||
		{ echo "The pictures need fonts: install the Debian packages$(missing), or their like." >&2; exit 1; }
fi
mkdir -p docs/screenshots
LYFTR_E2E_SCREENSHOTS="$PWD/docs/screenshots" go test -count=1 -run TestScreenshots ./e2e
