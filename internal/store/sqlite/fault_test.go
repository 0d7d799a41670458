package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lyftr/internal/message"
)

// refusing makes a database that refuses every message whose ID begins with
// "bad", for a reason of the row alone.
func refusing(t *testing.T) string {
	t.Helper()
	path := newPath(t)
	_, shut := open(t, path, Options{})
	shut()
	db := plain(t, path)
	mustExec(t, db, `CREATE TRIGGER refuse BEFORE INSERT ON messages WHEN NEW.message_id GLOB 'bad*'
		BEGIN SELECT RAISE(ABORT, 'this row is refused'); END`)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func wantOwnFailure(t *testing.T, what string, got saved) {
	t.Helper()
	if got.err == nil || got.outcomes != nil || !strings.Contains(got.err.Error(), "this row is refused") {
		t.Errorf("%s: got %v, %v, want the row's own error", what, got.outcomes, got.err)
	}
	if errors.Is(got.err, message.ErrUnavailable) {
		t.Errorf("%s: the error %q says that a later attempt may cure it", what, got.err)
	}
}

func wantOutcomes(t *testing.T, what string, got saved, want ...message.Outcome) {
	t.Helper()
	if got.err != nil {
		t.Errorf("%s: %v", what, got.err)
	}
	wantEqual(t, "outcomes of "+what, want, got.outcomes)
}

// TestRowFailsAlone: a row that fails for its own reason fails its own call,
// of which nothing is stored, and none of those that share the commit.
func TestRowFailsAlone(t *testing.T) {
	s, _ := open(t, refusing(t), Options{})
	created, duplicate := message.Outcome{}, message.Outcome{Duplicate: true}
	got := share(t, s,
		[]string{"a"},
		[]string{"bad"},
		[]string{"b", "c"},
		[]string{"x", "y", "bad in the middle", "z"},
		[]string{"x"},      // not there: the call before was undone
		[]string{"a", "d"}, // there since the first call of this batch
		[]string{"e", "bad at the end"},
		[]string{"bad"},
		[]string{},
		[]string{"f", "f"},
	)
	wantOutcomes(t, "a", got[0], created)
	wantOwnFailure(t, "bad", got[1])
	wantOutcomes(t, "b c", got[2], created, created)
	wantOwnFailure(t, "bad in the middle", got[3])
	wantOutcomes(t, "x", got[4], created)
	wantOutcomes(t, "a d", got[5], duplicate, created)
	wantOwnFailure(t, "bad at the end", got[6])
	wantOwnFailure(t, "bad again", got[7])
	wantOutcomes(t, "nothing", got[8])
	wantOutcomes(t, "f f", got[9], created, duplicate)

	want := []string{"a", "b", "before the batch", "c", "d", "f", "x"}
	wantEqual(t, "IDs", want, listedIDs(t, s))
	wantEqual(t, "Status().Messages", int64(len(want)), s.Status().Messages)
	if err := s.Ready(t.Context()); err != nil || isFailed(s) {
		t.Errorf("Ready: %v, failed: %v; a bad row is no fault of the store", err, isFailed(s))
	}
	save(t, s, "later")
}

// TestOnlyBadRows: a batch in which nothing can be stored.
func TestOnlyBadRows(t *testing.T) {
	s, _ := open(t, refusing(t), Options{})
	for i, got := range share(t, s, []string{"bad 1"}, []string{"x", "bad 2"}, []string{"bad 3"}) {
		wantOwnFailure(t, fmt.Sprint("call ", i), got)
	}
	wantEqual(t, "IDs", []string{"before the batch"}, listedIDs(t, s))
	save(t, s, "later")
	wantEqual(t, "Status().Messages", 2, s.Status().Messages)
}

// holdWriteLock has another program hold the lock that writing needs.
func holdWriteLock(t *testing.T, path string) (release func()) {
	t.Helper()
	db := plain(t, path)
	mustExec(t, db, "BEGIN IMMEDIATE")
	return func() {
		t.Helper()
		mustExec(t, db, "ROLLBACK")
	}
}

// TestWriteLockOutlastsDeadline: another program's lock delays a save; the
// caller's deadline ends its wait and not the store.
func TestWriteLockOutlastsDeadline(t *testing.T) {
	path := newPath(t)
	s, _ := open(t, path, Options{})
	save(t, s, "a")
	release := holdWriteLock(t, path)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	begun := time.Now()
	if _, err := s.Save(ctx, messages("b"), nil); !errors.Is(err, message.ErrUnavailable) {
		t.Errorf("Save: got %v, want ErrUnavailable", err)
	}
	if took := time.Since(begun); took > 2*time.Second {
		t.Errorf("Save with a deadline of 50 ms took %v", took)
	}
	queued := begin(t, s, "c") // waits behind b
	wantEqual(t, "IDs while locked", []string{"a"}, listedIDs(t, s))
	release()
	wantOutcomes(t, "c", <-queued, message.Outcome{})
	save(t, s, "b") // unknown before, sure now
	wantEqual(t, "IDs", []string{"a", "b", "c"}, listedIDs(t, s))
	if err := s.Ready(t.Context()); err != nil || isFailed(s) {
		t.Errorf("Ready: %v, failed: %v", err, isFailed(s))
	}
}

// TestWriteLockOutlastsBusyTimeout: when SQLite gives up waiting, the call
// fails and the next one is tried anew.
func TestWriteLockOutlastsBusyTimeout(t *testing.T) {
	path := newPath(t)
	s, _ := open(t, path, Options{})
	onWriter(t, s, "PRAGMA busy_timeout = 10")
	release := holdWriteLock(t, path)
	for range 2 {
		if _, err := s.Save(t.Context(), messages("a"), nil); !errors.Is(err, message.ErrUnavailable) {
			t.Errorf("Save: got %v, want ErrUnavailable", err)
		}
		if err := s.Ready(t.Context()); err == nil {
			t.Error("Ready is nil while nothing can be written")
		}
	}
	if isFailed(s) {
		t.Error("a lock of another program ended the store")
	}
	wantEqual(t, "IDs", nil, listedIDs(t, s))
	release()
	if err := s.Ready(t.Context()); err != nil {
		t.Errorf("Ready when the lock is gone: %v", err)
	}
	save(t, s, "a")
	wantEqual(t, "IDs", []string{"a"}, listedIDs(t, s))
}

// fillUp saves three long messages at a time until that fails, and returns how
// many were acknowledged.
func fillUp(t *testing.T, s *Store) (acknowledged int) {
	t.Helper()
	for round := range 40 {
		if err := saveLong(t, s, fmt.Sprint("fill ", round)); err != nil {
			if !errors.Is(err, message.ErrUnavailable) || !strings.Contains(err.Error(), "full") {
				t.Fatalf("Save without space: got %v, want ErrUnavailable that says full", err)
			}
			if acknowledged == 0 {
				t.Fatal("nothing at all was stored before the space ended")
			}
			return acknowledged
		}
		acknowledged += 3
	}
	t.Fatal("the space did not end")
	return 0
}

// saveLong saves three messages that need a page each.
func saveLong(t *testing.T, s *Store, id string) error {
	m := messages(id+"/1", id+"/2", id+"/3")
	for i := range m {
		text := strings.Repeat("x", message.MaxTextLength)
		m[i].Text = &text
	}
	_, err := s.Save(t.Context(), m, nil)
	return err
}

// TestFull: without space nothing is acknowledged and nothing half stored, what
// is stored is read, and space that returns is used without a restart. The
// limit is SQLite's own; TestFullDisk has a disk that is full.
func TestFull(t *testing.T) {
	path := newPath(t)
	lines := &logLines{}
	s, shut := open(t, path, Options{Logger: lines.logger()})
	save(t, s, "there")
	onWriter(t, s, "PRAGMA max_page_count = 40")
	acknowledged := 1 + fillUp(t, s)
	for i := range 3 {
		if err := saveLong(t, s, fmt.Sprint("more ", i)); !errors.Is(err, message.ErrUnavailable) {
			t.Errorf("Save without space, again: got %v, want ErrUnavailable", err)
		}
	}
	wantEqual(t, "rows", acknowledged, len(listedIDs(t, s)))
	wantEqual(t, "Status().Messages", int64(acknowledged), s.Status().Messages)
	// A repeat needs no space.
	outcomes, err := s.Save(t.Context(), messages("there"), nil)
	wantOutcomes(t, "a repeat without space", saved{outcomes, err}, message.Outcome{Duplicate: true})
	if isFailed(s) {
		t.Error("a full database ended the store")
	}

	onWriter(t, s, "PRAGMA max_page_count = 4000")
	if err := saveLong(t, s, "after"); err != nil {
		t.Errorf("Save when there is space again: %v", err)
	}
	acknowledged += 3
	if err := s.Ready(t.Context()); err != nil {
		t.Errorf("Ready when there is space again: %v", err)
	}
	wantEqual(t, "rows", acknowledged, len(listedIDs(t, s)))
	shut()
	s, _ = open(t, path, Options{})
	wantEqual(t, "rows after opening again", acknowledged, len(listedIDs(t, s)))

	failures := 0
	for _, line := range lines.lines(t) {
		if line["level"] == "ERROR" {
			failures++
		}
	}
	if failures == 0 || failures > 3 {
		t.Errorf("%d lines were logged of the fault, want a few", failures)
	}
}

// TestFileGone: what is committed to a file that has no name any more is lost,
// so it is not acknowledged, and the store ends.
func TestFileGone(t *testing.T) {
	tests := map[string]func(t *testing.T, path string){
		"removed": func(t *testing.T, path string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		},
		"log removed": func(t *testing.T, path string) {
			if err := os.Remove(path + "-wal"); err != nil {
				t.Fatal(err)
			}
		},
		"moved away": func(t *testing.T, path string) {
			if err := os.Rename(path, path+".away"); err != nil {
				t.Fatal(err)
			}
		},
		"folder moved away": func(t *testing.T, path string) {
			dir := filepath.Dir(path)
			if err := os.Rename(dir, dir+".away"); err != nil {
				t.Fatal(err)
			}
		},
		"replaced": func(t *testing.T, path string) {
			other := newPath(t)
			_, shut := open(t, other, Options{})
			shut()
			if err := os.Rename(other, path); err != nil {
				t.Fatal(err)
			}
		},
		"replaced by its own copy": func(t *testing.T, path string) {
			copyFile(t, path, path+".copy")
			if err := os.Rename(path+".copy", path); err != nil {
				t.Fatal(err)
			}
		},
	}
	for _, id := range []string{"new", "there"} { // a repeat too is a promise
		for name, remove := range tests {
			t.Run(name+", message "+id, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "folder", "app.db")
				s, shut := open(t, path, Options{})
				save(t, s, "there")
				remove(t, path)
				if err := s.Ready(t.Context()); err == nil {
					t.Error("Ready is nil without the file")
				}
				if outcomes, err := s.Save(t.Context(), messages(id), nil); !errors.Is(err, message.ErrUnavailable) {
					t.Errorf("Save: got %v, %v, want ErrUnavailable", outcomes, err)
				}
				if !isFailed(s) {
					t.Error("Failed is not closed")
				}
				for range 2 {
					if outcomes, err := s.Save(t.Context(), messages("later"), nil); !errors.Is(err, message.ErrUnavailable) {
						t.Errorf("Save later: got %v, %v, want ErrUnavailable", outcomes, err)
					}
				}
				if err := s.Ready(t.Context()); err == nil {
					t.Error("Ready is nil after the store failed")
				}
				shut()
			})
		}
	}
}

// TestLogLeftAlone: a log without its database may hold acknowledged messages,
// which SQLite would throw away with it. They are there again when the file is.
func TestLogLeftAlone(t *testing.T) {
	path := newPath(t)
	s, _ := open(t, path, Options{})
	save(t, s, "a")
	killed := copyDatabase(t, path)
	if size(t, killed+"-wal") == 0 {
		t.Fatal("the killed store left no log")
	}
	if err := os.Rename(killed, killed+".away"); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, killed, "the file is missing, but its log")
	if err := os.Rename(killed+".away", killed); err != nil {
		t.Fatal(err)
	}
	s, _ = open(t, killed, Options{})
	wantEqual(t, "IDs", []string{"a"}, listedIDs(t, s))
}

// TestReadyWhileReadersAreBusy: slow questions keep nobody from storing, so they
// do not take the service out of a load balancer.
func TestReadyWhileReadersAreBusy(t *testing.T) {
	s, _ := open(t, newPath(t), Options{})
	for range s.readDB.Stats().MaxOpenConnections {
		tx, err := s.readDB.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = tx.Rollback() }()
	}
	if err := s.Ready(t.Context()); err != nil {
		t.Errorf("Ready: %v", err)
	}
}

// TestDamageWhileRunning: a page that cannot be read ends the store.
func TestDamageWhileRunning(t *testing.T) {
	path := newPath(t)
	if err := os.WriteFile(path, damageable(t), 0o600); err != nil {
		t.Fatal(err)
	}
	s, _ := open(t, path, Options{})
	onWriter(t, s, "PRAGMA shrink_memory") // it has read every page when it was opened
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(make([]byte, size(t, path)-pageSize), pageSize); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if outcomes, err := s.Save(t.Context(), messages("new"), nil); !errors.Is(err, message.ErrUnavailable) {
		t.Errorf("Save: got %v, %v, want ErrUnavailable", outcomes, err)
	}
	if !isFailed(s) {
		t.Error("Failed is not closed")
	}
	if page, err := s.List(t.Context(), message.Query{Limit: 1}); !errors.Is(err, message.ErrUnavailable) {
		t.Errorf("List: got %+v, %v, want ErrUnavailable", page, err)
	}
}

// TestCloseCommits: what was accepted before Close is committed by it.
func TestCloseCommits(t *testing.T) {
	path := newPath(t)
	s, shut := open(t, path, Options{})
	g := gated(s)
	first := begin(t, s, "a")
	<-g.begun
	waiting := []<-chan saved{begin(t, s, "b", "c"), begin(t, s, "d"), begin(t, s, "a")}
	waitFor(t, "the calls are in the queue", func() bool { return s.queue.Depth() == len(waiting) })
	closed := make(chan struct{})
	go func() { shut(); close(closed) }()
	g.goOn <- struct{}{}
	<-g.begun
	select {
	case <-closed:
		t.Error("Close returned before the last commit")
	default:
	}
	g.goOn <- struct{}{}
	<-closed
	for i, c := range append(waiting, first) {
		if a := <-c; a.err != nil {
			t.Errorf("Save %d, accepted before Close: %v", i, a.err)
		}
	}
	if n := size(t, path+"-wal"); n != 0 {
		t.Errorf("after Close the log has %d bytes, want none", n)
	}
	s, _ = open(t, path, Options{})
	wantEqual(t, "IDs", []string{"a", "b", "c", "d"}, listedIDs(t, s))
}

// TestLogIsTidied: the log is copied into the database when nobody writes, and
// does not only grow.
func TestLogIsTidied(t *testing.T) {
	t.Parallel() // it waits more than it works
	path := newPath(t)
	s, _ := open(t, path, Options{})
	save(t, s, "a")
	waitFor(t, "the idle writer has copied the log", func() bool {
		alone := filepath.Join(t.TempDir(), "alone.db")
		copyFile(t, path, alone)
		db := plain(t, alone)
		defer db.Close()
		return one(t, db, "SELECT count(*) FROM messages") == "1"
	})
}
