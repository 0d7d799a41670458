package e2e

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite"
)

// delivery is what a sender knows of one message: what it sent first, and the
// best answer it got.
type delivery struct {
	body         []byte
	acknowledged bool // some answer was 200
	refused      bool // all answers were 4xx
}

// ledger is what all senders know. The invariant it is checked against: an
// acknowledged message is stored once with the content of its first accepted
// request, a refused one is not stored, any other is stored once or not at all.
type ledger struct {
	mu         sync.Mutex
	deliveries map[string]*delivery
}

func (l *ledger) note(id string, body []byte, status int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.deliveries[id]
	if d == nil {
		d = &delivery{body: body, refused: true}
		l.deliveries[id] = d
	}
	d.acknowledged = d.acknowledged || status == http.StatusOK
	d.refused = d.refused && status >= 400 && status < 500
}

// some returns ids that may be sent again, the unanswered ones first.
func (l *ledger) some(n int) (ids []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, acknowledged := range []bool{false, true} {
		for id, d := range l.deliveries {
			if len(ids) == n {
				return ids
			}
			if !d.refused && d.acknowledged == acknowledged {
				ids = append(ids, id)
			}
		}
	}
	return ids
}

// load sends messages from several connections until the context ends: new ones,
// repeats of what was sent before, by an earlier load too, and some with a wrong
// signature.
func (l *ledger) load(ctx context.Context, client *http.Client, url, prefix string, senders int) {
	before := l.some(100)
	var wg sync.WaitGroup
	for s := range senders {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(uint64(s), uint64(len(prefix))))
			sent := slices.Clone(before)
			for i := 0; ctx.Err() == nil; i++ {
				id := fmt.Sprintf("%s-%d-%d", prefix, s, i)
				text := fmt.Sprintf("text of %s", id)
				b := body(id, fmt.Sprintf("+9198%08d", random.IntN(1000)), "2025-01-15T10:00:00Z", &text)
				switch n := random.IntN(10); {
				case n == 0:
					status, _ := postSigned(client, url, b, "00")
					l.note(id, b, status)
				case n <= 2 && len(sent) > 0:
					again := sent[random.IntN(len(sent))]
					l.mu.Lock()
					b = l.deliveries[again].body
					l.mu.Unlock()
					status, _ := post(client, url, b)
					l.note(again, b, status)
				default:
					status, _ := post(client, url, b)
					l.note(id, b, status)
					sent = append(sent, id)
				}
			}
		})
	}
	wg.Wait()
}

// open opens a database without lyftr, a SQLite file only if it is sound.
func open(t *testing.T, database string) *sql.DB {
	t.Helper()
	driver := "pgx"
	if !isURL(database) {
		driver, database = "sqlite", "file:"+database+"?_pragma=busy_timeout(5000)"
	}
	db, err := sql.Open(driver, database)
	if err != nil {
		t.Fatal(err)
	}
	if driver == "sqlite" {
		var check string
		if err := db.QueryRow("PRAGMA integrity_check").Scan(&check); err != nil || check != "ok" {
			t.Fatalf("integrity_check: %q, %v", check, err)
		}
	}
	return db
}

// verify checks the invariant against the database, which no lyftr has open.
func (l *ledger) verify(t *testing.T, database string) (stored int) {
	t.Helper()
	stored, lost := l.compare(t, database)
	for _, id := range lost {
		t.Errorf("%s was acknowledged and is lost", id)
	}
	return stored
}

// compare is verify for those who know what to say of lost messages.
func (l *ledger) compare(t *testing.T, database string) (stored int, lost []string) {
	t.Helper()
	db := open(t, database)
	defer db.Close()
	rows, err := db.Query("SELECT message_id, from_msisdn, to_msisdn, ts, text FROM messages")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	seen := map[string]bool{}
	for rows.Next() {
		var id, from, to, ts string
		var text *string
		if err := rows.Scan(&id, &from, &to, &ts, &text); err != nil {
			t.Fatal(err)
		}
		if seen[id] {
			t.Errorf("%s is stored twice", id)
		}
		seen[id] = true
		d := l.deliveries[id]
		switch {
		case d == nil:
			t.Errorf("%s is stored and was never sent", id)
		case d.refused:
			t.Errorf("%s is stored and was refused", id)
		case string(body(id, from, ts, text)) != string(d.body):
			t.Errorf("%s is stored with other content", id)
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	for id, d := range l.deliveries {
		if d.acknowledged && !seen[id] {
			lost = append(lost, id)
		}
	}
	slices.Sort(lost)
	return len(seen), lost
}

// unanswered returns the ids of what is neither acknowledged nor refused.
func (l *ledger) unanswered() (ids []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, d := range l.deliveries {
		if !d.acknowledged && !d.refused {
			ids = append(ids, id)
		}
	}
	return ids
}

// settle sends what was not answered again, as its senders do, until all of it
// is acknowledged.
func (l *ledger) settle(t *testing.T, p *process) {
	t.Helper()
	const senders = 16
	client := newClient(t, senders)
	// A connection without a request would hold up the end of the server.
	defer client.CloseIdleConnections()
	ids := l.unanswered()
	var wg sync.WaitGroup
	for part := range slices.Chunk(ids, max(1, (len(ids)+senders-1)/senders)) {
		wg.Go(func() {
			for _, id := range part {
				l.mu.Lock()
				b := l.deliveries[id].body
				l.mu.Unlock()
				status, answer := post(client, p.url("/webhook"), b)
				l.note(id, b, status)
				if status != http.StatusOK {
					t.Errorf("%s, sent again: %d %s", id, status, answer)
					return
				}
			}
		})
	}
	wg.Wait()
}

// TestTerminate stops the server by SIGTERM under load: everything it took is
// answered and stored, it exits with 0 in time, and its log is complete.
func TestTerminate(t *testing.T) { onEach(t, testTerminate) }

func testTerminate(t *testing.T, database string) {
	const deadline = 10 * time.Second
	l := &ledger{deliveries: map[string]*delivery{}}
	answered := 0
	for round := range 3 {
		p := start(t, database)
		client := newClient(t, 16)
		var answers atomic.Int64
		client.Transport = counting{client.Transport, &answers}
		ctx, stop := context.WithCancel(context.Background())
		loaded := make(chan struct{})
		go func() {
			defer close(loaded)
			l.load(ctx, client, p.url("/webhook"), fmt.Sprintf("t%d", round), 16)
		}()
		waitFor(t, func() bool { return answers.Load() > 300 })
		code, took := p.terminate(t)
		stop()
		<-loaded
		if code != 0 || took > deadline {
			t.Fatalf("exit code %d after %v", code, took)
		}
		requests := 0
		for i, line := range p.log() {
			var fields map[string]any
			if err := json.Unmarshal([]byte(line), &fields); err != nil {
				t.Fatalf("log line %d is not JSON: %v\n%s", i, err, line)
			}
			if fields["path"] == "/webhook" {
				requests++
			}
		}
		if requests < int(answers.Load()) {
			t.Errorf("%d answers and only %d log lines", answers.Load(), requests)
		}
		answered += requests
		l.verify(t, database)
	}
	t.Logf("%d requests", answered)
}

// counting counts the answers that arrived.
type counting struct {
	http.RoundTripper
	n *atomic.Int64
}

func (c counting) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := c.RoundTripper.RoundTrip(r)
	if err == nil {
		c.n.Add(1)
	}
	return resp, err
}

// waitFor waits until the condition holds.
func waitFor(t *testing.T, condition func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(20 * time.Second)
	for !condition() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatal("the condition did not come true within 20 s")
		}
	}
}

// TestSameMessage sends one body 1000 times over 64 connections at once.
func TestSameMessage(t *testing.T) { onEach(t, testSameMessage) }

func testSameMessage(t *testing.T, database string) {
	const times, connections = 1000, 64
	p := start(t, database)
	client := newClient(t, connections)
	text := "the same"
	b := body("same", "+919876543210", "2025-01-15T10:00:00Z", &text)
	var next, ok atomic.Int64
	var wg sync.WaitGroup
	begin := make(chan struct{})
	for range connections {
		wg.Go(func() {
			<-begin
			for next.Add(1) <= times {
				if status, answer := post(client, p.url("/webhook"), b); status == http.StatusOK && answer == `{"status":"ok"}` {
					ok.Add(1)
				} else {
					t.Errorf("%d %s", status, answer)
				}
			}
		})
	}
	close(begin)
	wg.Wait()
	if ok.Load() != times {
		t.Fatalf("%d of %d were answered 200", ok.Load(), times)
	}
	var page struct{ Total int }
	_, answer := get(t, p.url("/messages"))
	if err := json.Unmarshal(answer, &page); err != nil || page.Total != 1 {
		t.Fatalf("%d rows, %v: %s", page.Total, err, answer)
	}
}
