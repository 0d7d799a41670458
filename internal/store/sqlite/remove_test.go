package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"lyftr/internal/message"
)

// from returns n messages of a sender, with texts.
func from(sender string, first, n int) []message.Message {
	var m []message.Message
	for i := first; i < first+n; i++ {
		text := fmt.Sprintf("text %d of %s", i, sender)
		m = append(m, message.Message{
			Source: message.SourceNative, ID: fmt.Sprintf("id %s %d", sender, i), From: sender, To: "+2", Text: &text,
			TS: "2025-01-15T10:00:00Z", At: time.Date(2025, 1, 15, 10, 0, i%60, 0, time.UTC),
		})
	}
	return m
}

func saveAll(t testing.TB, s *Store, m []message.Message) {
	t.Helper()
	if _, err := s.Save(t.Context(), m, nil); err != nil {
		t.Fatal(err)
	}
}

func mustErase(t testing.TB, s *Store, sender string, want int64) {
	t.Helper()
	if n, err := s.Erase(t.Context(), sender); n != want || err != nil {
		t.Fatalf("Erase(%q): %d, %v, want %d", sender, n, err, want)
	}
}

// wantCounters holds the counters to the table.
func wantCounters(t testing.TB, s *Store, lastID, removed int64) {
	t.Helper()
	wantEqual(t, "counters less deletions", [][]string{{`"last_id"`, fmt.Sprint(lastID)}, {`"removed"`, fmt.Sprint(removed)}},
		rows(t, s.readDB, "SELECT name, value FROM counters WHERE name <> 'deletions' ORDER BY name"))
	wantEqual(t, "count(*)", fmt.Sprint(lastID-removed), one(t, s.readDB, "SELECT count(*) FROM messages"))
	wantEqual(t, "identities", fmt.Sprint(removed), one(t, s.readDB, "SELECT count(*) FROM removed"))
	wantEqual(t, "Status().Messages", lastID-removed, s.Status().Messages)
	wantEqual(t, "deletions in memory", one(t, s.readDB, "SELECT value FROM counters WHERE name = 'deletions'"), fmt.Sprint(s.deletions.Load()))
}

func TestRemovalCounts(t *testing.T) {
	path := newPath(t)
	s, shut := open(t, path, Options{})
	saveAll(t, s, from("+1", 0, 300))
	saveAll(t, s, from("+9", 0, 500))
	wantEqual(t, "deletions at first", 0, s.deletions.Load())
	mustErase(t, s, "+9", 500)
	wantCounters(t, s, 800, 500)
	deletions := s.deletions.Load()
	if least := int64(500 / removeStepRows); deletions < least {
		t.Errorf("%d deletions, want more than %d: a step is bounded", deletions, least)
	}
	mustErase(t, s, "+9", 0)
	wantEqual(t, "deletions after nothing was removed", deletions, s.deletions.Load())
	shut()

	s, _ = open(t, path, Options{})
	wantCounters(t, s, 800, 500)
	// The newest went: its id is not given out again.
	saveAll(t, s, from("+3", 0, 1))
	wantEqual(t, "the next id", "801", one(t, s.readDB, "SELECT max(id) FROM messages"))
	if n, err := s.Expire(t.Context(), time.Now().Add(time.Hour)); n != 301 || err != nil {
		t.Fatalf("Expire: %d, %v", n, err)
	}
	wantCounters(t, s, 801, 801)
	saveAll(t, s, from("+3", 1, 1))
	wantEqual(t, "the id after all were removed", "802", one(t, s.readDB, "SELECT max(id) FROM messages"))
}

// hole is a row of holes, its bits as ids.
type hole struct {
	Chunk int64
	IDs   []int64
	Erase bool
}

func holes(t testing.TB, s *Store) (all []hole) {
	t.Helper()
	r, err := s.readDB.QueryContext(t.Context(), "SELECT chunk, bits, erase FROM holes ORDER BY chunk")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for r.Next() {
		var h hole
		var bits []byte
		if err := r.Scan(&h.Chunk, &bits, &h.Erase); err != nil {
			t.Fatal(err)
		}
		wantEqual(t, "bytes of bits", 128, len(bits))
		for i := range int64(len(bits) * 8) {
			if bits[i/8]>>(i%8)&1 == 1 {
				h.IDs = append(h.IDs, h.Chunk*1024+i)
			}
		}
		all = append(all, h)
	}
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// TestHoles: what a segment covers gets a hole, and only that.
func TestHoles(t *testing.T) {
	s, _ := open(t, newPath(t), Options{})
	// Chunk 0 is ids 1 to 1023, chunk 1 from 1024 on, up to 4000 in chunk 3.
	var all []message.Message
	for i := range 4000 {
		sender := "+1"
		switch i + 1 { // the id
		case 1, 7, 8, 1023, 1024, 2047, 2048, 3071, 3072, 4000:
			sender = "+9"
		case 2, 1025, 3073:
			sender = "+8"
		case 3:
			sender = "+7"
		}
		all = append(all, from(sender, i, 1)...)
	}
	saveAll(t, s, all)
	waitFor(t, "the whole chunks have segments", func() bool { return s.indexer.next() == 3 })
	s.indexer.close() // it would clear the holes away

	mustErase(t, s, "+9", 10)
	wantEqual(t, "holes", []hole{
		{0, []int64{1, 7, 8, 1023}, true}, {1, []int64{1024, 2047}, true}, {2, []int64{2048, 3071}, true},
	}, holes(t, s))

	// Age adds to a hole and does not make it less of an erasure.
	onWriter(t, s, "UPDATE messages SET created_at = '2020-01-01T00:00:00.000Z' WHERE from_msisdn = '+8'")
	if n, err := s.Expire(t.Context(), time.Date(2025, 2, 1, 0, 0, 0, 0, time.UTC)); n != 3 || err != nil {
		t.Fatalf("Expire: %d, %v", n, err)
	}
	wantEqual(t, "holes", []hole{
		{0, []int64{1, 2, 7, 8, 1023}, true}, {1, []int64{1024, 1025, 2047}, true}, {2, []int64{2048, 3071}, true},
	}, holes(t, s))

	// Of age alone it is none, until something is erased there.
	onWriter(t, s, "DELETE FROM holes")
	onWriter(t, s, "UPDATE messages SET created_at = '2020-01-01T00:00:00.000Z' WHERE id = 10")
	if n, err := s.Expire(t.Context(), time.Date(2025, 2, 1, 0, 0, 0, 0, time.UTC)); n != 1 || err != nil {
		t.Fatalf("Expire: %d, %v", n, err)
	}
	wantEqual(t, "holes", []hole{{0, []int64{10}, false}}, holes(t, s))
	mustErase(t, s, "+7", 1)
	wantEqual(t, "holes", []hole{{0, []int64{3, 10}, true}}, holes(t, s))
}

// TestRemovalIsOneTransaction: if the counters cannot be written, the message
// is still there and known as stored.
func TestRemovalIsOneTransaction(t *testing.T) {
	s, _ := open(t, newPath(t), Options{})
	saveAll(t, s, from("+1", 0, 3))
	onWriter(t, s, "CREATE TEMP TRIGGER fail BEFORE UPDATE ON main.counters BEGIN SELECT RAISE(ABORT, 'as the test wants'); END")
	if n, err := s.Erase(t.Context(), "+1"); n != 0 || !errors.Is(err, message.ErrUnavailable) {
		t.Fatalf("Erase: %d, %v, want ErrUnavailable", n, err)
	}
	wantEqual(t, "identities", "0", one(t, s.readDB, "SELECT count(*) FROM removed"))
	wantEqual(t, "messages", "3", one(t, s.readDB, "SELECT count(*) FROM messages"))
	wantEqual(t, "Status().Messages", 3, s.Status().Messages)
	wantEqual(t, "deletions", 0, s.deletions.Load())
	wantEqual(t, "secure_delete of the writer", any(int64(2)), onWriter(t, s, "PRAGMA secure_delete"))
	onWriter(t, s, "DROP TRIGGER fail")
	mustErase(t, s, "+1", 3)
	wantEqual(t, "secure_delete of the writer", any(int64(2)), onWriter(t, s, "PRAGMA secure_delete"))
	wantCounters(t, s, 3, 3)
}

// TestEraseIsBrokenOffBetweenSteps: what is removed stays so, is told, and the
// next call goes on.
func TestEraseIsBrokenOffBetweenSteps(t *testing.T) {
	s, _ := open(t, newPath(t), Options{})
	saveAll(t, s, from("+9", 0, 1000))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		waitFor(t, "something was removed", func() bool { return s.deletions.Load() > 0 })
		cancel()
	}()
	n, err := s.Erase(ctx, "+9")
	<-done
	if n == 0 || n == 1000 || !errors.Is(err, message.ErrUnavailable) || !errors.Is(err, context.Canceled) {
		t.Fatalf("Erase: %d of 1000, %v", n, err)
	}
	wantCounters(t, s, 1000, n)
	mustErase(t, s, "+9", 1000-n)
	wantCounters(t, s, 1000, 1000)
}

// TestRemovalPlans: neither walks through all messages.
func TestRemovalPlans(t *testing.T) {
	s, _ := open(t, newPath(t), Options{})
	p := plans(t, s, func() {
		if _, err := s.idsOf(t.Context(), "+1", 0, 10, 10); err != nil {
			t.Error(err)
		}
		if _, _, _, err := s.expired(t.Context(), time.Now(), message.Position{}); err != nil {
			t.Error(err)
		}
	})
	for i, plan := range p[:len(p)-1] {
		wantPlan(t, fmt.Sprint("statement ", i, " of idsOf"), plan, nil, "SCAN messages")
	}
	wantPlan(t, "expired", p[len(p)-1], []string{"USING INDEX messages_by_time ("}, fullSort, "SCAN")
}

// emptied waits until the log was copied into the file and is empty.
func emptied(t *testing.T, s *Store) {
	t.Helper()
	waitFor(t, "the log is emptied", func() bool { return size(t, s.path+"-wal") == 0 })
}

// TestErasedIsNotInTheFile: neither the text nor the ID nor the sender stands
// in the bytes of the database or its log, also of texts that go over many
// pages; nor does what a provider sent of them, or reported to the sender.
func TestErasedIsNotInTheFile(t *testing.T) {
	s, _ := open(t, newPath(t), Options{})
	long := strings.Repeat("long words ", 300) + "SECRETSECRET end"
	var all []message.Message
	var statuses []message.Status
	for i := range 600 {
		m := from("+1", i, 1)[0]
		if i%50 == 7 {
			m = from("+987654321", i, 1)[0]
			m.ID = fmt.Sprint("SECRETID", i)
			text := fmt.Sprint("SECRET", i, " short")
			if i%100 == 7 {
				text = long
			}
			m.Text, m.Raw = &text, []byte(text)
			reports := statusesOf(m.ID, "sent", "read")
			reports = append(reports, statusesOf(fmt.Sprint("other ", i), "sent")...)
			for j := range reports {
				reports[j].Recipient, reports[j].Raw = "+987654321", m.Raw
			}
			statuses = append(statuses, reports...)
		}
		statuses = append(statuses, statusesOf(fmt.Sprint("another ", i), "sent")...)
		all = append(all, m)
	}
	if _, err := s.Save(t.Context(), all, statuses); err != nil {
		t.Fatal(err)
	}
	contains := func() bool {
		for _, p := range []string{s.path, s.path + "-wal"} {
			b, err := os.ReadFile(p)
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(b, []byte("SECRET")) || bytes.Contains(b, []byte("987654321")) {
				return true
			}
		}
		return false
	}
	if !contains() {
		t.Fatal("the text is not in the file before it is erased: the test looks in the wrong place")
	}
	mustErase(t, s, "+987654321", 12)
	emptied(t, s)
	if contains() {
		t.Error("the erased messages are still in the file or its log")
	}
}

// TestReaderHoldsUpWiping: saves do not wait for a reader that keeps the log
// from being emptied, and it is emptied once the reader is done.
func TestReaderHoldsUpWiping(t *testing.T) {
	s, _ := open(t, newPath(t), Options{})
	saveAll(t, s, from("+9", 0, 5))
	tx, err := s.readDB.BeginTx(t.Context(), &sql.TxOptions{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	var n int
	if err := tx.QueryRowContext(t.Context(), "SELECT count(*) FROM messages").Scan(&n); err != nil {
		t.Fatal(err)
	}
	mustErase(t, s, "+9", 5)
	began := time.Now()
	err = s.queue.Do(t.Context(), func() {
		if err := s.writer.emptyLog(t.Context(), 0); err != nil {
			t.Error(err)
		}
		if !s.writer.wipe {
			t.Error("the log counts as emptied while a reader looks at it")
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > busyTimeoutMS*time.Millisecond/2 {
		t.Errorf("the writer waited %v for a reader", took)
	}
	wantEqual(t, "busy_timeout afterwards", any(int64(busyTimeoutMS)), onWriter(t, s, "PRAGMA busy_timeout"))
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := s.queue.Do(t.Context(), func() { s.writer.wiped = time.Time{} }); err != nil { // not to wait ten seconds
		t.Fatal(err)
	}
	emptied(t, s)
}

// TestRemovalOfAdopted: an adopted row without a time of arrival goes by its
// ts, what the report holds goes too, and a foreign key of another table keeps
// nothing from going.
func TestRemovalOfAdopted(t *testing.T) {
	path := legacyFile(t, withoutNotNull, []legacyRowValues{
		{"good", "+111111", "+2", "2020-01-01T00:00:00Z", "text", "2020-01-01 00:00:00"},
		{"no arrival", "+333333", "+2", "2020-01-01T00:00:00Z", "text", "some day"},
		{"no arrival, young", "+111111", "+2", "2025-06-01T00:00:00Z", "text", "some day"},
		{"arrived late", "+111111", "+2", "2020-01-01T00:00:00Z", "text", "2025-06-01 00:00:00"},
		{"no ts, old", "+333333", "+2", "yesterday", "text", "2020-01-01 00:00:00"},
		{"no ts, young", "+333333", "+2", "yesterday", "text", "2025-06-01 00:00:00"},
		{"to is wrong", "+222222", "nobody", "2020-01-01T00:00:00Z", "text", "2020-01-01 00:00:00"},
		{"to is wrong, young", "+222222", "nobody", "2025-06-01T00:00:00Z", "text", "2020-01-01 00:00:00"},
		{nil, "+222222", "+2", "2025-06-01T00:00:00Z", "SECRET", "2025-06-01 00:00:00"},
		{nil, "+333333", "+2", "2020-01-01T00:00:00Z", "text", "2020-01-01 00:00:00"},
	})
	mustExec(t, plain(t, path), "CREATE TABLE replies (message_id VARCHAR REFERENCES messages (message_id)); INSERT INTO replies VALUES ('good')")
	s, shut := open(t, path, Options{})
	report := func() [][]string {
		t.Helper()
		return rows(t, s.readDB, "SELECT coalesce(message_id, text) FROM adoption_report ORDER BY 1")
	}
	wantEqual(t, "report", [][]string{{`"SECRET"`}, {`"no ts, old"`}, {`"no ts, young"`}, {`"text"`}, {`"to is wrong"`}, {`"to is wrong, young"`}}, report())

	if n, err := s.Expire(t.Context(), time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)); n != 4 || err != nil {
		t.Fatalf("Expire: %d, %v", n, err)
	}
	wantEqual(t, "what is left", []string{"arrived late", "no arrival, young", "no ts, young", "to is wrong, young"}, slices.Sorted(slices.Values(listedIDs(t, s))))
	wantEqual(t, "report", [][]string{{`"SECRET"`}, {`"no ts, young"`}, {`"to is wrong, young"`}}, report())
	// Nothing is due before June.
	wantEqual(t, "when the next of the report is due", time.Date(2025, 6, 1, 0, 0, 0, 0, time.UTC), *s.reportDue.Load())

	mustErase(t, s, "+222222", 1)
	wantEqual(t, "report", [][]string{{`"no ts, young"`}}, report())
	if n, err := s.Expire(t.Context(), time.Date(2025, 6, 1, 0, 0, 0, 1, time.UTC)); n != 3 || err != nil {
		t.Fatalf("Expire: %d, %v", n, err)
	}
	wantEqual(t, "report", nil, report())
	emptied(t, s)
	shut()
	wantEqual(t, "integrity", `"ok"`, one(t, plain(t, path), "PRAGMA integrity_check"))
}

// BenchmarkErase reports what erasing costs the one who erases and the longest
// wait of a save meanwhile: one message in twenty is erased of a hundred
// thousand.
func BenchmarkErase(b *testing.B) {
	const total, share = 100_000, 20
	var took, worst time.Duration
	var saves, steps, erased int64
	for b.Loop() {
		b.StopTimer()
		s, err := Open(b.Context(), b.TempDir()+"/app.db", Options{})
		if err != nil {
			b.Fatal(err)
		}
		for i := 0; i < total; i += 500 {
			var m []message.Message
			for j := i; j < i+500; j++ {
				sender := fmt.Sprintf("+91%06d", rand.IntN(10_000))
				if j%share == 0 {
					sender = "+900"
				}
				m = append(m, from(sender, j, 1)...)
			}
			saveAll(b, s, m)
		}
		ctx, cancel := context.WithCancel(b.Context())
		saved := make(chan struct{})
		go func() {
			defer close(saved)
			for i := 0; ctx.Err() == nil; i++ {
				began := time.Now()
				if _, err := s.Save(context.Background(), from("+5", i, 1), nil); err != nil {
					b.Error(err)
				}
				worst = max(worst, time.Since(began))
				saves++
			}
		}()
		b.StartTimer()
		began := time.Now()
		n, err := s.Erase(b.Context(), "+900")
		took += time.Since(began)
		b.StopTimer()
		if err != nil || n != total/share {
			b.Fatal(n, err)
		}
		cancel()
		<-saved
		erased += n
		steps += s.deletions.Load()
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(took.Microseconds())/float64(erased), "µs/message")
	b.ReportMetric(float64(erased)/float64(steps), "messages/step")
	b.ReportMetric(float64(worst.Microseconds())/1000, "ms-longest-save")
	b.ReportMetric(float64(saves)/took.Seconds(), "saves/s")
}
