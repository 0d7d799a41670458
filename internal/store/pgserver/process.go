package pgserver

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a postmaster, whose children are the server's other processes.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed when it has ended
}

// startProcess starts a postmaster that dies when this process does.
func startProcess(cmd *exec.Cmd, log *os.File) (*process, error) {
	cmd.Stdout, cmd.Stderr = log, log
	dieWithParent(cmd.SysProcAttr)
	p := &process{cmd: cmd, ended: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The signal is sent when the thread ends that was the parent: this one
		// is kept until the postmaster has ended, and ends with the goroutine.
		runtime.LockOSThread()
		defer close(p.ended)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ends is in its log
		}
	}()
	return p, <-started
}

// end sends a signal and waits for the end; what has not ended then is killed.
func (p *process) end(signal syscall.Signal) error {
	if err := p.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.ended:
		return nil
	case <-time.After(patience):
	}
	return errors.Join(fmt.Errorf("it goes on after %v", signal), p.kill())
}

// kill kills the postmaster and its children, and waits until they are gone.
func (p *process) kill() error {
	children, err := p.freeze()
	if err != nil {
		return err
	}
	err = p.cmd.Process.Kill()
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	for _, pid := range children {
		_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended by itself
	}
	<-p.ended
	return errors.Join(err, poll("its children end", func() bool {
		for _, pid := range children {
			if _, state := status(pid); state != gone {
				return false
			}
		}
		return true
	}))
}

// freeze stops the postmaster, so that it gets no more children, then those it
// has, which it returns. One that has ended has none.
func (p *process) freeze() (children []int, err error) {
	pid := p.cmd.Process.Pid
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		if errors.Is(err, os.ErrProcessDone) {
			return nil, nil
		}
		return nil, err
	}
	if err := poll("the postmaster stops", func() bool { return stopped(pid) }); err != nil {
		return nil, err
	}
	children, err = childrenOf(pid)
	if err != nil {
		return nil, err
	}
	for _, child := range children {
		_ = syscall.Kill(child, syscall.SIGSTOP) // it may have ended by itself
	}
	return children, poll("its children stop", func() bool {
		for _, child := range children {
			if !stopped(child) {
				return false
			}
		}
		return true
	})
}

// thaw undoes freeze.
func (p *process) thaw() error {
	children, err := childrenOf(p.cmd.Process.Pid)
	if err != nil {
		return err
	}
	for _, child := range children {
		_ = syscall.Kill(child, syscall.SIGCONT) // it may have ended by itself
	}
	return p.cmd.Process.Signal(syscall.SIGCONT)
}

func childrenOf(pid int) ([]int, error) {
	files, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	var children []int
	for _, f := range files {
		child, err := strconv.Atoi(filepath.Base(f))
		if err != nil {
			continue
		}
		if parent, state := status(child); state != gone && parent == pid {
			children = append(children, child)
		}
	}
	return children, nil
}

// gone is the state of a process that does not run any more.
const gone = 0

// status returns a process's parent and its state, a letter of proc(5).
func status(pid int) (parent int, state byte) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, gone
	}
	// The name, which may hold anything, ends with the last parenthesis.
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(fields) < 2 || fields[0] == "Z" || fields[0] == "X" {
		return 0, gone // what waits to be asked for its status has ended
	}
	parent, err = strconv.Atoi(fields[1])
	if err != nil {
		return 0, gone
	}
	return parent, fields[0][0]
}

// stopped says whether a process is stopped, or has ended.
func stopped(pid int) bool {
	_, state := status(pid)
	return state == 'T' || state == gone
}

// poll waits until something is so.
func poll(what string, so func() bool) error {
	deadline := time.Now().Add(patience)
	for !so() {
		if time.Now().After(deadline) {
			return fmt.Errorf("waited for %v until %s", patience, what)
		}
		<-time.After(interval)
	}
	return nil
}
