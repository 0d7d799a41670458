package e2e

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	apiToken = "0123456789abcdef"
	// person is whose messages are erased.
	person = "+919876543210"
)

// fillDatabase has lyftr make the database and puts rows into it, one in three
// of the person, all of a time long ago.
func fillDatabase(t testing.TB, database string, rows int) {
	t.Helper()
	p := start(t, database)
	if code, _ := p.terminate(t); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	db := openDatabase(t, database)
	if _, err := db.Exec(`WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
		INSERT INTO messages (id, message_id, from_msisdn, to_msisdn, ts, text, created_at, ts_unix, ts_nanos)
		SELECT i, printf('old-%d', i), iif(i % 3 = 0, ?, printf('+1%05d', i % 500)), '+14155550100', '2020-01-15T10:00:00Z',
			printf('text of old-%d', i), '2020-01-15T10:00:01.000Z', 1579082400, 0 FROM n`, rows, person); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func openDatabase(t testing.TB, database string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+database+"?_pragma=busy_timeout(5000)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func number(t testing.TB, db *sql.DB, query string, args ...any) (n int64) {
	t.Helper()
	if err := db.QueryRow(query, args...).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

// verifyCounters holds the counters to a recount of a database that no process
// has open, and returns how many messages of the person are left.
func verifyCounters(t *testing.T, database string) (left int64) {
	t.Helper()
	db := openDatabase(t, database)
	defer db.Close()
	var check string
	if err := db.QueryRow("PRAGMA integrity_check").Scan(&check); err != nil || check != "ok" {
		t.Fatalf("integrity_check: %q, %v", check, err)
	}
	stored := number(t, db, "SELECT count(*) FROM messages")
	last := max(number(t, db, "SELECT coalesce(max(id), 0) FROM messages"), number(t, db, "SELECT value FROM counters WHERE name = 'last_id'"))
	removed := number(t, db, "SELECT value FROM counters WHERE name = 'removed'")
	if last-removed != stored {
		t.Errorf("the last id is %d, %d are removed, and there are %d messages", last, removed, stored)
	}
	if n := number(t, db, "SELECT count(*) FROM removed"); n != removed {
		t.Errorf("%d identities are kept of %d removed messages", n, removed)
	}
	return number(t, db, "SELECT count(*) FROM messages WHERE from_msisdn = ?", person)
}

// eraseOver asks a server to erase the person; the status is 0 if it died.
func eraseOver(client *http.Client, p *process) (status int, deleted int64) {
	r, err := http.NewRequestWithContext(context.Background(), http.MethodDelete, p.url("/messages?from="+url.QueryEscape(person)), nil)
	if err != nil {
		panic(err)
	}
	r.Header.Set("Authorization", "Bearer "+apiToken)
	resp, err := client.Do(r)
	if err != nil {
		return 0, 0
	}
	defer resp.Body.Close()
	var answer struct{ Deleted int64 }
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return 0, 0
	}
	return resp.StatusCode, answer.Deleted
}

// waitForRemoval waits until more messages are removed than before.
func waitForRemoval(t *testing.T, database string, before int64) {
	t.Helper()
	db := openDatabase(t, database)
	defer db.Close()
	waitFor(t, func() bool { return number(t, db, "SELECT value FROM counters WHERE name = 'removed'") > before })
}

// TestKillWhileErasing kills the server while it erases under load, again and
// again: each time the counters are right, nothing of others is lost, and going
// on finishes it.
func TestKillWhileErasing(t *testing.T) {
	const rows, rounds = 12_000, 6
	database := filepath.Join(t.TempDir(), "app.db")
	fillDatabase(t, database, rows)
	l := &ledger{deliveries: map[string]*delivery{}}
	for i := 1; i <= rows; i++ {
		if i%3 != 0 { // the others' are to be found in the end
			text := fmt.Sprintf("text of old-%d", i)
			l.note(fmt.Sprint("old-", i), body(fmt.Sprint("old-", i), fmt.Sprintf("+1%05d", i%500), "2020-01-15T10:00:00Z", &text), http.StatusOK)
		}
	}
	random := rand.New(rand.NewPCG(3, 4))
	left := int64(rows / 3)
	brokenOff := 0
	for round := range rounds {
		p := start(t, database, "API_TOKEN="+apiToken)
		client := newClient(t, 16)
		ctx, stop := context.WithCancel(context.Background())
		var others sync.WaitGroup
		others.Go(func() { l.load(ctx, client, p.url("/webhook"), fmt.Sprintf("k%d", round), 8) })
		others.Go(func() { eraseOver(client, p) })
		if left > 0 {
			waitForRemoval(t, database, rows/3-left)
		}
		<-time.After(time.Duration(random.IntN(60)) * time.Millisecond)
		p.kill()
		stop()
		others.Wait()
		now := verifyCounters(t, database)
		if now > left {
			t.Errorf("round %d: %d messages of the person, %d before", round, now, left)
		}
		if 0 < now && now < left {
			brokenOff++
		}
		left = now
		if t.Failed() {
			t.Fatalf("round %d", round)
		}
	}
	if brokenOff == 0 {
		t.Errorf("in no round was the server killed while it erased")
	}

	p := start(t, database, "API_TOKEN="+apiToken)
	client := newClient(t, 16)
	if status, deleted := eraseOver(client, p); status != 200 || deleted != left {
		t.Fatalf("going on: %d, %d deleted, want %d", status, deleted, left)
	}
	if status, deleted := eraseOver(client, p); status != 200 || deleted != 0 {
		t.Errorf("once more: %d, %d deleted", status, deleted)
	}
	// The person's sender repeats.
	for i := 3; i <= rows; i += 300 {
		text := "again"
		if status, answer := post(client, p.url("/webhook"), body(fmt.Sprint("old-", i), person, "2020-01-15T10:00:00Z", &text)); status != 200 {
			t.Fatalf("repeat: %d %s", status, answer)
		}
	}
	if code, _ := p.terminate(t); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	if left := verifyCounters(t, database); left != 0 {
		t.Errorf("%d messages of the person are stored", left)
	}
	l.verify(t, database)
	for _, line := range p.log() {
		if strings.Contains(line, person[1:]) {
			t.Errorf("the log holds the telephone number: %s", line)
		}
	}
}

// TestRetentionRuns: what is old goes at the start, what is young stays, and
// the port is open meanwhile.
func TestRetentionRuns(t *testing.T) {
	const rows = 3000
	database := filepath.Join(t.TempDir(), "app.db")
	fillDatabase(t, database, rows)
	p := start(t, database, "RETENTION=8d")
	client := newClient(t, 2)
	// The clock of this sender stands still; what it sends arrives now.
	if status, answer := post(client, p.url("/webhook"), body("young", "+1", "1970-01-01T00:00:00Z", nil)); status != 200 {
		t.Fatalf("%d %s", status, answer)
	}
	waitFor(t, func() bool {
		for _, line := range p.log() {
			if strings.Contains(line, fmt.Sprintf(`"msg":"removed expired messages","messages":%d`, rows)) {
				return true
			}
		}
		return false
	})
	var page struct{ Total int }
	_, answer := get(t, p.url("/messages"))
	if err := json.Unmarshal(answer, &page); err != nil || page.Total != 1 {
		t.Errorf("%d messages are left, %v, want the one that arrived now: %s", page.Total, err, answer)
	}
	if _, metrics := get(t, p.url("/metrics")); !strings.Contains(string(metrics), fmt.Sprintf(`lyftr_removed_messages_total{reason="expired"} %d`, rows)) {
		t.Error("the metric does not count them")
	}
	if code, took := p.terminate(t); code != 0 || took > 5*time.Second {
		t.Errorf("exit code %d after %v", code, took)
	}
	verifyCounters(t, database)
}

// TestTerminateWhileErasing: a shutdown does not wait for a long erasure; its
// client is told to ask again, and the next process goes on.
func TestTerminateWhileErasing(t *testing.T) {
	const rows = 30_000
	database := filepath.Join(t.TempDir(), "app.db")
	fillDatabase(t, database, rows)
	p := start(t, database, "API_TOKEN="+apiToken)
	client := newClient(t, 2)
	statuses := make(chan int, 1)
	go func() {
		status, _ := eraseOver(client, p)
		statuses <- status
	}()
	waitForRemoval(t, database, 0)
	if code, took := p.terminate(t); code != 0 || took > 5*time.Second {
		t.Errorf("exit code %d after %v", code, took)
	}
	if status := <-statuses; status != http.StatusServiceUnavailable {
		t.Errorf("the erasure was answered %d, want 503", status)
	}
	left := verifyCounters(t, database)
	if left == 0 || left == rows/3 {
		t.Fatalf("%d of %d messages are left: it was not broken off", left, rows/3)
	}
	p = start(t, database, "API_TOKEN="+apiToken)
	if status, deleted := eraseOver(client, p); status != 200 || deleted != left {
		t.Errorf("going on: %d, %d deleted, want %d", status, deleted, left)
	}
}
