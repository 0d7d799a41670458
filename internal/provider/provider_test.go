package provider_test

import (
	"net/url"
	"testing"
	"time"

	"lyftr/internal/message"
	"lyftr/internal/provider"
)

// secretsOf are two secrets of each provider.
func secretsOf(p provider.Provider) (ours, theirs string) {
	if _, ok := p.(*provider.Standard); ok {
		return "whsec_dGhlLXNlY3JldC1vZi1zdGFuZGFyZC13ZWJob29rcw==", "whsec_YW5vdGhlci1zZWNyZXQtb2YtYS1zZW5kZXI="
	}
	return "the-secret-of-the-sender", "another-secret-of-nobody"
}

// TestEveryProvider holds every provider to what must be true of each: a sample
// that it makes and signs is verified and read as what it was, under no other
// secret, and of a wrong signature no more is found out than is wanted.
func TestEveryProvider(t *testing.T) {
	const address = "https://hooks.example.com"
	now := time.Now().UTC().Truncate(time.Second)
	text := "नमस्ते <b>&amp;</b> 👋"
	want := message.Message{ID: "m1", From: "+919876543210", To: "+14155550100", TS: now.Format(time.RFC3339), At: now, Text: &text}
	paths := map[string]bool{}
	for _, p := range provider.All() {
		t.Run(p.Source(), func(t *testing.T) {
			ours, theirs := secretsOf(p)
			if _, err := p.Sign(address, nil, now); err == nil {
				t.Error("it signs without a secret")
			}
			if err := p.Prepare(); err != nil || len(p.KeyIDs()) != 0 {
				t.Errorf("without settings: %v, keys %v", err, p.KeyIDs())
			}
			if tw, ok := p.(*provider.Twilio); ok {
				tw.PublicURL = address
			}
			p.UseSecret(ours)
			if err := p.Prepare(); err != nil {
				t.Fatal(err)
			}
			if paths[provider.Path(p)] || len(p.KeyIDs()) != 1 || p.KeyIDs()[0] != "current" || p.Switch() == "" {
				t.Errorf("path %s, keys %v, switch %q", provider.Path(p), p.KeyIDs(), p.Switch())
			}
			paths[provider.Path(p)] = true
			body, err := p.Compose(want)
			if err != nil {
				t.Fatal(err)
			}
			u, err := url.Parse(address + provider.Path(p))
			if err != nil {
				t.Fatal(err)
			}
			request := func(secret string) *provider.Request {
				p.UseSecret(secret)
				header, err := p.Sign(u.String(), body, now)
				if err != nil {
					t.Fatal(err)
				}
				return &provider.Request{Header: header, URL: u, Host: u.Host, Body: body, Now: now}
			}
			right := request(ours)
			if id, err := p.Verify(right); err != nil || id != "current" {
				t.Errorf("verified with %q: %v", id, err)
			}
			for _, other := range provider.All() {
				if got := other.Recognizes(right.Header); got != (other.Source() == p.Source()) {
					t.Errorf("%s recognizes it: %v", other.Source(), got)
				}
			}
			content, err := p.Parse(right)
			if err != nil || len(content.Messages) != 1 || len(content.Statuses) != 0 || content.Ignored != 0 {
				t.Fatalf("parsed as %+v: %v", content, err)
			}
			m := content.Messages[0]
			if m.Source != p.Source() || !m.SameContent(&want) || m.ID != want.ID || !m.At.Equal(want.At) {
				t.Errorf("parsed as %+v", m)
			}
			wrong := request(theirs)
			for _, brief := range []bool{false, true} {
				asked := false
				wrong.Brief = func() bool { asked = true; return brief }
				_, err := p.Verify(wrong)
				if err == nil || !asked || brief != (err.Error() == "the signature fits no secret") {
					t.Errorf("brief %v, asked %v: %v", brief, asked, err)
				}
			}
		})
	}
}
