package httpapi_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"lyftr/internal/message"
	"lyftr/internal/signature"
)

func TestLogMembers(t *testing.T) {
	t.Parallel()
	s := start(t)
	plain := []string{"latency_ms", "level", "method", "path", "raw", "request_id", "status", "ts"}
	delivery := slices.Sorted(slices.Values(append([]string{"dup", "message_id", "result"}, plain...)))
	refused := slices.Sorted(slices.Values(append([]string{"reason"}, delivery...)))
	for _, tt := range []struct {
		a       answer
		members []string
	}{
		{s.post(hello), delivery},
		{s.post(hello), delivery},
		{s.post(hello, header("X-Signature")), refused},
		{s.post("{"), refused},
		{s.post(hello, header("Content-Encoding", "gzip")), refused},
		{s.post(strings.Repeat(" ", 2<<20)), refused},
		{s.get("/messages?q=x"), plain},
		{s.get("/messages?limit=0"), plain},
		{s.get("/messages/m1"), plain},
		{s.get("/messages/m2"), plain},
		{s.get("/stats"), plain},
		{s.get("/health/live"), plain},
		{s.get("/metrics"), plain},
		{s.get("/nothing"), plain},
		{s.get("/webhook"), plain},
		{s.do(http.MethodPut, "/messages", nil), plain},
	} {
		if got := slices.Sorted(maps.Keys(tt.a.line)); !slices.Equal(got, tt.members) {
			t.Errorf("%s has %q, want %q", tt.a.line["raw"], got, tt.members)
		}
	}
	s.post(msg("m1", "text", "other")).line.has(t, "mismatch", true, "dup", true, "result", "duplicate", "message_id", "m1")
	s.get("/messages/a%2Fb?q=secret&from=%2B1").line.has(t, "method", "GET", "path", "/messages/a/b", "status", 404)

	// The path alone: a query holds what is searched for.
	s.get("/stats?q=zqquery")
	s.never = append(s.never, "zqquery", "?")
}

func TestLogTimes(t *testing.T) {
	t.Parallel()
	const takes = 40 * time.Millisecond
	f := &faulty{}
	f.save = func(ctx context.Context, m []message.Message) ([]message.Outcome, error) {
		<-time.After(takes)
		return f.Store.Save(ctx, m, nil)
	}
	s := start(t, withFault(f))
	before := time.Now()
	line := s.post(hello).line
	took := time.Since(before)
	ts, err := time.Parse(time.RFC3339Nano, line["ts"].(string))
	if err != nil || ts.Before(before.Add(-time.Millisecond)) || ts.After(time.Now()) {
		t.Errorf("ts is %v %v at %v", ts, err, before)
	}
	if ms := line["latency_ms"].(float64); ms < float64(takes.Milliseconds()) || ms > float64(took)/float64(time.Millisecond) {
		t.Errorf("latency_ms is %v, the client waited %v", ms, took)
	}
	if got := s.metric("request_latency_ms_sum"); got < float64(takes.Milliseconds()) || got > float64(took)/float64(time.Millisecond) {
		t.Errorf("request_latency_ms_sum is %v, the client waited %v", got, took)
	}
	if got := s.metric(`request_latency_ms_bucket{le="25"}`); got != 0 {
		t.Errorf("a request of 40 ms is in the bucket of 25 ms")
	}
}

func TestLogLevel(t *testing.T) {
	t.Parallel()
	for level, want := range map[slog.Level][]string{
		slog.LevelDebug: {"INFO", "WARNING", "ERROR"},
		slog.LevelInfo:  {"INFO", "WARNING", "ERROR"},
		slog.LevelWarn:  {"WARNING", "ERROR"},
		slog.LevelError: {"ERROR"},
	} {
		s := start(t, func(c *config) { c.level = level }, withStore(func() error { return message.ErrUnavailable }))
		s.get("/health/live").is(t, 200, okBody)
		s.post(hello, header("X-Signature")).is(t, 401, signatureBody)
		s.post(hello).is(t, 503, unavailableBody)
		var got []string
		for _, l := range s.stop() {
			got = append(got, l["level"].(string))
		}
		if !slices.Equal(got, want) {
			t.Errorf("at %v the lines are %q, want %q", level, got, want)
		}
		if n := s.metric(`http_requests_total{path="/health/live",status="200"}`); n != 1 {
			t.Errorf("at %v a request without a line is counted %v times", level, n)
		}
	}
}

// Nothing of a message, a secret or a token is logged, whatever happens to the
// request. The values are such that they occur nowhere else.
func TestNothingSecretIsLogged(t *testing.T) {
	t.Parallel()
	const number, other = "998877665544332", "554433221100998"
	body := func(id string, changes ...any) string {
		return msg(id, append([]any{"from", "+" + number, "to", "+" + other, "text", "zqtext"}, changes...)...)
	}
	keys := func(c *config) {
		c.secret, c.previous = "zqsecret", "zqprevious"
		c.tokens = []string{"zqtoken"}
	}
	fail := map[string]error{
		"unavailable": fmt.Errorf("save messages: %w", message.ErrUnavailable),
		"broken":      errors.New("broken"),
	}
	services := []*service{start(t, keys)}
	for _, err := range fail {
		services = append(services, start(t, keys, withStore(func() error { return err })))
	}
	services = append(services, start(t, keys, withStore(func() error { panic("a panic with zqtext and +" + number) })),
		start(t, keys, withStore(func() error { panic(errors.New("zqtext")) })), start(t, keys, withStore(func() error {
			var m map[string]string
			m["zqtext"] = number
			return nil
		})))
	for _, s := range services {
		s.never = append(s.never, "zq", number, other)
		send := func(body string, changes ...func(*http.Request)) {
			t.Helper()
			signed := header("X-Signature", signature.SignHex([]byte("zqsecret"), []byte(body)))
			s.never = append(s.never, signature.SignHex([]byte("zqsecret"), []byte(body)))
			s.post(body, append([]func(*http.Request){signed, header("Authorization", "Bearer zqtoken"), header("Cookie", "zq=zq"),
				header("User-Agent", "zqagent +"+number), header("Referer", "zq"), header("X-Forwarded-For", "zq")}, changes...)...)
		}
		for _, change := range []func(*http.Request){
			func(*http.Request) {}, func(*http.Request) {}, header("X-Signature"), header("X-Signature", "zqsignature"), header("X-Signature", "zq", "zq"),
			header("Content-Encoding", "zq"), chunked, header("X-Request-ID", "zq +"+number), header("X-Request-ID", "zq", "zq"),
		} {
			send(body("m1"), change)
		}
		send(body("m1", "text", "zqother"))
		for _, bad := range []string{
			body("bad", "from", number), body("bad", "to", "+"+other+number), body("bad", "ts", "zq"), body("bad", "text", "zq\x00"), body("zq\x00"), body(""),
			body("bad", "message_id", []string{"zq"}), `{"zq+` + number + `":1,"zq+` + number + `":2}`, "zq +" + number, "\"zq", "{\"text\":\"zq\xff\"}",
			strings.Repeat("zq +"+number, 100_000),
		} {
			send(bad)
		}
		for _, authorization := range []string{"Bearer zqtoken", "Bearer zqwrong", "Basic zq", "zq"} {
			for _, target := range []string{
				"/messages?q=zqtext", "/messages?from=%2B" + number, "/messages?from=+" + number + "&limit=zq", "/messages?cursor=zq", "/messages?since=zq&until=+" + number,
				"/messages?order=zq&zq=%zz", "/messages?zq=1&zq=2&from=+" + number + "&from=+" + other, "/messages/+" + number, "/messages/%2B" + number + "/x",
				"/messages/a%2B" + number + "%2B" + other + "?source=zq", "/messages//+" + number, "/messages/m1?source=zq", "/stats?from=+" + number, "/stats?since=zq",
				"/stats/timeline?bucket=zq&to=+" + number, "/nothing/+" + number, "//+" + number, "/health/live?q=zq", "/metrics?zq",
			} {
				s.get(target, header("Authorization", authorization))
			}
			s.do(http.MethodPut, "/messages?q=zq", strings.NewReader("zq"), header("Authorization", authorization))
		}
		c := s.dial()
		c.send("{\"text\":\"zq", "POST /webhook HTTP/1.1", "Host: zq", "X-Request-ID: cut", "Content-Length: 100")
		_ = c.Close()
		s.line("cut").has(t, "status", 400)
		s.stop() // looks for it all
	}
}

// unsafe are characters that must not reach a terminal or an editor by way of
// the log: control characters, and those that turn the direction of text.
var unsafe = regexp.MustCompile(`[\x00-\x1f\x7f-\x{9f}\x{61c}\x{200e}\x{200f}\x{2028}-\x{202e}\x{2066}-\x{2069}]`)

func TestHostilePaths(t *testing.T) {
	t.Parallel()
	s := start(t)
	c := s.dial()
	hostile := []string{
		"\n", "\r\n", `{"level":"ERROR"}`, "\n{\"ts\":\"2025-01-15T10:00:00.000Z\",\"level\":\"ERROR\",\"msg\":\"forged\"}\n", "\"", `\`, `\"`, `\u0041`, "\x00", "\x1b[31mred\x1b[0m",
		"\x1b]0;title\x07", "\b\b\b", "\x7f", "\u0085", "\u009b31m", "\u2028", "\u2029", "\u202egnp.exe", "\u2066a\u2069", "\u200f", "\u061c", "\ufeff", "\xff\xfe", "\xed\xa0\x80", "\xc0\xaf",
		"é😀", "<script>&", "\t", "%", "${jndi:ldap://x}", "%s%n", "'", ",", ";",
	}
	paths := []string{}
	for _, h := range hostile {
		paths = append(paths, "/x"+h+"y", "/messages/x"+h+"y", "//x"+h+"y")
	}
	for _, part := range []string{"a", "\x01", "é", "😀", "\xff", "\"", "/", "\u202e"} {
		paths = append(paths, "/x"+strings.Repeat(part, 5000/len(part)), "/messages/"+strings.Repeat(part, 5000/len(part)))
	}
	for _, path := range paths {
		c.send("", "GET "+(&url.URL{Path: path}).EscapedPath()+" HTTP/1.1", "Host: x")
		a := c.answer("GET")
		a.line.has(t, "level", "WARNING", "status", 404)
		raw := a.line["raw"].(string)
		if found := unsafe.FindString(raw); found != "" {
			t.Errorf("the line of path %.40q holds %q as it is: %.200s", path, found, raw)
		}
		if len(path) < 200 && utf8.ValidString(path) {
			a.line.has(t, "path", path)
		}
		if len(raw) > 4<<10 {
			t.Errorf("a path of %d bytes makes a line of %d", len(path), len(raw))
		}
		if strings.Contains(a.body, "forged") || strings.Contains(a.body, "script") {
			t.Errorf("the path is in the answer: %s", a.body)
		}
	}
	// As it is on the wire, where net/http lets it pass.
	for _, path := range []string{"/\xff\xfe", "/\u202ex", "/\u009b31m", "/\"x", "/<x>", "/a\\b"} {
		c.send("", "GET "+path+" HTTP/1.1", "Host: x")
		if found := unsafe.FindString(c.answer("GET").line["raw"].(string)); found != "" {
			t.Errorf("the line of raw path %q holds %q as it is", path, found)
		}
	}
	// The same of an id, which may hold anything but control characters, and of a method.
	for _, id := range []string{"x\u202ey", "x\u2066y", "x\u200ey", "x\u2028y", "\"x\\", strings.Repeat("😀", 255)} {
		l := s.post(msg(id)).line
		if found := unsafe.FindString(l["raw"].(string)); found != "" {
			t.Errorf("the line of message %q holds %q as it is", id, found)
		}
		if len(id) < 200 {
			l.has(t, "message_id", id)
		}
	}
	c.send("", strings.Repeat("M", 5000)+" / HTTP/1.1", "Host: x")
	if raw := c.answer("M").line["raw"].(string); len(raw) > 4<<10 {
		t.Errorf("a long method makes a line of %d bytes", len(raw))
	}
}

func TestPanic(t *testing.T) {
	t.Parallel()
	s := start(t, withStore(func() error { panic("out of order") }))
	a := s.post(hello)
	a.is(t, 500, internalBody)
	a.line.has(t, "level", "ERROR", "status", 500, "message_id", "m1", "dup", false, "result", "error")
	for _, target := range []string{"/messages", "/messages/m1", "/stats", "/export", "/stats/timeline", "/health/ready"} {
		a := s.get(target)
		a.is(t, 500, internalBody)
		a.line.has(t, "level", "ERROR", "status", 500, "message_id", absent)
		if got := a.header.Get("Content-Type"); got != "application/json" {
			t.Errorf("%s: Content-Type is %q", target, got)
		}
	}
	// The connection goes on, and so does the server.
	c := s.dial()
	for range 3 {
		c.send("", "GET /stats HTTP/1.1", "Host: x")
		c.answer("GET").is(t, 500, internalBody)
		c.send("", "GET /health/live HTTP/1.1", "Host: x")
		c.answer("GET").is(t, 200, okBody)
	}
	if got := s.metric("lyftr_panics_total"); got != 10 {
		t.Errorf("lyftr_panics_total is %v, want 10", got)
	}
	if got := s.metric(`webhook_requests_total{result="error"}`); got != 1 {
		t.Errorf("error is %v, want 1", got)
	}
	s.stop()
	stack := false
	for _, l := range s.journal.all() {
		trace, _ := l["stack"].(string)
		stack = stack || strings.Contains(trace, "withStore") || strings.Contains(trace, "log_test.go")
	}
	if !stack {
		t.Error("no line says where the panic was")
	}
}

// tearing is an answer that fails in its middle.
type tearing struct{ http.ResponseWriter }

func (t tearing) Write(p []byte) (int, error) {
	_, _ = t.ResponseWriter.Write(p[:len(p)/2])
	_ = http.NewResponseController(t.ResponseWriter).Flush()
	panic("torn")
}

// A panic after the answer has begun cuts the connection: there is no second
// answer behind half of the first.
func TestPanicWithinAnAnswer(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *config) {
		c.around = func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Query().Has("torn") {
					w = tearing{w}
				}
				next.ServeHTTP(w, r)
			})
		}
	})
	c := s.dial()
	// The metrics come in chunks, so that only a cut shows that there is more.
	c.send("", "GET /metrics?torn HTTP/1.1", "Host: x", "X-Request-ID: torn")
	s.line("torn")
	if resp, err := http.ReadResponse(c.r, nil); err == nil {
		defer resp.Body.Close()
		if _, err := io.ReadAll(resp.Body); err == nil {
			t.Errorf("the answer looks whole: %v", resp)
		}
	}
	s.get("/stats").is(t, 200, emptyStats)
	if got := s.metric("lyftr_panics_total"); got != 1 {
		t.Errorf("lyftr_panics_total is %v, want 1", got)
	}
}

// A fault that lasts is told about once a second, every request keeps its line.
func TestRepeatedErrors(t *testing.T) {
	t.Parallel()
	const requests = 300
	for name, fail := range map[string]func() error{
		"unavailable": func() error { return fmt.Errorf("commit: %w: the disk is full", message.ErrUnavailable) },
		"broken":      func() error { return errors.New("no such table") },
		"panic":       func() error { panic("out of order") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			begin := time.Now()
			s := start(t, withStore(fail))
			for range requests {
				s.get("/stats")
			}
			lines := s.stop()
			if len(lines) != requests {
				t.Errorf("%d lines of %d requests", len(lines), requests)
			}
			causes, other := 0, 0
			var given, held float64
			for _, l := range lines {
				l.has(t, "level", "ERROR")
				if l["error"] != nil {
					causes++
					n, _ := l["not_given_before"].(float64)
					held += n
				}
			}
			for _, l := range s.journal.all() {
				if !l.isRequest() && l["level"] == "ERROR" {
					other++
				}
			}
			given = float64(causes)
			most := 2 + int(time.Since(begin)/time.Second)
			if causes < 1 || causes > most {
				t.Errorf("the cause was given %d times, want 1 to %d", causes, most)
			}
			if given+held > requests {
				t.Errorf("given %v times and held back %v times of %d", given, held, requests)
			}
			if other > most {
				t.Errorf("%d further lines of the same fault, want at most %d", other, most)
			}
		})
	}
}

// A client that goes away while its question is answered leaves one line, and
// is no fault of the server's.
func TestClientGoesAwayDuringRead(t *testing.T) {
	t.Parallel()
	f := &faulty{}
	f.list = func(ctx context.Context, q message.Query) (message.Page, error) {
		select {
		case <-ctx.Done():
			return f.Store.List(ctx, q) // the real store's answer to a cancelled question
		case <-time.After(patience):
			return message.Page{}, nil
		}
	}
	s := start(t, withFault(f))
	const clients = 5
	for i := range clients {
		c := s.dial()
		c.send("", "GET /messages HTTP/1.1", "Host: x", "X-Request-ID: gone-"+strconv.Itoa(i))
		_ = c.Close()
		s.line("gone-"+strconv.Itoa(i)).has(t, "level", "WARNING", "status", 499)
	}
	if got := s.metric(`http_requests_total{path="/messages",status="499"}`); got != clients {
		t.Errorf("499 is %v, want %d", got, clients)
	}
	s.get("/health/live").is(t, 200, okBody)
}

// A mixture of everything at once leaves one line for each request, no two in
// one another; service.stop counts them.
func TestLinesAreWhole(t *testing.T) {
	t.Parallel()
	s := start(t)
	const clients, rounds = 8, 15
	var group sync.WaitGroup
	for i := range clients {
		group.Go(func() {
			for j := range rounds {
				id := fmt.Sprintf("%d-%d", i, j)
				s.post(msg(id)).is(t, 200, okBody)
				s.post(msg(id), header("X-Signature")).is(t, 401, signatureBody)
				s.post("{").isInvalid(t, "body.1:json_invalid")
				s.get("/messages/"+strings.Repeat("x%0a", 60)).is(t, 404, noMessageBody)
				s.do(http.MethodDelete, "/stats", nil).is(t, 405, methodBody)
			}
		})
	}
	group.Wait()
	ids := map[any]bool{}
	for _, l := range s.stop() {
		if ids[l["request_id"]] {
			t.Errorf("two lines for request %v", l["request_id"])
		}
		ids[l["request_id"]] = true
	}
	if len(ids) != clients*rounds*5 {
		t.Errorf("%d lines, want %d", len(ids), clients*rounds*5)
	}
}
