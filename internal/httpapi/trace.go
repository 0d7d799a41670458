package httpapi

import (
	"context"
	"errors"
	"strings"
	"time"

	"lyftr/internal/message"
	"lyftr/internal/telemetry"
)

// trace makes the spans of a request that has ended and returns the id of its
// trace. A request that has none is in the trace of its caller, if that named
// one.
func (s *Server) trace(c *call, start, now time.Time) (traceID string) {
	caller := telemetry.CallerOf(c.r.Header)
	if s.Tracing == nil || !traced(c.label) {
		return caller.TraceID()
	}
	span := telemetry.RequestSpan{
		Caller:    caller,
		Method:    c.r.Method,
		Status:    c.status,
		Failed:    errors.Is(c.err, errPanic),
		Begin:     start,
		End:       now,
		Webhook:   c.webhook,
		Source:    c.source,
		MessageID: c.messageID,
		Result:    c.result,
		Messages:  c.messages,
		Statuses:  c.statuses,
		Ignored:   c.ignored,
		Steps:     c.steps.until(now),
	}
	if c.label != unmatched {
		span.Route = c.label
	}
	return s.Tracing.Record(&span)
}

// traced reports whether requests of a route have spans: those that come every
// few seconds to look after the service, and the parts of a page, have none.
func traced(label string) bool {
	return label != "/metrics" && !strings.HasPrefix(label, "/health/") && !strings.HasPrefix(label, "/assets/")
}

// The steps of a delivery.
const (
	stepVerify = "verify"
	stepParse  = "parse"
	stepQueue  = "queue wait"
	stepCommit = "commit"

	stepCount = 4
)

// steps are those of a delivery that has spans. A nil steps notes nothing.
type steps struct {
	list [stepCount]telemetry.Step
	n    int
	save message.SaveTimes
}

// begin notes that a step begins.
func (s *steps) begin(name string) {
	if s != nil {
		s.list[s.n] = telemetry.Step{Name: name, Begin: time.Now()}
		s.n++
	}
}

// end notes that the step ends that began last.
func (s *steps) end() {
	if s != nil {
		s.list[s.n-1].End = time.Now()
	}
}

// asking returns the context for a save, which begins as the step of waiting for
// the commit.
func (s *steps) asking(ctx context.Context) context.Context {
	if s == nil {
		return ctx
	}
	s.begin(stepQueue)
	return message.WithSaveTimes(ctx, &s.save)
}

// saved notes what became of the save.
func (s *steps) saved(err error) {
	if s == nil {
		return
	}
	s.end()
	last := &s.list[s.n-1]
	if begun := s.save.Begun(); !begun.IsZero() {
		ended := s.save.Ended()
		if ended.IsZero() { // it goes on, and nobody waits for it any more
			ended = last.End
		}
		last.End = begun
		last = &s.list[s.n]
		*last = telemetry.Step{Name: stepCommit, Begin: begun, End: ended}
		s.n++
	}
	last.Failed = err != nil
}

// until returns the steps of a request that ended at that time. One that did not
// come to its end was a panic's.
func (s *steps) until(end time.Time) []telemetry.Step {
	if s == nil || s.n == 0 {
		return nil
	}
	if last := &s.list[s.n-1]; last.End.IsZero() {
		last.End, last.Failed = end, true
	}
	return s.list[:s.n]
}
