package telemetry_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	collectorpb "go.opentelemetry.io/proto/slim/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/slim/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"lyftr/internal/telemetry"
)

const (
	traceID     = "4bf92f3577b34da6a3ce929d0e0e4736"
	traceParent = "00-" + traceID + "-00f067aa0ba902b7-01"
)

// collector takes spans as a real one does. It answers by reply, if that is set.
type collector struct {
	*httptest.Server
	reply func(w http.ResponseWriter, post int)

	mu       sync.Mutex
	posts    int
	header   http.Header
	resource map[string]string
	spans    []*tracepb.Span
}

func newCollector(t *testing.T, reply func(w http.ResponseWriter, post int)) *collector {
	c := &collector{reply: reply, resource: map[string]string{}}
	c.Server = httptest.NewServer(c)
	t.Cleanup(c.Close)
	return c
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.posts++
	c.header = r.Header
	taken := httptest.NewRecorder()
	if c.reply != nil {
		c.reply(taken, c.posts)
	}
	var request collectorpb.ExportTraceServiceRequest
	switch {
	case err != nil || r.Method != http.MethodPost || r.URL.Path != "/v1/traces" || r.Header.Get("Content-Type") != "application/x-protobuf" || proto.Unmarshal(body, &request) != nil:
		taken.Code = http.StatusBadRequest
	case taken.Code == http.StatusOK:
		for _, rs := range request.GetResourceSpans() {
			for _, a := range rs.GetResource().GetAttributes() {
				c.resource[a.GetKey()] = a.GetValue().GetStringValue()
			}
			for _, ss := range rs.GetScopeSpans() {
				c.spans = append(c.spans, ss.GetSpans()...)
			}
		}
	}
	maps.Copy(w.Header(), taken.Header())
	w.WriteHeader(taken.Code)
	_, _ = w.Write(taken.Body.Bytes())
}

// names of the spans that came, sorted.
func (c *collector) names() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	names := make([]string, len(c.spans))
	for i, s := range c.spans {
		names[i] = s.GetName()
	}
	slices.Sort(names)
	return names
}

// tracing is one that posts to an address, and what it says.
type tracing struct {
	*telemetry.Tracing
	metrics *telemetry.Metrics
	log     *bytes.Buffer
}

func newTracing(t *testing.T, url string, changes ...func(*telemetry.TracingOptions)) tracing {
	t.Helper()
	var log bytes.Buffer
	sampler, err := telemetry.ParseSampler("parentbased_always_on", "")
	if err != nil {
		t.Fatal(err)
	}
	o := telemetry.TracingOptions{
		URL: url + "/v1/traces", Header: http.Header{"Authorization": {"Bearer of-the-collector"}}, Sampler: sampler,
		Service: "inbox", Version: "v1.2.3",
		Logger: telemetry.NewLogger(&log, slog.LevelInfo), Metrics: telemetry.NewMetrics(options()),
	}
	for _, change := range changes {
		change(&o)
	}
	return tracing{telemetry.NewTracing(o), o.Metrics, &log}
}

// dropped is the metric of that.
func (g *tracing) dropped(t *testing.T) float64 {
	t.Helper()
	n, there := scrape(t, g.metrics)["lyftr_trace_spans_dropped_total"]
	if !there {
		t.Error("lyftr_trace_spans_dropped_total is missing")
	}
	return n
}

// record records so many requests without steps.
func (g *tracing) record(requests int) {
	for range requests {
		g.Record(&telemetry.RequestSpan{Method: "GET", Route: "/stats", Status: 200, Begin: lineTime, End: lineTime})
	}
}

// stop shuts down, which must not take longer than patience.
func (g *tracing) stop(t *testing.T, patience time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	begin := time.Now()
	if err := g.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	if took := time.Since(begin); took > patience+2*time.Second {
		t.Errorf("the shutdown took %v, and had %v", took, patience)
	}
}

// long is far longer than anything here takes.
const long = 20 * time.Second

func TestRecord(t *testing.T) {
	t.Parallel()
	c := newCollector(t, nil)
	g := newTracing(t, c.URL)
	at := func(ms int) time.Time { return lineTime.Add(time.Duration(ms) * time.Millisecond) }
	ids := []string{
		g.Record(&telemetry.RequestSpan{
			Caller: telemetry.CallerOf(http.Header{"Traceparent": {traceParent}, "Tracestate": {"a=1", "b=2"}}),
			Method: "POST", Route: "/webhook", Status: 503, Begin: at(0), End: at(9),
			Webhook: true, Source: "native", MessageID: "m1", Result: telemetry.ResultUnavailable, Messages: 1,
			Steps: []telemetry.Step{{"verify", at(1), at(2), false}, {"commit", at(3), at(8), true}},
		}),
		g.Record(&telemetry.RequestSpan{Method: "BREW", Status: 404, Begin: at(0), End: at(1)}),
		g.Record(&telemetry.RequestSpan{Method: "GET", Status: 404, Begin: at(0), End: at(1), Failed: true}),
		g.Record(&telemetry.RequestSpan{
			Method: "POST", Route: "/webhook", Status: 200, Begin: at(0), End: at(1),
			Webhook: true, MessageID: "\xff" + strings.Repeat("é", 500), Result: telemetry.ResultCreated,
		}),
	}
	g.stop(t, long)

	type span struct {
		Trace, ID, Parent, State string
		Kind                     tracepb.Span_SpanKind
		Flags                    uint32
		Took, After              time.Duration // from the first moment
		Failed                   bool
		Attributes               map[string]string
	}
	// An id is told by the span that has it.
	nameOf := map[string]string{"00f067aa0ba902b7": "the caller"}
	for i, s := range c.spans {
		nameOf[fmt.Sprintf("%x", s.GetSpanId())] = fmt.Sprint(s.GetName(), " ", i)
	}
	got := map[string]span{}
	for i, s := range c.spans {
		attributes := map[string]string{}
		for _, a := range s.GetAttributes() {
			attributes[a.GetKey()] = a.GetValue().GetStringValue()
			if a.GetValue().GetIntValue() != 0 {
				attributes[a.GetKey()] = fmt.Sprint(a.GetValue().GetIntValue())
			}
		}
		id := fmt.Sprint(s.GetName(), " ", i)
		got[id] = span{
			fmt.Sprintf("%x", s.GetTraceId()), nameOf[fmt.Sprintf("%x", s.GetSpanId())], nameOf[fmt.Sprintf("%x", s.GetParentSpanId())], s.GetTraceState(),
			s.GetKind(), s.GetFlags(),
			time.Duration(s.GetEndTimeUnixNano() - s.GetStartTimeUnixNano()), time.Duration(s.GetStartTimeUnixNano() - uint64(lineTime.UnixNano())),
			s.GetStatus().GetCode() == tracepb.Status_STATUS_CODE_ERROR, attributes,
		}
	}
	const server, internal = tracepb.Span_SPAN_KIND_SERVER, tracepb.Span_SPAN_KIND_INTERNAL
	const ms = time.Millisecond
	want := map[string]span{
		"verify 0": {traceID, "verify 0", "POST /webhook 2", "a=1,b=2", internal, 0x101, ms, ms, false, map[string]string{}},
		"commit 1": {traceID, "commit 1", "POST /webhook 2", "a=1,b=2", internal, 0x101, 5 * ms, 3 * ms, true, map[string]string{}},
		"POST /webhook 2": {traceID, "POST /webhook 2", "the caller", "a=1,b=2", server, 0x301, 9 * ms, 0, true, map[string]string{
			"http.request.method": "POST", "http.route": "/webhook", "http.response.status_code": "503", "error.type": "503",
			"lyftr.source": "native", "lyftr.result": "unavailable", "lyftr.message_id": "m1", "lyftr.messages": "1", "lyftr.statuses": "", "lyftr.ignored": "",
		}},
		"HTTP 3": {ids[1], "HTTP 3", "", "", server, 0x101, ms, 0, false, map[string]string{"http.request.method": "_OTHER", "http.response.status_code": "404"}},
		"GET 4":  {ids[2], "GET 4", "", "", server, 0x101, ms, 0, true, map[string]string{"http.request.method": "GET", "http.response.status_code": "404"}},
	}
	hostile, ok := got["POST /webhook 5"]
	delete(got, "POST /webhook 5")
	if id := hostile.Attributes["lyftr.message_id"]; !ok || len(id) < 200 || len(id) > 600 {
		t.Errorf("a message_id that is long and not UTF-8 arrived with %d bytes: %q", len(id), id)
	}
	// A root has flags of its own, such as that its id is random.
	for name, s := range got {
		s.Flags &= 0x301
		got[name] = s
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if ids[0] != traceID || ids[1] == ids[2] || len(ids[1]) != 32 {
		t.Errorf("the ids of the traces are %v", ids)
	}
	delete(c.resource, "telemetry.sdk.version")
	if diff := cmp.Diff(map[string]string{
		"service.name": "inbox", "service.version": "v1.2.3", "telemetry.sdk.language": "go", "telemetry.sdk.name": "opentelemetry",
	}, c.resource); diff != "" {
		t.Error(diff)
	}
	if got := c.header.Get("Authorization"); got != "Bearer of-the-collector" {
		t.Errorf("the collector saw Authorization %q", got)
	}
	if n := g.dropped(t); n != 0 || g.log.Len() != 0 {
		t.Errorf("%v spans are dropped: %s", n, g.log)
	}
}

// A nil Tracing can be shut down, as one that was never on.
func TestNoTracing(t *testing.T) {
	var g *telemetry.Tracing
	if err := g.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestSamplers(t *testing.T) {
	t.Parallel()
	unsampled := strings.TrimSuffix(traceParent, "1") + "0"
	c := newCollector(t, nil)
	var want []string
	for _, s := range []struct {
		name, argument         string
		alone, sampled, unseen bool // whether there are spans: without a caller, and as the caller's flag says
	}{
		{"always_on", "", true, true, true},
		{"always_off", "", false, false, false},
		{"traceidratio", "", true, true, true},
		{"traceidratio", "0", false, false, false},
		{"parentbased_always_on", "0.5", true, true, false},
		{"parentbased_always_off", "", false, true, false},
		{"parentbased_traceidratio", "1", true, true, false},
		{"parentbased_traceidratio", "0", false, true, false},
	} {
		sampler, err := telemetry.ParseSampler(s.name, s.argument)
		if err != nil {
			t.Fatal(err)
		}
		g := newTracing(t, c.URL, func(o *telemetry.TracingOptions) { o.Sampler = sampler })
		for _, r := range []struct {
			kind, header string
			spans        bool
		}{{"alone", "", s.alone}, {"sampled", traceParent, s.sampled}, {"unsampled", unsampled, s.unseen}} {
			name := "/" + s.name + s.argument + "/" + r.kind
			id := g.Record(&telemetry.RequestSpan{Method: "GET", Route: name, Caller: telemetry.CallerOf(http.Header{"Traceparent": {r.header}})})
			if len(id) != 32 || r.header != "" && id != traceID {
				t.Errorf("%s: the id of the trace is %q", name, id)
			}
			if r.spans {
				want = append(want, "GET "+name)
			}
		}
		g.stop(t, long)
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, c.names()); diff != "" {
		t.Error(diff)
	}
	for _, bad := range [][2]string{
		{"", ""}, {"Always_on", ""}, {"jaeger_remote", ""}, {"parentbased_", ""}, {"parentbased_jaeger_remote", ""}, {"traceidratio", "-0.1"}, {"traceidratio", "1.1"},
		{"traceidratio", "NaN"}, {"parentbased_traceidratio", "x"}, {"parentbased_traceidratio", "50%"},
	} {
		if _, err := telemetry.ParseSampler(bad[0], bad[1]); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

func TestCallerOf(t *testing.T) {
	for _, good := range []string{traceParent, traceParent[:53] + "00", traceParent[:53] + "ff"} {
		if got := telemetry.CallerOf(http.Header{"Traceparent": {good}}).TraceID(); got != traceID {
			t.Errorf("%s: got %q", good, got)
		}
	}
	for _, bad := range []http.Header{
		nil,
		{"Traceparent": {}},
		{"Traceparent": {traceParent, traceParent}},
		{"Traceparent": {""}},
		{"Traceparent": {traceParent + "-"}},
		{"Traceparent": {traceParent + "-00"}},
		{"Traceparent": {" " + traceParent}},
		{"Traceparent": {traceParent[:54]}},
		{"Traceparent": {"01" + traceParent[2:]}},
		{"Traceparent": {"ff" + traceParent[2:]}},
		{"Traceparent": {strings.ToUpper(traceParent)}},
		{"Traceparent": {traceParent[:53] + "0A"}},
		{"Traceparent": {traceParent[:53] + "+1"}},
		{"Traceparent": {traceParent[:53] + "0x"}},
		{"Traceparent": {strings.ReplaceAll(traceParent, "-", "_")}},
		{"Traceparent": {"00-" + strings.Repeat("0", 32) + traceParent[35:]}},
		{"Traceparent": {traceParent[:36] + strings.Repeat("0", 16) + "-01"}},
		{"Traceparent": {traceParent[:3] + "g" + traceParent[4:]}},
		{"Traceparent": {traceParent[:36] + "\n" + traceParent[37:]}},
		{"Tracestate": {"a=1"}},
	} {
		if got := telemetry.CallerOf(bad).TraceID(); got != "" {
			t.Errorf("%v: got %q", bad, got)
		}
	}
}

// A tracestate that is not valid, or long, does not take the trace with it.
func TestTraceState(t *testing.T) {
	t.Parallel()
	c := newCollector(t, nil)
	g := newTracing(t, c.URL)
	for _, state := range []string{"", "a=1", "a==", "\x01", "a=" + strings.Repeat("x", 200) + ",b=" + strings.Repeat("y", 200), "a=" + strings.Repeat("x", 256) + ",b=" + strings.Repeat("y", 256)} {
		caller := telemetry.CallerOf(http.Header{"Traceparent": {traceParent}, "Tracestate": {state}})
		if caller.TraceID() != traceID {
			t.Errorf("with tracestate %q the trace is %q", state, caller.TraceID())
		}
		g.Record(&telemetry.RequestSpan{Method: "GET", Caller: caller})
	}
	g.stop(t, long)
	var got []int
	for _, s := range c.spans {
		got = append(got, len(s.GetTraceState()))
	}
	if want := []int{0, 3, 0, 0, 405, 0}; !slices.Equal(got, want) {
		t.Errorf("the lengths of the trace states are %v, want %v", got, want)
	}
}

// A collector that is away, refuses or answers nonsense costs the spans, which
// are counted, and one line of the log, which has no secret.
func TestCollectorFails(t *testing.T) {
	t.Parallel()
	for name, reply := range map[string]func(w http.ResponseWriter, post int){
		"away":  nil,
		"fault": func(w http.ResponseWriter, _ int) { w.WriteHeader(http.StatusInternalServerError) },
		"no":    func(w http.ResponseWriter, _ int) { w.WriteHeader(http.StatusUnauthorized) },
		"busy":  func(w http.ResponseWriter, _ int) { w.WriteHeader(http.StatusServiceUnavailable) },
		"redirect": func(w http.ResponseWriter, _ int) {
			w.Header().Set("Location", "/v1/traces")
			w.WriteHeader(http.StatusTemporaryRedirect)
		},
		"partial": func(w http.ResponseWriter, _ int) {
			b, err := proto.Marshal(&collectorpb.ExportTraceServiceResponse{
				PartialSuccess: &collectorpb.ExportTracePartialSuccess{RejectedSpans: 10, ErrorMessage: "+919876543210"},
			})
			if err != nil {
				panic(err)
			}
			_, _ = w.Write(b)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCollector(t, reply)
			if reply == nil {
				c.Close()
			}
			g := newTracing(t, c.URL)
			g.record(10)
			g.stop(t, long) // which tries nothing again
			if n := g.dropped(t); n != 10 {
				t.Errorf("%v spans are dropped, want 10", n)
			}
			if lines := strings.Count(g.log.String(), "\n"); lines != 1 || !strings.Contains(g.log.String(), "spans are lost") || c.posts > 1 {
				t.Errorf("%d lines of the log for %d posts: %s", lines, c.posts, g.log)
			}
			if strings.Contains(g.log.String(), "of-the-collector") || strings.Contains(g.log.String(), "919876543210") {
				t.Errorf("the log has a secret: %s", g.log)
			}
		})
	}
}

// What a collector refuses for now is posted once more, when it says.
func TestCollectorRecovers(t *testing.T) {
	t.Parallel()
	came := make(chan struct{})
	c := newCollector(t, func(w http.ResponseWriter, post int) {
		if post == 1 {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		close(came)
	})
	g := newTracing(t, c.URL)
	g.record(512) // a whole batch does not wait for others
	select {
	case <-came:
	case <-time.After(long):
		t.Error("the batch was not posted again")
	}
	g.stop(t, long)
	if got := len(c.names()); got != 512 || g.dropped(t) != 0 {
		t.Errorf("%d spans arrived and %v are dropped", got, g.dropped(t))
	}
}

// A collector that does not answer keeps nobody waiting, nor more than so many
// spans.
func TestCollectorHangs(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	c := newCollector(t, func(http.ResponseWriter, int) { <-release })
	defer close(release)
	g := newTracing(t, c.URL)
	const room, more = 8192, 100
	begin := time.Now()
	g.record(room + more)
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("%d requests took %v", room+more, took)
	}
	if n := g.dropped(t); n != more {
		t.Errorf("%v spans are dropped, want %d", n, more)
	}
	// Requests are dropped whole.
	g.Record(&telemetry.RequestSpan{Method: "GET", Steps: make([]telemetry.Step, 3)})
	if n := g.dropped(t); n != more+4 {
		t.Errorf("%v spans are dropped, want %d", n, more+4)
	}
	g.stop(t, 50*time.Millisecond)
	if n := g.dropped(t); n != room+more+4 {
		t.Errorf("%v spans are dropped after the end, want %d", n, room+more+4)
	}
	if lines := strings.Count(g.log.String(), "\n"); lines != 1 {
		t.Errorf("%d lines of the log: %s", lines, g.log)
	}
}

// What OpenTelemetry's own variables say is declared elsewhere, or not at all:
// a value of theirs that is wrong changes nothing.
func TestEnvironmentIsNotRead(t *testing.T) {
	for _, name := range []string{
		"OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG", "OTEL_SERVICE_NAME", "OTEL_BSP_MAX_QUEUE_SIZE", "OTEL_BSP_SCHEDULE_DELAY",
		"OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
	} {
		t.Setenv(name, "1")
	}
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=of-somebody-else")
	c := newCollector(t, nil)
	g := newTracing(t, c.URL)
	g.record(3)
	g.stop(t, long)
	if got := len(c.names()); got != 3 || len(c.spans[0].GetAttributes()) != 3 || c.posts != 1 {
		t.Errorf("%d spans came in %d posts: %v", got, c.posts, c.spans)
	}
	if _, there := c.resource["deployment.environment"]; there || c.resource["service.name"] != "inbox" {
		t.Errorf("the resource is %v", c.resource)
	}
}
