package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What is killed loses nothing that it wrote: the system keeps it. Only a power
// cut shows what was synced, see disk.cut.
const powerSection = "Power cut"

// TestTorturePowerCut cuts the power under load at random moments. The next load
// is on what the last cut left, and repeats of what was sent before are in it.
func TestTorturePowerCut(t *testing.T) {
	cuts := tortured(2, 20)
	fault := "at random moments of the load"
	d, err := newDisk(t)
	if err != nil {
		notRun(t, powerSection, fault, err.Error())
	}
	l := &ledger{deliveries: map[string]*delivery{}}
	random := rand.New(rand.NewPCG(3, 4))
	for round := range cuts {
		moment := 50 + random.IntN(1000)
		if round%5 == 4 {
			moment += 7000 // by then the log is being copied into the database, or was
		}
		l.loadAndCut(t, d, nil, fmt.Sprintf("c%d", round), moment)
		p := start(t, d.path("app.db"))
		total := list(t, p, "?limit=1").Total
		if code, _ := p.terminate(t); code != 0 {
			t.Fatalf("exit code %d", code)
		}
		if stored := l.verify(t, d.path("app.db")); stored != total {
			t.Errorf("%d are stored, lyftr counted %d", stored, total)
		}
		if t.Failed() {
			t.Fatalf("cut %d", round)
		}
	}
	if n := len(l.acknowledged()); n < 100*cuts {
		t.Fatalf("only %d messages were acknowledged before %d cuts: the load did not load", n, cuts)
	}
	p := start(t, d.path("app.db"))
	l.settle(t, p)
	if code, _ := p.terminate(t); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	stored := l.verify(t, d.path("app.db"))
	found(t, powerSection, fault, fmt.Sprintf("%d cuts, %d messages sent, %d acknowledged, %d stored, lost: 0",
		cuts, len(l.deliveries), len(l.acknowledged()), stored))
}

// loadAndCut serves a database on the disk, loads it for some milliseconds and
// cuts the power.
func (l *ledger) loadAndCut(t *testing.T, d *disk, program []string, prefix string, milliseconds int) {
	t.Helper()
	p := startUnder(t, program, d.path("app.db"))
	client := newClient(t, 16)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	loaded := make(chan struct{})
	go func() {
		defer close(loaded)
		l.load(ctx, client, p.url("/webhook"), prefix, 16)
	}()
	<-time.After(time.Duration(milliseconds) * time.Millisecond)
	image := d.cut(t, p)
	stop()
	<-loaded
	d.restore(t, image)
}

// TestTorturePowerCutSeesLoss makes sure that TestTorturePowerCut could fail: the
// same with synchronous=NORMAL, which does not sync a commit, loses messages.
func TestTorturePowerCutSeesLoss(t *testing.T) {
	cuts := tortured(1, 5)
	const fault = "the same with `synchronous=NORMAL` (a build for this test), which has to lose some"
	program := buildWith(t, "internal/store/sqlite/driver.go", map[string]string{
		`pragma("synchronous", "FULL")`: `pragma("synchronous", "NORMAL")`,
		`const full = 2`:                `const full = 1`,
	})
	acknowledged, lost := 0, 0
	for round := range cuts {
		d, err := newDisk(t)
		if err != nil {
			notRun(t, powerSection, fault, err.Error())
		}
		l := &ledger{deliveries: map[string]*delivery{}}
		l.loadAndCut(t, d, program, fmt.Sprintf("n%d", round), 400)
		p := startUnder(t, program, d.path("app.db"))
		if code, _ := p.terminate(t); code != 0 {
			t.Fatalf("exit code %d", code)
		}
		_, gone := l.compare(t, d.path("app.db"))
		acknowledged += len(l.acknowledged())
		lost += len(gone)
	}
	if lost == 0 {
		t.Fatalf("none of %d messages was lost without a sync: this cannot tell what is on disk", acknowledged)
	}
	found(t, powerSection, fault, fmt.Sprintf("%d cuts, %d messages acknowledged, lost: %d", cuts, acknowledged, lost))
}

// buildWith builds lyftr with words in one file replaced, each of which has to be
// there once, and returns what startUnder starts it by.
func buildWith(t *testing.T, file string, replace map[string]string) (program []string) {
	t.Helper()
	dir := t.TempDir()
	path, err := filepath.Abs(filepath.Join("..", file))
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text := string(source)
	for old, with := range replace {
		if n := strings.Count(text, old); n != 1 {
			t.Fatalf("%s has %q %d times", file, old, n)
		}
		text = strings.Replace(text, old, with, 1)
	}
	changed := filepath.Join(dir, filepath.Base(file))
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {path: changed}})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{changed: []byte(text), filepath.Join(dir, "overlay.json"): overlay} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	built := filepath.Join(dir, "lyftr")
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-overlay", filepath.Join(dir, "overlay.json"), "-o", built, "lyftr/cmd/lyftr")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build lyftr: %v\n%s", err, out)
	}
	return []string{"sh", "-c", `exec "$1" serve`, "sh", built}
}

// TestTorturePowerCutAfterCrash is two faults in a row. lyftr is killed at the
// fsync of a commit: the message is in the system's memory and not on the disk.
// Started again it finds the message there, and acknowledges its repeat, which
// writes nothing. Then the power goes.
func TestTorturePowerCutAfterCrash(t *testing.T) {
	const fault = "killed at the fsync, started again, the repeat acknowledged, then the cut"
	rounds := tortured(1, 5)
	for round := range rounds {
		d, err := newDisk(t)
		if err != nil {
			notRun(t, powerSection, fault, err.Error())
		}
		p, b, killed := killedAtSync(t, d, fault)
		before := list(t, p, "?limit=1").Total
		if status, answer := post(newClient(t, 1), p.url("/webhook"), b); status != http.StatusOK {
			t.Fatalf("the repeat: %d %s", status, answer)
		}
		cut := d.cut(t, p)
		d.restore(t, killed)
		if n := countOn(t, d); n != before-1 {
			t.Fatalf("%d messages were on the disk at the kill, and should be all of %d but the last: this cannot tell what is on disk", n, before)
		}
		d.restore(t, cut)
		if n := countOn(t, d); n != before {
			t.Fatalf("round %d: a message whose repeat was acknowledged is lost: %d are there, and were %d", round, n, before)
		}
	}
	found(t, powerSection, fault, fmt.Sprintf("%d times, lost: 0; without the start in between it was missing each time", rounds))
}

// countOn returns how many messages lyftr finds on a disk.
func countOn(t *testing.T, d *disk) int {
	t.Helper()
	p := start(t, d.path("app.db"))
	defer p.kill()
	return list(t, p, "?limit=1").Total
}

// killedAtSync kills a lyftr at the fsync of a commit. It returns what is on the
// disk then, and another lyftr, on the same database, which finds the message of
// that commit there.
func killedAtSync(t *testing.T, d *disk, fault string) (p *process, b []byte, killed string) {
	t.Helper()
	database := d.path("app.db")
	for i := range 10 {
		p = start(t, database)
		client := newClient(t, 1)
		before := body(fmt.Sprint("before", i), "+1", "2025-01-15T10:00:00Z", nil)
		if status, answer := post(client, p.url("/webhook"), before); status != http.StatusOK {
			t.Fatalf("before the kill: %d %s", status, answer)
		}
		inject(t, p, powerSection, fault, "fsync", "signal=KILL")
		b = body(fmt.Sprint("twice", i), "+1", "2025-01-15T10:00:00Z", nil)
		if status, answer := post(client, p.url("/webhook"), b); status != 0 {
			t.Fatalf("killed at the fsync and still answered %d %s", status, answer)
		}
		p.kill()
		killed = d.copy(t)
		p = start(t, database)
		if list(t, p, "?limit=1").Total == i+2 {
			return p, b, killed
		}
		// The fsync was another's: that of a new log, before anything is in it.
		p.kill()
	}
	t.Fatal("lyftr was never killed at the fsync of a commit")
	return nil, nil, ""
}
