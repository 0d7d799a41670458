package telemetry

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// TracingOptions say where spans go and which there are. All must be set.
type TracingOptions struct {
	// URL is where spans are posted, in OTLP.
	URL string
	// Header is what the collector wants to see besides; may be empty.
	Header           http.Header
	Sampler          Sampler
	Service, Version string
	// Logger is told of spans that are lost, at most once in a while.
	Logger  *slog.Logger
	Metrics *Metrics
}

// Sampler decides which requests have spans. Make it with ParseSampler.
type Sampler struct{ sampler sdktrace.Sampler }

// ParseSampler finds a sampler by the name and the argument that OpenTelemetry
// has for it. The argument is the share of traces that a traceidratio takes, 1
// if it is empty; the others have none and ignore it.
func ParseSampler(name, argument string) (Sampler, error) {
	ratio := 1.0
	if strings.HasSuffix(name, "traceidratio") && argument != "" {
		var err error
		if ratio, err = strconv.ParseFloat(argument, 64); err != nil || !(ratio >= 0 && ratio <= 1) {
			return Sampler{}, fmt.Errorf("%q is not a share of traces: use 0 to 1", argument)
		}
	}
	switch name {
	case "always_on":
		return Sampler{sdktrace.AlwaysSample()}, nil
	case "always_off":
		return Sampler{sdktrace.NeverSample()}, nil
	case "traceidratio":
		return Sampler{sdktrace.TraceIDRatioBased(ratio)}, nil
	case "parentbased_always_on":
		return Sampler{sdktrace.ParentBased(sdktrace.AlwaysSample())}, nil
	case "parentbased_always_off":
		return Sampler{sdktrace.ParentBased(sdktrace.NeverSample())}, nil
	case "parentbased_traceidratio":
		return Sampler{sdktrace.ParentBased(sdktrace.TraceIDRatioBased(ratio))}, nil
	}
	return Sampler{}, fmt.Errorf("%q is not a sampler: use always_on, always_off, traceidratio, or one of these behind parentbased_", name)
}

const (
	// maxWaiting is how many spans wait for a collector that is slow, about
	// 5 MB; those of further requests are dropped.
	maxWaiting = 8192
	// maxBatch is how many spans one post holds at most.
	maxBatch = 512
	// batchDelay is how long a span waits for others to be posted with.
	batchDelay = time.Second
	// exportTimeout bounds a post, its second try included.
	exportTimeout = 10 * time.Second
	// maxAttributes is more than any span has.
	maxAttributes = 32
)

// Tracing makes the spans of requests and sends them to a collector, behind the
// requests: a collector that is slow or away costs spans, never a request. A nil
// Tracing makes none.
type Tracing struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
	exporter *exporter
}

// NewTracing starts the goroutine that sends. Shutdown ends it.
//
// The SDK reads variables of the environment for all that is not said here. All
// is said: which settings there are is declared with the others, in package cli.
func NewTracing(o TracingOptions) *Tracing {
	e := newExporter(o)
	// What the SDK cannot return it gives to a handler that is the whole
	// process's, and prints it if there is none.
	otel.SetErrorHandler(otel.ErrorHandlerFunc(e.warnSDK))
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithSampler(o.Sampler.sampler),
		sdktrace.WithResource(resource.Empty()), // the exporter has its own
		sdktrace.WithRawSpanLimits(sdktrace.SpanLimits{
			AttributeValueLengthLimit: maxField, AttributeValueDepthLimit: 1, AttributeCountLimit: maxAttributes,
		}),
		sdktrace.WithBatcher(e,
			// Its queue has room for all that Record lets through: it drops none.
			sdktrace.WithMaxQueueSize(maxWaiting), sdktrace.WithMaxExportBatchSize(maxBatch),
			sdktrace.WithBatchTimeout(batchDelay), sdktrace.WithExportTimeout(exportTimeout),
		),
	)
	return &Tracing{provider, provider.Tracer("lyftr"), e}
}

// Shutdown sends what is left, until ctx ends, and drops the rest. Nothing may be
// recorded after it.
func (t *Tracing) Shutdown(ctx context.Context) error {
	if t == nil {
		return nil
	}
	close(t.exporter.closing)
	stop := context.AfterFunc(ctx, t.exporter.abort)
	defer stop()
	// Not with ctx: it would leave the goroutine behind when that ends.
	return t.provider.Shutdown(context.WithoutCancel(ctx))
}

// Caller is the span, of another service, that a request is part of; the zero
// Caller is none.
type Caller struct{ span trace.SpanContext }

// maxTraceState is the longest tracestate that is taken over, which is as much
// as others have to pass on as well.
const maxTraceState = 512

// CallerOf finds the caller in the headers of W3C Trace Context: one traceparent
// of version 00, and tracestate. What is not valid is as if it were not there.
func CallerOf(h http.Header) Caller {
	values := h["Traceparent"]
	// 00-, 32 digits of the trace's id, -, 16 of the span's, -, 2 of the flags.
	const length, trace1, span0, span1, flags0 = 55, 35, 36, 52, 53
	if len(values) != 1 || len(values[0]) != length {
		return Caller{}
	}
	v := values[0]
	if v[:3] != "00-" || v[trace1] != '-' || v[span1] != '-' {
		return Caller{}
	}
	traceID, err := trace.TraceIDFromHex(v[3:trace1])
	if err != nil {
		return Caller{}
	}
	spanID, err := trace.SpanIDFromHex(v[span0:span1])
	if err != nil {
		return Caller{}
	}
	flags := v[flags0:]
	if strings.Trim(flags, hexDigits) != "" {
		return Caller{}
	}
	bits, err := strconv.ParseUint(flags, 16, 8)
	if err != nil {
		return Caller{}
	}
	var state trace.TraceState
	if s := strings.Join(h["Tracestate"], ","); len(s) <= maxTraceState {
		state, _ = trace.ParseTraceState(s) // one that is not valid is left behind
	}
	return Caller{trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: traceID, SpanID: spanID, TraceFlags: trace.TraceFlags(bits), TraceState: state, Remote: true,
	})}
}

// TraceID is the id of the caller's trace, or empty.
func (c Caller) TraceID() string {
	if !c.span.IsValid() {
		return ""
	}
	return c.span.TraceID().String()
}

// RequestSpan is what the spans of one request tell. Nothing personal may be in
// it: no text, no number, no name.
type RequestSpan struct {
	Caller Caller
	Method string
	Route  string // its template; empty if there is none
	Status int
	Failed bool // though Status is not of the server's faults
	Begin  time.Time
	End    time.Time
	// Webhook says that the request is a delivery; only then are there the
	// members down to Ignored.
	Webhook                     bool
	Source                      string
	MessageID                   string
	Result                      Result
	Messages, Statuses, Ignored int
	// Steps are the spans within it.
	Steps []Step
}

// Step is one step of a request.
type Step struct {
	Name       string
	Begin, End time.Time
	Failed     bool
}

// Record makes the spans of a request that has ended, if the sampler takes it,
// and returns the id of its trace in any case.
func (t *Tracing) Record(r *RequestSpan) (traceID string) {
	ctx := context.Background()
	if r.Caller.span.IsValid() {
		ctx = trace.ContextWithRemoteSpanContext(ctx, r.Caller.span)
	}
	method := knownMethod(r.Method)
	ctx, span := t.tracer.Start(ctx, r.name(method), trace.WithSpanKind(trace.SpanKindServer), trace.WithTimestamp(r.Begin))
	traceID = span.SpanContext().TraceID().String()
	// A span without room is not ended, and so nobody's.
	if !span.IsRecording() || !t.exporter.reserve(1+len(r.Steps)) {
		return traceID
	}
	for _, s := range r.Steps {
		_, step := t.tracer.Start(ctx, s.Name, trace.WithTimestamp(s.Begin))
		if s.Failed {
			step.SetStatus(codes.Error, "")
		}
		step.End(trace.WithTimestamp(s.End))
	}
	span.SetAttributes(r.attributes(method)...)
	if r.Failed || r.Status >= http.StatusInternalServerError {
		span.SetStatus(codes.Error, "")
	}
	span.End(trace.WithTimestamp(r.End))
	return traceID
}

// otherMethod is the method of a request whose method is not HTTP's own.
const otherMethod = "_OTHER"

// knownMethod is the method, or otherMethod, so that strangers make no names.
func knownMethod(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch,
		http.MethodDelete, http.MethodConnect, http.MethodOptions, http.MethodTrace:
		return method
	}
	return otherMethod
}

func (r *RequestSpan) name(method string) string {
	switch {
	case method == otherMethod:
		return "HTTP"
	case r.Route == "":
		return method
	}
	return method + " " + r.Route
}

// attributes are named as OpenTelemetry has it, and lyftr's own after the log
// line. The path is not among them: it may hold an id or a number.
func (r *RequestSpan) attributes(method string) []attribute.KeyValue {
	a := make([]attribute.KeyValue, 0, maxAttributes/2)
	a = append(a, attribute.String("http.request.method", method), attribute.Int("http.response.status_code", r.Status))
	if r.Route != "" {
		a = append(a, attribute.String("http.route", r.Route))
	}
	if r.Status >= http.StatusInternalServerError {
		a = append(a, attribute.String("error.type", strconv.Itoa(r.Status)))
	}
	if !r.Webhook {
		return a
	}
	a = append(a,
		attribute.String("lyftr.source", r.Source),
		attribute.String("lyftr.result", string(r.Result)),
		attribute.Int("lyftr.messages", r.Messages),
		attribute.Int("lyftr.statuses", r.Statuses),
		attribute.Int("lyftr.ignored", r.Ignored),
	)
	if r.MessageID != "" {
		a = append(a, attribute.String("lyftr.message_id", r.MessageID))
	}
	return a
}
