package provider

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

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

// What marks a delivery of WhatsApp, and a change that holds messages.
const (
	hubObject = "whatsapp_business_account"
	hubField  = "messages"
)

const verifyTokenSetting = "WHATSAPP_VERIFY_TOKEN"

// Switch implements Provider.
func (*WhatsApp) Switch() string { return "WHATSAPP_APP_SECRET" }

// Prepare implements Provider.
func (w *WhatsApp) Prepare() error {
	keys, err := keysOf(w.Switch(), w.AppSecret, w.Previous)
	if err == nil && w.VerifyToken != "" && w.AppSecret == "" {
		err = fmt.Errorf("%s is set but %s is not: set the App Secret too, it proves that a delivery is from Meta", verifyTokenSetting, w.Switch())
	}
	var taken []signature.Key
	if w.VerifyToken != "" {
		taken = append(taken, signature.Key{ID: verifyTokenSetting, Secret: []byte(w.VerifyToken)})
	}
	w.keys, w.clues = signature.NewKeyring(keys...), newClues(sha256.New, keys, taken...)
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
	return len(h[HeaderHubSignature]) > 0 || len(h[headerHubSignatureOld]) > 0
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
	return "", w.clues.explain(w.Switch(), w.keys, r, func(ring *signature.Keyring, body []byte) (string, bool) {
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
		return "", refusef("%s is not set: set it to the verify token of Meta's App Dashboard", verifyTokenSetting)
	case subtle.ConstantTimeCompare([]byte(values["hub.verify_token"]), []byte(w.VerifyToken)) != 1:
		return "", refusef("the parameter hub.verify_token is not %s: both have to be the same word, that of Meta's App Dashboard and that setting", verifyTokenSetting)
	case challenge == "":
		return "", refusef("the parameter hub.challenge is empty")
	case len(challenge) > maxChallenge:
		return "", refusef("the parameter hub.challenge has %d bytes, more than %d", len(challenge), maxChallenge)
	case !utf8.ValidString(challenge):
		return "", refusef("the parameter hub.challenge is not valid UTF-8")
	case strings.ContainsFunc(challenge, unicode.IsControl):
		return "", refusef("the parameter hub.challenge holds control characters")
	}
	return challenge, nil
}

// Acknowledge implements Provider.
func (*WhatsApp) Acknowledge(w http.ResponseWriter) error { return acknowledge(w) }

// UseSecret implements Provider.
func (w *WhatsApp) UseSecret(secret string) { w.AppSecret = secret }

// The parts of a delivery, as Compose writes them.
type (
	hubDelivery struct {
		Object string     `json:"object"`
		Entry  []hubEntry `json:"entry"`
	}
	hubEntry struct {
		ID      string      `json:"id"`
		Changes []hubChange `json:"changes"`
	}
	hubChange struct {
		Value hubValue `json:"value"`
		Field string   `json:"field"`
	}
	hubValue struct {
		Product  string       `json:"messaging_product"`
		Metadata hubMetadata  `json:"metadata"`
		Contacts []hubContact `json:"contacts"`
		Messages []hubMessage `json:"messages"`
	}
	hubMetadata struct {
		Shown string `json:"display_phone_number"`
		ID    string `json:"phone_number_id"`
	}
	hubContact struct {
		Number string `json:"wa_id,omitempty"`
		User   string `json:"user_id,omitempty"`
	}
	hubMessage struct {
		From      string   `json:"from,omitempty"`
		User      string   `json:"from_user_id,omitempty"`
		ID        string   `json:"id"`
		Timestamp string   `json:"timestamp"`
		Type      string   `json:"type"`
		Text      *hubText `json:"text,omitempty"`
	}
	hubText struct {
		Body string `json:"body"`
	}
)

// Compose implements Provider. What says nothing in words is of the type that
// WhatsApp has for what it cannot pass on.
func (*WhatsApp) Compose(m message.Message) ([]byte, error) {
	one := hubMessage{ID: m.ID, Timestamp: strconv.FormatInt(m.At.Unix(), 10), Type: "unsupported"}
	if m.Text != nil {
		one.Type, one.Text = "text", &hubText{*m.Text}
	}
	if message.ValidPhone(m.From) {
		one.From = m.From[1:]
	} else {
		one.User = m.From
	}
	return json.Marshal(hubDelivery{
		Object: hubObject,
		Entry: []hubEntry{{ID: "0", Changes: []hubChange{{
			Field: hubField,
			Value: hubValue{
				Product:  sourceWhatsApp,
				Metadata: hubMetadata{Shown: strings.TrimPrefix(m.To, "+"), ID: "0"},
				Contacts: []hubContact{{Number: one.From, User: one.User}},
				Messages: []hubMessage{one},
			},
		}}}},
	})
}

// Sign implements Provider.
func (w *WhatsApp) Sign(_ string, body []byte, _ time.Time) (http.Header, error) {
	if w.AppSecret == "" {
		return nil, ErrNoSecret
	}
	return http.Header{
		"Content-Type":     {"application/json"},
		HeaderHubSignature: {hubPrefix + signature.SignHex([]byte(w.AppSecret), body)},
	}, nil
}
