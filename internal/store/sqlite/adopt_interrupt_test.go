package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// largeLegacyFile makes a legacy file of n rows whose values follow from their
// number. 50 000 of them are more than the writer's cache holds, so that the
// log is written before the commit as well.
func largeLegacyFile(t *testing.T, n int) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "large.db")
	db := plain(t, path)
	fill(t, db, sqlAlchemy, nil)
	mustExec(t, db, `WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < ? - 1)
		INSERT INTO messages SELECT printf('%08x', i * 2654435761 % 4294967296), '+' || (i % 97), '+14155550100',
			strftime('%Y-%m-%dT%H:%M:%SZ', 1736935200 + i % 5000, 'unixepoch'), i || ' text' || printf('%.*c', 250, 'x'), '2025-01-15T10:00:00Z' FROM n`, n)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// whatIsThere says which of the two states the file is in, and fails the test
// if it is in neither. It reads a copy, as a power cut would leave it.
func whatIsThere(t *testing.T, path string, n int) (adopted bool) {
	t.Helper()
	looked := copyDatabase(t, path)
	defer os.RemoveAll(filepath.Dir(looked))
	return readFile(t, looked, func(db *sql.DB) bool {
		wantEqual(t, "integrity", `"ok"`, one(t, db, "PRAGMA quick_check"))
		// Every row has its values, whatever the table. The number is the text's
		// beginning.
		wantEqual(t, "rows, and rows with their values", [][]string{{fmt.Sprint(n), fmt.Sprint(n)}}, rows(t, db, `SELECT count(*),
			sum(message_id = printf('%08x', text * 2654435761 % 4294967296) AND from_msisdn = '+' || (text % 97) AND to_msisdn = '+14155550100'
				AND ts = strftime('%Y-%m-%dT%H:%M:%SZ', 1736935200 + text % 5000, 'unixepoch') AND length(text) = length(text + 0) + 255
				AND created_at = '2025-01-15T10:00:00Z') FROM messages`))
		columns := columnsOf(t, db)
		tables := one(t, db, `SELECT group_concat(name, ' ') FROM (SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name <> 'goose_db_version'
			AND name NOT IN ('counters', 'segments', 'segment_parts', 'phones', 'erased_senders', 'holes', 'removed', 'statuses', 'rejected', 'chunk_sources') -- of the next versions, which may have been reached or not
			ORDER BY name)`)
		if adopted = strings.Contains(columns, "ts_unix"); adopted {
			wantEqual(t, "tables of the new", `"adoption_report messages meta"`, tables)
			wantEqual(t, "rows with their instant", fmt.Sprint(n), one(t, db,
				"SELECT count(*) FROM messages WHERE ts_unix = 1736935200 + text % 5000 AND ts_nanos = 0 AND source = 'native'"))
		} else {
			wantEqual(t, "columns of the old", fmt.Sprintf("%q", strings.Join(legacyColumns, ",")), columns)
			wantEqual(t, "tables of the old", `"messages"`, tables)
		}
		return adopted
	})
}

func columnsOf(t *testing.T, db *sql.DB) string {
	t.Helper()
	return one(t, db, "SELECT group_concat(name) FROM pragma_table_info('messages')")
}

// wantSoundCopies checks that every copy that has its final name is whole.
func wantSoundCopies(t *testing.T, path string, n int) {
	t.Helper()
	whole := 0
	for _, c := range copiesOf(t, path) {
		if strings.HasSuffix(c, ".tmp") {
			continue
		}
		whole++
		readFile(t, c, func(db *sql.DB) any {
			wantEqual(t, "integrity of the copy", `"ok"`, one(t, db, "PRAGMA quick_check"))
			wantEqual(t, "rows of the copy", fmt.Sprint(n), one(t, db, "SELECT count(created_at) FROM messages"))
			wantEqual(t, "columns of the copy", fmt.Sprintf("%q", strings.Join(legacyColumns, ",")), columnsOf(t, db))
			return nil
		})
	}
	if whole == 0 {
		t.Error("there is no copy of the old file")
	}
}

// wantAdopts checks that opening the file completes what was interrupted.
func wantAdopts(t *testing.T, path string, n int) {
	t.Helper()
	s, err := Open(t.Context(), path, Options{})
	if err != nil {
		t.Fatalf("Open after an interruption: %v", err)
	}
	wantEqual(t, "Status().Messages", int64(n), s.Status().Messages)
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if !whatIsThere(t, path, n) {
		t.Error("Open succeeded and the file is still the old one")
	}
	wantSoundCopies(t, path, n)
}

// TestAdoptInterrupted has a deadline end the adoption at later and later
// moments, until one does not.
func TestAdoptInterrupted(t *testing.T) {
	const n = 500
	path := largeLegacyFile(t, n)
	failures := 0
	for patience := 500 * time.Microsecond; ; patience = patience * 3 / 2 {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		s, err := Open(ctx, path, Options{})
		cancel()
		if err == nil {
			if err := s.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
			break
		}
		failures++
		if whatIsThere(t, path, n) {
			break // it was interrupted when all was done
		}
	}
	if failures == 0 {
		t.Error("no adoption was interrupted")
	}
	wantAdopts(t, path, n)
}

// TestAdoptFails: a file that cannot be adopted stays as it is, however often
// the service is started again, and does not fill the disk with copies.
func TestAdoptFails(t *testing.T) {
	const n = 100
	path := largeLegacyFile(t, n)
	db := plain(t, path)
	// In the way of a name that lyftr needs.
	mustExec(t, db, "CREATE INDEX messages_by_sender ON messages (from_msisdn)")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		wantRefused(t, path, "messages_by_sender")
		if whatIsThere(t, path, n) {
			t.Error("Open failed and changed the file")
		}
	}
	if copies := copiesOf(t, path); len(copies) > 1 {
		t.Errorf("three failed starts left %d copies, want one at most", len(copies))
	}
	db = plain(t, path)
	mustExec(t, db, "DROP INDEX messages_by_sender")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	wantAdopts(t, path, n)
}

// childAdopts names the file that a child process has to adopt.
const childAdopts = "LYFTR_TEST_ADOPT"

// TestAdoptKilled kills a child process with signal 9 while it adopts a large
// file, at moments spread over the time that this takes. Afterwards the file is
// exactly the old or exactly the new one, and opening it again completes.
func TestAdoptKilled(t *testing.T) {
	if path := os.Getenv(childAdopts); path != "" {
		s, err := Open(t.Context(), path, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Parallel()
	original := largeLegacyFile(t, killedRows)
	// adopt returns the child's end if it came before the kill.
	adopt := func(path string, kill <-chan time.Time) (ended bool) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestAdoptKilled$", "-test.timeout=2m")
		cmd.Env = append(os.Environ(), childAdopts+"="+path)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		exited := make(chan error, 1)
		go func() { exited <- cmd.Wait() }()
		select {
		case err := <-exited:
			if err != nil {
				t.Fatalf("the child that was not killed: %v", err)
			}
			return true
		case <-kill:
			if err := cmd.Process.Kill(); err != nil {
				t.Logf("kill: %v", err)
			}
			return <-exited == nil // it may have come to its end just before
		}
	}
	fresh := func(round int) (path string) {
		t.Helper()
		dir := filepath.Join(t.TempDir(), fmt.Sprint(round))
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		path = filepath.Join(dir, "app.db")
		copyFile(t, original, path)
		return path
	}

	// How long it takes when nobody kills it.
	path := fresh(0)
	start := time.Now()
	adopt(path, nil)
	whole := time.Since(start)
	if !whatIsThere(t, path, killedRows) {
		t.Fatal("the child did not adopt the file")
	}

	random := rand.New(rand.NewPCG(uint64(start.UnixNano()), 0))
	const rounds = 5
	killed := 0
	for round := range rounds {
		path := fresh(1 + round)
		after := time.Duration((float64(round) + random.Float64()) / rounds * float64(whole))
		ended := adopt(path, time.After(after))
		if !ended {
			killed++
		}
		adopted := whatIsThere(t, path, killedRows)
		t.Logf("killed after %v of %v: adopted %v, %d copies, log of %d bytes", after, whole, adopted, len(copiesOf(t, path)), size(t, path+"-wal"))
		if ended && !adopted {
			t.Error("the child ended well and the file is the old one")
		}
		wantAdopts(t, path, killedRows)
	}
	if killed == 0 {
		t.Error("no child was killed before its end")
	}
}

// TestAdoptClearsUnfinishedCopies: what a start that was killed left of a copy
// is taken away, and nothing else is.
func TestAdoptClearsUnfinishedCopies(t *testing.T) {
	const n = 100
	path := largeLegacyFile(t, n)
	unfinished := path + ".before-lyftr-20250115T100000.000000000Z.tmp"
	others := []string{path + ".before-lyftr-mine", path + ".tmp", path + "x.before-lyftr-20250115T100000.000000000Z.tmp"}
	for _, name := range append(others, unfinished) {
		if err := os.WriteFile(name, []byte("half of it"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, shut := open(t, path, Options{})
	wantEqual(t, "Status().Messages", n, s.Status().Messages)
	shut()
	wantEqual(t, "bytes of the unfinished copy", 0, size(t, unfinished))
	for _, name := range others {
		if size(t, name) == 0 {
			t.Errorf("%s was taken away", name)
		}
	}
}
