package provider_test

import (
	"encoding/hex"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lyftr/internal/message"
	"lyftr/internal/provider"
	"lyftr/internal/signature"
)

const (
	body = `{"message_id":"m1","from":"+919876543210","to":"+14155550100","ts":"2025-01-15T10:00:00Z","text":"Hello"}`
	sig  = "ff1016e524bc9299d18988ecf27a880af9428140e3850af0c73ea1eef091a4cb"
)

func native(t testing.TB) *provider.Native {
	t.Helper()
	n := &provider.Native{Secret: "testsecret", Previous: "oldsecret"}
	if err := n.Prepare(); err != nil {
		t.Fatal(err)
	}
	return n
}

// verify returns the id of the key that a delivery is signed with, and whether
// there is one.
func verify(p provider.Provider, h http.Header, body []byte) (keyID string, ok bool) {
	keyID, err := p.Verify(&provider.Request{Header: h, Body: body})
	return keyID, err == nil
}

func TestNativeVerify(t *testing.T) {
	old := signature.SignHex([]byte("oldsecret"), []byte(body))
	for _, c := range []struct {
		name   string
		header http.Header
		want   string // the key's id; empty if refused
	}{
		{"right", http.Header{"X-Signature": {sig}}, "current"},
		{"previous secret", http.Header{"X-Signature": {old}}, "previous"},
		{"beside other headers", http.Header{"X-Signature": {sig}, "X-Hub-Signature-256": {"sha256=00"}}, "current"},
		{"no headers", nil, ""},
		{"missing", http.Header{}, ""},
		{"no value", http.Header{"X-Signature": {}}, ""},
		{"empty", http.Header{"X-Signature": {""}}, ""},
		{"wrong", http.Header{"X-Signature": {"123"}}, ""},
		{"right twice", http.Header{"X-Signature": {sig, sig}}, ""},
		{"right and wrong", http.Header{"X-Signature": {sig, "123"}}, ""},
		{"wrong and right", http.Header{"X-Signature": {"123", sig}}, ""},
		{"right and empty", http.Header{"X-Signature": {sig, ""}}, ""},
		{"both secrets", http.Header{"X-Signature": {sig, old}}, ""},
		{"list in one value", http.Header{"X-Signature": {sig + ", " + sig}}, ""},
		{"scheme of another provider", http.Header{"X-Signature": {"sha256=" + sig}}, ""},
		// No provider may be talked into another one's header.
		{"header of another provider", http.Header{"X-Hub-Signature-256": {"sha256=" + sig}}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			id, ok := verify(native(t), c.header, []byte(body))
			if id != c.want || ok != (c.want != "") {
				t.Errorf("got %q, %v; want %q", id, ok, c.want)
			}
		})
	}
}

// The name of the header is what net/http makes of any way to write it.
func TestNativeVerifyHeaderName(t *testing.T) {
	for _, name := range []string{"X-Signature", "x-signature", "X-SIGNATURE"} {
		h := http.Header{}
		h.Set(name, sig)
		if _, ok := verify(native(t), h, []byte(body)); !ok {
			t.Errorf("%s is not found", name)
		}
	}
}

// Verification is over the bytes as they came: one space makes it another body.
func TestNativeVerifyRawBody(t *testing.T) {
	h := http.Header{"X-Signature": {sig}}
	for _, other := range []string{"", " " + body, body + "\n", "{" + body[1:len(body)-1] + " }"} {
		if _, ok := verify(native(t), h, []byte(other)); ok {
			t.Errorf("verified %q", other)
		}
	}
}

func TestNativeNoKeys(t *testing.T) {
	n := &provider.Native{}
	if err := n.Prepare(); err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{"", sig, signature.SignHex(nil, []byte(body))} {
		if _, ok := verify(n, http.Header{"X-Signature": {s}}, []byte(body)); ok {
			t.Errorf("verified %q without a key", s)
		}
	}
}

// Whoever wants to be brief gets no diagnosis, and what is right stays right.
func TestNativeBrief(t *testing.T) {
	h := http.Header{"X-Signature": {signature.SignHex([]byte("testsecret\n"), []byte(body))}}
	reasons := map[bool]string{}
	for _, brief := range []bool{false, true} {
		_, err := native(t).Verify(&provider.Request{Header: h, Body: []byte(body), Brief: func() bool { return brief }})
		reasons[brief] = err.Error()
	}
	if !strings.Contains(reasons[false], "newline") || reasons[true] != "the signature fits no secret" {
		t.Errorf("the reasons are %v", reasons)
	}
	h = http.Header{"X-Signature": {sig}}
	if _, err := native(t).Verify(&provider.Request{Header: h, Body: []byte(body), Brief: func() bool { return true }}); err != nil {
		t.Error(err)
	}
}

func TestNativeParse(t *testing.T) {
	text := "Hello"
	want := []message.Message{{
		Source: "native", ID: "m1", From: "+919876543210", To: "+14155550100",
		TS: "2025-01-15T10:00:00Z", At: time.Date(2025, 1, 15, 10, 0, 0, 0, time.UTC), Text: &text,
	}}
	content, err := native(t).Parse(&provider.Request{Body: []byte(body)})
	got := content.Messages
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got[0].Source != native(t).Source() {
		t.Errorf("message of %q from provider %q", got[0].Source, native(t).Source())
	}
}

func TestNativeParseRefuses(t *testing.T) {
	for name, body := range map[string]string{
		"not JSON": "x", "not an object": "[]", "two messages": "[" + body + "," + body + "]", "faults": `{"message_id":"m1"}`,
	} {
		content, err := native(t).Parse(&provider.Request{Body: []byte(body)})
		got := content.Messages
		var invalid *message.InvalidError
		if !errors.As(err, &invalid) || len(invalid.Faults) == 0 || got != nil {
			t.Errorf("%s: got %+v, %v; want a *message.InvalidError", name, got, err)
		}
	}
}

func TestNativeAcknowledge(t *testing.T) {
	w := httptest.NewRecorder()
	if err := native(t).Acknowledge(w); err != nil {
		t.Fatal(err)
	}
	if w.Code != http.StatusOK || w.Body.String() != `{"status":"ok"}` || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("got %d, %q, %v", w.Code, w.Body, w.Header())
	}
}

// goneWriter is the answer to a client that has gone away.
type goneWriter struct{ http.ResponseWriter }

var errGone = errors.New("connection reset")

func (goneWriter) Write([]byte) (int, error) { return 0, errGone }

func TestNativeAcknowledgeGone(t *testing.T) {
	if err := native(t).Acknowledge(goneWriter{httptest.NewRecorder()}); !errors.Is(err, errGone) {
		t.Errorf("got %v", err)
	}
}

func FuzzSignatureHeader(f *testing.F) {
	f.Add([]byte(body), sig, "", uint8(1))
	f.Add([]byte(body), sig, sig, uint8(2))
	f.Add([]byte(body), sig, "123", uint8(2))
	f.Add([]byte(body), "", sig, uint8(2))
	f.Add([]byte(body), sig, "", uint8(0))
	f.Add([]byte(body), "0x"+sig, "", uint8(1))
	f.Add([]byte(body), " "+sig, "", uint8(1))
	f.Add([]byte(body), sig+","+sig, "", uint8(1))
	f.Add([]byte(""), "883a1369fa89dbc40b32496dbec4174276f9899e88cdfdbf1b6327c2ebc7ffcb", "", uint8(1))
	f.Add([]byte(""), "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad", "", uint8(1)) // with an empty secret
	f.Fuzz(func(t *testing.T, body []byte, first, second string, count uint8) {
		count %= 3
		h := http.Header{"X-Signature": []string{first, second}[:count]}
		want := ""
		given, err := hex.DecodeString(first)
		if count == 1 && err == nil {
			switch hex.EncodeToString(given) {
			case signature.SignHex([]byte("testsecret"), body):
				want = "current"
			case signature.SignHex([]byte("oldsecret"), body):
				want = "previous"
			}
		}
		if id, ok := verify(native(t), h, body); id != want || ok != (want != "") {
			t.Fatalf("%q: got %q, %v; want %q", h, id, ok, want)
		}

		// Whatever the body is, its own signature alone is right, twice is not.
		right := signature.SignHex([]byte("oldsecret"), body)
		if id, ok := verify(native(t), http.Header{"X-Signature": {right}}, body); !ok || id != "previous" {
			t.Fatalf("the right one: got %q, %v", id, ok)
		}
		if _, ok := verify(native(t), http.Header{"X-Signature": {right, first}}, body); ok {
			t.Fatalf("accepted two values, the second %q", first)
		}
	})
}
