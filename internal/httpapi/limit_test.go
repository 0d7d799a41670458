package httpapi_test

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
)

const limitedBody = `{"detail":"too many failed attempts, try again later"}`

// limited lets a client fail three times, and by a proxy there are many clients.
func limited(c *config) {
	c.failureLimit = 3
	c.tokens = []string{token}
	c.proxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
}

func from(address string) func(*http.Request) { return header("X-Forwarded-For", address) }

func (a answer) isLimited(t testing.TB) {
	t.Helper()
	a.is(t, 429, limitedBody)
	if got := a.header.Get("Retry-After"); got != "20" && got != "19" {
		t.Errorf("Retry-After is %q, want about 20 seconds", got)
	}
}

func TestFailedSignatures(t *testing.T) {
	t.Parallel()
	s := start(t, limited)
	s.never = append(s.never, "198.51.100", "2001:db8")
	wrong := header("X-Signature", strings.Repeat("ab", 32))
	for range 3 {
		a := s.post(hello, wrong, from("198.51.100.1"))
		a.is(t, 401, signatureBody)
		if reason, _ := a.line["reason"].(string); !strings.Contains(reason, "WEBHOOK_SECRET") {
			t.Errorf("the reason is %q", reason)
		}
	}
	for range 2 {
		a := s.post(hello, wrong, from("198.51.100.1"))
		a.isLimited(t)
		a.line.has(t, "level", "WARNING", "status", 429, "result", "limited", "dup", false, "message_id", nil,
			"reason", "so many attempts from this address have failed that why this one does is not looked into")
	}
	// What is right is accepted all the same, and nobody else is limited.
	s.post(hello, from("198.51.100.1")).is(t, 200, okBody)
	s.post(hello, wrong, from("198.51.100.1")).isLimited(t)
	s.post(hello, wrong, from("198.51.100.2")).is(t, 401, signatureBody)
	s.post(hello, wrong).is(t, 401, signatureBody)
	if a := s.get("/messages", header("Authorization", "Bearer "+token), from("198.51.100.1")); a.status != 200 {
		t.Errorf("a token from there is answered %d", a.status)
	}
	s.get("/messages", header("Authorization", "Bearer x"), from("198.51.100.1")).is(t, 401, tokenBody)
	// Of IPv6 a /64 is one client.
	for _, address := range []string{"2001:db8:0:1::1", "2001:db8:0:1::2", "2001:db8:0:1:ffff::"} {
		s.post(hello, wrong, from(address)).is(t, 401, signatureBody)
	}
	s.post(hello, wrong, from("2001:db8:0:1::4")).isLimited(t)
	s.post(hello, wrong, from("2001:db8:0:2::4")).is(t, 401, signatureBody)
	a := s.post(`{"message_id":"m2","from":"12","to":"+1"}`)
	a.line.has(t, "status", 422, "reason", "from: must be + followed by 1 to 15 digits (E.164); ts: Field required")
	if got := s.metric(`webhook_requests_total{result="limited"}`); got != 4 {
		t.Errorf("limited is %v, want 4", got)
	}
	if got := s.metric(`http_requests_total{path="/webhook",status="429"}`); got != 4 {
		t.Errorf("429 is counted %v times, want 4", got)
	}
	times := 0
	for _, r := range into[struct{ Data []rejection }](t, s.get("/rejected", header("Authorization", "Bearer "+token))).Data {
		if r.Status == 429 && r.Result == "limited" && r.Source == "native" && r.Hash == nil {
			times += r.Times
		}
	}
	if times != 4 {
		t.Errorf("the refused deliveries have 429 %d times, want 4", times)
	}
}

func TestFailedTokens(t *testing.T) {
	t.Parallel()
	s := start(t, limited)
	bad, good := header("Authorization", "Bearer x"), header("Authorization", "Bearer "+token)
	here := from("198.51.100.1")
	session := s.signIn(token, here)
	forged := "x" + session[1:]
	s.get("/messages", bad, here).is(t, 401, tokenBody)
	s.get("/messages", cookie(forged), here).is(t, 401, tokenBody) // a guess as well
	if a := s.postForm("/sign-in", "token=x", here); a.status != 401 {
		t.Errorf("the form answers %d, want 401", a.status)
	}
	// Now nothing is compared any more.
	for _, change := range []func(*http.Request){bad, good, cookie(forged)} {
		a := s.get("/messages", change, here)
		a.isLimited(t)
		a.line.has(t, "level", "WARNING", "status", 429, "result", absent, "reason", absent)
	}
	for _, given := range []string{"x", token} {
		a := s.postForm("/sign-in", "token="+given, here)
		if a.status != 429 || a.header.Get("Retry-After") == "" || !strings.Contains(a.body, `role="alert"`) || a.header.Get("Set-Cookie") != "" {
			t.Errorf("the form answers %d %v %s", a.status, a.header, a.body)
		}
	}
	// A session goes on; what tries nothing is told what is missing; a delivery
	// and another address are not concerned.
	for range 5 {
		if a := s.get("/messages", cookie(session), here); a.status != 200 {
			t.Errorf("a session is answered %d %s", a.status, a.body)
		}
		s.get("/messages", here).is(t, 401, tokenBody)
		s.get("/messages", header("Authorization", "Basic eDp4"), here).is(t, 401, tokenBody)
	}
	s.post(hello, here).is(t, 200, okBody)
	s.post(hello, header("X-Signature"), here).is(t, 401, signatureBody)
	if a := s.get("/messages", good, from("198.51.100.2")); a.status != 200 {
		t.Errorf("another address is answered %d", a.status)
	}
}

// Whoever is not trusted cannot choose for whom he is counted.
func TestLimitWithoutProxy(t *testing.T) {
	t.Parallel()
	s := start(t, limited, func(c *config) { c.proxies = nil })
	for i, want := range []int{401, 401, 401, 429} {
		if a := s.get("/messages", header("Authorization", "Bearer x"), from("198.51.100."+string(rune('1'+i)))); a.status != want {
			t.Errorf("attempt %d is answered %d, want %d", i, a.status, want)
		}
	}
}
