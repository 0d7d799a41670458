# Reads `go test -json` and prints what `go test` prints: a line for each
# package, and the output of what failed. Exits with 1 if go test failed, if a
# test was skipped, or if none ran. The last line of its input is "exit STATUS".

/^exit [0-9]+$/ { status = $2; ended = 1; next }
!/^\{/ { print; next }
{
	action = field("Action")
	package = field("Package")
	test = field("Test")
	key = package SUBSEP test
	text = action ~ /output$/ ? field("Output") : ""
}
action == "build-output" { printf "%s", text }
action == "output" && test == "" && text != "PASS\n" { printf "%s", text; fflush() }
action == "output" && test != "" && text ~ /^ *--- (FAIL|PASS|SKIP): / { verdict[key] = text; next }
action == "output" && test != "" && text !~ /^=== / { output[key] = output[key] text }
action == "run" { running[key] = 1 }
action == "pass" && test != "" { passed++; forget() }
action == "skip" && test != "" { skipped++; skips = skips "  " package " " test "\n"; forget() }
action == "fail" && test != "" { failed++; show(); forget() }
# A panic or a time-out ends a package without a word on what was running.
action == "fail" && test == "" {
	for (key in running) if (index(key, package SUBSEP) == 1) { failed++; show(); forget() }
}

END {
	if (skipped) printf "Skipped, which counts as failed:\n%s", skips
	if (!ended) print "go test did not end."
	printf "tests: %d passed, %d failed, %d skipped\n", passed, failed, skipped
	exit !(ended && status == 0 && passed > 0 && failed + skipped == 0)
}

function show() { printf "%s%s", verdict[key], output[key] }

function forget() { delete verdict[key]; delete output[key]; delete running[key] }

# field returns the string that is a member of the object in $0. A name in
# quotes cannot occur within a string, where quotes are escaped.
function field(name,   at, rest, value, c) {
	at = index($0, "\"" name "\":\"")
	if (!at) return ""
	rest = substr($0, at + length(name) + 4)
	while (match(rest, /["\\]/)) {
		value = value substr(rest, 1, RSTART - 1)
		c = substr(rest, RSTART, 1)
		if (c == "\"") return value
		c = substr(rest, RSTART + 1, 1)
		rest = substr(rest, RSTART + 2)
		if (c == "u") { value = value character(substr(rest, 1, 4)); rest = substr(rest, 5) }
		else value = value (c == "n" ? "\n" : c == "t" ? "\t" : c == "r" ? "\r" : c)
	}
	return value rest
}

# character returns what four hexadecimal digits mean, if it is ASCII.
function character(hex,   n, i) {
	for (i = 1; i <= 4; i++) n = n * 16 + index("0123456789abcdef", tolower(substr(hex, i, 1))) - 1
	return n > 0 && n < 128 ? sprintf("%c", n) : "\\u" hex
}
