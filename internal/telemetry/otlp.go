package telemetry

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	collectorpb "go.opentelemetry.io/proto/slim/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/slim/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/slim/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/slim/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// exporter posts spans to a collector as protobuf. It is OpenTelemetry's own
// exporter less gRPC, which that links and nobody here speaks. What it cannot
// send is dropped and counted.
type exporter struct {
	url      string
	header   http.Header
	client   *http.Client
	resource *resourcepb.Resource
	waiting  atomic.Int64  // spans that were reserved and are not sent yet
	closing  chan struct{} // closed when nothing is tried again
	aborted  context.Context
	abort    context.CancelFunc

	metrics  *Metrics
	log      *slog.Logger
	warnings *Limiter
}

const (
	// warnEvery is how often the log hears of lost spans.
	warnEvery = time.Minute
	// secondTry is how long the exporter waits before its second try, unless the
	// collector says.
	secondTry = time.Second
	// maxRetryAfter is a number of seconds that no post has.
	maxRetryAfter = 1000
	// maxReply is how much of a collector's answer is read, in bytes.
	maxReply = 64 << 10
)

func newExporter(o TracingOptions) *exporter {
	e := &exporter{
		url: o.URL, header: o.Header.Clone(), metrics: o.Metrics, log: o.Logger,
		client: &http.Client{
			Transport: &http.Transport{ForceAttemptHTTP2: true},
			// The headers may hold a secret, which is not for somebody else.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		resource: &resourcepb.Resource{Attributes: []*commonpb.KeyValue{
			keyValue(attribute.String("service.name", o.Service)),
			keyValue(attribute.String("service.version", o.Version)),
			keyValue(attribute.String("telemetry.sdk.name", "opentelemetry")),
			keyValue(attribute.String("telemetry.sdk.language", "go")),
			keyValue(attribute.String("telemetry.sdk.version", sdk.Version())),
		}},
		closing:  make(chan struct{}),
		warnings: NewLimiter(warnEvery),
	}
	if e.header == nil {
		e.header = http.Header{}
	}
	e.header.Set("Content-Type", "application/x-protobuf")
	e.header.Set("User-Agent", "lyftr/"+o.Version)
	e.aborted, e.abort = context.WithCancel(context.Background())
	return e
}

// reserve makes room for n spans that will be exported, or drops them.
func (e *exporter) reserve(n int) bool {
	if e.waiting.Add(int64(n)) <= maxWaiting {
		return true
	}
	e.waiting.Add(-int64(n))
	e.drop(n, errTooManySpans)
	return false
}

var errTooManySpans = fmt.Errorf("more than %d spans wait for the collector", maxWaiting)

// drop counts spans that are lost.
func (e *exporter) drop(n int, err error) {
	e.metrics.SpansDropped(n)
	e.warn(err)
}

// warn tells the log that spans are lost.
func (e *exporter) warn(err error) {
	// One key for all: a cause may hold a port, which is new each time.
	if ok, skipped := e.warnings.Allow("lost", time.Now()); ok {
		e.log.Warn("spans are lost", "error", err.Error(), "not_logged_before", skipped)
	}
}

// warnSDK tells the log what the SDK could not return.
func (e *exporter) warnSDK(err error) {
	if ok, skipped := e.warnings.Allow("sdk", time.Now()); ok {
		e.log.Warn("OpenTelemetry reports a fault", "error", err.Error(), "not_logged_before", skipped)
	}
}

// ExportSpans implements sdktrace.SpanExporter. The error is always nil: it is
// handled here.
func (e *exporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	defer e.waiting.Add(-int64(len(spans)))
	if err := e.aborted.Err(); err != nil {
		e.drop(len(spans), err)
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(e.aborted, cancel)
	defer stop()
	body, err := proto.Marshal(e.request(spans))
	if err == nil {
		err = e.send(ctx, body)
	}
	if err != nil {
		e.drop(len(spans), err)
	}
	return nil
}

// Shutdown implements sdktrace.SpanExporter.
func (e *exporter) Shutdown(context.Context) error {
	e.abort()
	e.client.CloseIdleConnections()
	return nil
}

// send posts a body, and once more if the first time was in vain for now.
func (e *exporter) send(ctx context.Context, body []byte) error {
	again, err := e.post(ctx, body)
	if err == nil || again <= 0 {
		return err
	}
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < again {
		return err
	}
	select {
	case <-time.After(again):
	case <-e.closing:
		return err
	case <-ctx.Done():
		return err
	}
	_, err = e.post(ctx, body)
	return err
}

// post posts a body. With an error it returns when to try again, or 0 for never.
func (e *exporter) post(ctx context.Context, body []byte) (again time.Duration, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	r.Header = e.header
	answer, err := e.client.Do(r)
	if err != nil {
		return secondTry, err
	}
	defer answer.Body.Close()
	reply, err := io.ReadAll(io.LimitReader(answer.Body, maxReply))
	if answer.StatusCode == http.StatusOK {
		if err == nil {
			e.readReply(reply)
		}
		return 0, nil
	}
	err = fmt.Errorf("the collector at %s answers %d", e.url, answer.StatusCode)
	switch answer.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		again = secondTry
		if seconds, err := strconv.Atoi(answer.Header.Get("Retry-After")); err == nil && seconds > 0 && seconds < maxRetryAfter {
			again = time.Duration(seconds) * time.Second
		}
	}
	return again, err
}

// readReply looks for spans that the collector refused of those it took.
func (e *exporter) readReply(reply []byte) {
	var taken collectorpb.ExportTraceServiceResponse
	if err := proto.Unmarshal(reply, &taken); err != nil {
		return // it has answered 200, whatever it says
	}
	if n := taken.GetPartialSuccess().GetRejectedSpans(); n > 0 {
		e.drop(int(min(n, maxBatch)), fmt.Errorf("the collector at %s refuses spans", e.url))
	}
}

// request is what is posted for the spans.
func (e *exporter) request(spans []sdktrace.ReadOnlySpan) *collectorpb.ExportTraceServiceRequest {
	list := make([]*tracepb.Span, len(spans))
	for i, s := range spans {
		list[i] = protoSpan(s)
	}
	return &collectorpb.ExportTraceServiceRequest{ResourceSpans: []*tracepb.ResourceSpans{{
		Resource:   e.resource,
		ScopeSpans: []*tracepb.ScopeSpans{{Scope: &commonpb.InstrumentationScope{Name: "lyftr"}, Spans: list}},
	}}}
}

func protoSpan(s sdktrace.ReadOnlySpan) *tracepb.Span {
	self, parent := s.SpanContext(), s.Parent()
	traceID, spanID, parentID := self.TraceID(), self.SpanID(), parent.SpanID()
	p := &tracepb.Span{
		TraceId:           traceID[:],
		SpanId:            spanID[:],
		TraceState:        self.TraceState().String(),
		Flags:             uint32(self.TraceFlags()) | uint32(tracepb.SpanFlags_SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK),
		Name:              s.Name(),
		Kind:              tracepb.Span_SPAN_KIND_INTERNAL,
		StartTimeUnixNano: unixNano(s.StartTime()),
		EndTimeUnixNano:   unixNano(s.EndTime()),
	}
	if parent.HasSpanID() {
		p.ParentSpanId = parentID[:]
	}
	if parent.IsRemote() {
		p.Flags |= uint32(tracepb.SpanFlags_SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK)
	}
	if s.SpanKind() == trace.SpanKindServer {
		p.Kind = tracepb.Span_SPAN_KIND_SERVER
	}
	if s.Status().Code == codes.Error {
		p.Status = &tracepb.Status{Code: tracepb.Status_STATUS_CODE_ERROR}
	}
	for _, a := range s.Attributes() {
		p.Attributes = append(p.Attributes, keyValue(a))
	}
	return p
}

// unixNano is a time as OTLP has it; one before 1970 is 0.
func unixNano(t time.Time) uint64 { return uint64(max(0, t.UnixNano())) }

// keyValue is an attribute: a string or a whole number.
func keyValue(a attribute.KeyValue) *commonpb.KeyValue {
	v := &commonpb.AnyValue{}
	if a.Value.Type() == attribute.INT64 {
		v.Value = &commonpb.AnyValue_IntValue{IntValue: a.Value.AsInt64()}
	} else {
		// Protobuf refuses to write what is not UTF-8, and the others with it.
		v.Value = &commonpb.AnyValue_StringValue{StringValue: strings.ToValidUTF8(a.Value.AsString(), "\uFFFD")}
	}
	return &commonpb.KeyValue{Key: string(a.Key), Value: v}
}
