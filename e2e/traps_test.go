package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"lyftr/internal/store/pgserver"
)

// Three ways in which PostgreSQL says that something is stored while the
// synchronous standby does not have it. A 200 in any of them would be lost with
// the primary.

// pair is a primary that waits for its standby, and lyftr's database on it.
type pair struct {
	primary, standby *pgserver.Server
	url              string
}

func startPair(t *testing.T) *pair {
	t.Helper()
	p := &pair{primary: pgserver.Start(t, pgserver.Options{Settings: map[string]string{
		"wal_sender_timeout": "0", // a standby that hangs is not given up
	}})}
	p.standby = p.primary.Standby(t, "standby")
	p.url = p.primary.NewDatabase(t)
	p.primary.Exec(t, p.url, "ALTER SYSTEM SET synchronous_standby_names = 'standby'")
	p.primary.Exec(t, p.url, "SELECT pg_reload_conf()")
	eventually(t, 10*time.Second, "commits wait for the standby", func() bool {
		return p.primary.Value(t, p.url, "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'") == "1"
	})
	return p
}

// serve starts lyftr on a database.
func serve(t *testing.T, url string) *process {
	t.Helper()
	return start(t, "", "DATABASE_URL="+url, "SAVE_TIMEOUT=3s")
}

// rows counts the rows of a message that are visible on a server.
func rows(t *testing.T, s *pgserver.Server, url, id string) string {
	t.Helper()
	return s.Value(t, url, fmt.Sprintf("SELECT count(*) FROM messages WHERE message_id = '%s'", id))
}

// sender sends messages and keeps to what it was told: an answer has to come in
// time, and nothing but 200 and 503 may come.
type sender struct {
	t       *testing.T
	client  *http.Client
	process *process
	ledger  ledger
}

func newSender(t *testing.T, p *process) *sender {
	return &sender{t: t, client: newClient(t, 64), process: p, ledger: ledger{deliveries: map[string]*delivery{}}}
}

// send sends the message of that id and returns the status.
func (s *sender) send(id string) int {
	const limit = 5 * time.Second // SAVE_TIMEOUT, and what two busy cores add
	text := "text of " + id
	b := body(id, "+919876543210", "2025-01-15T10:00:00Z", &text)
	begin := time.Now()
	status, answer := post(s.client, s.process.url("/webhook"), b)
	s.ledger.note(id, b, status)
	if took := time.Since(begin); took > limit {
		s.t.Errorf("%s was answered after %v", id, took)
	}
	if status != http.StatusOK && status != http.StatusServiceUnavailable {
		s.t.Errorf("%s: %d %s", id, status, answer)
	}
	return status
}

// refuse makes sure that a message is not acknowledged, however often it is sent.
func (s *sender) refuse(id string) {
	s.t.Helper()
	for i := range 3 {
		if status := s.send(id); status != http.StatusServiceUnavailable {
			s.t.Errorf("%s, for the %d. time: %d while the standby was away", id, i+1, status)
		}
	}
}

// accept sends a message until it is acknowledged, as its sender does.
func (s *sender) accept(id string) {
	s.t.Helper()
	eventually(s.t, 20*time.Second, id+" is acknowledged", func() bool { return s.send(id) == http.StatusOK })
}

// status asks for a path.
func (s *sender) status(path string) int {
	s.t.Helper()
	status, _ := get(s.t, s.process.url(path))
	return status
}

// total is the number of messages that /stats has.
func (s *sender) total() int {
	s.t.Helper()
	var stats struct {
		Total int `json:"total_messages"`
	}
	status, answer := get(s.t, s.process.url("/stats"))
	if err := json.Unmarshal(answer, &stats); err != nil || status != http.StatusOK {
		s.t.Fatalf("/stats: %d, %v: %s", status, err, answer)
	}
	return stats.Total
}

// TestDuplicateWaitsForStandby: a repeat stores nothing, so PostgreSQL has
// nothing to wait for; but what it repeats may not be on the standby yet. It is
// while a commit waits, and after a crash it even seems to be stored.
func TestDuplicateWaitsForStandby(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	s := newSender(t, serve(t, p.url))
	for i := range 20 {
		s.accept(fmt.Sprintf("before-%d", i))
	}

	p.standby.StopImmediate(t)
	s.refuse("waits") // the first is an insert, the others find its transaction
	if n := rows(t, p.primary, p.url, "waits"); n != "0" {
		t.Errorf("a commit that waits for the standby shows %s rows", n)
	}

	// After a crash the primary shows what waited: it waits for nobody when it
	// recovers.
	p.primary.Kill(t)
	p.primary.Restart(t)
	eventually(t, 20*time.Second, "lyftr reads again", func() bool { return s.status("/messages") == http.StatusOK })
	if n := rows(t, p.primary, p.url, "waits"); n != "1" {
		t.Fatalf("the primary shows %s rows of what waited: there is no trap", n)
	}
	s.refuse("waits")

	// The primary is lost, and the standby takes its place without it.
	p.primary.Kill(t)
	p.standby.Restart(t)
	p.standby.Promote(t)
	promoted := p.standbyURL()
	s.process = serve(t, promoted)
	if status := s.status("/messages/waits"); status != http.StatusNotFound {
		t.Errorf("the standby answers %d for what it never got", status)
	}
	for id, d := range s.ledger.deliveries {
		if n := rows(t, p.standby, promoted, id); d.acknowledged && n != "1" {
			t.Errorf("%s was acknowledged, and the standby has %s rows of it", id, n)
		}
	}
	s.accept("waits")
	if n := rows(t, p.standby, promoted, "waits"); n != "1" {
		t.Errorf("after it was sent again there are %s rows", n)
	}
	if total := s.total(); total != 21 {
		t.Errorf("%d messages are counted, want 21", total)
	}
}

// TestCancelledWait: whoever cancels a backend that waits for the standby, or
// ends it, makes PostgreSQL say that the transaction is committed, with no more
// than a warning.
func TestCancelledWait(t *testing.T) {
	t.Parallel()
	for _, function := range []string{"pg_cancel_backend", "pg_terminate_backend"} {
		t.Run(function, func(t *testing.T) {
			p := startPair(t)
			s := newSender(t, serve(t, p.url))
			s.accept("before")
			if status := s.status("/feed"); status != http.StatusOK { // its connection proved itself while the standby was there
				t.Fatalf("feed: %d", status)
			}
			p.standby.StopImmediate(t)

			status := make(chan int)
			go func() { status <- s.send("waits") }()
			waiting := "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'lyftr' AND wait_event = 'SyncRep'"
			eventually(t, 10*time.Second, "a commit waits for the standby", func() bool { return p.primary.Value(t, p.url, waiting) == "1" })
			cancelled := p.primary.Value(t, p.url, "SELECT count("+function+
				"(pid)) FROM pg_stat_activity WHERE application_name = 'lyftr' AND wait_event = 'SyncRep'")
			if cancelled != "1" {
				t.Errorf("%s backends were cancelled, want 1", cancelled)
			}
			if got := <-status; got != http.StatusServiceUnavailable {
				t.Errorf("a cancelled wait was answered %d", got)
			}
			eventually(t, 5*time.Second, "what was not confirmed is shown", func() bool { return rows(t, p.primary, p.url, "waits") == "1" })
			// A reader of the feed who sees it goes on behind it, and misses what
			// is given that place if the standby takes over.
			if status, answer := get(t, s.process.url("/feed")); strings.Contains(string(answer), `"waits"`) {
				t.Errorf("the feed shows what was not confirmed: %d %s", status, answer)
			}
			s.refuse("waits")

			p.standby.Restart(t)
			s.accept("waits")
			if n := rows(t, p.primary, p.url, "waits"); n != "1" {
				t.Errorf("the primary has %s rows", n)
			}
			eventually(t, 10*time.Second, "the standby has it", func() bool {
				return rows(t, p.standby, p.standbyURL(), "waits") == "1"
			})
			if total := s.total(); total != 2 {
				t.Errorf("%d messages are counted, want 2", total)
			}
		})
	}
}

// standbyURL is the address of lyftr's database on the standby.
func (p *pair) standbyURL() string {
	u, err := url.Parse(p.url)
	if err != nil {
		panic(err)
	}
	return p.standby.URL(strings.TrimPrefix(u.Path, "/"))
}

// TestStandbyHangs: no time limit of PostgreSQL's bounds the wait for a standby.
// lyftr has its own, says that it is not ready, does not fill the server with
// commits that wait, and goes on by itself.
func TestStandbyHangs(t *testing.T) {
	t.Parallel()
	const senders = 32
	p := startPair(t)
	s := newSender(t, serve(t, p.url))
	s.accept("before")
	p.primary.Exec(t, p.url, "ALTER SYSTEM SET statement_timeout = '1s'")
	p.primary.Exec(t, p.url, "ALTER SYSTEM SET lock_timeout = '1s'")
	p.primary.Exec(t, p.url, "SELECT pg_reload_conf()")

	p.standby.Pause(t)
	begin := time.Now()
	var wg sync.WaitGroup
	for i := range senders {
		wg.Go(func() {
			for range 3 {
				if status := s.send(fmt.Sprintf("waits-%d", i)); status != http.StatusServiceUnavailable {
					t.Errorf("waits-%d: %d while the standby hung", i, status)
				}
			}
		})
	}
	eventually(t, 8*time.Second, "lyftr is not ready", func() bool { return s.status("/health/ready") == http.StatusServiceUnavailable })
	t.Logf("not ready after %.1f s", time.Since(begin).Seconds())
	if status := s.status("/health/live"); status != http.StatusOK {
		t.Errorf("is it alive: %d", status)
	}
	if status := s.status("/messages"); status != http.StatusOK {
		t.Errorf("the list is %d", status)
	}
	wg.Wait()
	backends, err := strconv.Atoi(p.primary.Value(t, p.url, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'lyftr'"))
	if err != nil || backends > 20 {
		t.Errorf("lyftr has %d connections, %v", backends, err)
	}

	p.standby.Resume(t)
	resumed := time.Now()
	eventually(t, 10*time.Second, "lyftr is ready again", func() bool { return s.status("/health/ready") == http.StatusOK })
	t.Logf("ready %.1f s after the standby, %d connections in between", time.Since(resumed).Seconds(), backends)
	for i := range senders {
		id := fmt.Sprintf("waits-%d", i)
		s.accept(id)
		if n := rows(t, p.primary, p.url, id); n != "1" {
			t.Errorf("%s has %s rows", id, n)
		}
	}
	if total := s.total(); total != 1+senders {
		t.Errorf("%d messages are counted, want %d", total, 1+senders)
	}
}

// TestFormerPrimary: a primary that nobody told that it is none any more says
// that it takes writes. A lyftr that stays with it acknowledges nothing, and does
// not call a position wrong that a lyftr with its successor has given out: the
// reader would take that for a database that was put back from a backup.
func TestFormerPrimary(t *testing.T) {
	t.Parallel()
	const messages = 50
	p := startPair(t)
	former := newSender(t, serve(t, p.url))
	former.accept("before")
	if status := former.status("/feed"); status != http.StatusOK { // its connection proved itself while the standby was there
		t.Fatalf("feed: %d", status)
	}
	p.standby.Promote(t)
	now := newSender(t, serve(t, p.standbyURL()))
	for i := range messages {
		now.accept(fmt.Sprintf("after-%d", i))
	}
	former.refuse("alone")

	var page struct {
		Data []json.RawMessage
		Next string `json:"next_cursor"`
	}
	status, answer := get(t, now.process.url("/feed"))
	if err := json.Unmarshal(answer, &page); err != nil || status != http.StatusOK || len(page.Data) != messages+1 {
		t.Fatalf("feed: %d with %d messages, %v", status, len(page.Data), err)
	}
	if status, answer := get(t, former.process.url("/feed?after="+url.QueryEscape(page.Next))); status != http.StatusServiceUnavailable {
		t.Errorf("the former primary answers %d for a position of its successor's: %s", status, answer)
	}
	if status, answer := get(t, now.process.url("/feed?after="+url.QueryEscape(page.Next))); status != http.StatusOK {
		t.Errorf("the primary answers %d for its own position: %s", status, answer)
	}
	if total := now.total(); total != messages+1 {
		t.Errorf("%d messages are counted, want %d", total, messages+1)
	}
}
