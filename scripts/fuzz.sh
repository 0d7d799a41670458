#!/bin/sh
# Fuzzes every target of every package, each for FUZZTIME. An input that fails
# is kept in the package's testdata/fuzz: commit it with the cure.
set -eu

: "${FUZZTIME:=3s}"
work=$(mktemp -d)
log=$work/log
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

packages=$(grep -rl --include='*_test.go' '^func Fuzz' . | sed 's|/[^/]*$||' | sort -u)
[ -n "$packages" ] || { echo "There is no fuzz target." >&2; exit 1; }
# What is interesting is kept where go test keeps it, and go clean -fuzzcache finds it.
kept=$(go env GOCACHE)/fuzz

# fuzz PACKAGE TARGET fuzzes with the package's binary, and leaves the output in the log.
fuzz() {
	echo "go test -run ^\$ -fuzz ^$2\$ -fuzztime $FUZZTIME $1"
	{
		cd "$1" && "$work/test" -test.run '^$' -test.fuzz "^$2\$" -test.fuzztime "$FUZZTIME" \
			-test.fuzzcachedir "$kept/$(go list)" </dev/null 2>&1 || echo 'fuzz: failed'
	} | tee "$log"
	! grep -q '^fuzz: failed$' "$log"
}

# Before Go 1.27 the end of the time may itself be reported as a failure, with
# no input that fails: https://go.dev/issue/75804
only_ended() {
	grep -q '^ *context deadline exceeded$' "$log" && ! grep -Eq 'Failing input|panic:|_test\.go:' "$log"
}

for package in $packages; do
	# go test -fuzz would link it again for each target.
	go test -c -fuzz . -o "$work/test" "$package"
	targets=$("$work/test" -test.list '^Fuzz')
	for target in $targets; do
		fuzz "$package" "$target" || { only_ended && fuzz "$package" "$target"; } || exit 1
	done
done
