package sqlite

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"lyftr/internal/message"
)

// childMounts is set in a child process that has mounts of its own.
const childMounts = "LYFTR_TEST_OWN_MOUNTS"

// cannotMount is what the child says when it may not mount either.
const cannotMount = "a tmpfs cannot be mounted here"

// withOwnMounts runs the rest of a test in a child process with mounts of its
// own, which go away with it. Where the system does not allow that the test
// fails: a fault that was not tried has not passed.
func withOwnMounts(t *testing.T, rest func(t *testing.T)) {
	t.Helper()
	if os.Getenv(childMounts) != "" {
		// Not seen outside, and gone with the process.
		if err := syscall.Mount("none", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
			t.Fatalf("%s: %v", cannotMount, err)
		}
		rest(t)
		return
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=1m")
	cmd.Env = append(os.Environ(), childMounts+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	switch exit := (*exec.ExitError)(nil); {
	case strings.Contains(string(out), cannotMount), err != nil && !errors.As(err, &exit):
		t.Fatalf("not run: this needs a mount, so run the tests as root or where user namespaces are allowed: %v: %s", err, out)
	case err != nil, !strings.Contains(string(out), "--- PASS: "+t.Name()):
		t.Errorf("in the child process: %v\n%s", err, out)
	}
}

// mountSmall mounts a file system of that size, until the test ends.
func mountSmall(t *testing.T, size string) (disk string) {
	t.Helper()
	disk = filepath.Join(t.TempDir(), "disk")
	if err := os.Mkdir(disk, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("none", disk, "tmpfs", 0, "size="+size); err != nil {
		t.Fatalf("%s: %v", cannotMount, err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(disk, syscall.MNT_DETACH) })
	return disk
}

// TestFullDisk: as TestFull, on a disk that is full.
func TestFullDisk(t *testing.T) { withOwnMounts(t, fullDisk) }

// fullDisk runs in the child process.
func fullDisk(t *testing.T) {
	disk := mountSmall(t, "600k")
	path := filepath.Join(disk, "app.db")
	s, shut := open(t, path, Options{})
	save(t, s, "there")
	acknowledged := 1 + fillUp(t, s)

	// What is left is a few pages at most, which the probes use up.
	waitFor(t, "Ready tells that nothing can be written", func() bool { return s.Ready(t.Context()) != nil })
	outcomes, err := s.Save(t.Context(), messages("there"), nil)
	wantOutcomes(t, "a repeat on a full disk", saved{outcomes, err}, message.Outcome{Duplicate: true})
	if err := s.Ready(t.Context()); err == nil {
		t.Error("Ready is nil on a full disk, since a repeat could be answered")
	}
	if err := saveLong(t, s, "more"); !errors.Is(err, message.ErrUnavailable) {
		t.Errorf("Save on a full disk: got %v, want ErrUnavailable", err)
	}
	wantEqual(t, "rows", acknowledged, len(listedIDs(t, s)))
	if isFailed(s) {
		t.Fatalf("a full disk ended the store: %v", s.fatalError())
	}

	if err := syscall.Mount("none", disk, "tmpfs", syscall.MS_REMOUNT, "size=16m"); err != nil {
		t.Fatal(err)
	}
	if err := s.Ready(t.Context()); err != nil {
		t.Errorf("Ready when there is space again: %v", err)
	}
	if err := saveLong(t, s, "after"); err != nil {
		t.Errorf("Save when there is space again: %v", err)
	}
	acknowledged += 3
	wantEqual(t, "rows", acknowledged, len(listedIDs(t, s)))
	shut()
	s, shut = open(t, path, Options{})
	wantEqual(t, "rows after opening again", acknowledged, len(listedIDs(t, s)))
	shut()
}
