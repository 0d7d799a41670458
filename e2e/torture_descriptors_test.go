package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// TestTortureDescriptors lets connections that say nothing use up what lyftr may
// open. Who is connected is served all the time, others when the first of those
// are closed, and the database does not notice.
func TestTortureDescriptors(t *testing.T) {
	besideOthers(t)
	const limit, silent, readers = 64, 60, 8
	database := filepath.Join(t.TempDir(), "app.db")
	l := limits{time.Second, 5 * time.Second, 5 * time.Second, time.Minute}
	f := &front{ledger: ledger{deliveries: map[string]*delivery{}}, limits: l}
	f.process = startUnder(t, []string{"prlimit", fmt.Sprintf("--nofile=%d:%d", limit, limit)}, database, l.env()...)
	f.fill(t)

	var connected [readers]*stormConnection
	ask := func(c *stormConnection, path string) {
		if a := c.exchange([]byte("GET " + path + " HTTP/1.1\r\nHost: lyftr\r\n\r\n")); a.status != http.StatusOK {
			t.Errorf("%s: %d", path, a.status)
		}
	}
	for i := range connected {
		connected[i] = f.connection()
		defer connected[i].close()
		ask(connected[i], "/health/live")
	}
	var conns []net.Conn
	for range silent {
		c, err := f.dial()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conns = append(conns, c)
	}
	begin := time.Now()
	send := func(c *stormConnection, id string) {
		text := "in need"
		b := body(id, "+919800000005", "2025-01-15T10:00:00Z", &text)
		a := c.exchange(signedPost(b))
		f.note(id, b, a.status)
		if a.status != http.StatusOK {
			t.Errorf("%s: %d", id, a.status)
		}
	}
	var wg sync.WaitGroup
	for i, c := range connected {
		wg.Go(func() {
			for r := range 5 {
				send(c, fmt.Sprintf("connected-%d-%d", i, r))
				for _, path := range []string{"/messages?q=long&limit=1", "/stats", "/feed?limit=1", "/health/ready"} {
					ask(c, path)
				}
			}
		})
	}
	wg.Wait()
	meanwhile := time.Since(begin)
	c := f.connection()
	defer c.close()
	send(c, "new")
	served := time.Since(begin)
	for _, c := range conns {
		if _, err := drip(c, nil); err != nil {
			t.Error(err)
		}
	}
	for _, line := range f.log() {
		var fields struct{ Level, Msg, Error string }
		if err := json.Unmarshal([]byte(line), &fields); err != nil || fields.Level == "ERROR" {
			t.Errorf("the log has %s", line)
		}
	}
	if code, _ := f.terminate(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	f.verify(t, database)
	found(t, "Network", "file descriptors used up", fmt.Sprintf("%d descriptors, %d silent connections: %d requests over connections that were there took %.1f s, a new one was served after %.1f s, no error of the database",
		limit, silent, readers*25, meanwhile.Seconds(), served.Seconds()))
}
