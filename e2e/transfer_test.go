package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// lyftr runs a command on a database and returns what it wrote.
func lyftr(tb testing.TB, database string, stdin io.Reader, args ...string) (stdout, stderr string, code int) {
	tb.Helper()
	cmd := command(database, args...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &out, &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		tb.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func command(database string, args ...string) *exec.Cmd {
	cmd := exec.Command(binary, args...)
	cmd.Dir = filepath.Dir(database)
	cmd.Env = []string{"DATABASE_URL=sqlite:///" + database, "PATH=" + os.Getenv("PATH")}
	return cmd
}

// must is lyftr where it has to succeed.
func must(tb testing.TB, database string, stdin io.Reader, args ...string) string {
	tb.Helper()
	stdout, stderr, code := lyftr(tb, database, stdin, args...)
	if code != 0 {
		tb.Fatalf("lyftr %q: exit code %d: %s", args, code, stderr)
	}
	return stdout
}

// hostileTexts are what a format could stumble over.
var hostileTexts = []string{
	"", "null", "NULL", "=1+1", "'=1", "''@x", "'tis", "'", `"`, `""`, `a"b`, ",", ";", "a,b\r\nc\nd\re", "\t", "\n", "\r\n", "+49", "-", "@",
	`\`, `\n`, `\u0000`, "\u0085\u2028\u2029", "\ufeff", "\u202e", "\x01\x1b[31m\x7f", "e\u0301", "😀", "\U0010ffff", "\ufffd", "＝1", "<script>&", " x ",
}

// bodies writes a file of webhook bodies with hostile texts and returns its path.
func bodies(tb testing.TB, n int) string {
	tb.Helper()
	var b bytes.Buffer
	for i := range n {
		var text *string
		if i%(len(hostileTexts)+1) > 0 {
			text = &hostileTexts[i%(len(hostileTexts)+1)-1]
		}
		b.Write(body(fmt.Sprintf("=%06d", n-i), fmt.Sprintf("+9198%06d", i%100), fmt.Sprintf("2025-01-15T10:%02d:00Z", i%60), text))
		b.WriteByte('\n')
	}
	name := filepath.Join(tb.TempDir(), "bodies.ndjson")
	if err := os.WriteFile(name, b.Bytes(), 0o600); err != nil {
		tb.Fatal(err)
	}
	return name
}

// TestTransfer: what is exported and imported into another database is exported
// as the same bytes, in both formats, from files and through a pipe, and over
// HTTP too.
func TestTransfer(t *testing.T) {
	const n = 2500
	dir := t.TempDir()
	first := filepath.Join(dir, "first.db")
	must(t, first, nil, "import", bodies(t, n))
	want := map[string]string{}
	for _, format := range []string{"ndjson", "csv"} {
		want[format] = must(t, first, nil, "export", "--format", format)
		name := filepath.Join(dir, "all."+format)
		must(t, first, nil, "export", "-o", name)
		if b, err := os.ReadFile(name); err != nil || string(b) != want[format] {
			t.Errorf("the file of %s is not what standard output is: %v", format, err)
		}
		for how, args := range map[string][]string{"file": {"import", name}, "pipe": {"import", "--format", format, "-"}} {
			other := filepath.Join(dir, how+format+".db")
			must(t, other, strings.NewReader(want[format]), args...)
			for again := range want {
				if got := must(t, other, nil, "export", "--format", again); again == format && got != want[again] {
					t.Errorf("%s by %s: exported again it is another", format, how)
				}
			}
		}
	}
	if lines := strings.Count(want["ndjson"], "\n"); lines != n {
		t.Errorf("%d lines of %d messages", lines, n)
	}

	p := start(t, first)
	for format, want := range want {
		if status, got := get(t, p.url("/export?format="+format)); status != http.StatusOK || string(got) != want {
			t.Errorf("GET /export of %s: %d, and not what lyftr export writes", format, status)
		}
	}
}

// TestPipe runs lyftr export | lyftr import - while the server of the first
// database takes messages: everything that was there is in the second once.
func TestPipe(t *testing.T) {
	const n = 5000
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from.db"), filepath.Join(dir, "to.db")
	must(t, from, nil, "import", bodies(t, n))
	p := start(t, from)
	ctx, stop := context.WithCancel(t.Context())
	loaded := make(chan struct{})
	l := &ledger{deliveries: map[string]*delivery{}}
	go func() {
		defer close(loaded)
		l.load(ctx, newClient(t, 4), p.url("/webhook"), "new", 4)
	}()
	export, imported := command(from, "export"), command(to, "import", "-")
	var exportErrs, importErrs bytes.Buffer
	pipe, err := export.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	imported.Stdin, imported.Stderr, export.Stderr = pipe, &importErrs, &exportErrs
	if err := export.Start(); err != nil {
		t.Fatal(err)
	}
	if err := imported.Run(); err != nil {
		t.Errorf("import: %v: %s", err, importErrs.String())
	}
	if err := export.Wait(); err != nil {
		t.Errorf("export: %v: %s", err, exportErrs.String())
	}
	stop()
	<-loaded
	if code, _ := p.terminate(t); code != 0 {
		t.Errorf("the server ended with %d", code)
	}
	seen := map[string]bool{}
	for line := range strings.Lines(must(t, to, nil, "export")) {
		var m struct {
			ID string `json:"message_id"`
		}
		if err := json.Unmarshal([]byte(line), &m); err != nil || seen[m.ID] {
			t.Fatalf("%v, or %s twice", err, m.ID)
		}
		seen[m.ID] = true
	}
	for i := range n {
		if id := fmt.Sprintf("=%06d", n-i); !seen[id] {
			t.Errorf("%s is missing", id)
		}
	}
}

// TestImportKilled kills an import half-way, again and again, and has the same
// import go on: at the end each message is there once.
func TestImportKilled(t *testing.T) {
	const n = 200_000
	file := bodies(t, n)
	state := file + ".lyftr-import"
	database := filepath.Join(t.TempDir(), "app.db")
	kills, resumed := 0, 0
	for range 20 {
		_, left := os.Stat(state)
		cmd := command(database, "import", file)
		var errs bytes.Buffer
		cmd.Stderr = &errs
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		before, _ := os.ReadFile(state)
		// Until it has noted once more how far it has come.
		done := false
		waitFor(t, func() bool {
			select {
			case err := <-ended:
				done = true
				if err != nil {
					t.Fatalf("import: %v: %s", err, errs.String())
				}
				return true
			default:
			}
			now, _ := os.ReadFile(state)
			return !bytes.Equal(now, before) && len(now) > 0
		})
		if !done {
			kills++
			_ = cmd.Process.Kill()
			t.Logf("killed: %v", <-ended)
		}
		if left == nil {
			resumed++
			if !strings.Contains(errs.String(), "going on behind line") {
				t.Errorf("it did not go on: %s", errs.String())
			}
		}
		if done {
			break
		}
	}
	if kills == 0 || resumed == 0 {
		t.Fatalf("%d kills, %d went on: the test did not test", kills, resumed)
	}
	if _, err := os.Stat(state); err == nil {
		t.Error("the state is still there")
	}
	seen := map[string]bool{}
	for line := range strings.Lines(must(t, database, nil, "export")) {
		id, _, _ := strings.Cut(line, `","from"`)
		if seen[id] {
			t.Errorf("%s is there twice", id)
		}
		seen[id] = true
	}
	if len(seen) != n {
		t.Errorf("%d messages of %d", len(seen), n)
	}
}

// TestImportInterrupted: a signal ends an import in good order, and it goes on.
func TestImportInterrupted(t *testing.T) {
	database := filepath.Join(t.TempDir(), "app.db")
	// A pipe that stays open: the import waits for more.
	cmd := command(database, "import", "-")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// More than a pipe holds: when it is written, it is being read.
	lines := bytes.Repeat(append(body("a", "+1", "2025-01-15T10:00:00Z", nil), '\n'), 4000)
	if _, err := in.Write(lines); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	err = cmd.Wait()
	if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(errs.String(), "lyftr: import: interrupted") {
		t.Errorf("%v: %s", err, errs.String())
	}
	if got := must(t, database, nil, "export"); strings.Count(got, "\n") != 1 {
		t.Errorf("it stored %q", got)
	}
}

// TestImportInUse: an import into the database of a running server says what to
// do.
func TestImportInUse(t *testing.T) {
	database := filepath.Join(t.TempDir(), "app.db")
	start(t, database)
	_, stderr, code := lyftr(t, database, nil, "import", bodies(t, 1))
	if code != 1 || !strings.Contains(stderr, "another lyftr has this database open: stop it, do this, and start it again") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}
