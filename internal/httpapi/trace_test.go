package httpapi_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	collectorpb "go.opentelemetry.io/proto/slim/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/slim/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"lyftr/internal/message"
)

const (
	callersTrace = "4bf92f3577b34da6a3ce929d0e0e4736"
	callersSpan  = "00f067aa0ba902b7"
	sampled      = "00-" + callersTrace + "-" + callersSpan + "-01"
	unsampled    = "00-" + callersTrace + "-" + callersSpan + "-00"
)

// collector takes the spans of a service.
type collector struct {
	t      testing.TB
	mu     sync.Mutex
	bodies [][]byte
	spans  []*tracepb.Span
}

// collect starts a collector, and has the service that is started send it spans.
func collect(t testing.TB, sampler string) (*collector, func(*config)) {
	c := &collector{t: t}
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	return c, func(o *config) { o.spans, o.sampler = server.URL, sampler }
}

func (c *collector) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var request collectorpb.ExportTraceServiceRequest
	if err = errors.Join(err, proto.Unmarshal(body, &request)); err != nil {
		c.t.Errorf("not spans: %v", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bodies = append(c.bodies, body)
	for _, rs := range request.GetResourceSpans() {
		for _, ss := range rs.GetScopeSpans() {
			c.spans = append(c.spans, ss.GetSpans()...)
		}
	}
}

// trace returns the spans of one trace, which is that of a request's line: the
// request's own and its children by their begin.
func (c *collector) trace(l entry) (server *tracepb.Span, children []*tracepb.Span) {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.spans {
		switch {
		case fmt.Sprintf("%x", s.GetTraceId()) != l["trace_id"]:
		case s.GetKind() != tracepb.Span_SPAN_KIND_SERVER:
			children = append(children, s)
		case server != nil:
			c.t.Errorf("two requests have trace %v", l["trace_id"])
		default:
			server = s
		}
	}
	if server == nil {
		c.t.Fatalf("there is no span of %v", l["raw"])
	}
	slices.SortStableFunc(children, func(a, b *tracepb.Span) int { return int(a.GetStartTimeUnixNano()) - int(b.GetStartTimeUnixNano()) })
	end := server.GetStartTimeUnixNano()
	for _, s := range children {
		if !bytes.Equal(s.GetParentSpanId(), server.GetSpanId()) {
			c.t.Errorf("%s is not within %s", s.GetName(), server.GetName())
		}
		if s.GetStartTimeUnixNano() < end || s.GetEndTimeUnixNano() < s.GetStartTimeUnixNano() {
			c.t.Errorf("%s is not behind what was before it", s.GetName())
		}
		end = s.GetEndTimeUnixNano()
	}
	if server.GetEndTimeUnixNano() < end {
		c.t.Errorf("%s ends before its last step", server.GetName())
	}
	return server, children
}

// describe is a span and its children on one line; ! is a failure.
func describe(server *tracepb.Span, children []*tracepb.Span) string {
	var b strings.Builder
	for i, s := range append([]*tracepb.Span{server}, children...) {
		b.WriteString([]string{"", ": ", ", "}[min(i, 2)] + s.GetName())
		if s.GetStatus().GetCode() == tracepb.Status_STATUS_CODE_ERROR {
			b.WriteString("!")
		}
	}
	return b.String()
}

// attribute returns an attribute of a span as text.
func attribute(s *tracepb.Span, name string) string {
	for _, a := range s.GetAttributes() {
		if a.GetKey() != name {
			continue
		}
		if text := a.GetValue().GetStringValue(); text != "" {
			return text
		}
		return fmt.Sprint(a.GetValue().GetIntValue())
	}
	return ""
}

func TestSpans(t *testing.T) {
	t.Parallel()
	c, tracing := collect(t, "parentbased_always_on")
	s := start(t, tracing)
	created := s.post(hello, header("Traceparent", sampled))
	if created.line["trace_id"] != callersTrace {
		t.Errorf("the line has trace %v, want the caller's", created.line["trace_id"])
	}
	for name := range created.header {
		if strings.HasPrefix(name, "Trace") {
			t.Errorf("the answer has the header %s", name)
		}
	}
	all := map[string]entry{}
	for want, a := range map[string]answer{
		"POST /webhook: verify, parse, queue wait, commit": s.post(hello),
		"POST /webhook: verify":                            s.post(hello, header("X-Signature", "00")),
		"POST /webhook: verify, parse":                     s.post(`{"message_id":"m2","from":"` + sender + `"}`),
		"POST /webhook":                                    s.post(hello, header("Content-Encoding", "gzip")),
		"GET /messages":                                    s.get("/messages?q=Hello&from=%2B919876543210"),
		"GET /messages/{message_id}":                       s.get("/messages/+919876543210"),
		"HEAD /stats":                                      s.do(http.MethodHead, "/stats", nil),
		"GET":                                              s.get("/nothing/+919876543210"),
		"HTTP":                                             s.do("BREW", "/stats", nil),
	} {
		all[want] = a.line
	}
	for _, target := range []string{"/health/live", "/health/ready", "/metrics"} {
		s.get(target).line.has(t, "trace_id", absent)
		s.get(target, header("Traceparent", sampled)).line.has(t, "trace_id", callersTrace)
	}
	s.get("/stats", header("Traceparent", unsampled)).line.has(t, "trace_id", callersTrace)
	s.stop()

	span, children := c.trace(created.line)
	if got := fmt.Sprintf("%x", span.GetParentSpanId()); got != callersSpan {
		t.Errorf("the span of the request is within %s, want the caller's", got)
	}
	if got, want := describe(span, children), "POST /webhook: verify, parse, queue wait, commit"; got != want {
		t.Errorf("got %s, want %s", got, want)
	} else if children[2].GetEndTimeUnixNano() != children[3].GetStartTimeUnixNano() {
		t.Error("the wait for the commit does not end where the commit begins")
	}
	for name, want := range map[string]string{
		"http.request.method": "POST", "http.route": "/webhook", "http.response.status_code": "200", "lyftr.source": "native",
		"lyftr.result": "created", "lyftr.messages": "1", "lyftr.statuses": "0", "lyftr.message_id": "m1", "url.path": "",
	} {
		if got := attribute(span, name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	total := 1 + len(children)
	for want, line := range all {
		span, children := c.trace(line)
		total += 1 + len(children)
		if got := describe(span, children); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if len(span.GetParentSpanId()) != 0 {
			t.Errorf("%s has a parent", want)
		}
		if result, _ := line["result"].(string); attribute(span, "lyftr.result") != result {
			t.Errorf("%s has the result %s, want %v", want, attribute(span, "lyftr.result"), result)
		}
	}
	if total != len(c.spans) {
		t.Errorf("%d spans belong to requests, of %d", total, len(c.spans))
	}
	for _, body := range c.bodies {
		if found := regexp.MustCompile(`9876543210|4155550100|Hello|nothing|BREW`).Find(body); found != nil {
			t.Errorf("%s is in the spans", found)
		}
	}
}

// What fails is marked where it failed.
func TestSpansOfFaults(t *testing.T) {
	t.Parallel()
	c, tracing := collect(t, "always_on")
	f := &faulty{save: func(ctx context.Context, m []message.Message) ([]message.Outcome, error) {
		switch m[0].ID {
		case "panic":
			panic("out of order")
		case "disk":
			message.SaveTimesOf(ctx).Begin(time.Now())
			message.SaveTimesOf(ctx).End(time.Now())
		case "hangs":
			message.SaveTimesOf(ctx).Begin(time.Now())
			<-ctx.Done()
		}
		return nil, message.ErrUnavailable
	}}
	s := start(t, tracing, withFault(f), func(c *config) { c.saveTimeout = 50 * time.Millisecond })
	faults := []struct{ id, status, want string }{
		{"full", "503", "POST /webhook!: verify, parse, queue wait!"},
		{"panic", "500", "POST /webhook!: verify, parse, queue wait!"},
		{"disk", "503", "POST /webhook!: verify, parse, queue wait, commit!"},
		{"hangs", "503", "POST /webhook!: verify, parse, queue wait, commit!"},
	}
	lines := map[string]entry{}
	for _, tt := range faults {
		lines[tt.id] = s.post(msg(tt.id)).line
	}
	s.stop()
	for _, tt := range faults {
		span, children := c.trace(lines[tt.id])
		if got := describe(span, children); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.id, got, tt.want)
		}
		if got := attribute(span, "error.type"); got != tt.status {
			t.Errorf("%s: error.type is %q, want %s", tt.id, got, tt.status)
		}
	}
}

// Without a collector the line still says in which trace of others it stands, and
// only if that is certain. What is not sampled has an id and no spans.
func TestTraceOfTheCaller(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.post(hello).line.has(t, "trace_id", absent)
	for _, parent := range []string{sampled, unsampled} {
		s.post(hello, header("Traceparent", parent)).line.has(t, "trace_id", callersTrace)
	}
	for _, bad := range [][]string{{""}, {sampled, sampled}, {"01" + sampled[2:]}, {strings.ToUpper(sampled)}, {sampled + "-x"}, {`","level":"ERROR`}} {
		s.post(hello, header("Traceparent", bad...)).line.has(t, "trace_id", absent)
	}

	c, tracing := collect(t, "always_off")
	s = start(t, tracing)
	s.post(hello, header("Traceparent", sampled)).line.has(t, "trace_id", callersTrace)
	if id, _ := s.post(hello).line["trace_id"].(string); len(id) != len(callersTrace) {
		t.Errorf("the trace of a request without spans is %q", id)
	}
	s.stop()
	if len(c.spans) != 0 {
		t.Errorf("%d spans though none is wanted", len(c.spans))
	}
}
