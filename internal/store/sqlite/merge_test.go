package sqlite

import (
	"bytes"
	"fmt"
	"os"
	"testing"

	"lyftr/internal/message"
)

// TestErasedNumber: a sender who was erased loses its number, unless there are
// messages to it, and is found again when it writes again.
func TestErasedNumber(t *testing.T) {
	s, _ := open(t, newPath(t), Options{})
	numbered := func(msisdn string) bool {
		t.Helper()
		return one(t, s.readDB, "SELECT count(*) FROM phones WHERE msisdn = ?", msisdn) == "1"
	}
	total := func(f message.Filter) int64 {
		t.Helper()
		page, err := s.List(t.Context(), message.Query{Filter: f, Limit: 1})
		if err != nil {
			t.Fatal(err)
		}
		return page.Total
	}
	const chunk = 1024
	saveAll(t, s, from("+9", 0, 10))
	saveAll(t, s, from("+8", 10, 5))
	to := from("+1", 15, 1)
	to[0].To = "+8"
	saveAll(t, s, to)
	saveAll(t, s, from("+1", 16, chunk))
	waitFor(t, "the first chunk has a segment", func() bool { return len(s.indexer.list()) == 1 })
	if !numbered("+9") || !numbered("+8") {
		t.Fatal("the senders of the segment have no numbers")
	}

	mustErase(t, s, "+9", 10)
	mustErase(t, s, "+8", 5)
	waitFor(t, "the erased senders are looked after", func() bool { return one(t, s.readDB, "SELECT count(*) FROM erased_senders") == "0" })
	if numbered("+9") {
		t.Error("the number of an erased sender is still there")
	}
	if !numbered("+8") {
		t.Error("the number is gone, and a message goes there")
	}
	wantEqual(t, "holes left", "0", one(t, s.readDB, "SELECT count(*) FROM holes"))
	wantEqual(t, "messages to +8", 1, total(message.Filter{To: "+8"}))

	saveAll(t, s, from("+9", 3000, chunk))
	waitFor(t, "the second chunk has a segment", func() bool { return s.indexer.list()[0].Count() < chunk && len(s.indexer.list()) == 2 })
	wantEqual(t, "messages from +9", chunk, total(message.Filter{From: "+9"}))
	if !numbered("+9") {
		t.Error("the sender wrote again and has no number")
	}
}

// TestDamagedSegments: segments that cannot be read, of another version or of a
// damaged part, are made anew, and the answers are right again.
func TestDamagedSegments(t *testing.T) {
	const n = 3 * 1024
	damage := map[string]string{
		"another version":  "UPDATE segments SET header = x'00'",
		"a header is cut":  "UPDATE segments SET header = substr(header, 1, length(header) - 1) WHERE id = (SELECT max(id) FROM segments)",
		"a part is gone":   "DELETE FROM segment_parts WHERE id % 16777216 = 4194304",
		"a part is zeroed": "UPDATE segment_parts SET data = zeroblob(0) WHERE id % 16777216 = 0",
		"sources are cut":  "UPDATE chunk_sources SET data = substr(data, 1, length(data) - 1)",
		"some are gone":    "UPDATE chunk_sources SET chunks = 2",
		"too many":         "UPDATE chunk_sources SET chunks = 17",
	}
	for name, statement := range damage {
		t.Run(name, func(t *testing.T) {
			path := newPath(t)
			s, shut := open(t, path, Options{})
			saveAll(t, s, from("+1", 0, n))
			waitFor(t, "the segments are made", func() bool { return s.indexer.next() == 3 && noted(t, s) == 3 })
			mustErase(t, s, "+2", 0)
			stepped(t, s, statement)
			shut()
			s, _ = open(t, path, Options{})
			total := func() int64 {
				page, err := s.List(t.Context(), message.Query{Filter: message.Filter{From: "+1", Source: message.SourceNative}, Limit: 1})
				if err != nil {
					return -1
				}
				return page.Total
			}
			waitFor(t, "the answer is right", func() bool { return total() == n })
			waitFor(t, "the segments are made anew", func() bool { return s.indexer.next() == 3 && noted(t, s) == 3 && !s.indexer.damaged.Load() })
			wantEqual(t, "total", n, total())
			waitFor(t, "no segment's parts are gone", func() bool { return len(strayParts(t, s)) == 0 })
		})
	}
}

// TestClearedPartsAreWiped: what stood in a part, the pages of a long one too, is
// not in the file when it is cleared away.
func TestClearedPartsAreWiped(t *testing.T) {
	path := newPath(t)
	s, _ := open(t, path, Options{})
	s.indexer.stop() // it reads too
	s.indexer.done.Wait()
	s.indexer.ctx = t.Context()
	const secret, id = "xyzzyplugh", 1
	onWriter(t, s, "INSERT INTO segment_parts (id, data) VALUES ("+fmt.Sprint(partID(id, 0))+", CAST(replace(printf('%5000c', '.'), '.', '"+secret+"') || replace(printf('%5000c', ' '), ' ', '"+secret+"') AS BLOB))")
	emptyLog(t, s)
	if b, err := os.ReadFile(path); err != nil || !bytes.Contains(b, []byte(secret)) {
		t.Fatalf("the part is not in the file: the test looks in the wrong place (%v)", err)
	}
	if err := s.indexer.clear(id); err != nil {
		t.Fatal(err)
	}
	emptyLog(t, s)
	if b, err := os.ReadFile(path); err != nil || bytes.Contains(b, []byte(secret)) {
		t.Errorf("the part is still in the file (%v)", err)
	}
}
