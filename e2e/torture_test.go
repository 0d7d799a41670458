package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// The tests whose names begin with TestTorture do to lyftr what a hard life does.
// They have two sizes: the short one is part of all tests, the full one is run by
// make torture, which writes what they found into docs/RELIABILITY.md.
const (
	// tortureVariable set to "full" makes them as long as make torture wants them.
	tortureVariable = "LYFTR_TORTURE"
	// reportVariable names the file to which they append what they found.
	reportVariable = "LYFTR_TORTURE_REPORT"
)

// tortured returns how much a torture test does in the size that is asked for.
func tortured[T any](short, full T) T {
	if os.Getenv(tortureVariable) == "full" {
		return full
	}
	return short
}

// found reports what came of a fault: a row of the table that make torture makes,
// its section first. A test reports when it is about to pass.
func found(t *testing.T, section, fault, result string) {
	t.Helper()
	t.Logf("%s: %s: %s", section, fault, result)
	if !t.Failed() {
		report(t, section, fault, result)
	}
}

// notRun ends a test whose fault cannot be made here. It counts as failed: a
// fault that was not tried has not passed.
func notRun(t *testing.T, section, fault, why string) {
	t.Helper()
	report(t, section, fault, "**NOT RUN**: "+why)
	t.Fatalf("NOT RUN: %s: %s: %s", section, fault, why)
}

// report adds a row to the file that make torture asks for.
func report(t *testing.T, section, fault, result string) {
	t.Helper()
	name := os.Getenv(reportVariable)
	if name == "" {
		return
	}
	file, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	cell := strings.NewReplacer("|", `\|`, "\n", " ").Replace
	_, err = fmt.Fprintf(file, "| %s | %s | %s |\n", cell(section), cell(fault), cell(result))
	if closed := file.Close(); err != nil || closed != nil {
		t.Fatal(err, closed)
	}
}
