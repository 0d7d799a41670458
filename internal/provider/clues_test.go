package provider_test

import (
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strings"
	"testing"

	"lyftr/internal/provider"
	"lyftr/internal/signature"
)

// reason returns why a native delivery is refused that was signed with one
// secret over one body and arrives with another one at another secret.
func reason(t *testing.T, ours, theirs, signed, sent string) string {
	t.Helper()
	n := &provider.Native{Secret: ours}
	if err := n.Prepare(); err != nil {
		t.Fatal(err)
	}
	mac := signature.SignHex([]byte(theirs), []byte(signed))
	_, err := n.Verify(&provider.Request{Header: http.Header{provider.HeaderSignature: {mac}}, Body: []byte(sent)})
	if err == nil {
		t.Fatal("it is verified")
	}
	got := err.Error()
	for _, s := range []string{ours, theirs, sent, signed, "caf", mac} {
		if s != "" && strings.Contains(got, s) {
			t.Errorf("the reason holds %q: %s", s, got)
		}
	}
	return got
}

func TestCluesSecret(t *testing.T) {
	const s = "0123456789abcdef"
	for _, c := range []struct{ name, ours, theirs, want string }{
		{"newline", s, s + "\n", "the secret with a newline at its end"},
		{"newline of Windows", s, s + "\r\n", "the secret with a line break of Windows at its end"},
		{"white space here", " " + s + "\n", s, "the secret without the white space around it"},
		{"quotes here", `"` + s + `"`, s, "the secret without the quotes around it"},
		{"single quotes here", "'" + s + "'", s, "the secret without the quotes around it"},
		{"double quotes there", s, `"` + s + `"`, "the secret in double quotes"},
		{"single quotes there", s, "'" + s + "'", "the secret in single quotes"},
		{"hex", hex.EncodeToString([]byte(s)), s, "the secret decoded from hex"},
		{"base64", base64.StdEncoding.EncodeToString([]byte(s + "?")), s + "?", "the secret decoded from base64"},
		{"another", s, "somebody else's", "the signature fits no secret"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := reason(t, c.ours, c.theirs, body, body)
			if !strings.Contains(got, c.want) || !strings.Contains(got, "WEBHOOK_SECRET") {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestCluesBody(t *testing.T) {
	const (
		loose   = `{"a": "café ", "b": [1, 2], "c": "x/y"}`
		tight   = `{"a":"café ","b":[1,2],"c":"x/y"}`
		escaped = `{"a":"caf\u00e9 ","b":[1,2],"c":"x/y"}`
	)
	for _, c := range []struct{ name, signed, sent, want string }{
		{"newline gone", loose + "\n", loose, "with a newline at its end"},
		{"newline added", loose, loose + "\n", "without the white space around it"},
		{"carriage returns added", "{\n\"a\": 1}", "{\r\n\"a\": 1}", "with the line breaks of Unix"},
		{"carriage returns gone", "{\r\n\"a\": 1}", "{\n\"a\": 1}", "with the line breaks of Windows"},
		{"some carriage returns gone", "a\r\nb\r\nc", "a\nb\r\nc", "with the line breaks of Windows"},
		{"byte order mark", loose, "\xef\xbb\xbf" + loose, "without a byte order mark"},
		{"empty", "", loose, "when it was still empty"},
		{"spaces added", tight, loose, "without white space between its members"},
		{"spaces gone", loose, tight, "with a space behind each comma and colon"},
		{"unescaped", escaped, tight, `with \u escapes for what is not ASCII`},
		{"unescaped, pair", `["\ud83d\udc4b"]`, `["👋"]`, `with \u escapes for what is not ASCII`},
		{"unescaped, spaces gone", `{"a": "caf\u00e9, \"b\": "}`, `{"a":"café, \"b\": "}`, `with \u escapes for what is not ASCII, and a space`},
		{"escaped", tight, escaped, `without \u escapes`},
		{"escaped, pair", `["👋\u0007\ud83d\\u00e9�"]`, `["\ud83d\uDC4B\u0007\ud83d\\u00e9\ufffd"]`, `without \u escapes`},
		{"escaped, spaces gone", loose, escaped, `without \u escapes, and with a space`},
		{"slashes unescaped", `["x\/y"]`, `["x/y"]`, `with \/ for /`},
		{"slashes unescaped, unescaped", `["x\/caf\u00e9"]`, `["x/café"]`, `with \u escapes for what is not ASCII, and \/ for /`},
		{"slashes escaped", `["x/y"]`, `["x\/y"]`, `with / for \/`},
		{"as PHP does", `["x/café"]`, `["x\/caf\u00e9"]`, `without \u escapes, and with / for \/`},
		{"as Go does", `["\u003ca\u003e"]`, `["<a>"]`, `with \u escapes for <, > and &`},
		{"not JSON", "a=b", "a=b&c=d", "the signature fits no secret"},
		{"another member", `{"a":1}`, `{"a":1,"b":2}`, "the signature fits no secret"},
		{"invalid UTF-8", "[\"\xff\"]", "[\"\xfe\"]", "the signature fits no secret"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := reason(t, "testsecret", "testsecret", c.signed, c.sent)
			if !strings.Contains(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if strings.Contains(got, "right for the body") == strings.Contains(got, "fits no secret") {
				t.Errorf("got %q", got)
			}
		})
	}
}

// A signature under the previous secret is found out as well.
func TestCluesPrevious(t *testing.T) {
	h := http.Header{provider.HeaderSignature: {signature.SignHex([]byte("oldsecret"), []byte(body+"\n"))}}
	_, err := native(t).Verify(&provider.Request{Header: h, Body: []byte(body)})
	if err == nil || !strings.Contains(err.Error(), "with a newline at its end") {
		t.Errorf("got %v", err)
	}
}

// A long body is not looked at.
func TestCluesLong(t *testing.T) {
	long := strings.Repeat(" ", 256<<10)
	got := reason(t, "testsecret", "testsecret", "", long+" ")
	if !strings.Contains(got, "the signature fits no secret") {
		t.Errorf("got %q", got)
	}
	if got := reason(t, "testsecret", "testsecret", "", long); !strings.Contains(got, "still empty") && !strings.Contains(got, "white space") {
		t.Errorf("got %q", got)
	}
}
