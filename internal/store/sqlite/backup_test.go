package sqlite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lyftr/internal/message"
)

// mustBackup makes a backup in a folder of its own and returns its path.
func mustBackup(t *testing.T, path string) (string, BackupSummary) {
	t.Helper()
	destination := filepath.Join(t.TempDir(), "backup.db")
	summary, err := Backup(t.Context(), path, destination, BackupOptions{})
	if err != nil {
		t.Fatalf("Backup: %v", err)
	}
	return destination, summary
}

func wantBackupError(t *testing.T, path, destination string, o BackupOptions, want string) {
	t.Helper()
	before := names(t, filepath.Dir(destination))
	_, err := Backup(t.Context(), path, destination, o)
	wantErrorWith(t, "Backup", err, want)
	wantEqual(t, "files in the folder of the backup", before, names(t, filepath.Dir(destination)))
}

func wantErrorWith(t *testing.T, what string, err error, part string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), part) {
		t.Errorf("%s: got error %v, want one with %q", what, err, part)
	}
}

// copyLog copies the log into the database as far as readers let it.
func copyLog(t *testing.T, s *Store) {
	t.Helper()
	err := s.queue.Do(t.Context(), func() {
		s.writer.pending = true
		s.writer.tidy(t.Context(), 0)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// names are those of the files in a folder.
func names(t *testing.T, dir string) (all []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

// TestBackup: a backup of a database in use is a database of its own, with all
// that was stored before it began, and cursors stay valid in it.
func TestBackup(t *testing.T) {
	path := newPath(t)
	s, _ := open(t, path, Options{})
	save(t, s, "a", "b", "c")
	copyLog(t, s)
	save(t, s, "d") // this one is in the log alone
	page, err := s.List(t.Context(), message.Query{Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	destination, summary := mustBackup(t, path)
	wantEqual(t, "messages", int64(4), summary.Messages)
	wantEqual(t, "bytes", size(t, destination), summary.Bytes)
	wantEqual(t, "schema", one(t, plain(t, path), "SELECT max(version_id) FROM goose_db_version"), fmt.Sprint(summary.Schema))
	wantEqual(t, "files", []string{"backup.db"}, names(t, filepath.Dir(destination)))
	f, err := os.Stat(destination)
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "mode", os.FileMode(0o600), f.Mode())
	save(t, s, "e")

	again, err := CheckBackup(t.Context(), destination)
	if err != nil {
		t.Fatal(err)
	}
	summary.Copying, summary.Checking, again.Checking = 0, 0, 0
	wantEqual(t, "CheckBackup", summary, again)
	wantEqual(t, "files after the check", []string{"backup.db"}, names(t, filepath.Dir(destination)))

	restored, _ := open(t, destination, Options{})
	wantEqual(t, "IDs", []string{"a", "b", "c", "d"}, listedIDs(t, restored))
	next, err := restored.List(t.Context(), message.Query{Limit: 1, Cursor: page.NextCursor})
	if err != nil || len(next.Messages) != 1 || next.Messages[0].ID != "b" {
		t.Errorf("the cursor of the database, in its backup: got %+v, %v", next.Messages, err)
	}
	save(t, restored, "f")
}

// TestBackupAmidCommits: commits between the steps of a backup are not in it,
// and do not keep it from ending.
func TestBackupAmidCommits(t *testing.T) {
	path := newPath(t)
	s, _ := open(t, path, Options{})
	for i := range 200 { // more than one step of pages
		if err := saveLong(t, s, fmt.Sprint("before ", i)); err != nil {
			t.Fatal(err)
		}
	}
	steps := 0
	destination := filepath.Join(t.TempDir(), "backup.db")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	summary, err := Backup(ctx, path, destination, BackupOptions{Progress: func(copied, total int64) {
		if copied > total || total == 0 {
			t.Errorf("%d of %d bytes are copied", copied, total)
		}
		if steps++; steps > 100 {
			cancel() // it begins anew at each commit
			return
		}
		save(t, s, fmt.Sprint("during ", steps))
		copyLog(t, s)
	}})
	if err != nil {
		t.Fatal(err)
	}
	if steps < 3 {
		t.Fatalf("the backup had %d steps, which shows nothing", steps)
	}
	wantEqual(t, "messages", int64(600), summary.Messages)
	wantEqual(t, "messages of the store", int64(600+steps), s.Status().Messages)
}

// TestBackupWithoutServer: a database that nobody serves is backed up after a
// kill and after a stop in good order, and stays as it was.
func TestBackupWithoutServer(t *testing.T) {
	path := newPath(t)
	s, shut := open(t, path, Options{})
	save(t, s, "a", "b")
	killed := copyDatabase(t, path)
	if size(t, killed+"-wal") == 0 {
		t.Fatal("the killed store left no log")
	}
	shut()
	for what, path := range map[string]string{"killed": killed, "stopped": path} {
		log, before := size(t, path+"-wal"), names(t, filepath.Dir(path))
		destination, summary := mustBackup(t, path)
		wantEqual(t, what+": messages", int64(2), summary.Messages)
		wantEqual(t, what+": bytes of the log", log, size(t, path+"-wal"))
		if what == "stopped" { // for a log its index is made
			wantEqual(t, what+": files of the database", before, names(t, filepath.Dir(path)))
		}
		s, _ := open(t, destination, Options{})
		wantEqual(t, what+": IDs", []string{"a", "b"}, listedIDs(t, s))
	}
}

// TestBackupAmidStart: a lyftr that is started while a backup reads a database
// without a log does not spoil it.
func TestBackupAmidStart(t *testing.T) {
	path := newPath(t)
	s, shut := open(t, path, Options{})
	for i := range 200 {
		if err := saveLong(t, s, fmt.Sprint("before ", i)); err != nil {
			t.Fatal(err)
		}
	}
	shut()
	started := false
	destination := filepath.Join(t.TempDir(), "backup.db")
	summary, err := Backup(t.Context(), path, destination, BackupOptions{Progress: func(int64, int64) {
		if !started {
			started = true
			s, _ = open(t, path, Options{})
			for i := range 100 {
				if err := saveLong(t, s, fmt.Sprint("during ", i)); err != nil {
					t.Fatal(err)
				}
			}
			copyLog(t, s)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "messages", int64(900), summary.Messages)
}

// TestBackupKeepsWhatIsThere: nothing that a backup could destroy is destroyed.
func TestBackupKeepsWhatIsThere(t *testing.T) {
	path := newPath(t)
	s, _ := open(t, path, Options{})
	save(t, s, "a")
	replace := BackupOptions{Replace: true}
	for _, suffix := range []string{"", "-wal", "-shm", "-journal", ".lock"} {
		wantBackupError(t, path, path+suffix, replace, "belongs to the database itself")
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	wantBackupError(t, path, link, replace, "belongs to the database itself")
	wantBackupError(t, link, path, replace, "belongs to the database itself")
	wantBackupError(t, path, filepath.Dir(path), replace, "is a folder")

	destination := filepath.Join(t.TempDir(), "backup.db")
	if err := os.WriteFile(destination, []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	wantBackupError(t, path, destination, BackupOptions{}, "is there already")
	if b, err := os.ReadFile(destination); err != nil || string(b) != "mine" {
		t.Errorf("the file that was there: %q, %v", b, err)
	}
	if err := os.WriteFile(destination+"-wal", []byte("log"), 0o644); err != nil {
		t.Fatal(err)
	}
	wantBackupError(t, path, destination, replace, "the log of another database")
	if err := os.Remove(destination + "-wal"); err != nil {
		t.Fatal(err)
	}
	if _, err := Backup(t.Context(), path, destination, replace); err != nil {
		t.Errorf("Backup that replaces: %v", err)
	}
	if _, err := CheckBackup(t.Context(), destination); err != nil {
		t.Error(err)
	}
	wantBackupError(t, path, filepath.Join(t.TempDir(), "nowhere", "backup.db"), BackupOptions{}, "no such file")
	save(t, s, "b")
}

// TestBackupUnfinished: what a killed backup left is overwritten, what another
// one is writing is not, and a link in its place is not followed.
func TestBackupUnfinished(t *testing.T) {
	path := newPath(t)
	s, _ := open(t, path, Options{})
	save(t, s, "a")
	destination := filepath.Join(t.TempDir(), "backup.db")
	unfinished := destination + unfinishedSuffix
	other, err := claimUnfinished(unfinished)
	if err != nil {
		t.Fatal(err)
	}
	wantBackupError(t, path, destination, BackupOptions{}, "is being written by another lyftr backup")
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(unfinished, make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Backup(t.Context(), path, destination, BackupOptions{}); err != nil {
		t.Fatalf("Backup over an unfinished one: %v", err)
	}
	wantEqual(t, "files", []string{"backup.db"}, names(t, filepath.Dir(destination)))

	precious := filepath.Join(t.TempDir(), "precious")
	if err := os.WriteFile(precious, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	destination = filepath.Join(t.TempDir(), "backup.db")
	if err := os.Symlink(precious, destination+unfinishedSuffix); err != nil {
		t.Fatal(err)
	}
	wantBackupError(t, path, destination, BackupOptions{}, "is not a backup's unfinished file")
	if b, err := os.ReadFile(precious); err != nil || string(b) != "mine" {
		t.Errorf("the file behind the link: %q, %v", b, err)
	}
}

// TestBackupInterrupted: the context's end leaves nothing behind.
func TestBackupInterrupted(t *testing.T) {
	path := newPath(t)
	s, _ := open(t, path, Options{})
	for i := range 200 {
		if err := saveLong(t, s, fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	destination := filepath.Join(t.TempDir(), "backup.db")
	_, err := Backup(ctx, path, destination, BackupOptions{Progress: func(int64, int64) { cancel() }})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Backup: got %v, want context.Canceled", err)
	}
	wantEqual(t, "files", nil, names(t, filepath.Dir(destination)))
}

// TestBackupRefuses: what is not there, not lyftr's, or damaged has no backup.
func TestBackupRefuses(t *testing.T) {
	destination := filepath.Join(t.TempDir(), "backup.db")
	refused := func(t *testing.T, path, want string) {
		t.Helper()
		wantBackupError(t, path, destination, BackupOptions{}, want)
	}
	path := newPath(t)
	refused(t, path, "no such file")
	wantEqual(t, "files made", nil, names(t, filepath.Dir(path)))
	refused(t, filepath.Dir(path), "not a regular file")

	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, path, "the file is empty")
	if err := os.WriteFile(path, []byte(strings.Repeat("This is not a database. ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, path, "not a database")

	path = newPath(t)
	mustExec(t, plain(t, path), "CREATE TABLE orders (id INTEGER PRIMARY KEY)")
	refused(t, path, "no table messages")
	mustExec(t, plain(t, path), "CREATE TABLE messages (id INTEGER PRIMARY KEY, body TEXT)")
	refused(t, path, "neither lyftr's nor the FastAPI service's")

	whole := damageable(t)
	for _, damage := range []func(b []byte) []byte{
		func(b []byte) []byte { return b[:len(b)-pageSize] },
		func(b []byte) []byte { return b[:len(b)-100] },
		func(b []byte) []byte { clear(b[len(b)-pageSize:]); return b },
		func(b []byte) []byte { copy(b[5*pageSize:6*pageSize], b[7*pageSize:]); return b },
		func(b []byte) []byte { b[len(b)/pageSize/2*pageSize+8] ^= 0xff; return b },
	} {
		path = newPath(t)
		if err := os.WriteFile(path, damage(bytes.Clone(whole)), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Backup(t.Context(), path, destination, BackupOptions{})
		if err == nil || !strings.Contains(err.Error(), "damaged") && !strings.Contains(err.Error(), "malformed") {
			t.Errorf("Backup of a damaged database: %v", err)
		}
		wantEqual(t, "files", nil, names(t, filepath.Dir(destination)))
	}

	path = newPath(t)
	s, shut := open(t, path, Options{})
	save(t, s, "a", "b")
	shut()
	mustExec(t, plain(t, path), "DELETE FROM messages WHERE message_id = 'a'") // not by lyftr, which counts
	refused(t, path, "rows where its counters say")
}

// TestBackupOfFastAPI: the FastAPI service's file is copied as it is, and is
// adopted from the copy as from the file.
func TestBackupOfFastAPI(t *testing.T) {
	path := newPath(t)
	db := plain(t, path)
	mustExec(t, db, "CREATE TABLE messages (message_id TEXT PRIMARY KEY, from_msisdn TEXT, to_msisdn TEXT, ts TEXT, text TEXT, created_at TEXT)")
	mustExec(t, db, "INSERT INTO messages VALUES ('m1', '+1', '+2', '2025-01-15T10:00:00Z', 'hello', '2025-01-15T10:00:01Z')")
	destination, summary := mustBackup(t, path)
	wantEqual(t, "messages", int64(1), summary.Messages)
	wantEqual(t, "schema", int64(0), summary.Schema)
	wantEqual(t, "tables of the file", "1", one(t, db, "SELECT count(*) FROM sqlite_schema WHERE type = 'table'"))
	s, _ := open(t, destination, Options{})
	wantEqual(t, "IDs", []string{"m1"}, listedIDs(t, s))
}

// TestBackupOfOlderSchema: a database is backed up before a newer lyftr brings
// its schema up to date.
func TestBackupOfOlderSchema(t *testing.T) {
	path := newPath(t)
	schema, err := schemaFiles.ReadFile("schema/" + firstSchema)
	if err != nil {
		t.Fatal(err)
	}
	db := plain(t, path)
	mustExec(t, db, string(schema))
	mustExec(t, db, "CREATE TABLE goose_db_version (id INTEGER PRIMARY KEY AUTOINCREMENT, version_id INTEGER NOT NULL, is_applied INTEGER NOT NULL, tstamp TIMESTAMP DEFAULT (datetime('now')))")
	mustExec(t, db, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (0, 1), (1, 1)")
	mustExec(t, db, adoptSQL, "m1", "+1", "+2", "2025-01-15T10:00:00Z", nil, "", "native", 0, 0)
	destination, summary := mustBackup(t, path)
	wantEqual(t, "messages", int64(1), summary.Messages)
	wantEqual(t, "schema", int64(1), summary.Schema)
	s, _ := open(t, destination, Options{})
	wantEqual(t, "IDs", []string{"m1"}, listedIDs(t, s))
}
