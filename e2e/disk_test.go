package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// asRoot runs a command that only root may run.
func asRoot(args ...string) error {
	if os.Geteuid() != 0 {
		args = append([]string{"sudo", "-n"}, args...)
	}
	cmd := exec.CommandContext(context.Background(), args[0], args[1:]...)
	// Debian keeps these programs out of an ordinary user's PATH.
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// disk is a file system of a test's own, which can be taken away.
type disk struct {
	image string // the file that is the device, "" for a tmpfs
	dir   string // where it is mounted
}

// path returns the name of a file on the disk.
func (d *disk) path(name string) string { return filepath.Join(d.dir, name) }

// mount mounts the disk until the test ends.
func (d *disk) mount(t *testing.T, args ...string) error {
	t.Helper()
	if d.dir == "" {
		d.dir = filepath.Join(t.TempDir(), "disk")
		if err := os.Mkdir(d.dir, 0o700); err != nil {
			return err
		}
	}
	if err := asRoot(append(append([]string{"mount"}, args...), d.dir)...); err != nil {
		return err
	}
	t.Cleanup(func() { _ = asRoot("umount", "--lazy", d.dir) }) // it may have been unmounted
	return nil
}

func (d *disk) unmount(t *testing.T) {
	t.Helper()
	if err := asRoot("umount", d.dir); err != nil {
		t.Fatal(err)
	}
}

// mountImage mounts an ext4 whose journal the kernel does not commit by itself,
// so that what nobody syncs is not on the disk for minutes.
func (d *disk) mountImage(t *testing.T) error {
	t.Helper()
	return d.mount(t, "-t", "ext4", "-o", "loop,commit=300", d.image)
}

// newDisk makes and mounts an ext4 on a loop device.
func newDisk(t *testing.T) (*disk, error) {
	t.Helper()
	const size = 384 << 20 // of which what is not used takes no room
	d := &disk{image: filepath.Join(t.TempDir(), "image")}
	if err := os.WriteFile(d.image, nil, 0o600); err != nil {
		return nil, err
	}
	if err := os.Truncate(d.image, size); err != nil {
		return nil, err
	}
	// All of it now: what the kernel would initialize later is no business of the test.
	extended := fmt.Sprintf("root_owner=%d:%d,lazy_itable_init=0,lazy_journal_init=0", os.Geteuid(), os.Getegid())
	if err := asRoot("mkfs.ext4", "-q", "-E", extended, d.image); err != nil {
		return nil, err
	}
	return d, d.mountImage(t)
}

// newMemoryDisk mounts a tmpfs of that size.
func newMemoryDisk(t *testing.T, size string) (*disk, error) {
	t.Helper()
	d := &disk{}
	options := fmt.Sprintf("size=%s,uid=%d,gid=%d,mode=700", size, os.Geteuid(), os.Getegid())
	return d, d.mount(t, "-t", "tmpfs", "-o", options, "none")
}

// cut is a power cut: the disk is copied as it is while the process that uses it
// stands still; then that is killed. What was not synced is only in the memory of
// the machine that was. See restore.
func (d *disk) cut(t *testing.T, p *process) (image string) {
	t.Helper()
	p.pause(t)
	image = d.copy(t)
	p.kill()
	return image
}

// copy copies what is on the device now.
func (d *disk) copy(t *testing.T) (image string) {
	t.Helper()
	image = filepath.Join(t.TempDir(), "image")
	if out, err := exec.CommandContext(t.Context(), "cp", "--sparse=always", d.image, image).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v: %s", err, out)
	}
	return image
}

// restore mounts what a power cut has left in place of the disk.
func (d *disk) restore(t *testing.T, image string) {
	t.Helper()
	d.unmount(t)
	if err := os.Remove(d.image); err != nil {
		t.Fatal(err)
	}
	d.image = image
	if err := d.mountImage(t); err != nil {
		t.Fatal(err)
	}
}

// pause stops the process, all its threads, without ending it.
func (p *process) pause(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool {
		states, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.cmd.Process.Pid))
		if err != nil || len(states) == 0 {
			t.Fatalf("the threads of the server: %v", err)
		}
		for _, name := range states {
			stat, err := os.ReadFile(name)
			if err != nil || !strings.Contains(string(stat), ") T ") {
				return false
			}
		}
		return true
	})
}

// resume lets a paused process go on.
func (p *process) resume(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
}
