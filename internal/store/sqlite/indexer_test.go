package sqlite

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"lyftr/internal/message"
	"lyftr/internal/store/segment"
	"lyftr/internal/store/storetest"
)

// wantRebuilt makes every segment without holes anew from the messages that are
// there, and compares all its bytes: so nothing is missing, and nothing is left
// of a message that was erased.
func wantRebuilt(t *testing.T, s *Store) {
	t.Helper()
	holes := holes(t, s)
	for _, l := range s.indexer.list() {
		covered := false
		for _, h := range holes {
			covered = covered || h.Chunk >= l.First && h.Chunk < l.End()
		}
		if covered {
			continue
		}
		want := map[int]string{}
		header, err := segment.Build(l.First, len(l.Chunks), slices.Values(numberedDocs(t, s, segment.FirstID(l.First), segment.FirstID(l.End()))), func(part int, data []byte) error {
			want[part] = string(data)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		got := map[int]string{}
		for _, r := range rows(t, s.readDB, "SELECT id, hex(data) FROM segment_parts WHERE id >= ? AND id < ?", partID(l.id, 0), partID(l.id+1, 0)) {
			var id int64
			var data []byte
			if _, err := fmt.Sscanf(r[0]+" "+strings.Trim(r[1], `"`), "%d %x", &id, &data); err != nil {
				t.Fatal(err)
			}
			got[int(id%segment.MaxParts)] = string(data)
		}
		for part := range want {
			if want[part] != got[part] {
				t.Errorf("part %d of the segment of the chunks %d to %d is not what its messages make", part, l.First, l.End())
			}
		}
		wantEqual(t, "parts", len(want), len(got))
		wantEqual(t, "header", fmt.Sprintf("x'%x'", header), one(t, s.readDB, "SELECT header FROM segments WHERE id = ?", l.id))
	}
}

// numberedDocs reads messages with the numbers that their senders have.
func numberedDocs(t *testing.T, s *Store, from, to int64) (docs []segment.Doc) {
	t.Helper()
	r, err := s.readDB.QueryContext(t.Context(), `SELECT messages.id, ts_unix, sender.id, recipient.id, text
		FROM messages LEFT JOIN phones AS sender ON sender.msisdn = from_msisdn LEFT JOIN phones AS recipient ON recipient.msisdn = to_msisdn
		WHERE messages.id >= ? AND messages.id < ? ORDER BY messages.id`, from, to)
	if err != nil {
		t.Fatal(err)
	}
	err = eachRowOf(r, func(r *sql.Rows) error {
		var d segment.Doc
		var text sql.NullString
		err := r.Scan(&d.ID, &d.Time, &d.From, &d.To, &text)
		d.Text = message.Fold(text.String)
		docs = append(docs, d)
		return err
	})
	if err != nil {
		t.Fatalf("a message in a segment whose sender or recipient has no number: %v", err)
	}
	return docs
}

// stepped has the writer run a statement between two commits.
func stepped(t *testing.T, s *Store, query string, args ...any) {
	t.Helper()
	err := s.step(t.Context(), func(ctx context.Context, c *sql.Conn) error {
		_, err := c.ExecContext(ctx, query, args...)
		return err
	})
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

// filled is a database in which the chunks from 0 up to another have a few
// messages each and a segment each, and one message less than the next chunk
// needs is in the tail. Each use has a copy of it.
type filled struct {
	path string
	m    *storetest.Many
}

func fillChunks(t *testing.T, chunks int64) filled {
	t.Helper()
	f := filled{newPath(t), storetest.NewMany(4)}
	s, shut := open(t, f.path, patient)
	for chunk := range chunks {
		f.m.Save(t, s, 40)
		skipTo(t, s, segment.FirstID(chunk+1)-30)
		f.m.Save(t, s, 31) // the last is of the next chunk
		waitFor(t, "the chunk has a segment", func() bool { return int64(len(s.indexer.list())) == chunk+1 })
	}
	skipTo(t, s, segment.FirstID(chunks+1)-30)
	f.m.Save(t, s, 29)
	shut()
	return f
}

func (f filled) open(t *testing.T, o Options) (s *Store, path string, shut func(), m *storetest.Many) {
	t.Helper()
	path = newPath(t)
	copyFile(t, f.path, path)
	s, shut = open(t, path, o)
	return s, path, shut, f.m.Clone()
}

// TestIndexerFaults: whatever of its work fails, every answer is right, what was
// written in vain is cleared away, and it goes on when it can.
func TestIndexerFaults(t *testing.T) {
	const fan = segment.Fan
	tests := map[string]struct {
		chunks int64  // that have segments before
		fault  string // a trigger's event
		after  []int  // chunks of each segment
	}{
		"number":            {1, "INSERT ON main.phones", []int{1, 1}},
		"part":              {1, "INSERT ON main.segment_parts WHEN NEW.id % 16777216 > 8388608", []int{1, 1}},
		"segment":           {1, "INSERT ON main.segments", []int{1, 1}},
		"merged part":       {fan - 1, "INSERT ON main.segment_parts WHEN (NEW.id >> 24) > 16", []int{fan}},
		"merged segment":    {fan - 1, "INSERT ON main.segments WHEN NEW.chunks = 16", []int{fan}},
		"old segments":      {fan - 1, "DELETE ON main.segments WHEN OLD.first_chunk = 15", []int{fan}},
		"old parts cleared": {fan - 1, "DELETE ON main.segment_parts", []int{fan}},
	}
	databases := map[int64]filled{1: fillChunks(t, 1), fan - 1: fillChunks(t, fan-1)}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // it waits for the second try
			lines := &logLines{}
			s, path, _, m := databases[tt.chunks].open(t, Options{ReadTimeout: time.Minute, Logger: lines.logger()})
			stepped(t, s, "CREATE TEMP TRIGGER fault BEFORE "+tt.fault+" BEGIN SELECT RAISE(ABORT, 'as the test wants'); END")
			m.Save(t, s, 30)
			faults := func() (n int) {
				for _, line := range lines.lines(t) {
					if text, _ := line["error"].(string); strings.Contains(text, "as the test wants") {
						n++
					}
				}
				return n
			}
			waitFor(t, "the fault is logged", func() bool { return faults() > 0 })
			m.CheckSome(t, s)
			wantCovered(t, s)
			if isFailed(s) {
				t.Fatalf("the fault ended the store: %v", s.fatalError())
			}
			// As it is now a killed process leaves it.
			killed := copyDatabase(t, path)
			stepped(t, s, "DROP TRIGGER fault")
			if name == "old parts cleared" {
				// They are cleared away at the next start: see below.
				waitFor(t, "the segments are merged", func() bool { return len(s.indexer.list()) == 1 })
			} else {
				indexed(t, s)
			}
			wantEqual(t, "chunks of each segment", tt.after, sizes(s))
			wantRebuilt(t, s)
			m.CheckSome(t, s)

			k, _ := open(t, killed, patient)
			indexed(t, k)
			wantEqual(t, "chunks of each segment after an interruption", tt.after, sizes(k))
			wantRebuilt(t, k)
			m.CheckSome(t, k)
		})
	}
}

// TestWrittenInVain: of a segment that cannot be put in its place nothing is left.
func TestWrittenInVain(t *testing.T) {
	s, _ := open(t, newPath(t), patient)
	s.indexer.close()
	x := s.indexer
	x.ctx = t.Context()
	all := from("+1", 0, segment.ChunkSize)
	for i := range all {
		text := ""
		for j := range 40 { // so many words that they do not go into one step
			text += fmt.Sprintf("%x ", sha256.Sum256([]byte{byte(i), byte(i >> 8), byte(j)}))[:30] + " "
		}
		all[i].Text = &text
	}
	saveAll(t, s, all)
	stepped(t, s, "CREATE TEMP TRIGGER fault BEFORE INSERT ON main.segments BEGIN SELECT RAISE(ABORT, 'as the test wants'); END")
	if err := x.buildFrom(0, 1); err == nil {
		t.Error("a segment is built that cannot be written")
	}
	wantEqual(t, "parts of no segment", nil, strayParts(t, s))
	stepped(t, s, "DROP TRIGGER fault")
	if err := x.buildFrom(0, 1); err != nil {
		t.Error(err)
	}
	stepped(t, s, "CREATE TEMP TRIGGER fault BEFORE DELETE ON main.segments BEGIN SELECT RAISE(ABORT, 'as the test wants'); END")
	if err := x.mergeGroup(x.list()); err == nil {
		t.Error("a segment is replaced that cannot be deleted")
	}
	wantEqual(t, "parts of no segment", nil, strayParts(t, s))
	wantRebuilt(t, s)
}

// TestIndexerFull: without space segments are not made, nothing that is stored
// suffers, and they are made when there is space.
func TestIndexerFull(t *testing.T) {
	t.Parallel() // it waits for the second try
	s, _, _, m := fillChunks(t, 2).open(t, patient)
	s.indexer.close()
	m.Save(t, s, 30)
	stepped(t, s, "PRAGMA max_page_count = "+one(t, s.readDB, "SELECT page_count FROM pragma_page_count"))
	for i, full := 0, false; !full; i++ {
		err := s.step(t.Context(), func(ctx context.Context, c *sql.Conn) error {
			_, err := c.ExecContext(ctx, "INSERT INTO meta (key, value) VALUES (?, zeroblob(3000))", fmt.Sprint("fill ", i))
			return err
		})
		full = err != nil
	}
	if err := startIndexer(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the indexer fails", func() bool {
		s.health.mu.Lock()
		defer s.health.mu.Unlock()
		return s.health.lastErr != nil && strings.HasPrefix(s.health.lastErr.Error(), "build segments: ")
	})
	m.Check(t, s)
	stepped(t, s, "PRAGMA max_page_count = 100000")
	indexed(t, s)
	wantEqual(t, "segments", 3, len(s.indexer.list()))
	m.Check(t, s)
	if err := s.Ready(t.Context()); err != nil {
		t.Errorf("Ready: %v", err)
	}
}

// TestLeftovers: parts that no segment has are cleared away at the next start,
// those of segments stay, and no number is given out again while its parts are
// there.
func TestLeftovers(t *testing.T) {
	s, path, shut, m := fillChunks(t, 3).open(t, patient)
	segments := rows(t, s.readDB, "SELECT id FROM segments")
	shut()
	db := plain(t, path)
	highest := int64(0)
	for i, id := range []int64{0, 4, 5, 900} {
		if slices.ContainsFunc(segments, func(r []string) bool { return r[0] == fmt.Sprint(id) }) {
			t.Fatalf("segment %d is there", id)
		}
		for _, part := range []int{0, 1, 1 << 22, 2<<22 + 1, segment.MaxParts - 1}[:i+2] {
			mustExec(t, db, "INSERT INTO segment_parts (id, data) VALUES (?, x'00')", partID(id, part))
		}
		highest = id
	}
	mustExec(t, db, "WITH RECURSIVE many (n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM many WHERE n < 500) INSERT INTO segment_parts SELECT ? + n, x'00' FROM many", partID(highest, 0))
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	s, shut = open(t, path, patient)
	m.Save(t, s, 30)
	indexed(t, s)
	wantEqual(t, "segments that were there", segments, rows(t, s.readDB, "SELECT id FROM segments LIMIT ?", len(segments)))
	if all := s.indexer.list(); len(all) != 4 || all[3].id <= highest {
		t.Errorf("the new segment of %d has the number %d, want one above %d", len(all), all[len(all)-1].id, highest)
	}
	wantRebuilt(t, s)
	m.CheckSome(t, s)
	shut()
}

// TestRemovedWhileBuilt: a message that is removed after it was read, and before
// the segment counts, is not in the segment.
func TestRemovedWhileBuilt(t *testing.T) {
	s, _ := open(t, newPath(t), patient)
	// The number of the only sender is written between the two.
	stepped(t, s, `CREATE TEMP TRIGGER remove BEFORE INSERT ON main.phones WHEN NEW.msisdn = '+1' BEGIN
		DELETE FROM messages WHERE id IN (7, 500);
		UPDATE counters SET value = value + CASE name WHEN 'removed' THEN 2 WHEN 'deletions' THEN 1 ELSE 0 END;
	END`)
	saveAll(t, s, from("+1", 1, segment.ChunkSize+10))
	indexed(t, s)
	wantEqual(t, "messages that the segment has", segment.ChunkSize-1-2, s.indexer.list()[0].Count())
	wantEqual(t, "holes", nil, holes(t, s))
	wantRebuilt(t, s)
	for _, f := range []message.Filter{{}, {From: "+1"}, {Text: "TEXT 7 OF"}, {Text: "text 8 of"}} {
		page, err := s.List(t.Context(), message.Query{Filter: f, Limit: 1})
		if err != nil {
			t.Fatal(err)
		}
		var want int64
		switch f.Text {
		case "":
			want = segment.ChunkSize + 10 - 2
		case "text 8 of":
			want = 1
		}
		wantEqual(t, fmt.Sprintf("total of %+v", f), want, page.Total)
	}
}

// TestReplacedMeanwhile: of two that replace the same segment at one time, which
// the two goroutines may, the second one gives up, whether it could still read
// the parts or not.
func TestReplacedMeanwhile(t *testing.T) {
	second := map[string]func(x *indexer, group []located) error{
		"one of them written anew": func(x *indexer, group []located) error { return x.mergeGroup(group[3:4]) },
		"all of them merged":       func(x *indexer, group []located) error { return x.mergeGroup(group) },
		"one of them dropped":      func(x *indexer, group []located) error { return x.drop(group[5]) },
	}
	database := fillChunks(t, segment.Fan-1)
	for _, gone := range []bool{false, true} {
		for what, replace := range second {
			t.Run(fmt.Sprintf("%s, parts gone: %v", what, gone), func(t *testing.T) {
				s, path, shut, m := database.open(t, patient)
				s.indexer.close()
				x := s.indexer
				x.ctx = t.Context()
				m.Save(t, s, 30)
				if err := x.buildFrom(segment.Fan-1, 1); err != nil {
					t.Fatal(err)
				}
				group := mergeable(x.list(), segment.Fan)
				if group == nil {
					t.Fatal("there is nothing to merge")
				}
				if !gone {
					stepped(t, s, "CREATE TEMP TRIGGER keep BEFORE DELETE ON main.segment_parts BEGIN SELECT RAISE(ABORT, 'as the test wants'); END")
				}
				if err := x.mergeGroup(group); (err == nil) != gone {
					t.Fatalf("merge: %v", err)
				}
				if !gone {
					stepped(t, s, "DROP TRIGGER keep")
				}
				if err := replace(x, group); err != nil {
					t.Errorf("second: %v", err)
				}
				wantEqual(t, "chunks of each segment", []int{segment.Fan}, sizes(s))
				wantCovered(t, s)
				shut()
				s, _ = open(t, path, patient)
				indexed(t, s)
				wantEqual(t, "chunks of each segment when opened again", []int{segment.Fan}, sizes(s))
				m.CheckSome(t, s)
			})
		}
	}
}

// TestDamageSeenLate: a question that began before the segments were made anew
// does not have them made anew once more.
func TestDamageSeenLate(t *testing.T) {
	s, _, _, _ := fillChunks(t, 2).open(t, patient)
	damaged := func(f func()) {
		err := s.read(t.Context(), "as the test wants", func(context.Context, *sql.Tx) error {
			f()
			return segment.ErrDamaged
		})
		if !errors.Is(err, message.ErrUnavailable) {
			t.Errorf("read: %v, want ErrUnavailable", err)
		}
	}
	damaged(func() {
		damaged(func() {})
		waitFor(t, "the segments are thrown away", func() bool { return s.indexer.remakes.Load() == 1 })
	})
	if s.indexer.damaged.Load() {
		t.Error("the new segments count as damaged")
	}
	indexed(t, s)
	wantRebuilt(t, s)
}

// TestDamageMetByMerging: a part that is gone is noticed where nobody asks.
func TestDamageMetByMerging(t *testing.T) {
	s, _, _, m := fillChunks(t, segment.Fan-1).open(t, patient)
	stepped(t, s, "DELETE FROM segment_parts WHERE id = ?", partID(s.indexer.list()[5].id, s.indexer.list()[5].ColumnsPart(0)))
	m.Save(t, s, 30)
	waitFor(t, "the segments are thrown away", func() bool { return s.indexer.remakes.Load() == 1 })
	indexed(t, s)
	wantEqual(t, "chunks of each segment", []int{segment.Fan}, sizes(s))
	wantRebuilt(t, s)
	m.CheckSome(t, s)
}

// TestRemadeWhileMerging: whichever of the two comes first, what is made anew
// covers everything.
func TestRemadeWhileMerging(t *testing.T) {
	database := fillChunks(t, segment.Fan-1)
	for range 6 { // the writer takes either first
		s, _, _, m := database.open(t, patient)
		s.indexer.close()
		x := s.indexer
		x.ctx = t.Context()
		m.Save(t, s, 30)
		if err := x.buildFrom(segment.Fan-1, 1); err != nil {
			t.Fatal(err)
		}
		var both sync.WaitGroup
		group := mergeable(x.list(), segment.Fan)
		err := s.queue.Do(t.Context(), func() { // both wait for the writer
			both.Go(func() {
				if err := x.mergeGroup(group); err != nil {
					t.Errorf("mergeGroup: %v", err)
				}
			})
			both.Go(func() {
				if err := x.remake(); err != nil {
					t.Errorf("remake: %v", err)
				}
			})
			waitFor(t, "numbering is held", func() bool {
				if x.numbering.TryLock() {
					x.numbering.Unlock()
					return false
				}
				return true
			})
		})
		if err != nil {
			t.Fatal(err)
		}
		both.Wait()
		wantEqual(t, "segments in the table", fmt.Sprint(len(x.list())), one(t, s.readDB, "SELECT count(*) FROM segments"))
		if err := startIndexer(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		indexed(t, s)
		m.CheckSome(t, s)
	}
}

// TestErasedIsNotInSegments: a segment is written anew without what was erased;
// see wantRebuilt for all its bytes.
func TestErasedIsNotInSegments(t *testing.T) {
	s, _ := open(t, newPath(t), patient)
	const secret, stranger, each = "ΞΨΩЖЙЩ", "+987654321", 17
	all := from("+1", 0, 3*segment.ChunkSize+100)
	erased := int64(0)
	for i := range all {
		if i%each == 3 {
			text := fmt.Sprint("before ", secret, " after 鬱鬱 ", strings.Repeat(secret, 10))
			all[i].From, all[i].To, all[i].Text = stranger, "+55555", &text
			erased++
		}
	}
	saveAll(t, s, all)
	indexed(t, s)
	held := func() (n int) {
		for _, r := range rows(t, s.readDB, "SELECT hex(data) FROM segment_parts UNION ALL SELECT hex(header) FROM segments") {
			for _, term := range []string{secret, secret[:4], "鬱"} {
				if strings.Contains(strings.ToLower(r[0]), fmt.Sprintf("%x", message.Fold(term))) {
					n++
				}
			}
		}
		return n
	}
	if held() == 0 {
		t.Fatal("no segment has the words that are going to be erased: the test looks in the wrong place")
	}
	mustErase(t, s, stranger, erased)
	indexed(t, s)
	wantEqual(t, "parts that have a word of what was erased", 0, held())
	wantEqual(t, "holes", nil, holes(t, s))
	wantEqual(t, "numbers of the sender", "0", one(t, s.readDB, "SELECT count(*) FROM phones WHERE msisdn = ?", stranger))
	wantRebuilt(t, s)
}

// TestErasedWordsAreNotInTheFile: nor do the pages that segments left keep them,
// whether a segment was written anew or went altogether.
func TestErasedWordsAreNotInTheFile(t *testing.T) {
	const secret, stranger = "xyzzyplugh", "+987654321"
	all := func(choose func(i int) bool) (list []message.Message, erased int64) {
		list = from("+1", 0, 2*segment.ChunkSize+100)
		for i := range list {
			if choose(i) {
				text := fmt.Sprint("some ", secret, i%7)
				list[i].From, list[i].Text = stranger, &text
				erased++
			}
		}
		return list, erased
	}
	inFile := func(t *testing.T, path string) bool {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return bytes.Contains(data, []byte(message.Fold(secret))) || bytes.Contains(data, []byte(secret)) || bytes.Contains(data, []byte(stranger))
	}
	for name, choose := range map[string]func(i int) bool{
		"written anew": func(i int) bool { return i%50 == 7 },
		"gone":         func(i int) bool { return i < segment.ChunkSize-1 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // it waits for the log to be emptied
			path := newPath(t)
			s, shut := open(t, path, patient)
			list, n := all(choose)
			saveAll(t, s, list)
			indexed(t, s)
			if !inFile(t, path) && !inFile(t, path+"-wal") {
				t.Fatal("the words are not in the file before they are erased: the test looks in the wrong place")
			}
			mustErase(t, s, stranger, n)
			indexed(t, s)
			// The last that is cleared away comes behind the log's first emptying.
			if err := s.queue.Do(t.Context(), func() { s.writer.wipe, s.writer.wiped = true, time.Time{} }); err != nil {
				t.Fatal(err)
			}
			emptied(t, s)
			if inFile(t, path) {
				t.Error("the file has a word or the number of what was erased")
			}
			shut()
		})
	}
}

// TestEmptySegments: a segment of which everything was removed goes, unless it
// is the last one, which says up to where messages are covered.
func TestEmptySegments(t *testing.T) {
	path := newPath(t)
	s, shut := open(t, path, patient)
	const chunk = segment.ChunkSize
	saveAll(t, s, from("+0", 1, chunk-1)) // no message has the id 0
	for i := 1; i < 4; i++ {
		indexed(t, s)
		saveAll(t, s, from(fmt.Sprint("+", i), i*chunk, chunk))
	}
	indexed(t, s)
	saveAll(t, s, from("+9", 0, 10))
	first := func() (n []int64) {
		for _, l := range s.indexer.list() {
			n = append(n, l.First)
		}
		return n
	}
	total := func(want int64) {
		t.Helper()
		for _, f := range []message.Filter{{}, {Text: "text"}} {
			page, err := s.List(t.Context(), message.Query{Filter: f, Limit: 1})
			if err != nil {
				t.Fatal(err)
			}
			wantEqual(t, "total", want, page.Total)
		}
	}
	wantEqual(t, "first chunks", []int64{0, 1, 2, 3}, first())
	mustErase(t, s, "+1", chunk)
	waitFor(t, "the erased chunk has no segment", func() bool { return len(s.indexer.list()) == 3 })
	indexed(t, s)
	wantEqual(t, "first chunks", []int64{0, 2, 3}, first())
	total(3*chunk - 1 + 10)
	if _, err := s.Expire(t.Context(), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "only the last segment is left", func() bool { return len(s.indexer.list()) == 1 })
	indexed(t, s)
	wantEqual(t, "first chunk of the last segment", []int64{3}, first())
	total(0)
	shut()
	s, _ = open(t, path, patient)
	total(0)
	saveAll(t, s, from("+3", 10*chunk, chunk))
	waitFor(t, "it goes when there is another behind it", func() bool { return len(s.indexer.list()) == 1 && s.indexer.list()[0].First == 4 })
	indexed(t, s)
	wantRebuilt(t, s)
	total(chunk)
}

// TestNumberGoneBeforeTheSegment: a sender can lose its number while a segment
// still counts messages of it that are holes.
func TestNumberGoneBeforeTheSegment(t *testing.T) {
	s, _ := open(t, newPath(t), patient)
	old := from("+9", 1, 1)
	old[0].ReceivedAt = old[0].At
	rest := from("+1", 10, 100+segment.ChunkSize)
	for i := range rest {
		rest[i].To = "+1" // so that the other has the highest number
	}
	old[0].To = "+1"
	saveAll(t, s, rest[:100])
	saveAll(t, s, old)
	saveAll(t, s, rest[100:])
	indexed(t, s)
	if n, err := s.Expire(t.Context(), old[0].At.Add(time.Hour)); err != nil || n != 1 {
		t.Fatalf("Expire: %d, %v", n, err)
	}
	saveAll(t, s, from("+9", 2, 1)) // behind the segment
	mustErase(t, s, "+9", 1)
	waitFor(t, "the erased sender is looked after", func() bool { return one(t, s.readDB, "SELECT count(*) FROM erased_senders") == "0" })
	st, err := s.Stats(t.Context(), message.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "senders", []message.SenderCount{{From: "+1", Count: 100 + segment.ChunkSize}}, st.Top)
	wantEqual(t, "number of senders", 1, st.Senders)
}

// TestMoreSendersThanAreKept: senders whose numbers are not all in memory keep
// those that they have.
func TestMoreSendersThanAreKept(t *testing.T) {
	s, _ := open(t, newPath(t), patient)
	m := storetest.NewMany(5)
	m.Save(t, s, segment.ChunkSize)
	indexed(t, s)
	x := s.indexer
	x.numbering.Lock()
	clear(x.numbers)
	x.complete, x.nextNumber = false, mostNumbers+1
	x.numbering.Unlock()
	before := one(t, s.readDB, "SELECT max(id) FROM phones")
	m.Save(t, s, 2*segment.ChunkSize)
	indexed(t, s)
	if x.complete {
		t.Error("all numbers were read")
	}
	wantEqual(t, "numbers below those that were given out last", before, one(t, s.readDB, "SELECT max(id) FROM phones WHERE id <= ?", mostNumbers))
	m.CheckSome(t, s)
}

// TestIndexerRests: the indexer rests in proportion to its work while messages come,
// and not when none do or when too many wait for it.
func TestIndexerRests(t *testing.T) {
	s := &Store{}
	p := (&indexer{store: s, ctx: t.Context()}).newParts()
	come := func(n int64) { s.lastID.Add(n); s.messages.Add(n) }
	wantEqual(t, "when no message came", 0, p.pause(restAfter))
	come(1)
	wantEqual(t, "when one came", restShare*restAfter, p.pause(restAfter))
	wantEqual(t, "when none came since", 0, p.pause(restAfter))
	come(1)
	wantEqual(t, "after long work", restShare*stepTime, p.pause(time.Minute))

	come(1)
	p.rested = time.Now().Add(-time.Minute)
	before := time.Now()
	p.rest()
	if took := p.rested.Sub(before); took < restShare*stepTime {
		t.Errorf("it rested %v, want %v", took, restShare*stepTime)
	}
	come(restLimit)
	wantEqual(t, "when many wait", 0, p.pause(restAfter))
}
