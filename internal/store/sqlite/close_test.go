package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestCloseEmptiesLog closes stores in the midst of indexing: what reads then is
// broken off, and must not keep the log from being copied into the file.
func TestCloseEmptiesLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.db")
	for round := range 6 {
		s, err := Open(t.Context(), path, Options{})
		if err != nil {
			t.Fatal(err)
		}
		ids := make([]string, 1100)
		for i := range ids {
			ids[i] = fmt.Sprintf("%d-%d", round, i)
		}
		if _, err := s.Save(t.Context(), messages(ids...), nil); err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Duration(rand.IntN(5_000)) * time.Microsecond)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if f, err := os.Stat(path + "-wal"); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("round %d: the log is still there, %v", round, f.Size())
		}
	}
}

// TestReadIsBrokenOff: when the context ends, queries end, and nobody undoes the
// transaction beside the one who reads: database/sql would forget a statement that
// is prepared in it at that moment, and its connection would never be closed.
func TestReadIsBrokenOff(t *testing.T) {
	s, _ := open(t, newPath(t), Options{})
	ctx, cancel := context.WithCancel(t.Context())
	err := s.read(ctx, "test", func(ctx context.Context, tx *sql.Tx) error {
		cancel()
		var n int
		if err := tx.QueryRowContext(ctx, "SELECT 1").Scan(&n); !errors.Is(err, context.Canceled) {
			t.Errorf("a query after the context's end: %v", err)
		}
		for range 50 {
			if err := tx.QueryRowContext(context.Background(), "SELECT count(*) FROM messages").Scan(&n); err != nil {
				return err
			}
			<-time.After(time.Millisecond)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	waitFor(t, "no connection is in use", func() bool { return s.readDB.Stats().InUse == 0 })
}
