package sqlite

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"lyftr/internal/message"
)

// openToRead opens the store for reading until the test ends.
func openToRead(t *testing.T, path string) *Store {
	t.Helper()
	s, err := Open(t.Context(), path, Options{ReadOnly: true})
	if err != nil {
		t.Fatalf("Open for reading: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

func walkedIDs(t *testing.T, s *Store) (ids []string, err error) {
	t.Helper()
	err = s.Walk(t.Context(), message.Filter{}, message.Ascending, func(m message.Message) error {
		ids = append(ids, m.ID)
		return nil
	})
	return ids, err
}

func wantWalked(t *testing.T, s *Store, want ...string) {
	t.Helper()
	got, err := walkedIDs(t, s)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("Walk: got %q, %v, want %q", got, err, want)
	}
}

// folder is what is in a folder, each file with its size and time.
func folder(t *testing.T, dir string) (files []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, e.Name()+" "+info.ModTime().Format(time.RFC3339Nano))
	}
	return files
}

// TestReadOnly: a database that was closed in good order is read, in a folder
// where nothing may be made too, and nothing is made or changed.
func TestReadOnly(t *testing.T) {
	path := newPath(t)
	s, shut := open(t, path, Options{})
	save(t, s, "a", "b")
	identity := s.Status().Identity
	shut()
	before := folder(t, filepath.Dir(path))
	r := openToRead(t, path)
	wantWalked(t, r, "a", "b")
	if st := r.Status(); st.Messages != 2 || st.Identity != identity || identity == "" {
		t.Errorf("Status is %+v, want 2 messages and the identity %s", st, identity)
	}
	if _, err := r.Save(t.Context(), messages("c"), nil); !errors.Is(err, errReadOnly) {
		t.Errorf("Save: got %v, want errReadOnly", err)
	}
	if err := r.Ready(t.Context()); !errors.Is(err, errReadOnly) {
		t.Errorf("Ready: got %v, want errReadOnly", err)
	}
	if after := folder(t, filepath.Dir(path)); !slices.Equal(before, after) {
		t.Errorf("the folder has %q, before %q", after, before)
	}
}

// TestReadOnlyBesideWriter: a database that is written to is read as it is at
// each moment, and the writer goes on, and closes, as if nobody read.
func TestReadOnlyBesideWriter(t *testing.T) {
	path := newPath(t)
	s, shut := open(t, path, Options{})
	save(t, s, "a")
	r := openToRead(t, path)
	wantWalked(t, r, "a")
	save(t, s, "b")
	wantWalked(t, r, "a", "b")
	if _, err := Open(t.Context(), path, Options{}); !errors.Is(err, ErrInUse) {
		t.Errorf("a second writer: got %v, want ErrInUse", err)
	}
	emptyLog(t, s)
	wantWalked(t, r, "a", "b")
	shut()
	wantWalked(t, r, "a", "b")
}

// TestReadOnlyBeginsToBeWritten: what is read from a file that nobody wrote to
// does not count when somebody begins to.
func TestReadOnlyBeginsToBeWritten(t *testing.T) {
	path := newPath(t)
	s, shut := open(t, path, Options{})
	save(t, s, "a")
	shut()
	r := openToRead(t, path)
	wantWalked(t, r, "a")
	s, shut = open(t, path, Options{})
	if _, err := walkedIDs(t, r); err == nil || !strings.Contains(err.Error(), "another program began to write") {
		t.Errorf("while it is written to: got %v", err)
	}
	save(t, s, "b")
	shut() // no log any more
	if _, err := walkedIDs(t, r); err == nil || !strings.Contains(err.Error(), "another program began to write") {
		t.Errorf("after it was written to: got %v", err)
	}
	wantWalked(t, openToRead(t, path), "a", "b")
}

// TestReadOnlyAfterCrash: what is in the log that a killed process left is read,
// and stays there.
func TestReadOnlyAfterCrash(t *testing.T) {
	path := newPath(t)
	s, _ := open(t, path, Options{})
	save(t, s, "a", "b")
	left := copyDatabase(t, path)
	log := size(t, left+"-wal")
	wantWalked(t, openToRead(t, left), "a", "b")
	if now := size(t, left+"-wal"); now != log || log == 0 {
		t.Errorf("the log has %d bytes, before %d", now, log)
	}
	s, _ = open(t, left, Options{})
	if got := listedIDs(t, s); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("a writer afterwards finds %q", got)
	}
}

// TestReadOnlyRefused: what cannot be read says why and what to do, and is left
// alone.
func TestReadOnlyRefused(t *testing.T) {
	refused := func(t *testing.T, path, want string) {
		t.Helper()
		before := folder(t, filepath.Dir(path))
		s, err := Open(t.Context(), path, Options{ReadOnly: true})
		if err == nil {
			s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want …%s…", err, want)
		}
		if after := folder(t, filepath.Dir(path)); !slices.Equal(before, after) {
			t.Errorf("the folder has %q, before %q", after, before)
		}
	}
	t.Run("missing", func(t *testing.T) { refused(t, newPath(t), "the file is missing: lyftr serve makes it") })
	t.Run("log alone", func(t *testing.T) {
		path := newPath(t)
		if err := os.WriteFile(path+"-wal", []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		refused(t, path, "the file is missing, but its log")
	})
	t.Run("folder", func(t *testing.T) { refused(t, t.TempDir(), "not a regular file") })
	t.Run("no database", func(t *testing.T) {
		path := newPath(t)
		if err := os.WriteFile(path, []byte(strings.Repeat("no database ", 100)), 0o600); err != nil {
			t.Fatal(err)
		}
		refused(t, path, "file is not a database")
	})
	t.Run("empty", func(t *testing.T) {
		path := newPath(t)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		refused(t, path, "start lyftr serve once")
	})
	t.Run("of the FastAPI service", func(t *testing.T) {
		path := newPath(t)
		db := plain(t, path)
		mustExec(t, db, "CREATE TABLE messages (message_id TEXT PRIMARY KEY, from_msisdn TEXT, to_msisdn TEXT, ts TEXT, text TEXT, created_at TEXT)")
		db.Close()
		refused(t, path, "start lyftr serve once")
	})
	for name, tt := range map[string]struct{ change, want string }{
		"older": {"DELETE FROM goose_db_version WHERE version_id > 1", "has schema version 1 and this lyftr reads 4: start lyftr serve once"},
		"newer": {"INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, 1)", "has schema version 99 and this lyftr knows 4 at most: use a newer lyftr"},
	} {
		t.Run(name, func(t *testing.T) {
			path := newPath(t)
			_, shut := open(t, path, Options{})
			shut()
			db := plain(t, path)
			mustExec(t, db, tt.change)
			db.Close()
			refused(t, path, tt.want)
		})
	}
}

// emptyLog copies the log into the database, and fails if a read transaction is
// open.
func emptyLog(t *testing.T, s *Store) {
	t.Helper()
	if got := rows(t, plain(t, s.path), "PRAGMA wal_checkpoint(TRUNCATE)"); got[0][0] != "0" {
		t.Errorf("the log cannot be emptied: %v", got)
	}
}

// TestWalkHoldsNothing: between two pages no transaction is open, so the log can
// be emptied however slow the reader is.
func TestWalkHoldsNothing(t *testing.T) {
	s, _ := open(t, newPath(t), Options{ReadTimeout: time.Second})
	s.indexer.close() // it reads too
	for i := range 3 {
		ids := make([]string, walkPage)
		for j := range ids {
			ids[j] = string(rune('a'+i)) + string(rune(0x4e00+j))
		}
		save(t, s, ids...)
	}
	n := 0
	err := s.Walk(t.Context(), message.Filter{}, "", func(message.Message) error {
		if n++; n%walkPage == walkPage/2 {
			emptyLog(t, s)
		}
		return nil
	})
	if err != nil || n != 3*walkPage {
		t.Errorf("Walk: %d messages, %v", n, err)
	}
}

// TestReadOnlyFeed: the feed of a store that was opened for reading has what
// another stores meanwhile, also for who is at its end.
func TestReadOnlyFeed(t *testing.T) {
	path := newPath(t)
	s, _ := open(t, path, Options{})
	save(t, s, "a", "b")
	r := openToRead(t, path)
	end := feed(t, r, message.FeedLatest, 1).Next
	wantEqual(t, "at the end", []string{}, idsOf(feed(t, r, end, 10)))
	save(t, s, "c", "d")
	page := feed(t, r, end, 1)
	wantEqual(t, "behind the end", []string{"c"}, idsOf(page))
	wantEqual(t, "behind that", []string{"d"}, idsOf(feed(t, r, page.Next, 10)))
	save(t, s, "e")
	end = feed(t, r, message.FeedLatest, 1).Next
	wantEqual(t, "behind the latest", []string{}, idsOf(feed(t, r, end, 10)))
}
