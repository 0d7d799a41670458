package provider_test

import (
	"encoding/hex"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lyftr/internal/message"
	"lyftr/internal/provider"
	"lyftr/internal/signature"
)

func whatsApp(t testing.TB) *provider.WhatsApp {
	t.Helper()
	w := &provider.WhatsApp{AppSecret: "test_app_secret", Previous: "otro_secreto", VerifyToken: "vibecoding"}
	if err := w.Prepare(); err != nil {
		t.Fatal(err)
	}
	return w
}

const (
	hubBody = `{"object":"whatsapp_business_account","entry":[]}`
	hubMAC  = "dec6a680679a968e7e0319355b23599cbfc54502c0784668e9618baa0c633756"
	hubOld  = "769b03d8c2ae6498f2d1e1f7299c0ba55448c69d741e7b0bb243d852d8a8d8c7"
)

func TestWhatsAppPrepare(t *testing.T) {
	for _, c := range []struct {
		name string
		w    provider.WhatsApp
		want string // in the error
		keys []string
	}{
		{"nothing", provider.WhatsApp{}, "", nil},
		{"secret", provider.WhatsApp{AppSecret: "a"}, "", []string{"current"}},
		{"all", provider.WhatsApp{AppSecret: "a", Previous: "b", VerifyToken: "c"}, "", []string{"current", "previous"}},
		{"previous alone", provider.WhatsApp{Previous: "b"}, "WHATSAPP_APP_SECRET_PREVIOUS is set but WHATSAPP_APP_SECRET is not", nil},
		{"token alone", provider.WhatsApp{VerifyToken: "c"}, "WHATSAPP_VERIFY_TOKEN is set but WHATSAPP_APP_SECRET is not", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.w.Prepare()
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if got := c.w.KeyIDs(); err == nil && !slices.Equal(c.keys, got) {
				t.Errorf("keys %q, want %q", got, c.keys)
			}
		})
	}
}

func TestWhatsAppWarnings(t *testing.T) {
	for _, c := range []struct {
		w    provider.WhatsApp
		want []string // the beginnings
	}{
		{provider.WhatsApp{}, nil},
		{provider.WhatsApp{AppSecret: "0123456789abcdef", VerifyToken: "c"}, nil},
		{provider.WhatsApp{AppSecret: "short", VerifyToken: "c"}, []string{"WHATSAPP_APP_SECRET is short"}},
		{provider.WhatsApp{AppSecret: "0123456789abcdef"}, []string{"WHATSAPP_VERIFY_TOKEN is not set: the challenge"}},
	} {
		got := c.w.Warnings()
		if len(got) != len(c.want) {
			t.Errorf("%+v: got %q", c.w, got)
			continue
		}
		for i := range got {
			if !strings.HasPrefix(got[i], c.want[i]) {
				t.Errorf("got %q, want %q", got[i], c.want[i])
			}
		}
	}
}

func TestWhatsAppRecognizes(t *testing.T) {
	for name, want := range map[string]bool{
		"X-Hub-Signature-256": true, "X-Hub-Signature": true, "x-hub-signature-256": true,
		"X-Signature": false, "X-Twilio-Signature": false,
	} {
		h := http.Header{}
		h.Set(name, "")
		if got := whatsApp(t).Recognizes(h); got != want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

func TestWhatsAppVerify(t *testing.T) {
	const right = "sha256=" + hubMAC
	for _, c := range []struct {
		name   string
		header http.Header
		key    string
		reason string
	}{
		{"right", http.Header{"X-Hub-Signature-256": {right}}, "current", ""},
		{"previous", http.Header{"X-Hub-Signature-256": {"sha256=" + hubOld}}, "previous", ""},
		{"upper case", http.Header{"X-Hub-Signature-256": {"sha256=" + strings.ToUpper(hubMAC)}}, "current", ""},
		{"beside the old header", http.Header{"X-Hub-Signature-256": {right}, "X-Hub-Signature": {"sha1=00"}}, "current", ""},
		{"none", nil, "", "the header X-Hub-Signature-256 is missing"},
		{"old header alone", http.Header{"X-Hub-Signature": {"sha1=" + strings.Repeat("0", 40)}}, "", "the header X-Hub-Signature-256 is missing"},
		{"right one in the old header", http.Header{"X-Hub-Signature": {right}}, "", "the header X-Hub-Signature-256 is missing"},
		{"lyftr's header", http.Header{"X-Signature": {hubMAC}}, "", "the header X-Hub-Signature-256 is missing"},
		{"twice", http.Header{"X-Hub-Signature-256": {right, right}}, "", "is there 2 times"},
		{"empty", http.Header{"X-Hub-Signature-256": {""}}, "", "does not start with sha256="},
		{"bare", http.Header{"X-Hub-Signature-256": {hubMAC}}, "", "does not start with sha256="},
		{"sha1", http.Header{"X-Hub-Signature-256": {"sha1=" + hubMAC}}, "", "does not start with sha256="},
		{"prefix in upper case", http.Header{"X-Hub-Signature-256": {"SHA256=" + hubMAC}}, "", "does not start with sha256="},
		{"prefix twice", http.Header{"X-Hub-Signature-256": {"sha256=" + right}}, "", "has 71 characters behind sha256="},
		{"short", http.Header{"X-Hub-Signature-256": {right[:len(right)-1]}}, "", "has 63 characters behind sha256="},
		{"space", http.Header{"X-Hub-Signature-256": {right + " "}}, "", "has 65 characters behind sha256="},
		{"no hex", http.Header{"X-Hub-Signature-256": {"sha256=" + strings.Repeat("g", 64)}}, "", "the signature fits no secret"},
		{"list", http.Header{"X-Hub-Signature-256": {right + ", " + right}}, "", "characters behind sha256="},
		{"another secret", http.Header{"X-Hub-Signature-256": {"sha256=" + signature.SignHex([]byte("other"), []byte(hubBody))}}, "",
			"the signature fits no secret: the sender signs with another one than WHATSAPP_APP_SECRET"},
		{"verify token", http.Header{"X-Hub-Signature-256": {"sha256=" + signature.SignHex([]byte("vibecoding"), []byte(hubBody))}}, "",
			"the signature is right for the value of WHATSAPP_VERIFY_TOKEN: the sender has to sign with that of WHATSAPP_APP_SECRET"},
	} {
		t.Run(c.name, func(t *testing.T) {
			key, err := whatsApp(t).Verify(&provider.Request{Header: c.header, Body: []byte(hubBody)})
			if key != c.key {
				t.Errorf("got key %q, want %q", key, c.key)
			}
			var refusal *provider.Refusal
			switch {
			case c.reason == "" && err != nil:
				t.Error(err)
			case c.reason != "" && (!errors.As(err, &refusal) || !strings.Contains(refusal.Reason, c.reason)):
				t.Errorf("got %v, want %q", err, c.reason)
			}
		})
	}
}

func TestWhatsAppNoKeys(t *testing.T) {
	w := &provider.WhatsApp{}
	if err := w.Prepare(); err != nil {
		t.Fatal(err)
	}
	h := http.Header{"X-Hub-Signature-256": {"sha256=" + signature.SignHex(nil, []byte(hubBody))}}
	if _, err := w.Verify(&provider.Request{Header: h, Body: []byte(hubBody)}); err == nil {
		t.Error("verified without a key")
	}
	if _, err := w.Sign("", []byte(hubBody), time.Now()); err == nil {
		t.Error("signed without a secret")
	}
}

func TestWhatsAppChallenge(t *testing.T) {
	const right = "hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=vibecoding"
	for _, c := range []struct{ name, query, answer, reason string }{
		{"right", right, "1158201444", ""},
		{"beside others", right + "&x=1&hub.mod=2", "1158201444", ""},
		{"any text", "hub.mode=subscribe&hub.challenge=%3Cb%3E%C3%A9+%26&hub.verify_token=vibecoding", "<b>é &", ""},
		{"no mode", "hub.challenge=1&hub.verify_token=vibecoding", "", "hub.mode is missing"},
		{"another mode", "hub.mode=unsubscribe&hub.challenge=1&hub.verify_token=vibecoding", "", "hub.mode is not subscribe"},
		{"mode twice", right + "&hub.mode=subscribe", "", "hub.mode is there 2 times"},
		{"no token", "hub.mode=subscribe&hub.challenge=1", "", "hub.verify_token is missing"},
		{"empty token", "hub.mode=subscribe&hub.challenge=1&hub.verify_token=", "", "hub.verify_token is not WHATSAPP_VERIFY_TOKEN"},
		{"another token", "hub.mode=subscribe&hub.challenge=1&hub.verify_token=Vibecoding", "", "hub.verify_token is not WHATSAPP_VERIFY_TOKEN"},
		{"longer token", right + "1", "", "hub.verify_token is not WHATSAPP_VERIFY_TOKEN"},
		{"App Secret", "hub.mode=subscribe&hub.challenge=1&hub.verify_token=test_app_secret", "", "hub.verify_token is not WHATSAPP_VERIFY_TOKEN"},
		{"token twice", right + "&hub.verify_token=vibecoding", "", "hub.verify_token is there 2 times"},
		{"no challenge", "hub.mode=subscribe&hub.verify_token=vibecoding", "", "hub.challenge is missing"},
		{"empty challenge", "hub.mode=subscribe&hub.challenge=&hub.verify_token=vibecoding", "", "hub.challenge is empty"},
		{"challenge twice", right + "&hub.challenge=2", "", "hub.challenge is there 2 times"},
		{"long challenge", "hub.mode=subscribe&hub.verify_token=vibecoding&hub.challenge=" + strings.Repeat("1", 1025), "", "hub.challenge has 1025 bytes"},
		{"line break", "hub.mode=subscribe&hub.verify_token=vibecoding&hub.challenge=1%0d%0a", "", "hub.challenge holds control characters"},
		{"invalid UTF-8", "hub.mode=subscribe&hub.verify_token=vibecoding&hub.challenge=%ff", "", "hub.challenge is not valid UTF-8"},
		{"nothing", "", "", "hub.mode is missing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			query, err := url.ParseQuery(c.query)
			if err != nil {
				t.Fatal(err)
			}
			answer, err := whatsApp(t).Challenge(query)
			if answer != c.answer {
				t.Errorf("got %q", answer)
			}
			var refusal *provider.Refusal
			switch {
			case c.reason == "" && err != nil:
				t.Error(err)
			case c.reason != "" && (!errors.As(err, &refusal) || !strings.Contains(refusal.Reason, c.reason)):
				t.Errorf("got %v, want %q", err, c.reason)
			}
		})
	}
}

// Without a token nothing is right, an empty one least of all.
func TestWhatsAppChallengeNoToken(t *testing.T) {
	w := &provider.WhatsApp{AppSecret: "test_app_secret"}
	if err := w.Prepare(); err != nil {
		t.Fatal(err)
	}
	_, err := w.Challenge(url.Values{"hub.mode": {"subscribe"}, "hub.challenge": {"1"}, "hub.verify_token": {""}})
	if err == nil || err.Error() != "WHATSAPP_VERIFY_TOKEN is not set: set it to the verify token of Meta's App Dashboard" {
		t.Errorf("got %v", err)
	}
}

func TestWhatsAppAcknowledge(t *testing.T) {
	w := httptest.NewRecorder()
	if err := whatsApp(t).Acknowledge(w); err != nil || w.Code != http.StatusOK || w.Body.String() != `{"status":"ok"}` {
		t.Errorf("got %d, %q, %v", w.Code, w.Body, err)
	}
}

// What Compose makes and Sign signs is verified and says the same.
func TestWhatsAppCompose(t *testing.T) {
	text := "नमस्ते <b>👋</b>"
	at := time.Date(2025, 1, 15, 10, 0, 0, 0, time.UTC)
	for _, want := range []message.Message{
		{Source: "whatsapp", ID: "wamid.1", From: "+919876543210", To: "+14155550100", TS: "2025-01-15T10:00:00Z", At: at, Text: &text},
		{Source: "whatsapp", ID: "wamid.2", From: "US.13491208655302741918", To: "+14155550100", TS: "2025-01-15T10:00:00Z", At: at},
	} {
		w := whatsApp(t)
		body, err := w.Compose(want)
		if err != nil {
			t.Fatal(err)
		}
		h, err := w.Sign("http://127.0.0.1/webhook/whatsapp", body, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		r := &provider.Request{Header: h, Body: body, Now: time.Now()}
		if key, err := w.Verify(r); key != "current" || err != nil {
			t.Errorf("got key %q, %v", key, err)
		}
		if h.Get("Content-Type") != "application/json" {
			t.Errorf("got %v", h)
		}
		got, err := w.Parse(r)
		if err != nil || len(got.Messages) != 1 || len(got.Statuses) != 0 || got.Ignored != 0 {
			t.Fatalf("got %+v, %v", got, err)
		}
		got.Messages[0].Raw = nil
		if diff := cmp.Diff(want, got.Messages[0]); diff != "" {
			t.Error(diff)
		}
	}
}

func FuzzWhatsAppVerify(f *testing.F) {
	f.Add([]byte(hubBody), "sha256="+hubMAC, uint8(1))
	f.Add([]byte(hubBody), "sha256="+hubOld, uint8(1))
	f.Add([]byte(hubBody), hubMAC, uint8(1))
	f.Add([]byte(hubBody), "sha1="+hubMAC, uint8(1))
	f.Add([]byte(hubBody), "sha256="+hubMAC, uint8(2))
	f.Add([]byte("test"), "sha256="+signature.SignHex([]byte("vibecoding"), []byte("test")), uint8(1))
	f.Add([]byte(""), "", uint8(0))
	w := whatsApp(f)
	f.Fuzz(func(t *testing.T, body []byte, value string, count uint8) {
		h := http.Header{"X-Hub-Signature-256": []string{value, value}[:count%3]}
		want := ""
		given, err := hex.DecodeString(strings.TrimPrefix(value, "sha256="))
		if count%3 == 1 && strings.HasPrefix(value, "sha256=") && err == nil {
			switch hex.EncodeToString(given) {
			case signature.SignHex([]byte("test_app_secret"), body):
				want = "current"
			case signature.SignHex([]byte("otro_secreto"), body):
				want = "previous"
			}
		}
		key, err := w.Verify(&provider.Request{Header: h, Body: body})
		var refusal *provider.Refusal
		if key != want || (err == nil) != (want != "") || err != nil && !errors.As(err, &refusal) {
			t.Fatalf("%q: got %q, %v; want %q", h, key, err, want)
		}
		h = http.Header{"X-Hub-Signature-256": {"sha256=" + signature.SignHex([]byte("otro_secreto"), body)}}
		if key, err := w.Verify(&provider.Request{Header: h, Body: body}); key != "previous" || err != nil {
			t.Fatalf("the right one: got %q, %v", key, err)
		}
	})
}
