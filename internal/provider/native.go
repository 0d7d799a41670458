package provider

import (
	"crypto/sha256"
	"encoding/json"
	"io"
	"net/http"
	"time"

	"lyftr/internal/message"
	"lyftr/internal/signature"
)

// HeaderSignature is the header that carries the signature of lyftr's own
// format: the hex of HMAC-SHA256(secret, raw body).
const HeaderSignature = "X-Signature"

// Native is lyftr's own format: one message a request, as message.Decode reads
// it, signed in the header X-Signature.
type Native struct {
	Secret   string `name:"webhook-secret" setting:"WEBHOOK_SECRET" secret:"" placeholder:"SECRET" help:"Secret that signs webhooks in lyftr's own format. Without it none is accepted."`
	Previous string `name:"webhook-secret-previous" setting:"WEBHOOK_SECRET_PREVIOUS" secret:"" placeholder:"SECRET" help:"Secret that stays valid while senders move to the new one."`

	keys  *signature.Keyring
	clues clues
}

// Source implements Provider.
func (*Native) Source() string { return message.SourceNative }

// Switch implements Provider.
func (*Native) Switch() string { return "WEBHOOK_SECRET" }

// Prepare implements Provider.
func (n *Native) Prepare() error {
	keys, err := keysOf("WEBHOOK_SECRET", n.Secret, n.Previous)
	n.keys, n.clues = signature.NewKeyring(keys...), newClues(sha256.New, keys)
	return err
}

// Warnings implements Provider.
func (n *Native) Warnings() []string { return warnShort(n.Switch(), n.Secret) }

// KeyIDs implements Provider.
func (n *Native) KeyIDs() []string { return n.keys.IDs() }

// Recognizes implements Provider.
func (*Native) Recognizes(h http.Header) bool { return len(h[HeaderSignature]) > 0 }

// Verify implements Provider: the raw body carries exactly one signature, and it
// is right under one of the keys.
func (n *Native) Verify(r *Request) (keyID string, err error) {
	if values := r.Header[HeaderSignature]; len(values) == 1 {
		if keyID, ok := n.keys.VerifyHex(r.Body, values[0]); ok {
			return keyID, nil
		}
	}
	return "", n.explain(r)
}

// explain finds out why a delivery is refused.
func (n *Native) explain(r *Request) error {
	mac, err := single(r.Header, HeaderSignature)
	if err != nil {
		return err
	}
	if len(mac) != 64 {
		return refusef("the header %s has %d characters: it must be the 64 hex digits of HMAC-SHA256 and nothing else", HeaderSignature, len(mac))
	}
	return n.clues.explain(n.Switch(), n.keys, r, func(ring *signature.Keyring, body []byte) (string, bool) {
		return ring.VerifyHex(body, mac)
	})
}

// Parse implements Provider.
func (*Native) Parse(r *Request) (Content, error) {
	m, err := message.Decode(r.Body)
	if err != nil {
		return Content{}, err
	}
	return Content{Messages: []message.Message{m}}, nil
}

// Acknowledge implements Provider.
func (*Native) Acknowledge(w http.ResponseWriter) error { return acknowledge(w) }

// acknowledge answers what lyftr's own format promises.
func acknowledge(w http.ResponseWriter) error {
	w.Header().Set("Content-Type", "application/json")
	_, err := io.WriteString(w, `{"status":"ok"}`)
	return err
}

// UseSecret implements Provider.
func (n *Native) UseSecret(secret string) { n.Secret = secret }

// Compose implements Provider.
func (*Native) Compose(m message.Message) ([]byte, error) { return compose(m) }

// compose returns a message in lyftr's own format.
func compose(m message.Message) ([]byte, error) {
	return json.Marshal(struct {
		ID   string  `json:"message_id"`
		From string  `json:"from"`
		To   string  `json:"to"`
		TS   string  `json:"ts"`
		Text *string `json:"text,omitempty"`
	}{m.ID, m.From, m.To, m.TS, m.Text})
}

// Sign implements Provider.
func (n *Native) Sign(_ string, body []byte, _ time.Time) (http.Header, error) {
	if n.Secret == "" {
		return nil, ErrNoSecret
	}
	return http.Header{
		"Content-Type":  {"application/json"},
		HeaderSignature: {signature.SignHex([]byte(n.Secret), body)},
	}, nil
}
