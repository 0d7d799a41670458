#!/bin/sh
# Tortures lyftr at full length and writes what came of it into
# docs/RELIABILITY.md. TORTURE chooses tests by a regular expression on what
# follows TestTorture in their names: then the tables are only printed. LONG is how
# long the long run takes, if not an hour.
set -eu

document=docs/RELIABILITY.md
chosen=${TORTURE:-}

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
: >"$dir/rows"

began=$(date +%s)
{
	status=0
	LYFTR_TORTURE=full LYFTR_TORTURE_REPORT="$dir/rows" LYFTR_TORTURE_LONG="${LONG:-}" \
		go test -count=1 -timeout 3h -v -run "^TestTorture.*($chosen)" ./e2e || status=$?
	echo "$status" >"$dir/status"
} 2>&1 | tee "$dir/output"
minutes=$((($(date +%s) - began + 59) / 60))

# A test that failed has no row of its own, or one that says that it was not run.
sed -n 's/^--- FAIL: \([^ ]*\) .*/| Failed | `\1` | **FAILED** |/p' "$dir/output" >>"$dir/rows"
{
	printf '`make torture` at `%s`, %s %s, %s cores, %s min.\n' "$(git describe --tags --always --dirty)" \
		"$(uname -s)" "$(uname -r | cut -d - -f 1)" "$(nproc)" "$minutes"
	awk -F ' *[|] *' '
		{ section = $2; sub(/^[|][^|]*/, "") }
		!(section in rows) { order[++sections] = section }
		{ rows[section] = rows[section] $0 "\n" }
		END { for (i = 1; i <= sections; i++) printf "\n### %s\n\n| fault | what came of it |\n|---|---|\n%s", order[i], rows[order[i]] }
	' "$dir/rows"
} >"$dir/tables"

if [ -n "$chosen" ]; then
	cat "$dir/tables"
else
	awk -v tables="$dir/tables" '
		/^<!-- torture: end -->$/ { between = 0 }
		!between
		/^<!-- torture: begin/ { between = 1; print ""; while ((getline line < tables) > 0) print line; print "" }
	' "$document" >"$dir/document"
	cat "$dir/document" >"$document"
	echo "Written: $document"
fi
exit "$(cat "$dir/status")"
