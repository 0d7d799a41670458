package httpapi_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"lyftr/internal/message"
)

// many returns messages whose export is longer than what the connection holds.
func many(n, textBytes int) []message.Message {
	text := strings.Repeat("x", textBytes)
	at := time.Date(2025, 1, 15, 10, 0, 0, 0, time.UTC)
	messages := make([]message.Message, n)
	for i := range messages {
		messages[i] = message.Message{
			Source: message.SourceNative, ID: fmt.Sprintf("m%06d", i), From: "+1", To: "+2",
			TS: at.Format(time.RFC3339), At: at, Text: &text, ReceivedAt: at,
		}
	}
	return messages
}

func TestExport(t *testing.T) {
	t.Parallel()
	s := start(t)
	for _, target := range []string{"/export", "/export?format=", "/export?format=ndjson"} {
		s.get(target).is(t, 200, "")
	}
	const header = "\"message_id\",\"from\",\"to\",\"ts\",\"text\",\"source\",\"received_at\",\"raw\"\r\n"
	s.get("/export?format=csv").is(t, 200, header)

	at := time.Date(2025, 1, 15, 10, 0, 2, 187e6, time.UTC)
	for i, m := range []string{
		msg("b", "text", "=1+1 \"é\"\r\n<&>"),
		msg("a", "ts", "2025-01-15T10:00:00.000Z", "text", absent),
		msg("c", "ts", "2025-01-15T09:00:00Z", "from", "+4930", "text", ""),
	} {
		decoded, err := message.Decode([]byte(m))
		if err != nil {
			t.Fatal(err)
		}
		decoded.ReceivedAt = at.Add(time.Duration(i) * time.Second)
		s.save(decoded)
	}
	const (
		jsonA = `{"message_id":"a","from":"+919876543210","to":"+14155550100","ts":"2025-01-15T10:00:00.000Z","text":null,"source":"native","received_at":"2025-01-15T10:00:03.187Z"}` + "\n"
		jsonB = `{"message_id":"b","from":"+919876543210","to":"+14155550100","ts":"2025-01-15T10:00:00Z","text":"=1+1 \"é\"\r\n<&>","source":"native","received_at":"2025-01-15T10:00:02.187Z"}` + "\n"
		jsonC = `{"message_id":"c","from":"+4930","to":"+14155550100","ts":"2025-01-15T09:00:00Z","text":"","source":"native","received_at":"2025-01-15T10:00:04.187Z"}` + "\n"
		csvA  = `"a","'+919876543210","'+14155550100","2025-01-15T10:00:00.000Z",,"native","2025-01-15T10:00:03.187Z",` + "\r\n"
		csvB  = `"b","'+919876543210","'+14155550100","2025-01-15T10:00:00Z","'=1+1 ""é""` + "\r\n" + `<&>","native","2025-01-15T10:00:02.187Z",` + "\r\n"
		csvC  = `"c","'+4930","'+14155550100","2025-01-15T09:00:00Z","","native","2025-01-15T10:00:04.187Z",` + "\r\n"
	)
	for target, want := range map[string]string{
		"/export":                               jsonC + jsonA + jsonB,
		"/export?order=desc":                    jsonB + jsonA + jsonC,
		"/export?from=+919876543210":            jsonA + jsonB,
		"/export?from_msisdn=%2B4930":           jsonC,
		"/export?to=+14155550100":               jsonC + jsonA + jsonB,
		"/export?to=+1":                         "",
		"/export?since=2025-01-15T10:00:00Z":    jsonA + jsonB,
		"/export?until=2025-01-15T11:00:00+01":  "",
		"/export?q=%C3%89":                      jsonB,
		"/export?limit=1&offset=2":              jsonC + jsonA + jsonB, // not its parameters
		"/export?format=csv":                    header + csvC + csvA + csvB,
		"/export?format=csv&order=desc&from=+4": header,
	} {
		a := s.get(target)
		if strings.HasSuffix(target, "+01") {
			a.isInvalid(t, "query.until:value_error")
			continue
		}
		a.is(t, 200, want)
		kind, end := "application/x-ndjson", "ndjson"
		if strings.Contains(target, "csv") {
			kind, end = "text/csv; charset=utf-8", "csv"
		}
		if got := a.header.Get("Content-Type"); got != kind {
			t.Errorf("%s: Content-Type is %q", target, got)
		}
		if got := a.header.Get("Content-Disposition"); !regexp.MustCompile(`^attachment; filename="lyftr-\d{8}T\d{6}Z\.` + end + `"$`).MatchString(got) {
			t.Errorf("%s: Content-Disposition is %q", target, got)
		}
	}
	s.get("/export?format=xml&order=up&since=x").isInvalid(t, "query.since:value_error", "query.order:enum", "query.format:enum")
	s.get("/export?q=%zz").isInvalid(t, "query.q:value_error")
	s.never = append(s.never, "é")
}

// TestExportIsWhole: what is longer than a page and a piece arrives whole, while
// messages arrive.
func TestExportIsWhole(t *testing.T) {
	t.Parallel()
	s := start(t)
	all := many(2500, 100)
	s.save(all...)
	arriving := make(chan struct{})
	go func() {
		defer close(arriving)
		for i := range 100 {
			s.post(msg(fmt.Sprintf("new %d", i)))
		}
	}()
	body := s.get("/export").body
	<-arriving
	at := 0
	for _, m := range all {
		i := strings.Index(body[at:], `{"message_id":"`+m.ID+`"`)
		if i < 0 {
			t.Fatalf("%s is missing, or out of order", m.ID)
		}
		at += i
	}
	if n := strings.Count(body, `{"message_id":"m0`); n != len(all) {
		t.Errorf("%d messages, want %d once each", n, len(all))
	}
}

// TestExportOldHTTP: an answer that ends with its connection can be cut off
// without anybody noticing.
func TestExportOldHTTP(t *testing.T) {
	t.Parallel()
	s := start(t)
	c := s.dial()
	c.send("", "GET /export HTTP/1.0")
	c.answer("GET").is(t, 505, `{"detail":"an export needs HTTP/1.1: before, one that is cut off looks whole"}`)
}

// TestExportIsCutOff: a fault of the store in the middle breaks the connection,
// and the log has the cause.
func TestExportIsCutOff(t *testing.T) {
	t.Parallel()
	cause := fmt.Errorf("%w: the disk is on fire", message.ErrUnavailable)
	f := &faulty{}
	s := start(t, withFault(f))
	f.walk = func(ctx context.Context, filter message.Filter, o message.Order, yield func(message.Message) error) error {
		n := 0
		return f.Store.Walk(ctx, filter, o, func(m message.Message) error {
			if n++; n == 1500 {
				return cause
			}
			return yield(m)
		})
	}
	s.save(many(2000, 100)...)
	for range 2 {
		id := s.newID()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/export", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Request-Id", id)
		resp, err := s.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("got %d and %v, want 200 and a cut connection", resp.StatusCode, err)
		}
		s.line(id).has(t, "status", 200, "error", absent)
	}
	s.stop()
	found := false
	for _, l := range s.journal.all() {
		if l["msg"] == "an answer was cut off" {
			found = true
			l.has(t, "level", "ERROR", "path", "/export", "error", "the answer was cut off: "+cause.Error())
		}
	}
	if !found {
		t.Error("the log does not say why")
	}
}

// TestExportOutlastsTimeouts: neither the time in which a request has to arrive
// nor that in which an answer has to be written ends an export that goes on.
func TestExportOutlastsTimeouts(t *testing.T) {
	t.Parallel()
	const limit = 300 * time.Millisecond
	f := &faulty{}
	s := start(t, func(c *config) { c.readTimeout, c.writeTimeout = limit, limit }, withFault(f))
	f.walk = func(ctx context.Context, filter message.Filter, o message.Order, yield func(message.Message) error) error {
		tick := time.NewTicker(limit / 2)
		defer tick.Stop()
		n := 0
		return f.Store.Walk(ctx, filter, o, func(m message.Message) error {
			if n++; n%500 == 0 {
				select {
				case <-tick.C:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			return yield(m)
		})
	}
	all := many(4000, 200)
	s.save(all...)
	begun := time.Now()
	body := s.get("/export").body
	if n := strings.Count(body, "\n"); n != len(all) {
		t.Errorf("%d lines, want %d", n, len(all))
	}
	if took := time.Since(begun); took < 3*limit {
		t.Errorf("it took %v: the test did not test", took)
	}
}

// TestExportStalledClient: a client that takes nothing is cut off, and gives its
// place back.
func TestExportStalledClient(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *config) { c.writeTimeout = 200 * time.Millisecond })
	s.save(many(8000, 4000)...)
	c := s.dial()
	c.send("", "GET /export HTTP/1.1", "Host: x", "X-Request-ID: stalled")
	s.line("stalled").has(t, "status", 200)
	if resp, err := http.ReadResponse(c.r, nil); err == nil {
		defer resp.Body.Close()
		if _, err := io.Copy(io.Discard, resp.Body); err == nil {
			t.Error("the answer looks whole")
		}
	}
	for range 5 {
		if a := s.get("/export?to=+1"); a.status != 200 {
			t.Errorf("afterwards: %d %s", a.status, a.body)
		}
	}
}

// TestExportsAtOneTime: so many run, a further one is told to come again; while
// one is stalled, no read transaction is open, so the log can be emptied.
func TestExportsAtOneTime(t *testing.T) {
	t.Parallel()
	s := start(t)
	const messages, most = 5000, 4
	s.save(many(messages, 4000)...)
	var stalled []*rawConn
	for range most {
		c := s.dial()
		c.send("", "GET /export HTTP/1.1", "Host: x")
		if _, err := c.r.Peek(1); err != nil { // the answer has begun
			t.Fatal(err)
		}
		stalled = append(stalled, c)
	}
	a := s.get("/export")
	a.is(t, 503, `{"detail":"too many exports at one time, try again later"}`)
	if a.header.Get("Retry-After") == "" || a.header.Get("Content-Disposition") != "" {
		t.Errorf("the header is %v", a.header)
	}
	s.do(http.MethodHead, "/export", nil).is(t, 200, "")
	base.checkFree(t, s.dsn)
	for _, c := range stalled {
		if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(c.r), nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if n := strings.Count(string(body), "\n"); err != nil || n != messages {
			t.Errorf("%d lines, %v", n, err)
		}
	}
	s.get("/export?to=+1").is(t, 200, "")
}

// TestExportEndsWithTheServer: an export does not hold up the end of the server,
// and is cut off visibly.
func TestExportEndsWithTheServer(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.save(many(8000, 4000)...)
	c := s.dial()
	c.send("", "GET /export HTTP/1.1", "Host: x")
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	s.api.End()
	if _, err := io.ReadAll(resp.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v, want a cut connection", err)
	}
	if a := s.get("/export"); a.status != 503 {
		t.Errorf("a new one: %d %s", a.status, a.body)
	}
	s.stop()
	found := false
	for _, l := range s.journal.all() {
		if l["msg"] == "an answer was cut off" {
			found = true
			l.has(t, "level", "WARNING", "error", "the answer was cut off: the server is stopping")
		}
	}
	if !found {
		t.Error("the log does not say why")
	}
}
