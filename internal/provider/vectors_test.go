package provider_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"os"
	"testing"
	"time"

	"lyftr/internal/provider"
)

// vector is one delivery and whether its signature is right, as others or the
// provider itself published it.
type vector struct {
	Provider    string            `json:"provider"`
	Name        string            `json:"name"`
	Secret      string            `json:"secret"`
	Header      string            `json:"header"`
	Signature   string            `json:"signature"`
	Headers     map[string]string `json:"headers"`
	ContentType string            `json:"content_type"`
	URL         string            `json:"url"`
	Now         int64             `json:"now"`
	Body        string            `json:"body"`
	Valid       bool              `json:"valid"`
}

func vectors(t testing.TB) []vector {
	t.Helper()
	raw, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Vectors []vector }
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Vectors) == 0 {
		t.Fatal("no vectors")
	}
	return file.Vectors
}

// source is the provider's name among those of provider.All.
func (v *vector) source() string {
	if v.Provider == "seed" {
		return "native"
	}
	return v.Provider
}

// provider returns the vector's provider with the vector's secret.
func (v *vector) provider(t *testing.T) provider.Provider {
	t.Helper()
	for _, p := range provider.All() {
		if p.Source() != v.source() {
			continue
		}
		switch p := p.(type) {
		case *provider.Native:
			p.Secret = v.Secret
		case *provider.WhatsApp:
			p.AppSecret = v.Secret
		case *provider.Twilio:
			p.AuthToken, p.PublicURL = v.Secret, v.site(t)
		case *provider.Standard:
			p.Secret = v.Secret
		default:
			t.Fatalf("no way to give %s a secret", p.Source())
		}
		if err := p.Prepare(); err != nil {
			t.Fatal(err)
		}
		return p
	}
	t.Fatalf("no provider %s", v.source())
	return nil
}

// site is the vector's URL without path and query.
func (v *vector) site(t *testing.T) string {
	t.Helper()
	u, err := url.Parse(v.URL)
	if err != nil {
		t.Fatal(err)
	}
	return u.Scheme + "://" + u.Host
}

func (v *vector) request(t *testing.T) *provider.Request {
	t.Helper()
	u, err := url.Parse(v.URL)
	if err != nil {
		t.Fatal(err)
	}
	r := &provider.Request{Header: http.Header{}, URL: u, Body: []byte(v.Body), Now: time.Unix(v.Now, 0)}
	if v.Header != "" {
		r.Header.Set(v.Header, v.Signature)
	}
	for name, value := range v.Headers {
		r.Header.Set(name, value)
	}
	if v.ContentType != "" {
		r.Header.Set("Content-Type", v.ContentType)
	}
	return r
}

// Every vector gets the verdict that it was published with.
func TestVectors(t *testing.T) {
	for _, v := range vectors(t) {
		t.Run(v.Provider+"/"+v.Name, func(t *testing.T) {
			p, r := v.provider(t), v.request(t)
			if !p.Recognizes(r.Header) {
				t.Error("not recognized by its headers")
			}
			keyID, err := p.Verify(r)
			if v.Valid && (err != nil || keyID != "current") {
				t.Errorf("got key %q, %v; it is right", keyID, err)
			}
			var refusal *provider.Refusal
			if !v.Valid && (!errors.As(err, &refusal) || keyID != "") {
				t.Errorf("got key %q, %v; want a *Refusal", keyID, err)
			}
		})
	}
}
