package pgserver

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// templateFolder holds the data of a server that was never started: copying it
// takes a tenth of what initdb takes.
const templateFolder = "template"

// prepared finds PostgreSQL and makes the template, once in a process.
var prepared = sync.OnceValues(prepare)

// installation is the PostgreSQL of this machine, and the folder that holds all
// servers of this process.
type installation struct {
	bin      string // the folder of the programs
	dir      string
	owner    *syscall.Credential // nil: who runs the test
	password string
	// alive is never written to: it closes when this process ends, and then the
	// folder is removed.
	alive io.WriteCloser
}

func prepare() (*installation, error) {
	in := &installation{password: rand.Text()}
	var err error
	if in.bin, err = findPrograms(); err != nil {
		return nil, err
	}
	if in.owner, err = findOwner(); err != nil {
		return nil, err
	}
	if in.dir, err = os.MkdirTemp("", "lyftr-postgresql-"); err != nil {
		return nil, err
	}
	if err := errors.Join(in.own(in.dir), in.sweepAtEnd()); err != nil {
		return nil, errors.Join(err, os.RemoveAll(in.dir))
	}
	password := filepath.Join(in.dir, "password")
	if err := os.WriteFile(password, []byte(in.password), 0o600); err != nil {
		return nil, err
	}
	if err := in.own(password); err != nil {
		return nil, err
	}
	return in, in.run("initdb", "-D", filepath.Join(in.dir, templateFolder), "--no-sync",
		"--encoding=UTF8", "--locale=C.UTF-8", "--username="+superuser, "--auth=scram-sha-256", "--pwfile="+password)
}

// findPrograms returns the folder with the server's programs. Debian keeps it
// out of PATH, one for each major version.
func findPrograms() (string, error) {
	best, version := "", 0
	folders, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil {
		return "", err
	}
	for _, f := range folders {
		if v, err := strconv.Atoi(filepath.Base(filepath.Dir(f))); err == nil && v > version && hasPrograms(f) {
			best, version = f, v
		}
	}
	if best != "" {
		return best, nil
	}
	out, err := exec.CommandContext(context.Background(), "pg_config", "--bindir").Output()
	if f := strings.TrimSpace(string(out)); err == nil && hasPrograms(f) {
		return f, nil
	}
	return "", errors.New("there is no PostgreSQL server: install the Debian package postgresql, or its like")
}

func hasPrograms(folder string) bool {
	for _, name := range []string{"initdb", "pg_basebackup", "pg_ctl", "postgres"} {
		if _, err := exec.LookPath(filepath.Join(folder, name)); err != nil {
			return false
		}
	}
	return true
}

// findOwner returns who a server runs as if root runs the test, which PostgreSQL
// refuses to be run by.
func findOwner() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil //nolint:nilnil // it is the owner that needs nothing
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		if u, err = user.Lookup("nobody"); err != nil {
			return nil, err
		}
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

// own gives a file to whom the servers run as.
func (in *installation) own(path string) error {
	if in.owner == nil {
		return nil
	}
	return os.Chown(path, int(in.owner.Uid), int(in.owner.Gid))
}

// folder makes a folder for a server.
func (in *installation) folder(pattern string) (string, error) {
	dir, err := os.MkdirTemp(in.dir, pattern)
	if err != nil {
		return "", err
	}
	return dir, in.own(dir)
}

// command is a program of PostgreSQL, as the servers' owner, in an environment
// that says nothing.
func (in *installation) command(name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(context.Background(), filepath.Join(in.bin, name), args...)
	return in.plain(cmd)
}

func (in *installation) plain(cmd *exec.Cmd) *exec.Cmd {
	cmd.Dir = in.dir
	cmd.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C.UTF-8"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: in.owner, Setpgid: true}
	return cmd
}

// run runs a program of PostgreSQL to its end.
func (in *installation) run(name string, args ...string) error {
	if out, err := in.command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, out)
	}
	return nil
}

// copy copies a data directory.
func (in *installation) copy(from, to string) error {
	cmd := in.plain(exec.CommandContext(context.Background(), "cp", "-a", "--reflink=auto", "--", from, to))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("copy a data directory: %w\n%s", err, out)
	}
	return nil
}

// sweep waits until its input has ended, and removes the folder $1. A server
// that was killed leaves a few bytes of shared memory besides: its pid file says
// which. What was killed just now may still write.
const sweep = `cat >/dev/null
find "$1" -name postmaster.pid | while read -r file; do
	ipcrm -m "$(sed -n '7s/.* //p' "$file")" 2>/dev/null
done
for _ in $(seq 100); do
	rm -rf -- "$1" 2>/dev/null && exit
	sleep 0.1
done
rm -rf -- "$1"`

// sweepAtEnd leaves a shell behind that removes the folder when this process has
// ended, even if it was killed.
func (in *installation) sweepAtEnd() error {
	cmd := in.sweeper(in.dir)
	var err error
	if in.alive, err = cmd.StdinPipe(); err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	return cmd.Process.Release()
}

// remove removes a folder with all that its server left.
func (in *installation) remove(dir string) error {
	if out, err := in.sweeper(dir).CombinedOutput(); err != nil {
		return fmt.Errorf("remove a server's folder: %w\n%s", err, out)
	}
	return nil
}

func (in *installation) sweeper(dir string) *exec.Cmd {
	cmd := in.plain(exec.CommandContext(context.Background(), "sh", "-c", sweep, "sweep", dir))
	cmd.Dir = "/"
	cmd.SysProcAttr.Credential = nil // the folder that holds it is not the servers'
	return cmd
}
