package e2e

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestTortureTornLog cuts the log of a killed lyftr short, or turns a bit in it,
// before the next start. SQLite takes what does not fit for the end of the log: so
// acknowledged messages are gone, by whoever did this and not by lyftr. What is
// there then has to be what was there at some moment, and lyftr has to say how
// many messages are missing.
func TestTortureTornLog(t *testing.T) {
	const messages = 40
	dir := t.TempDir()
	database := filepath.Join(dir, "app.db")
	p := start(t, database)
	client := newClient(t, 1)
	l := &ledger{deliveries: map[string]*delivery{}}
	var ids []string
	for i := range messages { // each is a commit of its own
		id := fmt.Sprintf("m%d", i)
		b := body(id, "+1", "2025-01-15T10:00:00Z", nil)
		status, answer := post(client, p.url("/webhook"), b)
		if status != http.StatusOK {
			t.Fatalf("%s: %d %s", id, status, answer)
		}
		l.note(id, b, status)
		ids = append(ids, id)
	}
	p.kill()
	log, err := os.ReadFile(database + "-wal")
	if err != nil || len(log) == 0 {
		t.Fatalf("the log has %d bytes: %v", len(log), err)
	}
	if n := l.torn(t, dir, log, ids); n != 0 {
		t.Fatalf("%d messages are missing, and nothing was done to the log", n)
	}
	random := rand.New(rand.NewPCG(5, 6))
	for _, damage := range []struct {
		fault string
		do    func(log []byte) []byte
	}{
		{"log cut short while lyftr is down", func(log []byte) []byte { return log[:random.IntN(len(log))] }},
		{"a bit of the log turned while lyftr is down", func(log []byte) []byte {
			log = slices.Clone(log)
			log[random.IntN(len(log))] ^= 1 << random.IntN(8)
			return log
		}},
	} {
		rounds, missing := tortured(3, 50), 0
		for range rounds {
			missing += l.torn(t, dir, damage.do(log), ids)
			if t.Failed() {
				t.FailNow()
			}
		}
		found(t, ioSection, damage.fault, fmt.Sprintf("%d times %d messages, sound each time and said to miss what it missed: %d in all",
			rounds, messages, missing))
	}
}

// torn starts lyftr on a copy of the database with another log and returns how
// many messages it says are missing, which has to be the truth.
func (l *ledger) torn(t *testing.T, dir string, log []byte, ids []string) (missing int) {
	t.Helper()
	copied := filepath.Join(t.TempDir(), "app.db")
	for _, suffix := range []string{"", ".lock"} {
		b, err := os.ReadFile(filepath.Join(dir, "app.db"+suffix))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(copied+suffix, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(copied+"-wal", log, 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, copied)
	for _, line := range p.log() {
		var fields struct {
			Level, Msg string
			Missing    int
		}
		if json.Unmarshal([]byte(line), &fields) == nil && fields.Level == "ERROR" && strings.HasPrefix(fields.Msg, "committed messages are missing") {
			missing = fields.Missing
		}
	}
	if code, _ := p.terminate(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	stored, lost := l.compare(t, copied)
	slices.SortFunc(lost, func(a, b string) int { return slices.Index(ids, a) - slices.Index(ids, b) })
	if !slices.Equal(lost, ids[stored:]) {
		t.Errorf("not the last messages are missing: %v", lost)
	}
	if missing != len(lost) {
		t.Errorf("%d messages are missing, lyftr says %d", len(lost), missing)
	}
	return missing
}
