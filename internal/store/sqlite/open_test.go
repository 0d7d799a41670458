package sqlite

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestPragmas reads back what durability and the division of labour rest on.
func TestPragmas(t *testing.T) {
	s, _ := open(t, newPath(t), Options{})
	for name, want := range map[string]any{
		"journal_mode":       "wal",
		"synchronous":        int64(2), // FULL
		"wal_autocheckpoint": int64(0),
		"journal_size_limit": int64(128 << 20),
		"cache_size":         int64(-16_000),
		"busy_timeout":       int64(5000),
		"foreign_keys":       int64(0),
		"secure_delete":      int64(2), // FAST
		"trusted_schema":     int64(0),
		"cell_size_check":    int64(1),
		"mmap_size":          int64(0),
		"temp_store":         int64(2), // MEMORY
		"query_only":         int64(0),
		"locking_mode":       "normal",
	} {
		wantEqual(t, "writer's "+name, want, onWriter(t, s, "PRAGMA "+name))
	}
	// On every connection of the pool, not just on its first.
	for i := range 4 {
		conn, err := s.readDB.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		for name, want := range map[string]any{
			"query_only":      int64(1),
			"busy_timeout":    int64(5000),
			"journal_mode":    "wal",
			"cache_size":      int64(-4_000),
			"trusted_schema":  int64(0),
			"cell_size_check": int64(1),
			"mmap_size":       int64(0),
		} {
			var got any
			if err := conn.QueryRowContext(t.Context(), "PRAGMA "+name).Scan(&got); err != nil {
				t.Fatalf("PRAGMA %s: %v", name, err)
			}
			wantEqual(t, fmt.Sprintf("reader %d's %s", i, name), want, got)
		}
	}
}

func TestReadersCannotWrite(t *testing.T) {
	s, _ := open(t, newPath(t), Options{})
	save(t, s, "a")
	conn, err := s.readDB.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	refused := []string{
		"DELETE FROM messages",
		"UPDATE messages SET text = 'x'",
		"INSERT INTO meta (key, value) VALUES ('x', x'')",
		"CREATE TABLE x (y)",
		"DROP TABLE messages",
	}
	for _, queryOnly := range []string{"ON", "OFF"} { // when OFF, mode=ro remains
		if _, err := conn.ExecContext(t.Context(), "PRAGMA query_only="+queryOnly); err != nil {
			t.Fatal(err)
		}
		for _, statement := range refused {
			if _, err := conn.ExecContext(t.Context(), statement); err == nil || !strings.Contains(err.Error(), "readonly") {
				t.Errorf("query_only=%s, %s on a reader: got error %v, want readonly", queryOnly, statement, err)
			}
		}
	}
	wantEqual(t, "IDs", []string{"a"}, listedIDs(t, s))
}

func TestVersionOK(t *testing.T) {
	for version, want := range map[string]bool{
		"3.7.0": false, "3.40.1": false, "3.44.6": false, "3.50.7": false, "3.51.0": false, "3.51.2": false,
		"3.51.3": true, "3.51.10": true,
		"3.52.0": false, "3.52.1": true, "3.53.0": true, "3.54.1": true, "3.100.0": true, "4.0.0": true,
		"": false, "3": false, "3.54": false, "x": false, "v3.54.1": false,
	} {
		if got := versionOK(version); got != want {
			t.Errorf("versionOK(%q): got %v, want %v", version, got, want)
		}
	}
	var linked string
	s, _ := open(t, newPath(t), Options{})
	if err := s.readDB.QueryRowContext(t.Context(), "SELECT sqlite_version()").Scan(&linked); err != nil || !versionOK(linked) {
		t.Errorf("the linked SQLite is %q, %v: want one that is fit", linked, err)
	}
}

// TestFiles: the folder is made, and nobody else can read what is in it.
func TestFiles(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "not", "yet", "there", "app.db")
	s, shut := open(t, path, Options{})
	save(t, s, "a")
	perm := func(path string) fs.FileMode {
		t.Helper()
		f, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return f.Mode().Perm()
	}
	for _, suffix := range []string{"", "-wal", "-shm", ".lock"} {
		wantEqual(t, "mode of app.db"+suffix, 0o600, perm(path+suffix))
	}
	if mode := perm(filepath.Dir(path)); mode&0o007 != 0 {
		t.Errorf("mode of the folder: got %o, want nothing for others", mode)
	}
	shut()
	if n := size(t, path+"-wal"); n != 0 {
		t.Errorf("after Close the log has %d bytes, want none", n)
	}
	wantEqual(t, "rows in the file alone", "1", one(t, plain(t, path), "SELECT count(*) FROM messages"))
}

// TestPaths: a path is a file's name and nothing else, whatever is in it.
func TestPaths(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, path := range []string{
		"app.db", "./app2.db", "sub/app.db", "with space.db", "a?b=c.db", "a#b.db", "100%.db", "%41.db", "é😀.db", "'quotes\".db",
		"a&mode=memory.db", "file:x.db", ":memory:", "a;b.db", "~",
	} {
		s, shut := open(t, path, Options{})
		save(t, s, "a")
		shut()
		if size(t, path) == 0 {
			t.Errorf("there is no file %q after Open of that path", path)
		}
		s, shut = open(t, path, Options{})
		wantEqual(t, "IDs in "+path, []string{"a"}, listedIDs(t, s))
		shut()
	}
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "A.db") {
			t.Errorf("Open unescaped a path into %q", e.Name())
		}
	}
}

// wantRefused checks that Open fails with an error that says why and where.
func wantRefused(t *testing.T, path string, anyOf ...string) {
	t.Helper()
	s, err := Open(t.Context(), path, Options{})
	if err == nil {
		_ = s.Close()
		t.Errorf("Open(%s) succeeded, want an error with one of %q", path, anyOf)
		return
	}
	if !strings.Contains(err.Error(), path) {
		t.Errorf("Open: the error %q does not name the path %s", err, path)
	}
	for _, want := range anyOf {
		if strings.Contains(err.Error(), want) {
			return
		}
	}
	t.Errorf("Open: got error %q, want one of %q in it", err, anyOf)
}

func TestOpenRefusesWhatIsNoFile(t *testing.T) {
	dir := t.TempDir()
	wantRefused(t, dir, "not a regular file", "is a directory")
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, filepath.Join(file, "app.db"), "not a directory")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if s, err := Open(ctx, newPath(t), Options{}); err == nil {
		_ = s.Close()
		t.Error("Open with an ended context succeeded")
	}
}

// TestSecondOpen: one store owns a file, under whatever name it is reached.
func TestSecondOpen(t *testing.T) {
	dir := t.TempDir()
	real := filepath.Join(dir, "real")
	if err := os.Mkdir(real, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(real, "app.db")
	s, shut := open(t, path, Options{})
	linkToFile := filepath.Join(dir, "link.db")
	linkToDir := filepath.Join(dir, "link")
	for link, to := range map[string]string{linkToFile: path, linkToDir: real} {
		if err := os.Symlink(to, link); err != nil {
			t.Fatal(err)
		}
	}
	for name, again := range map[string]string{
		"same path":          path,
		"through dots":       filepath.Join(dir, "real") + "/../real/./app.db",
		"link to the file":   linkToFile,
		"link to the folder": filepath.Join(linkToDir, "app.db"),
	} {
		t.Run(name, func(t *testing.T) {
			second, err := Open(t.Context(), again, Options{})
			if err == nil {
				_ = second.Close()
				t.Fatal("a second store on the same file was opened")
			}
			if !strings.Contains(err.Error(), "another lyftr has this database open") {
				t.Errorf("got error %q, want it to name the other lyftr", err)
			}
		})
	}
	save(t, s, "a") // unharmed
	shut()
	s, _ = open(t, path, Options{})
	wantEqual(t, "IDs", []string{"a"}, listedIDs(t, s))
}

// damageable makes a database of several pages in every B-tree and returns its
// bytes.
func damageable(t *testing.T) []byte {
	t.Helper()
	path := newPath(t)
	s, shut := open(t, path, Options{})
	for i := range 4 {
		var ids []string
		for j := range 100 {
			ids = append(ids, fmt.Sprintf("message %d/%d %s", i, j, strings.Repeat("x", 100)))
		}
		save(t, s, ids...)
	}
	shut()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const pageSize = 4096

func TestDamagedFile(t *testing.T) {
	whole := damageable(t)
	pages := len(whole) / pageSize
	if pages < 20 {
		t.Fatalf("the database has %d pages only", pages)
	}
	clearWords := []string{"damaged", "malformed", "not a database"}
	try := func(t *testing.T, b []byte) {
		t.Helper()
		path := newPath(t)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		wantRefused(t, path, clearWords...)
		after, err := os.ReadFile(path)
		if err != nil || len(after) < len(b) {
			t.Errorf("the damaged file was cut from %d to %d bytes (%v)", len(b), len(after), err)
		}
	}
	damage := map[string]func(b []byte) []byte{
		"another kind of file":     func([]byte) []byte { return bytes.Repeat([]byte("no database\n"), 1000) },
		"first page overwritten":   func(b []byte) []byte { copy(b, bytes.Repeat([]byte{0xff}, pageSize)); return b },
		"magic overwritten":        func(b []byte) []byte { b[0] ^= 1; return b },
		"cut to half":              func(b []byte) []byte { return b[:pages/2*pageSize] },
		"cut within a page":        func(b []byte) []byte { return b[:len(b)-100] },
		"last page zeroed":         func(b []byte) []byte { clear(b[len(b)-pageSize:]); return b },
		"page of another database": func(b []byte) []byte { copy(b[5*pageSize:6*pageSize], b[7*pageSize:]); return b },
		"cell pointer bent":        func(b []byte) []byte { b[pages/2*pageSize+8] ^= 0xff; return b },
	}
	for name, f := range damage {
		t.Run(name, func(t *testing.T) { try(t, f(bytes.Clone(whole))) })
	}
	t.Run("bytes flipped at the head of each page", func(t *testing.T) {
		for page := 1; page < pages; page++ {
			b := bytes.Clone(whole)
			for i := range 8 {
				b[page*pageSize+i] ^= 0x55
			}
			try(t, b)
		}
	})
	t.Run("control: as it was", func(t *testing.T) {
		path := newPath(t)
		if err := os.WriteFile(path, whole, 0o600); err != nil {
			t.Fatal(err)
		}
		s, _ := open(t, path, Options{})
		wantEqual(t, "messages", 400, s.Status().Messages)
	})
}

// TestDamagedLog: what of the log cannot be read is not served, and what was
// before it is.
func TestDamagedLog(t *testing.T) {
	path := newPath(t)
	s, _ := open(t, path, Options{})
	save(t, s, "a")
	kept := size(t, path+"-wal")
	save(t, s, "b")
	copied := copyDatabase(t, path)
	b, err := os.ReadFile(copied + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	b[kept+100] ^= 1
	if err := os.WriteFile(copied+"-wal", b, 0o600); err != nil {
		t.Fatal(err)
	}
	s, _ = open(t, copied, Options{})
	wantEqual(t, "IDs", []string{"a"}, listedIDs(t, s))
}

// TestCheckpointAtStart: after a kill everything is in the database file, and
// on disk, before the first message can be acknowledged.
func TestCheckpointAtStart(t *testing.T) {
	path := newPath(t)
	s, _ := open(t, path, Options{})
	save(t, s, "a", "b")
	save(t, s, "c")
	killed := copyDatabase(t, path)
	if size(t, killed+"-wal") == 0 {
		t.Fatal("the copy has no log, so it shows nothing")
	}
	s, _ = open(t, killed, Options{})
	wantEqual(t, "bytes of the log after Open", 0, size(t, killed+"-wal"))
	wantEqual(t, "LogBytes", 0, s.Status().LogBytes)
	alone := filepath.Join(t.TempDir(), "alone.db")
	copyFile(t, killed, alone)
	wantEqual(t, "rows in the file alone", "3", one(t, plain(t, alone), "SELECT count(*) FROM messages"))
	wantEqual(t, "IDs", []string{"a", "b", "c"}, listedIDs(t, s))
}

// TestCheckpointAtStartBusy: while another program reads the log it cannot be
// emptied; the store opens beside it and serves what is in it. That the log is
// synced then is shown by the tests of the binary.
func TestCheckpointAtStartBusy(t *testing.T) {
	path := newPath(t)
	s, _ := open(t, path, Options{})
	save(t, s, "a")
	killed := copyDatabase(t, path)
	reader, err := plain(t, killed).BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = reader.Rollback() }()
	count := func() (n int) {
		t.Helper()
		if err := reader.QueryRowContext(t.Context(), "SELECT count(*) FROM messages").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	wantEqual(t, "rows that the reader sees", 1, count())
	begun := time.Now()
	lines := &logLines{}
	s, shut := open(t, killed, Options{Logger: lines.logger()})
	if took := time.Since(begun); took > busyTimeoutMS*time.Millisecond/2 {
		t.Errorf("Open took %v beside a reader", took)
	}
	if size(t, killed+"-wal") == 0 {
		t.Error("the log was emptied under a reader")
	}
	if !strings.Contains(fmt.Sprint(lines.lines(t)), "another program reads the database") {
		t.Errorf("the log does not say so: %v", lines.lines(t))
	}
	wantEqual(t, "busy_timeout afterwards", any(int64(busyTimeoutMS)), onWriter(t, s, "PRAGMA busy_timeout"))
	save(t, s, "b")
	wantEqual(t, "IDs", []string{"a", "b"}, listedIDs(t, s))
	wantEqual(t, "rows that the reader sees", 1, count())
	if err := reader.Rollback(); err != nil {
		t.Fatal(err)
	}
	shut()
	s, _ = open(t, killed, Options{})
	wantEqual(t, "bytes of the log without a reader", 0, size(t, killed+"-wal"))
	wantEqual(t, "IDs", []string{"a", "b"}, listedIDs(t, s))
}

func TestNewerSchema(t *testing.T) {
	path := newPath(t)
	s, shut := open(t, path, Options{})
	save(t, s, "a")
	shut()
	db := plain(t, path)
	mustExec(t, db, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (999, 1)")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, path, "schema version 999")
	wantRefused(t, path, "use a newer lyftr")
	db = plain(t, path)
	wantEqual(t, "rows", "1", one(t, db, "SELECT count(*) FROM messages"))
	wantEqual(t, "version", "999", one(t, db, "SELECT max(version_id) FROM goose_db_version"))
}

// TestForeignTable: a table messages that is neither lyftr's nor the FastAPI
// service's is left alone.
func TestForeignTable(t *testing.T) {
	for name, schema := range map[string]string{
		"other columns":          "CREATE TABLE messages (id INTEGER PRIMARY KEY, body TEXT)",
		"one column missing":     "CREATE TABLE messages (message_id TEXT PRIMARY KEY, from_msisdn TEXT, to_msisdn TEXT, ts TEXT, text TEXT)",
		"a column lyftr has too": "CREATE TABLE messages (id INTEGER PRIMARY KEY, ts_unix INTEGER, body TEXT)",
		"lyftr's columns, not lyftr's table": `CREATE TABLE messages (message_id TEXT, from_msisdn TEXT, to_msisdn TEXT, ts TEXT,
			text TEXT, created_at TEXT, ts_unix REAL, source TEXT, own TEXT)`,
	} {
		t.Run(name, func(t *testing.T) {
			path := newPath(t)
			db := plain(t, path)
			mustExec(t, db, schema)
			mustExec(t, db, "INSERT INTO messages DEFAULT VALUES")
			before := rows(t, db, "SELECT * FROM messages")
			tables := rows(t, db, "SELECT sql FROM sqlite_schema WHERE name NOT LIKE '%goose%' AND name NOT LIKE 'sqlite_%'")
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			wantRefused(t, path, "neither lyftr's nor the FastAPI service's")
			db = plain(t, path)
			wantEqual(t, "rows", before, rows(t, db, "SELECT * FROM messages"))
			wantEqual(t, "tables", tables, rows(t, db, "SELECT sql FROM sqlite_schema WHERE name NOT LIKE '%goose%' AND name NOT LIKE 'sqlite_%'"))
			if copies := copiesOf(t, path); len(copies) > 0 {
				t.Errorf("a copy was made of a file that was not adopted: %q", copies)
			}
		})
	}
}
