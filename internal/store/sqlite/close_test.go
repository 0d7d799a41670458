package sqlite

import (
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
