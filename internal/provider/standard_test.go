package provider_test

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lyftr/internal/message"
	"lyftr/internal/provider"
)

// Published by the libraries of Standard Webhooks and of Svix.
const (
	standardSecret  = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	standardPublic  = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
	standardPrivate = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
	standardID      = "msg_p5jXN8AQM9LWM0D4loKWxJek"
	standardTime    = "1614265330"
	standardHead    = standardID + "." + standardTime + "."
)

// standardKey makes a secret of its bytes.
func standardKey(b string) string {
	return "whsec_" + base64.StdEncoding.EncodeToString([]byte(b))
}

const (
	standardOld   = "an old secret, 24 bytes!"
	standardOther = "another one of 24 bytes!"
)

func standard(t testing.TB) *provider.Standard {
	t.Helper()
	p := &provider.Standard{
		Secret:   standardSecret + ", " + standardPublic + "\n" + strings.TrimPrefix(standardKey(standardOther), "whsec_"),
		Previous: standardKey(standardOld),
	}
	if err := p.Prepare(); err != nil {
		t.Fatal(err)
	}
	return p
}

func standardMAC(key, signed string) []byte {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(signed))
	return mac.Sum(nil)
}

// v1 is an entry of the list; the key is in bytes.
func v1(key, signed string) string {
	return "v1," + base64.StdEncoding.EncodeToString(standardMAC(key, signed))
}

// v1a is an entry by the private key above.
func v1a(t testing.TB, signed string) string {
	t.Helper()
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(standardPrivate, "whsk_"))
	if err != nil {
		t.Fatal(err)
	}
	return "v1a," + base64.StdEncoding.EncodeToString(ed25519.Sign(key, []byte(signed)))
}

func standardHeader(id, timestamp, list string) http.Header {
	return http.Header{"Webhook-Id": {id}, "Webhook-Timestamp": {timestamp}, "Webhook-Signature": {list}}
}

// standardRequest is a delivery that arrives when it is sent.
func standardRequest(h http.Header, body string) *provider.Request {
	return &provider.Request{Header: h, Body: []byte(body), Now: time.Unix(1614265330, 999_999_999)}
}

var standardRaw = func() string {
	b, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(standardSecret, "whsec_"))
	if err != nil {
		panic(err)
	}
	return string(b)
}()

func TestStandardPrepare(t *testing.T) {
	const none = "is none: it must be whsec_"
	for _, c := range []struct {
		name, secret, previous string
		want                   string   // in the error
		ids                    []string // if there is none
	}{
		{name: "off"},
		{name: "one", secret: standardSecret, ids: []string{"current"}},
		{name: "bare", secret: standardSecret[6:], ids: []string{"current"}},
		{name: "without padding", secret: strings.TrimRight(standardKey("25 bytes, 25 bytes, 25 by"), "="), ids: []string{"current"}},
		{name: "public", secret: standardPublic, ids: []string{"current"}},
		{name: "several", secret: " " + standardSecret + ",\t" + standardPublic + "\r\n" + standardSecret + ", ", previous: standardPublic + "," + standardSecret,
			ids: []string{"current", "current-2", "current-3", "previous", "previous-2"}},
		{name: "previous alone", previous: standardSecret, want: "STANDARD_WEBHOOKS_SECRET_PREVIOUS is set but STANDARD_WEBHOOKS_SECRET is not"},
		{name: "separators only", secret: " , ", want: "holds no secret"},
		{name: "private", secret: standardPrivate, want: "STANDARD_WEBHOOKS_SECRET: number 1 of its secrets is a private key (whsk_…), which is the sender's alone"},
		{name: "second is none", secret: standardSecret + ",sword-fish", want: "STANDARD_WEBHOOKS_SECRET: number 2 of its secrets " + none},
		{name: "previous is none", secret: standardSecret, previous: "sword-fish", want: "STANDARD_WEBHOOKS_SECRET_PREVIOUS: number 1 of its secrets " + none},
		{name: "prefix alone", secret: "whsec_", want: none},
		{name: "both prefixes", secret: "whsec_whsec_AAAA", want: none},
		{name: "public of 31 bytes", secret: "whpk_" + base64.StdEncoding.EncodeToString(make([]byte, 31)), want: none},
		{name: "public of no base64", secret: "whpk_sword-fish", want: none},
		{name: "bits too many", secret: "AB==", want: none},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := &provider.Standard{Secret: c.secret, Previous: c.previous}
			err := p.Prepare()
			if (err != nil) != (c.want != "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
			if err != nil && (strings.Contains(err.Error(), "sword") || strings.Contains(err.Error(), standardPrivate[5:20])) {
				t.Errorf("the error holds a secret: %v", err)
			}
			if diff := cmp.Diff(c.ids, p.KeyIDs()); err == nil && diff != "" {
				t.Error(diff)
			}
			if w := p.Warnings(); len(w) != 0 {
				t.Errorf("warnings: %q", w)
			}
		})
	}
	p := &provider.Standard{Secret: standardSecret + "," + standardKey("23 bytes, 23 bytes, 23 ") + "," + standardPublic}
	if err := p.Prepare(); err != nil {
		t.Fatal(err)
	}
	if w := p.Warnings(); len(w) != 1 || !strings.HasPrefix(w[0], "STANDARD_WEBHOOKS_SECRET: number 2 of its secrets is short, it has 23 bytes") {
		t.Errorf("warnings: %q", w)
	}
}

func TestStandardVerify(t *testing.T) {
	right := v1(standardRaw, standardHead+body)
	asymmetric := v1a(t, standardHead+body)
	wrong := v1("x", standardHead+body)
	wrongA := v1a(t, "x")
	svix := func(h http.Header) http.Header {
		return http.Header{"Svix-Id": h["Webhook-Id"], "Svix-Timestamp": h["Webhook-Timestamp"], "Svix-Signature": h["Webhook-Signature"]}
	}
	with := func(h http.Header, name string, values ...string) http.Header {
		h = h.Clone()
		if h[name] = values; len(values) == 0 {
			delete(h, name)
		}
		return h
	}
	all := standardHeader(standardID, standardTime, right)
	list := func(entries ...string) http.Header {
		return standardHeader(standardID, standardTime, strings.Join(entries, " "))
	}
	signed := func(id, timestamp string) http.Header {
		return standardHeader(id, timestamp, v1(standardRaw, id+"."+timestamp+"."+body))
	}
	for _, c := range []struct {
		name   string
		header http.Header
		want   string // the key's ID, or in the reason if it has a blank
	}{
		{"v1", all, "current"},
		{"v1a", list(asymmetric), "current-2"},
		{"bare secret", list(v1(standardOther, standardHead+body)), "current-3"},
		{"previous", list(v1(standardOld, standardHead+body)), "previous"},
		{"Svix's headers", svix(all), "current"},
		{"both kinds", with(with(all, "Svix-Id", "x"), "Svix-Signature", "x"), "current"},
		{"some of both", with(svix(all), "Webhook-Id", standardID), "Webhook-Timestamp is missing"},

		{"wrong and right", list(wrong, right), "current"},
		{"right and wrong", list(right, wrong), "current"},
		{"of v1a and v1", list(asymmetric, v1(standardOld, standardHead+body)), "previous"},
		{"wrong v1 and right v1a", list(wrong, wrongA, asymmetric), "current-2"},
		{"unknown versions", list("v2,x", "v1b,"+right[3:], "", "x", ",", right), "current"},
		{"v1 that is no base64", list("v1,!", "v1,", "v1", right), "current"},
		{"as many as there may be", list(strings.Repeat("x ", 31) + right), "current"},
		{"one too many", list(strings.Repeat("x ", 32) + right), "more than 32 signatures"},
		{"as many v1a as there may be", list(wrongA, wrongA, wrongA, asymmetric), "current-2"},
		{"one v1a too many", list(wrongA, wrongA, wrongA, wrongA, asymmetric), "more than 4 signatures of v1a"},
		{"separated by commas", list(wrong + "," + right), "there is no signature"},
		{"separated by tabs", list(wrong + "\t" + right), "there is no signature"},

		{"no ID", with(all, "Webhook-Id"), "Webhook-Id is missing"},
		{"no time", with(all, "Webhook-Timestamp"), "Webhook-Timestamp is missing"},
		{"no signature", with(all, "Webhook-Signature"), "Webhook-Signature is missing"},
		{"no headers", http.Header{}, "Webhook-Id is missing"},
		{"no ID of Svix", with(svix(all), "Svix-Id"), "Svix-Id is missing"},
		{"two IDs", with(all, "Webhook-Id", standardID, standardID), "Webhook-Id is there 2 times"},
		{"two times", with(all, "Webhook-Timestamp", standardTime, standardTime), "Webhook-Timestamp is there 2 times"},
		{"two lists", with(all, "Webhook-Signature", right, right), "Webhook-Signature is there 2 times"},
		{"empty ID", signed("", standardTime), "Webhook-Id is empty"},
		{"dot in the ID", signed("msg.1", standardTime), "holds a dot"},
		{"control character in the ID", signed("msg\x7f", standardTime), "control characters"},
		{"longest ID", signed(strings.Repeat("x", 255), standardTime), "current"},
		{"longer ID", signed(strings.Repeat("x", 256), standardTime), "256 bytes, more than 255"},
		{"empty list", list(""), "there is no signature"},

		{"300 s old", signed(standardID, "1614265030"), "current"},
		{"301 s old", signed(standardID, "1614265029"), "the signature is right, but the delivery is 301 s old, more than 300:"},
		{"301 s old, v1a", standardHeader(standardID, "1614265029", v1a(t, standardID+".1614265029."+body)), "the signature is right, but the delivery is 301 s old"},
		{"old and forged", standardHeader(standardID, "1614265029", wrong), "the signature fits no secret"},
		{"300 s early", signed(standardID, "1614265630"), "current"},
		{"301 s early", signed(standardID, "1614265631"), "the signature is right, but the delivery is from 301 s in the future, more than 300:"},
		{"leading zero", signed(standardID, "01614265330"), "current"},
		{"two leading zeros", signed(standardID, "001614265330"), "Webhook-Timestamp is no time"},
		{"zero", signed(standardID, "0"), "1614265330 s old"},
		{"11 digits", signed(standardID, "99999999999"), "in the future"},
		{"milliseconds", signed(standardID, "1614265330000"), "not milliseconds"},
		{"sign", signed(standardID, "+1614265330"), "Webhook-Timestamp is no time"},
		{"minus", signed(standardID, "-1614265330"), "Webhook-Timestamp is no time"},
		{"blank", signed(standardID, " 1614265330"), "Webhook-Timestamp is no time"},
		{"fraction", signed(standardID, "1614265330.5"), "Webhook-Timestamp is no time"},
		{"underscores", signed(standardID, "1_614_265"), "Webhook-Timestamp is no time"},
		{"other digits", signed(standardID, "१६१४"), "Webhook-Timestamp is no time"},
		{"empty time", signed(standardID, ""), "Webhook-Timestamp is no time"},
		{"date", signed(standardID, "2021-02-25"), "Webhook-Timestamp is no time"},

		{"another ID", with(all, "Webhook-Id", standardID+"x"), "the signature fits no secret"},
		{"another time", with(all, "Webhook-Timestamp", "1614265331"), "the signature fits no secret"},
		{"v1 as v1a", list("v1a," + right[3:]), "there is no signature"},
	} {
		t.Run(c.name, func(t *testing.T) {
			keyID, err := standard(t).Verify(standardRequest(c.header, body))
			if !strings.Contains(c.want, " ") {
				if keyID != c.want || err != nil {
					t.Errorf("got %q, %v; want %q", keyID, err, c.want)
				}
				return
			}
			var refusal *provider.Refusal
			if !errors.As(err, &refusal) || keyID != "" || !strings.Contains(refusal.Reason, c.want) {
				t.Errorf("got %q, %v; want %q", keyID, err, c.want)
			}
		})
	}
	for name, changed := range map[string]string{"a blank more": body + " ", "another": "{}", "none": ""} {
		for _, h := range []http.Header{all, list(asymmetric)} {
			if _, err := standard(t).Verify(standardRequest(h, changed)); err == nil {
				t.Errorf("body %s: verified", name)
			}
		}
	}
	off := &provider.Standard{}
	if err := off.Prepare(); err != nil {
		t.Fatal(err)
	}
	for _, h := range []http.Header{all, list(asymmetric), list(v1("", standardHead+body))} {
		if _, err := off.Verify(standardRequest(h, body)); err == nil {
			t.Error("verified without a secret")
		}
	}
}

// A reason names the mistake by proof.
func TestStandardReasons(t *testing.T) {
	bare := strings.TrimPrefix(standardKey(standardOther), "whsec_")
	mac := standardMAC(standardRaw, standardHead+body)
	spaced := strings.ReplaceAll(strings.ReplaceAll(body, `":`, `": `), `,"`, `, "`)
	for _, c := range []struct {
		name, list string
		want       string
	}{
		{"not decoded", v1(standardSecret, standardHead+body), "right for the secret as it is written: the sender does not decode its base64, so mend the sender, or give STANDARD_WEBHOOKS_SECRET the base64 of what it signs with"},
		{"not decoded, without whsec_", v1(standardSecret[6:], standardHead+body), "right for the secret as it is written behind whsec_: "},
		{"bare, not decoded", v1(bare, standardHead+body), "right for the secret as it is written: "},
		{"body alone", v1(standardRaw, body), "right for the body alone: the sender has to sign the ID, a dot, the time, a dot and the body"},
		{"body alone, v1a", v1a(t, body), "right for the body alone: "},
		{"time and body", v1(standardRaw, standardTime+"."+body), "right for the time and the body: "},
		{"ID and body", v1(standardRaw, standardID+"."+body), "right for the ID and the body: "},
		{"no dots", v1(standardRaw, standardID+standardTime+body), "right for ID, time and body without dots"},
		{"body changed", v1(standardRaw, standardHead+body+"\n"), "right for the body with a newline at its end: "},
		{"body changed, v1a", v1a(t, standardHead+spaced), "right for the body with a space behind each comma and colon"},
		{"no version", base64.StdEncoding.EncodeToString(mac), "is right, but not written as it should be: v1, a comma"},
		{"hex", "v1," + hex.EncodeToString(mac), "is right, but not written as it should be"},
		{"hex alone", hex.EncodeToString(mac), "is right, but not written as it should be"},
		{"base64 of URLs without padding", "v1," + base64.RawURLEncoding.EncodeToString(mac), "is right, but not written as it should be"},
		{"= for a comma", "v1=" + hex.EncodeToString(mac), "there is no signature of the version v1 or v1a"},
		{"wrong", v1("x", standardHead+body), "fits no secret"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := standard(t).Verify(standardRequest(standardHeader(standardID, standardTime, c.list), body))
			var refusal *provider.Refusal
			if !errors.As(err, &refusal) || !strings.Contains(refusal.Reason, c.want) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
			for _, secret := range []string{standardSecret[6:], bare, standardOther, "9876543210", "Hello"} {
				if strings.Contains(refusal.Reason, secret) {
					t.Errorf("the reason holds %q: %s", secret, refusal.Reason)
				}
			}
		})
	}
	for setting, c := range map[string]struct{ list, want string }{
		standardSecret: {v1a(t, standardHead+body), "STANDARD_WEBHOOKS_SECRET holds no public key"},
		standardPublic: {v1(standardRaw, standardHead+body), "STANDARD_WEBHOOKS_SECRET holds public keys only"},
	} {
		p := &provider.Standard{Secret: setting}
		if err := p.Prepare(); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Verify(standardRequest(standardHeader(standardID, standardTime, c.list), body)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
	// A stranger makes no work with what is long.
	long := strings.Repeat(" ", 300<<10)
	if _, err := standard(t).Verify(standardRequest(standardHeader(standardID, standardTime, v1(standardRaw, long)), long)); err == nil || !strings.Contains(err.Error(), "fits no secret") {
		t.Errorf("got %v", err)
	}
}

func TestStandardRecognizes(t *testing.T) {
	for name, want := range map[string]bool{"webhook-signature": true, "svix-signature": true, "webhook-id": false, "x-signature": false} {
		h := http.Header{}
		h.Set(name, "x")
		if got := standard(t).Recognizes(h); got != want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

func TestStandardParse(t *testing.T) {
	want := message.Message{
		Source: "standard", ID: "m1", From: "+919876543210", To: "+14155550100",
		TS: "2025-01-15T10:00:00Z", At: time.Date(2025, 1, 15, 10, 0, 0, 0, time.UTC), Text: ptr("Hello"),
	}
	content, err := standard(t).Parse(&provider.Request{Body: []byte(body)})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(provider.Content{Messages: []message.Message{want}}, content); diff != "" {
		t.Error(diff)
	}
	content, err = standard(t).Parse(&provider.Request{Body: []byte(`{"message_id":"m1"}`)})
	var invalid *message.InvalidError
	if !errors.As(err, &invalid) || content.Messages != nil {
		t.Errorf("got %+v, %v; want a *message.InvalidError", content, err)
	}
}

func TestStandardAcknowledge(t *testing.T) {
	w := httptest.NewRecorder()
	if err := standard(t).Acknowledge(w); err != nil {
		t.Fatal(err)
	}
	if w.Code != http.StatusOK || w.Body.String() != `{"status":"ok"}` || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("got %d, %q, %v", w.Code, w.Body, w.Header())
	}
}

// What is composed and signed is verified and read again.
func TestStandardSign(t *testing.T) {
	m := message.Message{ID: "m1", From: "+15551234567", To: "+14155550100", TS: "2025-01-15T10:00:00Z", Text: ptr("नमस्ते 👋")}
	for secret, want := range map[string]string{standardSecret: "current", standardPrivate + "," + standardSecret: "current-2"} {
		sender := &provider.Standard{Secret: secret}
		b, err := sender.Compose(m)
		if err != nil {
			t.Fatal(err)
		}
		h, err := sender.Sign("https://h/", b, time.Unix(1614265330, 0))
		if err != nil {
			t.Fatal(err)
		}
		for name := range h {
			if name != http.CanonicalHeaderKey(name) {
				t.Errorf("%s is not canonical", name)
			}
		}
		p, r := standard(t), standardRequest(h, string(b))
		if !p.Recognizes(h) {
			t.Error("not recognized")
		}
		if keyID, err := p.Verify(r); err != nil || keyID != want {
			t.Errorf("got %q, %v; want %q", keyID, err, want)
		}
		content, err := p.Parse(r)
		if err != nil || len(content.Messages) != 1 || content.Messages[0].ID != "m1" || !cmp.Equal(content.Messages[0].Text, m.Text) {
			t.Errorf("got %+v, %v", content, err)
		}
		again, err := sender.Sign("https://h/", b, time.Unix(1614265330, 0))
		if diff := cmp.Diff(h, again); err != nil || diff != "" {
			t.Error(err, diff)
		}
	}
	seed := base64.StdEncoding.EncodeToString(make([]byte, 64)) // of no key pair
	for secret, want := range map[string]string{"": "no secret", standardPublic: "is a public key", "sword-fish": "is none", "whsk_" + seed: "is no private key", "whsk_AAAA": "is no private key"} {
		if h, err := (&provider.Standard{Secret: secret}).Sign("", nil, time.Time{}); err == nil || h != nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "sword") {
			t.Errorf("%s: got %v", want, err)
		}
	}
}

// Only a signature that one of the keys made passes, and only at its time.
func FuzzStandardVerify(f *testing.F) {
	f.Add([]byte(body), standardID, standardTime, v1(standardRaw, standardHead+body), int64(0))
	f.Add([]byte(body), standardID, standardTime, "v2,x "+v1a(f, standardHead+body), int64(299))
	f.Add([]byte(body), standardID, "1", v1(standardOld, standardID+".1."+body), int64(-301))
	f.Add([]byte(""), "a.b", "hello", "v1,", int64(0))
	f.Add([]byte("{}"), "é", "99999999999", strings.Repeat("v1 ", 32), int64(0))
	f.Add([]byte(body), standardID, standardTime, hex.EncodeToString(standardMAC(standardRaw, standardHead+body)), int64(0))
	p := standard(f)
	public, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(standardPublic, "whpk_"))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte, id, timestamp, list string, late int64) {
		r := standardRequest(standardHeader(id, timestamp, list), string(body))
		late %= 1000
		at, err := strconv.ParseInt(timestamp, 10, 64)
		digits := err == nil && len(timestamp) <= 11 && timestamp[0] != '+' && timestamp[0] != '-'
		if digits {
			r.Now = time.Unix(at+late, 0)
		}
		signed := id + "." + timestamp + "." + string(body)
		made := false
		for entry := range strings.SplitSeq(list, " ") {
			for _, key := range []string{standardRaw, standardOther, standardOld} {
				made = made || entry == v1(key, signed)
			}
			if text, ok := strings.CutPrefix(entry, "v1a,"); ok {
				sig, err := base64.StdEncoding.DecodeString(text)
				made = made || err == nil && len(sig) == 64 && ed25519.Verify(public, []byte(signed), sig)
			}
		}
		good := digits && late >= -300 && late <= 300 && id != "" && len(id) <= 255 && !strings.ContainsAny(id, ".") && strings.Count(list, " ") < 32
		keyID, err := p.Verify(r)
		if err == nil && (!made || !good || keyID == "") {
			t.Fatalf("accepted under %q", keyID)
		}
		var refusal *provider.Refusal
		if err != nil && (!errors.As(err, &refusal) || keyID != "" || made && strings.Contains(refusal.Reason, "fits no secret")) {
			t.Fatalf("got %q, %v", keyID, err)
		}
		if !good || strings.ContainsFunc(id, func(r rune) bool { return r < ' ' || 0x7f <= r && r < 0xa0 }) {
			return
		}
		r.Header.Set("Webhook-Signature", v1(standardOld, signed))
		if keyID, err := p.Verify(r); err != nil || keyID != "previous" {
			t.Fatalf("the right one: got %q, %v", keyID, err)
		}
	})
}

func FuzzStandardParse(f *testing.F) {
	f.Add([]byte(body))
	f.Add([]byte(`{"message_id":"\u0000","from":"+1","to":"+2","ts":"2025-01-15T10:00:00Z","text":"\u0000"}`))
	f.Add([]byte(`{"test": 2432232314}`))
	p := standard(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		content, err := p.Parse(&provider.Request{Body: body})
		if err != nil {
			var invalid *message.InvalidError
			if !errors.As(err, &invalid) || len(invalid.Faults) == 0 {
				t.Fatalf("got %v", err)
			}
			return
		}
		if len(content.Messages) != 1 || content.Messages[0].Source != "standard" {
			t.Fatalf("got %+v", content)
		}
		storable(t, content)
	})
}
