package httpapi_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"lyftr/internal/provider"
)

// onTwilio switches Twilio on, as the address says.
func onTwilio(p provider.Provider) {
	if p, ok := p.(*provider.Twilio); ok {
		p.AuthToken, p.PublicURL = "0123456789abcdef", "https://hooks.example.com"
	}
}

// A delivery of Twilio goes all the way: it is verified over the public URL and
// its query, stored, and answered with what Twilio sends to nobody.
func TestTwilio(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *config) { c.setup = onTwilio })
	post := func(signed, target, body string) answer {
		t.Helper()
		signer := &provider.Twilio{AuthToken: "0123456789abcdef"}
		h, err := signer.Sign(signed, []byte(body), time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		return s.do(http.MethodPost, target, strings.NewReader(body), func(r *http.Request) {
			r.Header["Content-Type"], r.Header["X-Twilio-Signature"] = h["Content-Type"], h["X-Twilio-Signature"]
		})
	}
	const (
		path  = "/webhook/twilio"
		site  = "https://hooks.example.com"
		form  = "MessageSid=SM1&From=%2B15551234567&To=%2B14155550100&Body=Hello&SmsStatus=received"
		empty = "<Response/>"
	)
	for _, c := range []struct {
		query, body, result string
	}{
		{"?tenant=a+b%2F", form, "created"},
		{"", form, "duplicate"},
		{"", "CallSid=CA1", "ignored"},
	} {
		a := post(site+path+c.query, path+c.query, c.body)
		a.is(t, 200, empty)
		if got := a.header.Get("Content-Type"); got != "text/xml" {
			t.Errorf("Content-Type %q", got)
		}
		a.line.has(t, "result", c.result, "mismatch", absent)
	}
	if n := s.rows(); n != 1 {
		t.Errorf("there are %d messages", n)
	}
	a := post(site+path, path, "MessageSid=SM1&From=%2B14155550100&To=%2B15551234567&MessageStatus=delivered")
	a.is(t, 200, empty)
	a.line.has(t, "result", "created", "messages", 0.0, "statuses", 1.0, "ignored", 0.0)
	if one := into[detail](t, s.get("/messages/SM1")); one.Status != "delivered" || len(one.Statuses) != 1 || string(one.Raw) == "" {
		t.Errorf("got %+v", one)
	}
	// The URL by which the request came is no proof, but it may be the reason.
	a = post(s.url+path, path, form)
	a.is(t, 401, signatureBody)
	if reason, _ := a.line["reason"].(string); !strings.Contains(reason, "set PUBLIC_URL to "+s.url+",") {
		t.Errorf("the reason is %q", reason)
	}
}
