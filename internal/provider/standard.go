package provider

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"

	"lyftr/internal/message"
	"lyftr/internal/signature"
)

// Standard is Standard Webhooks, https://www.standardwebhooks.com: a message in
// lyftr's own format, signed together with an ID and a time.
type Standard struct {
	Secret   string `name:"standard-webhooks-secret" setting:"STANDARD_WEBHOOKS_SECRET" secret:"" placeholder:"SECRET" help:"Secrets (whsec_…) and public keys (whpk_…) of senders of Standard Webhooks, separated by commas or white space. Without any none is accepted."`
	Previous string `name:"standard-webhooks-secret-previous" setting:"STANDARD_WEBHOOKS_SECRET_PREVIOUS" secret:"" placeholder:"SECRET" help:"Secrets and public keys that stay valid while senders move to the new ones."`

	ids    []string
	hmac   *signature.Keyring // of the version v1
	public []publicKey        // of the version v1a
	near   *signature.Keyring // the secrets of v1 as they are often mistaken
	short  []string           // warnings
}

type publicKey struct {
	id  string
	key ed25519.PublicKey
}

const sourceStandard = "standard"

// What stands before secrets.
const (
	prefixSecret  = "whsec_"
	prefixPublic  = "whpk_"
	prefixPrivate = "whsk_"
)

// Source implements Provider.
func (*Standard) Source() string { return sourceStandard }

// Switch implements Provider.
func (*Standard) Switch() string { return "STANDARD_WEBHOOKS_SECRET" }

// Prepare implements Provider.
func (s *Standard) Prepare() error {
	current, previous := entries(s.Secret), entries(s.Previous)
	switch {
	case len(current) == 0 && s.Secret != "":
		return fmt.Errorf("%s is set but holds no secret", s.Switch())
	case len(current) == 0 && len(previous) > 0:
		return fmt.Errorf("%s_PREVIOUS is set but %s is not: set the current secret too", s.Switch(), s.Switch())
	}
	var secrets, near []signature.Key
	*s = Standard{Secret: s.Secret, Previous: s.Previous}
	for _, list := range []struct {
		setting, name string
		entries       []string
	}{{s.Switch(), keyCurrent, current}, {s.Switch() + "_PREVIOUS", keyPrevious, previous}} {
		for i, entry := range list.entries {
			id := list.name
			if i > 0 {
				id += "-" + strconv.Itoa(i+1)
			}
			key, public, err := readSecret(entry)
			if err != nil {
				return fmt.Errorf("%s: number %d of its secrets %w", list.setting, i+1, err)
			}
			s.ids = append(s.ids, id)
			if public {
				s.public = append(s.public, publicKey{id, key})
				continue
			}
			secrets = append(secrets, signature.Key{ID: id, Secret: key})
			near = append(near, mistaken(entry)...)
			if len(key) < leastSecret {
				s.short = append(s.short, fmt.Sprintf("%s: number %d of its secrets is short, it has %d bytes: Standard Webhooks asks for at least %d", list.setting, i+1, len(key), leastSecret))
			}
		}
	}
	s.hmac, s.near = signature.NewKeyring(secrets...), signature.NewKeyring(near...)
	return nil
}

// leastSecret is the length that Standard Webhooks asks of a secret, in bytes.
const leastSecret = 24

// entries parts the secrets of a setting.
func entries(setting string) []string {
	return strings.FieldsFunc(setting, func(r rune) bool { return r == ',' || unicode.IsSpace(r) })
}

// readSecret decodes one secret, or one public key. The error holds nothing of it.
func readSecret(entry string) (key []byte, public bool, err error) {
	if strings.HasPrefix(entry, prefixPrivate) {
		return nil, false, errors.New("is a private key (whsk_…), which is the sender's alone: take the public one that belongs to it (whpk_…)")
	}
	text, public := strings.CutPrefix(entry, prefixPublic)
	key, err = decodeSecret(strings.TrimPrefix(text, prefixSecret))
	if err != nil || len(key) == 0 || public && len(key) != ed25519.PublicKeySize {
		return nil, false, errors.New("is none: it must be whsec_ and base64, base64 alone, or a public key, whpk_ and the base64 of 32 bytes")
	}
	return key, public, nil
}

// decodeSecret decodes base64, with padding or without.
func decodeSecret(text string) ([]byte, error) {
	return base64.RawStdEncoding.Strict().DecodeString(strings.TrimRight(text, "="))
}

// mistaken returns a secret in the ways in which it is mistaken, as keys whose
// names say how.
func mistaken(entry string) []signature.Key {
	keys := []signature.Key{{ID: "as it is written", Secret: []byte(entry)}}
	if bare, ok := strings.CutPrefix(entry, prefixSecret); ok {
		keys = append(keys, signature.Key{ID: "as it is written behind whsec_", Secret: []byte(bare)})
	}
	return keys
}

// Warnings implements Provider.
func (s *Standard) Warnings() []string { return s.short }

// KeyIDs implements Provider.
func (s *Standard) KeyIDs() []string { return s.ids }

// Recognizes implements Provider.
func (*Standard) Recognizes(h http.Header) bool {
	return len(h["Webhook-Signature"]) > 0 || len(h["Svix-Signature"]) > 0
}

// Bounds of what Verify looks at.
const (
	// maxSignatures is how many entries a list may have: a sender has two while it
	// changes its secret.
	maxSignatures = 32
	// maxAsymmetric is how many of them may be of v1a, which cost the most.
	maxAsymmetric = 4
	// maxAsymmetricClue is the longest body for which those of v1a are tried in
	// other ways than the right one, in bytes.
	maxAsymmetricClue = 16 << 10
	// maxAge is how far a delivery's time may be from now, either way, in seconds.
	maxAge = 300
)

// Verify implements Provider: each header is there exactly once, one of the
// signatures is right under one of the keys, and the time is about now.
func (s *Standard) Verify(r *Request) (keyID string, err error) {
	d, err := readStandard(r.Header)
	if err != nil {
		return "", err
	}
	keyID, ok := s.right(&d, s.hmac, d.head(), r.Body)
	if !ok {
		return "", s.explain(&d, r)
	}
	switch age := r.Now.Unix() - d.at; {
	case age > maxAge:
		return "", refusef("the signature is right, but the delivery is %d s old, more than %d: the sender's clock or this server's is wrong, or it was held up on its way", age, maxAge)
	case age < -maxAge:
		return "", refusef("the signature is right, but the delivery is from %d s in the future, more than %d: the sender's clock or this server's is wrong", -age, maxAge)
	}
	return keyID, nil
}

// standardDelivery is what the headers of a delivery say.
type standardDelivery struct {
	id, timestamp string
	at            int64 // timestamp
	list          string
	macs          [][]byte // of v1
	asymmetric    [][]byte // of v1a
}

// readStandard reads the headers: those of Standard Webhooks, or if there is none
// of them, Svix's, which mean the same.
func readStandard(h http.Header) (d standardDelivery, err error) {
	prefix := "Webhook-"
	if !hasStandard(h, prefix) && hasStandard(h, "Svix-") {
		prefix = "Svix-"
	}
	if d.id, err = single(h, prefix+"Id"); err != nil {
		return d, err
	}
	if d.timestamp, err = single(h, prefix+"Timestamp"); err != nil {
		return d, err
	}
	if d.list, err = single(h, prefix+"Signature"); err != nil {
		return d, err
	}
	switch {
	case d.id == "":
		return d, refusef("the header %sId is empty", prefix)
	case len(d.id) > message.MaxIDLength:
		return d, refusef("the header %sId has %d bytes, more than %d", prefix, len(d.id), message.MaxIDLength)
	case strings.Contains(d.id, "."):
		return d, refusef("the header %sId holds a dot: then it is not certain what was signed", prefix)
	case strings.ContainsFunc(d.id, unicode.IsControl):
		return d, refusef("the header %sId holds control characters", prefix)
	}
	const digits = 11
	if d.at, err = strconv.ParseInt(d.timestamp, 10, 64); err != nil || len(d.timestamp) > digits || strings.Trim(d.timestamp, "0123456789") != "" {
		return d, refusef("the header %sTimestamp is no time: it must be Unix seconds in 1 to %d digits, not milliseconds, and nothing else", prefix, digits)
	}
	return d, d.readList(prefix)
}

func hasStandard(h http.Header, prefix string) bool {
	return len(h[prefix+"Id"]) > 0 || len(h[prefix+"Timestamp"]) > 0 || len(h[prefix+"Signature"]) > 0
}

// readList reads the signatures. Those of unknown versions are passed over.
func (d *standardDelivery) readList(prefix string) error {
	if strings.Count(d.list, " ") >= maxSignatures {
		return refusef("the header %sSignature has more than %d signatures", prefix, maxSignatures)
	}
	for entry := range strings.SplitSeq(d.list, " ") {
		version, text, _ := strings.Cut(entry, ",")
		switch version {
		case "v1":
			if mac, ok := decodeMAC(text, sha256.Size); ok {
				d.macs = append(d.macs, mac)
			}
		case "v1a":
			if sig, ok := decodeMAC(text, ed25519.SignatureSize); ok {
				d.asymmetric = append(d.asymmetric, sig)
			}
		}
	}
	if len(d.asymmetric) > maxAsymmetric {
		return refusef("the header %sSignature has more than %d signatures of v1a", prefix, maxAsymmetric)
	}
	return nil
}

// head is what is signed before the body.
func (d *standardDelivery) head() []byte { return []byte(d.id + "." + d.timestamp + ".") }

// right reports under which key a signature of head and body is right: one of the
// ring, or a public key.
func (s *Standard) right(d *standardDelivery, ring *signature.Keyring, head, body []byte) (keyID string, ok bool) {
	if keyID, ok = ring.Verify(d.macs, head, body); ok || len(d.asymmetric) == 0 || len(s.public) == 0 {
		return keyID, ok
	}
	signed := append(bytes.Clone(head), body...)
	for _, p := range s.public {
		for _, sig := range d.asymmetric {
			if ed25519.Verify(p.key, signed, sig) {
				return p.id, true
			}
		}
	}
	return "", false
}

// explain finds out why no key makes one of the signatures.
func (s *Standard) explain(d *standardDelivery, r *Request) error {
	body := r.Body
	switch {
	case r.brief():
		return errBrief
	case len(d.macs)+len(d.asymmetric) == 0:
		return s.explainList(d, body)
	case len(d.macs) == 0 && len(s.public) == 0:
		return refusef("the signatures are of the version v1a, and %s holds no public key: add the sender's, whpk_…", s.Switch())
	case len(d.asymmetric) == 0 && s.hmac.Empty():
		return refusef("the signatures are of the version v1, and %s holds public keys only: add the sender's secret, whsec_…", s.Switch())
	case len(body) > maxClueBody:
		return clues{}.explain(s.Switch(), s.hmac, r, nil)
	case len(body) > maxAsymmetricClue:
		d.asymmetric = nil
	}
	if how, ok := s.near.Verify(d.macs, d.head(), body); ok {
		return refusef("the signature is right for the secret %s: the sender does not decode its base64, so mend the sender, or give %s the base64 of what it signs with", how, s.Switch())
	}
	for _, head := range []struct{ how, text string }{
		{"the body alone", ""},
		{"the time and the body", d.timestamp + "."},
		{"the ID and the body", d.id + "."},
		{"ID, time and body without dots between them", d.id + d.timestamp},
	} {
		if _, ok := s.right(d, s.hmac, []byte(head.text), body); ok {
			return refusef("the signature is right for %s: the sender has to sign the ID, a dot, the time, a dot and the body", head.how)
		}
	}
	return clues{near: &signature.Keyring{}, taken: &signature.Keyring{}}.explain(s.Switch(), s.hmac, r, func(ring *signature.Keyring, body []byte) (string, bool) {
		return s.right(d, ring, d.head(), body)
	})
}

// explainList says what is wrong with a list that has no signature that could be
// right.
func (s *Standard) explainList(d *standardDelivery, body []byte) error {
	var written standardDelivery
	for entry := range strings.SplitSeq(d.list, " ") {
		text := strings.TrimPrefix(strings.TrimPrefix(entry, "v1"), ",")
		text = strings.TrimRight(strings.NewReplacer("-", "+", "_", "/").Replace(text), "=")
		if mac, err := hex.DecodeString(text); err == nil {
			written.macs = append(written.macs, mac)
		}
		if mac, err := base64.RawStdEncoding.DecodeString(text); err == nil {
			written.macs = append(written.macs, mac)
		}
	}
	if len(body) <= maxClueBody {
		if _, ok := s.hmac.Verify(written.macs, d.head(), body); ok {
			return refusef("the signature is right, but not written as it should be: v1, a comma, and standard base64 with its padding")
		}
	}
	return refusef("there is no signature of the version v1 or v1a: it must be written as v1, a comma, and standard base64 with its padding")
}

// Parse implements Provider.
func (*Standard) Parse(r *Request) (Content, error) {
	m, err := message.Decode(r.Body)
	if err != nil {
		return Content{}, err
	}
	m.Source = sourceStandard
	return Content{Messages: []message.Message{m}}, nil
}

// Acknowledge implements Provider.
func (*Standard) Acknowledge(w http.ResponseWriter) error { return acknowledge(w) }

// Compose implements Provider.
func (*Standard) Compose(m message.Message) ([]byte, error) { return compose(m) }

// UseSecret implements Provider.
func (s *Standard) UseSecret(secret string) { s.Secret = secret }

// Sign implements Provider, with the first of the secrets, which may be a private
// key. The same body has the same ID each time.
func (s *Standard) Sign(_ string, body []byte, now time.Time) (http.Header, error) {
	list := entries(s.Secret)
	if len(list) == 0 {
		return nil, ErrNoSecret
	}
	sum := sha256.Sum256(body)
	const digits = 32
	d := standardDelivery{id: "msg_" + hex.EncodeToString(sum[:])[:digits], timestamp: strconv.FormatInt(now.Unix(), 10)}
	entry, err := sign(list[0], d.head(), body)
	if err != nil {
		return nil, fmt.Errorf("%s: the first of its secrets %w", s.Switch(), err)
	}
	return http.Header{
		"Content-Type":      {"application/json"},
		"Webhook-Id":        {d.id},
		"Webhook-Timestamp": {d.timestamp},
		"Webhook-Signature": {entry},
	}, nil
}

// sign returns a signature with its version. The error holds nothing of the
// secret.
func sign(secret string, head, body []byte) (string, error) {
	if text, ok := strings.CutPrefix(secret, prefixPrivate); ok {
		key, err := decodeSecret(text)
		if err != nil || len(key) != ed25519.PrivateKeySize || !bytes.Equal(ed25519.NewKeyFromSeed(key[:ed25519.SeedSize]), key) {
			return "", errors.New("is no private key: whsk_ and the base64 of 64 bytes, the seed and the public key")
		}
		sig := ed25519.Sign(key, append(head, body...))
		return "v1a," + base64.StdEncoding.EncodeToString(sig), nil
	}
	key, public, err := readSecret(secret)
	if err != nil {
		return "", err
	}
	if public {
		return "", errors.New("is a public key, with which nothing can be signed: give the private one (whsk_…)")
	}
	return "v1," + base64.StdEncoding.EncodeToString(signature.Sign(sha256.New, key, head, body)), nil
}
