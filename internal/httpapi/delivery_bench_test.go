package httpapi_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
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
func BenchmarkDelivery(b *testing.B) {
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
	api := httpapi.New(httpapi.Options{
		Store: instantStore{}, Metrics: metrics, Lines: io.Discard, Logger: slog.New(slog.DiscardHandler),
		Access: httpapi.Access{Providers: providers}, FailureLimit: 120, MaxBodyBytes: 1 << 20, MaxInflightBytes: 64 << 20,
		SaveTimeout: time.Minute, WriteTimeout: time.Minute,
	})
	body := bytes.NewReader([]byte(hello))
	r := &http.Request{
		Method: http.MethodPost, URL: &url.URL{Path: "/webhook"}, RequestURI: "/webhook", RemoteAddr: "127.0.0.1:1024",
		Header: http.Header{"X-Signature": {helloSignature}}, Body: io.NopCloser(body), ContentLength: int64(len(hello)),
	}
	b.ReportAllocs()
	for b.Loop() {
		body.Reset([]byte(hello))
		api.ServeHTTP(&nobody{http.Header{}}, r.WithContext(b.Context()))
	}
}
