// Package provider knows the formats in which webhooks arrive: for each, how a
// delivery is verified, what messages it holds and how it is acknowledged. One
// file is one provider.
package provider

import (
	"net/http"

	"lyftr/internal/message"
	"lyftr/internal/signature"
)

// HeaderSignature is the header that carries the signature of lyftr's own
// format: the hex of HMAC-SHA256(secret, raw body).
const HeaderSignature = "X-Signature"

// Native is lyftr's own format: one message a request, as message.Decode reads
// it, signed in the header X-Signature.
type Native struct {
	Keys *signature.Keyring
}

// Source is the source of the messages that the provider delivers.
func (Native) Source() string { return message.SourceNative }

// Verify reports whether the raw body carries exactly one signature and it is
// right under one of the keys, and which.
func (n Native) Verify(h http.Header, body []byte) (keyID string, ok bool) {
	values := h[HeaderSignature]
	if len(values) != 1 {
		return "", false
	}
	return n.Keys.VerifyHex(body, values[0])
}

// Parse returns the messages of a verified body, or a *message.InvalidError.
func (Native) Parse(body []byte) ([]message.Message, error) {
	m, err := message.Decode(body)
	if err != nil {
		return nil, err
	}
	return []message.Message{m}, nil
}

// Acknowledge tells the sender that the delivery is stored.
func (Native) Acknowledge(w http.ResponseWriter) error {
	w.Header().Set("Content-Type", "application/json")
	_, err := w.Write(nativeOK)
	return err
}

var nativeOK = []byte(`{"status":"ok"}`)
