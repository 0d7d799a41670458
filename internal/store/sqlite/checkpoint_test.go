package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"testing"
)

// lengthen makes the log longer than what the writer copies itself.
func lengthen(t *testing.T, s *Store) logState {
	t.Helper()
	for i := range 100 {
		ids := make([]string, 20)
		for k := range ids {
			ids[k] = fmt.Sprintf("%x-%d-%d", (i*7919+k*104729)%65536, i, k)
		}
		save(t, s, ids...)
	}
	l := stateOf(t, s)
	if l.left() <= checkpointRest {
		t.Fatalf("the log has %d pages to copy, of more than %d", l.left(), checkpointRest)
	}
	return l
}

func stateOf(t *testing.T, s *Store) (l logState) {
	t.Helper()
	l, err := s.checkpointer.ask(t.Context(), logLengthSQL)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestLogBeginsAnew: the checkpointer copies most of the log, the writer the
// rest, and then the log begins anew.
func TestLogBeginsAnew(t *testing.T) {
	s, _ := open(t, newPath(t), Options{})
	s.indexer.close()
	long := lengthen(t, s)
	if err := s.queue.Do(t.Context(), func() { s.writer.tidy(t.Context(), checkpointRest+1) }); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "little is left", s.checkpointer.little.Load)
	if l := stateOf(t, s); l.left() > checkpointRest || l.copied < long.left()-checkpointRest {
		t.Errorf("%d of %d pages are copied", l.copied, l.length)
	}
	save(t, s, "copies the rest")
	if err := s.queue.Do(t.Context(), func() {}); err != nil { // behind what follows the commit
		t.Fatal(err)
	}
	if l := stateOf(t, s); l.left() != 0 {
		t.Errorf("%d pages are left", l.left())
	}
	save(t, s, "begins anew")
	if l := stateOf(t, s); l.length >= long.length {
		t.Errorf("the log has %d pages, and had %d", l.length, long.length)
	}
}

// TestReaderHoldsUpCopying: what a reader has to see in the log stays there, the
// writer does not wait for it, and the log is copied once it is done.
func TestReaderHoldsUpCopying(t *testing.T) {
	s, _ := open(t, newPath(t), Options{})
	s.indexer.close()
	tx, err := s.readDB.BeginTx(t.Context(), &sql.TxOptions{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	var n int
	if err := tx.QueryRowContext(t.Context(), "SELECT count(*) FROM messages").Scan(&n); err != nil {
		t.Fatal(err)
	}
	lengthen(t, s)
	if err := s.checkpointer.copyMost(t.Context()); err != nil {
		t.Fatal(err)
	}
	if l := stateOf(t, s); l.left() <= checkpointRest || s.checkpointer.little.Load() {
		t.Errorf("%d pages are left that a reader does not see", l.left())
	}
	save(t, s, "while a reader looks")
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := s.checkpointer.copyMost(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !s.checkpointer.little.Load() {
		t.Error("the log is not copied when the reader is done")
	}
}

// TestWriterDoesNotWaitForCopying: while the log is copied, saves go on, and so
// does what follows them.
func TestWriterDoesNotWaitForCopying(t *testing.T) {
	s, _ := open(t, newPath(t), Options{})
	s.checkpointer.copying.Lock()
	defer s.checkpointer.copying.Unlock()
	for i := range 2 * checkpointEvery {
		save(t, s, fmt.Sprint(i))
	}
	err := s.queue.Do(t.Context(), func() { s.writer.Idle(context.Background()) })
	if err != nil {
		t.Fatal(err)
	}
}
