package e2e

import (
	"fmt"
	"net/http"
	"path/filepath"
	"testing"
	"time"
)

// slowDisk is the program that runs lyftr with a delay before every fsync.
func slowDisk(delay time.Duration) []string {
	return []string{
		"strace", "-D", "-f", "--seccomp-bpf", "-o", "/dev/null", "-e", "trace=fsync",
		"-e", fmt.Sprintf("inject=fsync:delay_enter=%d", delay.Microseconds()),
	}
}

// overload is how lyftr is asked for more than it can do.
type overload struct {
	program     []string // that runs it
	env         []string
	connections int           // of the closed loop that finds what it can do
	measured    time.Duration // how long that takes
	most        int           // connections of the open loop that asks for twice that
	lasts       time.Duration
	goodput     float64 // least share of what it can do that is still done
	refuses     bool    // the queue is full for sure, however busy the machine was when that was found
}

// TestTortureOverloadDisk asks for twice what a slow disk takes, so that sender
// and server both have room on the machine.
func TestTortureOverloadDisk(t *testing.T) {
	besideOthers(t)
	o := tortured(overload{
		program: slowDisk(100 * time.Millisecond), env: []string{"QUEUE_SIZE=128"},
		connections: 220, measured: 2 * time.Second,
		most: 2000, lasts: 3 * time.Second, goodput: 0.1,
	}, overload{
		program:     slowDisk(200 * time.Millisecond),
		connections: 2200, measured: 6 * time.Second,
		most: 8000, lasts: time.Minute, goodput: 0.8, refuses: true,
	})
	o.test(t, "for "+o.lasts.String()+" twice what a slow disk takes")
}

// TestTortureOverloadMachine asks for twice what the machine can do. The sender
// is on the same cores: the more it sends, the less is left for lyftr.
func TestTortureOverloadMachine(t *testing.T) {
	o := tortured(overload{
		env:         []string{"QUEUE_SIZE=64"},
		connections: 64, measured: 600 * time.Millisecond,
		most: 500, lasts: 1500 * time.Millisecond, goodput: 0.05,
	}, overload{
		connections: 256, measured: 6 * time.Second,
		most: 8000, lasts: time.Minute, goodput: 0.5,
	})
	o.test(t, "for "+o.lasts.String()+" twice what the machine can do, sender included")
}

func (o *overload) test(t *testing.T, fault string) {
	descriptors(t, uint64(o.most)+1000)
	database := filepath.Join(t.TempDir(), "app.db")
	if code, _ := start(t, database).terminate(t); code != 0 { // the disk may be slow from here on
		t.Fatalf("exit code %d", code)
	}
	p := startUnder(t, o.program, database, o.env...)
	s := &storm{address: p.address, prefix: "storm", most: o.most}
	rest := p.vitals(t)

	begin := time.Now()
	s.closed(o.connections, o.measured)
	highest := s.rate(begin.Add(o.measured/4), begin.Add(o.measured))
	first := int(s.next.Load())
	begin = time.Now()
	wait := s.open(2*highest, o.lasts)
	end := time.Now()
	recovered := recovery(p)
	wait()
	goodput := s.rate(begin.Add(o.lasts/8), end)
	tally := s.tally(first)
	v := p.vitals(t)
	result := fmt.Sprintf("highest %.0f a second, then %.0f (%.2f of it); %d of %d sent were acknowledged (p99 %s), %d got 503 (p50 %s, p99 %s), %d found no free connection; memory %s at rest, %s at most; 200 again after %s",
		highest, goodput, goodput/highest, tally.statuses[http.StatusOK], len(tally.accepted)+len(tally.refused), millis(share(tally.accepted, 0.99)),
		len(tally.refused), millis(share(tally.refused, 0.5)), millis(share(tally.refused, 0.99)), tally.statuses[unsent],
		megabytes(rest.resident), megabytes(v.peak), millis(recovered))

	if goodput < o.goodput*highest {
		t.Errorf("%.0f messages a second were acknowledged, before it was overloaded %.0f", goodput, highest)
	}
	for status, n := range tally.statuses {
		if status != http.StatusOK && status != http.StatusServiceUnavailable && status != unsent {
			t.Errorf("%d answers were %d", n, status)
		}
	}
	if o.refuses && len(tally.refused) == 0 {
		t.Error("nothing was refused: it was not overloaded")
	}
	if tally.noRetry > 0 {
		t.Errorf("%d answers of 503 do not say when to send again", tally.noRetry)
	}
	const refusal = 3 * time.Second
	if slow := share(tally.refused, 0.99); slow > refusal {
		t.Errorf("503 took %v: a sender has waited for nothing", slow)
	}
	const base, connection = 96 << 20, 96 << 10 // bytes
	if most := int64(base + o.most*connection); v.peak > most {
		t.Errorf("%s of memory were used, for %d connections at most", megabytes(v.peak), o.most)
	}
	if recovered > 5*time.Second {
		t.Errorf("it took %v to recover", recovered)
	}
	if code, _ := p.terminate(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	s.verify(t, database)
	found(t, "Overload", fault, result)
}

// recovery sends one message after the other, over a connection of its own, and
// returns how long that went on with something else than 200.
func recovery(p *process) (took time.Duration) {
	begin := time.Now()
	c := &stormConnection{storm: &storm{address: p.address, prefix: "after"}}
	defer c.close()
	const enough = 10 // in a row
	for i, row := 0, 0; row < enough && time.Since(begin) < stormTimeout; i++ {
		if c.send(i).status == http.StatusOK {
			row++
		} else {
			row, took = 0, time.Since(begin)
		}
	}
	return took
}
