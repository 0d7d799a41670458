package sqlite

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"lyftr/internal/message"
	"lyftr/internal/store/segment"
	"lyftr/internal/store/storetest"
)

// recount holds everything that is counted somewhere against what SQL counts in
// the table messages.
func recount(t *testing.T, s *Store) {
	t.Helper()
	number := func(query string, args ...any) (n int64) {
		t.Helper()
		if _, err := fmt.Sscan(one(t, s.readDB, query, args...), &n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	total := number("SELECT count(*) FROM messages")
	last, removed, err := countMessages(t.Context(), s.readDB)
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "last id less removed", total, last-removed)
	wantEqual(t, "the last id in memory", last, s.lastID.Load())
	wantEqual(t, "the last id in the counters is not behind the table's", true, number("SELECT value FROM counters WHERE name = 'last_id'") <= last)
	wantEqual(t, "Status().Messages", total, s.Status().Messages)
	if n := number("SELECT count(*) FROM removed"); n > removed { // see skipTo
		t.Errorf("%d identities of %d removed messages", n, removed)
	}

	st, err := s.Stats(t.Context(), message.Filter{})
	if err != nil {
		t.Fatalf("Stats: %v", err)
	}
	want := message.Stats{Total: total, Senders: number("SELECT count(DISTINCT from_msisdn) FROM messages")}
	for _, r := range rows(t, s.readDB, "SELECT from_msisdn, count(*) AS n FROM messages GROUP BY from_msisdn ORDER BY n DESC, from_msisdn LIMIT ?", message.TopSenders) {
		c := message.SenderCount{From: strings.Trim(r[0], `"`)}
		if _, err := fmt.Sscan(r[1], &c.Count); err != nil {
			t.Fatal(err)
		}
		want.Top = append(want.Top, c)
	}
	for ts, direction := range map[*string]string{&want.FirstTS: "ASC", &want.LastTS: "DESC"} {
		for _, r := range rows(t, s.readDB, strings.ReplaceAll("SELECT ts FROM messages ORDER BY ts_unix #, ts_nanos #, message_id #, source # LIMIT 1", "#", direction)) {
			*ts = strings.Trim(r[0], `"`)
		}
	}
	wantEqual(t, "Stats", want, st)
	wantCovered(t, s)
}

// TestRecount: after a random history with openings and interruptions every
// counter is what SQL counts.
func TestRecount(t *testing.T) {
	for seed := range uint64(2) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			m := storetest.NewMany(100 + seed)
			path := newPath(t)
			s, shut := open(t, path, patient)
			m.Save(t, s, 500)
			for range 25 {
				switch r.IntN(8) {
				case 0, 1:
					m.Save(t, s, r.IntN(3*inChunk))
				case 2:
					m.Save(t, s, 1)
				case 3:
					m.EraseSome(t, s, 1+r.IntN(3))
				case 4:
					m.ExpireSome(t, s, r.Float64()*0.3)
				case 5:
					m.Repeat(t, s)
				case 6:
					if next := segment.FirstID(segment.ChunkOf(s.lastID.Load())+2+r.Int64N(20)) - r.Int64N(40); r.IntN(2) == 0 {
						skipTo(t, s, next)
					}
					shut()
					s, shut = open(t, path, patient)
				case 7:
					// The killed one goes on, the other ends.
					killed := copyDatabase(t, path)
					shut()
					path = killed
					s, shut = open(t, path, patient)
				}
				if r.IntN(2) == 0 {
					recount(t, s)
				}
				if m.Len() < 100 {
					m.Save(t, s, 100)
				}
			}
			m.CheckSome(t, s)
			indexed(t, s)
			wantRebuilt(t, s)
			recount(t, s)
			m.Check(t, s)
		})
	}
}
