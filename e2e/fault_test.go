package e2e

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// inject lets strace meddle with system calls of the process, from now until the
// process ends or detach is called: tampering is what strace's inject takes. It
// returns when that is in force. Further arguments go to strace.
func inject(t *testing.T, p *process, section, fault, call, tampering string, further ...string) (detach func()) {
	t.Helper()
	args := append([]string{"strace", "-f", "-p", strconv.Itoa(p.cmd.Process.Pid),
		"-e", "trace=" + call, "-e", "inject=" + call + ":" + tampering}, further...)
	if os.Geteuid() != 0 {
		args = append([]string{"sudo", "-n"}, args...) // to trace a process that is no child needs it
	}
	cmd := exec.CommandContext(context.Background(), args[0], args[1:]...)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		notRun(t, section, fault, err.Error())
	}
	lines := bufio.NewScanner(stderr)
	attached, said := false, ""
	for !attached && lines.Scan() {
		said = lines.Text()
		attached = strings.Contains(said, "attached")
	}
	if !attached {
		_ = cmd.Wait()
		notRun(t, section, fault, "strace could not attach: "+said)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for lines.Scan() {
			continue // until the process has ended
		}
	}()
	detach = sync.OnceFunc(func() {
		_ = cmd.Process.Signal(syscall.SIGINT)
		<-done
		_ = cmd.Wait()
	})
	t.Cleanup(detach)
	return detach
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
