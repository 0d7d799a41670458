package httpapi_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"lyftr/internal/httpapi"
	"lyftr/internal/message"
	"lyftr/internal/provider"
	"lyftr/internal/telemetry"
)

// instantStore stores nothing, and takes no time for it.
type instantStore struct{ message.Store }

func (instantStore) Save(_ context.Context, m []message.Message, _ []message.Status) ([]message.Outcome, error) {
	return make([]message.Outcome, len(m)), nil
}

// nobody takes an answer.
type nobody struct{ header http.Header }

func (n *nobody) Header() http.Header             { return n.header }
func (*nobody) Write(p []byte) (int, error)       { return len(p), nil }
func (*nobody) WriteString(s string) (int, error) { return len(s), nil }
func (*nobody) WriteHeader(int)                   {}

// BenchmarkDelivery is all that a webhook costs but the connection and the
// database.
func BenchmarkDelivery(b *testing.B) { benchmarkDelivery(b, http.Header{}, "") }

// BenchmarkDeliveryTraced is the same with what tracing adds: off with the header
// of a caller, on and not sampled, on with spans posted to a collector.
func BenchmarkDeliveryTraced(b *testing.B) {
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	defer collector.Close()
	b.Run("caller", func(b *testing.B) { benchmarkDelivery(b, http.Header{"Traceparent": {sampled}}, "") })
	b.Run("unsampled", func(b *testing.B) {
		benchmarkDelivery(b, http.Header{"Traceparent": {unsampled}}, collector.URL)
	})
	b.Run("sampled", func(b *testing.B) {
		benchmarkDelivery(b, http.Header{"Traceparent": {sampled}}, collector.URL)
	})
}

// benchmarkDelivery posts the spans to that URL, if there is one.
func benchmarkDelivery(b *testing.B, header http.Header, spans string) {
	providers := provider.All()
	for _, p := range providers {
		if p.Source() == message.SourceNative {
			p.UseSecret(secret)
		}
		if err := p.Prepare(); err != nil {
			b.Fatal(err)
		}
	}
	metrics := telemetry.NewMetrics(telemetry.Options{
		Routes: httpapi.Routes(), Sources: []string{message.SourceNative},
		Store: func() message.StoreStatus { return message.StoreStatus{} }, Lost: func() int64 { return 0 },
	})
	var tracing *telemetry.Tracing
	if spans != "" {
		sampler, err := telemetry.ParseSampler("parentbased_always_on", "")
		if err != nil {
			b.Fatal(err)
		}
		tracing = telemetry.NewTracing(telemetry.TracingOptions{
			URL: spans, Sampler: sampler, Logger: slog.New(slog.DiscardHandler), Metrics: metrics,
		})
		defer func() { _ = tracing.Shutdown(b.Context()) }()
	}
	api := httpapi.New(httpapi.Options{
		Store: instantStore{}, Metrics: metrics, Tracing: tracing, Lines: io.Discard, Logger: slog.New(slog.DiscardHandler),
		Access: httpapi.Access{Providers: providers}, FailureLimit: 120, MaxBodyBytes: 1 << 20, MaxInflightBytes: 64 << 20,
		SaveTimeout: time.Minute, WriteTimeout: time.Minute,
	})
	body := bytes.NewReader([]byte(hello))
	r := &http.Request{
		Method: http.MethodPost, URL: &url.URL{Path: "/webhook"}, RequestURI: "/webhook", RemoteAddr: "127.0.0.1:1024",
		Header: header, Body: io.NopCloser(body), ContentLength: int64(len(hello)),
	}
	header.Set("X-Signature", helloSignature)
	b.ReportAllocs()
	for b.Loop() {
		body.Reset([]byte(hello))
		api.ServeHTTP(&nobody{http.Header{}}, r.WithContext(b.Context()))
	}
}
