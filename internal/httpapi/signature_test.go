package httpapi_test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"lyftr/internal/signature"
)

// A stranger learns one thing only: that the signature is wrong. Not whether
// the body is JSON, a message, or the repeat of one.
func TestSignatureComesFirst(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.seed(msg("stored"))
	bodies := map[string]string{
		"a message":        msg("new"),
		"a stored message": msg("stored"),
		"not JSON":         `{"message_id":`,
		"nothing":          "",
		"a schema fault":   `{"message_id":"","from":"x"}`,
		"not UTF-8":        "\xff\xfe",
		"an array":         `[]`,
	}
	signatures := map[string]func(right string) []string{
		"none":                   func(string) []string { return nil },
		"empty":                  func(string) []string { return []string{""} },
		"short":                  func(string) []string { return []string{"123"} },
		"zeros":                  func(string) []string { return []string{strings.Repeat("0", 64)} },
		"not hex":                func(string) []string { return []string{strings.Repeat("g", 64)} },
		"one digit less":         func(right string) []string { return []string{right[:63]} },
		"one byte less":          func(right string) []string { return []string{right[:62]} },
		"one byte more":          func(right string) []string { return []string{right + "00"} },
		"last digit":             func(right string) []string { return []string{right[:63] + string(right[63]^1)} },
		"with its scheme":        func(right string) []string { return []string{"sha256=" + right} },
		"with 0x":                func(right string) []string { return []string{"0x" + right} },
		"in a list":              func(right string) []string { return []string{right + ", " + right} },
		"with a blank":           func(right string) []string { return []string{right[:32] + " " + right[32:]} },
		"full-width digit":       func(right string) []string { return []string{"\uff10" + right[3:]} },
		"twice right":            func(right string) []string { return []string{right, right} },
		"right and wrong":        func(right string) []string { return []string{right, "123"} },
		"wrong and right":        func(right string) []string { return []string{"123", right} },
		"right and empty":        func(right string) []string { return []string{right, ""} },
		"of an empty secret":     nil,
		"of the key's name":      nil,
		"of a secret with blank": nil,
	}
	signed := map[string]string{"of an empty secret": "", "of the key's name": "current", "of a secret with blank": secret + "\n"}

	var reference http.Header
	requests := 0
	for bodyName, body := range bodies {
		for name, change := range signatures {
			values := []string{signature.SignHex([]byte(signed[name]), []byte(body))}
			if change != nil {
				values = change(sign(body))
			}
			a := s.post(body, header("X-Signature", values...))
			requests++
			if a.status != 401 || a.body != signatureBody {
				t.Errorf("%s, signature %s: got %d %s", bodyName, name, a.status, a.body)
			}
			a.line.has(t, "level", "WARNING", "status", 401, "message_id", nil, "dup", false, "result", "invalid_signature", "error", absent)
			a.header.Del("Date")
			a.header.Del("X-Request-Id")
			if reference == nil {
				reference = a.header
			}
			if got, want := fmt.Sprint(a.header), fmt.Sprint(reference); got != want {
				t.Errorf("%s, signature %s: headers %s differ from %s", bodyName, name, got, want)
			}
		}
	}
	if n := s.rows(); n != 1 {
		t.Errorf("there are %d rows, want the seeded one", n)
	}
	if got := s.metric(`webhook_requests_total{result="invalid_signature"}`); got != float64(requests) {
		t.Errorf("invalid_signature is %v of %d", got, requests)
	}
	if got := s.metric(`lyftr_secret_uses_total{key="current",source="native"}`); got != 0 {
		t.Errorf("a wrong signature counts as %v uses of the secret", got)
	}
}

func TestTwoSignatureHeadersInOneRequest(t *testing.T) {
	t.Parallel()
	s := start(t)
	c := s.dial()
	c.send(hello, "POST /webhook HTTP/1.1", "Host: x", "X-Signature: "+helloSignature, "x-signature: "+helloSignature,
		"Content-Length: "+strconv.Itoa(len(hello)))
	c.answer("POST").is(t, 401, signatureBody)
}

// What follows the body is no header: a signature there does not count.
func TestSignatureInTrailer(t *testing.T) {
	t.Parallel()
	s := start(t)
	c := s.dial()
	c.send(fmt.Sprintf("%x\r\n%s\r\n0\r\nX-Signature: %s\r\n\r\n", len(hello), hello, helloSignature),
		"POST /webhook HTTP/1.1", "Host: x", "Transfer-Encoding: chunked", "Trailer: X-Signature")
	c.answer("POST").is(t, 401, signatureBody)
}

func TestSignatureForms(t *testing.T) {
	t.Parallel()
	s := start(t)
	mixed := []byte(sign(msg("mixed")))
	for i := 0; i < len(mixed); i += 2 {
		mixed[i] = strings.ToUpper(string(mixed[i]))[0]
	}
	s.post(msg("upper"), header("X-Signature", strings.ToUpper(sign(msg("upper"))))).is(t, 200, okBody)
	s.post(msg("mixed"), header("X-Signature", string(mixed))).is(t, 200, okBody)

	// What is signed are the bytes on the wire, not what they mean.
	odd := " {\"text\" : \"\\u0048ello\",\r\n\t\"ts\":\"2025-01-15T10:00:00Z\", \"to\":\"+1\",\"from\":\"+2\",  \"message_id\":\"raw\"}\n\n"
	s.post(odd).is(t, 200, okBody)
	s.post(odd, header("X-Signature", sign(strings.TrimSpace(odd)))).is(t, 401, signatureBody)
	if n := s.rows(); n != 3 {
		t.Errorf("there are %d rows, want 3", n)
	}
}

func TestSecretRotation(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *config) {
		c.previous = "the-secret-before"
	})
	body := msg("rotated")
	s.post(body, header("X-Signature", signature.SignHex([]byte("the-secret-before"), []byte(body)))).is(t, 200, okBody)
	s.post(body).is(t, 200, okBody)
	s.post(body, header("X-Signature", signature.SignHex([]byte("the-secret-before-that"), []byte(body)))).is(t, 401, signatureBody)
	for _, key := range []string{"current", "previous"} {
		if got := s.metric(fmt.Sprintf(`lyftr_secret_uses_total{key=%q,source="native"}`, key)); got != 1 {
			t.Errorf("the %s secret was used %v times, want 1", key, got)
		}
	}
}

func TestNoSecret(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *config) { c.secret = "" })
	unsigned := header("X-Signature")
	empty := header("X-Signature", signature.SignHex(nil, []byte(hello)))
	for _, change := range []func(*http.Request){unsigned, empty, header("X-Signature", helloSignature)} {
		a := s.post(hello, change)
		a.is(t, 503, noSecretBody)
		a.line.has(t, "level", "ERROR", "status", 503, "message_id", nil, "dup", false, "result", "not_configured")
	}
	if n := s.rows(); n != 0 {
		t.Errorf("%d messages were accepted unsigned", n)
	}
	s.get("/health/live").is(t, 200, okBody)
	ready := s.get("/health/ready")
	if ready.status != 503 || !strings.Contains(ready.body, `"status":"not ready"`) || !strings.Contains(ready.body, `"secret":`) {
		t.Errorf("ready without a secret: %d %s", ready.status, ready.body)
	}
	if got := s.metric(`webhook_requests_total{result="not_configured"}`); got != 3 {
		t.Errorf("not_configured is %v, want 3", got)
	}
}
