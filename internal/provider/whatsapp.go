package provider

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"

	"lyftr/internal/message"
	"lyftr/internal/signature"
)

// HeaderHubSignature is the header that carries the signature of WhatsApp's
// deliveries: sha256= and the hex of HMAC-SHA256(App Secret, raw body).
const HeaderHubSignature = "X-Hub-Signature-256"

// headerHubSignatureOld carries an HMAC-SHA1. Nothing is accepted by it.
const headerHubSignatureOld = "X-Hub-Signature"

const hubPrefix = "sha256="

// WhatsApp is the WhatsApp Cloud API of Meta: a delivery holds up to a thousand
// messages and statuses, of any number of accounts and phone numbers. Once the
// signature is right, and the body an object, nothing in it makes a delivery be
// refused: Meta would repeat it for a week and give none of it back afterwards.
type WhatsApp struct {
	AppSecret   string `name:"whatsapp-app-secret" setting:"WHATSAPP_APP_SECRET" secret:"" placeholder:"SECRET" help:"App Secret of the Meta app that delivers WhatsApp messages. Without it none is accepted."`
	Previous    string `name:"whatsapp-app-secret-previous" setting:"WHATSAPP_APP_SECRET_PREVIOUS" secret:"" placeholder:"SECRET" help:"App Secret that stays valid while Meta moves to the new one."`
	VerifyToken string `name:"whatsapp-verify-token" setting:"WHATSAPP_VERIFY_TOKEN" secret:"" placeholder:"TOKEN" help:"Verify token, the one that is set in Meta's App Dashboard beside the callback URL."`

	keys  *signature.Keyring
	clues clues
}

// Source implements Provider.
func (*WhatsApp) Source() string { return sourceWhatsApp }

const sourceWhatsApp = "whatsapp"

const verifyTokenSetting = "WHATSAPP_VERIFY_TOKEN"

// Switch implements Provider.
func (*WhatsApp) Switch() string { return "WHATSAPP_APP_SECRET" }

// Prepare implements Provider.
func (w *WhatsApp) Prepare() error {
	keys, err := keysOf(w.Switch(), w.AppSecret, w.Previous)
	if err == nil && w.VerifyToken != "" && w.AppSecret == "" {
		err = errors.New("WHATSAPP_VERIFY_TOKEN is set but WHATSAPP_APP_SECRET is not: set the App Secret too, it proves that a delivery is from Meta")
	}
	w.keys, w.clues = signature.NewKeyring(keys...), newClues(sha256.New, keys)
	return err
}

// Warnings implements Provider.
func (w *WhatsApp) Warnings() []string {
	all := warnShort(w.Switch(), w.AppSecret)
	if w.AppSecret != "" && w.VerifyToken == "" {
		all = append(all, verifyTokenSetting+" is not set: the challenge of Meta's App Dashboard is refused")
	}
	return all
}

// KeyIDs implements Provider.
func (w *WhatsApp) KeyIDs() []string { return w.keys.IDs() }

// Recognizes implements Provider.
func (*WhatsApp) Recognizes(h http.Header) bool {
	return len(h[http.CanonicalHeaderKey(HeaderHubSignature)]) > 0 || len(h[headerHubSignatureOld]) > 0
}

// Verify implements Provider: the raw body carries exactly one signature, and it
// is right under one of the keys.
func (w *WhatsApp) Verify(r *Request) (keyID string, err error) {
	value, err := single(r.Header, HeaderHubSignature)
	if err != nil {
		return "", err
	}
	mac, ok := strings.CutPrefix(value, hubPrefix)
	if ok {
		if keyID, ok := w.keys.VerifyHex(r.Body, mac); ok {
			return keyID, nil
		}
	}
	switch {
	case !ok:
		return "", refusef("the header %s does not start with %s", HeaderHubSignature, hubPrefix)
	case len(mac) != 2*sha256.Size:
		return "", refusef("the header %s has %d characters behind %s: it must be the 64 hex digits of HMAC-SHA256 and nothing else", HeaderHubSignature, len(mac), hubPrefix)
	}
	return "", w.clues.explain(w.Switch(), w.keys, r.Body, func(ring *signature.Keyring, body []byte) (string, bool) {
		return ring.VerifyHex(body, mac)
	})
}

// maxChallenge is the longest challenge that is answered, in bytes. Meta's have
// ten.
const maxChallenge = 1 << 10

// Challenge implements Challenger.
func (w *WhatsApp) Challenge(query url.Values) (answer string, err error) {
	values := map[string]string{}
	for _, name := range []string{"hub.mode", "hub.verify_token", "hub.challenge"} {
		switch list := query[name]; len(list) {
		case 1:
			values[name] = list[0]
		case 0:
			return "", refusef("the parameter %s is missing", name)
		default:
			return "", refusef("the parameter %s is there %d times", name, len(list))
		}
	}
	challenge := values["hub.challenge"]
	switch {
	case values["hub.mode"] != "subscribe":
		return "", refusef("the parameter hub.mode is not subscribe")
	case w.VerifyToken == "":
		return "", refusef("%s is not set", verifyTokenSetting)
	case subtle.ConstantTimeCompare([]byte(values["hub.verify_token"]), []byte(w.VerifyToken)) != 1:
		return "", refusef("the parameter hub.verify_token is not %s", verifyTokenSetting)
	case challenge == "":
		return "", refusef("the parameter hub.challenge is empty")
	case len(challenge) > maxChallenge:
		return "", refusef("the parameter hub.challenge has %d bytes, more than %d", len(challenge), maxChallenge)
	case strings.ContainsFunc(challenge, unicode.IsControl):
		return "", refusef("the parameter hub.challenge holds control characters")
	}
	return challenge, nil
}

// Parse implements Provider.
func (*WhatsApp) Parse(r *Request) (Content, error) {
	return Content{}, nil
}

// Acknowledge implements Provider.
func (*WhatsApp) Acknowledge(w http.ResponseWriter) error { return acknowledge(w) }

// Compose implements Provider.
func (*WhatsApp) Compose(m message.Message) ([]byte, error) {
	return nil, nil
}

// Sign implements Provider.
func (w *WhatsApp) Sign(_ string, body []byte, _ time.Time) (http.Header, error) {
	if w.AppSecret == "" {
		return nil, errNoSecret
	}
	return http.Header{
		"Content-Type":     {"application/json"},
		HeaderHubSignature: {hubPrefix + signature.SignHex([]byte(w.AppSecret), body)},
	}, nil
}
