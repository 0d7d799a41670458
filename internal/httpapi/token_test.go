package httpapi_test

import (
	"net/http"
	"strings"
	"testing"
)

func TestAPIToken(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *config) { c.tokens = []string{"zq-token-one", "zq-token-two"} })
	s.seed(hello)
	protected := []string{
		"/messages", "/messages?limit=0", "/messages?limit=%zz", "/messages/", "/messages/m1", "/messages/none", "/messages//m1", "/messages/../messages", "/messages/./m1",
		"/messages/%2e%2e/stats", "/messages/m1?source=native", "/export", "/export?format=x", "/feed", "/feed?wait=60", "/feed?after=x", "/stats", "/stats?since=x", "/stats/timeline", "/stats/timeline?bucket=x", "/%6dessages", "http://evil.test/messages",
	}
	c := s.dial()
	send := func(method, target string, headers ...string) answer {
		t.Helper()
		c.send("", append([]string{method + " " + target + " HTTP/1.1", "Host: x"}, headers...)...)
		return c.answer(method)
	}
	refused := map[string][]string{
		"none":           nil,
		"empty":          {""},
		"scheme only":    {"Bearer"},
		"scheme, blank":  {"Bearer "},
		"wrong":          {"Bearer zq-token-three"},
		"prefix":         {"Bearer zq-token-on"},
		"longer":         {"Bearer zq-token-onee"},
		"other case":     {"Bearer ZQ-TOKEN-ONE"},
		"two blanks":     {"Bearer  zq-token-one"},
		"two tokens":     {"Bearer zq-token-one zq-token-two"},
		"a list":         {"Bearer zq-token-one,zq-token-two"},
		"the setting":    {"Bearer zq-token-one, zq-token-two"},
		"quoted":         {`Bearer "zq-token-one"`},
		"no scheme":      {"zq-token-one"},
		"Basic":          {"Basic enEtdG9rZW4tb25lOg=="},
		"Basic, plain":   {"Basic zq-token-one"},
		"Token":          {"Token zq-token-one"},
		"tab":            {"Bearer\tzq-token-one"},
		"right twice":    {"Bearer zq-token-one", "Bearer zq-token-one"},
		"right and none": {"Bearer zq-token-one", ""},
		"wrong, right":   {"Bearer x", "Bearer zq-token-one"},
	}
	n := 0
	for name, values := range refused {
		var headers []string
		for _, v := range values {
			headers = append(headers, "Authorization: "+v)
		}
		for _, target := range protected {
			for _, method := range []string{"GET", "HEAD"} {
				a := send(method, target, headers...)
				n++
				// The same answer for what is there, what is not, and what is wrong.
				if a.status != 401 || a.body != tokenBody && method == "GET" {
					t.Errorf("%s %s, %s: got %d %s", method, target, name, a.status, a.body)
				}
				if got := a.header.Get("WWW-Authenticate"); !strings.HasPrefix(got, "Bearer") {
					t.Errorf("%s %s, %s: WWW-Authenticate is %q", method, target, name, got)
				}
				if got := a.header.Get("Content-Type"); got != "application/json" {
					t.Errorf("%s %s, %s: Content-Type is %q", method, target, name, got)
				}
				a.line.has(t, "level", "WARNING", "status", 401, "message_id", absent, "result", absent)
			}
		}
	}
	if got := s.scrape(); got[`http_requests_total{path="/messages",status="401"}`]+got[`http_requests_total{path="/messages/{message_id}",status="401"}`]+
		got[`http_requests_total{path="/stats",status="401"}`]+got[`http_requests_total{path="/stats/timeline",status="401"}`]+
		got[`http_requests_total{path="/feed",status="401"}`]+got[`http_requests_total{path="/export",status="401"}`] != float64(n) {
		t.Errorf("401 is counted for other routes, or not %d times", n)
	}
	for _, query := range []string{"access_token=zq-token-one", "token=zq-token-one", "api_token=zq-token-one"} {
		if a := send("GET", "/messages?"+query); a.status != 401 {
			t.Errorf("?%s: got %d", query, a.status)
		}
	}

	for _, right := range []string{"Bearer zq-token-one", "Bearer zq-token-two", "bearer zq-token-one", "BEARER zq-token-two"} {
		for target, status := range map[string]int{
			"/messages": 200, "/messages?limit=0": 422, "/messages/m1": 200, "/messages/none": 404, "/messages//m1": 404, "/feed": 200, "/feed?after=x": 422, "/stats": 200, "/stats/timeline": 200,
		} {
			if a := send("GET", target, "Authorization: "+right); a.status != status {
				t.Errorf("%s with %q: got %d, want %d", target, right, a.status, status)
			}
		}
	}

	// What shows no message stays open, with and without a token.
	for _, change := range []func(*http.Request){func(*http.Request) {}, header("Authorization", "Bearer wrong"), header("Authorization", "Bearer zq-token-one")} {
		s.post(hello, change).is(t, 200, okBody)
		s.get("/health/live", change).is(t, 200, okBody)
		s.get("/health/ready", change).is(t, 200, `{"status":"ready"}`)
		if a := s.get("/metrics", change); a.status != 200 || strings.Contains(a.body, "zq-token") {
			t.Errorf("metrics: got %d", a.status)
		}
		s.get("/nothing", change).is(t, 404, notFoundBody)
		// A token does not stand for a signature.
		s.post(hello, change, header("X-Signature")).is(t, 401, signatureBody)
	}
}

func TestWithoutAPIToken(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.seed(hello)
	for _, target := range []string{"/messages", "/messages/m1", "/feed", "/stats", "/stats/timeline"} {
		for _, change := range []func(*http.Request){func(*http.Request) {}, header("Authorization", "Bearer x"), header("Authorization", "a", "b")} {
			if a := s.get(target, change); a.status != 200 {
				t.Errorf("%s: got %d %s", target, a.status, a.body)
			}
		}
	}
}
