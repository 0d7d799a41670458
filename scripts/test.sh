#!/bin/sh
# Runs all tests, with the race detector where it can run. A test that is
# skipped counts as failed: what it needs belongs into scripts/tools.sh.
set -eu

# Where race detection is, it leaves out SQLite's C code, which is Go code here,
# and the C library below it: their memory is outside Go's heap, where the
# detector sees nothing, and watching them takes most of the time of the tests.
race=-race
for package in modernc.org/sqlite/lib modernc.org/libc modernc.org/memory; do
	race="$race -gcflags=$package=-race=false"
done
cc=$(go env CC)
if [ "$(go env CGO_ENABLED)" != 1 ]; then
	race='' && echo "Without the race detector: CGO_ENABLED is not 1." >&2
elif ! command -v "${cc%% *}" >/dev/null; then
	race='' && echo "Without the race detector: there is no C compiler ($cc)." >&2
elif ! go list -race unsafe >/dev/null 2>&1; then
	race='' && echo "Without the race detector: it does not run on $(go env GOOS)/$(go env GOARCH)." >&2
fi

echo "go test $race -count=1 -timeout 15m ./..."
# The last line takes the exit status through the pipe.
{ status=0; go test -json $race -count=1 -timeout 15m ./... || status=$?; echo "exit $status"; } |
	awk -f scripts/test.awk
