package httpapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"lyftr/internal/message"
)

// fullMessage is a message as GET /messages/{message_id} has it.
type fullMessage struct {
	ID         string  `json:"message_id"`
	From       string  `json:"from"`
	To         string  `json:"to"`
	TS         string  `json:"ts"`
	Text       *string `json:"text"`
	Source     string  `json:"source"`
	ReceivedAt *string `json:"received_at"`
}

// feedAnswer is the answer of GET /feed.
type feedAnswer struct {
	Data []fullMessage `json:"data"`
	Next string        `json:"next_cursor"`
}

func (f feedAnswer) ids() []string {
	ids := []string{}
	for _, m := range f.Data {
		ids = append(ids, m.ID)
	}
	return ids
}

func decode[T any](t testing.TB, text string) (v T) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return v
}

func (s *service) feed(query string) feedAnswer {
	s.t.Helper()
	a := s.get("/feed" + query)
	if a.status != http.StatusOK {
		s.t.Fatalf("/feed%s: got %d %s", query, a.status, a.body)
	}
	return decode[feedAnswer](s.t, a.body)
}

func wantIDs(t testing.TB, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

func TestFeed(t *testing.T) {
	t.Parallel()
	s := start(t)
	empty := s.feed("")
	wantIDs(t, "an empty store", empty.ids())
	// Neither ts nor message_id has a part in the order.
	for _, b := range []string{
		msg("z", "ts", "2030-01-15T10:00:00Z"), msg("a", "text", nil), hello, msg("b", "text", "<&\u2028>"), msg("a"), hello,
	} {
		s.post(b)
	}
	a := s.get("/feed")
	if got := a.header.Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type is %q", got)
	}
	if got := a.header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control is %q", got)
	}
	a.line.has(t, "level", "INFO", "path", "/feed", "status", 200)
	whole := decode[feedAnswer](t, a.body)
	wantIDs(t, "the feed", whole.ids(), "z", "a", "m1", "b")
	wantIDs(t, "behind the empty store", s.feed("?after="+empty.Next).ids(), "z", "a", "m1", "b")
	wantIDs(t, "behind the end", s.feed("?after="+whole.Next).ids())
	wantIDs(t, "latest", s.feed("?after=latest").ids())
	wantIDs(t, "empty after", s.feed("?after=&limit=2").ids(), "z", "a")

	// Each item is what GET /messages/{message_id} says, byte for byte.
	var raw struct{ Data []json.RawMessage }
	if err := json.Unmarshal([]byte(a.body), &raw); err != nil {
		t.Fatal(err)
	}
	for i, m := range whole.Data {
		if got := s.get("/messages/" + m.ID).body; got != string(raw.Data[i]) {
			t.Errorf("the feed has  %s\nthe message is %s", raw.Data[i], got)
		}
	}

	var joined []string
	for after := ""; ; {
		page := s.feed("?limit=3&after=" + after)
		if len(page.Data) == 0 {
			if page.Next != after {
				t.Error("the end has two positions")
			}
			break
		}
		joined, after = append(joined, page.ids()...), page.Next
	}
	wantIDs(t, "pages joined", joined, "z", "a", "m1", "b")

	h := s.do(http.MethodHead, "/feed?wait=60&after=latest", nil)
	if h.status != 200 || h.body != "" || h.header.Get("Content-Length") == "" || h.header.Get("Content-Type") != "application/json" {
		t.Errorf("HEAD: got %d %q %v", h.status, h.body, h.header)
	}
	if p := s.do(http.MethodPost, "/feed", strings.NewReader("{}")); p.status != 405 || p.header.Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: got %d %v", p.status, p.header)
	}
}

func TestFeedParameters(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.seed(hello, msg("m2"))
	cursor := into[struct {
		Next string `json:"next_cursor"`
	}](t, s.get("/messages?limit=1")).Next
	position := s.feed("?limit=1").Next
	for query, faults := range map[string][]string{
		"limit=0":                       {"query.limit:greater_than_equal"},
		"limit=1001":                    {"query.limit:less_than_equal"},
		"limit=":                        {"query.limit:int_parsing"},
		"limit=ten":                     {"query.limit:int_parsing"},
		"wait=-1":                       {"query.wait:greater_than_equal"},
		"wait=61":                       {"query.wait:less_than_equal"},
		"wait=":                         {"query.wait:int_parsing"},
		"wait=1.5":                      {"query.wait:int_parsing"},
		"wait=5s":                       {"query.wait:int_parsing"},
		"after=1":                       {"query.after:value_error"},
		"after=Latest":                  {"query.after:value_error"},
		"after=" + cursor:               {"query.after:value_error"},
		"after=" + position + "A":       {"query.after:value_error"},
		"after=" + position + "%0A":     {"query.after:value_error"},
		"after=x&after=x":               {"query.after:value_error"},
		"after=%ff":                     {"query.after:value_error"},
		"after=%zz":                     {"query.after:value_error"},
		"limit=0&wait=99&after=a&after": {"query.after:value_error", "query.limit:greater_than_equal", "query.wait:less_than_equal"},
	} {
		s.get("/feed?"+query).isInvalid(t, faults...)
		s.get("/feed?"+query, header("Accept", "text/event-stream")).isInvalid(t, faults...)
	}
	events := header("Accept", "text/event-stream")
	s.get("/feed", events, header("Last-Event-Id", "x")).isInvalid(t, "header.last-event-id:value_error")
	s.get("/feed?after="+position, events, header("Last-Event-Id", cursor)).isInvalid(t, "header.last-event-id:value_error")
	s.get("/feed", events, header("Last-Event-Id", position, position)).isInvalid(t, "header.last-event-id:value_error")
	if a := s.get("/messages?cursor=" + position); a.status != 422 {
		t.Errorf("a position as a cursor: got %d", a.status)
	}
	wantIDs(t, "the largest limit", s.feed("?limit=1000&wait=60&unknown=x").ids(), "m1", "m2")
	// Without an event stream the header says nothing.
	wantIDs(t, "no stream", into[feedAnswer](t, s.get("/feed", header("Last-Event-Id", "x"))).ids(), "m1", "m2")
}

// A wait ends with the message that comes meanwhile, and is held beyond the
// server's own limits.
func TestFeedWait(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *config) { c.writeTimeout, c.readTimeout = 300*time.Millisecond, 300*time.Millisecond })
	s.seed(hello)
	timed := s.metric("request_latency_ms_count")
	got := make(chan feedAnswer)
	begin := time.Now()
	go func() { got <- s.feed("?after=latest&wait=30") }()
	s.readersAre(1)
	<-time.After(time.Until(begin.Add(700 * time.Millisecond)))
	s.save(decoded(t, hello)) // a repeat is nothing new
	select {
	case a := <-got:
		t.Errorf("a repeat ended the wait: %v", a)
	case <-time.After(50 * time.Millisecond):
	}
	s.save(decoded(t, msg("m2")))
	a := <-got
	wantIDs(t, "what was waited for", a.ids(), "m2")
	wantIDs(t, "behind it", s.feed("?after="+a.Next).ids())
	s.readersAre(0)
	if now := s.metric("request_latency_ms_count"); now != timed+1 {
		t.Errorf("%v requests were timed, want only the one that did not wait", now-timed)
	}

	// What is there already is not waited for.
	begin = time.Now()
	wantIDs(t, "at once", s.feed("?wait=30").ids(), "m1", "m2")
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}

	// The wait runs out.
	begin = time.Now()
	out := s.feed("?wait=1&after=" + a.Next)
	if took := time.Since(begin); took < time.Second || took > 10*time.Second {
		t.Errorf("a wait of 1 s took %v", took)
	}
	wantIDs(t, "in vain", out.ids())
	if out.Next != a.Next {
		t.Error("the position changed though nothing came")
	}
}

func decoded(t testing.TB, body string) message.Message {
	t.Helper()
	m, err := message.Decode([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// What is stored while a reader looks and finds nothing is not missed.
func TestFeedStoredMeanwhile(t *testing.T) {
	t.Parallel()
	for _, accept := range []string{"*/*", "text/event-stream"} {
		f := &faulty{}
		s := start(t, withFault(f))
		var empty atomic.Int64
		f.feed = func(ctx context.Context, after string, limit int) (message.FeedPage, error) {
			page, err := f.Store.Feed(ctx, after, limit)
			// The last look before the wait.
			if last := map[string]int64{"*/*": 2, "text/event-stream": 1}[accept]; limit > 0 && len(page.Messages) == 0 && empty.Add(1) == last {
				s.save(decoded(t, hello))
			}
			return page, err
		}
		begin := time.Now()
		if accept == "*/*" {
			wantIDs(t, "the answer", s.feed("?wait=60").ids(), "m1")
		} else {
			wantIDs(t, "the stream", s.events("/feed").ids(1), "m1")
		}
		if took := time.Since(begin); took > feedSoon {
			t.Errorf("%s: it took %v", accept, took)
		}
	}
}

// feedSoon is far more than a message takes to its readers, and less than the
// heartbeat after which a stream looks again.
const feedSoon = 10 * time.Second

// A client that goes away while it waits leaves nothing behind.
func TestFeedClientGone(t *testing.T) {
	t.Parallel()
	s := start(t)
	for _, accept := range []string{"*/*", "text/event-stream"} {
		ctx, cancel := context.WithCancel(context.Background())
		id := s.newID()
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/feed?wait=60", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Request-Id", id)
		r.Header.Set("Accept", accept)
		gone := make(chan error)
		go func() {
			resp, err := s.client.Do(r)
			if err == nil {
				_, err = resp.Body.Read(make([]byte, 1<<10))
				for err == nil {
					_, err = resp.Body.Read(make([]byte, 1<<10))
				}
				resp.Body.Close()
			}
			gone <- err
		}()
		s.readersAre(1)
		cancel()
		if err := <-gone; !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", accept, err)
		}
		want := map[string]int{"*/*": 499, "text/event-stream": 200}[accept]
		s.line(id).has(t, "status", want, "path", "/feed", "error", absent)
		s.readersAre(0)
	}
}

// When the feed ends all who wait are answered in good order, and whoever comes
// later does not wait.
func TestFeedEnd(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.seed(hello)
	position := s.feed("").Next
	answers := make(chan feedAnswer)
	for range 3 {
		go func() { answers <- s.feed("?wait=60&after=" + position) }()
	}
	streams := []*stream{s.events("/feed?after=latest"), s.events("/feed"), s.events("/feed?after=" + position)}
	wantIDs(t, "the stream from the start", streams[1].ids(1), "m1")
	s.readersAre(6)
	s.api.Drain() // says not ready, and holds nobody up
	s.readersAre(6)
	s.api.End()
	for range 3 {
		a := <-answers
		wantIDs(t, "at the end", a.ids())
		if a.Next != position {
			t.Error("the position changed though nothing came")
		}
	}
	for _, st := range streams {
		if n := st.rest(); n > 0 || !st.ended {
			t.Errorf("a stream got %d more events and ended with %v", n, st.lines.Err())
		}
		if st.lastID != position {
			t.Errorf("the last id is %q, want %q", st.lastID, position)
		}
		st.line().has(t, "status", 200, "level", "INFO", "error", absent)
	}
	begin := time.Now()
	wantIDs(t, "later", s.feed("?wait=60&after="+position).ids())
	later := s.events("/feed?after=" + position)
	if n := later.rest(); n > 0 || !later.ended || later.lastID != position {
		t.Errorf("a later stream got %d events, ended in order: %v", n, later.ended)
	}
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("they waited %v", took)
	}
	s.stop()
}

// A fault of the store is 503 before the answer has begun; later it ends the
// stream, and stands on its line.
func TestFeedFault(t *testing.T) {
	t.Parallel()
	f := &faulty{}
	s := start(t, withFault(f))
	s.seed(hello)
	fault := fmt.Errorf("feed: %w: zqfault", message.ErrUnavailable)
	f.feed = func(ctx context.Context, after string, limit int) (message.FeedPage, error) {
		if limit > 0 {
			return message.FeedPage{}, fault
		}
		return f.Store.Feed(ctx, after, limit)
	}
	s.get("/feed").is(t, 503, unavailableBody)
	fault = fmt.Errorf("feed: %w: zqother", message.ErrUnavailable) // the same would not be told again
	st := s.events("/feed")
	if n := st.rest(); n > 0 || !st.ended {
		t.Errorf("got %d events, %v", n, st.lines.Err())
	}
	st.line().has(t, "status", 200, "error", fault.Error())
	f.feed = func(context.Context, string, int) (message.FeedPage, error) { return message.FeedPage{}, fault }
	s.get("/feed", header("Accept", "text/event-stream")).is(t, 503, unavailableBody)
}
