package cli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"lyftr/internal/sample"
)

// testGenerator is made once: that takes a second with the race detector.
var testGenerator = sync.OnceValue(func() *sample.Generator {
	return sample.New(sample.Options{Senders: 10, Received: true})
})

// testLoad returns a load on a server, and closes its connections when the test
// ends.
func testLoad(t *testing.T, o loadOptions) *load {
	t.Helper()
	o.Secret = "s"
	l, err := newLoad(t.Context(), o, testGenerator())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.close)
	return l
}

// TestLoadCountsFromWhenAMessageWasDue stalls a server: the messages that could
// not be sent meanwhile have to be counted as late, not as fast.
func TestLoadCountsFromWhenAMessageWasDue(t *testing.T) {
	const (
		connections = 16
		rate        = 1000
		stall       = 300 * time.Millisecond
	)
	release := make(chan struct{})
	arrived := make(chan struct{}, 10*rate)
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		arrived <- struct{}{}
		<-release
	}))
	defer server.Close()

	l := testLoad(t, loadOptions{URLs: []string{server.URL}, Connections: connections, Rate: rate, Count: 2 * rate})
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ran := make(chan error, 1)
	go func() { ran <- l.run(ctx) }()
	for range connections {
		<-arrived
	}
	<-time.After(stall)
	close(release)
	for range 10 * connections { // those that were due in the stall come at once
		<-arrived
	}
	stop()
	if err := <-ran; err != nil {
		t.Fatal(err)
	}

	w := l.written()
	late := int64(0)
	for i := bucket((stall / 3).Microseconds()); i < len(l.tally.acknowledged.buckets); i++ {
		late += l.tally.acknowledged.buckets[i].Load()
	}
	if w.Failed+w.NoAnswer != 0 || late <= 2*connections || w.Max < float64(stall.Milliseconds()) {
		t.Errorf("%d messages were late, want many more than the %d that waited for an answer: %+v", late, connections, w)
	}
	// Each that was due was sent or counted as unsent.
	if due, counted := w.Seconds*rate, float64(w.Acknowledged+w.Unsent); counted > due+1 || counted < due/2 {
		t.Errorf("%d acknowledged and %d unsent, but %.0f were due", w.Acknowledged, w.Unsent, due)
	}
}

// TestLoadTellsUnsent has a server that answers nothing in time: what was due
// meanwhile and not sent has to be seen.
func TestLoadTellsUnsent(t *testing.T) {
	const late = 200 * time.Millisecond
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-time.After(late) }))
	defer server.Close()
	l := testLoad(t, loadOptions{URLs: []string{server.URL}, Connections: 1, Rate: 1000, Duration: late / 2})
	if err := l.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if w := l.written(); w.Acknowledged != 1 || w.Unsent != 99 || w.P50 < 40 || w.P50 >= w.Max || w.Max < float64(late.Milliseconds()) {
		t.Errorf("want 1 acknowledged, 99 unsent, and their times from when they were due: %+v", w)
	}
}

// TestLoadRepeats looks at the bytes that arrive: repeats are what was there
// before, and are told apart from what is new.
func TestLoadRepeats(t *testing.T) {
	var mu sync.Mutex
	bodies := map[string]int64{}
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		bodies[r.Header.Get("X-Signature")+string(body)]++
	}))
	defer server.Close()
	l := testLoad(t, loadOptions{URLs: []string{server.URL}, Connections: 4, Count: 2000, Repeat: 20})
	if err := l.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	w := l.written()
	if w.Acknowledged != 2000 || w.Created != int64(len(bodies)) || w.Repeats < 300 || w.Repeats > 500 || w.Lost != 0 {
		t.Errorf("%d different bodies arrived: %+v", len(bodies), w)
	}
}

// TestLoadTellsAnswersApart has a server that refuses, fails and hangs up. Each is
// counted, a connection that ended is opened again, and what was refused counts
// as new when its repeat is taken.
func TestLoadTellsAnswersApart(t *testing.T) {
	var requests atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		switch requests.Add(1) % 10 {
		case 1, 2, 3:
			w.WriteHeader(http.StatusServiceUnavailable)
		case 4:
			w.Header().Set("Connection", "close")
			http.Error(w, "why", http.StatusUnauthorized)
		case 5:
			panic(http.ErrAbortHandler)
		}
	}))
	defer server.Close()
	l := testLoad(t, loadOptions{URLs: []string{server.URL}, Connections: 1, Count: 100, Repeat: 50})
	if err := l.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	w := l.written()
	if w.Acknowledged != 50 || w.Unavailable != 30 || w.Failed != 10 || w.NoAnswer != 10 || w.Lost != 20 || w.Refused.Max == 0 ||
		w.Created+w.Repeats != 50 || w.Created > int64(l.maker.made) {
		t.Errorf("got %+v", w)
	}
	if m := l.measured(); m.errors != 50 || m.rows != 50 || m.first == nil {
		t.Errorf("got %+v", m)
	}
	var out strings.Builder
	if err := w.print(&out); err != nil || !strings.Contains(out.String(), "answers: 200 50 times, 401 10 times, 503 30 times, none 10 times; 20 connections lost and opened again\n") {
		t.Errorf("%v: %s", err, out.String())
	}
}

// TestLoadWaitsForAServer has a server that goes and comes back.
func TestLoadWaitsForAServer(t *testing.T) {
	handler := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	server := httptest.NewServer(handler)
	l := testLoad(t, loadOptions{URLs: []string{server.URL}, Connections: 2, Count: 10})
	address := server.Listener.Addr().String()
	server.Close()
	ran := make(chan error, 1)
	go func() { ran <- l.run(t.Context()) }()
	<-time.After(2 * loadRedial)
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	server = httptest.NewUnstartedServer(handler)
	server.Listener = listener
	server.Start()
	defer server.Close()
	if err := <-ran; err != nil {
		t.Fatal(err)
	}
	if w := l.written(); w.Acknowledged != 8 || w.NoAnswer != 2 || w.Lost != 2 {
		t.Errorf("got %+v", w)
	}
}

func TestReadAnswer(t *testing.T) {
	ok := "HTTP/1.1 200 OK\r\nContent-Type: x\r\ncontent-length:  2\r\n\r\nok"
	for _, test := range []struct {
		text   string
		status int
		last   bool
		begin  string
		err    error
	}{
		{text: ok, status: 200},
		{text: strings.ReplaceAll(ok, "\r", ""), status: 200},
		{text: "HTTP/1.1 503 S\r\nRetry-After: 1\r\nConnection: Close\r\nContent-Length: 3\r\n\r\nwhy", status: 503, last: true, begin: "why"},
		{text: "HTTP/1.1 413 S\r\nContent-Length: 300\r\n\r\n" + strings.Repeat("x", 300), status: 413, begin: strings.Repeat("x", 200)},
		{text: "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", status: 200},
		{text: "", err: io.EOF},
		{text: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", err: io.ErrUnexpectedEOF},
		{text: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no", err: io.ErrUnexpectedEOF},
		{text: "HTTP/1.1 500 OK\r\nContent-Length: 2\r\n\r\n", err: io.ErrUnexpectedEOF},
		{text: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", err: errNotUnderstood},
		{text: "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", err: errNotUnderstood},
		{text: "HTTP/1.1 abc\r\n\r\n", err: errNotUnderstood},
		{text: "HTTP/2 200\r\n\r\n", err: errNotUnderstood},
		{text: strings.Repeat("x", 5000), err: bufio.ErrBufferFull},
	} {
		r := bufio.NewReaderSize(iotest.OneByteReader(strings.NewReader(test.text)), 1000)
		a, err := readAnswer(r)
		if a.status != test.status || a.last != test.last || string(a.begin) != test.begin || !errors.Is(err, test.err) {
			t.Errorf("%q: %+v, %v", test.text, a, err)
		}
		if rest, _ := io.ReadAll(r); err == nil && len(rest) > 0 {
			t.Errorf("%q: %q is left", test.text, rest)
		}
	}
}

// TestHistogram compares what a histogram tells with the times themselves.
func TestHistogram(t *testing.T) {
	for i := int64(1); i < 1_000_000; i++ {
		b := bucket(i)
		if end := bucketEnd(b); end < i || float64(end-i) > 0.01*float64(i) || bucketEnd(b-1) >= i {
			t.Fatalf("%d is in bucket %d, which ends at %d, the one before at %d", i, b, end, bucketEnd(b-1))
		}
	}
	var h histogram
	if h.count() != 0 || h.latencies() != (latencies{}) {
		t.Errorf("nothing was added: %d, %v", h.count(), h.latencies())
	}
	for i := 1000; i > 0; i-- {
		h.add(time.Duration(i) * time.Millisecond)
	}
	for permille, want := range map[int64]float64{500: 500, 900: 900, 990: 990, 999: 999, 1000: 1000} {
		if got := h.within(permille).Seconds() * 1000; got < want || got > 1.01*want {
			t.Errorf("%d of a thousand within %v ms, want %v", permille, got, want)
		}
	}
	var other histogram
	for _, d := range []time.Duration{-1, 0, 1, 100 * time.Hour} {
		other.add(d)
	}
	h.merge(&other)
	if h.count() != 1004 || h.within(1000) > 100*time.Hour || h.within(1000) < time.Hour || other.within(250) != 0 {
		t.Errorf("%d, at most %v", h.count(), h.within(1000))
	}
}

// TestReportLine gives a line a hundred times from 1 to 100 ms, backwards.
func TestReportLine(t *testing.T) {
	m := measured{name: "n", took: &histogram{}, rows: 7, matches: 250, errors: 2, first: errors.New("first")}
	for i := 100; i > 0; i-- {
		m.took.add(time.Duration(i) * time.Millisecond)
	}
	var out bytes.Buffer
	r := readReport{out: &out, json: true}
	if err := r.line(m); err != nil {
		t.Fatal(err)
	}
	const want = `{"name":"n","slow":false,"count":100,"p50_ms":50.175,"p90_ms":90.111,"p99_ms":99.327,"p999_ms":100,"max_ms":100,"rows":7,"mean_matches":2,"unsent":0,"errors":2}` + "\n"
	if out.String() != want {
		t.Errorf("got  %swant %s", out.String(), want)
	}
	if r.errors != 2 || r.first == nil {
		t.Errorf("it remembers %d errors, the first %v", r.errors, r.first)
	}
	out.Reset()
	if err := r.line(measured{name: "none", took: &histogram{}}); err != nil || out.Len() == 0 {
		t.Errorf("nothing measured: %v, %q", err, out.String())
	}
}
