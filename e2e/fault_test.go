package e2e

import (
	"bufio"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// injectFsync makes every fsync of the process fail, from now until it ends. It
// returns when that is in force.
func injectFsync(t *testing.T, p *process) {
	t.Helper()
	args := []string{"strace", "-f", "-p", strconv.Itoa(p.cmd.Process.Pid), "-e", "trace=fsync", "-e", "inject=fsync:error=EIO:when=1+"}
	if os.Geteuid() != 0 {
		args = append([]string{"sudo", "-n"}, args...) // to trace a process that is no child needs it
	}
	cmd := exec.Command(args[0], args[1:]...)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stderr)
	attached := false
	for !attached && lines.Scan() {
		attached = strings.Contains(lines.Text(), "attached")
	}
	if !attached {
		t.Fatalf("strace could not attach: %v", lines.Err())
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for lines.Scan() {
			continue // until the process has ended
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGINT)
		<-done
		_ = cmd.Wait()
	})
}

// TestFailedSync lets the disk fail under a commit. The message must not be
// acknowledged, and the process must not go on with a connection of which nobody
// knows what is on disk: it exits, and a new one starts from what is there.
func TestFailedSync(t *testing.T) {
	database := filepath.Join(t.TempDir(), "app.db")
	l := &ledger{deliveries: map[string]*delivery{}}
	text := "text"
	before := body("before", "+1", "2025-01-15T10:00:00Z", &text)
	during := body("during", "+1", "2025-01-15T10:00:01Z", &text)

	p := start(t, database)
	client := newClient(t, 1)
	status, _ := post(client, p.url("/webhook"), before)
	l.note("before", before, status)
	if status != http.StatusOK {
		t.Fatalf("before the fault: %d", status)
	}
	injectFsync(t, p)
	status, answer := post(client, p.url("/webhook"), during)
	l.note("during", during, status)
	if status == http.StatusOK || status >= 400 && status < 500 {
		t.Errorf("a message whose commit failed was answered %d %s", status, answer)
	}
	<-p.drained
	_ = p.cmd.Wait()
	if code := p.cmd.ProcessState.ExitCode(); code != 1 {
		t.Errorf("exit code %d", code)
	}
	if log := strings.Join(p.log(), "\n"); !strings.Contains(log, `"level":"ERROR"`) || !strings.Contains(log, "store failed") {
		t.Errorf("the log does not say why:\n%s", log)
	}

	p = start(t, database)
	for _, b := range [][]byte{before, during} {
		if status, answer := post(newClient(t, 1), p.url("/webhook"), b); status != http.StatusOK {
			t.Errorf("after the restart: %d %s", status, answer)
		}
	}
	l.note("during", during, http.StatusOK)
	if code, _ := p.terminate(t); code != 0 {
		t.Errorf("exit code %d after the restart", code)
	}
	if stored := l.verify(t, database); stored != 2 {
		t.Errorf("%d messages are stored, want 2", stored)
	}
}

// TestStatic makes sure that what ships needs nothing of the system it runs on.
func TestStatic(t *testing.T) {
	out, err := exec.Command("file", binary).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if !strings.Contains(string(out), "statically linked") {
		t.Errorf("not static: %s", out)
	}
}
