package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"lyftr/internal/store/pgserver"
)

// TestCopyPostgresKilled copies from SQLite to PostgreSQL, to another database
// there, and back, and kills each copy again and again: all have the same
// messages at the end.
func TestCopyPostgresKilled(t *testing.T) {
	const n, provided = 10_000, 12
	server := pgserver.Start(t, pgserver.Options{})
	first, from := filledDatabase(t, n)
	addProvided(t, first, provided)
	dir := t.TempDir()
	last := filepath.Join(dir, "last.db")
	databases := []string{from, server.NewDatabase(t), server.NewDatabase(t), "sqlite:///" + last}
	states := []string{first + ".lyftr-copy", filepath.Join(dir, "databases.lyftr-copy"), last + ".lyftr-copy"}
	hashes := map[string]bool{}
	for i, state := range states {
		stdout, stderr, code := killCopy(t, dir, databases[i], databases[i+1], state)
		hashes[wantCopied(t, stdout, stderr, code, n+provided)] = true
		wantStatusesCopied(t, stdout, stderr, provided)
		if _, err := os.Stat(state); err == nil {
			t.Errorf("%s is still there", state)
		}
		wantShown(t, stdout, stderr, databases[1:3], i)
	}
	if len(hashes) != 1 {
		t.Errorf("there are %d hashes", len(hashes))
	}
	if must(t, first, nil, "export") != must(t, last, nil, "export") {
		t.Error("what is exported of the first and of the last is not the same")
	}
}

// wantShown checks that the result of the copy of that number names the databases
// that it was between, without their password.
func wantShown(t *testing.T, stdout, stderr string, urls []string, number int) {
	t.Helper()
	for i, databaseURL := range urls {
		u, err := url.Parse(databaseURL)
		if err != nil {
			t.Fatal(err)
		}
		if password, _ := u.User.Password(); password == "" || strings.Contains(stdout+stderr, password) {
			t.Errorf("it shows the password %q: %s%s", password, stdout, stderr)
		}
		if got, want := strings.Contains(stdout, "postgresql://"+u.Host+u.Path+": "), number == i || number == i+1; got != want {
			t.Errorf("it names %s%s: %v, want %v: %s", u.Host, u.Path, got, want, stdout)
		}
	}
}

// TestCopyPostgresAway: a server that is killed and started again while it is
// copied to, and from, does not end the copy.
func TestCopyPostgresAway(t *testing.T) {
	const n = 20_000
	server := pgserver.Start(t, pgserver.Options{})
	first, from := filledDatabase(t, n)
	dir := t.TempDir()
	last := filepath.Join(dir, "last.db")
	database := server.NewDatabase(t)
	for _, way := range []struct{ from, to, state string }{
		{from, database, first + ".lyftr-copy"},
		{database, "sqlite:///" + last, last + ".lyftr-copy"},
	} {
		cmd := copyOf(dir, way.from, way.to)
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		waitFor(t, func() bool { _, err := os.Stat(way.state); return err == nil })
		server.Kill(t)
		server.Restart(t)
		_ = cmd.Wait()
		wantCopied(t, out.String(), errs.String(), cmd.ProcessState.ExitCode(), n)
		if !strings.Contains(errs.String(), ": trying again in ") {
			t.Errorf("it noticed nothing: %s", errs.String())
		}
	}
}

// TestCopyPostgresRefuses: what PostgreSQL cannot hold is named and missing, and
// everything else is there.
func TestCopyPostgresRefuses(t *testing.T) {
	const n = 3000
	server := pgserver.Start(t, pgserver.Options{})
	database := server.NewDatabase(t)
	dir := t.TempDir()
	from := filepath.Join(dir, "from.db")
	must(t, from, nil, "import", bodies(t, n))
	db := openDatabase(t, from)
	defer db.Close()
	if _, err := db.Exec("UPDATE messages SET text = 'a' || char(0) WHERE message_id IN ('=000007', '=002000')"); err != nil {
		t.Fatal(err)
	}
	stdout, stderr, code := runCopy(t, copyOf(dir, "sqlite:///"+from, database))
	if code != 1 || !strings.Contains(stderr, "copied: 2998 created, 0 duplicates, 0 mismatches, 2 refused") ||
		!strings.Contains(stderr, `message_id "=000007" of source "native" breaks a rule, and the destination refuses it: `) ||
		!strings.Contains(stderr, "2 messages are missing and 0 are different; the first: message_id \"=00") {
		t.Errorf("exit code %d: %s%s", code, stdout, stderr)
	}
}

// TestPostgresCommands: the other commands that open a database do so on
// PostgreSQL, and what they cannot do they say.
func TestPostgresCommands(t *testing.T) {
	server := pgserver.Start(t, pgserver.Options{})
	database := server.NewDatabase(t)
	dir := t.TempDir()
	run := func(args ...string) (stdout, stderr string, code int) {
		cmd := exec.Command(binary, args...)
		cmd.Dir, cmd.Env = dir, []string{"DATABASE_URL=" + database, "PATH=" + os.Getenv("PATH")}
		return runCopy(t, cmd)
	}
	file := bodies(t, 2500)
	if _, stderr, code := run("import", file); code != 0 || !strings.Contains(stderr, "imported: 2500 created, 0 duplicates, 0 mismatches, 0 bad lines") {
		t.Errorf("import: exit code %d: %s", code, stderr)
	}
	other := filepath.Join(dir, "other.db")
	stdout, stderr, code := runCopy(t, copyOf(dir, database, "sqlite:///"+other))
	wantCopied(t, stdout, stderr, code, 2500)
	for _, format := range []string{"ndjson", "csv"} {
		stdout, stderr, code = run("export", "--format", format)
		if want := must(t, other, nil, "export", "--format", format); code != 0 || stdout != want {
			t.Errorf("export as %s: exit code %d, and not what it is from SQLite: %s", format, code, stderr)
		}
	}
	stdout, stderr, code = run("bench", "fill", "--count=500")
	if code != 0 || !strings.Contains(stdout, `"messages":500,"duplicates":0`) {
		t.Errorf("bench fill: exit code %d: %s%s", code, stdout, stderr)
	}
	_, stderr, code = run("backup", "backup.db")
	if code != 2 || !strings.Contains(stderr, "pg_dump") || !strings.Contains(stderr, "pg_basebackup") {
		t.Errorf("backup: exit code %d: %s", code, stderr)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "backup*")); err != nil || len(left) > 0 {
		t.Errorf("backup left %q, %v", left, err)
	}
	_, stderr, code = runCopy(t, copyOf(dir, database, database))
	if code != 2 || !strings.Contains(stderr, "--from and --to are one database") {
		t.Errorf("copy onto itself: exit code %d: %s", code, stderr)
	}
	p, err := startProcess(dir, "unused.db", "DATABASE_URL="+database)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	if got := storedTotal(t, p); got != 3000 {
		t.Errorf("the server has %d messages, want 3000", got)
	}
	// Beside a server that uses the database everything works as well.
	if _, stderr, code := run("import", file); code != 0 || !strings.Contains(stderr, "imported: 0 created, 2500 duplicates") {
		t.Errorf("import beside a server: exit code %d: %s", code, stderr)
	}
	if status, answer := post(newClient(t, 1), p.url("/webhook"), body("one more", "+1", "2025-01-15T10:00:00Z", nil)); status != http.StatusOK {
		t.Errorf("%d %s", status, answer)
	}
	stdout, stderr, code = runCopy(t, copyOf(dir, database, "sqlite:///"+other))
	wantCopied(t, stdout, stderr, code, 3001)
	if !strings.Contains(stderr, fmt.Sprintf("copied: %d created, 2500 duplicates", 501)) {
		t.Errorf("it says %s", stderr)
	}
}
