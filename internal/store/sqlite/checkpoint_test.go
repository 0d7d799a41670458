package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"
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
	if _, err := s.checkpointer.copyMost(t.Context()); err != nil {
		t.Fatal(err)
	}
	if l := stateOf(t, s); l.left() <= checkpointRest || s.checkpointer.little.Load() {
		t.Errorf("%d pages are left that a reader does not see", l.left())
	}
	save(t, s, "while a reader looks")
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.checkpointer.copyMost(t.Context()); err != nil {
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

// crowd has reads come one upon the other until the test ends: at every moment
// some look at the log.
func crowd(t *testing.T, s *Store) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	var reading sync.WaitGroup
	t.Cleanup(func() { stop(); reading.Wait() })
	for range 8 {
		reading.Go(func() {
			for ctx.Err() == nil {
				err := s.read(ctx, "crowd", func(ctx context.Context, tx *sql.Tx) error {
					var n int
					err := tx.QueryRowContext(ctx, "SELECT count(*) FROM meta").Scan(&n)
					select {
					case <-time.After(10 * time.Millisecond):
					case <-ctx.Done():
					}
					return err
				})
				if err != nil && ctx.Err() == nil {
					t.Error(err)
				}
			}
		})
	}
}

// TestCrowdedLog: the log is begun anew also while there is always a reader.
func TestCrowdedLog(t *testing.T) {
	path := newPath(t)
	s, _ := open(t, path, Options{})
	crowd(t, s)
	raw := make([]byte, 64<<10)
	highest, written := int64(0), int64(0)
	for i := 0; ; i++ {
		m := messages(fmt.Sprint(i, "a"), fmt.Sprint(i, "b"), fmt.Sprint(i, "c"), fmt.Sprint(i, "d"))
		for k := range m {
			m[k].Raw = raw
			written += int64(len(raw))
		}
		if _, err := s.Save(t.Context(), m, nil); err != nil {
			t.Fatal(err)
		}
		now := size(t, path+"-wal")
		if highest = max(highest, now); now < highest {
			break
		}
		if written > 3*crowdedFrames*4096 {
			t.Fatalf("%d MB were written, and the log has %d MB", written>>20, now>>20)
		}
	}
	save(t, s, "later")
}

// TestWipedInCrowd: what was removed leaves the log also while there is always a
// reader.
func TestWipedInCrowd(t *testing.T) {
	path := newPath(t)
	s, _ := open(t, path, Options{})
	saveAll(t, s, from("+9", 0, 5))
	shown := func() bool {
		log, err := os.ReadFile(path + "-wal")
		if err != nil {
			t.Error(err)
		}
		return bytes.Contains(log, []byte("text 3 of +9"))
	}
	if !shown() {
		t.Fatal("the text is not in the log before it is erased: the test looks in the wrong place")
	}
	crowd(t, s)
	mustErase(t, s, "+9", 5)
	i := 0
	waitFor(t, "the log is empty", func() bool {
		i++
		save(t, s, fmt.Sprint(i)) // so that there is something in the log to look at
		wiped := false
		err := s.queue.Do(t.Context(), func() {
			s.writer.wiped = time.Time{} // not to wait ten seconds
			s.writer.tidy(t.Context(), 1)
			if wiped = !s.writer.wipe; wiped && shown() {
				t.Error("the log counts as emptied and is not")
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		return wiped
	})
}

// TestHeldReaders: while readers are held back none begins, those that had begun
// are waited for, and not for longer than is said.
func TestHeldReaders(t *testing.T) {
	var r readers
	ctx := t.Context()
	if err := r.enter(ctx); err != nil {
		t.Fatal(err)
	}
	if r.hold(ctx, time.Millisecond) {
		t.Error("alone with one who reads")
	}
	short, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	if err := r.enter(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("enter, while held back: %v", err)
	}
	entered := make(chan error, 1)
	go func() { entered <- r.enter(ctx) }()
	r.release()
	if err := <-entered; err != nil {
		t.Fatal(err)
	}
	r.leave()
	go r.leave()
	if !r.hold(ctx, patience) {
		t.Error("not alone when all have left")
	}
	r.release()
}

// TestReadersInVain: readers that take too long are waited for twice as long the
// next time.
func TestReadersInVain(t *testing.T) {
	s, _ := open(t, newPath(t), Options{})
	c := s.checkpointer
	c.wipe.Store(true)
	if err := s.readers.enter(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, least := range []time.Duration{crowdedWait, 2 * crowdedWait} {
		c.emptied = time.Time{}
		began := time.Now()
		if err := c.makeRoom(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took < least {
			t.Errorf("it waited %v for a reader, want %v", took, least)
		}
	}
	s.readers.leave()
	c.emptied = time.Time{}
	if err := c.makeRoom(t.Context()); err != nil || c.inVain != 0 || c.wipe.Load() {
		t.Errorf("without a reader: %v, %d times in vain, still to be emptied: %t", err, c.inVain, c.wipe.Load())
	}
}
