// Package e2e tests the real binary from outside: over HTTP, by signals, by its
// files and its log.
package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"lyftr/internal/signature"
	"lyftr/internal/store/pgserver"
)

// binaryVariable names a lyftr to test in place of one that is built here.
const binaryVariable = "LYFTR_E2E_BINARY"

// secret signs everything in these tests.
const secret = "testsecret"

// binary is the path of the lyftr under test, built by TestMain as it ships.
var binary string

func TestMain(m *testing.M) {
	if database := os.Getenv(rowByRowVariable); database != "" {
		fmt.Fprintln(os.Stderr, rowByRow(database))
		os.Exit(1)
	}
	if os.Getenv(keeperVariable) != "" {
		if err := keep(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if binary = os.Getenv(binaryVariable); binary != "" {
		os.Exit(m.Run())
	}
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "lyftr-e2e-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		binary = filepath.Join(dir, "lyftr")
		build := exec.Command("go", "build", "-trimpath", "-o", binary, "lyftr/cmd/lyftr")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build lyftr: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// process is a running lyftr serve.
type process struct {
	cmd     *exec.Cmd
	address string // host:port
	stderr  bytes.Buffer
	drained chan struct{} // closed when its standard output has ended

	mu    sync.Mutex
	lines []string // of its log
}

// url returns the address of a path.
func (p *process) url(path string) string { return "http://" + p.address + path }

// log returns the lines logged so far.
func (p *process) log() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.lines...)
}

// onEach tests on each kind of database, an empty one in the form that start
// takes.
func onEach(t *testing.T, test func(t *testing.T, database string)) {
	t.Run("sqlite", func(t *testing.T) {
		test(t, filepath.Join(t.TempDir(), "data", "app.db"))
	})
	t.Run("postgres", func(t *testing.T) {
		test(t, pgserver.Start(t, pgserver.Options{}).NewDatabase(t))
	})
}

// isURL tells a database's URL from the path of a SQLite file.
func isURL(database string) bool { return strings.Contains(database, "://") }

// start runs lyftr serve on a free port with the database, the path of a SQLite
// file or a URL, and further variables, and waits until it listens. The process
// is killed at the end of the test.
func start(tb testing.TB, database string, env ...string) *process {
	tb.Helper()
	return startUnder(tb, nil, database, env...)
}

// startUnder is start with a program and its arguments that run lyftr, such as
// strace.
func startUnder(tb testing.TB, program []string, database string, env ...string) *process {
	tb.Helper()
	command := append(slices.Clip(program), binary, "serve")
	p, err := startServe(exec.Command(command[0], command[1:]...), tb.TempDir(), database, env...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		p.kill()
		for _, line := range append(p.log(), p.stderr.String()) {
			if n := phoneNumber.FindString(line); n != "" {
				tb.Errorf("the log has the number %s: %s", n, line)
			}
		}
	})
	return p
}

// phoneNumber is a telephone number. No server may print one, whatever it is sent.
var phoneNumber = regexp.MustCompile(`\+[0-9]{7,}`)

func startProcess(dir, database string, env ...string) (*process, error) {
	return startServe(exec.Command(binary, "serve"), dir, database, env...)
}

// startServe is startProcess with another command that comes to be lyftr serve.
func startServe(cmd *exec.Cmd, dir, database string, env ...string) (*process, error) {
	setServe(cmd, dir, database, env...)
	return startCommand(cmd)
}

// setServe sets the folder and the variables of lyftr serve.
func setServe(cmd *exec.Cmd, dir, database string, env ...string) {
	if !isURL(database) {
		database = "sqlite:///" + database
	}
	cmd.Dir = dir
	cmd.Env = append([]string{
		"WEBHOOK_SECRET=" + secret,
		"DATABASE_URL=" + database,
		"HOST=127.0.0.1",
		"PORT=0",
		// All senders have one address here, and some sign wrongly.
		"FAILURE_LIMIT=0",
		"PATH=" + os.Getenv("PATH"),
	}, env...)
}

// startCommand runs a server of lyftr and waits until it listens.
func startCommand(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, drained: make(chan struct{})}
	p.cmd.Stderr = &p.stderr
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	listening := make(chan string, 1)
	go func() {
		defer close(p.drained)
		scanner := bufio.NewScanner(stdout)
		scanner.Buffer(nil, 1<<20)
		for scanner.Scan() {
			line := scanner.Text()
			p.mu.Lock()
			p.lines = append(p.lines, line)
			p.mu.Unlock()
			if address, ok := listeningLine(line); ok {
				listening <- address
			}
		}
	}()
	select {
	case p.address = <-listening:
		return p, nil
	case <-p.drained:
	case <-time.After(30 * time.Second):
	}
	p.kill()
	return nil, fmt.Errorf("lyftr did not start:\n%s\n%s", strings.Join(p.log(), "\n"), p.stderr.String())
}

// listeningLine returns the address that a log line says lyftr listens on.
func listeningLine(line string) (address string, ok bool) {
	var l struct{ Msg, Address string }
	ok = json.Unmarshal([]byte(line), &l) == nil && l.Msg == "listening"
	return l.Address, ok
}

// kill ends the process with SIGKILL.
func (p *process) kill() {
	if p.cmd.ProcessState == nil {
		_ = p.cmd.Process.Kill()
		<-p.drained
		_ = p.cmd.Wait()
	}
}

// terminate sends SIGTERM and returns the exit code and how long the end took.
func (p *process) terminate(tb testing.TB) (code int, took time.Duration) {
	tb.Helper()
	begin := time.Now()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		tb.Fatal(err)
	}
	<-p.drained
	err := p.cmd.Wait()
	if err != nil && p.cmd.ProcessState == nil {
		tb.Fatal(err)
	}
	return p.cmd.ProcessState.ExitCode(), time.Since(begin)
}

// body returns a message in lyftr's format.
func body(id, from, ts string, text *string) []byte {
	b, err := json.Marshal(struct {
		ID   string  `json:"message_id"`
		From string  `json:"from"`
		To   string  `json:"to"`
		TS   string  `json:"ts"`
		Text *string `json:"text,omitempty"`
	}{id, from, "+14155550100", ts, text})
	if err != nil {
		panic(err)
	}
	return b
}

// post sends a signed body and returns the status, 0 if there was no answer.
func post(client *http.Client, url string, body []byte) (status int, answer string) {
	return postSigned(client, url, body, signature.SignHex([]byte(secret), body))
}

func postSigned(client *http.Client, url string, body []byte, mac string) (status int, answer string) {
	r, err := http.NewRequestWithContext(context.Background(), http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		panic(err)
	}
	r.Header.Set("X-Signature", mac)
	return do(client, r)
}

// do returns the status of an answer that came whole, else 0.
func do(client *http.Client, r *http.Request) (status int, answer string) {
	resp, err := client.Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(b)
}

// get returns the status and the body of an answer.
func get(tb testing.TB, url string) (status int, answer []byte) {
	tb.Helper()
	resp, err := http.Get(url)
	if err != nil {
		tb.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		tb.Fatal(err)
	}
	return resp.StatusCode, b
}

// newClient returns a client with connections of its own.
func newClient(tb testing.TB, connections int) *http.Client {
	transport := &http.Transport{
		DialContext:         (&net.Dialer{Timeout: 2 * time.Second}).DialContext,
		MaxIdleConnsPerHost: connections,
		MaxConnsPerHost:     connections,
		// Before the server closes them: what is sent at that moment is lost.
		IdleConnTimeout: 20 * time.Second,
	}
	tb.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 10 * time.Second}
}
