#!/bin/sh
# Fuzzes every target of every package, each for FUZZTIME. An input that fails
# is kept in the package's testdata/fuzz: commit it with the cure.
set -eu

: "${FUZZTIME:=5s}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
trap 'exit 1' INT TERM

packages=$(grep -rl --include='*_test.go' '^func Fuzz' . | sed 's|/[^/]*$||' | sort -u)
[ -n "$packages" ] || { echo "There is no fuzz target." >&2; exit 1; }
# shellcheck disable=SC2086 # it is a list
go test -list '^Fuzz' $packages >"$log" || { cat "$log"; exit 1; }
# The names of a package's targets come before its own line.
targets=$(awk '/^Fuzz/ { names[++n] = $1 } /^ok/ { for (i = 1; i <= n; i++) print $2, names[i]; n = 0 }' "$log")

# fuzz PACKAGE TARGET fuzzes, and leaves the output in the log.
fuzz() {
	echo "go test -run ^\$ -fuzz ^$2\$ -fuzztime $FUZZTIME $1"
	{ go test -run '^$' -fuzz "^$2\$" -fuzztime "$FUZZTIME" "$1" </dev/null 2>&1 || echo 'fuzz: failed'; } | tee "$log"
	! grep -q '^fuzz: failed$' "$log"
}

# Before Go 1.27 the end of the time may itself be reported as a failure, with
# no input that fails: https://go.dev/issue/75804
only_ended() {
	grep -q '^ *context deadline exceeded$' "$log" && ! grep -Eq 'Failing input|panic:|_test\.go:' "$log"
}

echo "$targets" | while read -r package target; do
	fuzz "$package" "$target" || { only_ended && fuzz "$package" "$target"; } || exit 1
done
