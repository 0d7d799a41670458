package e2e

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// copyOf is a copy between two databases, given by their URLs. Its state is in
// the folder.
func copyOf(dir, from, to string, args ...string) *exec.Cmd {
	cmd := exec.Command(binary, append([]string{"copy", "--from", from, "--to", to}, args...)...)
	cmd.Dir, cmd.Env = dir, []string{"PATH=" + os.Getenv("PATH")}
	return cmd
}

// runCopy runs a copy to its end.
func runCopy(t *testing.T, cmd *exec.Cmd) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// sums are the two lines that a copy prints at its end, and those of the statuses
// if there are any.
var sums = regexp.MustCompile(`^.*: (\d+) messages, sha256 ([0-9a-f]{64})\n.*: (\d+) messages, sha256 ([0-9a-f]{64})(?:, and (\d+) that are not in the source)?\n` +
	`(?:.*: (\d+) statuses, sha256 ([0-9a-f]{64})\n.*: (\d+) statuses, sha256 ([0-9a-f]{64})\n)?$`)

// wantCopied checks what a copy that succeeded printed, and returns the hash.
func wantCopied(t *testing.T, stdout, stderr string, code, messages int) string {
	t.Helper()
	found := sums.FindStringSubmatch(stdout)
	if code != 0 || found == nil || found[1] != fmt.Sprint(messages) || found[3] != found[1] || found[4] != found[2] {
		t.Fatalf("exit code %d, want %d messages twice and equal hashes: %s%s", code, messages, stdout, stderr)
	}
	return found[2]
}

// wantStatusesCopied checks that the copy printed so many statuses, which are equal.
func wantStatusesCopied(t *testing.T, stdout, stderr string, statuses int) {
	t.Helper()
	found := sums.FindStringSubmatch(stdout)
	if found == nil || found[6] != fmt.Sprint(statuses) || found[8] != found[6] || found[9] != found[7] ||
		!strings.Contains(stderr, fmt.Sprintf("\nstatuses: %d created, 0 duplicates\n", statuses)) {
		t.Errorf("want %d statuses twice and equal hashes: %s%s", statuses, stdout, stderr)
	}
}

// addProvided adds so many messages and statuses of providers, with what only they
// send, to a database in a file.
func addProvided(t *testing.T, path string, n int) {
	t.Helper()
	raws := []string{`{"id":"a","id":"\ud800"}`, `{ "text" : "\u0000" }`, strings.Repeat(`{"a":[`, 200) + strings.Repeat(`]}`, 200), `{"a":"` + strings.Repeat("é", 100_000) + `"}`}
	var file bytes.Buffer
	for i := range n {
		fmt.Fprintf(&file, `{"message_id":"wamid.%d","from":%q,"to":%q,"ts":"2025-01-15T10:00:00Z","text":%q,"source":"whatsapp","received_at":"2025-01-15T10:00:01Z","raw":%s}`+"\n",
			i, []string{"US.13491208655302741918", "MyBrand", ""}[i%3], []string{"", "32665"}[i%2], strings.Repeat("long ", 2000), raws[i%len(raws)])
	}
	must(t, path, &file, "import", "-")
	db := openDatabase(t, path)
	defer db.Close()
	for i := range n {
		if _, err := db.Exec("INSERT INTO statuses (source, message_id, status, recipient, ts, created_at, raw) VALUES ('whatsapp', ?, 'read', '', 1736935200123, '2025-01-15T10:00:00.500Z', ?)",
			fmt.Sprint("wamid.", i), []byte(raws[i%len(raws)])); err != nil {
			t.Fatal(err)
		}
	}
}

// filledDatabase makes a database with so many messages and returns its URL.
func filledDatabase(t *testing.T, n int) (path, url string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "app.db")
	if f := runFill(t, path, fmt.Sprintf("--count=%d", n)); f.Messages != int64(n) {
		t.Fatalf("fill: %+v", f)
	}
	return path, "sqlite:///" + path
}

// killCopy starts a copy again and again and kills some once they have noted how
// far they have come, until one is done, and returns what that printed. Each but
// the first has to go on where the last left off.
func killCopy(t *testing.T, dir, from, to, state string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	const enough = 5
	for kills := 0; ; kills++ {
		before, _ := os.ReadFile(state)
		cmd := copyOf(dir, from, to, args...)
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = cmd.Wait()
		}()
		done := kills == enough
		if done {
			<-ended
		}
		waitFor(t, func() bool {
			select {
			case <-ended:
				done = true
			default:
			}
			now, err := os.ReadFile(state)
			return done || err == nil && !bytes.Equal(now, before)
		})
		if !done {
			_ = cmd.Process.Kill()
			<-ended
		}
		if kills > 0 && !strings.Contains(errs.String(), "going on behind ") {
			t.Errorf("it did not go on: %s", errs.String())
		}
		if done {
			if kills == 0 {
				t.Fatalf("it was done before it was killed: %s", errs.String())
			}
			t.Logf("killed %d times", kills)
			return out.String(), errs.String(), cmd.ProcessState.ExitCode()
		}
	}
}

// TestCopyKilled kills a copy half-way, again and again, each way: at the end
// both have the same messages.
func TestCopyKilled(t *testing.T) {
	const n = 50_000
	first, from := filledDatabase(t, n)
	dir := t.TempDir()
	second, third := filepath.Join(dir, "second.db"), filepath.Join(dir, "third.db")
	hashes := map[string]bool{}
	for _, way := range []struct{ from, to string }{{first, second}, {second, third}} {
		state := way.to + ".lyftr-copy"
		stdout, stderr, code := killCopy(t, dir, "sqlite:///"+way.from, "sqlite:///"+way.to, state)
		hashes[wantCopied(t, stdout, stderr, code, n)] = true
		if _, err := os.Stat(state); err == nil {
			t.Error("the state is still there")
		}
	}
	stdout, stderr, code := runCopy(t, copyOf(dir, from, "sqlite:///"+third, "--verify-only"))
	hashes[wantCopied(t, stdout, stderr, code, n)] = true
	if len(hashes) != 1 {
		t.Errorf("there are %d hashes", len(hashes))
	}
	if must(t, first, nil, "export") != must(t, third, nil, "export") {
		t.Error("what is exported of both is not the same")
	}
}

// TestCopyInterrupted: a signal ends a copy in good order, and it goes on.
func TestCopyInterrupted(t *testing.T) {
	const n = 50_000
	_, from := filledDatabase(t, n)
	dir := t.TempDir()
	to := filepath.Join(dir, "to.db")
	cmd := copyOf(dir, from, "sqlite:///"+to)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { _, err := os.Stat(to + ".lyftr-copy"); return err == nil })
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(errs.String(), "the same command goes on behind ") ||
		!strings.HasSuffix(errs.String(), "lyftr: copy: interrupted\n") {
		t.Errorf("exit code %d: %s", code, errs.String())
	}
	stdout, stderr, code := runCopy(t, copyOf(dir, from, "sqlite:///"+to))
	wantCopied(t, stdout, stderr, code, n)
	// Nothing was saved twice: the state was written behind the last save.
	if !strings.Contains(stderr, fmt.Sprintf("copied: %d created, 0 duplicates, 0 mismatches, 0 refused", n)) {
		t.Errorf("it says %s", stderr)
	}
}

// TestCopyFromServer moves a database whose server takes messages: a first copy
// while it runs, and the rest when it has stopped. A server on the new database
// has every message that was acknowledged.
func TestCopyFromServer(t *testing.T) {
	const n = 20_000
	from, url := filledDatabase(t, n)
	dir := t.TempDir()
	to := filepath.Join(dir, "to.db")
	p := start(t, from)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	l := &ledger{deliveries: map[string]*delivery{}}
	loaded := make(chan struct{})
	go func() {
		defer close(loaded)
		l.load(ctx, newClient(t, 4), p.url("/webhook"), "new", 4)
	}()
	stdout, stderr, code := runCopy(t, copyOf(dir, url, "sqlite:///"+to, "--no-verify"))
	if code != 0 || stdout != "" || !strings.Contains(stderr, "not verified: the same command without --no-verify goes on behind ") {
		t.Fatalf("exit code %d: %s%s", code, stdout, stderr)
	}
	// Comparing them while messages arrive finds no fault either.
	stdout, stderr, code = runCopy(t, copyOf(dir, url, "sqlite:///"+filepath.Join(dir, "other.db")))
	if found := sums.FindStringSubmatch(stdout); code != 0 || found == nil || found[2] != found[4] {
		t.Errorf("exit code %d: %s%s", code, stdout, stderr)
	}
	stop()
	<-loaded
	if code, _ := p.terminate(t); code != 0 {
		t.Errorf("the server ended with %d", code)
	}
	stored := len(storedIDs(t, from))
	stdout, stderr, code = runCopy(t, copyOf(dir, url, "sqlite:///"+to))
	wantCopied(t, stdout, stderr, code, stored)
	if !strings.Contains(stderr, "going on behind ") || !strings.Contains(stderr, fmt.Sprintf("copied: %d created, 0 duplicates", stored)) {
		t.Errorf("it says %s", stderr)
	}
	there := storedIDs(t, to)
	for _, id := range l.acknowledged() {
		if !there[id] {
			t.Errorf("%s was acknowledged and is missing", id)
		}
	}
	if got := storedTotal(t, start(t, to)); got != int64(stored) {
		t.Errorf("the new server has %d messages of %d", got, stored)
	}
}

// TestCopyServerComes: a server that starts on the source while it is copied
// does not end the copy, and what it stores is copied.
func TestCopyServerComes(t *testing.T) {
	const n = 20_000
	from, url := filledDatabase(t, n)
	dir := t.TempDir()
	to := filepath.Join(dir, "to.db")
	cmd := copyOf(dir, url, "sqlite:///"+to)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { _, err := os.Stat(to + ".lyftr-copy"); return err == nil })
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	p := start(t, from)
	if status, answer := post(newClient(t, 1), p.url("/webhook"), body("late", "+1", "2025-01-15T10:00:00Z", nil)); status != http.StatusOK {
		t.Errorf("%d %s", status, answer)
	}
	if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	wantCopied(t, out.String(), errs.String(), cmd.ProcessState.ExitCode(), n+1)
	if !strings.Contains(errs.String(), "another program began to write to the database meanwhile: start again: trying again in 100ms") {
		t.Errorf("it says %s", errs.String())
	}
}

// TestCopyHostile copies what a webhook may bring and what an adopted file may
// hold.
func TestCopyHostile(t *testing.T) {
	const n = 3000
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from.db"), filepath.Join(dir, "to.db")
	must(t, from, nil, "import", bodies(t, n))
	const provided = 12
	addProvided(t, from, provided)
	db, err := sql.Open("sqlite", "file:"+from)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, change := range []string{
		"UPDATE messages SET source = 'other' WHERE id = 7",
		"INSERT INTO messages (message_id, from_msisdn, to_msisdn, ts, text, created_at, source, ts_unix, ts_nanos) SELECT message_id, '+0', '+0', ts, text || char(0), created_at, 'native', ts_unix, 1 FROM messages WHERE id = 7",
		"UPDATE messages SET text = char(0), ts = 'yesterday' WHERE id = 8",
		"UPDATE messages SET from_msisdn = '', text = CAST(x'ff00fe' AS TEXT) WHERE id = 9",
		"UPDATE messages SET created_at = 'long ago' WHERE id = 10",
	} {
		if _, err := db.Exec(change); err != nil {
			t.Fatalf("%s: %v", change, err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	stdout, stderr, code := runCopy(t, copyOf(dir, "sqlite:///"+from, "sqlite:///"+to))
	wantCopied(t, stdout, stderr, code, n+1+provided)
	wantStatusesCopied(t, stdout, stderr, provided)
	if !strings.Contains(stderr, "1 messages have no time of arrival in the source") {
		t.Errorf("it says %s", stderr)
	}
	want, got := must(t, from, nil, "export"), must(t, to, nil, "export")
	// The time of arrival that was not known is that of the copy.
	received := regexp.MustCompile(`"received_at":[^}]*}`)
	wantLines, gotLines := strings.SplitAfter(want, "\n"), strings.SplitAfter(got, "\n")
	for i := range wantLines {
		if i >= len(gotLines) || wantLines[i] != gotLines[i] && (!strings.Contains(wantLines[i], `"received_at":null`) ||
			received.ReplaceAllString(wantLines[i], "") != received.ReplaceAllString(gotLines[i], "")) {
			t.Fatalf("line %d was %s", i, wantLines[i])
		}
	}
}

// TestCopyVerifies: a copy that was changed is found out, with the first message
// that differs.
func TestCopyVerifies(t *testing.T) {
	const n = 3000
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from.db"), filepath.Join(dir, "to.db")
	must(t, from, nil, "import", bodies(t, n))
	stdout, stderr, code := runCopy(t, copyOf(dir, "sqlite:///"+from, "sqlite:///"+to))
	wantCopied(t, stdout, stderr, code, n)
	for _, tt := range []struct{ statement, want string }{
		{`UPDATE messages SET text = 'other' WHERE message_id = '=001234'`, "0 messages are missing and 1 are different; the first: message_id \"=001234\" of source \"native\" differs in text\n"},
		{`UPDATE messages SET created_at = '2020-01-01T00:00:00.000Z' WHERE message_id = '=002345'`, "0 messages are missing and 2 are different; the first: message_id \"=00"},
		{`DELETE FROM messages WHERE message_id = '=002999'`, "1 messages are missing and 2 are different; the first: message_id \"=00"},
	} {
		if out, err := exec.Command("sqlite3", to, tt.statement).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		stdout, stderr, code := runCopy(t, copyOf(dir, "sqlite:///"+from, "sqlite:///"+to, "--verify-only"))
		found := sums.FindStringSubmatch(stdout)
		if code != 1 || found == nil || found[2] == found[4] || !strings.Contains(stderr, "lyftr: copy: the databases differ: "+tt.want) {
			t.Errorf("%s: exit code %d: %s%s", tt.statement, code, stdout, stderr)
		}
	}
	// Copied again, what is missing comes back. What is different stays.
	stdout, stderr, code = runCopy(t, copyOf(dir, "sqlite:///"+from, "sqlite:///"+to))
	if code != 1 || !strings.Contains(stderr, "copied: 1 created, 2999 duplicates, 1 mismatches, 0 refused") ||
		!strings.Contains(stderr, "0 messages are missing and 2 are different") {
		t.Errorf("exit code %d: %s%s", code, stdout, stderr)
	}
}

// TestCopyInUse: a copy into the database of a running server says what to do, and
// comparing with it is possible.
func TestCopyInUse(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from.db"), filepath.Join(dir, "to.db")
	must(t, from, nil, "import", bodies(t, 10))
	p := start(t, to)
	for _, b := range []string{"a", "b"} {
		if status, answer := post(newClient(t, 1), p.url("/webhook"), body(b, "+1", "2025-01-15T10:00:00Z", nil)); status != http.StatusOK {
			t.Fatalf("%d %s", status, answer)
		}
	}
	_, stderr, code := runCopy(t, copyOf(dir, "sqlite:///"+from, "sqlite:///"+to))
	if code != 1 || !strings.Contains(stderr, "another lyftr has this database open: stop it, do this, and start it again") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	_, stderr, code = runCopy(t, copyOf(dir, "sqlite:///"+to, "sqlite:///"+to))
	if code != 2 || !strings.Contains(stderr, "--from and --to are one database") {
		t.Errorf("onto itself: exit code %d: %s", code, stderr)
	}
	stdout, stderr, code := runCopy(t, copyOf(dir, "sqlite:///"+from, "sqlite:///"+to, "--verify-only"))
	if code != 1 || !strings.Contains(stdout, "0 messages, sha256 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855, and 2 that are not in the source\n") ||
		!strings.Contains(stderr, "10 messages are missing and 0 are different") {
		t.Errorf("exit code %d: %s%s", code, stdout, stderr)
	}
}
