package httpapi_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lyftr/internal/message"
)

func TestWebhookAcceptance(t *testing.T) {
	t.Parallel()
	s := start(t)

	wrong := s.post(hello, header("X-Signature", "123"))
	wrong.is(t, 401, signatureBody)
	wrong.line.has(t, "level", "WARNING", "status", 401, "method", "POST", "path", "/webhook",
		"message_id", nil, "dup", false, "result", "invalid_signature")
	if n := s.rows(); n != 0 {
		t.Fatalf("a refused message left %d rows", n)
	}

	// Not signed with the code under test.
	first := s.post(hello, header("X-Signature", helloSignature))
	first.is(t, 200, okBody)
	first.line.has(t, "level", "INFO", "status", 200, "message_id", "m1", "dup", false, "result", "created", "mismatch", absent)
	if got := first.header.Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type is %q", got)
	}
	// The answer comes after the commit: the row is there.
	if n := s.rows(); n != 1 {
		t.Fatalf("an accepted message left %d rows", n)
	}

	again := s.post(hello, header("X-Signature", helloSignature))
	again.is(t, 200, okBody)
	again.line.has(t, "level", "INFO", "status", 200, "message_id", "m1", "dup", true, "result", "duplicate", "mismatch", absent)
	if n := s.rows(); n != 1 {
		t.Errorf("a repeat left %d rows", n)
	}

	for series, want := range map[string]float64{
		`webhook_requests_total{result="created"}`:               1,
		`webhook_requests_total{result="duplicate"}`:             1,
		`webhook_requests_total{result="invalid_signature"}`:     1,
		`http_requests_total{path="/webhook",status="200"}`:      2,
		`http_requests_total{path="/webhook",status="401"}`:      1,
		`lyftr_secret_uses_total{key="current",source="native"}`: 2,
		"lyftr_stored_messages":                                  1,
		"lyftr_mismatches_total":                                 0,
		"lyftr_commit_batch_messages_count":                      2,
		"lyftr_arrival_delay_seconds_count":                      1,
	} {
		if got := s.metric(series); got != want {
			t.Errorf("%s is %v, want %v", series, got, want)
		}
	}
}

func TestMismatch(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.post(hello).is(t, 200, okBody)
	others := []string{
		msg("m1", "from", "+919876543211"),
		msg("m1", "to", "+14155550101"),
		msg("m1", "ts", "2025-01-15T10:00:01Z"),
		msg("m1", "ts", "2025-01-15T10:00:00.0Z"), // the same instant, written otherwise
		msg("m1", "text", "hello"),
		msg("m1", "text", ""),
		msg("m1", "text", nil),
		msg("m1", "text", absent),
	}
	for _, body := range others {
		a := s.post(body)
		a.is(t, 200, okBody)
		a.line.has(t, "level", "INFO", "status", 200, "message_id", "m1", "dup", true, "mismatch", true, "result", "duplicate")
	}
	for _, body := range []string{hello, hello + "\n", msg("m1"), msg("m1", "more", 1)} { // the same, written otherwise
		a := s.post(body)
		a.is(t, 200, okBody)
		a.line.has(t, "dup", true, "result", "duplicate", "mismatch", absent)
	}
	if got := s.metric("lyftr_mismatches_total"); got != float64(len(others)) {
		t.Errorf("lyftr_mismatches_total is %v, want %d", got, len(others))
	}
	if got := s.metric(`webhook_requests_total{result="duplicate"}`); got != float64(len(others)+4) {
		t.Errorf("duplicate is %v, want %d", got, len(others)+4)
	}
	list := s.get("/messages")
	sameJSON(t, list.body, `{"data":[`+hello+`],"total":1,"limit":50,"offset":0,"next_cursor":null}`)
}

func TestStorm(t *testing.T) {
	t.Parallel()
	s := start(t)
	const posts, connections = 1000, 64
	var left, ok atomic.Int64
	left.Store(posts)
	var group sync.WaitGroup
	for range connections {
		group.Go(func() {
			for left.Add(-1) >= 0 {
				if a := s.post(hello); a.status == 200 && a.body == okBody {
					ok.Add(1)
				}
			}
		})
	}
	group.Wait()
	if ok.Load() != posts {
		t.Errorf("%d of %d posts were answered 200", ok.Load(), posts)
	}
	if n := s.rows(); n != 1 {
		t.Errorf("there are %d rows", n)
	}
	created, duplicates := 0, 0
	for _, l := range s.stop() {
		switch {
		case l["result"] == "created" && l["dup"] == false:
			created++
		case l["result"] == "duplicate" && l["dup"] == true:
			duplicates++
		}
	}
	if created != 1 || duplicates != posts-1 {
		t.Errorf("the log has %d created and %d duplicate, want 1 and %d", created, duplicates, posts-1)
	}
	if got := s.metric(`webhook_requests_total{result="created"}`); got != 1 {
		t.Errorf("created is %v", got)
	}
}

// Deliveries at one time must not see each other's bodies: buffers are reused.
func TestBodiesAreKeptApart(t *testing.T) {
	t.Parallel()
	s := start(t)
	const n, connections = 320, 32
	text := func(i int) string { return fmt.Sprintf("%d-%s", i, strings.Repeat(string(rune('a'+i%26)), i*7%3000)) }
	var group sync.WaitGroup
	for w := range connections {
		group.Go(func() {
			for i := w; i < n; i += connections {
				change := func(*http.Request) {}
				if i%3 == 0 {
					change = chunked
				}
				id := fmt.Sprintf("id-%d", i)
				a := s.post(msg(id, "text", text(i)), change)
				a.is(t, 200, okBody)
				a.line.has(t, "message_id", id)
			}
		})
	}
	group.Wait()
	for i := range n {
		m, err := s.real.Get(t.Context(), "", fmt.Sprintf("id-%d", i))
		if err != nil || m.Text == nil || *m.Text != text(i) {
			t.Errorf("message %d is not what was sent: %v", i, err)
		}
	}
}

func TestStoreFails(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		err    error
		status int
		body   string
		result string
	}{
		"unavailable": {fmt.Errorf("save: %w: disk full", message.ErrUnavailable), 503, unavailableBody, "unavailable"},
		"broken":      {errors.New("no such table"), 500, internalBody, "error"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, withStore(func() error { return tt.err }))
			a := s.post(hello)
			a.is(t, tt.status, tt.body)
			a.line.has(t, "level", "ERROR", "status", tt.status, "message_id", "m1", "dup", false, "result", tt.result, "error", tt.err.Error())
			if seconds, err := strconv.Atoi(a.header.Get("Retry-After")); tt.status == 503 && (err != nil || seconds < 1) {
				t.Errorf("Retry-After is %q", a.header.Get("Retry-After"))
			}
			for _, target := range []string{"/messages", "/messages/m1", "/stats", "/export", "/stats/timeline"} {
				a := s.get(target)
				a.is(t, tt.status, tt.body)
				a.line.has(t, "level", "ERROR", "status", tt.status, "result", absent)
				if (a.header.Get("Retry-After") != "") != (tt.status == 503) {
					t.Errorf("%s: Retry-After is %q", target, a.header.Get("Retry-After"))
				}
			}
			if got := s.metric(fmt.Sprintf("webhook_requests_total{result=%q}", tt.result)); got != 1 {
				t.Errorf("%s is %v", tt.result, got)
			}
		})
	}
}

// A store that is being stopped says that it was cancelled. The client is still
// there, and is told to come again.
func TestStoreIsCancelled(t *testing.T) {
	t.Parallel()
	s := start(t, withStore(func() error { return fmt.Errorf("%w: %w", message.ErrUnavailable, context.Canceled) }))
	a := s.post(hello)
	a.is(t, 503, unavailableBody)
	a.line.has(t, "level", "ERROR", "status", 503, "message_id", "m1", "dup", false, "result", "unavailable")
	for _, target := range []string{"/messages", "/messages/m1", "/stats", "/export", "/stats/timeline"} {
		s.get(target).is(t, 503, unavailableBody)
	}
}

// A store that does not come to an end does not hold the sender for longer than
// the settings say.
func TestSaveHasADeadline(t *testing.T) {
	t.Parallel()
	var left atomic.Int64
	s := start(t, func(c *config) { c.saveTimeout = 300 * time.Millisecond }, withFault(&faulty{
		save: func(ctx context.Context, _ []message.Message) ([]message.Outcome, error) {
			deadline, ok := ctx.Deadline()
			if !ok {
				return nil, errors.New("no deadline")
			}
			left.Store(int64(time.Until(deadline)))
			<-ctx.Done()
			return nil, fmt.Errorf("%w: %w", message.ErrUnavailable, ctx.Err())
		},
	}))
	s.post(hello).is(t, 503, unavailableBody)
	if got := time.Duration(left.Load()); got > 300*time.Millisecond {
		t.Errorf("the store had %v", got)
	}
}

// When the deadline passes, the sender is told to send again; sending again
// until 200 leaves one row, whatever became of the first.
func TestSaveDeadline(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *config) { c.saveTimeout = 200 * time.Millisecond })
	unlock := base.lock(t, s.dsn)
	a := s.post(hello)
	a.is(t, 503, unavailableBody)
	if a.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	a.line.has(t, "level", "ERROR", "status", 503, "message_id", "m1", "dup", false, "result", "unavailable")
	unlock()
	for end := time.Now().Add(patience); s.post(hello).status != 200; {
		if time.Now().After(end) {
			t.Fatal("never 200")
		}
	}
	if n := s.rows(); n != 1 {
		t.Errorf("there are %d rows", n)
	}
}

func TestQueueFull(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *config) { c.queueSize, c.saveTimeout = 1, patience })
	unlock := base.lock(t, s.dsn)
	const posts = 40
	var accepted, refused atomic.Int64
	full := make(chan struct{}, posts)
	var group sync.WaitGroup
	for i := range posts {
		group.Go(func() {
			switch a := s.post(msg(fmt.Sprint(i))); a.status {
			case 200:
				accepted.Add(1)
			case 503:
				a.is(t, 503, unavailableBody)
				a.line.has(t, "result", "unavailable")
				if a.header.Get("Retry-After") == "" {
					t.Error("no Retry-After")
				}
				refused.Add(1)
				full <- struct{}{}
			default:
				t.Errorf("got %d %s", a.status, a.body)
			}
		})
	}
	select {
	case <-full:
	case <-time.After(patience):
		t.Error("the queue was never full")
	}
	unlock()
	group.Wait()
	if accepted.Load() == 0 || accepted.Load()+refused.Load() != posts {
		t.Errorf("%d accepted and %d refused of %d", accepted.Load(), refused.Load(), posts)
	}
	if n := s.rows(); n != accepted.Load() {
		t.Errorf("there are %d rows for %d accepted messages", n, accepted.Load())
	}
}

// A client that goes away while its message waits for the commit does not take
// it back, and its request has its line, also if the store fails besides.
func TestClientGoesAwayDuringSave(t *testing.T) {
	t.Parallel()
	cancelled := fmt.Errorf("%w: %w", message.ErrUnavailable, context.Canceled)
	for name, tt := range map[string]struct {
		err    error
		status int
		level  string
		result string
		rows   int64
	}{
		"saved":     {nil, 200, "INFO", "created", 1},
		"not saved": {cancelled, 503, "ERROR", "unavailable", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			gone := make(chan struct{})
			f := &faulty{}
			f.save = func(ctx context.Context, m []message.Message) ([]message.Outcome, error) {
				select {
				case <-gone:
				case <-time.After(patience):
					return nil, errors.New("the server did not see that the client went away")
				}
				if err := errors.Join(ctx.Err(), tt.err); err != nil {
					return nil, err
				}
				return f.Store.Save(ctx, m, nil)
			}
			s := start(t, withFault(f), func(c *config) {
				c.saveTimeout = 2 * patience
				c.around = func(next http.Handler) http.Handler {
					return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						context.AfterFunc(r.Context(), func() { close(gone) })
						next.ServeHTTP(w, r)
					})
				}
			})
			c := s.dial()
			c.send(hello, "POST /webhook HTTP/1.1", "Host: x", "X-Request-ID: gone", "X-Signature: "+helloSignature,
				"Content-Length: "+strconv.Itoa(len(hello)))
			_ = c.Close()
			s.line("gone").has(t, "level", tt.level, "status", tt.status, "message_id", "m1", "dup", false, "result", tt.result)
			if n := s.rows(); n != tt.rows {
				t.Errorf("there are %d rows, want %d", n, tt.rows)
			}
		})
	}
}
