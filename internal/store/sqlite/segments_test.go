package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"testing"
	"time"

	"lyftr/internal/message"
	"lyftr/internal/store/segment"
	"lyftr/internal/store/storetest"
)

// patient is for stores that are asked much while the race detector looks on.
var patient = Options{ReadTimeout: time.Minute}

// indexed waits until the indexer has nothing left to do: every full chunk is in
// a segment, nothing can be merged, nothing is to be erased, and there are no
// parts that no segment has.
func indexed(t *testing.T, s *Store) {
	t.Helper()
	waitFor(t, "the indexer is done", func() bool {
		all := s.indexer.list()
		next := int64(0)
		if len(all) > 0 {
			next = all[len(all)-1].End()
		}
		if next != segment.ChunkOf(s.lastID.Load()+1) || noted(t, s) != next {
			return false
		}
		for size := segment.Fan; size <= segment.MaxChunks; size *= segment.Fan {
			if mergeable(all, size) != nil {
				return false
			}
		}
		return one(t, s.readDB, "SELECT NOT EXISTS (SELECT 1 FROM holes WHERE erase) AND NOT EXISTS (SELECT 1 FROM erased_senders)") == "1" &&
			len(strayParts(t, s)) == 0
	})
	wantCovered(t, s)
}

// noted is how many chunks the table chunk_sources knows.
func noted(t *testing.T, s *Store) int64 {
	t.Helper()
	last, err := lastSources(t.Context(), s.readDB)
	if err != nil {
		t.Fatal(err)
	}
	return last.end()
}

// strayParts are the segments that have parts and are none.
func strayParts(t *testing.T, s *Store) [][]string {
	t.Helper()
	// A scan of the rowids.
	return rows(t, s.readDB, fmt.Sprintf(
		"SELECT DISTINCT id / %d AS segment FROM segment_parts WHERE segment NOT IN (SELECT id FROM segments)", segment.MaxParts))
}

// wantCovered holds the segments against the table messages and against one
// another: no message is in two or in none, and what they count is there.
func wantCovered(t *testing.T, s *Store) {
	t.Helper()
	tx, err := s.readDB.BeginTx(t.Context(), &sql.TxOptions{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	sn, err := s.snapshot(t.Context(), tx)
	if err != nil {
		t.Fatalf("snapshot: %v", err)
	}
	count := func(from, to int64) (n int64) {
		if err := tx.QueryRowContext(t.Context(), "SELECT count(*) FROM messages WHERE id >= ? AND id < ?", from, to).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	end := int64(0)
	for _, l := range sn.segments {
		if l.First < end {
			t.Errorf("the segment of the chunks %d to %d begins before the chunk %d", l.First, l.End(), end)
		}
		wantEqual(t, fmt.Sprintf("messages in the chunks %d to %d, which no segment has", end, l.First),
			0, count(segment.FirstID(end), segment.FirstID(l.First)))
		end = l.End()
		n := l.Count()
		for k := range l.Chunks {
			if b := sn.holes[l.First+int64(k)]; b != nil {
				n -= int64(b.Len())
			}
		}
		wantEqual(t, fmt.Sprintf("messages of the segment of the chunks %d to %d", l.First, l.End()),
			count(segment.FirstID(l.First), segment.FirstID(l.End())), n)
		inSenders, inHours := int64(0), int64(0)
		err := l.Senders(sn.fetch(t.Context(), l.id), func(c segment.SenderCount) { inSenders += int64(c.Count) })
		if err != nil {
			t.Errorf("Senders: %v", err)
		}
		if err := l.Hours(sn.fetch(t.Context(), l.id), func(c segment.HourCount) { inHours += int64(c.Count) }); err != nil {
			t.Errorf("Hours: %v", err)
		}
		wantEqual(t, "messages by sender", l.Count(), inSenders)
		wantEqual(t, "messages by hour", l.Count(), inHours)
	}
	for chunk, b := range sn.holes {
		if chunk >= end || b.Len() == 0 {
			t.Errorf("%d holes in chunk %d; segments end at chunk %d", b.Len(), chunk, end)
		}
		for p := range b.All {
			id := segment.FirstID(chunk) + int64(p)
			wantEqual(t, fmt.Sprintf("messages with the id %d, which is a hole", id), 0, count(id, id+1))
		}
	}
}

// sizes are the chunks of each segment.
func sizes(s *Store) (n []int) {
	for _, l := range s.indexer.list() {
		n = append(n, len(l.Chunks))
	}
	return n
}

// TestManySegments: every answer is that of the model while nothing is in a
// segment, while segments are made, of segments of several sizes with a tail
// behind them, with holes, without what was erased, after opening again, and
// after an interruption.
func TestManySegments(t *testing.T) {
	path := newPath(t)
	m := storetest.NewMany(2)
	s, shut := open(t, path, patient)
	s.indexer.close() // nothing is in a segment
	m.Save(t, s, 900)
	m.Check(t, s)
	m.Save(t, s, 1500)
	m.EraseSome(t, s, 1)
	m.CheckSome(t, s)
	wantEqual(t, "segments of a store without an indexer", nil, sizes(s))
	shut()

	s, _ = open(t, path, patient)
	m.CheckSome(t, s) // while segments are made
	indexed(t, s)
	m.CheckSome(t, s)
	saveChunks(t, s, m, segment.Fan)
	m.CheckSome(t, s)
	indexed(t, s)
	saveChunks(t, s, m, segment.Fan+3)
	m.Save(t, s, 300)
	indexed(t, s)
	wantEqual(t, "chunks of the first segment", segment.Fan, sizes(s)[0])
	wantEqual(t, "chunks in segments", segment.Fan+3, s.indexer.next())
	m.CheckSome(t, s)
	m.ExpireSome(t, s, 0.3) // all of some chunks
	m.Check(t, s)
	killed, then := copyDatabase(t, path), m.Clone()
	m.EraseSome(t, s, 3)
	m.CheckSome(t, s)
	indexed(t, s)
	m.Check(t, s)
	m.Repeat(t, s)

	// As it was at the copy it opens, and has the messages that were erased
	// since.
	k, _ := open(t, killed, patient)
	then.CheckSome(t, k)
	then.Repeat(t, k)
	then.Save(t, k, 1500)
	indexed(t, k)
	then.CheckSome(t, k)
}

// saveChunks saves messages until a chunk begins, some in each before it.
func saveChunks(t *testing.T, s *Store, m *storetest.Many, until int64) {
	t.Helper()
	for chunk := segment.ChunkOf(s.lastID.Load() + 1); chunk < until; chunk++ {
		last := segment.FirstID(chunk+1) - 1
		m.Save(t, s, int(min(inChunk, last-s.lastID.Load())))
		if s.lastID.Load() < last {
			skipTo(t, s, last)
			m.Save(t, s, 1)
		}
	}
}

// skipTo has the next message take an id, as if those before it had been stored
// and removed.
func skipTo(t *testing.T, s *Store, id int64) {
	t.Helper()
	err := s.step(t.Context(), func(ctx context.Context, c *sql.Conn) error {
		_, err := c.ExecContext(ctx, `UPDATE counters SET value = CASE name WHEN 'removed' THEN value + ?2 - ?1 WHEN 'last_id' THEN ?2 - 1 ELSE value END`,
			s.writer.lastID+1, id)
		if err == nil {
			s.writer.lastID = id - 1
			s.lastID.Store(id - 1)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	poke(s.indexer.full)
}

// TestManyOfOneInstant: more messages share a second than are sorted for a page.
func TestManyOfOneInstant(t *testing.T) {
	s, _ := open(t, newPath(t), patient)
	text := "tick"
	at := time.Date(2025, 1, 15, 10, 0, 0, 0, time.UTC)
	for i := range (most + 3000) / 1000 {
		list := make([]message.Message, 1000)
		for j := range list {
			n := i*1000 + j
			list[j] = message.Message{
				// The order of IDs is another than that of arrival.
				Source: message.SourceNative, ID: fmt.Sprintf("%05d", n*7919%100_000), From: "+1", To: "+2",
				TS: at.Format(time.RFC3339), At: at, Text: &text,
			}
			if n%1000 == 0 {
				list[j].At = at.Add(time.Duration(n-10_000) * time.Second)
				list[j].TS = list[j].At.Format(time.RFC3339)
			}
		}
		saveAll(t, s, list)
	}
	var want []string
	for _, r := range rows(t, s.readDB, "SELECT message_id FROM messages ORDER BY ts_unix, message_id") {
		want = append(want, strings.Trim(r[0], `"`))
	}
	for _, f := range []message.Filter{{}, {From: "+1"}, {To: "+2", Text: "ICK"}} {
		for _, order := range []message.Order{message.Ascending, message.Descending} {
			for _, offset := range []int64{0, 11, 1001, 12_345, int64(len(want)) - 8} {
				q := message.Query{Filter: f, Order: order, Offset: offset, Limit: 7}
				var got []string
				for range 2 {
					page, err := s.List(t.Context(), q)
					if err != nil {
						t.Fatalf("List(%+v): %v", q, err)
					}
					wantEqual(t, "total", int64(len(want)), page.Total)
					for _, m := range page.Messages {
						got = append(got, m.ID)
					}
					if q.Cursor = page.NextCursor; q.Cursor == "" {
						break
					}
				}
				expected := make([]string, 0, 14)
				for i := offset; i < min(offset+14, int64(len(want))); i++ {
					if order == message.Ascending {
						expected = append(expected, want[i])
					} else {
						expected = append(expected, want[int64(len(want))-1-i])
					}
				}
				wantEqual(t, fmt.Sprintf("%+v", q), expected, got)
			}
		}
	}
}

// TestSegmentsMergedTwice: messages in a few of many chunks, and nothing in the
// others.
func TestSegmentsMergedTwice(t *testing.T) {
	m := storetest.NewMany(3)
	s, _ := open(t, newPath(t), patient)
	for _, chunk := range []int64{60, 130, 131, 200, 255} {
		m.Save(t, s, 200)
		skipTo(t, s, segment.FirstID(chunk)-100)
	}
	m.Save(t, s, 1500)
	indexed(t, s)
	wantEqual(t, "chunks of each segment", []int{segment.Fan * segment.Fan}, sizes(s))
	m.Check(t, s)
	m.ExpireSome(t, s, 0.1)
	m.CheckSome(t, s)
	m.EraseSome(t, s, 2)
	indexed(t, s)
	m.Check(t, s)
}
