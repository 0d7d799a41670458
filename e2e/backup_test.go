package e2e

import (
	"context"
	"database/sql"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// backupProcess is lyftr backup of the database to the file; it is not started.
func backupProcess(database, file string) *exec.Cmd {
	cmd := exec.Command(binary, "backup", file)
	cmd.Dir = filepath.Dir(file)
	cmd.Env = []string{"DATABASE_URL=sqlite:///" + database}
	return cmd
}

// strict counts the answers, and those that are neither 200 nor the 401 of a
// wrong signature.
type strict struct {
	http.RoundTripper
	answers, others *atomic.Int64
}

func (s strict) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := s.RoundTripper.RoundTrip(r)
	if err != nil || resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusUnauthorized {
		s.others.Add(1)
	} else {
		s.answers.Add(1)
	}
	return resp, err
}

// backupMessages is how many messages are stored before the first backup, so
// that it takes longer than a moment.
const backupMessages = 60_000

// fill stores messages in the database, which no process has open, without the
// way through HTTP.
func fill(t *testing.T, database string, n int) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+database)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	_, err = db.Exec(`WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < ?)
		INSERT INTO messages (id, message_id, from_msisdn, to_msisdn, ts, text, created_at, ts_unix, ts_nanos)
		SELECT n, 'filled-' || hex(randomblob(8)), '+1', '+2', '2025-01-15T10:00:00Z', hex(randomblob(200)), '2025-01-15T10:00:00.000Z', 1736935200, 0 FROM n`, n)
	if err != nil {
		t.Fatal(err)
	}
}

// TestBackupUnderLoad backs up while messages arrive: no webhook is turned away,
// and the backup holds every message that was acknowledged before it began and
// is a database that lyftr serves.
func TestBackupUnderLoad(t *testing.T) {
	dir := t.TempDir()
	database := filepath.Join(dir, "app.db")
	p := start(t, database)
	if code, _ := p.terminate(t); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	fill(t, database, backupMessages)
	p = start(t, database)

	l := &ledger{deliveries: map[string]*delivery{}}
	var answers, others atomic.Int64
	client := newClient(t, 16)
	client.Transport = strict{client.Transport, &answers, &others}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	loaded := make(chan struct{})
	go func() {
		defer close(loaded)
		l.load(ctx, client, p.url("/webhook"), "b", 16)
	}()
	for round := range 3 {
		before := answers.Load()
		waitFor(t, func() bool { return answers.Load() > before+300 })
		acknowledged := l.acknowledged()
		file := filepath.Join(dir, fmt.Sprintf("backup-%d.db", round))
		before = answers.Load()
		out, err := backupProcess(database, file).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		t.Logf("%d answers meanwhile: %s", answers.Load()-before, out)
		stored := storedIDs(t, file)
		for _, id := range acknowledged {
			if !stored[id] {
				t.Errorf("round %d: %s was acknowledged before the backup began and is not in it", round, id)
			}
		}
	}
	stop()
	<-loaded
	if others.Load() != 0 {
		t.Errorf("%d webhooks were turned away", others.Load())
	}
	if code, _ := p.terminate(t); code != 0 {
		t.Errorf("exit code %d", code)
	}

	restored := start(t, filepath.Join(dir, "backup-2.db"))
	text := "after"
	after := body("after", "+1", "2025-01-15T10:00:00Z", &text)
	if status, answer := post(newClient(t, 1), restored.url("/webhook"), after); status != http.StatusOK {
		t.Errorf("the restored server: %d %s", status, answer)
	}
	if status, _ := get(t, restored.url("/messages/after")); status != http.StatusOK {
		t.Errorf("the restored server does not find a message: %d", status)
	}
}

// acknowledged are the ids of the messages that were answered 200 so far.
func (l *ledger) acknowledged() (ids []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, d := range l.deliveries {
		if d.acknowledged {
			ids = append(ids, id)
		}
	}
	return ids
}

// storedIDs are the ids in a database, whose structure is checked besides, by
// SQLite's own program: under the race detector the driver takes a minute for it.
func storedIDs(t *testing.T, database string) map[string]bool {
	t.Helper()
	out, err := exec.Command("sqlite3", "file:"+database+"?mode=ro&immutable=1",
		"PRAGMA integrity_check; SELECT hex(message_id) FROM messages").CombinedOutput()
	check, list, _ := strings.Cut(string(out), "\n")
	if err != nil || check != "ok" {
		t.Fatalf("integrity_check: %.200q, %v", out, err)
	}
	ids := map[string]bool{}
	for line := range strings.Lines(list) {
		id, err := hex.DecodeString(strings.TrimSpace(line))
		if err != nil {
			t.Fatal(err)
		}
		ids[string(id)] = true
	}
	return ids
}

// TestBackupEnded ends backups while they copy. A killed one leaves no file of
// the final name, and the next one uses up what it left; an interrupted one
// leaves nothing. The server is not disturbed.
func TestBackupEnded(t *testing.T) {
	dir := t.TempDir()
	database := filepath.Join(dir, "app.db")
	p := start(t, database)
	if code, _ := p.terminate(t); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	fill(t, database, backupMessages)
	p = start(t, database)
	backups := filepath.Join(dir, "backups")
	if err := os.Mkdir(backups, 0o700); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(backups, "backup.db")
	end := func(signal syscall.Signal) *exec.Cmd {
		t.Helper()
		cmd := backupProcess(database, file)
		var out strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		waitFor(t, func() bool {
			f, err := os.Stat(file + ".unfinished")
			return err == nil && f.Size() > 0
		})
		if err := cmd.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err == nil {
			t.Fatalf("the backup was done before %v: %s", signal, out.String())
		}
		if _, err := os.Stat(file); err == nil {
			t.Errorf("%v left a file of the final name", signal)
		}
		if signal == syscall.SIGTERM && !strings.Contains(out.String(), "lyftr: backup: interrupted") {
			t.Errorf("the interrupted backup says: %s", out.String())
		}
		return cmd
	}
	if cmd := end(syscall.SIGTERM); cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("the interrupted backup exits with %d", cmd.ProcessState.ExitCode())
	}
	if left, err := os.ReadDir(backups); err != nil || len(left) != 0 {
		t.Errorf("the interrupted backup left %v, %v", left, err)
	}
	end(syscall.SIGKILL)
	if out, err := backupProcess(database, file).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if left, err := os.ReadDir(backups); err != nil || len(left) != 1 {
		t.Errorf("after a backup there are %v, %v", left, err)
	}
	if status, _ := get(t, p.url("/health/ready")); status != http.StatusOK {
		t.Errorf("the server is not ready: %d", status)
	}
}

// TestStartBesideReader starts lyftr while another process reads the database,
// so that the log cannot be emptied. The log is synced before anything is
// acknowledged: if that fails, lyftr does not start.
func TestStartBesideReader(t *testing.T) {
	database := filepath.Join(t.TempDir(), "app.db")
	p := start(t, database)
	if code, _ := p.terminate(t); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	// A reader that began when the log was empty keeps SQLite from copying
	// anything of it, and so from syncing it on the way.
	reader := readTransaction(t, database)
	p = start(t, database)
	text := "text"
	first := body("first", "+1", "2025-01-15T10:00:00Z", &text)
	if status, answer := post(newClient(t, 1), p.url("/webhook"), first); status != http.StatusOK {
		t.Fatalf("%d %s", status, answer)
	}
	p.kill()

	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	broken := exec.CommandContext(ctx, "strace", "-f", "-o", filepath.Join(t.TempDir(), "trace"), "-P", database+"-wal",
		"-e", "trace=fsync", "-e", "inject=fsync:error=EIO", binary, "serve")
	broken.Env = []string{"WEBHOOK_SECRET=" + secret, "DATABASE_URL=sqlite:///" + database, "HOST=127.0.0.1", "PORT=0", "PATH=" + os.Getenv("PATH")}
	broken.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	broken.Cancel = func() error { return syscall.Kill(-broken.Process.Pid, syscall.SIGKILL) } // lyftr too
	out, err := broken.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "sync the log") || strings.Contains(string(out), "listening") {
		t.Errorf("a start whose sync of the log fails: %v\n%s", err, out)
	}

	begun := time.Now()
	p = start(t, database)
	if took := time.Since(begun); took > 3*time.Second {
		t.Errorf("the start took %v beside a reader", took)
	}
	if status, _ := get(t, p.url("/messages/first")); status != http.StatusOK {
		t.Errorf("the message is not there: %d", status)
	}
	if status, answer := post(newClient(t, 1), p.url("/webhook"), first); status != http.StatusOK {
		t.Errorf("a repeat: %d %s", status, answer)
	}
	if err := reader.Rollback(); err != nil {
		t.Error(err)
	}
	if code, _ := p.terminate(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// readTransaction begins to read a database.
func readTransaction(t *testing.T, database string) *sql.Tx {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+database+"?mode=ro")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback() })
	var n int
	if err := tx.QueryRow("SELECT count(*) FROM messages").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return tx
}
