package httpapi_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lyftr/internal/message"
)

// streamTexts hold whatever could end a line or an event too early.
var streamTexts = []string{
	"plain", "", "two\nlines", "a\rb\r\nc\n\n", "\u2028\u2029\u0085", "data: x\n\nid: y", "\t\v\f", "😀é", "<b>&amp;</b>", strings.Repeat("\n", 50),
}

// The wire: what a stream begins with, and each event in three lines.
func TestStreamFraming(t *testing.T) {
	t.Parallel()
	s := start(t)
	var want []string
	for i, text := range streamTexts {
		s.seed(msg(fmt.Sprint(i), "text", text))
	}
	after := ""
	for i := range streamTexts {
		page := s.feed("?limit=1&after=" + after)
		after = page.Next
		want = append(want, "id: "+after+"\nevent: message\ndata: "+s.get("/messages/"+fmt.Sprint(i)).body)
	}
	c := s.dial()
	c.send("", "GET /feed HTTP/1.1", "Host: x", "Accept: application/json;q=0.5, Text/Event-Stream ; q=1")
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	for name, want := range map[string]string{
		"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no", "X-Content-Type-Options": "nosniff", "Content-Length": "",
	} {
		if got := resp.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	end := "\n\nid: " + after
	var got string
	for buf := make([]byte, 4<<10); !strings.Contains(got, end); {
		n, err := resp.Body.Read(buf)
		if got += string(buf[:n]); err != nil {
			t.Fatalf("%v after %s", err, got)
		}
	}
	s.api.End()
	rest, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
	}
	start, events, _ := strings.Cut(got+string(rest), "\n\n")
	if !regexp.MustCompile(`^retry: 2000\nid: [A-Za-z0-9_-]+$`).MatchString(start) {
		t.Errorf("the stream begins with %q", start)
	}
	if events != strings.Join(want, "\n\n")+"\n\n" {
		t.Errorf("the events are\n%s\nwant\n%s", events, strings.Join(want, "\n\n"))
	}
}

func TestStream(t *testing.T) {
	t.Parallel()
	s := start(t)
	for i, text := range streamTexts {
		s.seed(msg(fmt.Sprint(i), "text", text))
	}
	st := s.events("/feed")
	if st.retry != "2000" || st.lastID == "" {
		t.Errorf("the stream begins with retry %q and id %q", st.retry, st.lastID)
	}
	wantIDs(t, "behind the id at the start", s.feed("?limit=1&after="+st.lastID).ids(), "0")
	page := s.feed("")
	var positions []string
	for i, text := range streamTexts {
		e := st.next()
		m := decode[fullMessage](t, e.data)
		if e.kind != "message" || m.ID != fmt.Sprint(i) || m.Text == nil || *m.Text != text {
			t.Errorf("event %d is %+v", i, e)
		}
		if e.data != s.get("/messages/"+m.ID).body {
			t.Errorf("event %d is not what the message is: %s", i, e.data)
		}
		positions = append(positions, e.id)
	}
	if last := positions[len(positions)-1]; last != page.Next {
		t.Errorf("the last event has the id %q, the page ends at %q", last, page.Next)
	}
	s.post(hello)
	wantIDs(t, "later", st.ids(1), "m1")
	st.line().has(t, "status", 200, "path", "/feed", "method", "GET")

	// Each id resumes right behind its event, whatever after says.
	for i, p := range positions {
		resumed := s.events("/feed?after=latest", header("Last-Event-Id", p))
		if resumed.lastID != p {
			t.Errorf("resumed at %q, the id is %q", p, resumed.lastID)
		}
		want := "m1"
		if i+1 < len(positions) {
			want = fmt.Sprint(i + 1)
		}
		wantIDs(t, "resumed", resumed.ids(1), want)
		resumed.close()
	}
	// An empty id is none.
	none := s.events("/feed?after="+page.Next, header("Last-Event-Id", ""))
	wantIDs(t, "with an empty id", none.ids(1), "m1")
	// Who connects at the end and loses the connection before anything comes
	// has an id all the same.
	latest := s.events("/feed?after=latest")
	latest.close()
	s.post(msg("meanwhile"))
	back := s.events("/feed?after=latest", header("Last-Event-Id", latest.lastID))
	wantIDs(t, "what came meanwhile", back.ids(1), "meanwhile")
}

func TestStreamToken(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *config) { c.tokens = []string{"zq-token-one"} })
	s.seed(hello)
	events := header("Accept", "text/event-stream")
	a := s.get("/feed", events)
	a.is(t, 401, tokenBody)
	if got := a.header.Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type is %q", got)
	}
	s.get("/feed?after=x", events, header("Last-Event-Id", "x")).is(t, 401, tokenBody)
	wantIDs(t, "with the token", s.events("/feed", header("Authorization", "Bearer zq-token-one")).ids(1), "m1")
}

// HEAD and HTTP/1.0 get what they can take.
func TestStreamOddClients(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.seed(hello)
	a := s.do(http.MethodHead, "/feed", nil, header("Accept", "text/event-stream"))
	if a.status != 200 || a.header.Get("Content-Type") != "text/event-stream" || a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("HEAD: got %d %v", a.status, a.header)
	}
	s.do(http.MethodHead, "/feed?after=x", nil, header("Accept", "text/event-stream")).is(t, 422, "")
	for _, accept := range []string{"text/event-streams", "text/*", "application/json", "x/text/event-stream"} {
		wantIDs(t, accept, into[feedAnswer](t, s.get("/feed", header("Accept", accept))).ids(), "m1")
	}
	c := s.dial()
	c.send("", "GET /feed HTTP/1.0", "Accept: text/event-stream")
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	s.readersAre(1)
	s.post(msg("m2"))
	s.readersAre(1)
	buf := make([]byte, 64<<10)
	n := 0
	for !strings.Contains(string(buf[:n]), `"m2"`) {
		more, err := resp.Body.Read(buf[n:])
		if n += more; err != nil {
			t.Fatalf("%v after %s", err, buf[:n])
		}
	}
	if len(resp.TransferEncoding) > 0 || !strings.HasPrefix(string(buf[:n]), "retry: 2000\nid: ") {
		t.Errorf("HTTP/1.0: %v %s", resp.Header, buf[:n])
	}
	s.api.End()
	if rest, err := io.ReadAll(resp.Body); err != nil || len(rest) > 0 {
		t.Errorf("the end: %q, %v", rest, err)
	}
}

// A silent stream shows that it lives, longer than the server's own limits.
func TestStreamHeartbeat(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *config) {
		c.heartbeat, c.writeTimeout, c.readTimeout = 100*time.Millisecond, 500*time.Millisecond, 500*time.Millisecond
	})
	st, other := s.events("/feed"), s.events("/feed")
	for st.comments < 10 {
		if e, ok := st.block(); ok || st.ended {
			t.Fatalf("got %+v, ended: %v", e, st.ended)
		}
	}
	s.seed(hello)
	wantIDs(t, "after some silence", st.ids(1), "m1")
	wantIDs(t, "after some silence, the other", other.ids(1), "m1")
	s.api.End()
	if st.rest(); !st.ended {
		t.Errorf("the end: %v", st.lines.Err())
	}
}

// A reader who takes nothing is cut off; nobody waits for him.
func TestStreamSlowReader(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *config) { c.writeTimeout = 2 * time.Second })
	text := strings.Repeat("😀", message.MaxTextLength)
	const messages = 1500 // 24 MiB: more than the system's buffers take
	for i := 0; i < messages; i += 100 {
		var batch []message.Message
		for j := range 100 {
			batch = append(batch, decoded(t, msg(fmt.Sprint(i+j), "text", text)))
		}
		s.save(batch...)
	}
	slow := s.slowReader("slow")
	quick := s.events("/feed?after=latest")
	for i := range 20 {
		id := fmt.Sprint("quick", i)
		s.post(msg(id)).is(t, 200, okBody)
		wantIDs(t, "a reader beside the slow one", quick.ids(1), id)
	}
	s.line("slow").has(t, "status", 200, "error", "the reader took nothing for too long")
	s.readersAre(1)
	slow.isCut(t)
}

// counted counts the reads of pages.
func counted(reads *atomic.Int64) func(*config) {
	f := &faulty{}
	f.feed = func(ctx context.Context, after string, limit int) (message.FeedPage, error) {
		if limit > 0 {
			reads.Add(1)
		}
		return f.Store.Feed(ctx, after, limit)
	}
	return withFault(f)
}

// Those who stand at the end share each read, and while messages stream in
// there are few reads.
func TestStreamSharesReads(t *testing.T) {
	t.Parallel()
	const n = 40
	var reads atomic.Int64
	s := start(t, counted(&reads))
	streams := make([]*stream, n)
	for i := range streams {
		streams[i] = s.events("/feed?after=latest")
	}
	s.readersAre(n)
	before := reads.Load()
	s.post(hello)
	for _, st := range streams {
		wantIDs(t, "the stream", st.ids(1), "m1")
	}
	// One for the message, one at the new end; a few more if some were slow.
	if got := reads.Load() - before; got > n/4 {
		t.Errorf("%d reads for one message and %d readers", got, n)
	}

	const messages = 300
	before = reads.Load()
	begin := time.Now()
	var wg sync.WaitGroup
	for _, st := range streams {
		wg.Go(func() {
			for i, id := range st.ids(messages) {
				if id != fmt.Sprint("s", i) {
					t.Errorf("message %d is %s", i, id)
				}
			}
		})
	}
	for i := range messages {
		s.post(msg(fmt.Sprint("s", i)))
	}
	wg.Wait()
	took := time.Since(begin)
	if got, most := reads.Load()-before, int64(2*took/(50*time.Millisecond))+n/4; got > most {
		t.Errorf("%d reads in %v, want at most %d", got, took, most)
	}
}

// The first message after a while is not held back.
func TestStreamIsPrompt(t *testing.T) {
	t.Parallel()
	s := start(t)
	st := s.events("/feed?after=latest")
	least := time.Hour
	for i := range 8 {
		<-time.After(60 * time.Millisecond) // longer than the pace
		m := decoded(t, msg(fmt.Sprint(i)))
		s.save(m)
		begin := time.Now() // how long a commit takes is another matter
		st.ids(1)
		least = min(least, time.Since(begin))
	}
	if least > 25*time.Millisecond {
		t.Errorf("a message took %v at best", least)
	}
}

// Readers come, go and resume while many write: each sees each message once, in
// the order of storing, by stream or by waiting.
func TestFeedUnderLoad(t *testing.T) {
	t.Parallel()
	const savers, each, followers = 8, 60, 12
	s := start(t)
	seen := make([][]string, followers)
	var wg sync.WaitGroup
	for f := range followers {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(f)))
			after := ""
			for len(seen[f]) < savers*each {
				if f%3 == 0 {
					a := s.feed(fmt.Sprintf("?wait=10&limit=%d&after=%s", 1+random.IntN(40), after))
					seen[f], after = append(seen[f], a.ids()...), a.Next
					continue
				}
				st := s.events("/feed", header("Last-Event-Id", after))
				for range min(1+random.IntN(50), savers*each-len(seen[f])) {
					e := st.next()
					seen[f], after = append(seen[f], decode[fullMessage](t, e.data).ID), e.id
				}
				st.close()
			}
		})
	}
	for w := range savers {
		wg.Go(func() {
			for i := range each {
				s.post(msg(fmt.Sprintf("%d-%d", w, i)))
			}
		})
	}
	wg.Wait()
	want := s.feed("?limit=1000").ids()
	for f := range followers {
		wantIDs(t, fmt.Sprint("follower ", f), seen[f], want...)
	}
	slices.Sort(want)
	if got := len(slices.Compact(want)); got != savers*each {
		t.Errorf("%d different messages, want %d", got, savers*each)
	}
	s.readersAre(0)
}

// TestFeedLeavesNoGoroutine is not parallel: it counts all goroutines there are.
func TestFeedLeavesNoGoroutine(t *testing.T) {
	s := start(t)
	s.get("/health/live")
	s.client.CloseIdleConnections()
	var base int
	s.eventually("rest", func() bool {
		now := runtime.NumGoroutine()
		base, now = now, base
		return base == now
	})
	const n = 20
	var streams []*stream
	var wg sync.WaitGroup
	for range n {
		streams = append(streams, s.events("/feed"))
		wg.Go(func() { s.feed("?wait=60") })
	}
	s.readersAre(2 * n)
	s.post(hello)
	wg.Wait()
	for _, st := range streams {
		wantIDs(t, "the stream", st.ids(1), "m1")
		st.line()
	}
	s.client.CloseIdleConnections()
	s.eventually("all goroutines to end", func() bool { return runtime.NumGoroutine() <= base })
}
