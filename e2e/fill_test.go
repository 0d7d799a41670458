package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// filled is what bench fill prints.
type filled struct {
	Messages, Duplicates, Next int64
	Start                      string
	DatabaseBytes              int64   `json:"database_bytes"`
	PerSecond                  float64 `json:"messages_per_second"`
}

// fillCommand returns a lyftr bench fill of the database.
func fillCommand(database string, args ...string) *exec.Cmd {
	cmd := exec.Command(binary, append([]string{"bench", "fill", "--database-url=sqlite:///" + database}, args...)...)
	cmd.Dir, cmd.Env = filepath.Dir(database), []string{}
	return cmd
}

func runFill(t *testing.T, database string, args ...string) filled {
	t.Helper()
	cmd := fillCommand(database, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	var f filled
	if err := json.Unmarshal(out, &f); err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	return f
}

// storedTotal returns how many messages a server says it has stored.
func storedTotal(t *testing.T, p *process) int64 {
	t.Helper()
	_, metrics := get(t, p.url("/metrics"))
	for line := range strings.Lines(string(metrics)) {
		if value, ok := strings.CutPrefix(line, "lyftr_stored_messages "); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				t.Fatal(err)
			}
			return int64(n)
		}
	}
	t.Fatalf("no number of messages in:\n%s", metrics)
	return 0
}

// TestFillStopsAndGoesOn interrupts a fill, which has to say where it stopped,
// and goes on from there.
func TestFillStopsAndGoesOn(t *testing.T) {
	database := filepath.Join(t.TempDir(), "app.db")
	cmd := fillCommand(database, "--count=100000000", "--start=2025-01-01T00:00:00Z")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	deadline := time.After(30 * time.Second)
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for begun := false; !begun; {
		select {
		case <-look.C:
			info, err := os.Stat(database + "-wal")
			begun = err == nil && info.Size() > 1<<20
		case <-deadline:
			_ = cmd.Process.Kill()
			t.Fatalf("nothing was stored: %s", stderr.String())
		}
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	var stopped filled
	if err := json.Unmarshal(stdout.Bytes(), &stopped); err != nil {
		t.Fatalf("%s: %v", stdout.String(), err)
	}
	if stopped.Messages == 0 || stopped.Duplicates != 0 || stopped.Next != stopped.Messages || stopped.DatabaseBytes == 0 || stopped.PerSecond <= 0 {
		t.Errorf("it says %+v", stopped)
	}

	// One message of those before, so that it is seen where the second begins.
	went := runFill(t, database, "--start=2025-01-01T00:00:00Z",
		fmt.Sprintf("--skip=%d", stopped.Next-1), fmt.Sprintf("--count=%d", stopped.Next+2000))
	if went.Messages != 2001 || went.Duplicates != 1 {
		t.Errorf("going on: %+v", went)
	}
	if got, want := storedTotal(t, start(t, database)), stopped.Next+2000; got != want {
		t.Errorf("%d messages are stored, want %d", got, want)
	}
}

// measured is a line of bench read.
type measured struct {
	Name                string
	Count, Rows, Errors int64
	P50                 float64 `json:"p50_ms"`
	P90                 float64 `json:"p90_ms"`
	P99                 float64 `json:"p99_ms"`
	Max                 float64 `json:"max_ms"`
	Matches             int64   `json:"mean_matches"`
	PeakRSS             int64   `json:"peak_rss_bytes"`
}

// runRead runs lyftr bench read with JSON lines.
func runRead(t *testing.T, p *process, args ...string) (lines []measured, stderr string, err error) {
	t.Helper()
	cmd := exec.Command(binary, append([]string{"bench", "read", "--json", "--url=" + p.url("")}, args...)...)
	cmd.Dir, cmd.Env = t.TempDir(), []string{}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	for scanner := bufio.NewScanner(&out); scanner.Scan(); {
		var m measured
		if err := json.Unmarshal(scanner.Bytes(), &m); err != nil {
			t.Fatalf("%s: %v", scanner.Bytes(), err)
		}
		lines = append(lines, m)
	}
	return lines, errs.String(), err
}

// TestBenchRead asks a server for all kinds of reads while messages arrive.
func TestBenchRead(t *testing.T) {
	database := filepath.Join(t.TempDir(), "app.db")
	if f := runFill(t, database, "--count=2000"); f.Messages != 2000 {
		t.Fatalf("fill: %+v", f)
	}
	p := start(t, database, "API_TOKEN=one")
	lines, stderr, err := runRead(t, p, "--token=one,two", "--secret="+secret, "--rate-webhooks=200", "--duration=20ms", "--concurrency=2",
		fmt.Sprintf("--pid=%d", p.cmd.Process.Pid))
	if err != nil {
		t.Fatalf("%v: %s", err, stderr)
	}
	if len(lines) < 40 {
		t.Fatalf("%d lines", len(lines))
	}
	memory, load := lines[len(lines)-1], lines[len(lines)-2]
	if memory.PeakRSS < 1<<20 {
		t.Errorf("memory: %+v", memory)
	}
	if load.Name != "webhooks meanwhile" || load.Rows == 0 || load.Rows != load.Count {
		t.Errorf("webhooks: %+v", load)
	}
	if got, want := storedTotal(t, p), 2000+load.Rows; got != want {
		t.Errorf("%d messages are stored, want %d", got, want)
	}
	names := map[string]bool{}
	for _, m := range lines[:len(lines)-1] {
		if m.Count < 1 || m.Errors != 0 || m.P50 <= 0 || m.P50 > m.P90 || m.P90 > m.P99 || m.P99 > m.Max || names[m.Name] {
			t.Errorf("%+v", m)
		}
		names[m.Name] = true
		if slices.Contains([]string{"first page", "cursor", "offset", "from the busiest", "since", "to", "q common, latin", "q in a tenth", "q one character", "timeline by day"}, m.Name) && m.Rows == 0 {
			t.Errorf("nothing was found: %+v", m)
		}
		if m.Name == "stats" && m.Matches < 2000 || m.Name == "q nothing" && m.Matches != 0 {
			t.Errorf("%+v", m)
		}
	}

	// An answer that is an error is told and fails the program.
	if _, stderr, err := runRead(t, p); err == nil || !strings.Contains(stderr, "401") {
		t.Errorf("without a token: %v: %s", err, stderr)
	}
	lines, stderr, err = runRead(t, p, "--token=one", "--secret=wrong", "--rate-webhooks=1000", "--only=first page", "--duration=20ms")
	if err == nil || !strings.Contains(stderr, "answers were errors, the first: webhook: ") || lines[len(lines)-1].Errors == 0 {
		t.Errorf("with a wrong secret: %v: %s\n%+v", err, stderr, lines)
	}
}
