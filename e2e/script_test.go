package e2e

import (
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestScripts runs the scripts of the command line in testdata/script with the
// real binary. LYFTR_ADDRESS is a running server, SERVER_DATABASE its file. A
// script may start one of its own on FREE_PORT, and wait for it by the command
// ready, and for a file by the command appears.
func TestScripts(t *testing.T) {
	database := filepath.Join(t.TempDir(), "app.db")
	p := start(t, database)
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Setup: func(e *testscript.Env) error {
			e.Setenv("PATH", filepath.Dir(binary)+string(os.PathListSeparator)+e.Getenv("PATH"))
			e.Setenv("LYFTR_ADDRESS", "http://"+p.address)
			e.Setenv("SERVER_DATABASE", database)
			e.Setenv("SERVER_DATABASE_URL", "sqlite:///"+database)
			e.Setenv("CLOSED_ADDRESS", "http://127.0.0.1:1")
			port, err := freePort()
			e.Setenv("FREE_PORT", port)
			return err
		},
		Cmds:                map[string]func(ts *testscript.TestScript, neg bool, args []string){"ready": ready, "appears": appears},
		RequireExplicitExec: true,
	})
}

// freePort returns a port on which nobody listens.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, errors.Join(err, l.Close())
}

// ready waits until the server on FREE_PORT says that it is ready.
func ready(ts *testscript.TestScript, _ bool, _ []string) {
	url := "http://127.0.0.1:" + ts.Getenv("FREE_PORT") + "/health/ready"
	await(ts, "the server does not become ready", func() bool {
		resp, err := http.Get(url)
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

// appears waits until a file is there.
func appears(ts *testscript.TestScript, _ bool, args []string) {
	await(ts, args[0]+" does not appear", func() bool {
		_, err := os.Stat(ts.MkAbs(args[0]))
		return err == nil
	})
}

func await(ts *testscript.TestScript, otherwise string, done func() bool) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(20 * time.Second)
	for !done() {
		select {
		case <-tick.C:
		case <-limit:
			ts.Fatalf("%s", otherwise)
		}
	}
}
