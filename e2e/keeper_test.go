package e2e

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// keeperVariable makes this test binary run as a keeper.
const keeperVariable = "LYFTR_E2E_KEEPER"

// launch is a program that a keeper is asked to start.
type launch struct {
	Args []string
	Env  []string
	Dir  string
	Log  string // the file that its output is appended to
	UID  int    // whom it runs as, if that is somebody else
	GID  int
}

// keeper is a process between a test and the programs that go into the
// background by themselves, as PostgreSQL does under Patroni. Whatever they start
// stays below it. It ends all of them when its standard input ends, which is
// when the test closes it, or has died in whatever way.
type keeper struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser

	mu      sync.Mutex // over a request and its answer
	answers *bufio.Reader
}

// startKeeper starts a keeper that ends, with all that it keeps, before the
// cleanups that the test has by now.
func startKeeper(tb testing.TB) *keeper {
	tb.Helper()
	program, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	k := &keeper{cmd: exec.Command(program)}
	k.cmd.Env = append(os.Environ(), keeperVariable+"=1")
	k.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // what a terminal interrupts is the test
	if k.stdin, err = k.cmd.StdinPipe(); err != nil {
		tb.Fatal(err)
	}
	stdout, err := k.cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	k.answers = bufio.NewReader(stdout)
	if err := k.cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		k.stdin.Close()
		if err := k.cmd.Wait(); err != nil {
			tb.Errorf("the keeper of the programs: %v", err)
		}
	})
	return k
}

// start starts a program and returns its process id.
func (k *keeper) start(tb testing.TB, c launch) int {
	tb.Helper()
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := json.NewEncoder(k.stdin).Encode(c); err != nil {
		tb.Fatal(err)
	}
	line, err := k.answers.ReadString('\n')
	if err != nil {
		tb.Fatalf("the keeper of the programs: %v", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		tb.Fatalf("start %s: %s", c.Args[0], line)
	}
	return pid
}

// keep is the keeper's main. It answers each launch with a process id or an
// error, a line each.
func keep(in io.Reader, out io.Writer) error {
	const prSetChildSubreaper = 36 // of prctl: orphans below become children
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, prSetChildSubreaper, 1, 0); errno != 0 {
		return fmt.Errorf("become the parent of orphans: %w", errno)
	}
	// They are ended by a signal that would make them dump their memory.
	if err := syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}); err != nil {
		return fmt.Errorf("forbid core files: %w", err)
	}
	commands := json.NewDecoder(in)
	for {
		var c launch
		if err := commands.Decode(&c); err != nil {
			return endAll()
		}
		var answer string
		if pid, err := c.run(); err != nil {
			answer = err.Error()
		} else {
			answer = strconv.Itoa(pid)
			go reap() // a waiter a child: orphans come in place of those that end
		}
		if _, err := fmt.Fprintln(out, answer); err != nil {
			return errors.Join(err, endAll())
		}
	}
}

func (c launch) run() (pid int, err error) {
	log, err := os.OpenFile(c.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	defer log.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	attributes := &syscall.SysProcAttr{Setsid: true}
	if c.UID != os.Geteuid() {
		attributes.Credential = &syscall.Credential{Uid: uint32(c.UID), Gid: uint32(c.GID)}
	}
	pid, err = syscall.ForkExec(c.Args[0], c.Args, &syscall.ProcAttr{
		Dir: c.Dir, Env: c.Env, Files: []uintptr{null.Fd(), log.Fd(), log.Fd()}, Sys: attributes,
	})
	if err != nil {
		return 0, fmt.Errorf("%s: %w", c.Args[0], err)
	}
	return pid, nil
}

// reap collects children that have ended, until there are none.
func reap() {
	for {
		if _, err := syscall.Wait4(-1, nil, 0, nil); err != nil && !errors.Is(err, syscall.EINTR) {
			return
		}
	}
}

// endAll ends all processes below this one. SIGQUIT comes first: it makes
// PostgreSQL stop at once, and remove its shared memory.
func endAll() error {
	const politely, limit = 3 * time.Second, 20 * time.Second
	begin := time.Now()
	below := descendants(os.Getpid())
	for _, pid := range below {
		_ = syscall.Kill(pid, syscall.SIGQUIT)
		_ = syscall.Kill(pid, syscall.SIGCONT) // if it was paused
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for len(below) > 0 {
		if time.Since(begin) > limit {
			return fmt.Errorf("processes %v do not end", below)
		}
		if time.Since(begin) > politely {
			for _, pid := range below {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		<-tick.C
		below = descendants(os.Getpid())
	}
	return nil
}

// descendants returns the processes below one, those that have ended and were
// not waited for left out.
func descendants(ancestor int) []int {
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	children := map[int][]int{}
	for _, file := range files {
		stat, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended meanwhile
		}
		// pid (name) state parent …, and a name may hold anything.
		text := string(stat)
		var state string
		var pid, parent int
		if _, err := fmt.Sscan(text[strings.LastIndexByte(text, ')')+1:], &state, &parent); err != nil || state == "Z" {
			continue
		}
		if _, err := fmt.Sscan(text, &pid); err == nil {
			children[parent] = append(children[parent], pid)
		}
	}
	var below []int
	for next := []int{ancestor}; len(next) > 0; next = next[1:] {
		below = append(below, children[next[0]]...)
		next = append(next, children[next[0]]...)
	}
	return below
}
