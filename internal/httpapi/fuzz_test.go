package httpapi_test

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"lyftr/internal/httpapi"
	"lyftr/internal/message"
	"lyftr/internal/provider"
	"lyftr/internal/store"
	"lyftr/internal/telemetry"
)

// fuzzSecret is what each provider's fuzzed deliveries are signed with.
func fuzzSecret(p provider.Provider) string {
	if _, ok := p.(*provider.Standard); ok {
		return "whsec_dGhlLXNlY3JldC1vZi1zdGFuZGFyZC13ZWJob29rcw=="
	}
	return "the-secret-of-the-sender"
}

// FuzzDeliveries sends rightly signed deliveries of any content to every
// provider: each is stored or refused, and never an error of lyftr's own.
func FuzzDeliveries(f *testing.F) {
	file, err := os.ReadFile(filepath.Join("..", "provider", "testdata", "vectors.json"))
	if err != nil {
		f.Fatal(err)
	}
	var known struct{ Vectors []struct{ Body string } }
	if err := json.Unmarshal(file, &known); err != nil {
		f.Fatal(err)
	}
	for i := range provider.All() {
		for _, v := range known.Vectors {
			f.Add(uint8(i), []byte(v.Body))
		}
	}
	db, err := store.Open(f.Context(), "sqlite:///"+filepath.Join(f.TempDir(), "app.db"), store.Options{})
	if err != nil {
		f.Fatal(err)
	}
	providers := provider.All()
	var sources []string
	for _, p := range providers {
		sources = append(sources, p.Source())
		p.UseSecret(fuzzSecret(p))
		onTwilio(p)
		if err := p.Prepare(); err != nil {
			f.Fatal(err)
		}
	}
	metrics := telemetry.NewMetrics(telemetry.Options{Routes: httpapi.Routes(), Sources: sources, Store: db.Status, Lost: func() int64 { return 0 }})
	api := httpapi.New(httpapi.Options{
		Store: db, Metrics: metrics, Lines: io.Discard, Level: slog.LevelError, Logger: slog.New(slog.DiscardHandler),
		AppName: "fuzz", Access: httpapi.Access{Providers: providers}, MaxBodyBytes: 1 << 20, MaxInflightBytes: 64 << 20,
		SaveTimeout: time.Minute, WriteTimeout: time.Minute,
	})
	f.Cleanup(func() {
		api.Close()
		if err := db.Close(); err != nil {
			f.Error(err)
		}
	})
	f.Fuzz(func(t *testing.T, which uint8, body []byte) {
		p := providers[int(which)%len(providers)]
		url := "https://hooks.example.com" + provider.Path(p)
		headers, err := p.Sign(url, body, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest(http.MethodPost, url, bytes.NewReader(body))
		r.Header = headers
		w := httptest.NewRecorder()
		api.ServeHTTP(w, r)
		switch w.Code {
		case http.StatusOK:
		case http.StatusUnprocessableEntity, http.StatusUnauthorized:
			if w.Code == http.StatusUnauthorized && p.Source() != "twilio" { // more parameters than it may have
				t.Fatalf("%s: %d %s", p.Source(), w.Code, w.Body)
			}
			return
		default:
			t.Fatalf("%s: %d %s", p.Source(), w.Code, w.Body)
		}
		// What was taken is there, and can be shown.
		content, err := p.Parse(&provider.Request{Header: headers, URL: r.URL, Body: body, Now: time.Now()})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range content.Messages[:min(1, len(content.Messages))] {
			if _, err := db.Get(t.Context(), m.Source, m.ID); err != nil {
				t.Fatalf("%q: %v", m.ID, err)
			}
		}
		for _, s := range content.Statuses[:min(1, len(content.Statuses))] {
			if list, err := db.Statuses(t.Context(), s.Source, s.ID); err != nil || len(list) == 0 || message.CurrentStatus(list) == "" {
				t.Fatalf("%q: %v, %v", s.ID, list, err)
			}
		}
	})
}
