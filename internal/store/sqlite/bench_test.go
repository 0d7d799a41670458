package sqlite

import (
	"database/sql"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// BenchmarkRows shows what a row costs by the indexes that it goes into, in
// transactions of 32 rows with the writer's settings. A key that grows fills
// one page after the other; a random one writes a page of its own a row.
func BenchmarkRows(b *testing.B) {
	const batch = 32
	for _, bb := range []struct {
		name   string
		random bool
		drop   []string // indexes that are not there
	}{
		{"unique, growing key", false, []string{"messages_by_time"}},
		{"unique, random key", true, []string{"messages_by_time"}},
		{"as they ship, random ids", true, nil},
	} {
		b.Run(bb.name, func(b *testing.B) {
			s, err := Open(b.Context(), b.TempDir()+"/app.db", Options{})
			if err != nil {
				b.Fatal(err)
			}
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
			db := openDB(writerDSN(s.path), nil)
			db.SetMaxOpenConns(1)
			defer db.Close()
			for _, index := range bb.drop {
				mustExec(b, db, "DROP INDEX "+index)
			}
			mustExec(b, db, "PRAGMA wal_autocheckpoint = 16000")
			insert, err := db.Prepare(insertSQL)
			if err != nil {
				b.Fatal(err)
			}
			defer insert.Close()
			at := time.Date(2025, 1, 15, 10, 0, 0, 0, time.UTC)
			n := 0
			for b.Loop() {
				tx, err := db.Begin()
				if err != nil {
					b.Fatal(err)
				}
				for range batch {
					if err := insertBenchRow(tx.Stmt(insert), n, bb.random, at); err != nil {
						b.Fatal(err)
					}
					n++
				}
				if err := tx.Commit(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n)/1000, "µs/row")
		})
	}
}

func insertBenchRow(insert *sql.Stmt, n int, random bool, at time.Time) error {
	id := fmt.Sprintf("m-%016d", n)
	if random {
		id = fmt.Sprintf("m-%016x", rand.Uint64())
	}
	_, err := insert.Exec(nil, id, fmt.Sprintf("+9198%08d", rand.IntN(100_000)), "+14155550100", "2025-01-15T10:00:00Z",
		"The order is on its way and should be with you before noon. Please call when you are at home.",
		"2025-01-15T10:00:00.000Z", "native", at.Unix()+int64(n/1000), 0, nil)
	return err
}
