package httpapi_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"lyftr/internal/message"
)

const (
	token       = "zq-token-one"
	noTokenBody = `{"detail":"erasing messages needs an API token, and none is configured: set API_TOKEN"}`
)

func withToken(c *config) { c.tokens = []string{token} }

// remove sends a DELETE with the token.
func (s *service) remove(target string, changes ...func(*http.Request)) answer {
	s.t.Helper()
	return s.do(http.MethodDelete, target, nil, append([]func(*http.Request){header("Authorization", "Bearer "+token)}, changes...)...)
}

func (s *service) seedSender(from string, n int) {
	s.t.Helper()
	bodies := make([]string, n)
	for i := range bodies {
		bodies[i] = msg(fmt.Sprint(from, " ", i), "from", from)
	}
	s.seed(bodies...)
}

const erasedMetric = `lyftr_removed_messages_total{reason="erased"}`

func TestErase(t *testing.T) {
	t.Parallel()
	s := start(t, withToken)
	authorized := header("Authorization", "Bearer "+token)
	s.post(hello).is(t, 200, okBody)
	s.seedSender(sender, 2)
	s.seedSender("+91", 3)
	s.seedSender("+92", 4)

	a := s.remove("/messages?from=" + sender) // with the + as it is
	a.is(t, 200, `{"deleted":3}`)
	a.line.has(t, "level", "INFO", "method", "DELETE", "path", "/messages", "status", 200, "message_id", absent, "result", absent)
	for name, want := range map[string]string{"Content-Type": "application/json", "Cache-Control": "no-store"} {
		if got := a.header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if n := s.rows(); n != 7 {
		t.Errorf("%d rows are left, want 7", n)
	}
	s.get("/messages/m1", authorized).is(t, 404, noMessageBody)
	s.get("/messages?from="+sender, authorized).is(t, 200, `{"data":[],"total":0,"limit":50,"offset":0,"next_cursor":null}`)
	s.remove("/messages?from=%2B919876543210").is(t, 200, `{"deleted":0}`)

	// A repeat is a success and does not bring it back; with other content too.
	s.post(hello).line.has(t, "status", 200, "result", "duplicate", "dup", true, "mismatch", absent)
	s.post(strings.Replace(hello, "Hello", "other", 1)).line.has(t, "status", 200, "result", "duplicate", "dup", true, "mismatch", absent)
	if n := s.rows(); n != 7 {
		t.Errorf("%d rows after the repeats, want 7", n)
	}
	s.remove("/messages?from_msisdn=%2B91").is(t, 200, `{"deleted":3}`)
	if got := s.metric(erasedMetric); got != 6 {
		t.Errorf("%s is %v, want 6", erasedMetric, got)
	}
	if got := s.metric(`lyftr_stored_messages`); got != 4 {
		t.Errorf("lyftr_stored_messages is %v, want 4", got)
	}
	if got := s.metric(`http_requests_total{path="/messages",status="200"}`); got != 4 {
		t.Errorf("/messages was answered 200 %v times, want 4", got)
	}
}

// TestEraseIsNarrowedByNothing: what could be meant as a further filter, or
// cannot be understood, erases nothing.
func TestEraseIsNarrowedByNothing(t *testing.T) {
	t.Parallel()
	s := start(t, withToken)
	s.seedSender("+91", 3)
	for query, faults := range map[string][]string{
		"":                                    {"query.from:missing"},
		"from=":                               {"query.from:missing"},
		"from_msisdn=":                        {"query.from:missing"},
		"From=%2B91":                          {"query.from:missing", "query.From:extra_forbidden"},
		"from=%2B91&to=%2B2":                  {"query.to:extra_forbidden"},
		"from=%2B91&source=whatsapp":          {"query.source:extra_forbidden"},
		"from=%2B91&to=":                      {"query.to:extra_forbidden"},
		"from=%2B91&until=2020-01-01":         {"query.until:extra_forbidden"},
		"from=%2B91&limit=1&q=x&message_id=a": {"query.limit:extra_forbidden", "query.message_id:extra_forbidden", "query.q:extra_forbidden"},
		"from=%2B91&=":                        {"query.:extra_forbidden"},
		"from=%2B91&from=%2B91":               {"query.from:value_error"},
		"from=%2B91&from_msisdn=%2B91":        {"query.from_msisdn:value_error"},
		"from=%2B91&x":                        {"query.x:extra_forbidden"},
		"from=%2B91%zz":                       {"query.from:value_error"},
		"from=%2B91&%zz=":                     {"query.?:value_error"},
		"from=%2B91%00":                       {"query.from:value_error"},
		"from=%2B91%ff":                       {"query.from:value_error"},
		"to=%2B91":                            {"query.from:missing", "query.to:extra_forbidden"},
	} {
		t.Run(query, func(t *testing.T) {
			s.remove("/messages?"+query).isInvalid(t, faults...)
		})
	}
	a := s.do(http.MethodDelete, "/messages?from=%2B91", strings.NewReader(`{"until":"2020-01-01T00:00:00Z"}`), header("Authorization", "Bearer "+token))
	a.isInvalid(t, "body:extra_forbidden")
	s.do(http.MethodDelete, "/messages?from=%2B91", strings.NewReader(`x`), header("Authorization", "Bearer "+token), chunked).isInvalid(t, "body:extra_forbidden")
	many := s.remove("/messages?from=%2B91&" + manyParameters(500))
	if got := len(many.faults(t)); got != 100 {
		t.Errorf("%d faults, want the first 100", got)
	}
	if n := s.rows(); n != 3 {
		t.Errorf("%d rows are left, want all 3", n)
	}
	s.remove("/messages?from=+91").is(t, 200, `{"deleted":3}`)
}

func manyParameters(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "p%d&", i)
	}
	return b.String()
}

func TestEraseNeedsToken(t *testing.T) {
	t.Parallel()
	open := start(t)
	open.seedSender("+91", 3)
	for _, query := range []string{"?from=%2B91", "", "?x=%zz"} {
		for _, change := range []func(*http.Request){header("Authorization"), header("Authorization", "Bearer "), header("Authorization", "Bearer x")} {
			a := open.do(http.MethodDelete, "/messages"+query, nil, change)
			a.is(t, 403, noTokenBody)
			a.line.has(t, "level", "WARNING", "status", 403)
		}
	}
	if n := open.rows(); n != 3 {
		t.Errorf("%d rows are left, want all 3", n)
	}

	s := start(t, withToken)
	s.seedSender("+91", 3)
	for _, values := range [][]string{nil, {""}, {"Bearer x"}, {"Bearer " + token, "Bearer " + token}, {token}} {
		s.do(http.MethodDelete, "/messages?from=%2B91", nil, header("Authorization", values...)).is(t, 401, tokenBody)
	}
	if n := s.rows(); n != 3 {
		t.Errorf("%d rows are left, want all 3", n)
	}
	s.do(http.MethodDelete, "/messages/m1", nil, header("Authorization", "Bearer "+token)).is(t, 405, methodBody)
}

// TestEraseTakesItsTime: an erasure that takes longer than the server's limits
// for reading and writing is answered all the same, and the connection goes on.
func TestEraseTakesItsTime(t *testing.T) {
	t.Parallel()
	const limit = 50 * time.Millisecond
	s := start(t, withToken, func(c *config) { c.readTimeout, c.writeTimeout = limit, limit }, withFault(&faulty{
		erase: func(context.Context, string) (int64, error) {
			<-time.After(4 * limit)
			return 12, nil
		},
	}))
	c := s.dial()
	for range 2 {
		c.send("", "DELETE /messages?from=%2B91 HTTP/1.1", "Host: x", "Authorization: Bearer "+token)
		c.answer("DELETE").is(t, 200, `{"deleted":12}`)
	}
	if got := s.metric(erasedMetric); got != 24 {
		t.Errorf("%s is %v, want 24", erasedMetric, got)
	}
}

// TestEraseGoesOnWithoutItsClient: who asked goes away, and the erasure ends as
// if it had stayed.
func TestEraseGoesOnWithoutItsClient(t *testing.T) {
	t.Parallel()
	begun, gone := make(chan struct{}), make(chan struct{})
	f := &faulty{}
	f.erase = func(ctx context.Context, from string) (int64, error) {
		close(begun)
		<-gone
		if ctx.Err() != nil {
			t.Errorf("the client has gone and the erasure is to end: %v", ctx.Err())
		}
		return f.Store.Erase(ctx, from)
	}
	requestEnded := make(chan struct{})
	s := start(t, withToken, withFault(f), func(c *config) {
		c.around = func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				context.AfterFunc(r.Context(), func() { close(requestEnded) })
				next.ServeHTTP(w, r)
			})
		}
	})
	s.seedSender("+91", 500)
	c := s.dial()
	c.send("", "DELETE /messages?from=%2B91 HTTP/1.1", "Host: x", "Authorization: Bearer "+token, "X-Request-Id: gone")
	<-begun
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	<-requestEnded // the server has noticed
	close(gone)
	s.line("gone").has(t, "status", 200, "level", "INFO")
	if n := s.rows(); n != 0 {
		t.Errorf("%d rows are left", n)
	}
}

// TestEraseEndsWithTheServer: a shutdown does not wait for a long erasure, its
// client is told to ask again, and what was removed is counted.
func TestEraseEndsWithTheServer(t *testing.T) {
	t.Parallel()
	begun := make(chan struct{})
	s := start(t, withToken, withFault(&faulty{
		erase: func(ctx context.Context, _ string) (int64, error) {
			close(begun)
			<-ctx.Done()
			return 5, fmt.Errorf("erase messages: %w: %w", message.ErrUnavailable, ctx.Err())
		},
	}))
	go func() {
		<-begun
		s.api.End()
	}()
	a := s.remove("/messages?from=%2B91")
	a.is(t, 503, unavailableBody)
	if got := a.header.Get("Retry-After"); got != "1" {
		t.Errorf("Retry-After is %q", got)
	}
	a.line.has(t, "status", 503, "level", "ERROR")
	if got := s.metric(erasedMetric); got != 5 {
		t.Errorf("%s is %v, want 5", erasedMetric, got)
	}
}

func TestEraseFails(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err    error
		status int
		body   string
	}{
		{fmt.Errorf("%w: the disk is full", message.ErrUnavailable), 503, unavailableBody},
		{errors.New("no such table"), 500, internalBody},
	} {
		s := start(t, withToken, withFault(&faulty{erase: func(context.Context, string) (int64, error) { return 0, tt.err }}))
		s.remove("/messages?from=%2B91").is(t, tt.status, tt.body)
	}
}
