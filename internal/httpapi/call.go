package httpapi

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"lyftr/internal/provider"
	"lyftr/internal/telemetry"
)

// call is one request on its way: the request, its answer, and the facts from
// which the log line and the metrics are made. It is the ResponseWriter that
// handlers see.
type call struct {
	http.ResponseWriter
	r      *http.Request
	id     string
	label  string // the route's template
	status int    // 0 until the header is written
	err    error
	waited bool // on purpose, so that its time says nothing

	webhook   bool   // a delivery
	source    string // its provider's
	messageID string
	dup       bool
	mismatch  bool
	result    telemetry.Result

	messages, statuses, ignored int // what a delivery holds

	reason string            // why it was refused
	size   int64             // of its body, as far as that is known
	hash   [sha256.Size]byte // of the body of one that was refused, if it was read

	delivery provider.Request
	steps    *steps      // nil if there are no spans
	brief    func() bool // for the delivery, made once for all requests

	line []byte // room for the log line
}

// WriteHeader implements http.ResponseWriter.
func (c *call) WriteHeader(status int) {
	if c.status == 0 {
		c.status = status
	}
	c.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (c *call) Write(p []byte) (int, error) {
	if c.status == 0 {
		c.status = http.StatusOK
	}
	return c.ResponseWriter.Write(p)
}

// WriteString implements io.StringWriter.
func (c *call) WriteString(s string) (int, error) {
	if c.status == 0 {
		c.status = http.StatusOK
	}
	return io.WriteString(c.ResponseWriter, s)
}

// Unwrap lets http.ResponseController reach the connection.
func (c *call) Unwrap() http.ResponseWriter { return c.ResponseWriter }

var (
	noStore = []string{"no-store"}
	noSniff = []string{"nosniff"}

	closeConnection = []string{"close"}
)

// ServeHTTP implements http.Handler: it answers the request, whatever happens,
// and then writes its log line and counts it.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	c := s.calls.Get().(*call)
	*c = call{ResponseWriter: w, r: r, id: requestID(r), label: unmatched, line: c.line[:0], brief: c.brief}
	h := w.Header()
	h["X-Request-Id"] = []string{c.id}
	h["X-Content-Type-Options"] = noSniff
	if len(r.TransferEncoding) > 0 {
		// net/http has dropped a Content-Length that stood beside the chunks.
		// Whoever sends both may have a proxy believe that something else
		// follows, so this request is the last on its connection (RFC 9112, 6.1).
		h["Connection"] = closeConnection
	}

	s.guard(c)
	s.answer(c)
	s.record(c, start)

	aborted := errors.Is(c.err, errAborted)
	c.ResponseWriter, c.r, c.err, c.delivery, c.steps = nil, nil, nil, provider.Request{}, nil
	s.calls.Put(c)
	if aborted {
		panic(http.ErrAbortHandler) // the connection cannot be used again
	}
}

// guard runs the handler and turns a panic into an error.
func (s *Server) guard(c *call) {
	defer func() {
		v := recover()
		if v == nil {
			return
		}
		s.Metrics.Panic()
		// The value may hold what a sender wrote; its type and the stack do not.
		kind := fmt.Sprintf("%T", v)
		if ok, skipped := s.errors.Allow("panic: "+c.label+": "+kind, time.Now()); ok {
			s.Logger.Error("panic in a handler", "request_id", c.id, "type", kind, "stack", string(debug.Stack()), "not_logged_before", skipped)
		}
		c.err = errPanic
		if c.status != 0 {
			c.err = fmt.Errorf("%w: %w", errAborted, errPanic)
		}
	}()
	s.dispatch(c)
}

// record writes the log line, the metrics and the spans.
func (s *Server) record(c *call, start time.Time) {
	now := time.Now()
	took := now.Sub(start)
	if c.waited {
		s.Metrics.WaitedRequest(c.label, c.status)
	} else {
		s.Metrics.Request(c.label, c.status, took)
	}
	if c.webhook {
		s.Metrics.Delivery(c.result)
		s.Metrics.Updates(c.source, c.messages, c.statuses, c.ignored)
		if c.mismatch {
			s.Metrics.Mismatch()
		}
	}
	s.remember(c, now)
	line := telemetry.RequestLine{
		Time:      now,
		RequestID: c.id,
		TraceID:   s.trace(c, start, now),
		Method:    c.r.Method,
		Path:      c.loggedPath(),
		Status:    c.status,
		Latency:   took,
		Webhook:   c.webhook,
		MessageID: c.messageID,
		Dup:       c.dup,
		Mismatch:  c.mismatch,
		Result:    c.result,
		Messages:  c.messages,
		Statuses:  c.statuses,
		Ignored:   c.ignored,
		Reason:    c.reason,
	}
	if line.Level() < s.Level {
		return
	}
	// The fault that ended a stream has no status of its own.
	if c.err != nil && (c.status >= 500 || c.waited && c.status < 400) {
		cause := c.err.Error()
		if ok, skipped := s.errors.Allow(cause, now); ok {
			line.Error, line.Skipped = cause, skipped
		}
	}
	c.line = line.Append(c.line)
	_, _ = s.Lines.Write(c.line) // a log that cannot be written must not stop the service
}

// loggedPath is the request's path. What could be a telephone number in it is left
// out: a + before many digits, and where no route says what stands there, many
// digits.
func (c *call) loggedPath() string {
	p := c.r.URL.Path
	if c.r.RequestURI == "*" {
		return "*"
	}
	const many = 6
	var b strings.Builder
	done := 0 // what stands before is in b, or left out
	for i := 0; i < len(p); {
		end := i
		for end < len(p) && p[end] >= '0' && p[end] <= '9' {
			end++
		}
		switch plus := i > 0 && p[i-1] == '+'; {
		case end == i:
			end++
		case end-i >= many && (plus || c.label == unmatched):
			b.WriteString(p[done:i] + "…")
			done = end
		}
		i = end
	}
	if done == 0 {
		return p
	}
	return b.String() + p[done:]
}

// requestID is the request's own X-Request-ID if it is harmless, else a new one.
func requestID(r *http.Request) string {
	if v := r.Header["X-Request-Id"]; len(v) == 1 && saneID(v[0]) {
		return v[0]
	}
	const digits = 16
	var b [digits]byte
	id := strconv.AppendUint(b[:0], rand.Uint64(), 16)
	return strings.Repeat("0", digits-len(id)) + string(id)
}

// saneID reports whether an id is 1 to 64 of A-Z a-z 0-9 . _ -
func saneID(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}
