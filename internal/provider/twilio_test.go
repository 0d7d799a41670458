package provider_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"lyftr/internal/message"
	"lyftr/internal/provider"
)

const (
	twilioToken    = "0123456789abcdef0123456789abcdef"
	twilioPrevious = "fedcba9876543210fedcba9876543210"
	twilioSite     = "https://hooks.example.com"
	twilioPath     = "/webhook/twilio"
	// twilioForm is a short delivery, twilioJoined what is signed of it.
	twilioForm   = "MessageSid=SM1&From=%2B15551234567&Body=Hello+there"
	twilioJoined = "BodyHello thereFrom+15551234567MessageSidSM1"
)

var twilioNow = time.Date(2025, 6, 8, 20, 59, 43, 123_456_789, time.UTC)

func twilio(t testing.TB, publicURL string) *provider.Twilio {
	t.Helper()
	p := &provider.Twilio{AuthToken: twilioToken, Previous: twilioPrevious, PublicURL: publicURL}
	if err := p.Prepare(); err != nil {
		t.Fatal(err)
	}
	return p
}

// twilioSignature is what Twilio makes of a text that it signs.
func twilioSignature(token, signed string) string {
	mac := hmac.New(sha1.New, []byte(token))
	mac.Write([]byte(signed))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// twilioRequest is a delivery to a path with its query.
func twilioRequest(t testing.TB, target, body, signature string) *provider.Request {
	t.Helper()
	u, err := url.ParseRequestURI(target)
	if err != nil {
		t.Fatal(err)
	}
	h := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "X-Twilio-Signature": {signature}}
	return &provider.Request{Header: h, URL: u, Host: "10.0.0.7:8000", Body: []byte(body), Now: twilioNow}
}

func hexOf(body string) string {
	sum := sha256.Sum256([]byte(body))
	return hex.EncodeToString(sum[:])
}

func TestTwilioPrepare(t *testing.T) {
	for _, c := range []struct {
		name  string
		p     provider.Twilio
		want  string // in the error; empty if there is none
		never string
	}{
		{name: "off"},
		{name: "PUBLIC_URL for others", p: provider.Twilio{PublicURL: twilioSite}},
		{name: "both", p: provider.Twilio{AuthToken: "t", PublicURL: twilioSite}},
		{name: "http and a port", p: provider.Twilio{AuthToken: "t", PublicURL: "http://[::1]:8000/a/"}},
		{name: "no PUBLIC_URL", p: provider.Twilio{AuthToken: "t"}, want: "set PUBLIC_URL to"},
		{name: "previous alone", p: provider.Twilio{Previous: "t", PublicURL: twilioSite}, want: "TWILIO_AUTH_TOKEN_PREVIOUS is set but TWILIO_AUTH_TOKEN is not"},
		{name: "no scheme", p: provider.Twilio{PublicURL: "hooks.example.com"}, want: "PUBLIC_URL is no URL"},
		{name: "other scheme", p: provider.Twilio{PublicURL: "ftp://hooks.example.com"}, want: "PUBLIC_URL is no URL"},
		{name: "no host", p: provider.Twilio{PublicURL: "https:///webhook"}, want: "PUBLIC_URL is no URL"},
		{name: "opaque", p: provider.Twilio{PublicURL: "https:hooks.example.com"}, want: "PUBLIC_URL is no URL"},
		{name: "empty port", p: provider.Twilio{PublicURL: "https://h:"}, want: "PUBLIC_URL is no URL"},
		{name: "port 0", p: provider.Twilio{PublicURL: "https://h:0"}, want: "PUBLIC_URL is no URL"},
		{name: "port too high", p: provider.Twilio{PublicURL: "https://h:65536"}, want: "PUBLIC_URL is no URL"},
		{name: "blank before", p: provider.Twilio{PublicURL: " https://h"}, want: "PUBLIC_URL is no URL"},
		{name: "user", p: provider.Twilio{PublicURL: "https://me:swordfish@h"}, want: "PUBLIC_URL holds a user name", never: "swordfish"},
		{name: "user in what is no URL", p: provider.Twilio{PublicURL: "https://me:swordfish@h:x"}, want: "PUBLIC_URL is no URL", never: "swordfish"},
		{name: "query", p: provider.Twilio{PublicURL: "https://h?a=b"}, want: "PUBLIC_URL has a query"},
		{name: "empty query", p: provider.Twilio{PublicURL: "https://h?"}, want: "PUBLIC_URL has a query"},
		{name: "fragment", p: provider.Twilio{PublicURL: "https://h#a"}, want: "PUBLIC_URL has a fragment"},
		{name: "empty fragment", p: provider.Twilio{PublicURL: "https://h#"}, want: "PUBLIC_URL has a fragment"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.p.Prepare()
			if (err != nil) != (c.want != "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
			if c.never != "" && strings.Contains(err.Error(), c.never) {
				t.Errorf("the error holds a secret: %v", err)
			}
			if on := len(c.p.KeyIDs()) > 0; err == nil && on != (c.p.AuthToken != "") {
				t.Errorf("on: %v", on)
			}
		})
	}
	if w := (&provider.Twilio{AuthToken: "swordfish"}).Warnings(); len(w) != 1 || !strings.Contains(w[0], "TWILIO_AUTH_TOKEN") || strings.Contains(w[0], "swordfish") {
		t.Errorf("warnings: %q", w)
	}
}

func TestTwilioVerify(t *testing.T) {
	hash := hexOf(`{"a":1}`)
	formHash := hexOf(twilioForm)
	for _, c := range []struct {
		name, public, target, kind, body, signed string
		want                                     bool
	}{
		{name: "plain", signed: twilioSite + twilioPath + twilioJoined, want: true},
		{name: "port of https", signed: twilioSite + ":443" + twilioPath + twilioJoined, want: true},
		{name: "port of http", signed: twilioSite + ":80" + twilioPath + twilioJoined},
		{name: "other port", signed: twilioSite + ":8443" + twilioPath + twilioJoined},
		{name: "http", signed: "http://hooks.example.com" + twilioPath + twilioJoined},
		{name: "PUBLIC_URL with the usual port", public: twilioSite + ":443", signed: twilioSite + twilioPath + twilioJoined, want: true},
		{name: "PUBLIC_URL and sender with it", public: twilioSite + ":443", signed: twilioSite + ":443" + twilioPath + twilioJoined, want: true},
		{name: "http without port", public: "http://h", signed: "http://h" + twilioPath + twilioJoined, want: true},
		{name: "http with port", public: "http://h", signed: "http://h:80" + twilioPath + twilioJoined, want: true},
		{name: "http with the port of https", public: "http://h", signed: "http://h:443" + twilioPath + twilioJoined},
		{name: "another port as it is", public: "http://h:8080", signed: "http://h:8080" + twilioPath + twilioJoined, want: true},
		{name: "another port left out", public: "http://h:8080", signed: "http://h" + twilioPath + twilioJoined},
		{name: "IPv6", public: "http://[::1]:8080", signed: "http://[::1]:8080" + twilioPath + twilioJoined, want: true},
		{name: "IPv6 without port", public: "http://[::1]", signed: "http://[::1]:80" + twilioPath + twilioJoined, want: true},
		{name: "slash at the end of PUBLIC_URL", public: twilioSite + "/", signed: twilioSite + twilioPath + twilioJoined, want: true},
		{name: "prefix", public: twilioSite + "/in/", signed: twilioSite + "/in" + twilioPath + twilioJoined, want: true},
		{name: "prefix with an escape", public: twilioSite + "/a%2Fb", signed: twilioSite + "/a%2Fb" + twilioPath + twilioJoined, want: true},
		{name: "prefix left out", public: twilioSite + "/in", signed: twilioSite + twilioPath + twilioJoined},
		{name: "whole URL", public: twilioSite + twilioPath, signed: twilioSite + twilioPath + twilioJoined, want: true},
		{name: "whole URL, prefix, slash, query", public: twilioSite + "/in" + twilioPath + "/", target: twilioPath + "?a=b", signed: twilioSite + "/in" + twilioPath + "?a=b" + twilioJoined, want: true},
		{name: "query as it was sent", target: twilioPath + "?b=%2f+x&a&&=c", signed: twilioSite + twilioPath + "?b=%2f+x&a&&=c" + twilioJoined, want: true},
		{name: "query sorted", target: twilioPath + "?b=1&a=2", signed: twilioSite + twilioPath + "?a=2&b=1" + twilioJoined},
		{name: "query left out", target: twilioPath + "?b=1", signed: twilioSite + twilioPath + twilioJoined},
		{name: "question mark alone", target: twilioPath + "?", signed: twilioSite + twilioPath + "?" + twilioJoined, want: true},
		{name: "path as it was sent", target: "/webhook%2Ftwilio", signed: twilioSite + "/webhook%2Ftwilio" + twilioJoined, want: true},

		{name: "Content-Type with charset", kind: "Application/X-WWW-Form-Urlencoded; charset=UTF-8", signed: twilioSite + twilioPath + twilioJoined, want: true},
		{name: "values with blanks", body: "B=+x+%20&A=", signed: twilioSite + twilioPath + "AB x  ", want: true},
		{name: "values trimmed", body: "B=+x+%20&A=", signed: twilioSite + twilioPath + "ABx"},
		{name: "names in the order of bytes", body: "a=1&B=2&A=3", signed: twilioSite + twilioPath + "A3B2a1", want: true},
		{name: "names in the order of a dictionary", body: "a=1&B=2&A=3", signed: twilioSite + twilioPath + "a1A3B2"},
		{name: "a name that begins another", body: "AB=1&A=Z", signed: twilioSite + twilioPath + "AZAB1", want: true},
		{name: "several values", body: "A=2&B=x&A=1&A=2&A=", signed: twilioSite + twilioPath + "AA1A2Bx", want: true},
		{name: "several values, the first only", body: "A=2&B=x&A=1", signed: twilioSite + twilioPath + "A2Bx"},
		{name: "no =", body: "A&B=1&&", signed: twilioSite + twilioPath + "AB1", want: true},
		{name: "= in a value", body: "A=b=c", signed: twilioSite + twilioPath + "Ab=c", want: true},
		{name: "semicolon", body: "A=b;c=d", signed: twilioSite + twilioPath + "Ab;c=d", want: true},
		{name: "emoji", body: "A=%F0%9F%91%8B", signed: twilioSite + twilioPath + "A👋", want: true},
		{name: "escapes that are none", body: "A=%zz%4&B=%", signed: twilioSite + twilioPath + "A%zz%4B%", want: true},
		{name: "not UTF-8", body: "A=%ff", signed: twilioSite + twilioPath + "A\xff", want: true},
		{name: "no parameters", body: "&", signed: twilioSite + twilioPath, want: true},

		{name: "JSON", target: twilioPath + "?bodySHA256=" + hash, kind: "application/json", body: `{"a":1}`, signed: twilioSite + twilioPath + "?bodySHA256=" + hash, want: true},
		{name: "JSON, upper case", target: twilioPath + "?a=b&bodySHA256=" + strings.ToUpper(hash), kind: "application/json", body: `{"a":1}`, signed: twilioSite + ":443" + twilioPath + "?a=b&bodySHA256=" + strings.ToUpper(hash), want: true},
		{name: "JSON changed", target: twilioPath + "?bodySHA256=" + hash, kind: "application/json", body: `{"a":2}`, signed: twilioSite + twilioPath + "?bodySHA256=" + hash},
		{name: "JSON, hash twice", target: twilioPath + "?bodySHA256=" + hash + "&bodySHA256=" + hash, kind: "application/json", body: `{"a":1}`, signed: twilioSite + twilioPath + "?bodySHA256=" + hash + "&bodySHA256=" + hash},
		{name: "JSON, short hash", target: twilioPath + "?bodySHA256=" + hash[:62], kind: "application/json", body: `{"a":1}`, signed: twilioSite + twilioPath + "?bodySHA256=" + hash[:62]},
		{name: "JSON, empty hash", target: twilioPath + "?bodySHA256=", kind: "application/json", body: `{"a":1}`, signed: twilioSite + twilioPath + "?bodySHA256="},
		{name: "JSON, hash of nothing vouches for it", target: twilioPath, kind: "application/json", body: `{"a":1}`, signed: twilioSite + twilioPath},
		{name: "JSON, signed as a form", target: twilioPath, kind: "application/json", body: "A=1", signed: twilioSite + twilioPath + "A1"},
		{name: "no Content-Type", target: twilioPath, kind: "-", body: "A=1", signed: twilioSite + twilioPath + "A1"},
		{name: "no body, no Content-Type", target: twilioPath, kind: "-", body: "-", signed: twilioSite + twilioPath, want: true},
		// Libraries disagree: either vouches for the body.
		{name: "form with a hash, signed as parameters", target: twilioPath + "?bodySHA256=" + formHash, signed: twilioSite + twilioPath + "?bodySHA256=" + formHash + twilioJoined, want: true},
		{name: "form with a hash, signed by it", target: twilioPath + "?bodySHA256=" + formHash, signed: twilioSite + twilioPath + "?bodySHA256=" + formHash, want: true},
		{name: "form with a wrong hash, signed as parameters", target: twilioPath + "?bodySHA256=" + hash, signed: twilioSite + twilioPath + "?bodySHA256=" + hash + twilioJoined, want: true},
		{name: "form with a wrong hash, signed by it", target: twilioPath + "?bodySHA256=" + hash, signed: twilioSite + twilioPath + "?bodySHA256=" + hash},
		{name: "form, signed without it", signed: twilioSite + twilioPath},
		{name: "too many parameters", body: strings.Repeat("a&", 1000), signed: twilioSite + twilioPath + "a"},
		{name: "as many as there may be", body: strings.Repeat("a&", 999), signed: twilioSite + twilioPath + "a", want: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.public == "" {
				c.public = twilioSite
			}
			if c.target == "" {
				c.target = twilioPath
			}
			switch c.body {
			case "":
				c.body = twilioForm
			case "-":
				c.body = ""
			}
			for token, want := range map[string]string{twilioToken: "current", twilioPrevious: "previous", "other": ""} {
				r := twilioRequest(t, c.target, c.body, twilioSignature(token, c.signed))
				switch c.kind {
				case "":
				case "-":
					r.Header.Del("Content-Type")
				default:
					r.Header.Set("Content-Type", c.kind)
				}
				if !c.want {
					want = ""
				}
				keyID, err := twilio(t, c.public).Verify(r)
				if keyID != want || (err == nil) != (want != "") {
					t.Errorf("signed with %s: got %q, %v; want %q", token, keyID, err, want)
				}
			}
		})
	}
}

func TestTwilioVerifyHeader(t *testing.T) {
	right := twilioSignature(twilioToken, twilioSite+twilioPath+twilioJoined)
	raw, err := base64.StdEncoding.DecodeString(right)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		values []string
		want   string // in the reason
	}{
		"none":          {nil, "is missing"},
		"two":           {[]string{right, right}, "is there 2 times"},
		"empty":         {[]string{""}, "has 0 characters"},
		"hex":           {[]string{hex.EncodeToString(raw)}, "has 40 characters"},
		"no padding":    {[]string{strings.TrimRight(right, "=")}, "has 27 characters"},
		"blank":         {[]string{right + " "}, "has 29 characters"},
		"a list":        {[]string{right + "," + right}, "has 57 characters"},
		"newline in it": {[]string{right[:27] + "\n"}, "has 28 characters"},
		"trailing bits": {[]string{right[:26] + string(right[26]+1) + "="}, "has 28 characters"},
		"wrong":         {[]string{base64.StdEncoding.EncodeToString(make([]byte, 20))}, "fits no auth token"},
	} {
		r := twilioRequest(t, twilioPath, twilioForm, right)
		r.Header["X-Twilio-Signature"] = c.values
		keyID, err := twilio(t, twilioSite).Verify(r)
		var refusal *provider.Refusal
		if !errors.As(err, &refusal) || keyID != "" || !strings.Contains(refusal.Reason, c.want) {
			t.Errorf("%s: got %q, %v; want %q", name, keyID, err, c.want)
		}
	}
	ruled := twilioRequest(t, twilioPath, twilioForm, base64.StdEncoding.EncodeToString(make([]byte, 32)))
	ruled.Header["X-Twilio-Webhooks-Signature-Settings"] = []string{"key=WK1,algorithm=HMAC_SHA256"}
	if _, err := twilio(t, twilioSite).Verify(ruled); err == nil || !strings.Contains(err.Error(), "a webhook rule of Twilio signs with a shared key") {
		t.Errorf("got %v", err)
	}
	// Without a token nothing is right, least of all what was signed with none.
	off := &provider.Twilio{PublicURL: twilioSite}
	if err := off.Prepare(); err != nil {
		t.Fatal(err)
	}
	if _, err := off.Verify(twilioRequest(t, twilioPath, twilioForm, twilioSignature("", twilioSite+twilioPath+twilioJoined))); err == nil {
		t.Error("verified without a token")
	}
	if _, err := new(provider.Twilio).Verify(twilioRequest(t, twilioPath, twilioForm, right)); err == nil {
		t.Error("verified before there is anything")
	}
}

// A reason names the mistake by proof, and holds nothing of the delivery.
func TestTwilioReasons(t *testing.T) {
	const at = " https://hooks.example.com/webhook/twilio"
	const console = "write it so in Twilio's console"
	hash := hexOf(`{"From":"+15551234567"}`)
	for _, c := range []struct {
		name, public, target, kind, body, signed string
		token                                    string
		header                                   http.Header
		host                                     string
		want                                     string // all of the reason, or what it begins with before …
	}{
		{name: "nothing fits", signed: "x", want: "the signature fits no auth token for the URL" + at + ": TWILIO_AUTH_TOKEN has to be the primary…"},
		{name: "query is not shown", target: twilioPath + "?foo=15551234567&tenant=b&c", signed: "x", want: "the signature fits no auth token for the URL" + at + "?foo=…&tenant=…&…: …"},
		{name: "names that may be anything", target: twilioPath + "?%2B1555=a&15551234567=b&J%C3%BCrgen=c&" + strings.Repeat("l", 101) + "=d&e=f&g=h&i=j", signed: "x", want: "the signature fits no auth token for the URL" + at + "?…=…&…=…&…=…&…=…&e=…&…: …"},
		{name: "http", signed: "http://hooks.example.com" + twilioPath + twilioJoined,
			want: "the signature is right for the URL http://hooks.example.com/webhook/twilio, and PUBLIC_URL makes it" + at + ": set PUBLIC_URL to http://hooks.example.com, or " + console},
		{name: "https", public: "http://hooks.example.com", signed: twilioSite + twilioPath + twilioJoined,
			want: "the signature is right for the URL" + at + ", and PUBLIC_URL makes it http://hooks.example.com/webhook/twilio: set PUBLIC_URL to https://hooks.example.com, or …"},
		{name: "port missing in PUBLIC_URL", signed: twilioSite + ":8443" + twilioPath + twilioJoined, host: "10.0.0.7:8443",
			want: "the signature is right for the URL https://hooks.example.com:8443/webhook/twilio, and PUBLIC_URL makes it" + at + ": set PUBLIC_URL to https://hooks.example.com:8443, or …"},
		{name: "port too much in PUBLIC_URL", public: twilioSite + ":8443", signed: twilioSite + ":443" + twilioPath + twilioJoined,
			want: "the signature is right for the URL https://hooks.example.com:443/webhook/twilio, and PUBLIC_URL makes it https://hooks.example.com:8443/webhook/twilio: set PUBLIC_URL to https://hooks.example.com:443, or …"},
		{name: "slash at the end", signed: twilioSite + twilioPath + "/" + twilioJoined,
			want: "the signature is right for the URL" + at + "/, and PUBLIC_URL makes it" + at + ": " + console},
		{name: "slash at the end of a whole PUBLIC_URL", public: twilioSite + twilioPath + "/", signed: twilioSite + twilioPath + "/" + twilioJoined,
			want: "the signature is right for the URL" + at + "/, and PUBLIC_URL makes it" + at + ": " + console},
		{name: "no slash at the end", target: twilioPath + "/", signed: twilioSite + twilioPath + twilioJoined,
			want: "the signature is right for the URL" + at + ", and PUBLIC_URL makes it" + at + "/: " + console},
		{name: "query added", target: twilioPath + "?secret=15551234567", signed: twilioSite + twilioPath + twilioJoined,
			want: "the signature is right for the URL" + at + ", and PUBLIC_URL makes it" + at + "?secret=…: something on the way changed the query, so let it pass the query as it is, or " + console},
		{name: "query lost", header: http.Header{"X-Original-Uri": {twilioPath + "?secret=15551234567"}}, signed: twilioSite + twilioPath + "?secret=15551234567" + twilioJoined,
			want: "the signature is right for the URL" + at + "?secret=…, and PUBLIC_URL makes it" + at + ": something on the way changed the query, so let it pass the query as it is, or " + console},
		{name: "prefix missing in the console", public: twilioSite + "/in", signed: twilioSite + twilioPath + twilioJoined,
			want: "the signature is right for the URL" + at + ", and PUBLIC_URL makes it https://hooks.example.com/in/webhook/twilio: set PUBLIC_URL to https://hooks.example.com, or …"},
		{name: "prefix missing in a whole PUBLIC_URL", public: twilioSite + "/in" + twilioPath, signed: twilioSite + twilioPath + twilioJoined,
			want: "the signature is right for the URL" + at + ", and PUBLIC_URL makes it https://hooks.example.com/in/webhook/twilio: " + console},
		{name: "prefix missing in PUBLIC_URL", header: http.Header{"X-Forwarded-Prefix": {"/in"}}, signed: twilioSite + "/in" + twilioPath + twilioJoined,
			want: "the signature is right for the URL https://hooks.example.com/in/webhook/twilio, and PUBLIC_URL makes it" + at + ": set PUBLIC_URL to https://hooks.example.com/in, or …"},
		{name: "whole path in a header", header: http.Header{"X-Forwarded-Uri": {"/x/y" + twilioPath}}, signed: twilioSite + "/x/y" + twilioPath + twilioJoined,
			want: "the signature is right for the URL https://hooks.example.com/x/y/webhook/twilio, and PUBLIC_URL makes it" + at + ": set PUBLIC_URL to https://hooks.example.com/x/y, or …"},
		{name: "Host", host: "abc.ngrok.example", signed: "https://abc.ngrok.example" + twilioPath + twilioJoined,
			want: "the signature is right for the URL https://abc.ngrok.example/webhook/twilio, and PUBLIC_URL makes it" + at + ": set PUBLIC_URL to https://abc.ngrok.example, or …"},
		{name: "Host with its port, http", host: "abc.example:8000", signed: "http://abc.example:8000" + twilioPath + twilioJoined,
			want: "the signature is right for the URL http://abc.example:8000/webhook/twilio, and PUBLIC_URL makes it" + at + ": set PUBLIC_URL to http://abc.example:8000, or …"},
		{name: "X-Forwarded-Host", header: http.Header{"X-Forwarded-Host": {"pub.example, inner"}, "X-Forwarded-Proto": {"http"}}, signed: "http://pub.example" + twilioPath + twilioJoined,
			want: "the signature is right for the URL http://pub.example/webhook/twilio, and PUBLIC_URL makes it" + at + ": set PUBLIC_URL to http://pub.example, or …"},
		{name: "X-Forwarded-Port", header: http.Header{"X-Forwarded-Host": {"pub.example"}, "X-Forwarded-Port": {"9000"}}, signed: "http://pub.example:9000" + twilioPath + twilioJoined,
			want: "the signature is right for the URL http://pub.example:9000/webhook/twilio, and…"},
		{name: "URL of JSON", kind: "application/json", target: twilioPath + "?bodySHA256=" + hash, body: `{"From":"+15551234567"}`, signed: "http://hooks.example.com" + twilioPath + "?bodySHA256=" + hash,
			want: "the signature is right for the URL http://hooks.example.com/webhook/twilio?bodySHA256=…, and PUBLIC_URL makes it" + at + "?bodySHA256=…: set PUBLIC_URL to…"},

		{name: "header that is too long", header: http.Header{"X-Forwarded-Prefix": {"/" + strings.Repeat("a", 255)}}, signed: twilioSite + "/" + strings.Repeat("a", 255) + twilioPath + twilioJoined, want: "the signature fits no auth token…"},
		{name: "newline behind the token", token: twilioToken + "\n", signed: twilioSite + twilioPath + twilioJoined,
			want: "the signature is right for the auth token with a newline at its end: TWILIO_AUTH_TOKEN has to be…"},
		{name: "quotes around the token", token: `"` + twilioToken + `"`, signed: twilioSite + twilioPath + twilioJoined,
			want: "the signature is right for the auth token in double quotes: …"},
		{name: "shared key", token: "shared", header: http.Header{"X-Twilio-Webhooks-Signature-Settings": {"key=WK1,algorithm=HMAC_SHA1"}}, signed: twilioSite + twilioPath + twilioJoined,
			want: "a webhook rule of Twilio signs with a shared key, which is not supported: …"},

		{name: "JSON changed", kind: "application/json", target: twilioPath + "?bodySHA256=" + hash, body: `{"From":"+15551234568"}`, signed: twilioSite + twilioPath + "?bodySHA256=" + hash,
			want: "the signature is right for the URL, but the body's SHA-256 is not the bodySHA256 of its query: something changed the body after it was signed"},
		{name: "JSON spaced", kind: "application/json", target: twilioPath + "?bodySHA256=" + hash, body: `{"From": "+15551234567"}`, signed: twilioSite + twilioPath + "?bodySHA256=" + hash,
			want: "the signature is right for the body without white space between its members: …"},
		{name: "JSON with two hashes", kind: "application/json", target: twilioPath + "?bodySHA256=1&bodySHA256=2", body: `{}`, signed: twilioSite + twilioPath + "?bodySHA256=1&bodySHA256=2",
			want: "the signature is right for the URL, but bodySHA256 is in its query 2 times"},
		{name: "JSON without hash", kind: "application/json", body: `{}`, signed: twilioSite + twilioPath,
			want: "the signature is right for the URL alone, and nothing vouches for the body: …"},
		{name: "Content-Type changed", kind: "text/plain", signed: twilioSite + twilioPath + twilioJoined,
			want: "the signature is right for the body as a form: something changed the Content-Type on its way, …"},

		{name: "no parameters", signed: twilioSite + twilioPath, want: "the signature is right for the URL without any parameter: …"},
		{name: "parameters not sorted", signed: twilioSite + twilioPath + "MessageSidSM1From+15551234567BodyHello there", want: "the signature is right for the URL with the parameters in the order of the form: …"},
		{name: "body as it is", signed: twilioSite + twilioPath + twilioForm, want: "the signature is right for the URL with the form as it is written …"},
		{name: "line breaks of Unix", body: "Body=a%0D%0Ab", signed: twilioSite + twilioPath + "Bodya\nb", want: "the signature is right for the URL with the line breaks of Unix: …"},
		{name: "line breaks of Windows", body: "Body=a%0Ab", signed: twilioSite + twilioPath + "Bodya\r\nb", want: "the signature is right for the URL with the line breaks of Windows: …"},
		{name: "parameter added", body: twilioForm + "&Country=IN", signed: twilioSite + twilioPath + twilioJoined, want: "the signature is right without the parameter Country: something added it on its way"},
		{name: "parameter with a number for a name", body: twilioForm + "&%2B15551234567=IN", signed: twilioSite + twilioPath + twilioJoined, want: "the signature is right without the parameter …: something added it on its way"},
		{name: "too long to look for reasons", body: "Body=" + strings.Repeat("x", 17<<10), signed: twilioSite + twilioPath, want: "the signature fits no auth token for the URL…"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.public == "" {
				c.public = twilioSite
			}
			if c.target == "" {
				c.target = twilioPath
			}
			if c.body == "" {
				c.body = twilioForm
			}
			if c.token == "" {
				c.token = twilioPrevious
			}
			r := twilioRequest(t, c.target, c.body, twilioSignature(c.token, c.signed))
			maps.Copy(r.Header, c.header)
			if c.kind != "" {
				r.Header.Set("Content-Type", c.kind)
			}
			if c.host != "" {
				r.Host = c.host
			}
			keyID, err := twilio(t, c.public).Verify(r)
			var refusal *provider.Refusal
			if !errors.As(err, &refusal) || keyID != "" {
				t.Fatalf("got %q, %v; want a *Refusal", keyID, err)
			}
			got := refusal.Reason
			if start, ok := strings.CutSuffix(c.want, "…"); ok && !strings.HasPrefix(got, start) || !ok && got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			for _, personal := range []string{"555", "Hello", "SM1", twilioToken, twilioPrevious, "10.0.0.7"} {
				if strings.Contains(got, personal) {
					t.Errorf("the reason holds %s: %s", personal, got)
				}
			}
		})
	}
}

// parsedTwilio returns what a form or, if it begins with a brace, a JSON object holds.
func parsedTwilio(t *testing.T, body string) provider.Content {
	t.Helper()
	r := twilioRequest(t, twilioPath, body, "")
	if strings.HasPrefix(body, "{") || strings.HasPrefix(body, "[") {
		r.Header.Set("Content-Type", "application/json")
	}
	content, err := twilio(t, twilioSite).Parse(r)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func TestTwilioParseMessage(t *testing.T) {
	type want struct {
		id, from, to, text, raw string // "-" is no text; an empty raw is not looked at
	}
	long := strings.Repeat("é", 300)
	for _, c := range []struct {
		name, body string
		want       want
	}{
		{"SMS", "MessageSid=SM1&SmsSid=SM2&From=%2B15551234567&To=%2B14155550100&Body=Hello+there&NumMedia=0&SmsStatus=received",
			want{"SM1", "+15551234567", "+14155550100", "Hello there", `{"Body":"Hello there","From":"+15551234567","MessageSid":"SM1","NumMedia":"0","SmsSid":"SM2","SmsStatus":"received","To":"+14155550100"}`}},
		{"WhatsApp", "MessageSid=SM1&From=whatsapp%3A%2B15551234567&To=whatsapp%3A%2B14155550100&Body=x", want{"SM1", "+15551234567", "+14155550100", "x", ""}},
		{"BSUID", "MessageSid=SM1&From=whatsapp%3AUS.13491208655302741918&To=a", want{"SM1", "US.13491208655302741918", "a", "-", ""}},
		{"short code, name of a sender", "MessageSid=SM1&From=12345&To=MYBRAND&Body=x", want{"SM1", "12345", "MYBRAND", "x", ""}},
		{"other channel", "MessageSid=SM1&From=messenger%3A123&To=x&Body=x", want{"SM1", "messenger:123", "x", "x", ""}},
		{"no From but WaId", "MessageSid=SM1&WaId=919929712371&ExternalUserId=US.1&Body=x", want{"SM1", "+919929712371", "", "x", ""}},
		{"no From but ExternalUserId", "MessageSid=SM1&From=&WaId=&ExternalUserId=US.1&Body=x", want{"SM1", "US.1", "", "x", ""}},
		{"nobody", "MessageSid=SM1&Body=x", want{"SM1", "", "", "x", ""}},
		{"control characters in a party", "MessageSid=SM1&From=a%00b%0Ac%ff&Body=x", want{"SM1", "a\uFFFDb\uFFFDc\uFFFD", "", "x", ""}},
		{"party too long", "MessageSid=SM1&From=" + long + "&Body=x", want{"SM1", long[:2*255], "", "x", ""}},
		{"SmsSid", "SmsSid=SM2&SmsMessageSid=SM3&Body=x", want{"SM2", "", "", "x", ""}},
		{"SmsMessageSid", "MessageSid=&SmsMessageSid=SM3&Body=x", want{"SM3", "", "", "x", ""}},
		{"ID too long", "MessageSid=" + strings.Repeat("S", 256) + "&Body=x", want{"unidentified-", "", "", "x", ""}},
		{"ID with a control character", "MessageSid=S%00M&Body=x", want{"unidentified-", "", "", "x", `{"Body":"x","MessageSid":"S` + "\uFFFD" + `M"}`}},
		{"ID that is not UTF-8", "MessageSid=S%FF&Body=x", want{"unidentified-", "", "", "x", ""}},
		{"media without text", "MessageSid=MM1&Body=&NumMedia=1&MediaUrl0=https%3A%2F%2Fx%2F%3Ca%3E", want{"MM1", "", "", "-", `{"Body":"","MediaUrl0":"https://x/<a>","MessageSid":"MM1","NumMedia":"1"}`}},
		{"no text", "MessageSid=MM1&NumMedia=1", want{"MM1", "", "", "-", ""}},
		{"button", "MessageSid=SM1&Body=&ButtonText=Yes&ButtonPayload=p", want{"SM1", "", "", "Yes", ""}},
		{"button and text", "MessageSid=SM1&Body=Yes%21&ButtonText=Yes", want{"SM1", "", "", "Yes!", ""}},
		{"text with NUL and bytes", "MessageSid=SM1&Body=a%00b%ffc%0A", want{"SM1", "", "", "a\uFFFDb\uFFFDc\n", ""}},
		{"escapes that are none", "MessageSid=SM1&Body=100%&X=%zz", want{"SM1", "", "", "100%", `{"Body":"100%","MessageSid":"SM1","X":"%zz"}`}},
		{"several values", "MessageSid=SM1&Body=x&A=2&A=1&A=2", want{"SM1", "", "", "x", `{"A":["1","2"],"Body":"x","MessageSid":"SM1"}`}},
		{"names that become the same", "MessageSid=SM1&Body=x&%ff=2&%fe=1", want{"SM1", "", "", "x", `{"Body":"x","MessageSid":"SM1","` + "\uFFFD" + `":["1","2"]}`}},
		{"text of a long message", "MessageSid=SM1&Body=" + strings.Repeat("x", 5000), want{"SM1", "", "", strings.Repeat("x", 5000), ""}},
		{"MessageStatus received", "MessageSid=SM1&MessageStatus=received&Body=x", want{"SM1", "", "", "x", ""}},
		{"an old status and a text", "SmsSid=SM1&SmsStatus=sent&Body=x", want{"SM1", "", "", "x", ""}},
		{"an old status and media", "SmsSid=SM1&SmsStatus=sent&NumMedia=1", want{"SM1", "", "", "-", ""}},
		{"JSON", `{"MessageSid":"SM1","From":"+15551234567","Body":"Hi \u00e9","NumMedia":0,"Forwarded":true,"Null":null,"Deep":{"a":[1]}}`,
			want{"SM1", "+15551234567", "", "Hi é", `{"Body":"Hi é","Deep":"{\"a\":[1]}","Forwarded":"true","From":"+15551234567","MessageSid":"SM1","NumMedia":"0"}`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			content := parsedTwilio(t, c.body)
			if len(content.Messages) != 1 || content.Statuses != nil || content.Ignored != 0 {
				t.Fatalf("got %+v", content)
			}
			m := content.Messages[0]
			text := "-"
			if m.Text != nil {
				text = *m.Text
			}
			got := want{m.ID, m.From, m.To, text, string(m.Raw)}
			if c.want.raw == "" {
				got.raw = ""
			}
			if c.want.id == "unidentified-" && len(got.id) == len("unidentified-")+32 {
				got.id = got.id[:len("unidentified-")]
			}
			if got != c.want {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
			}
			at := time.Date(2025, 6, 8, 20, 59, 43, 0, time.UTC)
			if m.Source != "twilio" || m.TS != "2025-06-08T20:59:43Z" || !m.TSIsArrival || m.At != at {
				t.Errorf("got %q, %q, %v, %v", m.Source, m.TS, m.TSIsArrival, m.At)
			}
		})
	}
}

// A message without an ID that can be stored has the same one when it is sent
// again, in whatever order, and another one has another.
func TestTwilioParseUnidentified(t *testing.T) {
	id := func(body string) string { return parsedTwilio(t, body).Messages[0].ID }
	a := id("MessageSid=%00&Body=x&From=y")
	if again := id("From=y&Body=x&MessageSid=%00"); again != a {
		t.Errorf("got %s and %s", a, again)
	}
	if other := id("From=z&Body=x&MessageSid=%00"); other == a {
		t.Error("another message has the same ID")
	}
}

func TestTwilioParseStatus(t *testing.T) {
	at := time.Date(2025, 6, 8, 20, 59, 43, 123_000_000, time.UTC)
	for _, c := range []struct {
		name, body string
		want       message.Status
	}{
		{"callback", "MessageSid=SM1&MessageStatus=Delivered&From=%2B1&To=%2B15551234567",
			message.Status{ID: "SM1", Status: "delivered", Recipient: "+15551234567", Raw: []byte(`{"From":"+1","MessageSid":"SM1","MessageStatus":"Delivered","To":"+15551234567"}`)}},
		{"old one", "SmsSid=SM1&SmsStatus=sent&To=whatsapp%3A%2B15551234567",
			message.Status{ID: "SM1", Status: "sent", Recipient: "+15551234567", Raw: []byte(`{"SmsSid":"SM1","SmsStatus":"sent","To":"whatsapp:+15551234567"}`)}},
		{"with a text", "MessageSid=SM1&MessageStatus=failed&ErrorCode=30007&Body=x",
			message.Status{ID: "SM1", Status: "failed", Raw: []byte(`{"Body":"x","ErrorCode":"30007","MessageSid":"SM1","MessageStatus":"failed"}`)}},
		{"JSON", `{"MessageSid":"SM1","MessageStatus":"read"}`,
			message.Status{ID: "SM1", Status: "read", Raw: []byte(`{"MessageSid":"SM1","MessageStatus":"read"}`)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.want.Source, c.want.At = "twilio", at
			if diff := cmp.Diff(provider.Content{Statuses: []message.Status{c.want}}, parsedTwilio(t, c.body)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTwilioParseIgnores(t *testing.T) {
	for name, body := range map[string]string{
		"nothing":                    "",
		"a call":                     "CallSid=CA1&CallStatus=ringing",
		"text without ID":            "Body=x&From=%2B1",
		"status of an impossible ID": "MessageSid=%00&MessageStatus=sent",
		"empty ID":                   "MessageSid=&Body=x",
		"JSON without ID":            `{"property": "value", "boolean": true}`,
		"events":                     `[{"id":"EZ1"}]`,
	} {
		if diff := cmp.Diff(provider.Content{Ignored: 1}, parsedTwilio(t, body)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	for _, body := range []string{"", "null", "1", `"x"`} {
		r := twilioRequest(t, twilioPath, body, "")
		r.Header.Del("Content-Type")
		if content, err := twilio(t, twilioSite).Parse(r); err != nil || content.Ignored != 1 {
			t.Errorf("%q: got %+v, %v", body, content, err)
		}
	}
}

func TestTwilioParseRefuses(t *testing.T) {
	for _, body := range []string{"{", "Body=x", `{"a":1}}`, "\xff", `{"a":` + strings.Repeat("[", 20000)} {
		r := twilioRequest(t, twilioPath, body, "")
		r.Header.Set("Content-Type", "application/json")
		content, err := twilio(t, twilioSite).Parse(r)
		var invalid *message.InvalidError
		if !errors.As(err, &invalid) || len(invalid.Faults) != 1 || content.Messages != nil {
			t.Errorf("%.10q: got %+v, %v; want a *message.InvalidError", body, content, err)
		}
	}
}

// What stands in the answer would be sent to the user.
func TestTwilioAcknowledge(t *testing.T) {
	w := httptest.NewRecorder()
	if err := twilio(t, twilioSite).Acknowledge(w); err != nil {
		t.Fatal(err)
	}
	if w.Code != http.StatusOK || w.Body.String() != "<Response/>" || w.Header().Get("Content-Type") != "text/xml" {
		t.Errorf("got %d, %q, %v", w.Code, w.Body, w.Header())
	}
	if err := twilio(t, twilioSite).Acknowledge(goneWriter{httptest.NewRecorder()}); !errors.Is(err, errGone) {
		t.Errorf("got %v", err)
	}
}

// What is composed and signed is verified and read again.
func TestTwilioCompose(t *testing.T) {
	p := twilio(t, twilioSite)
	for _, text := range []*string{nil, ptr("Hello & good-bye+100% = नमस्ते 👋\n ")} {
		m := message.Message{ID: "SM+1", From: "+15551234567", To: "+14155550100", Text: text}
		body, err := p.Compose(m)
		if err != nil {
			t.Fatal(err)
		}
		r := twilioRequest(t, twilioPath+"?a=b", string(body), "")
		if r.Header, err = p.Sign(twilioSite+twilioPath+"?a=b#rc=2", body, twilioNow); err != nil {
			t.Fatal(err)
		}
		if !p.Recognizes(r.Header) {
			t.Error("not recognized")
		}
		if keyID, err := p.Verify(r); err != nil || keyID != "current" {
			t.Errorf("got %q, %v", keyID, err)
		}
		content, err := p.Parse(r)
		if err != nil || len(content.Messages) != 1 {
			t.Fatalf("got %+v, %v", content, err)
		}
		got := content.Messages[0]
		if got.ID != m.ID || got.From != m.From || got.To != m.To || !cmp.Equal(got.Text, text) {
			t.Errorf("got %+v", got)
		}
	}
	if _, err := new(provider.Twilio).Sign(twilioSite, nil, twilioNow); err == nil {
		t.Error("signed without a token")
	}
}

// storable checks that content can be stored.
func storable(t *testing.T, content provider.Content) {
	t.Helper()
	text := func(name, s string) {
		if !utf8.ValidString(s) || strings.Contains(s, "\x00") {
			t.Errorf("%s cannot be stored: %q", name, s)
		}
	}
	name := func(what, s string) {
		text(what, s)
		if utf8.RuneCountInString(s) > message.MaxIDLength {
			t.Errorf("%s is too long: %q", what, s)
		}
	}
	raw := func(b []byte) {
		text("Raw", string(b))
		var members map[string]any
		if err := json.Unmarshal(b, &members); err != nil || !bytes.HasPrefix(b, []byte("{")) {
			t.Errorf("Raw is no JSON object: %q: %v", b, err)
		}
		for member, v := range members {
			if strings.Contains(fmt.Sprint(member, v), "\x00") {
				t.Errorf("Raw holds NUL: %q", b)
			}
		}
	}
	for _, m := range content.Messages {
		if kind, _ := message.CheckID(m.ID); kind != "" {
			t.Errorf("ID %q: %s", m.ID, kind)
		}
		name("ID", m.ID)
		name("From", m.From)
		name("To", m.To)
		text("TS", m.TS)
		if m.Text != nil {
			text("Text", *m.Text)
		}
		if m.Raw != nil {
			raw(m.Raw)
		}
	}
	for _, s := range content.Statuses {
		if kind, _ := message.CheckID(s.ID); kind != "" {
			t.Errorf("ID %q: %s", s.ID, kind)
		}
		name("ID", s.ID)
		name("Status", s.Status)
		name("Recipient", s.Recipient)
		if s.Status == "" || s.Status != strings.ToLower(s.Status) {
			t.Errorf("Status %q", s.Status)
		}
		raw(s.Raw)
	}
}

func FuzzTwilioParse(f *testing.F) {
	f.Add([]byte(twilioForm), true)
	f.Add([]byte("MessageSid=%00&Body=%00%ff&From=whatsapp:%00"), true)
	f.Add([]byte("SmsSid=a&SmsStatus=SENT%ff&%ff=1&%fe=2&A=1&A=1"), true)
	f.Add([]byte("MessageSid=SM1&MessageStatus=%C4%B0&To=x"), true)
	f.Add([]byte(`{"MessageSid":"SM\u0000","Body":"\ud800","x":{"\u0000":[1]}}`), false)
	f.Add([]byte(`{"MessageSid":1e400,"MessageStatus":true}`), false)
	f.Add([]byte(`[1]`), false)
	for _, v := range vectors(f) {
		if v.Provider == "twilio" {
			f.Add([]byte(v.Body), v.ContentType != "application/json")
		}
	}
	f.Fuzz(func(t *testing.T, body []byte, form bool) {
		r := twilioRequest(t, twilioPath, string(body), "")
		if !form {
			r.Header.Set("Content-Type", "application/json")
		}
		content, err := twilio(t, twilioSite).Parse(r)
		if err != nil {
			var invalid *message.InvalidError
			if !errors.As(err, &invalid) || len(invalid.Faults) == 0 || form {
				t.Fatalf("got %v", err)
			}
			return
		}
		if len(content.Messages)+len(content.Statuses)+content.Ignored != 1 {
			t.Fatalf("got %+v", content)
		}
		storable(t, content)
	})
}

// FuzzTwilioVerify compares with net/url's reading of the form, where there is
// one.
func FuzzTwilioVerify(f *testing.F) {
	right := twilioSignature(twilioToken, twilioSite+twilioPath+twilioJoined)
	f.Add([]byte(twilioForm), "", right, "hooks.example.com", true)
	f.Add([]byte(twilioForm), "a=b", right, "h:80", true)
	f.Add([]byte("A=2&A=1&A=2&%zz=%ff"), "bodySHA256="+hexOf("{}"), right, "a@b", true)
	f.Add([]byte("{}"), "bodySHA256="+hexOf("{}"), twilioSignature(twilioToken, twilioSite+twilioPath+"?bodySHA256="+hexOf("{}")), "", false)
	f.Add([]byte("{}"), "bodySHA256=00", "", "[::1]:9", false)
	f.Fuzz(func(t *testing.T, body []byte, query, given, host string, form bool) {
		r := twilioRequest(t, twilioPath, string(body), given)
		r.URL.RawQuery, r.Host = query, host
		r.Header.Set("X-Forwarded-Host", host)
		r.Header.Set("X-Forwarded-Uri", query)
		if !form {
			r.Header.Set("Content-Type", "application/json")
		}
		at := twilioPath
		if query != "" {
			at += "?" + query
		}
		var signed []string // all that may be signed
		for _, site := range []string{twilioSite, twilioSite + ":443"} {
			if values, err := url.ParseQuery(string(body)); form && err == nil && bytes.Count(body, []byte("&")) < 1000 {
				signed = append(signed, site+at+joined(values))
			}
			if strings.Contains(strings.ToLower(query), hexOf(string(body))) || len(body) == 0 {
				signed = append(signed, site+at)
			}
		}
		p := twilio(t, twilioSite)
		keyID, err := p.Verify(r)
		ok := false
		for _, s := range signed {
			ok = ok || given == twilioSignature(twilioToken, s) || given == twilioSignature(twilioPrevious, s)
		}
		// A form that net/url cannot read may be right as well; nobody guesses that.
		if err == nil && !ok {
			t.Fatalf("accepted %q under %q", given, keyID)
		}
		if err != nil {
			var refusal *provider.Refusal
			if !errors.As(err, &refusal) || keyID != "" || !utf8.ValidString(refusal.Reason) || len(refusal.Reason) > 2000 {
				t.Fatalf("got %q, %v", keyID, err)
			}
		}
		if !form || len(signed) == 0 {
			return
		}
		r.Header.Set("X-Twilio-Signature", twilioSignature(twilioPrevious, signed[0]))
		if keyID, err := p.Verify(r); err != nil || keyID != "previous" {
			t.Fatalf("the right one: got %q, %v", keyID, err)
		}
	})
}

// joined is what Twilio signs of parameters.
func joined(values url.Values) string {
	var b strings.Builder
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		slices.Sort(values[name])
		for _, v := range slices.Compact(values[name]) {
			b.WriteString(name + v)
		}
	}
	return b.String()
}
