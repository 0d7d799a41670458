// Package pgserver starts real PostgreSQL servers for tests, from the programs
// of Debian's package, on a free port of 127.0.0.1. A server can be stopped,
// killed, frozen, started again, copied to a standby and promoted. Nothing of it
// outlives the test process, whichever way that ends. Only tests import it.
package pgserver

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	// superuser may do everything on every server.
	superuser = "lyftr"
	// patience bounds every wait: far more than anything here takes.
	patience = 60 * time.Second
	// interval is the time between two looks at something that is waited for.
	interval = 10 * time.Millisecond
	// tailLines is how much of a server's log is shown when something failed.
	tailLines = 40
)

// Options tune a server. The zero value is a fast one.
type Options struct {
	// Settings go into postgresql.conf, so that ALTER SYSTEM outdoes them.
	Settings map[string]string
	// Durable syncs what is committed. Without it the machine, not the server,
	// has to live on, and a commit costs less.
	Durable bool
}

// Server is a PostgreSQL server of its own. Its methods may be called by several
// goroutines; what starts and ends it, one at a time.
type Server struct {
	in      *installation
	options Options
	dir     string
	port    int
	data    string
	log     string

	mu      sync.Mutex
	process *process // nil: it does not run
	frozen  bool
	empty   []string // databases that are free to be used again
}

// Start runs a server until the test ends. If the test failed, the last lines of
// the server's log are shown.
func Start(tb testing.TB, o Options) *Server {
	tb.Helper()
	s, err := StartShared(o)
	if err != nil {
		tb.Fatal(err)
	}
	s.closeAfter(tb)
	return s
}

// StartShared runs a server for many tests; the caller closes it.
func StartShared(o Options) (*Server, error) {
	in, err := prepared()
	if err != nil {
		return nil, err
	}
	s, err := in.newServer(o)
	if err != nil {
		return nil, err
	}
	err = in.copy(filepath.Join(in.dir, templateFolder), s.data)
	if err == nil {
		err = s.configure()
	}
	if err == nil {
		err = s.startAnywhere()
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// newServer makes the folder of a server that has no data yet.
func (in *installation) newServer(o Options) (*Server, error) {
	dir, err := in.folder("server-")
	if err != nil {
		return nil, err
	}
	return &Server{
		in: in, options: o, dir: dir,
		data: filepath.Join(dir, "data"), log: filepath.Join(dir, "log"),
	}, nil
}

// configure writes the settings behind those that initdb wrote.
func (s *Server) configure() error {
	settings := map[string]string{
		"listen_addresses":        "127.0.0.1",
		"unix_socket_directories": "",
		"max_connections":         "200",
		"shared_buffers":          "32MB",
		"wal_keep_size":           "256MB", // a standby may be away for a while
		"log_line_prefix":         "%m [%p] %q%a %d ",
	}
	if !s.options.Durable {
		settings["fsync"] = "off"
	}
	maps.Copy(settings, s.options.Settings)
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		fmt.Fprintf(&b, "%s = '%s'\n", name, strings.ReplaceAll(settings[name], "'", "''"))
	}
	f, err := os.OpenFile(filepath.Join(s.data, "postgresql.conf"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(b.String())
	return errors.Join(err, f.Close())
}

// closeAfter closes the server when the test ends.
func (s *Server) closeAfter(tb testing.TB) {
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Logf("the PostgreSQL server at port %d logged last:\n%s", s.port, s.tail(0))
		}
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
}

// Close ends the server and removes its data.
func (s *Server) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.end(syscall.SIGQUIT)
	return errors.Join(err, s.in.remove(s.dir))
}

// Port returns the TCP port, which stays the same when it is started again.
func (s *Server) Port() int { return s.port }

// Dir returns the data directory.
func (s *Server) Dir() string { return s.data }

// URL returns the address of a database, with the superuser's password.
func (s *Server) URL(database string) string {
	u := url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword(superuser, s.in.password),
		Host:     net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)),
		Path:     "/" + database,
		RawQuery: "sslmode=disable",
	}
	return u.String()
}

// Stop ends the server in the orderly way: sessions are cut, everything is
// written, and a standby has all of it.
func (s *Server) Stop(tb testing.TB) {
	tb.Helper()
	s.mustEnd(tb, syscall.SIGINT)
}

// StopImmediate ends the server without a checkpoint, so that it recovers when
// it is started again.
func (s *Server) StopImmediate(tb testing.TB) {
	tb.Helper()
	s.mustEnd(tb, syscall.SIGQUIT)
}

// Kill ends all processes of the server with SIGKILL, all at once as a machine
// that fails, and waits until they are gone.
func (s *Server) Kill(tb testing.TB) {
	tb.Helper()
	s.mustEnd(tb, syscall.SIGKILL)
}

func (s *Server) mustEnd(tb testing.TB, signal syscall.Signal) {
	tb.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		tb.Fatal("the PostgreSQL server does not run")
	}
	if err := s.end(signal); err != nil {
		tb.Fatal(err)
	}
}

// end ends the server if it runs.
func (s *Server) end(signal syscall.Signal) error {
	if s.process == nil {
		return nil
	}
	p := s.process
	var err error
	if signal == syscall.SIGKILL {
		err = p.kill()
	} else {
		if s.frozen {
			err = p.thaw()
		}
		err = errors.Join(err, p.end(signal))
	}
	if err != nil {
		return fmt.Errorf("end the PostgreSQL server at port %d: %w\n%s", s.port, err, s.tail(0))
	}
	s.process, s.frozen = nil, false
	return nil
}

// Restart starts the server again, on the same port; one that runs is stopped
// before.
func (s *Server) Restart(tb testing.TB) {
	tb.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.end(syscall.SIGINT); err != nil {
		tb.Fatal(err)
	}
	if err := s.start(); err != nil {
		tb.Fatal(err)
	}
}

// Pause stops all processes of the server without ending them, as a machine
// that hangs: connections stay and nothing answers.
func (s *Server) Pause(tb testing.TB) {
	tb.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		tb.Fatal("the PostgreSQL server does not run")
	}
	if _, err := s.process.freeze(); err != nil {
		tb.Fatal(err)
	}
	s.frozen = true
}

// Resume lets a paused server go on.
func (s *Server) Resume(tb testing.TB) {
	tb.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		tb.Fatal("the PostgreSQL server does not run")
	}
	if err := s.process.thaw(); err != nil {
		tb.Fatal(err)
	}
	s.frozen = false
}

// answers says whether the server is there to be asked.
func (s *Server) answers() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.process != nil && !s.frozen
}

// startAnywhere starts the server for the first time. Between the choice of a
// port and its use another program may have taken it.
func (s *Server) startAnywhere() error {
	var err error
	for range 10 {
		if s.port, err = freePort(); err != nil {
			return err
		}
		if err = s.start(); !errors.Is(err, syscall.EADDRINUSE) {
			return err
		}
	}
	return err
}

// freePort returns a port that nobody listens on. Those of outgoing connections
// (from 32768 on) are left alone: one of them could take the port while the
// server is down.
func freePort() (int, error) {
	const low, high = 20000, 32000
	var err error
	for range 100 {
		port := low + rand.IntN(high-low)
		var l net.Listener
		if l, err = net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err == nil {
			return port, l.Close()
		}
	}
	return 0, fmt.Errorf("there is no free port: %w", err)
}

// start starts the server on its port and waits until it answers.
func (s *Server) start() error {
	logged := s.logSize()
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	p, err := startProcess(s.in.command("postgres", "-D", s.data, "-p", strconv.Itoa(s.port)), log)
	if err := errors.Join(err, log.Close()); err != nil {
		return fmt.Errorf("start PostgreSQL: %w", err)
	}
	if err := s.waitUntilReady(p); err != nil {
		_ = p.kill() // what it logged says more
		tail := s.tail(logged)
		if strings.Contains(tail, "could not bind") {
			err = syscall.EADDRINUSE
		}
		return fmt.Errorf("start PostgreSQL on port %d: %w\n%s", s.port, err, tail)
	}
	s.process, s.frozen = p, false
	return nil
}

func (s *Server) waitUntilReady(p *process) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		conn, err := connect(ctx, s.URL("postgres"))
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-p.ended:
			return errors.New("it ended")
		case <-ctx.Done():
			return fmt.Errorf("it does not answer: %w", err)
		case <-time.After(interval):
		}
	}
}

func (s *Server) logSize() int64 {
	info, err := os.Stat(s.log)
	if err != nil {
		return 0
	}
	return info.Size()
}

// tail returns the last lines of the log behind a position.
func (s *Server) tail(from int64) string {
	b, err := os.ReadFile(s.log)
	if err != nil {
		return err.Error()
	}
	b = b[min(from, int64(len(b))):]
	lines := strings.SplitAfter(string(b), "\n")
	return strings.Join(lines[max(0, len(lines)-tailLines):], "")
}
