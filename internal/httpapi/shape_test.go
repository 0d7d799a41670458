package httpapi_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// A path that is not exactly a route's is 404 for every method, and never a
// redirect: a redirected POST loses its body.
func TestNoRoute(t *testing.T) {
	t.Parallel()
	s := start(t)
	targets := []string{
		"//webhook", "///webhook", "/webhook/", "/webhook//", "//webhook/", "/x/../webhook", "/./webhook", "/webhook/.", "/webhook/..", "/../webhook",
		"/webhook/../webhook", "//", "///", "/.", "/..", "/x//", "/WEBHOOK", "/Webhook", "/webhook%2F", "/%2Fwebhook", "/webhook%00", "/webhook%20", "/webhook;x=1",
		"/webhook.json", "/webhook/x", "//messages", "/x/../messages", "/x/../messages/m1", "//messages/m1", "/stats/", "//stats", "/stats//timeline", "/stats/timeline/",
		"/stats/x", "/health", "/health/", "/health/live/", "//health/live", "/health//live", "/health/x", "/metrics/", "//metrics", "/nothing", "/nothing/", "/{message_id}",
		"//evil.test/", "//evil.test/%2e%2e", "/\\evil.test", "/%5cevil.test", "//evil.test/../..", "http://evil.test//webhook", "http://evil.test/x/../webhook",
		"/\u2215webhook", "/webhook\u00ad", "*",
	}
	c := s.dial()
	for _, target := range targets {
		for _, method := range []string{"GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "BREW"} {
			c.send("", method+" "+target+" HTTP/1.1", "Host: x", "Content-Length: 0")
			a := c.answer(method)
			if a.status != 404 || a.body != notFoundBody && method != "HEAD" || a.header.Get("Location") != "" {
				t.Errorf("%s %s: got %d %s %s", method, target, a.status, a.header.Get("Location"), a.body)
			}
			if got := a.header.Get("Content-Type"); got != "application/json" {
				t.Errorf("%s %s: Content-Type is %q", method, target, got)
			}
			a.line.has(t, "level", "WARNING", "status", 404, "method", method, "message_id", absent, "dup", absent, "result", absent)
		}
	}
	if got, want := s.metric(`http_requests_total{path="unmatched",status="404"}`), 7*len(targets); got != float64(want) {
		t.Errorf("unmatched 404 is %v of %d", got, want)
	}
}

// A signed message to a path like the webhook's is not stored, and nobody is
// told that it was.
func TestPostToSimilarPath(t *testing.T) {
	t.Parallel()
	s := start(t)
	c := s.dial()
	for _, target := range []string{"//webhook", "/webhook/", "/x/../webhook", "/webhook/.", "//"} {
		c.send(hello, "POST "+target+" HTTP/1.1", "Host: x", "X-Signature: "+helloSignature, fmt.Sprintf("Content-Length: %d", len(hello)))
		if a := c.answer("POST"); a.status != 404 {
			t.Errorf("%s: got %d, Location %q", target, a.status, a.header.Get("Location"))
		}
	}
	if n := s.rows(); n != 0 {
		t.Errorf("there are %d rows", n)
	}
	// The same path, written otherwise, is the same path.
	c.send(hello, "POST /%77ebhook?x=1 HTTP/1.1", "Host: x", "X-Signature: "+helloSignature, fmt.Sprintf("Content-Length: %d", len(hello)))
	c.answer("POST").is(t, 200, okBody)
}

func TestMethodNotAllowed(t *testing.T) {
	t.Parallel()
	s := start(t)
	const read = "GET, HEAD"
	n := 0
	for target, allow := range map[string]string{
		"/webhook": "POST", "/messages": "GET, HEAD, DELETE", "/messages/m1": read, "/messages//m1": read, "/messages/../webhook": read, "/messages/": read,
		"/stats": read, "/stats/timeline": read, "/health/live": read, "/health/ready": read, "/metrics": read, "/export": read,
	} {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "BREW", "get", "post"} {
			if strings.Contains(allow, method) {
				continue
			}
			n++
			a := s.raw(method, target)
			if a.status != 405 || a.body != methodBody && method != "HEAD" {
				t.Errorf("%s %s: got %d %s", method, target, a.status, a.body)
			}
			if got := a.header.Get("Allow"); got != allow {
				t.Errorf("%s %s: Allow is %q, want %q", method, target, got, allow)
			}
			if got := a.header.Get("Content-Type"); got != "application/json" {
				t.Errorf("%s %s: Content-Type is %q", method, target, got)
			}
			a.line.has(t, "level", "WARNING", "status", 405, "method", method, "path", target)
		}
	}
	if got := s.metric(`http_requests_total{path="unmatched",status="405"}`); got != float64(n) {
		t.Errorf("unmatched 405 is %v of %d", got, n)
	}
}

func TestOddTargets(t *testing.T) {
	t.Parallel()
	s := start(t)
	a := s.raw("OPTIONS", "*")
	a.is(t, 404, notFoundBody)
	a.line.has(t, "path", "*", "status", 404)
	s.raw("CONNECT", "evil.test:443").is(t, 404, notFoundBody)
	s.raw("GET", "http://evil.test/health/live").is(t, 200, okBody)
	s.raw("GET", "http://evil.test").is(t, 404, notFoundBody)

	c := s.dial()
	c.send("", "GET /health/live HTTP/1.0")
	c.answer("GET").is(t, 200, okBody)
	c.isClosed()
}

func TestHead(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.seed(hello)
	for _, target := range []string{"/messages", "/messages?limit=0", "/messages/m1", "/messages/none", "/stats", "/stats/timeline", "/export", "/export?format=csv", "/export?format=x", "/health/live", "/health/ready", "/nothing"} {
		get, head := s.get(target), s.do(http.MethodHead, target, nil)
		if head.body != "" || head.status != get.status {
			t.Errorf("HEAD %s: got %d %q, GET gets %d", target, head.status, head.body, get.status)
		}
		for _, name := range []string{"Content-Type", "Content-Length", "Cache-Control", "X-Content-Type-Options"} {
			if got, want := head.header.Get(name), get.header.Get(name); got != want {
				t.Errorf("HEAD %s: %s is %q, of GET %q", target, name, got, want)
			}
		}
		head.line.has(t, "method", "HEAD", "status", get.status)
	}
	if a := s.do(http.MethodHead, "/metrics", nil); a.status != 200 || a.body != "" {
		t.Errorf("HEAD /metrics: got %d %q", a.status, a.body)
	}
}

func TestNoSniffing(t *testing.T) {
	t.Parallel()
	s := start(t)
	panics := start(t, withStore(func() error { panic("x") }))
	answers := []answer{
		s.post(hello), s.post(hello, header("X-Signature")), s.post("x"), s.post(hello, header("Content-Encoding", "gzip")),
		s.post(strings.Repeat(" ", 2<<20)), s.get("/messages"), s.get("/messages?limit=0"), s.get("/messages/m1"), s.get("/messages/x"), s.get("/stats"),
		s.get("/stats/timeline"), s.get("/health/live"), s.get("/health/ready"), s.get("/metrics"), s.get("/nothing"), s.get("/webhook"), s.raw("OPTIONS", "*"),
		panics.get("/messages"), panics.post(hello),
	}
	for _, a := range answers {
		if got := a.header["X-Content-Type-Options"]; len(got) != 1 || got[0] != "nosniff" {
			t.Errorf("%s %s (%d): X-Content-Type-Options is %q", a.line["method"], a.line["path"], a.status, got)
		}
		if a.header.Get("Content-Type") == "" {
			t.Errorf("%s %s (%d): no Content-Type", a.line["method"], a.line["path"], a.status)
		}
	}
}

func TestRequestID(t *testing.T) {
	t.Parallel()
	s := start(t)
	seen := map[string]bool{}
	exchange := func(headers ...string) (given string) {
		t.Helper()
		a := s.raw("GET", "/health/live", headers...)
		a.is(t, 200, okBody)
		given = a.header.Get("X-Request-Id")
		if len(a.header["X-Request-Id"]) != 1 || !idForm.MatchString(given) {
			t.Errorf("X-Request-ID is %q", a.header["X-Request-Id"])
		}
		a.line.has(t, "request_id", given)
		if seen[given] {
			t.Errorf("request id %q was given before", given)
		}
		seen[given] = true
		return given
	}
	for _, id := range []string{"a", "0", "test-1.2_3", "550e8400-e29b-41d4-a716-446655440000", "...", strings.Repeat("x", 64), "ABCxyz019._-"} {
		if got := exchange("X-Request-ID: " + id); got != id {
			t.Errorf("sent %q, got %q", id, got)
		}
	}
	if got := exchange("x-REQUEST-id: \t lower \t"); got != "lower" {
		t.Errorf("got %q", got)
	}
	for _, id := range []string{"", " ", "a b", strings.Repeat("x", 65), strings.Repeat("x", 5000), `a"b`, `{"level":"ERROR"}`, "a,b", "a/b", "a:b", "a=b", "a+b",
		"é", "😀", "\xff", "a\tb", "a\r\n b", "a\r\n\tb", "%0a", "<script>", "'", "\u202ea"} {
		if got := exchange("X-Request-ID: " + id); got == id || len(got) < 8 {
			t.Errorf("sent %q, got %q", id, got)
		}
	}
	for _, ids := range [][]string{{"one", "two"}, {"same", "same"}, {"", "one"}} {
		got := exchange("X-Request-ID: "+ids[0], "X-Request-ID: "+ids[1])
		if got == ids[0] || got == ids[1] {
			t.Errorf("sent %q, got %q", ids, got)
		}
	}
	exchange()
	exchange()
	s.never = append(s.never, "ERROR", "script")

	// A raw line break ends the header: net/http refuses what follows, or takes
	// it for a header of its own.
	c := s.dial()
	c.send("", "GET /health/live HTTP/1.1", "Host: x", "X-Request-ID: a\n{\"level\":\"ERROR\"}")
	if status := c.status("GET"); status != 400 {
		t.Errorf("got %d", status)
	}
}
